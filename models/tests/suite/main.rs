//! What the crate promises, tried against a scripted provider over real HTTP.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, as tests do")]

mod chat;
mod embeddings;
mod failures;
mod local;
mod providers;
mod rerank;
mod secrets;
mod support;
