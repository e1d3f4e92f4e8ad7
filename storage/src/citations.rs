//! What answers cite, and the passages as they were shown.

use domain::message::{Citation, CitedPassage};
use domain::{ChunkId, DatastoreId, MessageId, SourceId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::sql::{Id, with_list, with_rows};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct CitationRow {
    message_id: Id<MessageId>,
    marker: i64,
    chunk_id: Id<ChunkId>,
    datastore_id: Id<DatastoreId>,
    source_id: Id<SourceId>,
    source_version: i64,
    source_name: String,
    url: Option<String>,
    page: Option<i64>,
    quote: String,
    quote_start: Option<i64>,
    quote_end: Option<i64>,
    score: f64,
}

#[derive(FromRow)]
struct PassageRow {
    chunk_id: Id<ChunkId>,
    heading: String,
    text: String,
}

/// Stores what a message cites, and the passages as they were shown unless an earlier answer cites them too.
pub(crate) async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    citations: &[Citation],
    passages: &[CitedPassage],
) -> Result<()> {
    if citations.is_empty() {
        return Ok(());
    }
    insert_passages(tx, workspace, passages).await?;
    insert_rows(tx, workspace, message, citations).await
}

/// The citations of those messages, by message, in order of first use.
pub async fn of_messages(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Citation)>> {
    let rows: Vec<CitationRow> = conn
        .statement(with_list!(
            "SELECT
                message_id,
                marker,
                chunk_id,
                datastore_id,
                source_id,
                source_version,
                source_name,
                url,
                page,
                quote,
                quote_start,
                quote_end,
                score
            FROM message_citations
            WHERE workspace_id = $1
                AND ",
            "message_id" in "$2";
            " ORDER BY message_id, place"
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    Ok(rows.into_iter().map(|row| (row.message_id.0, Citation::from(row))).collect())
}

/// Those of the passages that answers cite, as they were shown, in no order.
pub async fn passages(
    conn: &mut Conn,
    workspace: WorkspaceId,
    chunks: &[ChunkId],
) -> Result<Vec<CitedPassage>> {
    let rows: Vec<PassageRow> = conn
        .statement(with_list!(
            "SELECT
                chunk_id,
                heading,
                text
            FROM cited_passages
            WHERE workspace_id = $1
                AND ",
            "chunk_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(chunks)
        .all()
        .await?;
    Ok(rows.into_iter().map(CitedPassage::from).collect())
}

/// Removes up to `limit` passages of any workspace that no answer cites any more and whose chunk is gone too;
/// how many. One whose chunk is still there may be cited by an answer that is being stored.
pub async fn delete_uncited(tx: &mut Tx, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM cited_passages
        WHERE chunk_id IN (
            SELECT cited_passages.chunk_id
            FROM cited_passages
            WHERE NOT EXISTS (
                    SELECT 1
                    FROM message_citations
                    WHERE message_citations.chunk_id = cited_passages.chunk_id
                )
                AND NOT EXISTS (
                    SELECT 1
                    FROM chunks
                    WHERE chunks.id = cited_passages.chunk_id
                )
            LIMIT $1
        )",
    )
    .bind(limit)
    .execute()
    .await
}

async fn insert_passages(
    tx: &mut Tx,
    workspace: WorkspaceId,
    passages: &[CitedPassage],
) -> Result<()> {
    if passages.is_empty() {
        return Ok(());
    }
    // In one order, whatever an answer cites first: two answers that store the same passages must not wait
    // for each other in a circle.
    let mut passages: Vec<&CitedPassage> = passages.iter().collect();
    passages.sort_by_key(|passage| passage.chunk_id);
    let rows: Vec<Value> = passages
        .iter()
        .map(|passage| json!([passage.chunk_id, passage.heading, passage.text]))
        .collect();
    tx.statement(with_rows!(
        "INSERT INTO cited_passages (
            chunk_id,
            workspace_id,
            heading,
            text
        )
        SELECT
            value->>0,
            $1,
            value->>1,
            value->>2
        FROM ",
        "$2",
        " WHERE TRUE
        ON CONFLICT DO NOTHING"
    ))
    .bind(Id(workspace))
    .json(&rows)
    .later()
    .await
}

async fn insert_rows(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    citations: &[Citation],
) -> Result<()> {
    let rows: Vec<Value> = citations.iter().enumerate().map(citation_row).collect();
    tx.statement(with_rows!(
        "INSERT INTO message_citations (
            message_id,
            place,
            workspace_id,
            marker,
            chunk_id,
            datastore_id,
            source_id,
            source_version,
            source_name,
            url,
            page,
            quote,
            quote_start,
            quote_end,
            score
        )
        SELECT
            $1,
            CAST(value->>0 AS BIGINT),
            $2,
            CAST(value->>1 AS BIGINT),
            value->>2,
            value->>3,
            value->>4,
            CAST(value->>5 AS BIGINT),
            value->>6,
            value->>7,
            CAST(value->>8 AS BIGINT),
            value->>9,
            CAST(value->>10 AS BIGINT),
            CAST(value->>11 AS BIGINT),
            CAST(value->>12 AS DOUBLE PRECISION)
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(message))
    .bind(Id(workspace))
    .json(&rows)
    .later()
    .await
}

fn citation_row((place, citation): (usize, &Citation)) -> Value {
    json!([
        place,
        citation.marker,
        citation.chunk_id,
        citation.datastore_id,
        citation.source_id,
        citation.source_version,
        citation.source_name,
        citation.url,
        citation.page,
        citation.quote,
        citation.span.map(|(start, _)| start),
        citation.span.map(|(_, end)| end),
        citation.score,
    ])
}

impl From<CitationRow> for Citation {
    fn from(row: CitationRow) -> Self {
        Self {
            marker: row.marker,
            chunk_id: row.chunk_id.0,
            datastore_id: row.datastore_id.0,
            source_id: row.source_id.0,
            source_version: row.source_version,
            source_name: row.source_name,
            url: row.url,
            page: row.page,
            quote: row.quote,
            span: row.quote_start.zip(row.quote_end),
            score: row.score,
        }
    }
}

impl From<PassageRow> for CitedPassage {
    fn from(row: PassageRow) -> Self {
        Self { chunk_id: row.chunk_id.0, heading: row.heading, text: row.text }
    }
}
