//! Questions that the knowledge could not answer, and groups of those that mean the same.

use domain::gap::{GapReason, GapStatus};
use domain::job::NewJob;
use domain::{
    AgentId, Ambient, ConversationId, DatastoreId, GapId, Lang, MessageId, Timestamp, WorkspaceId,
};
use serde_json::json;
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name, with_list};
use crate::{Conn, Result, StorageError, Tx, events, jobs};

/// A question that the knowledge could not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Its id.
    pub id: GapId,
    /// The group of questions like it; its own id begins one.
    pub group_id: GapId,
    /// The agent that was asked.
    pub agent_id: AgentId,
    /// Where it was asked.
    pub conversation_id: ConversationId,
    /// The answer that did not answer it.
    pub message_id: MessageId,
    /// The question, standing alone.
    pub question: String,
    /// Why it counts as not answered.
    pub reason: GapReason,
    /// The language it was asked in, when it tells.
    pub lang: Option<Lang>,
    /// The evidence that was found, 0 to 1.
    pub evidence: f64,
    /// When.
    pub created_at: Timestamp,
}

/// Questions of one agent that mean the same.
#[derive(Debug, Clone, PartialEq)]
pub struct GapGroup {
    /// The id of its first gap.
    pub id: GapId,
    /// The agent that was asked.
    pub agent_id: AgentId,
    /// The question that was asked first.
    pub question: String,
    /// Where it stands.
    pub status: GapStatus,
    /// The best evidence found so far, 0 to 1.
    pub evidence: f64,
    /// What the agent answered when it was asked again.
    pub answer: Option<String>,
    /// When it was last asked again.
    pub rechecked_at: Option<Timestamp>,
    /// When it was closed or dismissed.
    pub closed_at: Option<Timestamp>,
    /// When it was first asked.
    pub created_at: Timestamp,
    /// How often it was asked.
    pub count: i64,
    /// When it was last asked.
    pub last_at: Timestamp,
}

/// Which groups.
#[derive(Debug, Clone, Copy, Default)]
pub struct GapFilter {
    /// Only in this status.
    pub status: Option<GapStatus>,
    /// Only of this agent.
    pub agent: Option<AgentId>,
}

/// What asking again came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recheck<'a> {
    /// The evidence that was found, 0 to 1.
    pub evidence: f64,
    /// The answer, when there is one: the group is closed.
    pub answer: Option<&'a str>,
}

#[derive(FromRow)]
struct GapRow {
    id: Id<GapId>,
    group_id: Option<Id<GapId>>,
    agent_id: Id<AgentId>,
    conversation_id: Id<ConversationId>,
    message_id: Id<MessageId>,
    question: String,
    reason: Name<GapReason>,
    lang: Option<Name<Lang>>,
    evidence: f64,
    created_at: Micros,
}

#[derive(FromRow)]
struct GroupRow {
    id: Id<GapId>,
    agent_id: Id<AgentId>,
    question: String,
    status: Name<GapStatus>,
    evidence: f64,
    answer: Option<String>,
    rechecked_at: Option<Micros>,
    closed_at: Option<Micros>,
    created_at: Micros,
    count: i64,
    last_at: Option<Micros>,
}

macro_rules! select_gaps {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                group_id,
                agent_id,
                conversation_id,
                message_id,
                question,
                reason,
                lang,
                evidence,
                created_at
            FROM gaps ",
            $rest
        )
    };
}

macro_rules! select_groups {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                agent_id,
                question,
                status,
                evidence,
                answer,
                rechecked_at,
                closed_at,
                created_at,
                (SELECT COUNT(*) FROM gaps WHERE gaps.group_id = gap_groups.id) AS count,
                (SELECT MAX(gaps.created_at) FROM gaps WHERE gaps.group_id = gap_groups.id) AS last_at
            FROM gap_groups ",
            $rest
        )
    };
}

