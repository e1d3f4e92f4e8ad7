//! Datasets that answers are evaluated with, their versions, and runs over them.

mod ratings;
mod runs;

use domain::{EvalDatasetId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::{Id, Micros};
use crate::{Conn, Result, StorageError, Tx};

pub use ratings::{RatedAnswer, RatedFilter, rated};
pub use runs::{
    EvalProgress, EvalRun, EvalRunFilter, NewEvalRun, add_row, begin_run, cancel_run, delete_run,
    end_run, fail_run, insert_run, keep_verdict, note_judging, report, rows, run, runs, verdict,
};

/// A dataset; its cases are the content of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalDataset {
    /// Its id.
    pub id: EvalDatasetId,
    /// Shown to people.
    pub name: String,
    /// The version in use: the hash of its content.
    pub version: String,
    /// How many cases that has.
    pub cases: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What a dataset holds, or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalVersion {
    /// The hash of its content.
    pub version: String,
    /// How many cases it has.
    pub cases: i64,
    /// When it was first the dataset's.
    pub created_at: Timestamp,
}

/// The content that a version is made of.
#[derive(Debug, Clone, Copy)]
pub struct EvalContent<'a> {
    /// Its hash.
    pub version: &'a str,
    /// How many cases there are.
    pub cases: i64,
    /// The cases, one a line.
    pub content: &'a [u8],
}

#[derive(FromRow)]
struct DatasetRow {
    id: Id<EvalDatasetId>,
    name: String,
    version: String,
    cases: i64,
    created_at: Micros,
    updated_at: Micros,
}

#[derive(FromRow)]
struct VersionRow {
    version: String,
    cases: i64,
    created_at: Micros,
}

/// The column of contents, for messages.
const CONTENT: &str = "eval_versions.content";

macro_rules! select_datasets {
    ($rest:literal) => {
        concat!(
            "SELECT
                eval_datasets.id,
                eval_datasets.name,
                eval_datasets.version,
                eval_versions.cases,
                eval_datasets.created_at,
                eval_datasets.updated_at
            FROM eval_datasets
            JOIN eval_versions
                ON eval_versions.dataset_id = eval_datasets.id
                AND eval_versions.version = eval_datasets.version ",
            $rest
        )
    };
}

/// Stores a new dataset with its first version. `Conflict` when the workspace is absent.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    name: &str,
    content: EvalContent<'_>,
    now: Timestamp,
) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO eval_datasets (
                id,
                workspace_id,
                name,
                version,
                created_at,
                updated_at
            )
            SELECT
                $2,
                id,
                $3,
                $4,
                $5,
                $5
            FROM workspaces
            WHERE id = $1",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(name)
        .bind(content.version)
        .bind(Micros(now))
        .changed()
        .await?;
    if !stored {
        return Err(StorageError::without_parent());
    }
    put_version(tx, workspace, id, content, now).await
}

/// The dataset.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EvalDatasetId,
) -> Result<Option<EvalDataset>> {
    let row: Option<DatasetRow> = conn
        .statement(select_datasets!(
            "WHERE eval_datasets.workspace_id = $1
                AND eval_datasets.id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(EvalDataset::from))
}

/// Datasets, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<EvalDatasetId>,
    limit: i64,
) -> Result<Vec<EvalDataset>> {
    let rows: Vec<DatasetRow> = conn
        .statement(select_datasets!(
            "WHERE eval_datasets.workspace_id = $1
                AND eval_datasets.id < COALESCE($2, '~')
            ORDER BY eval_datasets.id DESC
            LIMIT $3"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(EvalDataset::from).collect())
}

/// Names a dataset anew; `false` when absent.
pub async fn rename(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    name: &str,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE eval_datasets
        SET
            name = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(name)
    .bind(Micros(now))
    .changed()
    .await
}

/// Puts a content in use in the place of the version `before`; one that the dataset had earlier is its old version again.
/// `false` when the dataset is absent or has another version by now.
pub async fn replace(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    before: &str,
    content: EvalContent<'_>,
    now: Timestamp,
) -> Result<bool> {
    let replaced = tx
        .statement(
            "UPDATE eval_datasets
            SET
                version = $4,
                updated_at = $5
            WHERE workspace_id = $1
                AND id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(before)
        .bind(content.version)
        .bind(Micros(now))
        .changed()
        .await?;
    if replaced {
        put_version(tx, workspace, id, content, now).await?;
    }
    Ok(replaced)
}

/// The versions of a dataset, newest first, at most `limit`.
pub async fn versions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    limit: i64,
) -> Result<Vec<EvalVersion>> {
    let rows: Vec<VersionRow> = conn
        .statement(
            "SELECT
                version,
                cases,
                created_at
            FROM eval_versions
            WHERE workspace_id = $1
                AND dataset_id = $2
            ORDER BY created_at DESC, version
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(EvalVersion::from).collect())
}

/// The cases of a version, one a line.
pub async fn content(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    version: &str,
) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = conn
        .statement(
            "SELECT content
            FROM eval_versions
            WHERE workspace_id = $1
                AND dataset_id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .optional()
        .await?;
    row.map(|(content,)| decompress(CONTENT, &content)).transpose()
}

/// Removes a dataset with its versions and runs; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: EvalDatasetId) -> Result<bool> {
    tx.statement(
        "DELETE FROM eval_datasets
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

async fn put_version(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: EvalDatasetId,
    content: EvalContent<'_>,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO eval_versions (
            dataset_id,
            version,
            workspace_id,
            cases,
            content,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (dataset_id, version) DO NOTHING",
    )
    .bind(Id(id))
    .bind(content.version)
    .bind(Id(workspace))
    .bind(content.cases)
    .bind(compress(CONTENT, content.content)?)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

impl From<DatasetRow> for EvalDataset {
    fn from(row: DatasetRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            version: row.version,
            cases: row.cases,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}

impl From<VersionRow> for EvalVersion {
    fn from(row: VersionRow) -> Self {
        Self { version: row.version, cases: row.cases, created_at: row.created_at.0 }
    }
}
