//! Chunks. The index proposes ids; these rows dispose.

use domain::datastore::{Chunk, LiveChunk};
use domain::{ChunkId, DatastoreId, Lang, SourceId, WorkspaceId};
use serde_json::{Map, Value, json};
use sqlx::FromRow;

use crate::sql::{Id, Json, Name, with_list, with_rows};
use crate::{Conn, Result, Tx};

/// Where a listing goes on: after this source and ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkCursor {
    /// The source of the last chunk listed.
    pub source: SourceId,
    /// Its ordinal.
    pub ordinal: i64,
}

#[derive(FromRow)]
struct ChunkRow {
    id: Id<ChunkId>,
    workspace_id: Id<WorkspaceId>,
    datastore_id: Id<DatastoreId>,
    source_id: Id<SourceId>,
    version: i64,
    ordinal: i64,
    heading: String,
    page: Option<i64>,
    char_start: i64,
    char_end: i64,
    tokens: i64,
    lang: Name<Lang>,
    text: String,
}

#[derive(FromRow)]
struct LiveChunkRow {
    #[sqlx(flatten)]
    chunk: ChunkRow,
    source_name: String,
    url: Option<String>,
    metadata: Json<Map<String, Value>>,
}

macro_rules! chunk_columns {
    () => {
        "
            chunks.id,
            chunks.workspace_id,
            chunks.datastore_id,
            chunks.source_id,
            chunks.version,
            chunks.ordinal,
            chunks.heading,
            chunks.page,
            chunks.char_start,
            chunks.char_end,
            chunks.tokens,
            chunks.lang,
            chunks.text"
    };
}

macro_rules! select_live {
    ($rest:literal) => {
        concat!(
            "SELECT",
            chunk_columns!(),
            ",
                sources.name AS source_name,
                COALESCE(sources.url, sources.link) AS url,
                sources.metadata
            FROM chunks
            JOIN sources
                ON sources.id = chunks.source_id
                AND sources.live_version = chunks.version ",
            $rest
        )
    };
}

/// Stores chunks; those that are there already stay (their ids follow from their place). Chunks of a source
/// that its workspace and datastore do not have (any more) are left out.
pub async fn insert_many(tx: &mut Tx, chunks: &[Chunk]) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = chunks.iter().map(chunk_row).collect();
    tx.statement(with_rows!(
        "INSERT INTO chunks (
            id,
            workspace_id,
            datastore_id,
            source_id,
            version,
            ordinal,
            heading,
            page,
            char_start,
            char_end,
            tokens,
            lang,
            text
        )
        SELECT
            value->>0,
            sources.workspace_id,
            sources.datastore_id,
            sources.id,
            CAST(value->>4 AS BIGINT),
            CAST(value->>5 AS BIGINT),
            value->>6,
            CAST(value->>7 AS BIGINT),
            CAST(value->>8 AS BIGINT),
            CAST(value->>9 AS BIGINT),
            CAST(value->>10 AS BIGINT),
            value->>11,
            value->>12
        FROM ",
        "$1",
        " JOIN sources
            ON sources.id = value->>3
            AND sources.datastore_id = value->>2
            AND sources.workspace_id = value->>1
        WHERE TRUE
        ON CONFLICT DO NOTHING"
    ))
    .json(&rows)
    .execute()
    .await?;
    Ok(())
}

/// Those of `ids` that are live and in one of `datastores`, with their sources, in no order.
pub async fn live(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastores: &[DatastoreId],
    ids: &[ChunkId],
) -> Result<Vec<LiveChunk>> {
    let rows: Vec<LiveChunkRow> = conn
        .statement(with_list!(
            select_live!("WHERE "), "chunks.id" in "$3",
            " AND ", "chunks.datastore_id" in "$2";
            " AND chunks.workspace_id = $1"
        ))
        .bind(Id(workspace))
        .list(datastores)
        .list(ids)
        .all()
        .await?;
    Ok(rows.into_iter().map(LiveChunk::from).collect())
}

/// The chunk whether live or not: what a citation opens.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: ChunkId) -> Result<Option<Chunk>> {
    let row: Option<ChunkRow> = conn
        .statement(concat!(
            "SELECT",
            chunk_columns!(),
            " FROM chunks
            WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Chunk::from))
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
    let rows: Vec<ChunkRow> = conn
        .statement(concat!(
            "SELECT",
            chunk_columns!(),
            " FROM chunks
            WHERE workspace_id = $1
                AND source_id = $2
                AND version = $3
                AND ordinal > $4
            ORDER BY ordinal
            LIMIT $5"
        ))
        .bind(Id(workspace))
        .bind(Id(source))
        .bind(version)
        .bind(after)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Chunk::from).collect())
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
    let (from, ordinal) = match after {
        Some(after) => (after.source.to_string(), after.ordinal),
        // Before every source.
        None => (String::new(), -1),
    };
    let rows: Vec<LiveChunkRow> = conn
        .statement(select_live!(
            "WHERE sources.workspace_id = $1
                AND sources.datastore_id = $2
                AND sources.id >= $3
                AND (sources.id > $3 OR chunks.ordinal > $4)"
        ))
        .bind(Id(workspace))
        .bind(Id(datastore))
        .bind(from)
        .bind(ordinal)
        .when(" AND sources.id = ", source.map(Id))
        .then(" ORDER BY sources.id, chunks.ordinal")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    Ok(rows.into_iter().map(LiveChunk::from).collect())
}

/// How many live chunks a datastore has.
pub async fn count_live(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(
            "SELECT CAST(COALESCE(SUM(chunks), 0) AS BIGINT)
            FROM sources
            WHERE workspace_id = $1
                AND datastore_id = $2
                AND live_version > 0",
        )
        .bind(Id(workspace))
        .bind(Id(datastore))
        .one()
        .await?;
    Ok(count)
}

/// Removes the chunks of every version of a source but `keep`; the ids of those removed.
pub async fn delete_other_versions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    source: SourceId,
    keep: i64,
) -> Result<Vec<ChunkId>> {
    let rows: Vec<(Id<ChunkId>,)> = tx
        .statement(
            "DELETE FROM chunks
            WHERE workspace_id = $1
                AND source_id = $2
                AND version <> $3
            RETURNING id",
        )
        .bind(Id(workspace))
        .bind(Id(source))
        .bind(keep)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

fn chunk_row(chunk: &Chunk) -> Value {
    json!([
        chunk.id,
        chunk.workspace_id,
        chunk.datastore_id,
        chunk.source_id,
        chunk.version,
        chunk.ordinal,
        chunk.heading,
        chunk.page,
        chunk.start,
        chunk.end,
        chunk.tokens,
        chunk.lang.code(),
        chunk.text,
    ])
}

impl From<ChunkRow> for Chunk {
    fn from(row: ChunkRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            datastore_id: row.datastore_id.0,
            source_id: row.source_id.0,
            version: row.version,
            ordinal: row.ordinal,
            text: row.text,
            heading: row.heading,
            page: row.page,
            start: row.char_start,
            end: row.char_end,
            tokens: row.tokens,
            lang: row.lang.0,
        }
    }
}

impl From<LiveChunkRow> for LiveChunk {
    fn from(row: LiveChunkRow) -> Self {
        Self {
            chunk: row.chunk.into(),
            source_name: row.source_name,
            url: row.url,
            metadata: row.metadata.0,
        }
    }
}
