//! Runs: where they stand, the rows that they have so far, and their reports.
//!
//! A worker's writes carry the attempt of its job: one whose lease ran out, or whose run was cancelled, changes nothing.

use domain::eval::{EvalStatus, EvalTarget};
use domain::{ApiKeyId, EvalDatasetId, EvalRunId, Timestamp, WorkspaceId};
use serde_json::Value;
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, StorageError, Tx, Wakeup};

/// A run that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvalRun {
    /// Its id.
    pub id: EvalRunId,
    /// The dataset.
    pub dataset_id: EvalDatasetId,
    /// Which version of it.
    pub version: String,
    /// What is asked.
    pub target: EvalTarget,
    /// The id of that.
    pub target_id: String,
    /// How, in the words of who runs it.
    pub options: Value,
    /// The key that wants it.
    pub api_key_id: Option<ApiKeyId>,
    /// When it was wanted.
    pub created_at: Timestamp,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EvalProgress {
    /// Cases that were asked, failed ones included.
    pub done: i64,
    /// Those of them that failed.
    pub errors: i64,
    /// Answers that a judge is to read.
    pub to_judge: i64,
    /// Those that it has read.
    pub judged: i64,
    /// Micro-dollars (US) of answers and judge.
    pub cost: i64,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalRun {
    /// Its id.
    pub id: EvalRunId,
    /// The dataset.
    pub dataset_id: EvalDatasetId,
    /// Which version of it.
    pub version: String,
    /// What is asked.
    pub target: EvalTarget,
    /// The id of that.
    pub target_id: String,
    /// How, in the words of who runs it.
    pub options: Value,
    /// The key that wanted it.
    pub api_key_id: Option<ApiKeyId>,
    /// Where it stands.
    pub status: EvalStatus,
    /// Cases of the dataset.
    pub total: i64,
    /// How far it is.
    pub progress: EvalProgress,
    /// When a worker took it up last.
    pub begun_at: Option<Timestamp>,
    /// Cases that were done by then.
    pub begun_done: i64,
    /// What was asked, in the words of who runs it, once it was.
    pub info: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was wanted.
    pub created_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

/// Which runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalRunFilter {
    /// Only of this dataset.
    pub dataset: Option<EvalDatasetId>,
    /// Only in this status.
    pub status: Option<EvalStatus>,
}

#[derive(FromRow)]
struct RunRow {
    id: Id<EvalRunId>,
    dataset_id: Id<EvalDatasetId>,
    version: String,
    target: Name<EvalTarget>,
    target_id: String,
    options: Json<Value>,
    api_key_id: Option<Id<ApiKeyId>>,
    status: Name<EvalStatus>,
    total: i64,
    done: i64,
    errors: i64,
    to_judge: i64,
    judged: i64,
    cost: i64,
    begun_at: Option<Micros>,
    begun_done: i64,
    info: Option<Json<Value>>,
    error: Option<String>,
    created_at: Micros,
    finished_at: Option<Micros>,
}

/// The columns, for messages.
const ROW: &str = "eval_rows.content";
const REPORT: &str = "eval_runs.report";

macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                dataset_id,
                version,
                target,
                target_id,
                options,
                api_key_id,
                status,
                total,
                done,
                errors,
                to_judge,
                judged,
                cost,
                begun_at,
                begun_done,
                info,
                error,
                created_at,
                finished_at
            FROM eval_runs ",
            $rest
        )
    };
}

/// Stores a run that waits. `Conflict` when the workspace has no such version of a dataset.
pub async fn insert_run(tx: &mut Tx, workspace: WorkspaceId, run: &NewEvalRun) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO eval_runs (
                id,
                workspace_id,
                dataset_id,
                version,
                target,
                target_id,
                options,
                api_key_id,
                status,
                attempt,
                total,
                done,
                errors,
                to_judge,
                judged,
                cost,
                begun_done,
                created_at
            )
            SELECT
                $4,
                workspace_id,
                dataset_id,
                version,
                $5,
                $6,
                $7,
                $8,
                'waiting',
                0,
                cases,
                0,
                0,
                0,
                0,
                0,
                0,
                $9
            FROM eval_versions
            WHERE workspace_id = $1
                AND dataset_id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(Id(run.dataset_id))
        .bind(&run.version)
        .bind(Id(run.id))
        .bind(Name(run.target))
        .bind(&run.target_id)
        .bind(Json(run.options.clone()))
        .bind(run.api_key_id.map(Id))
        .bind(Micros(run.created_at))
        .changed()
        .await?;
    tx.wake(Wakeup::Evals);
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// The run.
pub async fn run(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EvalRunId,
) -> Result<Option<EvalRun>> {
    let row: Option<RunRow> = conn
        .statement(select_runs!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(EvalRun::from))
}

