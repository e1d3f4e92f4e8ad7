//! What can go wrong with search.

use std::time::Duration;

use domain::DomainError;

/// A failure of search.
#[derive(Debug, thiserror::Error)]
pub enum RetrievalError {
    /// The caller's request cannot be done: names the field.
    #[error(transparent)]
    Invalid(DomainError),
    /// The index failed or cannot be reached.
    #[error("the index is not available: {0}")]
    Index(String),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// The embedder failed.
    #[error(transparent)]
    Model(#[from] models::ModelError),
}

impl From<RetrievalError> for DomainError {
    fn from(error: RetrievalError) -> Self {
        match error {
            RetrievalError::Invalid(error) => error,
            RetrievalError::Index(_) => Self::unavailable(
                "INDEX_UNAVAILABLE",
                "the search index is not available; try again shortly",
                Duration::from_secs(5),
            ),
            RetrievalError::Storage(error) => error.into(),
            RetrievalError::Model(error) => error.into(),
        }
    }
}
