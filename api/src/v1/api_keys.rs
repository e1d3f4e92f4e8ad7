//! API keys: the same ones as on the other surfaces. The key itself is shown once, when it is made.

use axum::extract::State;
use domain::api_key::ApiKey;
use domain::{Action, ApiKeyId, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::paging::{List, ListQuery};
use crate::api_keys::{self, WantedKey};
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Id, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;
use crate::words::words;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadApiKeys, routes!(list))
        .panel(Action::ManageApiKeys, routes!(create))
        .panel(Action::ReadApiKeys, routes!(get))
        .panel(Action::ManageApiKeys, routes!(revoke))
}

words! {
    /// What an API key may be used for.
    Scope = domain::Scope {
        /// Reads and searches.
        Read = "read",
        /// Talks to agents and rates answers.
        Chat = "chat",
        /// Creates, changes and deletes; implies the other two.
        Manage = "manage",
    }
}

/// An API key; never the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
struct ApiKeyView {
    #[schema(pattern = "^key_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "Sitio web")]
    name: String,
    /// The first characters of the key, to tell keys apart.
    #[schema(example = "vk_1a2b3c4d")]
    prefix: String,
    scopes: Vec<Scope>,
    /// The id of the person who made it, whose rights bound it; null for keys that no person made.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    created_by: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339; null for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// RFC 3339, to the minute; null for never.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedApiKey {
    #[serde(flatten)]
    stored: ApiKeyView,
    /// The key, shown this once.
    #[schema(pattern = "^vk_[0-9a-f]{64}$")]
    key: String,
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewApiKey {
    #[schema(min_length = 1, max_length = 100, example = "Sitio web")]
    name: String,
    /// What it may be used for; absent means everything.
    #[schema(min_items = 1)]
    scopes: Option<Vec<Scope>>,
    /// RFC 3339, in the future; absent means never.
    #[schema(format = DateTime, example = "2030-01-01T00:00:00Z")]
    expires_at: Option<String>,
}

/// List API keys
///
/// Those that were not revoked, oldest first.
#[utoipa::path(
    get,
    path = "/v1/api-keys",
    tag = "API keys",
    operation_id = "listApiKeys",
    params(ListQuery),
    responses((status = 200, description = "A page of keys.", body = List<ApiKeyView>)),
)]
#[tracing::instrument(name = "handler.v1.api_keys.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<ApiKeyView>>> {
    let mut conn = state.db.read().await?;
    let all = storage::api_keys::all(&mut conn, caller.workspace()).await?;
    Ok(Json(query.page_of(all, |key| [&key.name, &key.prefix])?))
}

/// Create an API key
///
/// It may do at most what the person who made it may do at that time, and never what is an owner's.
#[utoipa::path(
    post,
    path = "/v1/api-keys",
    tag = "API keys",
    operation_id = "createApiKey",
    request_body = NewApiKey,
    responses((status = 201, description = "The key, shown this once.", body = CreatedApiKey)),
)]
#[tracing::instrument(name = "handler.v1.api_keys.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewApiKey>,
) -> ApiResult<(StatusCode, Json<CreatedApiKey>)> {
    let NewApiKey { name, scopes, expires_at } = new;
    let scopes = scopes.map(|scopes| scopes.into_iter().map(Into::into).collect());
    let wanted = WantedKey { name, scopes, expires_at };
    let (key, secret) = api_keys::create(&state, &caller, wanted).await?;
    let created = CreatedApiKey { stored: key.into(), key: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Get an API key
#[utoipa::path(
    get,
    path = "/v1/api-keys/{keyId}",
    tag = "API keys",
    operation_id = "getApiKey",
    params(("keyId" = String, Path)),
    responses((status = 200, description = "The key's entry.", body = ApiKeyView)),
)]
#[tracing::instrument(name = "handler.v1.api_keys.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ApiKeyId>,
) -> ApiResult<Json<ApiKeyView>> {
    let mut conn = state.db.read().await?;
    let found = storage::api_keys::get(&mut conn, caller.workspace(), id).await?;
    Ok(Json(found.filter(|key| key.revoked_at.is_none()).ok_or_else(api_keys::absent)?.into()))
}

/// Revoke an API key
///
/// It stops working at once.
#[utoipa::path(
    delete,
    path = "/v1/api-keys/{keyId}",
    tag = "API keys",
    operation_id = "revokeApiKey",
    params(("keyId" = String, Path)),
    responses((status = 204, description = "It works no longer.")),
)]
#[tracing::instrument(name = "handler.v1.api_keys.revoke", skip_all)]
async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ApiKeyId>,
) -> ApiResult<StatusCode> {
    api_keys::revoke(&state, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes.iter().map(Scope::from).collect(),
            created_by: key.created_by.map(|user| user.to_string()),
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.map(Timestamp::to_rfc3339),
            last_used_at: key.last_used_at.map(Timestamp::to_rfc3339),
        }
    }
}
