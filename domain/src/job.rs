//! Durable jobs.

use serde_json::Value;

use crate::{JobId, Timestamp, WorkspaceId};

/// Work to be done, wanted in the transaction of the write that causes it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Which handler does it: `ingest.source`.
    pub kind: &'static str,
    /// Ids, not data: the row may have changed by the time the job runs.
    pub payload: Value,
    /// Lower runs first; 0 is ordinary.
    pub priority: i64,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Failed attempts that make it dead, at least 1.
    pub max_attempts: i64,
    /// At most one waiting or running job of a workspace and kind has this key.
    pub dedupe_key: Option<String>,
}

impl NewJob {
    /// The default number of attempts.
    pub const MAX_ATTEMPTS: i64 = 8;

    /// Ordinary work, as soon as possible.
    pub fn now(kind: &'static str, payload: Value, now: Timestamp) -> Self {
        Self {
            kind,
            payload,
            priority: 0,
            run_at: now,
            max_attempts: Self::MAX_ATTEMPTS,
            dedupe_key: None,
        }
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The workspace it works for.
    pub workspace_id: WorkspaceId,
    /// Which handler does it.
    pub kind: String,
    /// Ids of what it is about.
    pub payload: Value,
    /// Where it stands.
    pub state: JobState,
    /// Which attempt is at work, from 1; 0 before the first claim. A worker's writes carry it, so that one
    /// whose lease ran out changes nothing.
    pub attempt: i64,
    /// Failed attempts that make it dead.
    pub max_attempts: i64,
    /// How many workers were lost while they had it. Nobody knows whose fault that was, so these attempts are
    /// not counted as failed.
    pub losses: i64,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Until when the claim holds.
    pub lease_until: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was wanted.
    pub created_at: Timestamp,
}

impl Job {
    /// Which attempt it would be had no worker been lost, from 1.
    pub const fn own_attempt(&self) -> i64 {
        self.attempt - self.losses
    }

    /// Whether it is dead when this attempt fails.
    pub const fn is_at_last_attempt(&self) -> bool {
        self.own_attempt() >= self.max_attempts
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waiting for its time and a worker.
    Waiting,
    /// Claimed by a worker.
    Running,
    /// Done.
    Done,
    /// Out of attempts or failed for good; visible, can be retried by a person.
    Dead,
    /// Stopped by its owner.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}