/// Records a gap, and its group when it begins one. `Conflict` when the workspace has no such conversation or
/// group.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, gap: &Gap) -> Result<()> {
    if gap.group_id == gap.id {
        begin_group(tx, workspace, gap).await?;
    }
    let stored = tx
        .statement(
            "INSERT INTO gaps (
                id,
                workspace_id,
                group_id,
                agent_id,
                conversation_id,
                message_id,
                question,
                reason,
                lang,
                evidence,
                created_at
            )
            SELECT
                $3,
                conversations.workspace_id,
                gap_groups.id,
                $5,
                conversations.id,
                $6,
                $7,
                $8,
                $9,
                $10,
                $11
            FROM conversations
            JOIN gap_groups
                ON gap_groups.workspace_id = conversations.workspace_id
                AND gap_groups.id = $4
            WHERE conversations.workspace_id = $1
                AND conversations.id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(gap.conversation_id))
        .bind(Id(gap.id))
        .bind(Id(gap.group_id))
        .bind(Id(gap.agent_id))
        .bind(Id(gap.message_id))
        .bind(&gap.question)
        .bind(Name(gap.reason))
        .bind(gap.lang.map(Name))
        .bind(gap.evidence)
        .bind(Micros(gap.created_at))
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// Single gaps, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<GapId>,
    limit: i64,
) -> Result<Vec<Gap>> {
    let rows: Vec<GapRow> = conn
        .statement(select_gaps!(
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
    Ok(rows.into_iter().map(Gap::from).collect())
}

/// The gaps of those groups, newest first, at most `limit` in all.
pub async fn of_groups(
    conn: &mut Conn,
    workspace: WorkspaceId,
    groups: &[GapId],
    limit: i64,
) -> Result<Vec<Gap>> {
    let rows: Vec<GapRow> = conn
        .statement(with_list!(
            select_gaps!("WHERE workspace_id = $1 AND "), "group_id" in "$2";
            " ORDER BY id DESC LIMIT $3"
        ))
        .bind(Id(workspace))
        .list(groups)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Gap::from).collect())
}

