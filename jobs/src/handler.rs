//! What the crates above implement to have work done.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use domain::JobId;
use domain::job::Job;
use storage::Tx;
use tokio_util::sync::CancellationToken;

/// Does the jobs of one kind. Every job may run twice: handlers are idempotent.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kind: `ingest.source`.
    fn kind(&self) -> &'static str;

    /// Most jobs handed over at once; 1 unless batching pays. Only jobs on their first attempt share a
    /// batch: one that failed before runs alone, so that it cannot use up its neighbours' attempts.
    fn batch(&self) -> usize {
        1
    }

    /// Most batches of this kind at work at once in one process. A batching handler wants this low: while
    /// its batches are at work the next ones fill up.
    fn concurrency(&self) -> usize {
        usize::MAX
    }

    /// Does the jobs; one outcome for each, in order. A panic counts as a failed attempt of all of them.
    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome>;

    /// Notes that a job is dead, in the transaction that makes it so: out of attempts or failed for good.
    /// Whatever the job was for must not stay half done for ever.
    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        let _ = (tx, job, error);
        Ok(())
    }
}

/// What a running job may look at.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The worker's name, as in the claim.
    pub owner: String,
    /// Cancelled when nobody wants the batch any more: each of its jobs was cancelled by its owner or lost
    /// its lease, or the process stops.
    pub cancel: CancellationToken,
    controls: Arc<HashMap<JobId, Control>>,
}

impl JobContext {
    /// The context of the jobs of one batch.
    pub fn new(owner: &str, jobs: &[Job]) -> Self {
        let cancel = CancellationToken::new();
        let control = || Control { token: cancel.child_token(), reason: OnceLock::new() };
        let controls = jobs.iter().map(|job| (job.id, control())).collect();
        Self { owner: owner.to_owned(), cancel, controls: Arc::new(controls) }
    }

    /// Cancelled when this one job of the batch is to stop.
    pub fn cancel_of(&self, job: JobId) -> CancellationToken {
        self.controls.get(&job).map_or_else(|| self.cancel.clone(), |found| found.token.clone())
    }

    /// The outcome to end a job with that was told to stop; `None` while it may go on.
    pub fn interruption(&self, job: JobId) -> Option<JobError> {
        match self.controls.get(&job)?.reason.get()? {
            Interruption::Cancelled => Some(JobError::Cancelled),
            Interruption::LeaseLost | Interruption::Stopping => Some(JobError::Released),
        }
    }

    /// Tells one job to stop; the batch stops when its last job does.
    pub(crate) fn interrupt(&self, job: JobId, why: Interruption) {
        let Some(control) = self.controls.get(&job) else { return };
        // The first reason stays: a job that its owner cancelled is cancelled also when the process stops.
        let _ = control.reason.set(why);
        control.token.cancel();
        if self.controls.values().all(|control| control.reason.get().is_some()) {
            self.cancel.cancel();
        }
    }

    /// Tells every job of the batch to stop.
    pub(crate) fn interrupt_all(&self, why: Interruption) {
        for job in self.controls.keys() {
            self.interrupt(*job, why);
        }
    }
}

#[derive(Debug)]
struct Control {
    token: CancellationToken,
    reason: OnceLock<Interruption>,
}

/// Why a job is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// Its owner cancelled it.
    Cancelled,
    /// Another worker may hold it by now.
    LeaseLost,
    /// The process stops.
    Stopping,
}

/// How a job ended.
pub type Outcome = Result<(), JobError>;

/// Why a job did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

impl JobError {
    /// Worth trying again, by back-off.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: None }
    }
}
