//! People who sign in.

use domain::user::User;
use domain::{Lang, Timestamp, UserId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
pub(crate) struct UserRow {
    id: Id<UserId>,
    name: String,
    email: String,
    email_verified_at: Option<Micros>,
    language: Option<Name<Lang>>,
    second_factor_since: Option<Micros>,
    created_at: Micros,
}

/// A person, and the hash that their password is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Who.
    pub user: User,
    /// In the PHC string format.
    pub password_hash: String,
}

#[derive(FromRow)]
struct SignInRow {
    #[sqlx(flatten)]
    user: UserRow,
    password_hash: String,
}

/// Stores a person. `Conflict` when the address is taken.
pub async fn insert(tx: &mut Tx, user: &User, password_hash: &str) -> Result<()> {
    tx.statement(
        "INSERT INTO users (
            id,
            name,
            email,
            password_hash,
            email_verified_at,
            language,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
    )
    .bind(Id(user.id))
    .bind(&user.name)
    .bind(&user.email)
    .bind(password_hash)
    .bind(user.email_verified_at.map(Micros))
    .bind(user.language.map(Name))
    .bind(Micros(user.created_at))
    .execute()
    .await?;
    Ok(())
}

/// The person.
pub async fn get(conn: &mut Conn, id: UserId) -> Result<Option<User>> {
    let row: Option<UserRow> = conn
        .statement(
            "SELECT
                id,
                name,
                email,
                email_verified_at,
                language,
                second_factor_since,
                created_at
            FROM users
            WHERE id = $1",
        )
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(User::from))
}

/// The person with that address, in lower case.
pub async fn by_email(conn: &mut Conn, email: &str) -> Result<Option<SignIn>> {
    let row: Option<SignInRow> = conn
        .statement(
            "SELECT
                id,
                name,
                email,
                email_verified_at,
                language,
                second_factor_since,
                created_at,
                password_hash
            FROM users
            WHERE email = $1",
        )
        .bind(email)
        .optional()
        .await?;
    Ok(row.map(|row| SignIn { user: row.user.into(), password_hash: row.password_hash }))
}

/// Puts another password in the place of the one with the hash `before`; `false` when that is not the person's any more.
pub async fn set_password(
    tx: &mut Tx,
    id: UserId,
    before: &str,
    password_hash: &str,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET password_hash = $3,
            updated_at = $4
        WHERE id = $1
            AND password_hash = $2",
    )
    .bind(Id(id))
    .bind(before)
    .bind(password_hash)
    .bind(Micros(now))
    .changed()
    .await
}

/// Whether nobody has registered in the installation. Who is told so is the only one until the transaction ends: others
/// who ask wait for it. SQLite has one writer anyway.
pub async fn none_yet(tx: &mut Tx) -> Result<bool> {
    if any(tx).await? {
        return Ok(false);
    }
    if tx.is_postgres() {
        tx.statement("SELECT pg_advisory_xact_lock(hashtextextended('the first person', 0))")
            .execute()
            .await?;
    }
    Ok(!any(tx).await?)
}

async fn any(conn: &mut Conn) -> Result<bool> {
    let row: Option<(Id<UserId>,)> = conn
        .statement(
            "SELECT id
            FROM users
            LIMIT 1",
        )
        .optional()
        .await?;
    Ok(row.is_some())
}

/// Notes that the address is the person's; `false` when it is not `email` any more.
pub async fn verify(tx: &mut Tx, id: UserId, email: &str, now: Timestamp) -> Result<bool> {
    tx.statement(
        "UPDATE users
        SET email_verified_at = COALESCE(email_verified_at, $3)
        WHERE id = $1
            AND email = $2",
    )
    .bind(Id(id))
    .bind(email)
    .bind(Micros(now))
    .changed()
    .await
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            email: row.email,
            email_verified_at: row.email_verified_at.map(|at| at.0),
            language: row.language.map(|language| language.0),
            second_factor_since: row.second_factor_since.map(|at| at.0),
            created_at: row.created_at.0,
        }
    }
}
