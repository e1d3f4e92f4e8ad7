//! The runner and the queue, on real databases.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test as tests do")]

mod queue_model;
mod runner;
mod support;
