//! Why the ingestion of a version stops before it is live.

use std::time::Duration;

use domain::datastore::SourceFailure;
use fetch::FetchError;
use jobs::JobError;
use models::ModelError;
use retrieval::RetrievalError;
use storage::StorageError;

use crate::extract::ExtractError;

/// Why the ingestion of a version stops before it is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// The source is gone, cancelled or at another version: nobody wants this one any more.
    Overtaken,
    /// The content is the same as that of the live version.
    Unchanged,
    /// Trying again is useless.
    Failed(SourceFailure),
    /// Trying again may help.
    Retry {
        /// What the source fails with when attempts are used up.
        failure: SourceFailure,
        /// Not before this has passed.
        after: Option<Duration>,
    },
    /// The job was told to stop.
    Interrupted(JobError),
}

/// The code of failures that are ours or the installation's, not the source's.
const UNFINISHED: &str = "INGEST_FAILED";

impl Halt {
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(SourceFailure { code: code.to_owned(), message: message.into() })
    }

    pub fn retry(code: &str, message: impl Into<String>) -> Self {
        let failure = SourceFailure { code: code.to_owned(), message: message.into() };
        Self::Retry { failure, after: None }
    }
}

/// A failure in the words of a job's last error; [`failure_of`] reads it back.
pub fn job_message(failure: &SourceFailure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

/// What a source fails with whose job died with this error.
pub fn failure_of(job_error: &str) -> SourceFailure {
    let is_code =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    match job_error.split_once(": ") {
        Some((code, message)) if is_code(code) => {
            SourceFailure { code: code.to_owned(), message: message.to_owned() }
        }
        _ => SourceFailure {
            code: UNFINISHED.to_owned(),
            message: "reading the source was broken off again and again; retry it, and look into \
                      the server's log if it fails once more"
                .to_owned(),
        },
    }
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "ingestion met a storage error");
        Self::retry(
            "STORAGE_UNAVAILABLE",
            "the database or the file store did not answer; retry later",
        )
    }
}

impl From<RetrievalError> for Halt {
    fn from(error: RetrievalError) -> Self {
        match error {
            RetrievalError::Storage(error) => error.into(),
            RetrievalError::Model(error) => error.into(),
            RetrievalError::Invalid(error) => Self::failed("INDEX_REFUSED", error.message),
            RetrievalError::Index(reason) => {
                tracing::warn!(reason, "ingestion met an index error");
                Self::retry("INDEX_UNAVAILABLE", "the search index did not answer; retry later")
            }
        }
    }
}

impl From<ModelError> for Halt {
    fn from(error: ModelError) -> Self {
        tracing::warn!(%error, "ingestion met an embedder error");
        let after = match &error {
            ModelError::RateLimited { retry_after } => *retry_after,
            ModelError::BreakerOpen { retry_after } => Some(*retry_after),
            _ => None,
        };
        let error = domain::DomainError::from(error);
        let failure = SourceFailure { code: error.code.to_owned(), message: error.message };
        if failure.code == "MODEL_REFUSED" {
            return Self::Failed(failure);
        }
        Self::Retry { failure, after }
    }
}

impl From<ExtractError> for Halt {
    fn from(error: ExtractError) -> Self {
        let failure = SourceFailure { code: error.code, message: error.message };
        if error.retry { Self::Retry { failure, after: None } } else { Self::Failed(failure) }
    }
}

impl From<FetchError> for Halt {
    fn from(error: FetchError) -> Self {
        let failure = SourceFailure { code: error.code.to_owned(), message: error.message };
        if error.retry { Self::Retry { failure, after: None } } else { Self::Failed(failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_job_that_died_of_it() {
        let failure =
            SourceFailure { code: "FETCH_TIMEOUT".into(), message: "no answer: too slow".into() };
        assert_eq!(failure_of(&job_message(&failure)), failure);
        for technical in ["the job panicked: index out of bounds", "", ": x", "Not A Code: x"] {
            assert_eq!(failure_of(technical).code, "INGEST_FAILED", "{technical}");
        }
    }
}
