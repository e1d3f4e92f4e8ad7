//! The contents of sources: what was received, what was extracted, what a conditional request needs.

use domain::{SourceId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::{Dialects, Id, with_rows};
use crate::{Conn, Result, StorageError, Tx};

/// Where a document of a source comes from, for conditional requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, FromRow)]
pub struct Validators {
    /// `ETag` of the last response.
    pub etag: Option<String>,
    /// `Last-Modified` of the last response.
    pub last_modified: Option<String>,
}

/// A text of a version of a source.
#[derive(Debug, Clone, Copy)]
pub struct VersionText<'a> {
    /// The source.
    pub source: SourceId,
    /// Its version.
    pub version: i64,
    /// What is stored.
    pub text: &'a [u8],
}

/// Puts rows of source, version and compressed text (hexadecimal, since rows travel as JSON) into a table.
macro_rules! put_texts {
    ($table:literal, $column:literal, $from:expr, $decoded:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (source_id, version, workspace_id, ",
            $column,
            ")
            SELECT
                sources.id,
                CAST(value->>1 AS BIGINT),
                sources.workspace_id,
                ",
            $decoded,
            "
            FROM ",
            $from,
            "
            JOIN sources
                ON sources.id = value->>0
                AND sources.workspace_id = $1
            WHERE TRUE
            ON CONFLICT (source_id, version) DO UPDATE
            SET ",
            $column,
            " = excluded.",
            $column
        )
    };
    ($table:literal, $column:literal) => {
        Dialects {
            sqlite: put_texts!($table, $column, "json_each($2)", "unhex(value->>2)"),
            postgres: put_texts!(
                $table,
                $column,
                "json_array_elements(CAST($2 AS JSON)) AS given (value)",
                "decode(value->>2, 'hex')"
            ),
        }
    };
}

/// Stores the texts given in requests, or the bytes that were fetched, as the contents of versions
/// (compressed). Replaces what a version had. `Conflict` when a source is absent; the transaction is of no
/// use then.
pub async fn put_contents(
    tx: &mut Tx,
    workspace: WorkspaceId,
    contents: &[VersionText<'_>],
) -> Result<()> {
    put(tx, workspace, contents, put_texts!("source_contents", "content")).await
}

/// Stores the extracted documents of versions (JSON of `ingest`, compressed), which chunks point into.
/// Replaces what a version had. `Conflict` as in [`put_contents`].
pub async fn put_documents(
    tx: &mut Tx,
    workspace: WorkspaceId,
    documents: &[VersionText<'_>],
) -> Result<()> {
    put(tx, workspace, documents, put_texts!("source_documents", "document")).await
}

async fn put(
    tx: &mut Tx,
    workspace: WorkspaceId,
    texts: &[VersionText<'_>],
    statement: Dialects,
) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<Value> = Vec::with_capacity(texts.len());
    for text in texts {
        let compressed = compress("text", text.text)?;
        rows.push(json!([text.source, text.version, hex::encode(compressed)]));
    }
    let stored = tx.statement(statement).bind(Id(workspace)).json(&rows).execute().await?;
    if usize::try_from(stored) == Ok(rows.len()) {
        Ok(())
    } else {
        Err(StorageError::without_parent())
    }
}

/// The contents of versions of sources, as far as they are there, in no order.
pub async fn contents(
    conn: &mut Conn,
    workspace: WorkspaceId,
    versions: &[(SourceId, i64)],
) -> Result<Vec<(SourceId, Vec<u8>)>> {
    let rows: Vec<(Id<SourceId>, Vec<u8>)> = conn
        .statement(with_rows!(
            "SELECT
                source_contents.source_id,
                source_contents.content
            FROM ",
            "$2",
            " JOIN source_contents
                ON source_contents.source_id = value->>0
                AND source_contents.version = CAST(value->>1 AS BIGINT)
            WHERE source_contents.workspace_id = $1"
        ))
        .bind(Id(workspace))
        .json(versions)
        .all()
        .await?;
    rows.into_iter()
        .map(|(Id(id), bytes)| Ok((id, decompress("source_contents.content", &bytes)?)))
        .collect()
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
