//! Turns that nobody reads to their end and that nobody is to find afterwards: cases of an evaluation that took too long.

use domain::{AgentId, DomainError, WorkspaceId};
use storage::conversations;

use crate::turn::{Agents, Turn};

impl Agents {
    /// Ends a turn of `agent` whose reader has gone, and removes its conversation, in a task of its own.
    pub fn forget(&self, workspace: WorkspaceId, agent: AgentId, turn: Turn) {
        let agents = self.clone();
        self.inner.tracker.spawn(async move {
            let conversation = turn.conversation;
            if let Err(error) = agents.end_and_remove(workspace, agent, turn).await {
                tracing::warn!(%error, %conversation, "a conversation that was to be forgotten stays");
            }
        });
    }

    async fn end_and_remove(
        &self,
        workspace: WorkspaceId,
        agent: AgentId,
        mut turn: Turn,
    ) -> Result<(), DomainError> {
        self.stop(workspace, agent, turn.message).await?;
        // What was said until then is stored when its events are over.
        while turn.events.recv().await.is_some() {}
        let mut tx = self.inner.db.write().await?;
        conversations::delete(&mut tx, workspace, turn.conversation).await?;
        Ok(tx.commit().await?)
    }
}
