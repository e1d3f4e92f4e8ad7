//! Agents.

use domain::agent::Agent;
use domain::{AgentId, WorkspaceId};

use crate::{Conn, Result, Tx};

/// Stores a new agent.
pub async fn insert(tx: &mut Tx, agent: &Agent) -> Result<()> {
    todo!()
}

/// Writes every changeable field of an agent; `false` when absent.
pub async fn update(tx: &mut Tx, agent: &Agent) -> Result<bool> {
    todo!()
}

/// The agent.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: AgentId) -> Result<Option<Agent>> {
    todo!()
}

/// The oldest agent that is not archived: the default one.
pub async fn default(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Agent>> {
    todo!()
}

/// Agents, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<AgentId>,
    limit: i64,
) -> Result<Vec<Agent>> {
    todo!()
}

/// The next free code of the workspace: `A-001`, `A-002`…
pub async fn next_code(tx: &mut Tx, workspace: WorkspaceId) -> Result<String> {
    todo!()
}

/// Removes an agent with its conversations; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: AgentId) -> Result<bool> {
    todo!()
}
