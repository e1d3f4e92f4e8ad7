//! Chunks. The index proposes ids; these rows dispose.

use domain::datastore::{Chunk, LiveChunk};
use domain::{ChunkId, DatastoreId, SourceId, WorkspaceId};

use crate::{Conn, Result, Tx};

/// Where a listing goes on: after this source and ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkCursor {
    /// The source of the last chunk listed.
    pub source: SourceId,
    /// Its ordinal.
    pub ordinal: i64,
}

/// Stores chunks; those that are there already stay (their ids follow from their place).
pub async fn insert_many(tx: &mut Tx, chunks: &[Chunk]) -> Result<()> {
    todo!()
}

/// Those of `ids` that are live and in one of `datastores`, with their sources, in no order.
pub async fn live(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastores: &[DatastoreId],
    ids: &[ChunkId],
) -> Result<Vec<LiveChunk>> {
    todo!()
}

/// The chunk whether live or not: what a citation opens.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: ChunkId) -> Result<Option<Chunk>> {
    todo!()
}

/// Chunks of one version in document order, from `after` (excluded; -1 for all).
pub async fn of_version(
    conn: &mut Conn,
    workspace: WorkspaceId,
    source: SourceId,
    version: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<Chunk>> {
    todo!()
}

/// Live chunks of a datastore in document order, of one source when given.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    source: Option<SourceId>,
    after: Option<ChunkCursor>,
    limit: i64,
) -> Result<Vec<LiveChunk>> {
    todo!()
}

/// How many live chunks a datastore has.
pub async fn count_live(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
) -> Result<i64> {
    todo!()
}

/// Removes the chunks of every version of a source but `keep`; the ids of those removed.
pub async fn delete_other_versions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    source: SourceId,
    keep: i64,
) -> Result<Vec<ChunkId>> {
    todo!()
}
