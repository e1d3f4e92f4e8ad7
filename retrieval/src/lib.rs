#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod background;
mod calibrate;
mod error;
mod filter;
mod fusion;
mod glossaries;
mod index;
mod neighbours;
mod passage;
mod passages;
mod questions;
mod rerank;
mod search;
mod stats;
mod threshold;
mod upkeep;

pub use error::RetrievalError;
pub use filter::{Filter, FilterValue};
pub use index::{IndexPoint, IndexTarget};
pub use neighbours::Around;
pub use passage::{embedded_text, passage_heading, text_hash};
pub use rerank::Reranking;
pub use search::{
    Billing, ComponentScores, DenseHealth, Health, Hit, Question, Retrieval, RetrievalOptions,
    SearchMode, SearchQuery, SearchResults,
};
pub use stats::{PassageTerms, StatsChange, StatsCounter};
pub use threshold::ThresholdOrigin;

/// The engines of the index in this process as they are named in log filters, each with the directives against what it
/// tells of itself: warnings about a check and flags that it lets nobody make or set, and every commit.
pub const LOG_NOISE: [(&str, &[&str]); 2] = [
    ("qdrant_edge", &["qdrant_edge::common::mmap::ops=error", "qdrant_edge::common::flags=error"]),
    ("tantivy", &["tantivy=warn"]),
];
