//! The queue of durable jobs. Claims and every later write carry the attempt, so that a worker whose
//! lease ran out changes nothing.

use domain::job::{Job, JobState, NewJob};
use domain::{Ambient, JobId, Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// Kinds that it can do.
    pub kinds: &'a [&'static str],
    /// Names the worker.
    pub owner: &'a str,
    /// Until when the claim holds.
    pub lease_until: Timestamp,
    /// Most jobs to claim.
    pub limit: i64,
    /// Workspaces that have their share of workers already.
    pub busy_workspaces: &'a [WorkspaceId],
}

/// How a claimed job ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Done.
    Done,
    /// Failed; again at that instant, or dead when attempts are used up.
    Retry {
        /// When to run again.
        at: Timestamp,
        /// What went wrong.
        error: String,
    },
    /// Failed for good.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// Stopped by its owner.
    Cancelled,
    /// Given back untouched (graceful stop): does not count as an attempt.
    Released,
}

/// Adds a job; `None` when a waiting or running one has its `dedupe_key`.
pub async fn enqueue(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    job: &NewJob,
) -> Result<Option<JobId>> {
    todo!()
}

/// Claims due jobs (waiting, or running with an expired lease), lowest priority number first, oldest first. A job whose attempts are used up becomes dead instead and is given in the second list.
pub async fn claim(tx: &mut Tx, claim: &Claim<'_>, now: Timestamp) -> Result<(Vec<Job>, Vec<Job>)> {
    todo!()
}

/// A job that a worker still holds after a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillHeld {
    /// The job.
    pub id: JobId,
    /// Whether its owner wants it stopped ([`cancel`]).
    pub cancel_requested: bool,
}

/// Prolongs the leases that are still held; the jobs that are, in no order. Each job is named with the attempt that the worker holds.
pub async fn heartbeat(
    tx: &mut Tx,
    owner: &str,
    jobs: &[(JobId, i64)],
    lease_until: Timestamp,
) -> Result<Vec<StillHeld>> {
    todo!()
}

/// Ends claimed jobs; `false` for those that the worker no longer holds.
pub async fn finish(
    tx: &mut Tx,
    owner: &str,
    endings: &[(JobId, i64, Ending)],
    now: Timestamp,
) -> Result<Vec<bool>> {
    todo!()
}

/// Whether the worker still holds the job at that attempt: checked in the transaction that writes its effect.
pub async fn holds(tx: &mut Tx, id: JobId, attempt: i64) -> Result<bool> {
    todo!()
}

/// The job.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: JobId) -> Result<Option<Job>> {
    todo!()
}

/// Jobs of a workspace in a state, newest first.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    state: JobState,
    limit: i64,
) -> Result<Vec<Job>> {
    todo!()
}

/// Cancels what waits and marks what runs for cancellation, by dedupe key; how many.
pub async fn cancel(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kind: &str,
    dedupe_key: &str,
    now: Timestamp,
) -> Result<i64> {
    todo!()
}

/// Puts a dead job back; `false` when there is no such dead job.
pub async fn revive(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: JobId,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// When the next waiting job or expiring lease is due.
pub async fn next_due(conn: &mut Conn, kinds: &[&'static str]) -> Result<Option<Timestamp>> {
    todo!()
}

/// Jobs by kind and state, for metrics.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(String, JobState, i64)>> {
    todo!()
}

/// Removes done and cancelled jobs older than `before`, at most `limit`; how many.
pub async fn delete_older(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    todo!()
}
