//! What the crate promises, tried against a scripted provider over real HTTP.

mod chat;
mod embeddings;
mod failures;
mod providers;
mod secrets;
mod support;
