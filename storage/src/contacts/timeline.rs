//! What happened with a contact.

use domain::{ContactId, ConversationId, Timestamp, WorkspaceId};
use serde_json::Value;
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, StorageError};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: TimelineKind,
    /// Where, if it was in a conversation.
    pub conversation: Option<ConversationId>,
    /// The title of the conversation; the comment that was left with a rating.
    pub text: Option<String>,
    /// 1 to 5, of a rating.
    pub rating: Option<i64>,
    /// The fields of a lead; of a merge, what the contact was that is no more.
    pub data: Option<Value>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineKind {
    /// The contact was made.
    Created,
    /// A conversation began.
    Conversation,
    /// A conversation was closed.
    Closed,
    /// Contact details were left.
    Lead,
    /// A conversation was rated.
    Rating,
    /// Another contact became part of this one.
    Merge,
}

#[derive(FromRow)]
struct EntryRow {
    at: Micros,
    kind: String,
    conversation_id: Option<Id<ConversationId>>,
    text: Option<String>,
    rating: Option<i64>,
    data: Option<Json<Value>>,
}

macro_rules! over_timeline {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "(
                SELECT
                    created_at AS at,
                    'created' AS kind,
                    id AS item,
                    CAST(NULL AS TEXT) AS conversation_id,
                    CAST(NULL AS TEXT) AS text,
                    CAST(NULL AS BIGINT) AS rating,
                    CAST(NULL AS TEXT) AS data
                FROM contacts
                WHERE workspace_id = $1 AND id = $2
                UNION ALL
                SELECT created_at, 'conversation', id, id, title, NULL, NULL
                FROM conversations
                WHERE workspace_id = $1 AND contact_id = $2
                UNION ALL
                SELECT closed_at, 'closed', id, id, title, NULL, NULL
                FROM conversations
                WHERE workspace_id = $1 AND contact_id = $2 AND closed_at IS NOT NULL
                UNION ALL
                SELECT created_at, 'lead', id, conversation_id, NULL, NULL, fields
                FROM leads
                WHERE workspace_id = $1 AND contact_id = $2
                UNION ALL
                SELECT
                    conversation_ratings.updated_at,
                    'rating',
                    conversations.id,
                    conversations.id,
                    conversation_ratings.comment,
                    conversation_ratings.rating,
                    NULL
                FROM conversations
                JOIN conversation_ratings
                    ON conversation_ratings.conversation_id = conversations.id
                WHERE conversations.workspace_id = $1 AND conversations.contact_id = $2
                UNION ALL
                SELECT at, 'merge', merged_id, NULL, NULL, NULL, was
                FROM contact_merges
                WHERE workspace_id = $1 AND contact_id = $2
            ) AS entries ",
            $after
        )
    };
}

/// A page of what happened with a contact, in the order of time, the newest first with `descending`.
pub async fn timeline(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ContactId,
    descending: bool,
    offset: i64,
    limit: i64,
) -> Result<Vec<TimelineEntry>> {
    let text = if descending {
        over_timeline!(
            "SELECT at, kind, conversation_id, text, rating, data FROM ",
            "ORDER BY at DESC, kind DESC, item DESC LIMIT $3 OFFSET $4"
        )
    } else {
        over_timeline!(
            "SELECT at, kind, conversation_id, text, rating, data FROM ",
            "ORDER BY at, kind, item LIMIT $3 OFFSET $4"
        )
    };
    let rows: Vec<EntryRow> = conn
        .statement(text)
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(limit)
        .bind(offset)
        .all()
        .await?;
    rows.into_iter().map(EntryRow::into_entry).collect()
}

/// How much happened with a contact.
pub async fn count_timeline(conn: &mut Conn, workspace: WorkspaceId, id: ContactId) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(over_timeline!("SELECT CAST(COUNT(*) AS BIGINT) FROM ", ""))
        .bind(Id(workspace))
        .bind(Id(id))
        .one()
        .await?;
    Ok(count)
}

impl EntryRow {
    fn into_entry(self) -> Result<TimelineEntry> {
        let kind = match self.kind.as_str() {
            "created" => TimelineKind::Created,
            "conversation" => TimelineKind::Conversation,
            "closed" => TimelineKind::Closed,
            "lead" => TimelineKind::Lead,
            "rating" => TimelineKind::Rating,
            "merge" => TimelineKind::Merge,
            _ => return Err(StorageError::decode("kind", "no kind of a timeline")),
        };
        Ok(TimelineEntry {
            at: self.at.0,
            kind,
            conversation: self.conversation_id.map(|id| id.0),
            text: self.text,
            rating: self.rating,
            data: self.data.map(|data| data.0),
        })
    }
}
