//! Who gets what enters the queue. Members are chosen under the lock of the workspace's settings, so that two processes
//! that hand out at once choose one after the other.

use domain::inbox::{Assignment, Availability, By, InboxSettings};
use domain::{ConversationId, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use super::change::give;
use crate::sql::{Dialects, Id, Micros, Name};
use crate::{Conn, Result, Tx};

/// A member who could be given conversations, and how many they have that are not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standby {
    /// Who.
    pub user: UserId,
    /// Whether they are given any.
    pub availability: Availability,
    /// What they have.
    pub open: i64,
}

#[derive(FromRow)]
struct SettingsRow {
    assignment: Name<Assignment>,
    most_open: Option<i64>,
    last_assignee_id: Option<Id<UserId>>,
}

#[derive(FromRow)]
struct StandbyRow {
    user_id: Id<UserId>,
    availability: Name<Availability>,
    open: i64,
}

macro_rules! select_settings {
    ($rest:literal) => {
        concat!(
            "SELECT
                assignment,
                most_open,
                last_assignee_id
            FROM inbox_settings
            WHERE workspace_id = $1",
            $rest
        )
    };
}

/// How a workspace hands out what enters its queue.
pub async fn settings(conn: &mut Conn, workspace: WorkspaceId) -> Result<InboxSettings> {
    let row: Option<SettingsRow> =
        conn.statement(select_settings!("")).bind(Id(workspace)).optional().await?;
    let settings =
        row.map(|row| InboxSettings { assignment: row.assignment.0, most_open: row.most_open });
    Ok(settings.unwrap_or_default())
}

/// Sets how a workspace hands out what enters its queue.
pub async fn set_settings(
    tx: &mut Tx,
    workspace: WorkspaceId,
    settings: &InboxSettings,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO inbox_settings (
            workspace_id,
            assignment,
            most_open,
            updated_at
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id) DO UPDATE SET
            assignment = excluded.assignment,
            most_open = excluded.most_open,
            updated_at = excluded.updated_at",
    )
    .bind(Id(workspace))
    .bind(Name(settings.assignment))
    .bind(settings.most_open)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// Sets whether a member is given conversations; `false` when they are none.
pub async fn set_availability(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    availability: Availability,
) -> Result<bool> {
    tx.statement(
        "UPDATE members
        SET availability = $3
        WHERE workspace_id = $1
            AND user_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(user))
    .bind(Name(availability))
    .changed()
    .await
}

/// The members who work conversations, by id, with what they have.
pub async fn standbys(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Standby>> {
    let rows: Vec<StandbyRow> = conn
        .statement(
            "SELECT
                members.user_id,
                members.availability,
                (
                    SELECT COUNT(*)
                    FROM conversations
                    WHERE conversations.assignee_id = members.user_id
                        AND conversations.workspace_id = $1
                        AND conversations.status IN ('open', 'pending')
                ) AS open
            FROM members
            WHERE members.workspace_id = $1
                AND members.role <> 'viewer'
            ORDER BY members.user_id",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    let standby = |row: StandbyRow| Standby {
        user: row.user_id.0,
        availability: row.availability.0,
        open: row.open,
    };
    Ok(rows.into_iter().map(standby).collect())
}

/// Whether some member works conversations and has not said to be away.
pub async fn is_anybody_there(conn: &mut Conn, workspace: WorkspaceId) -> Result<bool> {
    let (there,): (bool,) = conn
        .statement(
            "SELECT EXISTS (
                SELECT 1
                FROM members
                WHERE workspace_id = $1
                    AND role <> 'viewer'
                    AND availability = 'online'
            )",
        )
        .bind(Id(workspace))
        .one()
        .await?;
    Ok(there)
}

/// Gives a conversation of the queue, which the transaction holds, to a member where the workspace wants that; whom.
pub(crate) async fn hand_out(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    now: Timestamp,
) -> Result<Option<UserId>> {
    let Some(user) = choose(tx, workspace).await? else { return Ok(None) };
    give(tx, workspace, id, (user, By::System), now).await?;
    chosen(tx, workspace, user).await?;
    Ok(Some(user))
}

