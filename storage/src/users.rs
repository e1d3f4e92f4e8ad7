//! People who sign in.

use domain::user::User;
use domain::{Timestamp, UserId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
pub(crate) struct UserRow {
    id: Id<UserId>,
    name: String,
    email: String,
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
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $5)",
    )
    .bind(Id(user.id))
    .bind(&user.name)
    .bind(&user.email)
    .bind(password_hash)
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

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self { id: row.id.0, name: row.name, email: row.email, created_at: row.created_at.0 }
    }
}
