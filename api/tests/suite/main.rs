//! The HTTP surfaces through the front door: a real listener, a real database, index and job runner.

mod edge;
mod events;
mod openapi;
mod support;
mod v2;
