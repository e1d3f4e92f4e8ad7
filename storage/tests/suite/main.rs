//! Every function of the crate, on both databases.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test as tests do")]

mod accounts;
mod approvals;
mod articles;
mod cancellation;
mod connections;
mod contacts;
mod conversations;
mod coverage;
mod erasure;
mod evals;
mod files;
mod gates;
mod knowledge;
mod outbox;
mod people;
mod projects;
mod queue;
mod schema;
mod spending;
mod streams;
mod support;
mod threads;
mod versions;
