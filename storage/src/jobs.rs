//! The queue of durable jobs. Claims and every later write carry the attempt, so that a worker whose
//! lease ran out changes nothing.

use std::collections::HashSet;

use domain::job::{Job, JobState, NewJob};
use domain::{Ambient, JobId, Timestamp, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::sql::{Dialects, Id, Json, Micros, Name, with_list, with_rows};
use crate::{Conn, Result, Tx, Wakeup};

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
    /// Workers that a job may lose before it is given up.
    pub max_losses: i64,
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

/// A job that a worker still holds after a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillHeld {
    /// The job.
    pub id: JobId,
    /// Whether its owner wants it stopped ([`cancel`]).
    pub cancel_requested: bool,
}

#[derive(FromRow)]
struct JobRow {
    id: Id<JobId>,
    workspace_id: Id<WorkspaceId>,
    kind: String,
    payload: Json<Value>,
    state: Name<JobState>,
    priority: i64,
    attempt: i64,
    max_attempts: i64,
    losses: i64,
    run_at: Micros,
    lease_until: Option<Micros>,
    last_error: Option<String>,
    created_at: Micros,
}

macro_rules! job_columns {
    () => {
        "
            jobs.id,
            jobs.workspace_id,
            jobs.kind,
            jobs.payload,
            jobs.state,
            jobs.priority,
            jobs.attempt,
            jobs.max_attempts,
            jobs.losses,
            jobs.run_at,
            jobs.lease_until,
            jobs.last_error,
            jobs.created_at"
    };
}

/// What a claim makes of a job. One that is running had its lease run out: its worker is gone, which counts as
/// a loss and not as a failed attempt. It is over when its owner wanted it stopped, and when it lost its last
/// worker.
macro_rules! claimed_as {
    () => {
        "
            state = CASE
                WHEN jobs.cancel_requested THEN 'cancelled'
                WHEN jobs.state = 'running' AND jobs.losses + 1 >= $7 THEN 'dead'
                ELSE 'running'
            END,
            attempt = CASE
                WHEN jobs.cancel_requested THEN jobs.attempt
                WHEN jobs.state = 'running' AND jobs.losses + 1 >= $7 THEN jobs.attempt
                ELSE jobs.attempt + 1
            END,
            losses = CASE
                WHEN jobs.state = 'running' THEN jobs.losses + 1
                ELSE jobs.losses
            END,
            lease_owner = CASE
                WHEN jobs.cancel_requested THEN NULL
                WHEN jobs.state = 'running' AND jobs.losses + 1 >= $7 THEN NULL
                ELSE $1
            END,
            lease_until = CASE
                WHEN jobs.cancel_requested THEN NULL
                WHEN jobs.state = 'running' AND jobs.losses + 1 >= $7 THEN NULL
                ELSE $2
            END,
            finished_at = CASE
                WHEN jobs.cancel_requested THEN $3
                WHEN jobs.state = 'running' AND jobs.losses + 1 >= $7 THEN $3
            END,
            last_error = CASE
                WHEN jobs.state = 'running' THEN 'the worker was lost before it could say how the job ended'
                ELSE jobs.last_error
            END"
    };
}

const CLAIM: Dialects = Dialects {
    sqlite: concat!(
        "UPDATE jobs
        SET",
        claimed_as!(),
        "
        WHERE id IN (
            SELECT id
            FROM jobs
            WHERE state IN ('waiting', 'running')
                AND COALESCE(lease_until, run_at) <= $3
                AND kind IN (SELECT value FROM json_each($4))
                AND workspace_id NOT IN (SELECT value FROM json_each($5))
            ORDER BY priority, COALESCE(lease_until, run_at), id
            LIMIT $6
        )
        RETURNING",
        job_columns!(),
    ),
    postgres: concat!(
        "WITH due AS MATERIALIZED (
            SELECT id
            FROM jobs
            WHERE state IN ('waiting', 'running')
                AND COALESCE(lease_until, run_at) <= $3
                AND kind = ANY($4)
                AND workspace_id <> ALL($5)
            ORDER BY priority, COALESCE(lease_until, run_at), id
            LIMIT $6
            FOR UPDATE SKIP LOCKED
        )
        UPDATE jobs
        SET",
        claimed_as!(),
        "
        FROM due
        WHERE jobs.id = due.id
        RETURNING",
        job_columns!(),
    ),
};

/// Adds a job; `None` when a waiting or running one has its `dedupe_key`. One that is being stopped does
/// not count. `Conflict` when the workspace is absent.
pub async fn enqueue(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    job: &NewJob,
) -> Result<Option<JobId>> {
    let added = enqueue_many(tx, ambient, workspace, &[job]).await?;
    Ok(added.into_iter().next())
}

