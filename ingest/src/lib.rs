#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod attachments;
pub mod chunk;
pub mod extract;
pub mod pages;
mod pipeline;
mod service;
pub mod worker;

pub use service::{Ingest, IngestOptions, NewFile};
