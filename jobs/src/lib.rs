#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod handler;
mod runner;

pub use handler::{Handler, JobContext, JobError, Outcome};
pub use runner::{Runner, RunnerOptions};
