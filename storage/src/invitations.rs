//! Who was asked to join a workspace. At most one invitation of an address is open in a workspace.

use domain::user::Invitation;
use domain::{InvitationId, Lang, Role, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct InvitationRow {
    id: Id<InvitationId>,
    workspace_id: Id<WorkspaceId>,
    email: String,
    role: Name<Role>,
    invited_by: Option<Id<UserId>>,
    language: Name<Lang>,
    sent: i64,
    created_at: Micros,
    expires_at: Micros,
    accepted_at: Option<Micros>,
    revoked_at: Option<Micros>,
}

macro_rules! select_invitations {
    ($rest:literal) => {
        concat!(
            "SELECT
                invitations.id,
                invitations.workspace_id,
                invitations.email,
                invitations.role,
                invitations.invited_by,
                invitations.language,
                invitations.sent,
                invitations.created_at,
                invitations.expires_at,
                invitations.accepted_at,
                invitations.revoked_at
            FROM invitations ",
            $rest
        )
    };
}

/// Stores an invitation by the hash (SHA-256) of its token. `Conflict` when one of the address is open in the workspace.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    invitation: &Invitation,
    hash: &[u8; 32],
) -> Result<()> {
    tx.statement(
        "INSERT INTO invitations (
            id,
            workspace_id,
            email,
            role,
            invited_by,
            language,
            hash,
            sent,
            created_at,
            expires_at,
            accepted_at,
            revoked_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(Id(invitation.id))
    .bind(Id(workspace))
    .bind(&invitation.email)
    .bind(Name(invitation.role))
    .bind(invitation.invited_by.map(Id))
    .bind(Name(invitation.language))
    .bind(hash.as_slice())
    .bind(invitation.sent)
    .bind(Micros(invitation.created_at))
    .bind(Micros(invitation.expires_at))
    .bind(invitation.accepted_at.map(Micros))
    .bind(invitation.revoked_at.map(Micros))
    .execute()
    .await?;
    Ok(())
}

/// The invitation.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: InvitationId,
) -> Result<Option<Invitation>> {
    let row: Option<InvitationRow> = conn
        .statement(select_invitations!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Invitation::from))
}

/// The invitation whose last token has that hash, used and expired ones too; none of a workspace that is being removed.
/// Without a workspace: the token names it.
pub async fn by_hash(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<Invitation>> {
    let row: Option<InvitationRow> = conn
        .statement(select_invitations!(
            "INNER JOIN workspaces
                ON workspaces.id = invitations.workspace_id
                    AND workspaces.closing_at IS NULL
            WHERE invitations.hash = $1"
        ))
        .bind(hash.as_slice())
        .optional()
        .await?;
    Ok(row.map(Invitation::from))
}

/// Those that were neither accepted nor taken back, oldest first; expired ones too.
pub async fn list_open(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Invitation>> {
    let rows: Vec<InvitationRow> = conn
        .statement(select_invitations!(
            "WHERE workspace_id = $1
                AND accepted_at IS NULL
                AND revoked_at IS NULL
            ORDER BY id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Invitation::from).collect())
}

/// Notes that an open invitation is sent once more, with another token, by whose hash it is known from now on; `false` when it is
/// not open, or was sent again meanwhile: `sent` is how often it was before.
pub async fn resend(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: InvitationId,
    sent: i64,
    hash: &[u8; 32],
    expires_at: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE invitations
        SET sent = sent + 1,
            hash = $4,
            expires_at = $5
        WHERE workspace_id = $1
            AND id = $2
            AND sent = $3
            AND accepted_at IS NULL
            AND revoked_at IS NULL",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(sent)
    .bind(hash.as_slice())
    .bind(Micros(expires_at))
    .changed()
    .await
}

/// Takes an open invitation back; `false` when it is not open.
pub async fn revoke(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: InvitationId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE invitations
        SET revoked_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND accepted_at IS NULL
            AND revoked_at IS NULL",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

/// Notes that an invitation is accepted; `false` when it is not open or has expired.
pub async fn accept(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: InvitationId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE invitations
        SET accepted_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND accepted_at IS NULL
            AND revoked_at IS NULL
            AND expires_at > $3",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

impl From<InvitationRow> for Invitation {
    fn from(row: InvitationRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            email: row.email,
            role: row.role.0,
            invited_by: row.invited_by.map(|id| id.0),
            language: row.language.0,
            sent: row.sent,
            created_at: row.created_at.0,
            expires_at: row.expires_at.0,
            accepted_at: row.accepted_at.map(|at| at.0),
            revoked_at: row.revoked_at.map(|at| at.0),
        }
    }
}
