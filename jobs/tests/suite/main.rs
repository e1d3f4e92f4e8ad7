//! The runner and the queue, on real databases.

mod queue_model;
mod runner;
mod support;
