//! Everything that happened in a conversation, in one order.

use domain::{ConversationId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result};

/// What an entry of a timeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimelineKind {
    /// A message; the id is its own.
    Message,
    /// A note; the id is its own.
    Note,
    /// What somebody did to the conversation; the place is its number.
    Event,
    /// What the customer thinks of an answer; the id is the answer's.
    Feedback,
    /// What the customer thinks of the conversation.
    Rating,
    /// What the customer left to be called back.
    Lead,
}

/// An entry of a timeline: what, where and when; its facts are with its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// What it is.
    pub kind: TimelineKind,
    /// The id of what it is about, as text.
    pub id: String,
    /// The sequence number of a message, the number of an event; else 0.
    pub place: i64,
    /// When.
    pub at: Timestamp,
}

/// In which order a timeline is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineOrder {
    /// The oldest entry first.
    OldestFirst,
    /// The newest entry first.
    NewestFirst,
}

#[derive(FromRow)]
struct EntryRow {
    happened_at: Micros,
    kind: i64,
    id: String,
    place: i64,
}

/// The order of kinds at the same instant: a message stands before what was done because of it.
const KINDS: [TimelineKind; 6] = [
    TimelineKind::Message,
    TimelineKind::Event,
    TimelineKind::Note,
    TimelineKind::Lead,
    TimelineKind::Feedback,
    TimelineKind::Rating,
];

macro_rules! select_entries {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM (
                SELECT
                    created_at AS happened_at,
                    CAST(0 AS BIGINT) AS kind,
                    id,
                    seq AS place
                FROM messages
                WHERE workspace_id = $1
                    AND conversation_id = $2
                UNION ALL
                SELECT
                    created_at,
                    CAST(1 AS BIGINT),
                    conversation_id,
                    number
                FROM conversation_events
                WHERE workspace_id = $1
                    AND conversation_id = $2
                UNION ALL
                SELECT
                    created_at,
                    CAST(2 AS BIGINT),
                    id,
                    CAST(0 AS BIGINT)
                FROM conversation_notes
                WHERE workspace_id = $1
                    AND conversation_id = $2
                UNION ALL
                SELECT
                    created_at,
                    CAST(3 AS BIGINT),
                    id,
                    CAST(0 AS BIGINT)
                FROM leads
                WHERE workspace_id = $1
                    AND conversation_id = $2
                UNION ALL
                SELECT
                    message_feedback.updated_at,
                    CAST(4 AS BIGINT),
                    message_feedback.message_id,
                    CAST(0 AS BIGINT)
                FROM message_feedback
                INNER JOIN messages
                    ON messages.id = message_feedback.message_id
                WHERE message_feedback.workspace_id = $1
                    AND messages.conversation_id = $2
                UNION ALL
                SELECT
                    updated_at,
                    CAST(5 AS BIGINT),
                    conversation_id,
                    CAST(0 AS BIGINT)
                FROM conversation_ratings
                WHERE workspace_id = $1
                    AND conversation_id = $2
            ) AS entries ",
            $rest
        )
    };
}

/// A part of the timeline of a conversation.
pub async fn page(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    order: TimelineOrder,
    (limit, offset): (i64, i64),
) -> Result<Vec<TimelineEntry>> {
    let text = match order {
        TimelineOrder::OldestFirst => select_entries!(
            "happened_at, kind, id, place",
            "ORDER BY happened_at, kind, place, id LIMIT $3 OFFSET $4"
        ),
        TimelineOrder::NewestFirst => select_entries!(
            "happened_at, kind, id, place",
            "ORDER BY happened_at DESC, kind DESC, place DESC, id DESC LIMIT $3 OFFSET $4"
        ),
    };
    let rows: Vec<EntryRow> = conn
        .statement(text)
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(limit)
        .bind(offset)
        .all()
        .await?;
    Ok(rows.into_iter().filter_map(EntryRow::into_entry).collect())
}

/// How many entries the timeline of a conversation has.
pub async fn count(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(select_entries!("COUNT(*)", ""))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .one()
        .await?;
    Ok(count)
}

impl EntryRow {
    fn into_entry(self) -> Option<TimelineEntry> {
        let kind = usize::try_from(self.kind).ok().and_then(|kind| KINDS.get(kind).copied())?;
        Some(TimelineEntry { kind, id: self.id, place: self.place, at: self.happened_at.0 })
    }
}