/// Adds jobs as [`enqueue`] does; the ids of those added, in no order.
pub async fn enqueue_many(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    jobs: &[&NewJob],
) -> Result<Vec<JobId>> {
    let rows: Vec<Value> = jobs.iter().map(|job| new_job_row(ambient, job)).collect();
    let added: Vec<(Id<JobId>,)> = tx
        .statement(with_rows!(
            "INSERT INTO jobs (
                id,
                workspace_id,
                kind,
                payload,
                state,
                priority,
                run_at,
                attempt,
                max_attempts,
                cancel_requested,
                dedupe_key,
                created_at
            )
            SELECT
                value->>0,
                $1,
                value->>1,
                value->>2,
                'waiting',
                CAST(value->>3 AS BIGINT),
                CAST(value->>4 AS BIGINT),
                0,
                CAST(value->>5 AS BIGINT),
                FALSE,
                value->>6,
                $2
            FROM ",
            "$3",
            " WHERE TRUE
            ON CONFLICT (workspace_id, kind, dedupe_key)
                WHERE state IN ('waiting', 'running')
                    AND NOT cancel_requested
                    AND dedupe_key IS NOT NULL
            DO NOTHING
            RETURNING id"
        ))
        .bind(Id(workspace))
        .bind(Micros(ambient.now()))
        .json(&rows)
        .all()
        .await?;
    if !added.is_empty() {
        tx.wake(Wakeup::Jobs);
    }
    Ok(added.into_iter().map(|(Id(id),)| id).collect())
}

fn new_job_row(ambient: &Ambient, job: &NewJob) -> Value {
    json!([
        ambient.new_id::<JobId>(),
        job.kind,
        job.payload.to_string(),
        job.priority,
        job.run_at.micros(),
        job.max_attempts.max(1),
        job.dedupe_key,
    ])
}

/// Claims due jobs (waiting, or running with an expired lease), lowest priority number first, oldest first. A job that lost its last worker becomes dead instead and is given in the second list; one whose owner wanted it stopped becomes cancelled and is given in neither.
pub async fn claim(tx: &mut Tx, claim: &Claim<'_>, now: Timestamp) -> Result<(Vec<Job>, Vec<Job>)> {
    let mut rows: Vec<JobRow> = tx
        .statement(CLAIM)
        .bind(claim.owner)
        .bind(Micros(claim.lease_until))
        .bind(Micros(now))
        .list(claim.kinds)
        .list(claim.busy_workspaces)
        .bind(claim.limit)
        .bind(claim.max_losses)
        .all()
        .await?;
    rows.sort_by_key(|row| (row.priority, row.run_at.0, row.id.0));
    let (mut claimed, mut dead) = (Vec::new(), Vec::new());
    for job in rows.into_iter().map(Job::from) {
        match job.state {
            JobState::Running => claimed.push(job),
            JobState::Dead => dead.push(job),
            JobState::Waiting | JobState::Done | JobState::Cancelled => {}
        }
    }
    Ok((claimed, dead))
}

/// Prolongs the leases that are still held; the jobs that are, in no order. Each job is named with the attempt that the worker holds.
pub async fn heartbeat(
    tx: &mut Tx,
    owner: &str,
    jobs: &[(JobId, i64)],
    lease_until: Timestamp,
) -> Result<Vec<StillHeld>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Id<JobId>, bool)> = tx
        .statement(with_rows!(
            "UPDATE jobs
            SET lease_until = $2
            FROM (
                SELECT
                    value->>0 AS id,
                    CAST(value->>1 AS BIGINT) AS attempt
                FROM ",
            "$3",
            "
            ) AS held
            WHERE jobs.id = held.id
                AND jobs.attempt = held.attempt
                AND jobs.lease_owner = $1
                AND jobs.state = 'running'
            RETURNING
                jobs.id,
                jobs.cancel_requested"
        ))
        .bind(owner)
        .bind(Micros(lease_until))
        .json(jobs)
        .all()
        .await?;
    let held = rows.into_iter();
    Ok(held.map(|(Id(id), cancel_requested)| StillHeld { id, cancel_requested }).collect())
}

