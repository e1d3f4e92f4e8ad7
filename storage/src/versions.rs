//! Published versions of agents, and the drafts of their next ones.

use domain::agent::Agent;
use domain::agent_version::{AgentConfig, AgentDraft, AgentVersion, NamedDatastore, Publication};
use domain::gate::Verdict;
use domain::{AgentId, ApiKeyId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, Tx, datastores};

#[derive(FromRow)]
struct VersionRow {
    agent_id: Id<AgentId>,
    number: i64,
    config: Json<AgentConfig>,
    datastores: Json<Vec<NamedDatastore>>,
    published_by: Option<Id<ApiKeyId>>,
    note: Option<String>,
    restored_from: Option<i64>,
    verdict: Option<Json<Verdict>>,
    created_at: Micros,
}

#[derive(FromRow)]
struct DraftRow {
    agent_id: Id<AgentId>,
    revision: i64,
    base_version: i64,
    config: Json<AgentConfig>,
    updated_by: Option<Id<ApiKeyId>>,
    updated_at: Micros,
}

macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT
                agent_id,
                number,
                config,
                datastores,
                published_by,
                note,
                restored_from,
                verdict,
                created_at
            FROM agent_versions ",
            $rest
        )
    };
}

/// Stores what the agent is now as its version `agent.version`.
pub(crate) async fn insert(
    tx: &mut Tx,
    agent: &Agent,
    publication: &Publication,
    now: Timestamp,
) -> Result<()> {
    let config = agent.config();
    let ids = config.datastores();
    let found = if ids.is_empty() {
        Vec::new()
    } else {
        datastores::get_many(tx, agent.workspace_id, &ids).await?
    };
    let named: Vec<NamedDatastore> =
        found.into_iter().map(|found| NamedDatastore { id: found.id, name: found.name }).collect();
    tx.statement(
        "INSERT INTO agent_versions (
            agent_id,
            number,
            workspace_id,
            config,
            datastores,
            published_by,
            note,
            restored_from,
            verdict,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(Id(agent.id))
    .bind(agent.version)
    .bind(Id(agent.workspace_id))
    .json(&config)
    .json(&named)
    .bind(publication.by.map(Id))
    .bind(&publication.note)
    .bind(publication.restored_from)
    .bind(publication.verdict.clone().map(Json))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// A version of an agent.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    number: i64,
) -> Result<Option<AgentVersion>> {
    let row: Option<VersionRow> = conn
        .statement(select_versions!(
            "WHERE workspace_id = $1
                AND agent_id = $2
                AND number = $3"
        ))
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(number)
        .optional()
        .await?;
    Ok(row.map(AgentVersion::from))
}

/// Versions of an agent, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<AgentVersion>> {
    let rows: Vec<VersionRow> = conn
        .statement(select_versions!(
            "WHERE workspace_id = $1
                AND agent_id = $2
                AND number < COALESCE($3, 9223372036854775807)
            ORDER BY number DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(before)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(AgentVersion::from).collect())
}

/// The draft of an agent.
pub async fn draft(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
) -> Result<Option<AgentDraft>> {
    let row: Option<DraftRow> = conn
        .statement(
            "SELECT
                agent_id,
                revision,
                base_version,
                config,
                updated_by,
                updated_at
            FROM agent_drafts
            WHERE workspace_id = $1
                AND agent_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .optional()
        .await?;
    Ok(row.map(AgentDraft::from))
}

/// Makes or replaces the draft of an agent; its `revision` is the one that it replaces, 0 for none. The new revision, or
/// `None` when another draft (or none) stands there now, or the agent is absent.
pub async fn put_draft(
    tx: &mut Tx,
    workspace: WorkspaceId,
    draft: &AgentDraft,
) -> Result<Option<i64>> {
    let Some(revision) = next_revision(tx, workspace, draft.agent_id).await? else {
        return Ok(None);
    };
    let known = self::draft(tx, workspace, draft.agent_id).await?;
    if known.map_or(0, |known| known.revision) != draft.revision {
        return Ok(None);
    }
    tx.statement(
        "INSERT INTO agent_drafts (
            agent_id,
            workspace_id,
            revision,
            base_version,
            config,
            updated_by,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (agent_id) DO UPDATE
        SET
            revision = excluded.revision,
            base_version = excluded.base_version,
            config = excluded.config,
            updated_by = excluded.updated_by,
            updated_at = excluded.updated_at",
    )
    .bind(Id(draft.agent_id))
    .bind(Id(workspace))
    .bind(revision)
    .bind(draft.base_version)
    .json(&draft.config)
    .bind(draft.updated_by.map(Id))
    .bind(Micros(draft.updated_at))
    .execute()
    .await?;
    Ok(Some(revision))
}

/// Removes the draft of an agent, with `revision` only that one; `false` when it is not there.
pub async fn delete_draft(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: AgentId,
    revision: Option<i64>,
) -> Result<bool> {
    tx.statement(
        "DELETE FROM agent_drafts
        WHERE workspace_id = $1
            AND agent_id = $2
            AND revision = COALESCE($3, revision)",
    )
    .bind(Id(workspace))
    .bind(Id(agent))
    .bind(revision)
    .changed()
    .await
}

/// The next revision of an agent's drafts. Holds the agent's row: drafts of an agent are written one after the other.
async fn next_revision(tx: &mut Tx, workspace: WorkspaceId, agent: AgentId) -> Result<Option<i64>> {
    let row: Option<(i64,)> = tx
        .statement(
            "UPDATE agents
            SET draft_revision = draft_revision + 1
            WHERE workspace_id = $1
                AND id = $2
            RETURNING draft_revision",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .optional()
        .await?;
    Ok(row.map(|(revision,)| revision))
}

impl From<VersionRow> for AgentVersion {
    fn from(row: VersionRow) -> Self {
        Self {
            agent_id: row.agent_id.0,
            number: row.number,
            config: row.config.0,
            datastores: row.datastores.0,
            publication: Publication {
                by: row.published_by.map(|key| key.0),
                note: row.note,
                restored_from: row.restored_from,
                verdict: row.verdict.map(|verdict| verdict.0),
            },
            created_at: row.created_at.0,
        }
    }
}

impl From<DraftRow> for AgentDraft {
    fn from(row: DraftRow) -> Self {
        Self {
            agent_id: row.agent_id.0,
            revision: row.revision,
            base_version: row.base_version,
            config: row.config.0,
            updated_by: row.updated_by.map(|key| key.0),
            updated_at: row.updated_at.0,
        }
    }
}
