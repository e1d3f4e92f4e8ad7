//! Agents.

use domain::agent::{Agent, AgentSettings, AgentStatus, AgentTool};
use domain::agent_version::Publication;
use domain::{AgentId, DatastoreId, WorkspaceId};
use sqlx::FromRow;

use crate::datastores::{Revisions, Tuning};
use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, StorageError, Tx, versions};

#[derive(FromRow)]
struct AgentRow {
    id: Id<AgentId>,
    workspace_id: Id<WorkspaceId>,
    code: String,
    name: String,
    description: String,
    purpose: String,
    tone: String,
    voice: String,
    system_prompt: String,
    model_name: Option<String>,
    tools: Json<Vec<AgentTool>>,
    settings: Json<AgentSettings>,
    status: Name<AgentStatus>,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_agents {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                code,
                name,
                description,
                purpose,
                tone,
                voice,
                system_prompt,
                model_name,
                tools,
                settings,
                status,
                version,
                created_at,
                updated_at
            FROM agents ",
            $rest
        )
    };
}

/// Stores a new agent, which is its first version. `Conflict` when its code is taken in the workspace.
pub async fn insert(tx: &mut Tx, agent: &Agent) -> Result<()> {
    insert_as(tx, agent, &Publication::default()).await
}

/// As [`insert`], saying whose it is.
pub async fn insert_as(tx: &mut Tx, agent: &Agent, publication: &Publication) -> Result<()> {
    tx.statement(
        "INSERT INTO agents (
            id,
            workspace_id,
            code,
            name,
            description,
            purpose,
            tone,
            voice,
            system_prompt,
            model_name,
            tools,
            settings,
            status,
            version,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(Id(agent.id))
    .bind(Id(agent.workspace_id))
    .bind(&agent.code)
    .bind(&agent.name)
    .bind(&agent.description)
    .bind(&agent.purpose)
    .bind(&agent.tone)
    .bind(&agent.voice)
    .bind(&agent.system_prompt)
    .bind(&agent.model_name)
    .json(&agent.tools)
    .json(&agent.settings)
    .bind(Name(agent.status))
    .bind(agent.version)
    .bind(Micros(agent.created_at))
    .bind(Micros(agent.updated_at))
    .execute()
    .await?;
    versions::insert(tx, agent, publication, agent.created_at).await
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is written; the published version afterwards.
    Version(i64),
    /// Another version is published by now; nothing is written.
    Stale,
    /// There is no such agent.
    Absent,
}

/// Writes every changeable field of an agent, whatever version it was read from; a changed configuration is a new version.
/// `false` when absent.
pub async fn update(tx: &mut Tx, agent: &Agent) -> Result<bool> {
    let Some(known) = get(tx, agent.workspace_id, agent.id).await? else { return Ok(false) };
    let written = write(tx, &known, agent, &Publication::default()).await?;
    Ok(matches!(written, Written::Version(_)))
}

/// Writes every changeable field of an agent that was read as `agent.version`; a changed configuration is a new version.
pub async fn publish(tx: &mut Tx, agent: &Agent, publication: &Publication) -> Result<Written> {
    let Some(known) = get(tx, agent.workspace_id, agent.id).await? else {
        return Ok(Written::Absent);
    };
    if known.version != agent.version {
        return Ok(Written::Stale);
    }
    write(tx, &known, agent, publication).await
}

async fn write(
    tx: &mut Tx,
    known: &Agent,
    agent: &Agent,
    publication: &Publication,
) -> Result<Written> {
    let is_new = known.config() != agent.config();
    let agent = Agent { version: known.version + i64::from(is_new), ..agent.clone() };
    if !update_row(tx, &agent, known.version).await? {
        return Ok(Written::Stale);
    }
    if is_new {
        versions::insert(tx, &agent, publication, agent.updated_at).await?;
    }
    Ok(Written::Version(agent.version))
}

/// `false` when the agent is not of the version `known` any more.
async fn update_row(tx: &mut Tx, agent: &Agent, known: i64) -> Result<bool> {
    tx.statement(
        "UPDATE agents
        SET
            name = $3,
            description = $4,
            purpose = $5,
            tone = $6,
            voice = $7,
            system_prompt = $8,
            model_name = $9,
            tools = $10,
            settings = $11,
            status = $12,
            version = $13,
            updated_at = $14
        WHERE workspace_id = $1
            AND id = $2
            AND version = $15",
    )
    .bind(Id(agent.workspace_id))
    .bind(Id(agent.id))
    .bind(&agent.name)
    .bind(&agent.description)
    .bind(&agent.purpose)
    .bind(&agent.tone)
    .bind(&agent.voice)
    .bind(&agent.system_prompt)
    .bind(&agent.model_name)
    .json(&agent.tools)
    .json(&agent.settings)
    .bind(Name(agent.status))
    .bind(agent.version)
    .bind(Micros(agent.updated_at))
    .bind(known)
    .changed()
    .await
}

/// The agent.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: AgentId) -> Result<Option<Agent>> {
    let row: Option<AgentRow> = conn
        .statement(select_agents!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Agent::from))
}

