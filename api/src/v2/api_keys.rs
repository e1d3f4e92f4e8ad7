//! API keys. The key itself is shown once, when it is made.

use axum::extract::State;
use domain::api_key::ApiKey;
use domain::{Action, ApiKeyId, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::PageQuery;
use super::words::Scope;
use crate::api_keys::{self, WantedKey};
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Id, Json, Query};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadApiKeys, routes!(list))
        .route(Action::ManageApiKeys, routes!(create))
        .route(Action::ManageApiKeys, routes!(revoke))
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
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339; null for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// RFC 3339, to the minute; null for never.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// RFC 3339; null while it works.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
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
/// Newest first, revoked ones too.
#[utoipa::path(
    get,
    path = "/api/v2/api-keys",
    tag = "API keys",
    operation_id = "listApiKeys",
    params(PageQuery),
    responses((status = 200, description = "A page of keys.", body = Page<ApiKeyView>)),
)]
#[tracing::instrument(name = "handler.v2.api_keys.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<ApiKeyView>>> {
    let paging = query.paging()?;
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let found =
        storage::api_keys::list(&mut conn, workspace, paging.after, paging.one_more()).await?;
    Ok(Json(paging.page(found, |key| key.id, ApiKeyView::from)))
}

/// Create an API key
#[utoipa::path(
    post,
    path = "/api/v2/api-keys",
    tag = "API keys",
    operation_id = "createApiKey",
    request_body = NewApiKey,
    responses((status = 201, description = "The key, shown this once.", body = CreatedApiKey)),
)]
#[tracing::instrument(name = "handler.v2.api_keys.create", skip_all)]
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

/// Revoke an API key
///
/// It stops working at once.
#[utoipa::path(
    delete,
    path = "/api/v2/api-keys/{keyId}",
    tag = "API keys",
    operation_id = "revokeApiKey",
    params(("keyId" = String, Path)),
    responses((status = 204, description = "It works no longer.")),
)]
#[tracing::instrument(name = "handler.v2.api_keys.revoke", skip_all)]
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
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.map(Timestamp::to_rfc3339),
            last_used_at: key.last_used_at.map(Timestamp::to_rfc3339),
            revoked_at: key.revoked_at.map(Timestamp::to_rfc3339),
        }
    }
}
