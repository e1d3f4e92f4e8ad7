//! Datastores.

use std::collections::HashMap;

use domain::datastore::Datastore;
use domain::{DatastoreId, Lang, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name, with_list};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct DatastoreRow {
    id: Id<DatastoreId>,
    workspace_id: Id<WorkspaceId>,
    name: String,
    description: String,
    language: Option<Name<Lang>>,
    is_default: bool,
    is_system: bool,
    revision: i64,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_datastores {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                name,
                description,
                language,
                is_default,
                is_system,
                revision,
                created_at,
                updated_at
            FROM datastores ",
            $rest
        )
    };
}

/// Stores a new datastore.
pub async fn insert(tx: &mut Tx, datastore: &Datastore) -> Result<()> {
    tx.statement(
        "INSERT INTO datastores (
            id,
            workspace_id,
            name,
            description,
            language,
            is_default,
            is_system,
            revision,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(Id(datastore.id))
    .bind(Id(datastore.workspace_id))
    .bind(&datastore.name)
    .bind(&datastore.description)
    .bind(datastore.language.map(Name))
    .bind(datastore.is_default)
    .bind(datastore.is_system)
    .bind(datastore.revision)
    .bind(Micros(datastore.created_at))
    .bind(Micros(datastore.updated_at))
    .execute()
    .await?;
    Ok(())
}

/// Writes name, description and language; `false` when absent.
pub async fn update(tx: &mut Tx, datastore: &Datastore) -> Result<bool> {
    tx.statement(
        "UPDATE datastores
        SET
            name = $3,
            description = $4,
            language = $5,
            updated_at = $6
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(datastore.workspace_id))
    .bind(Id(datastore.id))
    .bind(&datastore.name)
    .bind(&datastore.description)
    .bind(datastore.language.map(Name))
    .bind(Micros(datastore.updated_at))
    .changed()
    .await
}

/// The datastore.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: DatastoreId,
) -> Result<Option<Datastore>> {
    let row: Option<DatastoreRow> = conn
        .statement(select_datastores!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Datastore::from))
}

/// Those of `ids` that are there, in no order.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[DatastoreId],
) -> Result<Vec<Datastore>> {
    let rows: Vec<DatastoreRow> = conn
        .statement(with_list!(
            select_datastores!("WHERE workspace_id = $1 AND "), "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    Ok(rows.into_iter().map(Datastore::from).collect())
}

/// What a search must know of a datastore before it believes what it holds in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Revisions {
    /// The datastore.
    pub id: DatastoreId,
    /// Of its live passages.
    pub revision: i64,
    /// Of the workspace's glossary; 0 when it never had one.
    pub glossary: i64,
    /// What was set for it.
    pub tuning: Tuning,
}

/// What people set for a datastore, in the place of what it finds out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tuning {
    /// The evidence from which on it is taken to hold an answer, 0 to 1.
    pub threshold: Option<f64>,
    /// The part of dense vectors in the fusion, 0 to 1.
    pub dense_weight: Option<f64>,
}

/// The revisions of those of `ids` that are there, in no order; in one statement, since every search waits for it.
pub async fn revisions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[DatastoreId],
) -> Result<Vec<Revisions>> {
    type Row = (Id<DatastoreId>, i64, i64, Option<f64>, Option<f64>);
    let rows: Vec<Row> = conn
        .statement(with_list!(
            "SELECT
                id,
                revision,
                COALESCE(
                    (SELECT glossaries.revision FROM glossaries WHERE glossaries.workspace_id = $1),
                    0
                ) AS glossary,
                evidence_threshold,
                dense_weight
            FROM datastores
            WHERE workspace_id = $1
                AND ", "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    let row = |(id, revision, glossary, threshold, dense_weight): Row| Revisions {
        id: id.0,
        revision,
        glossary,
        tuning: Tuning { threshold, dense_weight },
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Sets what searches in a datastore go by; `None` leaves it to the datastore. `false` when absent.
pub async fn tune(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: DatastoreId,
    tuning: Tuning,
) -> Result<bool> {
    tx.statement(
        "UPDATE datastores
        SET evidence_threshold = $3,
            dense_weight = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(tuning.threshold)
    .bind(tuning.dense_weight)
    .changed()
    .await
}

/// The datastores that agents answer from which name none: the workspace's default one, and the one of its articles.
pub async fn defaults(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Datastore>> {
    let rows: Vec<DatastoreRow> = conn
        .statement(select_datastores!(
            "WHERE workspace_id = $1
                AND (is_default OR is_system)
            ORDER BY id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Datastore::from).collect())
}

/// The datastore that the server keeps by itself, once there is one.
pub async fn system(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Datastore>> {
    let row: Option<DatastoreRow> = conn
        .statement(select_datastores!(
            "WHERE workspace_id = $1
                AND is_system"
        ))
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Datastore::from))
}

/// Datastores, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<DatastoreId>,
    limit: i64,
) -> Result<Vec<Datastore>> {
    let rows: Vec<DatastoreRow> = conn
        .statement(select_datastores!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')
            ORDER BY id DESC
            LIMIT $3"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Datastore::from).collect())
}

/// How many sources each of the datastores has, whatever their status; those without any are left out.
pub async fn count_sources(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[DatastoreId],
) -> Result<HashMap<DatastoreId, i64>> {
    let rows: Vec<(Id<DatastoreId>, i64)> = conn
        .statement(with_list!(
            "SELECT
                datastore_id,
                CAST(COUNT(*) AS BIGINT)
            FROM sources
            WHERE workspace_id = $1
                AND ",
            "datastore_id" in "$2";
            "
            GROUP BY datastore_id"
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id), count)| (id, count)).collect())
}

/// Removes a datastore with its sources, chunks, statistics, and the jobs whose dedupe key is the id of one
/// of its sources: waiting ones are removed, running ones told to stop. `false` when absent. Vectors and
/// files are the caller's; a job that removes them is enqueued after this call.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: DatastoreId) -> Result<bool> {
    tx.statement(
        "DELETE FROM jobs
        WHERE workspace_id = $1
            AND state = 'waiting'
            AND dedupe_key IN (SELECT id FROM sources WHERE workspace_id = $1 AND datastore_id = $2)",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    tx.statement(
        "UPDATE jobs
        SET cancel_requested = TRUE
        WHERE workspace_id = $1
            AND state = 'running'
            AND dedupe_key IN (SELECT id FROM sources WHERE workspace_id = $1 AND datastore_id = $2)",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    tx.statement(
        "DELETE FROM datastores
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<DatastoreRow> for Datastore {
    fn from(row: DatastoreRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            name: row.name,
            description: row.description,
            language: row.language.map(|language| language.0),
            is_default: row.is_default,
            is_system: row.is_system,
            revision: row.revision,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
