//! What happened to a conversation, beside its messages.

use domain::inbox::{By, ConversationEvent, Happening};
use domain::{ConversationId, Timestamp, WorkspaceId};
use serde_json::Value;
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct EventRow {
    number: i64,
    after_seq: i64,
    kind: Name<Happening>,
    actor: String,
    details: Json<Value>,
    created_at: Micros,
}

/// Writes an entry down. The caller holds the conversation's row, which puts the entries in order.
pub(crate) async fn write(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    (kind, by): (Happening, By),
    details: &Value,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO conversation_events (
            conversation_id,
            number,
            workspace_id,
            after_seq,
            kind,
            actor,
            details,
            created_at
        )
        SELECT
            conversations.id,
            1 + COALESCE(
                (
                    SELECT MAX(number)
                    FROM conversation_events
                    WHERE conversation_id = $2
                ),
                0
            ),
            conversations.workspace_id,
            conversations.last_seq,
            $3,
            $4,
            $5,
            $6
        FROM conversations
        WHERE conversations.workspace_id = $1
            AND conversations.id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(conversation))
    .bind(Name(kind))
    .bind(by.to_string())
    .json(details)
    .bind(Micros(now))
    .later()
    .await
}

/// What happened to a conversation after entry `after`, in order.
pub async fn history(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<ConversationEvent>> {
    let rows: Vec<EventRow> = conn
        .statement(
            "SELECT
                number,
                after_seq,
                kind,
                actor,
                details,
                created_at
            FROM conversation_events
            WHERE workspace_id = $1
                AND conversation_id = $2
                AND number > $3
            ORDER BY number
            LIMIT $4",
        )
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(after)
        .bind(limit)
        .all()
        .await?;
    rows.into_iter().map(EventRow::into_event).collect()
}

impl EventRow {
    fn into_event(self) -> Result<ConversationEvent> {
        let by = self.actor.parse::<By>();
        Ok(ConversationEvent {
            number: self.number,
            after_seq: self.after_seq,
            kind: self.kind.0,
            by: by.map_err(|error| StorageError::decode("actor", &error))?,
            details: self.details.0,
            at: self.created_at.0,
        })
    }
}
