//! Model providers of workspaces.

use domain::{ProviderId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, Tx};

/// A model provider of a workspace.
#[derive(Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Shown to people; unique in the workspace.
    pub name: String,
    /// Its address, up to and including `/v1`.
    pub base_url: String,
    /// Its key, sealed (`domain::Vault`).
    pub api_key: Option<String>,
    /// Azure's `api-version`; its presence chooses Azure-style requests.
    pub azure_api_version: Option<String>,
    /// The models that it answers to, the one for agents that name none first.
    pub models: Vec<String>,
    /// Lower ones are asked first.
    pub priority: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for Provider {
    /// Without the key, sealed as it is, and without the address, which may hold one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

#[derive(FromRow)]
struct ProviderRow {
    id: Id<ProviderId>,
    name: String,
    base_url: String,
    api_key: Option<String>,
    azure_api_version: Option<String>,
    models: Json<Vec<String>>,
    priority: i64,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_providers {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                name,
                base_url,
                api_key,
                azure_api_version,
                models,
                priority,
                created_at,
                updated_at
            FROM providers ",
            $rest
        )
    };
}

/// Stores a new provider; `false` when the workspace has `most` already. `Conflict` when the name is taken.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    provider: &Provider,
    most: i64,
) -> Result<bool> {
    tx.statement(
        "INSERT INTO providers (
            id,
            workspace_id,
            name,
            base_url,
            api_key,
            azure_api_version,
            models,
            priority,
            created_at,
            updated_at
        )
        SELECT
            $2,
            id,
            $3,
            $4,
            $5,
            $6,
            $7,
            CAST($8 AS BIGINT),
            CAST($9 AS BIGINT),
            CAST($10 AS BIGINT)
        FROM workspaces
        WHERE id = $1
            AND (SELECT COUNT(*) FROM providers WHERE workspace_id = $1) < $11",
    )
    .bind(Id(workspace))
    .bind(Id(provider.id))
    .bind(&provider.name)
    .bind(&provider.base_url)
    .bind(&provider.api_key)
    .bind(&provider.azure_api_version)
    .json(&provider.models)
    .bind(provider.priority)
    .bind(Micros(provider.created_at))
    .bind(Micros(provider.updated_at))
    .bind(most)
    .changed()
    .await
}

/// Writes every changeable field; `false` when absent, `Conflict` when the name is taken.
pub async fn update(tx: &mut Tx, workspace: WorkspaceId, provider: &Provider) -> Result<bool> {
    tx.statement(
        "UPDATE providers
        SET
            name = $3,
            base_url = $4,
            api_key = $5,
            azure_api_version = $6,
            models = $7,
            priority = $8,
            updated_at = $9
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(provider.id))
    .bind(&provider.name)
    .bind(&provider.base_url)
    .bind(&provider.api_key)
    .bind(&provider.azure_api_version)
    .json(&provider.models)
    .bind(provider.priority)
    .bind(Micros(provider.updated_at))
    .changed()
    .await
}

/// The provider.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ProviderId,
) -> Result<Option<Provider>> {
    let row: Option<ProviderRow> = conn
        .statement(select_providers!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Provider::from))
}

/// Every provider of a workspace, in the order that they are asked.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Provider>> {
    let rows: Vec<ProviderRow> = conn
        .statement(select_providers!(
            "WHERE workspace_id = $1
            ORDER BY priority, id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Provider::from).collect())
}

/// Removes a provider; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: ProviderId) -> Result<bool> {
    tx.statement(
        "DELETE FROM providers
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<ProviderRow> for Provider {
    fn from(row: ProviderRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            base_url: row.base_url,
            api_key: row.api_key,
            azure_api_version: row.azure_api_version,
            models: row.models.0,
            priority: row.priority,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
