//! Behaviour of ingestion, on real files, sockets and databases.

mod fetch;
mod fetch_guard;
