//! What people do to a conversation. Each change holds the conversation's row, so that of two who act at once one sees
//! what the other did.

use domain::conversation::{ConversationStatus, Handler, Transition};
use domain::inbox::{By, Happening, Priority};
use domain::{ConversationId, Role, Timestamp, UserId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::log;
use crate::sql::{Dialects, Id, Micros, Name};
use crate::{Conn, Result, StorageError, Tx, conversations, events, members};

/// What became of an attempt to take a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is theirs.
    Taken,
    /// Somebody else has it.
    Held(UserId),
    /// There is no such conversation.
    Absent,
}

/// What became of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assign {
    /// It is done.
    Done,
    /// There is no such conversation.
    Absent,
    /// They are no member of the workspace.
    NotMember,
    /// They are one who only reads.
    Viewer,
}

/// What of a conversation people change.
#[derive(FromRow)]
pub(super) struct HeldRow {
    pub(super) status: Name<ConversationStatus>,
    handler: Name<Handler>,
    assignee_id: Option<Id<UserId>>,
    title: String,
    priority: i64,
    pub(super) snoozed_until: Option<Micros>,
}

macro_rules! select_held {
    ($rest:literal) => {
        concat!(
            "SELECT
                status,
                handler,
                assignee_id,
                title,
                priority,
                snoozed_until
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
            $rest
        )
    };
}

/// The row, which nobody else changes until the transaction ends. SQLite has one writer anyway.
pub(super) async fn hold(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<HeldRow>> {
    tx.statement(Dialects {
        sqlite: select_held!(""),
        postgres: select_held!(" FOR NO KEY UPDATE"),
    })
    .bind(Id(workspace))
    .bind(Id(id))
    .optional()
    .await
}

/// Holds a conversation until the transaction ends; whether it is there.
pub async fn lock(tx: &mut Tx, workspace: WorkspaceId, id: ConversationId) -> Result<bool> {
    Ok(hold(tx, workspace, id).await?.is_some())
}

/// A member takes a conversation, unless another has it.
pub async fn take_over(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    user: UserId,
    now: Timestamp,
) -> Result<Take> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(Take::Absent) };
    let assignee = held.assignee_id.map(|Id(assignee)| assignee);
    if let Some(other) = assignee.filter(|&assignee| assignee != user) {
        return Ok(Take::Held(other));
    }
    let by = By::User(user);
    let transition = (Transition::TakeOver, by);
    let moved = conversations::change(tx, workspace, id, transition, now).await?;
    let changed = moved.is_some_and(|moved| moved.before != moved.after);
    if changed || assignee.is_none() {
        set_assignee(tx, workspace, id, Some(user), now).await?;
        let details = json!({"assigneeId": user});
        log::write(tx, workspace, id, (Happening::TakenOver, by), &details, now).await?;
        tell(tx, workspace, id, ("conversation.assigned", by), &details, now).await?;
    }
    Ok(Take::Taken)
}

/// Gives a conversation to a member who works conversations, whoever has it.
pub async fn assign(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (to, by): (UserId, By),
    now: Timestamp,
) -> Result<Assign> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(Assign::Absent) };
    match members::get(tx, workspace, to).await? {
        None => return Ok(Assign::NotMember),
        Some(member) if member.role < Role::Agent => return Ok(Assign::Viewer),
        Some(_) => {}
    }
    if held.assignee_id != Some(Id(to)) || held.handler.0 != Handler::Operator {
        give(tx, workspace, id, (to, by), now).await?;
    }
    Ok(Assign::Done)
}

/// Gives a conversation that the transaction holds to a member.
pub(super) async fn give(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (to, by): (UserId, By),
    now: Timestamp,
) -> Result<()> {
    conversations::change(tx, workspace, id, (Transition::Assign, by), now).await?;
    set_assignee(tx, workspace, id, Some(to), now).await?;
    let details = json!({"assigneeId": to});
    log::write(tx, workspace, id, (Happening::Assigned, by), &details, now).await?;
    tell(tx, workspace, id, ("conversation.assigned", by), &details, now).await
}

