//! Secrets at rest: where sealed ones are, and putting those in their place that were sealed anew.
//!
//! What replaces a secret names the one that it replaces: what a person has changed meanwhile is not undone.

use domain::agent::AgentTool;
use domain::agent_version::AgentConfig;
use domain::{AgentId, ProjectId, ProviderId, WorkspaceId};

use crate::sql::Id;
use crate::{Conn, Result, Tx};

/// The sealed keys of a workspace's providers.
pub async fn provider_keys(
    conn: &mut Conn,
    workspace: WorkspaceId,
) -> Result<Vec<(ProviderId, String)>> {
    let rows: Vec<(Id<ProviderId>, String)> = conn
        .statement(
            "SELECT
                id,
                api_key
            FROM providers
            WHERE workspace_id = $1
                AND api_key IS NOT NULL
            ORDER BY id",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id, key)| (id.0, key)).collect())
}

/// The tools of a workspace's agents that hold sealed secrets, as they are stored: JSON.
pub async fn agent_tools(
    conn: &mut Conn,
    workspace: WorkspaceId,
) -> Result<Vec<(AgentId, String)>> {
    let rows: Vec<(Id<AgentId>, String)> = conn
        .statement(
            "SELECT
                id,
                tools
            FROM agents
            WHERE workspace_id = $1
                AND tools LIKE '%\"sealed\"%'
            ORDER BY id",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id, tools)| (id.0, tools)).collect())
}

/// Puts a provider's key, sealed anew, in the place of `before`; `false` when another one stands there now.
pub async fn replace_provider_key(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ProviderId,
    before: &str,
    after: &str,
) -> Result<bool> {
    tx.statement(
        "UPDATE providers
        SET api_key = $4
        WHERE workspace_id = $1
            AND id = $2
            AND api_key = $3",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(before)
    .bind(after)
    .changed()
    .await
}

/// Puts the secret that a site vouches with, sealed anew, in the place of `before`; `false` when another one stands there
/// now.
pub async fn replace_identity_secret(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ProjectId,
    before: &str,
    after: &str,
) -> Result<bool> {
    tx.statement(
        "UPDATE projects
        SET identity_secret = $4
        WHERE workspace_id = $1
            AND id = $2
            AND identity_secret = $3",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(before)
    .bind(after)
    .changed()
    .await
}

/// Puts an agent's tools, their secrets sealed anew, in the place of `before`; `false` when others stand there now.
pub async fn replace_agent_tools(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: AgentId,
    before: &str,
    after: &[AgentTool],
) -> Result<bool> {
    tx.statement(
        "UPDATE agents
        SET tools = $4
        WHERE workspace_id = $1
            AND id = $2
            AND tools = $3",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(before)
    .json(&after)
    .changed()
    .await
}

/// Versions, drafts and publications under way of a workspace's agents that hold sealed secrets, as they are stored: JSON.
/// A draft has the number 0, a publication, of which an agent has one at most, -1.
pub async fn agent_configs(
    conn: &mut Conn,
    workspace: WorkspaceId,
) -> Result<Vec<(AgentId, i64, String)>> {
    let rows: Vec<(Id<AgentId>, i64, String)> = conn
        .statement(
            "SELECT
                agent_id,
                number,
                config
            FROM agent_versions
            WHERE workspace_id = $1
                AND config LIKE '%\"sealed\"%'
            UNION ALL
            SELECT
                agent_id,
                0,
                config
            FROM agent_drafts
            WHERE workspace_id = $1
                AND config LIKE '%\"sealed\"%'
            UNION ALL
            SELECT
                agent_id,
                -1,
                config
            FROM agent_publications
            WHERE workspace_id = $1
                AND status IN ('pending', 'running')
                AND config LIKE '%\"sealed\"%'",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(agent, number, config)| (agent.0, number, config)).collect())
}

/// Puts a version of an agent (with the number 0 its draft, with -1 its publication under way), its secrets sealed anew, in
/// the place of `before`; `false` when another one stands there now.
pub async fn replace_agent_config(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (agent, number): (AgentId, i64),
    before: &str,
    after: &AgentConfig,
) -> Result<bool> {
    let statement = match number {
        -1 => tx.statement(
            "UPDATE agent_publications
            SET config = $4
            WHERE workspace_id = $1
                AND agent_id = $2
                AND config = $3
                AND status IN ('pending', 'running')",
        ),
        0 => tx.statement(
            "UPDATE agent_drafts
            SET config = $4
            WHERE workspace_id = $1
                AND agent_id = $2
                AND config = $3",
        ),
        _ => tx.statement(
            "UPDATE agent_versions
            SET config = $4
            WHERE workspace_id = $1
                AND agent_id = $2
                AND config = $3
                AND number = $5",
        ),
    };
    let statement = statement.bind(Id(workspace)).bind(Id(agent)).bind(before).json(after);
    let statement = if number > 0 { statement.bind(number) } else { statement };
    statement.changed().await
}
