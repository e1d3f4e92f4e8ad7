//! The HTTP surfaces through the front door: a real listener, a real database, index and job runner.

#![expect(clippy::unwrap_used, reason = "what a test sets up, or its server, has failed")]

mod audited;
mod clients;
mod edge;
mod events;
mod mcp;
mod openai;
mod openapi;
mod pages;
mod socket;
mod support;
mod v1;
mod v2;
