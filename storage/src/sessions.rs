//! Where people are signed in, and the tokens that renew it.

use std::time::Duration;

use domain::user::Session;
use domain::{SessionId, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx};

/// How long ended sessions and used tokens are remembered: one that comes again within it is known for what it is.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);

/// A session, and what became of the refresh token that it was found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The session.
    pub session: Session,
    /// When the token was used; `None` while it holds.
    pub used_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct SessionRow {
    id: Id<SessionId>,
    user_id: Id<UserId>,
    workspace_id: Option<Id<WorkspaceId>>,
    user_agent: String,
    created_at: Micros,
    used_at: Micros,
    expires_at: Micros,
    revoked_at: Option<Micros>,
}

#[derive(FromRow)]
struct RenewalRow {
    #[sqlx(flatten)]
    session: SessionRow,
    token_used_at: Option<Micros>,
}

macro_rules! select_sessions {
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT
                sessions.id,
                sessions.user_id,
                sessions.workspace_id,
                sessions.user_agent,
                sessions.created_at,
                sessions.used_at,
                sessions.expires_at,
                sessions.revoked_at",
            $more,
            " FROM sessions ",
            $rest
        )
    };
}

/// Stores a session with its first refresh token, by its hash (SHA-256). What ended long ago of the same person goes.
pub async fn insert(tx: &mut Tx, session: &Session, token: &[u8; 32]) -> Result<()> {
    tx.statement(
        "DELETE FROM sessions
        WHERE user_id = $1
            AND (expires_at < $2 OR revoked_at < $2)",
    )
    .bind(Id(session.user_id))
    .bind(Micros(session.created_at.minus(REMEMBERED)))
    .execute()
    .await?;
    tx.statement(
        "INSERT INTO sessions (
            id,
            user_id,
            workspace_id,
            user_agent,
            created_at,
            used_at,
            expires_at,
            revoked_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Id(session.id))
    .bind(Id(session.user_id))
    .bind(session.workspace_id.map(Id))
    .bind(&session.user_agent)
    .bind(Micros(session.created_at))
    .bind(Micros(session.used_at))
    .bind(Micros(session.expires_at))
    .bind(session.revoked_at.map(Micros))
    .execute()
    .await?;
    give_token(tx, session.id, token, session.created_at).await
}

/// Gives a session a refresh token, by its hash; the one that it had holds no longer.
pub async fn give_token(
    tx: &mut Tx,
    session: SessionId,
    token: &[u8; 32],
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE refresh_tokens
        SET used_at = $2
        WHERE session_id = $1
            AND used_at IS NULL",
    )
    .bind(Id(session))
    .bind(Micros(now))
    .execute()
    .await?;
    tx.statement(
        "INSERT INTO refresh_tokens (
            hash,
            session_id,
            created_at
        )
        VALUES ($1, $2, $3)",
    )
    .bind(token.as_slice())
    .bind(Id(session))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// The session.
pub async fn get(conn: &mut Conn, id: SessionId) -> Result<Option<Session>> {
    let row: Option<SessionRow> =
        conn.statement(select_sessions!("", "WHERE id = $1")).bind(Id(id)).optional().await?;
    Ok(row.map(Session::from))
}

/// Where a person is signed in at `now`, newest first.
pub async fn list(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<Vec<Session>> {
    let rows: Vec<SessionRow> = conn
        .statement(select_sessions!(
            "",
            "WHERE user_id = $1
                AND revoked_at IS NULL
                AND expires_at > $2
            ORDER BY id DESC"
        ))
        .bind(Id(user))
        .bind(Micros(now))
        .all()
        .await?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// The session that a refresh token was given to, ended ones too.
pub async fn by_refresh_token(conn: &mut Conn, token: &[u8; 32]) -> Result<Option<Renewal>> {
    let row: Option<RenewalRow> = conn
        .statement(select_sessions!(
            ", refresh_tokens.used_at AS token_used_at",
            "INNER JOIN refresh_tokens
                ON refresh_tokens.session_id = sessions.id
            WHERE refresh_tokens.hash = $1"
        ))
        .bind(token.as_slice())
        .optional()
        .await?;
    Ok(row.map(|row| Renewal {
        session: row.session.into(),
        used_at: row.token_used_at.map(|at| at.0),
    }))
}

/// Uses up a refresh token and gives the session the next one; `false` when it was used meanwhile.
pub async fn renew(
    tx: &mut Tx,
    session: SessionId,
    token: &[u8; 32],
    next: &[u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool> {
    let used = tx
        .statement(
            "UPDATE refresh_tokens
            SET used_at = $3
            WHERE hash = $1
                AND session_id = $2
                AND used_at IS NULL",
        )
        .bind(token.as_slice())
        .bind(Id(session))
        .bind(Micros(now))
        .changed()
        .await?;
    if !used {
        return Ok(false);
    }
    tx.statement(
        "DELETE FROM refresh_tokens
        WHERE session_id = $1
            AND used_at < $2",
    )
    .bind(Id(session))
    .bind(Micros(now.minus(REMEMBERED)))
    .execute()
    .await?;
    give_token(tx, session, next, now).await?;
    tx.statement(
        "UPDATE sessions
        SET used_at = $2,
            expires_at = $3
        WHERE id = $1
            AND revoked_at IS NULL",
    )
    .bind(Id(session))
    .bind(Micros(now))
    .bind(Micros(expires_at))
    .changed()
    .await
}

/// Notes the workspace that a session acts in from now on.
pub async fn enter(tx: &mut Tx, session: SessionId, workspace: WorkspaceId) -> Result<()> {
    tx.statement(
        "UPDATE sessions
        SET workspace_id = $2
        WHERE id = $1",
    )
    .bind(Id(session))
    .bind(Id(workspace))
    .execute()
    .await?;
    Ok(())
}

/// Ends a session of a person; `false` when it is not theirs or has ended.
pub async fn revoke(tx: &mut Tx, user: UserId, id: SessionId, now: Timestamp) -> Result<bool> {
    tx.statement(
        "UPDATE sessions
        SET revoked_at = $3
        WHERE id = $1
            AND user_id = $2
            AND revoked_at IS NULL",
    )
    .bind(Id(id))
    .bind(Id(user))
    .bind(Micros(now))
    .changed()
    .await
}

/// Ends all sessions of a person but `kept`; their ids.
pub async fn revoke_others(
    tx: &mut Tx,
    user: UserId,
    kept: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<SessionId>> {
    let rows: Vec<(Id<SessionId>,)> = tx
        .statement(
            "UPDATE sessions
            SET revoked_at = $3
            WHERE user_id = $1
                AND id <> COALESCE($2, '')
                AND revoked_at IS NULL
            RETURNING id",
        )
        .bind(Id(user))
        .bind(kept.map(Id))
        .bind(Micros(now))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id,)| id.0).collect())
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id.0,
            user_id: row.user_id.0,
            workspace_id: row.workspace_id.map(|id| id.0),
            user_agent: row.user_agent,
            created_at: row.created_at.0,
            used_at: row.used_at.0,
            expires_at: row.expires_at.0,
            revoked_at: row.revoked_at.map(|at| at.0),
        }
    }
}