/// The gap that an answer left, the newest when there are several.
pub async fn of_message(
    conn: &mut Conn,
    workspace: WorkspaceId,
    message: MessageId,
) -> Result<Option<Gap>> {
    let row: Option<GapRow> = conn
        .statement(select_gaps!(
            "WHERE workspace_id = $1
                AND message_id = $2
            ORDER BY id DESC
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .bind(Id(message))
        .optional()
        .await?;
    Ok(row.map(Gap::from))
}

/// Removes a gap, and its group when that was the last of it; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: GapId) -> Result<bool> {
    let deleted = tx
        .statement(
            "DELETE FROM gaps
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .changed()
        .await?;
    if deleted {
        delete_empty(tx, workspace).await?;
    }
    Ok(deleted)
}

/// The questions of an agent that a new one may be like, newest first, newer than `after`: those that are open,
/// and those that were dismissed.
pub async fn questions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    after: Option<GapId>,
    limit: i64,
) -> Result<Vec<(GapId, String)>> {
    let rows: Vec<(Id<GapId>, String)> = conn
        .statement(
            "SELECT
                id,
                question
            FROM gap_groups
            WHERE workspace_id = $1
                AND agent_id = $2
                AND status IN ('open', 'dismissed')
                AND id > COALESCE($3, '')
            ORDER BY id DESC
            LIMIT $4",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(after.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id), question)| (id, question)).collect())
}

/// Groups, newest first, older than `before`.
pub async fn groups(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: GapFilter,
    before: Option<GapId>,
    limit: i64,
) -> Result<Vec<GapGroup>> {
    let rows: Vec<GroupRow> = conn
        .statement(select_groups!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')
                AND EXISTS (SELECT 1 FROM gaps WHERE gaps.group_id = gap_groups.id)"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND status = ", filter.status.map(Name))
        .when(" AND agent_id = ", filter.agent.map(Id))
        .then(" ORDER BY id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    Ok(rows.into_iter().map(GapGroup::from).collect())
}

/// The group.
pub async fn group(conn: &mut Conn, workspace: WorkspaceId, id: GapId) -> Result<Option<GapGroup>> {
    let row: Option<GroupRow> = conn
        .statement(select_groups!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(GapGroup::from))
}

/// Changes where a group stands; `false` when absent.
pub async fn set_status(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: GapId,
    status: GapStatus,
    now: Timestamp,
) -> Result<bool> {
    let closed_at = (status != GapStatus::Open).then_some(Micros(now));
    tx.statement(
        "UPDATE gap_groups
        SET
            status = $3,
            closed_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Name(status))
    .bind(closed_at)
    .changed()
    .await
}

/// Notes what asking a group's question again came to: an answer closes the group if it is open, with its `gap.closed`
/// event. `false` when it is absent.
pub async fn note_recheck(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: GapId,
    found: Recheck<'_>,
    now: Timestamp,
) -> Result<bool> {
    let Some(before) = group(tx, workspace, id).await? else { return Ok(false) };
    tx.statement(
        "UPDATE gap_groups
        SET
            closed_at = CASE WHEN status = 'open' AND $4 IS NOT NULL THEN $5 ELSE closed_at END,
            status = CASE WHEN status = 'open' AND $4 IS NOT NULL THEN 'closed' ELSE status END,
            evidence = CASE WHEN $3 > evidence THEN $3 ELSE evidence END,
            answer = COALESCE($4, answer),
            rechecked_at = $5
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(found.evidence)
    .bind(found.answer)
    .bind(Micros(now))
    .execute()
    .await?;
    if before.status == GapStatus::Open && found.answer.is_some() {
        let payload = json!({ "agentId": before.agent_id, "question": before.question });
        events::insert(tx, workspace, "gap.closed", &id.to_string(), &payload, now).await?;
    }
    Ok(true)
}

/// The kind of the job that asks open gaps again after a datastore has changed.
pub const RECHECK: &str = "gaps.recheck";

/// How long changes are collected before gaps are asked again.
const RECHECK_SECONDS: i64 = 10;

/// Wants the open gaps asked again that the new knowledge of a datastore may answer, once for all that changes
/// within ten seconds: the job runs when they are over, so that it misses nothing. Nothing when no gap is open.
pub async fn want_recheck(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    datastore: DatastoreId,
) -> Result<()> {
    let open: Option<(i64,)> = tx
        .statement(
            "SELECT CAST(1 AS BIGINT)
            FROM gap_groups
            WHERE workspace_id = $1
                AND status = 'open'
            LIMIT 1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    if open.is_none() {
        return Ok(());
    }
    want_recheck_at(tx, ambient, workspace, datastore, ambient.now()).await
}

/// As [`want_recheck`], once `at` has come, whatever is open then.
pub async fn want_recheck_at(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    at: Timestamp,
) -> Result<()> {
    let second = 1_000_000;
    let window = at.micros().div_euclid(RECHECK_SECONDS * second);
    let job = NewJob {
        dedupe_key: Some(format!("{datastore}:{window}")),
        priority: 10,
        run_at: Timestamp::from_micros((window + 1) * RECHECK_SECONDS * second),
        ..NewJob::now(RECHECK, json!({ "datastore": datastore }), ambient.now())
    };
    jobs::enqueue(tx, ambient, workspace, &job).await?;
    Ok(())
}

/// Removes up to `limit` groups of any workspace whose gaps have all gone with their conversations; how many.
pub async fn delete_empty_groups(tx: &mut Tx, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM gap_groups
        WHERE id IN (
            SELECT gap_groups.id
            FROM gap_groups
            WHERE NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.group_id = gap_groups.id)
            LIMIT $1
        )",
    )
    .bind(limit)
    .execute()
    .await
}

async fn begin_group(tx: &mut Tx, workspace: WorkspaceId, gap: &Gap) -> Result<()> {
    tx.statement(
        "INSERT INTO gap_groups (
            id,
            workspace_id,
            agent_id,
            question,
            status,
            evidence,
            created_at
        )
        SELECT
            $3,
            workspace_id,
            id,
            $4,
            'open',
            $5,
            $6
        FROM agents
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(gap.agent_id))
    .bind(Id(gap.id))
    .bind(&gap.question)
    .bind(gap.evidence)
    .bind(Micros(gap.created_at))
    .execute()
    .await?;
    Ok(())
}

async fn delete_empty(tx: &mut Tx, workspace: WorkspaceId) -> Result<()> {
    tx.statement(
        "DELETE FROM gap_groups
        WHERE workspace_id = $1
            AND NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.group_id = gap_groups.id)",
    )
    .bind(Id(workspace))
    .execute()
    .await?;
    Ok(())
}

impl From<GapRow> for Gap {
    fn from(row: GapRow) -> Self {
        Self {
            id: row.id.0,
            group_id: row.group_id.map_or(row.id.0, |group| group.0),
            agent_id: row.agent_id.0,
            conversation_id: row.conversation_id.0,
            message_id: row.message_id.0,
            question: row.question,
            reason: row.reason.0,
            lang: row.lang.map(|lang| lang.0),
            evidence: row.evidence,
            created_at: row.created_at.0,
        }
    }
}

impl From<GroupRow> for GapGroup {
    fn from(row: GroupRow) -> Self {
        Self {
            id: row.id.0,
            agent_id: row.agent_id.0,
            question: row.question,
            status: row.status.0,
            evidence: row.evidence,
            answer: row.answer,
            rechecked_at: row.rechecked_at.map(|at| at.0),
            closed_at: row.closed_at.map(|at| at.0),
            created_at: row.created_at.0,
            count: row.count,
            last_at: row.last_at.unwrap_or(row.created_at).0,
        }
    }
}