/// Gives what waits longest in the queue to members who can take more, at most `limit` conversations; how many.
pub async fn hand_out_waiting(
    tx: &mut Tx,
    workspace: WorkspaceId,
    limit: i64,
    now: Timestamp,
) -> Result<i64> {
    let mut given = 0;
    while given < limit {
        let Some(user) = choose(tx, workspace).await? else { break };
        let Some(id) = longest_waiting(tx, workspace).await? else { break };
        give(tx, workspace, id, (user, By::System), now).await?;
        chosen(tx, workspace, user).await?;
        given += 1;
    }
    Ok(given)
}

/// What waits longest for a person and is held by nobody else at this moment: who holds it hands it out themselves.
async fn longest_waiting(tx: &mut Tx, workspace: WorkspaceId) -> Result<Option<ConversationId>> {
    macro_rules! select {
        ($from:literal, $rest:literal) => {
            concat!(
                "SELECT id
                FROM conversations ",
                $from,
                " WHERE workspace_id = $1
                    AND waiting_since < 9223372036854775807
                    AND handler = 'queue'
                    AND status IN ('open', 'pending')
                    AND snoozed_until IS NULL
                ORDER BY
                    waiting_since,
                    id
                LIMIT 1",
                $rest
            )
        };
    }
    let row: Option<(Id<ConversationId>,)> = tx
        .statement(Dialects {
            sqlite: select!("INDEXED BY conversations_by_waiting", ""),
            postgres: select!("", " FOR NO KEY UPDATE SKIP LOCKED"),
        })
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(|(Id(id),)| id))
}

/// The member whose turn it is. From here to the end of the transaction nobody else chooses.
async fn choose(tx: &mut Tx, workspace: WorkspaceId) -> Result<Option<UserId>> {
    let row: Option<SettingsRow> = tx
        .statement(Dialects {
            sqlite: select_settings!(""),
            postgres: select_settings!(" FOR NO KEY UPDATE"),
        })
        .bind(Id(workspace))
        .optional()
        .await?;
    let Some(row) = row.filter(|row| row.assignment.0 != Assignment::Off) else { return Ok(None) };
    let able: Vec<Standby> = standbys(tx, workspace)
        .await?
        .into_iter()
        .filter(|one| one.availability == Availability::Online)
        .filter(|one| row.most_open.is_none_or(|most| one.open < most))
        .collect();
    // The next one after the last, around the circle.
    let last = row.last_assignee_id.map(|Id(last)| last);
    let after = able.iter().filter(|one| last.is_none_or(|last| one.user > last));
    let before = able.iter().filter(|one| last.is_some_and(|last| one.user <= last));
    let mut circle = after.chain(before);
    let next = match row.assignment.0 {
        Assignment::LeastBusy => circle.min_by_key(|one| one.open),
        Assignment::RoundRobin | Assignment::Off => circle.next(),
    };
    Ok(next.map(|one| one.user))
}

/// Remembers who got the last one.
async fn chosen(tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<()> {
    tx.statement(
        "UPDATE inbox_settings
        SET last_assignee_id = $2
        WHERE workspace_id = $1",
    )
    .bind(Id(workspace))
    .bind(Id(user))
    .later()
    .await
}

/// Gives what a member has back to the queue, before they leave the workspace; how many conversations.
pub async fn release(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    now: Timestamp,
) -> Result<i64> {
    let rows: Vec<(Id<ConversationId>,)> = tx
        .statement(
            "SELECT id
            FROM conversations
            WHERE workspace_id = $1
                AND assignee_id = $2
            ORDER BY id",
        )
        .bind(Id(workspace))
        .bind(Id(user))
        .all()
        .await?;
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    for (Id(id),) in rows {
        super::unassign(tx, workspace, id, By::System, now).await?;
    }
    Ok(count)
}
