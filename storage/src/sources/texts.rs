//! The contents of sources: what was received, what was extracted, what a conditional request needs.

use domain::{SourceId, WorkspaceId};
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::Id;
use crate::{Conn, Result, StorageError, Tx};

/// Where a document of a source comes from, for conditional requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, FromRow)]
pub struct Validators {
    /// `ETag` of the last response.
    pub etag: Option<String>,
    /// `Last-Modified` of the last response.
    pub last_modified: Option<String>,
}

/// Stores the text given in a request, or the bytes that were fetched, as the content of a version (compressed).
/// Replaces what the version had. `Conflict` when the source is absent.
pub async fn put_content(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    content: &[u8],
) -> Result<()> {
    let content = compress("source_contents.content", content)?;
    let stored = tx
        .statement(
            "INSERT INTO source_contents (
                source_id,
                version,
                workspace_id,
                content
            )
            SELECT
                id,
                $3,
                workspace_id,
                $4
            FROM sources
            WHERE workspace_id = $1
                AND id = $2
            ON CONFLICT (source_id, version) DO UPDATE
            SET content = excluded.content",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .bind(content)
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// The content of a version.
pub async fn content(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = conn
        .statement(
            "SELECT content
            FROM source_contents
            WHERE workspace_id = $1
                AND source_id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .optional()
        .await?;
    row.map(|(bytes,)| decompress("source_contents.content", &bytes)).transpose()
}

/// Stores the extracted document of a version (JSON of `ingest`, compressed), which chunks point into.
/// Replaces what the version had. `Conflict` when the source is absent.
pub async fn put_document(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    document: &[u8],
) -> Result<()> {
    let document = compress("source_documents.document", document)?;
    let stored = tx
        .statement(
            "INSERT INTO source_documents (
                source_id,
                version,
                workspace_id,
                document
            )
            SELECT
                id,
                $3,
                workspace_id,
                $4
            FROM sources
            WHERE workspace_id = $1
                AND id = $2
            ON CONFLICT (source_id, version) DO UPDATE
            SET document = excluded.document",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .bind(document)
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// The extracted document of a version.
pub async fn document(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = conn
        .statement(
            "SELECT document
            FROM source_documents
            WHERE workspace_id = $1
                AND source_id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .optional()
        .await?;
    row.map(|(bytes,)| decompress("source_documents.document", &bytes)).transpose()
}

/// Removes contents and documents of versions other than `keep`.
pub async fn prune_texts(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    keep: i64,
) -> Result<()> {
    for text in [
        "DELETE FROM source_contents
        WHERE workspace_id = $1
            AND source_id = $2
            AND version <> $3",
        "DELETE FROM source_documents
        WHERE workspace_id = $1
            AND source_id = $2
            AND version <> $3",
    ] {
        tx.statement(text).bind(Id(workspace)).bind(Id(id)).bind(keep).execute().await?;
    }
    Ok(())
}

/// Stores what a conditional request needs.
pub async fn set_validators(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    validators: &Validators,
) -> Result<()> {
    tx.statement(
        "UPDATE sources
        SET
            etag = $3,
            last_modified = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(&validators.etag)
    .bind(&validators.last_modified)
    .execute()
    .await?;
    Ok(())
}

/// What a conditional request needs; nothing when the source is absent.
pub async fn validators(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Validators> {
    let row: Option<Validators> = conn
        .statement(
            "SELECT
                etag,
                last_modified
            FROM sources
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.unwrap_or_default())
}
