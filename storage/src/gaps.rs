//! Questions that the knowledge could not answer.

use domain::{AgentId, ConversationId, GapId, MessageId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, StorageError, Tx};

/// A question that the knowledge could not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Its id.
    pub id: GapId,
    /// The agent that was asked.
    pub agent_id: AgentId,
    /// Where it was asked.
    pub conversation_id: ConversationId,
    /// The message that said so.
    pub message_id: MessageId,
    /// The question, standing alone.
    pub question: String,
    /// The evidence that was found, 0 to 1.
    pub evidence: f64,
    /// When.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct GapRow {
    id: Id<GapId>,
    agent_id: Id<AgentId>,
    conversation_id: Id<ConversationId>,
    message_id: Id<MessageId>,
    question: String,
    evidence: f64,
    created_at: Micros,
}

/// Records a gap. `Conflict` when the workspace has no such conversation.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, gap: &Gap) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO gaps (
                id,
                workspace_id,
                agent_id,
                conversation_id,
                message_id,
                question,
                evidence,
                created_at
            )
            SELECT
                $3,
                workspace_id,
                $4,
                id,
                $5,
                $6,
                $7,
                $8
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(gap.conversation_id))
        .bind(Id(gap.id))
        .bind(Id(gap.agent_id))
        .bind(Id(gap.message_id))
        .bind(&gap.question)
        .bind(gap.evidence)
        .bind(Micros(gap.created_at))
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// Gaps, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<GapId>,
    limit: i64,
) -> Result<Vec<Gap>> {
    let rows: Vec<GapRow> = conn
        .statement(
            "SELECT
                id,
                agent_id,
                conversation_id,
                message_id,
                question,
                evidence,
                created_at
            FROM gaps
            WHERE workspace_id = $1
                AND id < COALESCE($2, '~')
            ORDER BY id DESC
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Gap::from).collect())
}

impl From<GapRow> for Gap {
    fn from(row: GapRow) -> Self {
        Self {
            id: row.id.0,
            agent_id: row.agent_id.0,
            conversation_id: row.conversation_id.0,
            message_id: row.message_id.0,
            question: row.question,
            evidence: row.evidence,
            created_at: row.created_at.0,
        }
    }
}
