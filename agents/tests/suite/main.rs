//! Turns over real databases, a real index and a scripted model behind real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod builtin;
mod endings;
mod errands;
mod mcp;
mod memory;
mod model;
mod options;
mod order;
mod requests;
mod reseal;
mod spending;
mod support;
mod tools;
mod traces;
mod world;
