//! Calls of tools that wait for a person's word.

use domain::agent::ToolKind;
use domain::approval::{Approval, ApprovalStatus};
use domain::{AgentId, ApiKeyId, ApprovalId, ConversationId, MessageId, Timestamp, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, StorageError, Tx, Wakeup, events};

/// What is needed to go on once it is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct PausedTurn {
    /// The turn so far, by the words of who stored it.
    pub turn: Value,
    /// When the call was about to be sent; it may have been.
    pub sent_at: Option<Timestamp>,
    /// What came of the call, by the words of who stored it.
    pub result: Option<Value>,
}

/// A decision.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// `Approved`, `Denied` or `Expired`.
    pub status: ApprovalStatus,
    /// Who decided; `None` for the time.
    pub by: Option<ApiKeyId>,
    /// What was said about it.
    pub note: Option<&'a str>,
}

/// How an approval ends.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Where it stands then.
    pub status: ApprovalStatus,
    /// The agent's further message.
    pub answer: Option<MessageId>,
    /// Why it failed.
    pub error: Option<&'a str>,
}

#[derive(FromRow)]
struct ApprovalRow {
    id: Id<ApprovalId>,
    agent_id: Id<AgentId>,
    conversation_id: Id<ConversationId>,
    question_id: Id<MessageId>,
    message_id: Id<MessageId>,
    kind: Name<ToolKind>,
    tool: String,
    target: String,
    arguments: Json<Value>,
    status: Name<ApprovalStatus>,
    error: Option<String>,
    decided_by: Option<Id<ApiKeyId>>,
    note: Option<String>,
    decided_at: Option<Micros>,
    answer_id: Option<Id<MessageId>>,
    created_at: Micros,
    expires_at: Micros,
}

#[derive(FromRow)]
struct PausedRow {
    turn: Json<Value>,
    sent_at: Option<Micros>,
    result: Option<Json<Value>>,
}

macro_rules! select_approvals {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                agent_id,
                conversation_id,
                question_id,
                message_id,
                kind,
                tool,
                target,
                arguments,
                status,
                error,
                decided_by,
                note,
                decided_at,
                answer_id,
                created_at,
                expires_at
            FROM approvals ",
            $rest
        )
    };
}

/// Stores an approval that waits, with the turn so far, and adds `approval.requested`. `Conflict` when the workspace has
/// no such conversation.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    approval: &Approval,
    turn: &Value,
) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO approvals (
                id,
                workspace_id,
                agent_id,
                conversation_id,
                question_id,
                message_id,
                kind,
                tool,
                target,
                arguments,
                status,
                turn,
                created_at,
                expires_at
            )
            SELECT
                $3,
                workspace_id,
                $4,
                id,
                $5,
                $6,
                $7,
                $8,
                $9,
                $10,
                'waiting',
                $11,
                $12,
                $13
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(approval.conversation_id))
        .bind(Id(approval.id))
        .bind(Id(approval.agent_id))
        .bind(Id(approval.question_id))
        .bind(Id(approval.message_id))
        .bind(Name(approval.kind))
        .bind(approval.tool.as_str())
        .bind(approval.target.as_str())
        .json(&approval.arguments)
        .json(turn)
        .bind(Micros(approval.created_at))
        .bind(Micros(approval.expires_at))
        .changed()
        .await?;
    if !stored {
        return Err(StorageError::without_parent());
    }
    let payload = json!({
        "conversationId": approval.conversation_id,
        "messageId": approval.message_id,
        "agentId": approval.agent_id,
        "tool": approval.tool,
    });
    let subject = approval.id.to_string();
    events::insert(tx, workspace, "approval.requested", &subject, &payload, approval.created_at)
        .await
}

/// The approval.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ApprovalId,
) -> Result<Option<Approval>> {
    let row: Option<ApprovalRow> = conn
        .statement(select_approvals!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(|row| row.into_approval(workspace)))
}

