//! What the crates above implement to have work done.

use std::time::Duration;

use async_trait::async_trait;
use domain::job::Job;
use tokio_util::sync::CancellationToken;

/// Does the jobs of one kind. Every job may run twice: handlers are idempotent.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kind: `ingest.source`.
    fn kind(&self) -> &'static str;

    /// Most jobs handed over at once; 1 unless batching pays.
    fn batch(&self) -> usize {
        1
    }

    /// Does the jobs; one outcome for each, in order. A panic counts as a failed attempt of all of them.
    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome>;
}

/// What a running job may look at.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The worker's name, as in the claim.
    pub owner: String,
    /// Cancelled when the lease is lost, the owner cancelled the job, or the process stops.
    pub cancel: CancellationToken,
}

/// How a job ended.
pub type Outcome = Result<(), JobError>;

/// Why a job did not end well.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobError {
    /// Worth trying again, by back-off or after the time given.
    #[error("{message}")]
    Retry {
        /// What went wrong, for the log and the dead letter.
        message: String,
        /// Not before this has passed.
        after: Option<Duration>,
    },
    /// Not worth trying again.
    #[error("{0}")]
    Permanent(String),
    /// Stopped by its owner.
    #[error("cancelled")]
    Cancelled,
    /// The process stops; give the job back untouched.
    #[error("released")]
    Released,
}
