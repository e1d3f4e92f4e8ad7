//! Gates of agents, versions that are evaluated before they are published, and what they came to.

use domain::agent_version::{AgentConfig, Publication};
use domain::gate::{AgentPublication, Gate, PublicationProgress, PublicationStatus, Verdict};
use domain::{AgentId, ApiKeyId, EvalDatasetId, PublicationId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, Tx, Wakeup};

#[derive(FromRow)]
struct PublicationRow {
    id: Id<PublicationId>,
    agent_id: Id<AgentId>,
    status: Name<PublicationStatus>,
    config: Json<AgentConfig>,
    base_version: i64,
    draft_revision: Option<i64>,
    requested_by: Option<Id<ApiKeyId>>,
    note: Option<String>,
    restored_from: Option<i64>,
    gate: Json<Gate>,
    progress: Option<Json<PublicationProgress>>,
    verdict: Option<Json<Verdict>>,
    error: Option<String>,
    version: Option<i64>,
    created_at: Micros,
    ended_at: Option<Micros>,
}

macro_rules! select_publications {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                agent_id,
                status,
                config,
                base_version,
                draft_revision,
                requested_by,
                note,
                restored_from,
                gate,
                progress,
                verdict,
                error,
                version,
                created_at,
                ended_at
            FROM agent_publications ",
            $rest
        )
    };
}

/// The column of reports, for messages.
const REPORT: &str = "agent_reports.report";

/// What a report is of: the same content was asked of the same knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportKey<'a> {
    /// The agent.
    pub agent: AgentId,
    /// Its version.
    pub number: i64,
    /// The dataset.
    pub dataset: EvalDatasetId,
    /// Its version.
    pub dataset_version: &'a str,
    /// What the datastores held, as a hash.
    pub knowledge: &'a str,
}

/// How a publication ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublicationEnd<'a> {
    /// What its evaluation came to.
    pub verdict: Option<&'a Verdict>,
    /// Why nothing came of it.
    pub error: Option<&'a str>,
    /// The version that it became.
    pub version: Option<i64>,
}

/// The gate of an agent.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, agent: AgentId) -> Result<Option<Gate>> {
    let row: Option<(Json<Gate>,)> = conn
        .statement(
            "SELECT settings
            FROM agent_gates
            WHERE workspace_id = $1
                AND agent_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .optional()
        .await?;
    Ok(row.map(|(gate,)| gate.0))
}

/// Puts a gate before an agent, in place of the one that it has; `false` when the agent is absent.
pub async fn put(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: AgentId,
    gate: &Gate,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "INSERT INTO agent_gates (
            agent_id,
            workspace_id,
            settings,
            updated_at
        )
        SELECT
            id,
            workspace_id,
            $3,
            $4
        FROM agents
        WHERE workspace_id = $1
            AND id = $2
        ON CONFLICT (agent_id) DO UPDATE
        SET
            settings = excluded.settings,
            updated_at = excluded.updated_at",
    )
    .bind(Id(workspace))
    .bind(Id(agent))
    .json(gate)
    .bind(Micros(now))
    .changed()
    .await
}

/// Takes the gate of an agent away; `false` when it has none.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, agent: AgentId) -> Result<bool> {
    tx.statement(
        "DELETE FROM agent_gates
        WHERE workspace_id = $1
            AND agent_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(agent))
    .changed()
    .await
}