/// Runs, newest first, older than `before`.
pub async fn runs(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: EvalRunFilter,
    before: Option<EvalRunId>,
    limit: i64,
) -> Result<Vec<EvalRun>> {
    let rows: Vec<RunRow> = conn
        .statement(select_runs!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND dataset_id = ", filter.dataset.map(Id))
        .when(" AND status = ", filter.status.map(Name))
        .then(" ORDER BY id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    Ok(rows.into_iter().map(EvalRun::from).collect())
}

/// Takes a run up that waits or was interrupted, for the attempt of its job; `info` is what is asked. `false` when it is
/// absent or over, or a later attempt has it.
pub async fn begin_run(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalRunId,
    attempt: i64,
    info: &Value,
    now: Timestamp,
) -> Result<bool> {
    let begun = tx
        .statement(
            "UPDATE eval_runs
            SET
                status = 'running',
                attempt = $3,
                info = $4,
                begun_at = $5,
                begun_done = (SELECT COUNT(*) FROM eval_rows WHERE eval_rows.run_id = eval_runs.id)
            WHERE workspace_id = $1
                AND id = $2
                AND attempt <= $3
                AND status IN ('waiting', 'running')",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(attempt)
        .bind(Json(info.clone()))
        .bind(Micros(now))
        .changed()
        .await?;
    tx.wake(Wakeup::Evals);
    Ok(begun)
}

/// Stores what came of a case, once, and how far the run is with it. `false` when the attempt has the run no more.
pub async fn add_row(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (run, attempt): (EvalRunId, i64),
    (case, row): (&str, &[u8]),
    progress: EvalProgress,
) -> Result<bool> {
    if !note_progress(tx, workspace, (run, attempt), progress).await? {
        return Ok(false);
    }
    tx.statement(
        "INSERT INTO eval_rows (
            run_id,
            case_id,
            workspace_id,
            content
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (run_id, case_id) DO NOTHING",
    )
    .bind(Id(run))
    .bind(case)
    .bind(Id(workspace))
    .bind(compress(ROW, row)?)
    .execute()
    .await?;
    Ok(true)
}

/// Notes how far the judge is. `false` when the attempt has the run no more.
pub async fn note_judging(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (run, attempt): (EvalRunId, i64),
    progress: EvalProgress,
) -> Result<bool> {
    note_progress(tx, workspace, (run, attempt), progress).await
}

async fn note_progress(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (run, attempt): (EvalRunId, i64),
    progress: EvalProgress,
) -> Result<bool> {
    let noted = tx
        .statement(
            "UPDATE eval_runs
            SET
                done = $4,
                errors = $5,
                to_judge = $6,
                judged = $7,
                cost = $8
            WHERE workspace_id = $1
                AND id = $2
                AND attempt = $3
                AND status = 'running'",
        )
        .bind(Id(workspace))
        .bind(Id(run))
        .bind(attempt)
        .bind(progress.done)
        .bind(progress.errors)
        .bind(progress.to_judge)
        .bind(progress.judged)
        .bind(progress.cost)
        .changed()
        .await?;
    tx.wake(Wakeup::Evals);
    Ok(noted)
}

/// What came of the cases of a run so far, in the order of their ids.
pub async fn rows(conn: &mut Conn, workspace: WorkspaceId, run: EvalRunId) -> Result<Vec<Vec<u8>>> {
    let rows: Vec<(Vec<u8>,)> = conn
        .statement(
            "SELECT content
            FROM eval_rows
            WHERE workspace_id = $1
                AND run_id = $2
            ORDER BY case_id",
        )
        .bind(Id(workspace))
        .bind(Id(run))
        .all()
        .await?;
    rows.into_iter().map(|(row,)| decompress(ROW, &row)).collect()
}

/// Ends a run with its report. `false` when the attempt has it no more.
pub async fn end_run(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (run, attempt): (EvalRunId, i64),
    report: &[u8],
    progress: EvalProgress,
    now: Timestamp,
) -> Result<bool> {
    if !note_progress(tx, workspace, (run, attempt), progress).await? {
        return Ok(false);
    }
    tx.statement(
        "UPDATE eval_runs
        SET
            status = 'done',
            report = $3,
            finished_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(run))
    .bind(compress(REPORT, report)?)
    .bind(Micros(now))
    .changed()
    .await
}

/// Ends a run that cannot be made; `false` when it is absent or over.
pub async fn fail_run(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalRunId,
    error: &str,
    now: Timestamp,
) -> Result<bool> {
    close(tx, workspace, id, EvalStatus::Failed, Some(error), now).await
}

/// Stops a run; what was asked by then stays. `false` when it is absent or over.
pub async fn cancel_run(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalRunId,
    now: Timestamp,
) -> Result<bool> {
    close(tx, workspace, id, EvalStatus::Cancelled, None, now).await
}

async fn close(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalRunId,
    status: EvalStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    tx.wake(Wakeup::Evals);
    tx.statement(
        "UPDATE eval_runs
        SET
            status = $3,
            error = $4,
            finished_at = $5
        WHERE workspace_id = $1
            AND id = $2
            AND status IN ('waiting', 'running')",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Name(status))
    .bind(error)
    .bind(Micros(now))
    .changed()
    .await
}

/// The report of a run that came to its end.
pub async fn report(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EvalRunId,
) -> Result<Option<Vec<u8>>> {
    let row: Option<(Option<Vec<u8>>,)> = conn
        .statement(
            "SELECT report
            FROM eval_runs
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    let report = row.and_then(|(report,)| report);
    report.map(|report| decompress(REPORT, &report)).transpose()
}

/// Removes a run with its rows and its report; `false` when absent.
pub async fn delete_run(tx: &mut Tx, workspace: WorkspaceId, id: EvalRunId) -> Result<bool> {
    tx.wake(Wakeup::Evals);
    tx.statement(
        "DELETE FROM eval_runs
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// What a judge said, by the hash of everything that could change it.
pub async fn verdict(conn: &mut Conn, workspace: WorkspaceId, key: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = conn
        .statement(
            "SELECT reply
            FROM eval_verdicts
            WHERE workspace_id = $1
                AND key = $2",
        )
        .bind(Id(workspace))
        .bind(key)
        .optional()
        .await?;
    Ok(row.map(|(reply,)| reply))
}

/// Keeps what a judge said; what is known already stays.
pub async fn keep_verdict(
    tx: &mut Tx,
    workspace: WorkspaceId,
    key: &str,
    reply: &str,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO eval_verdicts (
            workspace_id,
            key,
            reply,
            at
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id, key) DO NOTHING",
    )
    .bind(Id(workspace))
    .bind(key)
    .bind(reply)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

impl From<RunRow> for EvalRun {
    fn from(row: RunRow) -> Self {
        Self {
            id: row.id.0,
            dataset_id: row.dataset_id.0,
            version: row.version,
            target: row.target.0,
            target_id: row.target_id,
            options: row.options.0,
            api_key_id: row.api_key_id.map(|id| id.0),
            status: row.status.0,
            total: row.total,
            progress: EvalProgress {
                done: row.done,
                errors: row.errors,
                to_judge: row.to_judge,
                judged: row.judged,
                cost: row.cost,
            },
            begun_at: row.begun_at.map(|at| at.0),
            begun_done: row.begun_done,
            info: row.info.map(|info| info.0),
            error: row.error,
            created_at: row.created_at.0,
            finished_at: row.finished_at.map(|at| at.0),
        }
    }
}
