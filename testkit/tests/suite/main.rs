//! The tools themselves, tried from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, as tests do")]

mod model_server;