/// Takes a conversation from whoever has it: it waits for a person again. Nothing where no person has it; `false` when
/// it is absent.
pub async fn unassign(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    by: By,
    now: Timestamp,
) -> Result<bool> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(false) };
    if held.handler.0 != Handler::Operator {
        return Ok(true);
    }
    tx.statement(
        "UPDATE conversations
        SET
            handler = 'queue',
            assignee_id = NULL,
            updated_at = $3,
            waiting_since = CASE
                WHEN status = 'closed' OR waiting_since < $3 THEN waiting_since
                ELSE $3
            END
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .later()
    .await?;
    let from = held.assignee_id.map(|Id(from)| from);
    let details = json!({"assigneeId": null, "from": from});
    log::write(tx, workspace, id, (Happening::Unassigned, by), &details, now).await?;
    tell(tx, workspace, id, ("conversation.assigned", by), &details, now).await?;
    conversations::tell_queued(tx, workspace, id, by, now).await?;
    Ok(true)
}

/// Sets the priority; `false` when the conversation is absent.
pub async fn set_priority(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (priority, by): (Priority, By),
    now: Timestamp,
) -> Result<bool> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(false) };
    if held.priority == priority.rank() {
        return Ok(true);
    }
    tx.statement(
        "UPDATE conversations
        SET
            priority = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(priority.rank())
    .bind(Micros(now))
    .later()
    .await?;
    let details = json!({"priority": priority.name()});
    note(tx, workspace, id, (Happening::Prioritised, by), &details, now).await?;
    Ok(true)
}

/// Sets the title, which the search finds it by from now on; `false` when the conversation is absent.
pub async fn set_title(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (title, by): (&str, By),
    now: Timestamp,
) -> Result<bool> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(false) };
    if held.title == title {
        return Ok(true);
    }
    tx.statement(
        "UPDATE conversations
        SET
            title = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(title)
    .bind(Micros(now))
    .later()
    .await?;
    super::words::replace_title(tx, workspace, id, (&held.title, title)).await?;
    note(tx, workspace, id, (Happening::Renamed, by), &json!({}), now).await?;
    Ok(true)
}

/// Writes down and tells that something of a conversation is another.
pub(super) async fn note(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (kind, by): (Happening, By),
    details: &Value,
    now: Timestamp,
) -> Result<()> {
    log::write(tx, workspace, id, (kind, by), details, now).await?;
    let mut payload = details.clone();
    payload["change"] = json!(kind.name());
    tell(tx, workspace, id, ("conversation.updated", by), &payload, now).await
}

/// Adds an event to the outbox, with where the conversation stands now.
pub(super) async fn tell(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (kind, by): (&'static str, By),
    details: &Value,
    now: Timestamp,
) -> Result<()> {
    let conversation = conversations::get(tx, workspace, id).await?;
    let conversation = conversation.ok_or_else(StorageError::without_parent)?;
    let mut payload = details.clone();
    payload["by"] = json!(by.to_string());
    payload["agentId"] = json!(conversation.agent_id);
    payload["channel"] = json!(conversation.channel.name());
    payload["status"] = json!(conversation.status.name());
    payload["handler"] = json!(conversation.handler.name());
    events::insert(tx, workspace, kind, &id.to_string(), &payload, now).await
}

async fn set_assignee(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    to: Option<UserId>,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET
            assignee_id = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(to.map(Id))
    .bind(Micros(now))
    .later()
    .await
}

/// Who has a conversation in hand.
pub async fn assignee(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<UserId>> {
    let row: Option<(Option<Id<UserId>>,)> = conn
        .statement(
            "SELECT assignee_id
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.and_then(|(assignee,)| assignee).map(|Id(user)| user))
}
