//! Questions that the knowledge could not answer.

use domain::{AgentId, ConversationId, GapId, MessageId, Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

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

/// Records a gap.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, gap: &Gap) -> Result<()> {
    todo!()
}

/// Gaps, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<GapId>,
    limit: i64,
) -> Result<Vec<Gap>> {
    todo!()
}