/// Ends claimed jobs; `false` for those that the worker no longer holds.
pub async fn finish(
    tx: &mut Tx,
    owner: &str,
    endings: &[(JobId, i64, Ending)],
    now: Timestamp,
) -> Result<Vec<bool>> {
    if endings.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Value> = endings.iter().map(ending_row).collect();
    let ended: Vec<(Id<JobId>, Name<JobState>)> = tx
        .statement(with_rows!(
            "UPDATE jobs
            SET
                state = CASE
                    WHEN ending.word IN ('retry', 'released') AND jobs.cancel_requested THEN 'cancelled'
                    WHEN ending.word = 'retry' AND jobs.attempt - jobs.losses >= jobs.max_attempts THEN 'dead'
                    WHEN ending.word IN ('retry', 'released') THEN 'waiting'
                    ELSE ending.word
                END,
                attempt = CASE
                    WHEN ending.word = 'released' THEN jobs.attempt - 1
                    ELSE jobs.attempt
                END,
                run_at = COALESCE(ending.run_at, jobs.run_at),
                last_error = COALESCE(ending.error, jobs.last_error),
                lease_owner = NULL,
                lease_until = NULL,
                finished_at = CASE
                    WHEN ending.word IN ('done', 'dead', 'cancelled') THEN $2
                    WHEN jobs.cancel_requested THEN $2
                    WHEN ending.word = 'retry' AND jobs.attempt - jobs.losses >= jobs.max_attempts THEN $2
                END
            FROM (
                SELECT
                    value->>0 AS id,
                    CAST(value->>1 AS BIGINT) AS attempt,
                    value->>2 AS word,
                    CAST(value->>3 AS BIGINT) AS run_at,
                    value->>4 AS error
                FROM ",
            "$3",
            "
            ) AS ending
            WHERE jobs.id = ending.id
                AND jobs.attempt = ending.attempt
                AND jobs.lease_owner = $1
                AND jobs.state = 'running'
            RETURNING
                jobs.id,
                jobs.state"
        ))
        .bind(owner)
        .bind(Micros(now))
        .json(&rows)
        .all()
        .await?;
    if ended.iter().any(|(_, Name(state))| *state == JobState::Waiting) {
        tx.wake(Wakeup::Jobs);
    }
    let ended: HashSet<JobId> = ended.into_iter().map(|(Id(id), _)| id).collect();
    Ok(endings.iter().map(|(id, ..)| ended.contains(id)).collect())
}

/// Whether the worker still holds the job at that attempt: checked in the transaction that writes its effect.
/// Nobody can claim the job until that transaction ends.
pub async fn holds(tx: &mut Tx, id: JobId, attempt: i64) -> Result<bool> {
    let row: Option<(i64,)> = tx
        .statement(Dialects {
            sqlite: "SELECT attempt
                FROM jobs
                WHERE id = $1
                    AND attempt = $2
                    AND state = 'running'",
            postgres: "SELECT attempt
                FROM jobs
                WHERE id = $1
                    AND attempt = $2
                    AND state = 'running'
                FOR SHARE",
        })
        .bind(Id(id))
        .bind(attempt)
        .optional()
        .await?;
    Ok(row.is_some())
}

/// The job.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: JobId) -> Result<Option<Job>> {
    let row: Option<JobRow> = conn
        .statement(concat!(
            "SELECT",
            job_columns!(),
            "
            FROM jobs
            WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Job::from))
}

/// Jobs of a workspace in a state, newest first.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    state: JobState,
    limit: i64,
) -> Result<Vec<Job>> {
    let rows: Vec<JobRow> = conn
        .statement(concat!(
            "SELECT",
            job_columns!(),
            "
            FROM jobs
            WHERE workspace_id = $1
                AND state = $2
            ORDER BY id DESC
            LIMIT $3"
        ))
        .bind(Id(workspace))
        .bind(Name(state))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Job::from).collect())
}

/// Cancels what waits and marks what runs for cancellation, by dedupe key; how many.
pub async fn cancel(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kind: &str,
    dedupe_key: &str,
    now: Timestamp,
) -> Result<i64> {
    let cancelled = tx
        .statement(
            "UPDATE jobs
        SET
            finished_at = CASE WHEN state = 'waiting' THEN $4 END,
            state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END,
            cancel_requested = TRUE
        WHERE workspace_id = $1
            AND kind = $2
            AND dedupe_key = $3
            AND state IN ('waiting', 'running')
            AND NOT cancel_requested",
        )
        .bind(Id(workspace))
        .bind(kind)
        .bind(dedupe_key)
        .bind(Micros(now))
        .execute()
        .await?;
    if cancelled > 0 {
        // Whoever runs one of them is to look at once.
        tx.wake(Wakeup::Jobs);
    }
    Ok(cancelled)
}

/// Cancels every job of a workspace that waits, and marks those that run, but for `spared`; how many still run.
pub async fn cancel_all(
    tx: &mut Tx,
    workspace: WorkspaceId,
    spared: Option<JobId>,
    now: Timestamp,
) -> Result<i64> {
    let cancelled = tx
        .statement(
            "UPDATE jobs
            SET
                finished_at = CASE WHEN state = 'waiting' THEN $3 END,
                state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END,
                cancel_requested = TRUE
            WHERE workspace_id = $1
                AND id <> COALESCE($2, '')
                AND state IN ('waiting', 'running')
                AND NOT cancel_requested",
        )
        .bind(Id(workspace))
        .bind(spared.map(Id))
        .bind(Micros(now))
        .execute()
        .await?;
    if cancelled > 0 {
        // Whoever runs one of them is to look at once.
        tx.wake(Wakeup::Jobs);
    }
    let (running,): (i64,) = tx
        .statement(
            "SELECT CAST(COUNT(*) AS BIGINT)
            FROM jobs
            WHERE workspace_id = $1
                AND id <> COALESCE($2, '')
                AND state = 'running'",
        )
        .bind(Id(workspace))
        .bind(spared.map(Id))
        .one()
        .await?;
    Ok(running)
}

