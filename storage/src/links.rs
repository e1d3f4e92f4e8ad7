//! Links that are sent by mail: to verify an address, to choose another password. They are people's and of no workspace.

use domain::user::{Link, LinkPurpose};
use domain::{Lang, LinkId, Timestamp, UserId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct LinkRow {
    id: Id<LinkId>,
    user_id: Id<UserId>,
    purpose: Name<LinkPurpose>,
    email: String,
    language: Name<Lang>,
    created_at: Micros,
    expires_at: Micros,
    used_at: Option<Micros>,
}

macro_rules! select_links {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                user_id,
                purpose,
                email,
                language,
                created_at,
                expires_at,
                used_at
            FROM links ",
            $rest
        )
    };
}

/// Stores a link by the hash (SHA-256) of its token.
pub async fn insert(tx: &mut Tx, link: &Link, hash: &[u8; 32]) -> Result<()> {
    tx.statement(
        "INSERT INTO links (
            id,
            user_id,
            purpose,
            email,
            language,
            hash,
            created_at,
            expires_at,
            used_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Id(link.id))
    .bind(Id(link.user_id))
    .bind(Name(link.purpose))
    .bind(&link.email)
    .bind(Name(link.language))
    .bind(hash.as_slice())
    .bind(Micros(link.created_at))
    .bind(Micros(link.expires_at))
    .bind(link.used_at.map(Micros))
    .execute()
    .await?;
    Ok(())
}

/// The link.
pub async fn get(conn: &mut Conn, id: LinkId) -> Result<Option<Link>> {
    let row: Option<LinkRow> =
        conn.statement(select_links!("WHERE id = $1")).bind(Id(id)).optional().await?;
    Ok(row.map(Link::from))
}

/// The link whose token has that hash, used and expired ones too.
pub async fn by_hash(
    conn: &mut Conn,
    purpose: LinkPurpose,
    hash: &[u8; 32],
) -> Result<Option<Link>> {
    let row: Option<LinkRow> = conn
        .statement(select_links!(
            "WHERE hash = $1
                AND purpose = $2"
        ))
        .bind(hash.as_slice())
        .bind(Name(purpose))
        .optional()
        .await?;
    Ok(row.map(Link::from))
}

/// Uses a link up; `false` when somebody else did meanwhile.
pub async fn take(tx: &mut Tx, id: LinkId, now: Timestamp) -> Result<bool> {
    tx.statement(
        "UPDATE links
        SET used_at = $2
        WHERE id = $1
            AND used_at IS NULL",
    )
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

/// Makes every link of a person for one purpose useless.
pub async fn end(tx: &mut Tx, user: UserId, purpose: LinkPurpose, now: Timestamp) -> Result<()> {
    tx.statement(
        "UPDATE links
        SET used_at = $3
        WHERE user_id = $1
            AND purpose = $2
            AND used_at IS NULL",
    )
    .bind(Id(user))
    .bind(Name(purpose))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// Removes links that expired before `before`; how many.
pub async fn delete_older(tx: &mut Tx, before: Timestamp) -> Result<i64> {
    tx.statement(
        "DELETE FROM links
        WHERE expires_at < $1",
    )
    .bind(Micros(before))
    .execute()
    .await
}

impl From<LinkRow> for Link {
    fn from(row: LinkRow) -> Self {
        Self {
            id: row.id.0,
            user_id: row.user_id.0,
            purpose: row.purpose.0,
            email: row.email,
            language: row.language.0,
            created_at: row.created_at.0,
            expires_at: row.expires_at.0,
            used_at: row.used_at.map(|at| at.0),
        }
    }
}
