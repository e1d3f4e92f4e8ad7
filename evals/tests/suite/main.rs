//! Datasets, runs, metrics against other implementations, comparisons.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod comparing;
mod datasets;
mod judging;
mod others;
mod page;
mod running;
mod world;