/// Stores a publication that waits to be evaluated. `Conflict` when another one of the agent is not over.
pub async fn insert_publication(
    tx: &mut Tx,
    workspace: WorkspaceId,
    publication: &AgentPublication,
) -> Result<()> {
    tx.statement(
        "INSERT INTO agent_publications (
            id,
            workspace_id,
            agent_id,
            status,
            attempt,
            config,
            base_version,
            draft_revision,
            requested_by,
            note,
            restored_from,
            gate,
            created_at
        )
        VALUES ($1, $2, $3, 'pending', 0, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(Id(publication.id))
    .bind(Id(workspace))
    .bind(Id(publication.agent_id))
    .json(&publication.config)
    .bind(publication.base_version)
    .bind(publication.draft_revision)
    .bind(publication.publication.by.map(Id))
    .bind(&publication.publication.note)
    .bind(publication.publication.restored_from)
    .json(&publication.gate)
    .bind(Micros(publication.created_at))
    .execute()
    .await?;
    Ok(())
}

/// The publication.
pub async fn publication(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: PublicationId,
) -> Result<Option<AgentPublication>> {
    let row: Option<PublicationRow> = conn
        .statement(select_publications!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(AgentPublication::from))
}

/// Publications of an agent, newest first, older than `before`.
pub async fn publications(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    before: Option<PublicationId>,
    limit: i64,
) -> Result<Vec<AgentPublication>> {
    let rows: Vec<PublicationRow> = conn
        .statement(select_publications!(
            "WHERE workspace_id = $1
                AND agent_id = $2
                AND id < COALESCE($3, '~')
            ORDER BY id DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(AgentPublication::from).collect())
}

/// Notes that the worker of a job's attempt is at it, and how far it is; `false` when the publication is over, or a later
/// attempt is at it.
pub async fn note_progress(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (id, attempt): (PublicationId, i64),
    progress: PublicationProgress,
) -> Result<bool> {
    tx.wake(Wakeup::Evals);
    tx.statement(
        "UPDATE agent_publications
        SET
            status = 'running',
            attempt = $3,
            progress = $4
        WHERE workspace_id = $1
            AND id = $2
            AND attempt <= $3
            AND status IN ('pending', 'running')",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(attempt)
    .json(&progress)
    .changed()
    .await
}

/// Ends a publication, by the worker of a job's attempt; `attempt` `None` is anybody. `false` when it is over already, or a
/// later attempt is at it. What was to be published is kept no longer.
pub async fn end_publication(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (id, attempt): (PublicationId, Option<i64>),
    status: PublicationStatus,
    end: PublicationEnd<'_>,
    now: Timestamp,
) -> Result<bool> {
    tx.wake(Wakeup::Evals);
    tx.statement(
        "UPDATE agent_publications
        SET
            status = $4,
            verdict = $5,
            error = $6,
            version = $7,
            ended_at = $8,
            config = '{}'
        WHERE workspace_id = $1
            AND id = $2
            AND attempt <= COALESCE($3, attempt)
            AND status IN ('pending', 'running')",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(attempt)
    .bind(Name(status))
    .bind(end.verdict.cloned().map(Json))
    .bind(end.error)
    .bind(end.version)
    .bind(Micros(now))
    .changed()
    .await
}

/// What a version came to, as JSON, when the same was asked of the same knowledge.
pub async fn report(
    conn: &mut Conn,
    workspace: WorkspaceId,
    key: ReportKey<'_>,
) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = conn
        .statement(
            "SELECT report
            FROM agent_reports
            WHERE workspace_id = $1
                AND agent_id = $2
                AND number = $3
                AND dataset_id = $4
                AND dataset_version = $5
                AND knowledge = $6",
        )
        .bind(Id(workspace))
        .bind(Id(key.agent))
        .bind(key.number)
        .bind(Id(key.dataset))
        .bind(key.dataset_version)
        .bind(key.knowledge)
        .optional()
        .await?;
    row.map(|(report,)| decompress(REPORT, &report)).transpose()
}

/// Keeps what a version came to, in place of what it came to before with the same dataset.
pub async fn keep_report(
    tx: &mut Tx,
    workspace: WorkspaceId,
    key: ReportKey<'_>,
    report: &[u8],
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO agent_reports (
            agent_id,
            number,
            workspace_id,
            dataset_id,
            dataset_version,
            knowledge,
            report,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (agent_id, number, dataset_id) DO UPDATE
        SET
            dataset_version = excluded.dataset_version,
            knowledge = excluded.knowledge,
            report = excluded.report,
            created_at = excluded.created_at",
    )
    .bind(Id(key.agent))
    .bind(key.number)
    .bind(Id(workspace))
    .bind(Id(key.dataset))
    .bind(key.dataset_version)
    .bind(key.knowledge)
    .bind(compress(REPORT, report)?)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

impl From<PublicationRow> for AgentPublication {
    fn from(row: PublicationRow) -> Self {
        Self {
            id: row.id.0,
            agent_id: row.agent_id.0,
            status: row.status.0,
            config: row.config.0,
            base_version: row.base_version,
            draft_revision: row.draft_revision,
            publication: Publication {
                by: row.requested_by.map(|key| key.0),
                note: row.note,
                restored_from: row.restored_from,
                verdict: None,
            },
            gate: row.gate.0,
            progress: row.progress.map(|progress| progress.0).unwrap_or_default(),
            verdict: row.verdict.map(|verdict| verdict.0),
            error: row.error,
            version: row.version,
            created_at: row.created_at.0,
            ended_at: row.ended_at.map(|at| at.0),
        }
    }
}
