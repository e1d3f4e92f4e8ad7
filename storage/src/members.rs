//! Who may do what in a workspace. No workspace that has members is ever without an owner.

use domain::user::{Member, Membership};
use domain::workspace::Workspace;
use domain::{Role, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::users::UserRow;
use crate::{Conn, Result, Tx};

/// What became of a change of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It is done.
    Done,
    /// There is no such member.
    Absent,
    /// Refused: it would leave the workspace without an owner.
    LastOwner,
}

#[derive(FromRow)]
struct MemberRow {
    #[sqlx(flatten)]
    user: UserRow,
    role: Name<Role>,
    joined_at: Micros,
}

#[derive(FromRow)]
struct MembershipRow {
    id: Id<WorkspaceId>,
    name: String,
    code: String,
    created_at: Micros,
    role: Name<Role>,
}

macro_rules! select_members {
    ($rest:literal) => {
        concat!(
            "SELECT
                users.id,
                users.name,
                users.email,
                users.email_verified_at,
                users.language,
                users.second_factor_since,
                users.created_at,
                members.role,
                members.created_at AS joined_at
            FROM members
            INNER JOIN users
                ON users.id = members.user_id ",
            $rest
        )
    };
}

/// Makes a person a member. `Conflict` when they are one.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    role: Role,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO members (
            workspace_id,
            user_id,
            role,
            created_at
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(Id(workspace))
    .bind(Id(user))
    .bind(Name(role))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// The member.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, user: UserId) -> Result<Option<Member>> {
    let row: Option<MemberRow> = conn
        .statement(select_members!(
            "WHERE members.workspace_id = $1
                AND members.user_id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(user))
        .optional()
        .await?;
    Ok(row.map(Member::from))
}

/// Every member, oldest first.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Member>> {
    let rows: Vec<MemberRow> = conn
        .statement(select_members!(
            "WHERE members.workspace_id = $1
            ORDER BY
                members.created_at,
                members.user_id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Member::from).collect())
}

/// The workspaces that a person is a member of, oldest first.
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Membership>> {
    let rows: Vec<MembershipRow> = conn
        .statement(
            "SELECT
                workspaces.id,
                workspaces.name,
                workspaces.code,
                workspaces.created_at,
                members.role
            FROM members
            INNER JOIN workspaces
                ON workspaces.id = members.workspace_id
            WHERE members.user_id = $1
            ORDER BY
                members.created_at,
                workspaces.id",
        )
        .bind(Id(user))
        .all()
        .await?;
    Ok(rows.into_iter().map(Membership::from).collect())
}

/// Gives a member another role.
pub async fn set_role(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    role: Role,
) -> Result<MemberChange> {
    lock(tx, workspace).await?;
    let change = check(tx, workspace, user, role == Role::Owner).await?;
    if change == MemberChange::Done {
        tx.statement(
            "UPDATE members
            SET role = $3
            WHERE workspace_id = $1
                AND user_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(user))
        .bind(Name(role))
        .execute()
        .await?;
    }
    Ok(change)
}

/// Takes a member out of the workspace.
pub async fn remove(tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<MemberChange> {
    lock(tx, workspace).await?;
    let change = check(tx, workspace, user, false).await?;
    if change == MemberChange::Done {
        tx.statement(
            "DELETE FROM members
            WHERE workspace_id = $1
                AND user_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(user))
        .execute()
        .await?;
    }
    Ok(change)
}

/// Changes of a workspace's members go one after the other: two owners who each take the role of the other would else
/// leave none.
async fn lock(tx: &mut Tx, workspace: WorkspaceId) -> Result<()> {
    tx.statement(
        "UPDATE workspaces
        SET name = name
        WHERE id = $1",
    )
    .bind(Id(workspace))
    .execute()
    .await?;
    Ok(())
}

/// What a change of this member would be, which leaves them an owner or not.
async fn check(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    stays_owner: bool,
) -> Result<MemberChange> {
    let rows: Vec<(Id<UserId>, Name<Role>)> = tx
        .statement(
            "SELECT
                user_id,
                role
            FROM members
            WHERE workspace_id = $1
                AND (role = 'owner' OR user_id = $2)",
        )
        .bind(Id(workspace))
        .bind(Id(user))
        .all()
        .await?;
    let Some((_, role)) = rows.iter().find(|(id, _)| id.0 == user) else {
        return Ok(MemberChange::Absent);
    };
    let others = rows.iter().any(|(id, role)| id.0 != user && role.0 == Role::Owner);
    let last = role.0 == Role::Owner && !stays_owner && !others;
    Ok(if last { MemberChange::LastOwner } else { MemberChange::Done })
}

impl From<MemberRow> for Member {
    fn from(row: MemberRow) -> Self {
        Self { user: row.user.into(), role: row.role.0, joined_at: row.joined_at.0 }
    }
}

impl From<MembershipRow> for Membership {
    fn from(row: MembershipRow) -> Self {
        let workspace = Workspace {
            id: row.id.0,
            name: row.name,
            code: row.code,
            created_at: row.created_at.0,
        };
        Self { workspace, role: row.role.0 }
    }
}
