//! Sources and their extracted text.

use domain::datastore::{IngestStage, Source, SourceFailure};
use domain::{DatastoreId, Lang, SourceId, Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

/// What is written when a version goes live.
#[derive(Debug, Clone)]
pub struct GoLive<'a> {
    /// The version.
    pub version: i64,
    /// SHA-256 (hexadecimal) of its content.
    pub content_hash: &'a str,
    /// Its chunks.
    pub chunks: i64,
    /// The language that most of it is in.
    pub language: Option<Lang>,
    /// Something a person should know: `needs_ocr`.
    pub warning: Option<&'a str>,
}

/// Where a document of a source comes from, for conditional requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag` of the last response.
    pub etag: Option<String>,
    /// `Last-Modified` of the last response.
    pub last_modified: Option<String>,
}

/// Stores a new source (status pending, version 1).
pub async fn insert(tx: &mut Tx, source: &Source) -> Result<()> {
    todo!()
}

/// The source.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    id: SourceId,
) -> Result<Option<Source>> {
    todo!()
}

/// The source whatever its datastore: for jobs, which know the source only.
pub async fn get_any(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Option<Source>> {
    todo!()
}

/// Those of `ids` that are there.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[SourceId],
) -> Result<Vec<Source>> {
    todo!()
}

/// Sources of a datastore, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    before: Option<SourceId>,
    limit: i64,
) -> Result<Vec<Source>> {
    todo!()
}

/// Notes stage and percent (0 to 100) of the version at work; `false` when the source is gone, cancelled or at another version.
pub async fn progress(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    stage: IngestStage,
    percent: i64,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Notes what was found out of the bytes: content type, size.
pub async fn describe(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    mime: &str,
    bytes: i64,
    name: Option<&str>,
) -> Result<()> {
    todo!()
}

/// Begins a new version (status pending): its number. `None` when absent.
pub async fn begin_version(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    now: Timestamp,
) -> Result<Option<i64>> {
    todo!()
}

/// Makes a version live (status ready), with its `source.ready` event; `false` when the source is gone, cancelled or at another version.
pub async fn go_live(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    live: &GoLive<'_>,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Marks the version as failed, with its `source.failed` event; an older live version goes on answering. `false` as in `go_live`.
pub async fn fail(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    failure: &SourceFailure,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Marks a pending or running source as cancelled; `false` when it is neither.
pub async fn cancel(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Removes a source with its chunks and texts; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: SourceId) -> Result<bool> {
    todo!()
}

/// Stores the text given in a request, or the bytes that were fetched, as the content of a version (compressed).
pub async fn put_content(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    content: &[u8],
) -> Result<()> {
    todo!()
}

/// The content of a version.
pub async fn content(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
) -> Result<Option<Vec<u8>>> {
    todo!()
}

/// Stores the extracted document of a version (JSON of `ingest`, compressed), which chunks point into.
pub async fn put_document(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    document: &[u8],
) -> Result<()> {
    todo!()
}

/// The extracted document of a version.
pub async fn document(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
) -> Result<Option<Vec<u8>>> {
    todo!()
}

/// Removes contents and documents of versions other than `keep`.
pub async fn prune_texts(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    keep: i64,
) -> Result<()> {
    todo!()
}

/// Stores what a conditional request needs.
pub async fn set_validators(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    validators: &Validators,
) -> Result<()> {
    todo!()
}

/// What a conditional request needs.
pub async fn validators(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Validators> {
    todo!()
}

/// Replaces the metadata.
pub async fn set_metadata(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    metadata: &serde_json::Map<String, serde_json::Value>,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}
