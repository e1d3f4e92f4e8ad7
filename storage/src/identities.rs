//! Accounts at an identity provider that sign people in here, and who is on the way there and back. They are people's and of
//! no workspace.

use domain::{Lang, Timestamp, UserId};

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, Tx};

/// Whose account it is, by the provider and its name for them.
pub async fn user(conn: &mut Conn, issuer: &str, subject: &str) -> Result<Option<UserId>> {
    let row: Option<(Id<UserId>,)> = conn
        .statement(
            "SELECT user_id
            FROM identities
            WHERE issuer = $1
                AND subject = $2",
        )
        .bind(issuer)
        .bind(subject)
        .optional()
        .await?;
    Ok(row.map(|(user,)| user.0))
}

/// From now on that account signs the person in. `Conflict` when it signs somebody in already.
pub async fn insert(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
    user: UserId,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO identities (
            issuer,
            subject,
            user_id,
            created_at
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(issuer)
    .bind(subject)
    .bind(Id(user))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// Notes by the hash (SHA-256) of a state that somebody went to the provider; those that ran out go.
pub async fn insert_request(
    tx: &mut Tx,
    hash: &[u8; 32],
    language: Lang,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    tx.statement(
        "DELETE FROM identity_requests
        WHERE expires_at < $1",
    )
    .bind(Micros(now))
    .execute()
    .await?;
    tx.statement(
        "INSERT INTO identity_requests (
            hash,
            language,
            created_at,
            expires_at
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(hash.as_slice())
    .bind(Name(language))
    .bind(Micros(now))
    .bind(Micros(expires_at))
    .execute()
    .await?;
    Ok(())
}

/// Uses up a state; the language that its person likes, `None` when it is none, was used or has run out.
pub async fn take_request(tx: &mut Tx, hash: &[u8; 32], now: Timestamp) -> Result<Option<Lang>> {
    let row: Option<(Name<Lang>,)> = tx
        .statement(
            "DELETE FROM identity_requests
            WHERE hash = $1
                AND expires_at > $2
            RETURNING language",
        )
        .bind(hash.as_slice())
        .bind(Micros(now))
        .optional()
        .await?;
    Ok(row.map(|(language,)| language.0))
}
