#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod error;
mod filter;
mod index;
mod search;
mod stats;

pub use error::RetrievalError;
pub use filter::{Filter, FilterValue};
pub use index::{IndexPoint, IndexTarget};
pub use search::{
    ComponentScores, Hit, Question, Retrieval, RetrievalOptions, SearchMode, SearchQuery,
    SearchResults,
};
