//! Vectors of questions asked lately: what a search has paid for is not paid again when its question is compared with
//! others.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::Retrieval;

/// Most questions that are kept: some 6 MB with vectors of 1,536 numbers.
const MOST: u64 = 1_000;
/// How long.
const KEPT: Duration = Duration::from_mins(2);

/// Vectors by the text that was embedded.
#[derive(Debug)]
pub(crate) struct Questions(Cache<String, Arc<[f32]>>);

impl Questions {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_live(KEPT).build())
    }

    pub(crate) fn keep(&self, text: &str, vector: &[f32]) {
        self.0.insert(text.to_owned(), vector.into());
    }
}

impl Retrieval {
    /// The vector of a question that this process has searched for lately; `None` when it is not known (any more).
    pub fn question_vector(&self, text: &str) -> Option<Vec<f32>> {
        self.0.questions.0.get(text).map(|vector| vector.to_vec())
    }
}
