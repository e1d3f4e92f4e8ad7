//! Second factors of people: the sealed secret of their one-time codes, recovery codes, and who owes one after the right
//! password. They are people's and of no workspace.

use domain::{Timestamp, UserId};
use sqlx::FromRow;

use crate::sql::{Dialects, Id, Micros};
use crate::{Conn, Result, Tx};

/// What is kept of a person's one-time codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// The secret, sealed.
    pub sealed: String,
    /// Since when it is asked for; `None` while it is being set up.
    pub since: Option<Timestamp>,
    /// The step of 30 seconds whose code was used last.
    pub step: Option<i64>,
}

#[derive(FromRow)]
#[expect(clippy::struct_field_names, reason = "the columns' own names")]
struct SecondFactorRow {
    second_factor: String,
    second_factor_since: Option<Micros>,
    second_factor_step: Option<i64>,
}

macro_rules! select_factor {
    ($rest:literal) => {
        concat!(
            "SELECT
                second_factor,
                second_factor_since,
                second_factor_step
            FROM users
            WHERE id = $1
                AND second_factor IS NOT NULL",
            $rest
        )
    };
}

/// What a person has set up, or begun to.
pub async fn get(conn: &mut Conn, user: UserId) -> Result<Option<SecondFactor>> {
    let row: Option<SecondFactorRow> =
        conn.statement(select_factor!("")).bind(Id(user)).optional().await?;
    Ok(row.map(SecondFactor::from))
}

/// As [`get`], and nobody else changes it until the transaction ends. SQLite has one writer anyway.
pub async fn hold(tx: &mut Tx, user: UserId) -> Result<Option<SecondFactor>> {
    let row: Option<SecondFactorRow> = tx
        .statement(Dialects {
            sqlite: select_factor!(""),
            postgres: select_factor!(" FOR NO KEY UPDATE"),
        })
        .bind(Id(user))
        .optional()
        .await?;
    Ok(row.map(SecondFactor::from))
}

/// Begins to set one up; `false` when one is asked for already.
pub async fn set_up(tx: &mut Tx, user: UserId, sealed: &str) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET
            second_factor = $2,
            second_factor_step = NULL
        WHERE id = $1
            AND second_factor_since IS NULL",
    )
    .bind(Id(user))
    .bind(sealed)
    .changed()
    .await
}

/// From now on it is asked for; `false` when another one was set up meanwhile, or it is asked for already.
pub async fn confirm(
    tx: &mut Tx,
    user: UserId,
    sealed: &str,
    step: i64,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET
            second_factor_since = $4,
            second_factor_step = $3
        WHERE id = $1
            AND second_factor = $2
            AND second_factor_since IS NULL",
    )
    .bind(Id(user))
    .bind(sealed)
    .bind(step)
    .bind(Micros(now))
    .changed()
    .await
}

/// Uses up the code of a step; `false` when it, or a later one, was used.
pub async fn take_step(tx: &mut Tx, user: UserId, step: i64) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET second_factor_step = $2
        WHERE id = $1
            AND COALESCE(second_factor_step < $2, TRUE)",
    )
    .bind(Id(user))
    .bind(step)
    .changed()
    .await
}

/// It is asked for no longer, and its recovery codes are gone.
pub async fn remove(tx: &mut Tx, user: UserId) -> Result<()> {
    tx.statement(
        "UPDATE users
        SET
            second_factor = NULL,
            second_factor_since = NULL,
            second_factor_step = NULL
        WHERE id = $1",
    )
    .bind(Id(user))
    .execute()
    .await?;
    put_recovery_codes(tx, user, &[]).await
}

/// Puts recovery codes, by their hashes (SHA-256), in the place of those that there were.
pub async fn put_recovery_codes(tx: &mut Tx, user: UserId, codes: &[[u8; 32]]) -> Result<()> {
    tx.statement(
        "DELETE FROM recovery_codes
        WHERE user_id = $1",
    )
    .bind(Id(user))
    .execute()
    .await?;
    for code in codes {
        tx.statement(
            "INSERT INTO recovery_codes (
                user_id,
                hash
            )
            VALUES ($1, $2)",
        )
        .bind(Id(user))
        .bind(code.as_slice())
        .execute()
        .await?;
    }
    Ok(())
}

/// Uses up a recovery code; `false` when it is none.
pub async fn take_recovery_code(tx: &mut Tx, user: UserId, code: &[u8; 32]) -> Result<bool> {
    tx.statement(
        "DELETE FROM recovery_codes
        WHERE user_id = $1
            AND hash = $2",
    )
    .bind(Id(user))
    .bind(code.as_slice())
    .changed()
    .await
}

/// Notes by a hash (SHA-256) that somebody gave the right password; those that ran out go.
pub async fn insert_challenge(
    tx: &mut Tx,
    hash: &[u8; 32],
    user: UserId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    tx.statement(
        "DELETE FROM sign_in_challenges
        WHERE expires_at < $1",
    )
    .bind(Micros(now))
    .execute()
    .await?;
    tx.statement(
        "INSERT INTO sign_in_challenges (
            hash,
            user_id,
            guesses,
            created_at,
            expires_at
        )
        VALUES ($1, $2, 0, $3, $4)",
    )
    .bind(hash.as_slice())
    .bind(Id(user))
    .bind(Micros(now))
    .bind(Micros(expires_at))
    .execute()
    .await?;
    Ok(())
}

/// Counts a guess at a challenge; whose it is, `None` when it has run out or was guessed at `most` times.
pub async fn guess(
    tx: &mut Tx,
    hash: &[u8; 32],
    most: i64,
    now: Timestamp,
) -> Result<Option<UserId>> {
    let row: Option<(Id<UserId>,)> = tx
        .statement(
            "UPDATE sign_in_challenges
            SET guesses = guesses + 1
            WHERE hash = $1
                AND guesses < $2
                AND expires_at > $3
            RETURNING user_id",
        )
        .bind(hash.as_slice())
        .bind(most)
        .bind(Micros(now))
        .optional()
        .await?;
    Ok(row.map(|(user,)| user.0))
}

/// Ends every challenge of a person; `false` when there was none: somebody else was quicker.
pub async fn end_challenges(tx: &mut Tx, user: UserId) -> Result<bool> {
    tx.statement(
        "DELETE FROM sign_in_challenges
        WHERE user_id = $1",
    )
    .bind(Id(user))
    .changed()
    .await
}

/// The sealed secrets of everybody.
pub async fn all(conn: &mut Conn) -> Result<Vec<(UserId, String)>> {
    let rows: Vec<(Id<UserId>, String)> = conn
        .statement(
            "SELECT
                id,
                second_factor
            FROM users
            WHERE second_factor IS NOT NULL
            ORDER BY id",
        )
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id, sealed)| (id.0, sealed)).collect())
}

/// Puts a secret, sealed anew, in the place of `before`; `false` when another one stands there now.
pub async fn replace(tx: &mut Tx, user: UserId, before: &str, after: &str) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET second_factor = $3
        WHERE id = $1
            AND second_factor = $2",
    )
    .bind(Id(user))
    .bind(before)
    .bind(after)
    .changed()
    .await
}

impl From<SecondFactorRow> for SecondFactor {
    fn from(row: SecondFactorRow) -> Self {
        Self {
            sealed: row.second_factor,
            since: row.second_factor_since.map(|at| at.0),
            step: row.second_factor_step,
        }
    }
}
