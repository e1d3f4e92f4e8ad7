//! What can go wrong with the database.

use domain::{DomainError, ErrorKind};
use std::time::Duration;

/// The result of a storage call.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// A failure of the database or of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Locked, full, unreachable or out of connections: may be retried.
    #[error("the database is busy or unreachable")]
    Unavailable(#[source] sqlx::Error),
    /// The row clashes with one that is there (unique or foreign key).
    #[error("the row clashes with another one")]
    Conflict(#[source] sqlx::Error),
    /// Anything else: our fault.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// A stored value that this version cannot read.
    #[error("stored value of `{column}` is not readable: {message}")]
    Decode {
        /// Table and column.
        column: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The blob store failed.
    #[error("the blob store failed")]
    Blob(#[source] object_store::Error),
}

impl From<StorageError> for DomainError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) => Self::unavailable(
                "STORAGE_UNAVAILABLE",
                "the database is busy or unreachable; try again shortly",
                Duration::from_secs(2),
            ),
            StorageError::Conflict(_) => {
                Self::conflict("CONFLICT", "another change got there first")
            }
            StorageError::Database(_) | StorageError::Decode { .. } | StorageError::Blob(_) => {
                Self::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
            }
        }
    }
}
