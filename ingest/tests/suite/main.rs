//! Behaviour of ingestion, on real files, sockets and databases.

mod chunk;
mod documents;
mod extract;
mod fetch;
mod fetch_guard;
mod pipeline;
mod pipeline_support;
mod support;
mod worker;