/// Puts a dead job back with as many attempts again as jobs have by default, also one that was to be stopped
/// before it died; `false` when there is no such dead job, or another job has its dedupe key by now. Attempts
/// go on counting, so that no worker of an earlier attempt can be taken for the one at work.
pub async fn revive(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: JobId,
    now: Timestamp,
) -> Result<bool> {
    let revived = tx
        .statement(
            "UPDATE jobs
            SET
                state = 'waiting',
                run_at = $3,
                max_attempts = attempt + $4,
                losses = 0,
                cancel_requested = FALSE,
                finished_at = NULL
            WHERE workspace_id = $1
                AND id = $2
                AND state = 'dead'
                AND NOT EXISTS (
                    SELECT 1
                    FROM jobs AS other
                    WHERE other.workspace_id = jobs.workspace_id
                        AND other.kind = jobs.kind
                        AND other.dedupe_key = jobs.dedupe_key
                        AND other.state IN ('waiting', 'running')
                        AND NOT other.cancel_requested
                )",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Micros(now))
        .bind(NewJob::MAX_ATTEMPTS)
        .changed()
        .await?;
    if revived {
        tx.wake(Wakeup::Jobs);
    }
    Ok(revived)
}

/// When the next waiting job or expiring lease is due.
pub async fn next_due(conn: &mut Conn, kinds: &[&'static str]) -> Result<Option<Timestamp>> {
    let (due,): (Option<Micros>,) = conn
        .statement(with_list!(
            "SELECT MIN(COALESCE(lease_until, run_at))
            FROM jobs
            WHERE state IN ('waiting', 'running')
                AND ",
            "kind" in "$1";
            ""
        ))
        .list(kinds)
        .one()
        .await?;
    Ok(due.map(|due| due.0))
}

/// Jobs that wait, run or are dead, by kind and state. Those that ended well are many and looked at by nobody.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(String, JobState, i64)>> {
    let rows: Vec<(String, Name<JobState>, i64)> = conn
        .statement(
            "SELECT
                kind,
                state,
                CAST(COUNT(*) AS BIGINT)
            FROM jobs
            WHERE state IN ('waiting', 'running')
            GROUP BY kind, state
            UNION ALL
            SELECT
                kind,
                'dead',
                CAST(COUNT(*) AS BIGINT)
            FROM jobs
            WHERE state = 'dead'
            GROUP BY kind
            ORDER BY 1, 2",
        )
        .all()
        .await?;
    Ok(rows.into_iter().map(|(kind, Name(state), count)| (kind, state, count)).collect())
}

/// Removes done and cancelled jobs that ended before `before`, at most `limit`; how many.
pub async fn delete_older(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM jobs
        WHERE id IN (
            SELECT id
            FROM jobs
            WHERE state IN ('done', 'cancelled')
                AND finished_at < $1
            ORDER BY finished_at
            LIMIT $2
        )",
    )
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await
}

/// Ends the leases that a worker holds, so that the next claim takes its jobs up and counts an attempt more.
/// Right only when the worker is known to be gone. How many there were.
pub async fn expire_leases(tx: &mut Tx, owner: &str, now: Timestamp) -> Result<i64> {
    tx.statement(
        "UPDATE jobs
        SET lease_until = $1
        WHERE state = 'running'
            AND lease_owner = $2
            AND lease_until > $1",
    )
    .bind(Micros(now))
    .bind(owner)
    .execute()
    .await
}

fn ending_row((id, attempt, ending): &(JobId, i64, Ending)) -> Value {
    match ending {
        Ending::Done => json!([id, attempt, "done", null, null]),
        Ending::Retry { at, error } => json!([id, attempt, "retry", at.micros(), error]),
        Ending::Dead { error } => json!([id, attempt, "dead", null, error]),
        Ending::Cancelled => json!([id, attempt, "cancelled", null, null]),
        Ending::Released => json!([id, attempt, "released", null, null]),
    }
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            kind: row.kind,
            payload: row.payload.0,
            state: row.state.0,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            losses: row.losses,
            run_at: row.run_at.0,
            lease_until: row.lease_until.map(|until| until.0),
            last_error: row.last_error,
            created_at: row.created_at.0,
        }
    }
}
