//! The tools themselves, tried from outside.

mod model_server;
