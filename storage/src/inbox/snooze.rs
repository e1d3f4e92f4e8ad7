//! Putting conversations off, and their coming back.

use domain::conversation::ConversationStatus;
use domain::inbox::{By, Happening};
use domain::{ConversationId, Timestamp, WorkspaceId};
use serde_json::json;

use super::change::{hold, note, tell};
use super::log;
use crate::sql::{Id, Micros};
use crate::{Result, Tx};

/// What became of an attempt to put a conversation off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snooze {
    /// It is done.
    Done,
    /// There is no such conversation.
    Absent,
    /// It is closed.
    Closed,
}

/// Puts a conversation off until an instant. Whoever asks wants the job that wakes it up, too.
pub async fn snooze(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (until, by): (Timestamp, By),
    now: Timestamp,
) -> Result<Snooze> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(Snooze::Absent) };
    if held.status.0 == ConversationStatus::Closed {
        return Ok(Snooze::Closed);
    }
    if held.snoozed_until == Some(Micros(until)) {
        return Ok(Snooze::Done);
    }
    set_snoozed(tx, workspace, id, Some(until), now).await?;
    let details = json!({"until": until.to_rfc3339()});
    note(tx, workspace, id, (Happening::Snoozed, by), &details, now).await?;
    Ok(Snooze::Done)
}

/// Ends the putting off of a conversation, with its event `conversation.unsnoozed`; nothing where it is not put off,
/// `false` when it is absent.
pub async fn unsnooze(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    by: By,
    now: Timestamp,
) -> Result<bool> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(false) };
    if held.snoozed_until.is_some() {
        set_snoozed(tx, workspace, id, None, now).await?;
        log::write(tx, workspace, id, (Happening::Unsnoozed, by), &json!({}), now).await?;
        tell(tx, workspace, id, ("conversation.unsnoozed", by), &json!({}), now).await?;
    }
    Ok(true)
}

/// As [`unsnooze`], of one whose time has come; whether it had.
pub async fn wake(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    now: Timestamp,
) -> Result<bool> {
    let Some(held) = hold(tx, workspace, id).await? else { return Ok(false) };
    let due = held.snoozed_until.is_some_and(|Micros(until)| until <= now);
    if due {
        unsnooze(tx, workspace, id, By::System, now).await?;
    }
    Ok(due)
}

async fn set_snoozed(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET
            snoozed_until = $3,
            updated_at = $4
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(until.map(Micros))
    .bind(Micros(now))
    .later()
    .await
}
