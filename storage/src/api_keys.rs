//! API keys.

use std::time::Duration;

use domain::api_key::{ApiKey, FoundKey};
use domain::principal::{Scope, Scopes};
use domain::{ApiKeyId, Role, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct ApiKeyRow {
    id: Id<ApiKeyId>,
    workspace_id: Id<WorkspaceId>,
    name: String,
    prefix: String,
    scopes: String,
    created_by: Option<Id<UserId>>,
    created_at: Micros,
    expires_at: Option<Micros>,
    last_used_at: Option<Micros>,
    revoked_at: Option<Micros>,
}

#[derive(FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    key: ApiKeyRow,
    maker: Option<Name<Role>>,
}

macro_rules! select_api_keys {
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT
                api_keys.id,
                api_keys.workspace_id,
                api_keys.name,
                api_keys.prefix,
                api_keys.scopes,
                api_keys.created_by,
                api_keys.created_at,
                api_keys.expires_at,
                api_keys.last_used_at,
                api_keys.revoked_at",
            $more,
            " FROM api_keys ",
            $rest
        )
    };
}

/// The last use of a key is kept to the minute, so that a busy key is not a row written at every request.
const USE_RESOLUTION: Duration = Duration::from_mins(1);

/// Stores a key by its hash (SHA-256).
pub async fn insert(tx: &mut Tx, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
    tx.statement(
        "INSERT INTO api_keys (
            id,
            workspace_id,
            name,
            prefix,
            hash,
            scopes,
            created_by,
            created_at,
            expires_at,
            last_used_at,
            revoked_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(Id(key.id))
    .bind(Id(key.workspace_id))
    .bind(&key.name)
    .bind(&key.prefix)
    .bind(hash.as_slice())
    .bind(scopes_text(key.scopes))
    .bind(key.created_by.map(Id))
    .bind(Micros(key.created_at))
    .bind(key.expires_at.map(Micros))
    .bind(key.last_used_at.map(Micros))
    .bind(key.revoked_at.map(Micros))
    .execute()
    .await?;
    Ok(())
}

/// The key with that hash, revoked or expired ones too, and what its maker is today; `None` in a workspace that is being
/// removed. The one look-up without a workspace: the key names it.
pub async fn find_by_hash(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<FoundKey>> {
    let row: Option<FoundRow> = conn
        .statement(select_api_keys!(
            ", members.role AS maker",
            "INNER JOIN workspaces
                ON workspaces.id = api_keys.workspace_id
                    AND workspaces.closing_at IS NULL
            LEFT JOIN members
                ON members.workspace_id = api_keys.workspace_id
                    AND members.user_id = api_keys.created_by
            WHERE api_keys.hash = $1"
        ))
        .bind(hash.as_slice())
        .optional()
        .await?;
    let found = row.map(|row| {
        let maker = row.maker.map(|role| role.0);
        row.key.into_key().map(|key| FoundKey { key, maker })
    });
    found.transpose()
}

/// The key.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let row: Option<ApiKeyRow> = conn
        .statement(select_api_keys!(
            "",
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    row.map(ApiKeyRow::into_key).transpose()
}

/// Keys, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let rows: Vec<ApiKeyRow> = conn
        .statement(select_api_keys!(
            "",
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')
            ORDER BY id DESC
            LIMIT $3"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .bind(limit)
        .all()
        .await?;
    rows.into_iter().map(ApiKeyRow::into_key).collect()
}

/// Every key that was not revoked, oldest first.
pub async fn all(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<ApiKey>> {
    let rows: Vec<ApiKeyRow> = conn
        .statement(select_api_keys!(
            "",
            "WHERE workspace_id = $1
                AND revoked_at IS NULL
            ORDER BY id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    rows.into_iter().map(ApiKeyRow::into_key).collect()
}

/// Revokes a key; `false` when absent or revoked already.
pub async fn revoke(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE api_keys
        SET revoked_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND revoked_at IS NULL",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

/// Notes that a key was used, to the minute: a use less than a minute after the last noted one writes nothing.
pub async fn touch(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE api_keys
        SET last_used_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND COALESCE(last_used_at <= $4, TRUE)",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .bind(Micros(now.minus(USE_RESOLUTION)))
    .execute()
    .await?;
    Ok(())
}

fn scopes_text(scopes: Scopes) -> String {
    scopes.iter().map(Scope::name).collect::<Vec<_>>().join(",")
}

impl ApiKeyRow {
    fn into_key(self) -> Result<ApiKey> {
        let words = self.scopes.split(',').filter(|word| !word.is_empty());
        let scopes = words
            .map(str::parse::<Scope>)
            .collect::<Result<Scopes, _>>()
            .map_err(|error| StorageError::decode("scopes", &error))?;
        Ok(ApiKey {
            id: self.id.0,
            workspace_id: self.workspace_id.0,
            name: self.name,
            prefix: self.prefix,
            scopes,
            created_by: self.created_by.map(|id| id.0),
            created_at: self.created_at.0,
            expires_at: self.expires_at.map(|at| at.0),
            last_used_at: self.last_used_at.map(|at| at.0),
            revoked_at: self.revoked_at.map(|at| at.0),
        })
    }
}