/// An agent and what a turn must know besides before anything else can begin.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentAtWork {
    /// The agent.
    pub agent: Agent,
    /// The default datastores of its workspace: the default one itself, and the system's.
    pub defaults: Vec<DefaultDatastore>,
    /// Budgets of its workspace.
    pub budgets: i64,
}

/// A datastore that agents answer from which name none.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultDatastore {
    /// Its name.
    pub name: String,
    /// Whether it is the default one itself, from which nobody answers without the others.
    pub is_default: bool,
    /// Which it is, and what it is at.
    pub revisions: Revisions,
}

#[derive(FromRow)]
struct AgentAtWorkRow {
    #[sqlx(flatten)]
    agent: AgentRow,
    default_id: Option<Id<DatastoreId>>,
    default_name: Option<String>,
    default_itself: Option<bool>,
    default_revision: Option<i64>,
    default_threshold: Option<f64>,
    default_dense_weight: Option<f64>,
    glossary: i64,
    budgets: i64,
}

/// The agent and its surroundings; in one statement, since every turn waits for it.
pub async fn at_work(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: AgentId,
) -> Result<Option<AgentAtWork>> {
    let rows: Vec<AgentAtWorkRow> = conn
        .statement(concat!(
            "SELECT
                agent.*,
                datastores.id AS default_id,
                datastores.name AS default_name,
                datastores.is_default AS default_itself,
                datastores.revision AS default_revision,
                datastores.evidence_threshold AS default_threshold,
                datastores.dense_weight AS default_dense_weight,
                COALESCE(
                    (SELECT glossaries.revision FROM glossaries WHERE glossaries.workspace_id = $1),
                    0
                ) AS glossary,
                (SELECT COUNT(*) FROM budgets WHERE budgets.workspace_id = $1) AS budgets
            FROM (",
            select_agents!(
                "WHERE workspace_id = $1
                    AND id = $2"
            ),
            ") AS agent
            LEFT JOIN datastores
                ON datastores.workspace_id = $1
                AND (datastores.is_default OR datastores.is_system)
            ORDER BY datastores.id"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .all()
        .await?;
    let mut defaults = Vec::with_capacity(rows.len());
    let mut first = None;
    for row in rows {
        let (threshold, dense_weight) = (row.default_threshold, row.default_dense_weight);
        let tuning = Tuning { threshold, dense_weight };
        let default = (row.default_id, row.default_name, row.default_revision);
        if let (Some(Id(id)), Some(name), Some(revision)) = default {
            let revisions = Revisions { id, revision, glossary: row.glossary, tuning };
            let is_default = row.default_itself.unwrap_or_default();
            defaults.push(DefaultDatastore { name, is_default, revisions });
        }
        first.get_or_insert((row.agent, row.budgets));
    }
    Ok(first.map(|(agent, budgets)| AgentAtWork { agent: agent.into(), defaults, budgets }))
}

/// The agent with that code.
pub async fn get_by_code(
    conn: &mut Conn,
    workspace: WorkspaceId,
    code: &str,
) -> Result<Option<Agent>> {
    let row: Option<AgentRow> = conn
        .statement(select_agents!(
            "WHERE workspace_id = $1
                AND code = $2"
        ))
        .bind(Id(workspace))
        .bind(code)
        .optional()
        .await?;
    Ok(row.map(Agent::from))
}

/// The oldest agent that is not archived: the default one.
pub async fn default(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Agent>> {
    let row: Option<AgentRow> = conn
        .statement(select_agents!(
            "WHERE workspace_id = $1
                AND status <> 'archived'
            ORDER BY id
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Agent::from))
}

/// Agents, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<AgentId>,
    limit: i64,
) -> Result<Vec<Agent>> {
    let rows: Vec<AgentRow> = conn
        .statement(select_agents!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')
            ORDER BY id DESC
            LIMIT $3"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Agent::from).collect())
}

/// The next code of the workspace: `A-001`, `A-002`… Never one that was given out before.
/// `Conflict` when the workspace is absent.
pub async fn next_code(tx: &mut Tx, workspace: WorkspaceId) -> Result<String> {
    let number: Option<(i64,)> = tx
        .statement(
            "UPDATE workspaces
            SET agent_number = agent_number + 1
            WHERE id = $1
            RETURNING agent_number",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    let (number,) = number.ok_or_else(StorageError::without_parent)?;
    Ok(format!("A-{number:03}"))
}

/// Removes an agent with its conversations; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: AgentId) -> Result<bool> {
    tx.statement(
        "DELETE FROM agents
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<AgentRow> for Agent {
    fn from(row: AgentRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            code: row.code,
            name: row.name,
            description: row.description,
            purpose: row.purpose,
            tone: row.tone,
            voice: row.voice,
            system_prompt: row.system_prompt,
            model_name: row.model_name,
            tools: row.tools.0,
            settings: row.settings.0,
            status: row.status.0,
            version: row.version,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
