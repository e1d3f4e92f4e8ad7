//! Rated answers, which cases are made from.

use domain::message::Rating;
use domain::{AgentId, ConversationId, MessageId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Name};
use crate::{Conn, Result};

/// An answer that somebody rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatedAnswer {
    /// The answer.
    pub message_id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// What was thought of it.
    pub rating: Rating,
}

/// Which rated answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct RatedFilter {
    /// Only with this rating.
    pub rating: Option<Rating>,
    /// Only of this agent.
    pub agent: Option<AgentId>,
}

#[derive(FromRow)]
struct RatedRow {
    message_id: Id<MessageId>,
    conversation_id: Id<ConversationId>,
    rating: Name<Rating>,
}

/// Rated answers, the newest answers first, older than `before`.
pub async fn rated(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: RatedFilter,
    before: Option<MessageId>,
    limit: i64,
) -> Result<Vec<RatedAnswer>> {
    let rows: Vec<RatedRow> = conn
        .statement(
            "SELECT
                message_feedback.message_id,
                messages.conversation_id,
                message_feedback.rating
            FROM message_feedback
            JOIN messages ON messages.id = message_feedback.message_id
            JOIN conversations ON conversations.id = messages.conversation_id
            WHERE message_feedback.workspace_id = $1
                AND message_feedback.message_id < COALESCE($2, '~')",
        )
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND message_feedback.rating = ", filter.rating.map(Name))
        .when(" AND conversations.agent_id = ", filter.agent.map(Id))
        .then(" ORDER BY message_feedback.message_id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    let answer = |row: RatedRow| RatedAnswer {
        message_id: row.message_id.0,
        conversation_id: row.conversation_id.0,
        rating: row.rating.0,
    };
    Ok(rows.into_iter().map(answer).collect())
}
