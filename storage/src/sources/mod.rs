//! Sources and their extracted text.

mod state;
mod texts;
mod upkeep;

use domain::datastore::{IngestStage, Source, SourceFailure, SourceOrigin, SourceStatus};
use domain::{BlobId, DatastoreId, Lang, SourceId, Timestamp, WorkspaceId};
use serde_json::{Map, Value, json};
use sqlx::FromRow;

pub use self::state::{GoLive, begin_version, cancel, describe, fail, go_live, progress};
pub use self::texts::{
    Validators, VersionText, contents, document, prune_texts, put_contents, put_documents,
    set_validators, validators,
};
pub use self::upkeep::{blobs_in_use, keep_live, unfinished};
use crate::sql::{Id, Json, Micros, Name, with_list, with_rows};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct SourceRow {
    id: Id<SourceId>,
    workspace_id: Id<WorkspaceId>,
    datastore_id: Id<DatastoreId>,
    name: String,
    kind: String,
    blob_id: Option<Id<BlobId>>,
    url: Option<String>,
    status: Name<SourceStatus>,
    stage: Option<Name<IngestStage>>,
    percent: Option<i64>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    warning: Option<String>,
    mime: Option<String>,
    bytes: i64,
    language: Option<Name<Lang>>,
    content_hash: Option<String>,
    live_version: i64,
    version: i64,
    chunks: i64,
    metadata: Json<Map<String, Value>>,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_sources {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                datastore_id,
                name,
                kind,
                blob_id,
                url,
                status,
                stage,
                percent,
                failure_code,
                failure_message,
                warning,
                mime,
                bytes,
                language,
                content_hash,
                live_version,
                version,
                chunks,
                metadata,
                created_at,
                updated_at
            FROM sources ",
            $rest
        )
    };
}

use select_sources;

/// Stores new sources of a workspace (status pending, version 1). `Conflict` when one has no such datastore
/// there; the transaction is of no use then.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, sources: &[Source]) -> Result<()> {
    let rows: Vec<Value> = sources.iter().map(source_row).collect();
    let stored = tx
        .statement(with_rows!(
            "INSERT INTO sources (
                id,
                workspace_id,
                datastore_id,
                name,
                kind,
                blob_id,
                url,
                status,
                mime,
                bytes,
                language,
                content_hash,
                live_version,
                version,
                chunks,
                metadata,
                created_at,
                updated_at
            )
            SELECT
                value->>2,
                datastores.workspace_id,
                datastores.id,
                value->>3,
                value->>4,
                value->>5,
                value->>6,
                'pending',
                value->>7,
                CAST(value->>8 AS BIGINT),
                value->>9,
                value->>10,
                0,
                1,
                0,
                value->>11,
                CAST(value->>12 AS BIGINT),
                CAST(value->>13 AS BIGINT)
            FROM ",
            "$2",
            " JOIN datastores
                ON datastores.workspace_id = $1
                AND datastores.workspace_id = value->>0
                AND datastores.id = value->>1"
        ))
        .bind(Id(workspace))
        .json(&rows)
        .execute()
        .await?;
    if usize::try_from(stored) == Ok(rows.len()) {
        Ok(())
    } else {
        Err(StorageError::without_parent())
    }
}

fn source_row(source: &Source) -> Value {
    let (blob, url) = match &source.origin {
        SourceOrigin::File { blob } => (Some(blob), None),
        SourceOrigin::Url { url } => (None, Some(url)),
        SourceOrigin::Text => (None, None),
    };
    json!([
        source.workspace_id,
        source.datastore_id,
        source.id,
        source.name,
        source.origin.kind(),
        blob,
        url,
        source.mime,
        source.bytes,
        source.language.map(Lang::code),
        source.content_hash,
        Value::from(source.metadata.clone()).to_string(),
        source.created_at.micros(),
        source.updated_at.micros(),
    ])
}

/// The source.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    id: SourceId,
) -> Result<Option<Source>> {
    let row: Option<SourceRow> = conn
        .statement(select_sources!(
            "WHERE workspace_id = $1
                AND datastore_id = $2
                AND id = $3"
        ))
        .bind(Id(workspace))
        .bind(Id(datastore))
        .bind(Id(id))
        .optional()
        .await?;
    row.map(SourceRow::into_source).transpose()
}

/// The source whatever its datastore: for jobs, which know the source only.
pub async fn get_any(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Option<Source>> {
    let row: Option<SourceRow> = conn
        .statement(select_sources!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    row.map(SourceRow::into_source).transpose()
}

/// Those of `ids` that are there, in no order.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[SourceId],
) -> Result<Vec<Source>> {
    let rows: Vec<SourceRow> = conn
        .statement(with_list!(
            select_sources!("WHERE workspace_id = $1 AND "), "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    rows.into_iter().map(SourceRow::into_source).collect()
}

/// Sources of a datastore, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    before: Option<SourceId>,
    limit: i64,
) -> Result<Vec<Source>> {
    let rows: Vec<SourceRow> = conn
        .statement(select_sources!(
            "WHERE workspace_id = $1
                AND datastore_id = $2
                AND id < COALESCE($3, '~')
            ORDER BY id DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(datastore))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    rows.into_iter().map(SourceRow::into_source).collect()
}

/// Removes a source with its chunks and texts; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: SourceId) -> Result<bool> {
    tx.statement(
        "DELETE FROM sources
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// Sets where people read a source that is not fetched from there; `false` when absent.
pub async fn set_link(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    link: Option<&str>,
) -> Result<bool> {
    tx.statement(
        "UPDATE sources
        SET link = $3
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(link)
    .changed()
    .await
}

/// Replaces the metadata; `false` when absent.
pub async fn set_metadata(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    metadata: &Map<String, Value>,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE sources
        SET
            metadata = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .json(metadata)
    .bind(Micros(now))
    .changed()
    .await
}

impl SourceRow {
    fn into_source(self) -> Result<Source> {
        let origin = match (self.kind.as_str(), self.blob_id, self.url) {
            ("file", Some(Id(blob)), _) => SourceOrigin::File { blob },
            ("url", _, Some(url)) => SourceOrigin::Url { url },
            ("text", ..) => SourceOrigin::Text,
            (kind, ..) => return Err(StorageError::decode("kind", kind)),
        };
        let failure = self.failure_code.zip(self.failure_message);
        Ok(Source {
            id: self.id.0,
            workspace_id: self.workspace_id.0,
            datastore_id: self.datastore_id.0,
            name: self.name,
            origin,
            status: self.status.0,
            stage: self.stage.map(|stage| stage.0),
            percent: self.percent,
            failure: failure.map(|(code, message)| SourceFailure { code, message }),
            warning: self.warning,
            mime: self.mime,
            bytes: self.bytes,
            language: self.language.map(|language| language.0),
            content_hash: self.content_hash,
            live_version: self.live_version,
            version: self.version,
            chunks: self.chunks,
            metadata: self.metadata.0,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}