/// The approval that a message of an agent told of, and the customer's message that it is about; `None` when there is
/// none that is not over.
pub async fn unfinished(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
) -> Result<Option<(ApprovalId, MessageId)>> {
    let row: Option<(Id<ApprovalId>, Id<MessageId>)> = conn
        .statement(
            "SELECT
                id,
                question_id
            FROM approvals
            WHERE workspace_id = $1
                AND agent_id = $2
                AND message_id = $3
                AND turn IS NOT NULL",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(Id(message))
        .optional()
        .await?;
    Ok(row.map(|(id, question)| (id.0, question.0)))
}

/// Approvals, newest first, older than `before`; with `status` only those that stand so.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    status: Option<ApprovalStatus>,
    before: Option<ApprovalId>,
    limit: i64,
) -> Result<Vec<Approval>> {
    let rows: Vec<ApprovalRow> = conn
        .statement(select_approvals!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND status = ", status.map(Name))
        .then(" ORDER BY id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    Ok(rows.into_iter().map(|row| row.into_approval(workspace)).collect())
}

/// Decides an approval that waits and adds `approval.decided`; `false` when it is decided already. A person decides
/// before its time is over, `Expired` is decided from then on.
pub async fn decide(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApprovalId,
    decided: Decided<'_>,
    now: Timestamp,
) -> Result<bool> {
    let Decided { status, by, note } = decided;
    let changed = tx
        .statement(
            "UPDATE approvals
            SET
                status = $3,
                decided_by = $4,
                note = $5,
                decided_at = $6
            WHERE workspace_id = $1
                AND id = $2
                AND status = 'waiting'
                AND (($3 = 'expired') = (expires_at <= $6))",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Name(status))
        .bind(by.map(Id))
        .bind(note)
        .bind(Micros(now))
        .changed()
        .await?;
    if !changed {
        return Ok(false);
    }
    let payload = json!({"status": status.name()});
    events::insert(tx, workspace, "approval.decided", &id.to_string(), &payload, now).await?;
    Ok(true)
}

/// What is needed to go on; `None` once the approval is over.
pub async fn paused_turn(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ApprovalId,
) -> Result<Option<PausedTurn>> {
    let row: Option<PausedRow> = conn
        .statement(
            "SELECT
                turn,
                sent_at,
                result
            FROM approvals
            WHERE workspace_id = $1
                AND id = $2
                AND turn IS NOT NULL",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(|row| PausedTurn {
        turn: row.turn.0,
        sent_at: row.sent_at.map(|at| at.0),
        result: row.result.map(|result| result.0),
    }))
}

/// Notes that the call is about to be sent; `false` when that was noted before, or it is not allowed.
pub async fn mark_sent(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApprovalId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE approvals
        SET sent_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND status = 'approved'
            AND sent_at IS NULL",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

/// Keeps what came of the call, so that it is not made again.
pub async fn keep_result(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApprovalId,
    result: &Value,
) -> Result<bool> {
    tx.statement(
        "UPDATE approvals
        SET result = $3
        WHERE workspace_id = $1
            AND id = $2
            AND status = 'approved'",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .json(result)
    .changed()
    .await
}

/// Ends an approval and drops the turn so far; one that failed adds `approval.failed`. `false` when it is over already.
pub async fn finish(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApprovalId,
    ended: Ended<'_>,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .statement(
            "UPDATE approvals
        SET
            status = $3,
            answer_id = $4,
            error = $5,
            turn = NULL,
            result = NULL
        WHERE workspace_id = $1
            AND id = $2
            AND turn IS NOT NULL",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Name(ended.status))
        .bind(ended.answer.map(Id))
        .bind(ended.error)
        .changed()
        .await?;
    if changed && ended.status == ApprovalStatus::Failed {
        // It may be going on in another process.
        tx.wake(Wakeup::Stops);
        let payload = json!({"error": ended.error});
        events::insert(tx, workspace, "approval.failed", &id.to_string(), &payload, now).await?;
    }
    Ok(changed)
}

impl ApprovalRow {
    fn into_approval(self, workspace: WorkspaceId) -> Approval {
        Approval {
            id: self.id.0,
            workspace_id: workspace,
            agent_id: self.agent_id.0,
            conversation_id: self.conversation_id.0,
            question_id: self.question_id.0,
            message_id: self.message_id.0,
            kind: self.kind.0,
            tool: self.tool,
            target: self.target,
            arguments: self.arguments.0,
            status: self.status.0,
            error: self.error,
            decided_by: self.decided_by.map(|by| by.0),
            note: self.note,
            decided_at: self.decided_at.map(|at| at.0),
            answer_id: self.answer_id.map(|answer| answer.0),
            created_at: self.created_at.0,
            expires_at: self.expires_at.0,
        }
    }
}
