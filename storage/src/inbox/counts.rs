//! How many conversations there are of which kind, from the index of what is not closed.

use domain::conversation::{Channel, ConversationStatus};
use domain::{UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Name};
use crate::{Conn, Result};

/// Conversations that are not closed, by kind. But for `snoozed`, only those that are not put off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Going on.
    pub open: i64,
    /// Waiting for a person.
    pub pending: i64,
    /// Of the member who asks.
    pub mine: i64,
    /// Of nobody.
    pub unassigned: i64,
    /// Put off.
    pub snoozed: i64,
    /// By channel; those without any are left out.
    pub by_channel: Vec<(Channel, i64)>,
}

#[derive(FromRow)]
struct CountsRow {
    status: Name<ConversationStatus>,
    channel: Name<Channel>,
    active: i64,
    mine: i64,
    unassigned: i64,
    snoozed: i64,
}

/// The counts of a workspace, as a member sees them.
pub async fn counts(
    conn: &mut Conn,
    workspace: WorkspaceId,
    member: Option<UserId>,
) -> Result<Counts> {
    let rows: Vec<CountsRow> = conn
        .statement(
            "SELECT
                status,
                channel,
                COUNT(CASE WHEN snoozed_until IS NULL THEN 1 END) AS active,
                COUNT(CASE WHEN snoozed_until IS NULL AND assignee_id = $2 THEN 1 END) AS mine,
                COUNT(CASE WHEN snoozed_until IS NULL AND assignee_id IS NULL THEN 1 END) AS unassigned,
                COUNT(snoozed_until) AS snoozed
            FROM conversations
            WHERE workspace_id = $1
                AND status IN ('open', 'pending')
            GROUP BY
                status,
                channel",
        )
        .bind(Id(workspace))
        .bind(member.map(Id))
        .all()
        .await?;
    let mut counts = Counts::default();
    for row in rows {
        match row.status.0 {
            ConversationStatus::Open => counts.open += row.active,
            ConversationStatus::Pending => counts.pending += row.active,
            ConversationStatus::Closed => {}
        }
        counts.mine += row.mine;
        counts.unassigned += row.unassigned;
        counts.snoozed += row.snoozed;
        count(&mut counts.by_channel, row.channel.0, row.active);
    }
    Ok(counts)
}

fn count(by_channel: &mut Vec<(Channel, i64)>, channel: Channel, number: i64) {
    match by_channel.iter_mut().find(|(known, _)| *known == channel) {
        Some((_, known)) => *known += number,
        None if number > 0 => by_channel.push((channel, number)),
        None => {}
    }
}
