//! Behaviour of ingestion, on real files, sockets and databases.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test as tests do")]

mod chunk;
mod documents;
mod extract;
mod pages;
mod pipeline;
mod pipeline_support;
mod support;
mod upkeep;
mod worker;
