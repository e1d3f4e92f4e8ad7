//! What can go wrong with the database.

use std::time::Duration;

use domain::{DomainError, ErrorKind};
use sqlx::error::{DatabaseError, ErrorKind as RowError};

/// The result of a storage call.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// A failure of the database or of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Locked, full, unreachable or out of connections: may be retried.
    #[error("the database is busy or unreachable")]
    Unavailable(#[source] sqlx::Error),
    /// The row clashes with one that is there (unique), or what it belongs to is not (foreign key).
    #[error("the row clashes with another one")]
    Conflict(#[source] sqlx::Error),
    /// Anything else: our fault.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// A stored value that this version cannot read.
    #[error("stored value of `{column}` is not readable: {message}")]
    Decode {
        /// The column.
        column: String,
        /// What is wrong with it.
        message: String,
    },
    /// The blob store failed.
    #[error("the blob store failed")]
    Blob(#[source] object_store::Error),
}

impl StorageError {
    /// What the row belongs to is not there, or is another workspace's.
    pub(crate) fn without_parent() -> Self {
        Self::Conflict(sqlx::Error::RowNotFound)
    }

    pub(crate) fn decode(column: &str, message: &(impl ToString + ?Sized)) -> Self {
        Self::Decode { column: column.to_owned(), message: message.to_string() }
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref cause) => match cause.kind() {
                RowError::UniqueViolation | RowError::ForeignKeyViolation => Self::Conflict(error),
                _ if is_passing(cause.as_ref()) => Self::Unavailable(error),
                _ => Self::Database(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            sqlx::Error::ColumnDecode { index, source } => Self::decode(&index, &source),
            other => Self::Database(other),
        }
    }
}

/// Whether the same statement may succeed later: locked, full, restarting, out of connections.
fn is_passing(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return is_passing_postgres(&code);
    }
    // The low byte of an extended result code is the primary one.
    code.parse().is_ok_and(|code: i32| is_passing_sqlite(code & 0xff))
}

/// Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_passing_postgres(code: &str) -> bool {
    // Connection trouble, serialisation failures and deadlocks, insufficient resources, shutting down.
    let class = ["08", "40", "53"].iter().any(|class| code.starts_with(class));
    // Lock not available, query cancelled by a time-out, read-only (a standby), shutting down or starting.
    class || matches!(code, "55P03" | "57014" | "25006" | "57P01" | "57P02" | "57P03" | "25P03")
}

/// Codes: <https://www.sqlite.org/rescode.html>.
fn is_passing_sqlite(primary: i32) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const OUT_OF_MEMORY: i32 = 7;
    const READ_ONLY: i32 = 8;
    const INPUT_OUTPUT: i32 = 10;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    matches!(primary, BUSY | LOCKED | OUT_OF_MEMORY | READ_ONLY | INPUT_OUTPUT | FULL | CANNOT_OPEN)
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
            StorageError::Blob(_) => Self::unavailable(
                "STORAGE_UNAVAILABLE",
                "the store of uploaded files does not answer or is full; try again shortly",
                Duration::from_secs(30),
            ),
            StorageError::Database(_) | StorageError::Decode { .. } => {
                Self::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
            }
        }
    }
}
