//! Up to which message a member has read a conversation.

use domain::{ConversationId, Timestamp, UserId, WorkspaceId};
use serde_json::json;

use crate::sql::Id;
use crate::{Conn, Result, Tx, events};

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// The sequence number of the last message that they have read; 0 for none.
    pub seq: i64,
    /// Messages of the customer above it.
    pub unread: i64,
}

/// Notes that a member has read up to message `seq`, or up to the newest where there is none of that number yet, with
/// its `conversation.read` event. Nobody unreads: a lower number changes nothing. `false` when the conversation is absent.
pub async fn mark(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    (user, seq): (UserId, i64),
    now: Timestamp,
) -> Result<bool> {
    let before = state(tx, workspace, conversation, user).await?;
    let row: Option<(i64,)> = tx
        .statement(
            "INSERT INTO conversation_reads (
                workspace_id,
                conversation_id,
                user_id,
                last_seq
            )
            SELECT
                workspace_id,
                id,
                $3,
                CASE
                    WHEN $4 < last_seq THEN $4
                    ELSE last_seq
                END
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2
            ON CONFLICT (conversation_id, user_id) DO UPDATE
            SET last_seq = CASE
                WHEN excluded.last_seq > conversation_reads.last_seq THEN excluded.last_seq
                ELSE conversation_reads.last_seq
            END
            RETURNING last_seq",
        )
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(Id(user))
        .bind(seq)
        .optional()
        .await?;
    let Some((seq,)) = row else { return Ok(false) };
    if seq > before.seq {
        let payload = json!({"conversationId": conversation, "userId": user, "seq": seq});
        let subject = conversation.to_string();
        events::insert(tx, workspace, "conversation.read", &subject, &payload, now).await?;
    }
    Ok(true)
}

/// How far a member has read.
pub async fn state(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    user: UserId,
) -> Result<ReadState> {
    let read: Option<(i64,)> = conn
        .statement(
            "SELECT last_seq
            FROM conversation_reads
            WHERE workspace_id = $1
                AND conversation_id = $2
                AND user_id = $3",
        )
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(Id(user))
        .optional()
        .await?;
    let seq = read.map_or(0, |(seq,)| seq);
    let (unread,): (i64,) = conn
        .statement(
            "SELECT COUNT(*)
            FROM messages
            WHERE workspace_id = $1
                AND conversation_id = $2
                AND seq > $3
                AND author = 'customer'",
        )
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(seq)
        .one()
        .await?;
    Ok(ReadState { seq, unread })
}
