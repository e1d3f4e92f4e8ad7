#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod agreement;
pub mod calibrate;
pub mod compare;
pub mod dataset;
mod error;
pub mod judge;
pub mod metrics;
pub mod observation;
mod refusal;
pub mod report;
mod run;
pub mod stats;
pub mod stored;
pub mod suite;
pub mod target;
mod text;

pub use dataset::{Case, Dataset, ReadOptions};
pub use error::{EvalError, InputError};
pub use observation::{Failure, Observation, Outcome, Row};
pub use report::Report;
pub use run::{Course, Ended, Keeper, Progress, RunOptions, RunOutcome, estimate, run, run_on};
pub use stored::Evals;
pub use target::{Target, TargetInfo};
