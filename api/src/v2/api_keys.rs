//! API keys. The key itself is shown once, when it is made.

use axum::extract::State;
use domain::api_key::{ApiKey, ApiKeySecret};
use domain::principal::Scopes;
use domain::{Action, ApiKeyId, DomainError, Timestamp, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::api_keys;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::PageQuery;
use super::words::Scope;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
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
    let found = api_keys::list(&mut conn, workspace, paging.after, paging.one_more()).await?;
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
    let now = state.ambient.now();
    let secret = ApiKeySecret::generate(&state.ambient);
    let mut key = ApiKey {
        id: state.ambient.new_id(),
        workspace_id: caller.workspace(),
        name: text::required("name", &new.name, 100)?,
        prefix: secret.prefix().to_owned(),
        scopes: read_scopes(new.scopes)?,
        created_by: None,
        created_at: now,
        expires_at: new.expires_at.map(|text| read_expiry(&text, now)).transpose()?,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = state.db.write().await?;
    // It may do no more than the person who made the key that makes it.
    if let Some(by) = caller.api_key() {
        let by = api_keys::get(&mut tx, caller.workspace(), by).await?;
        key.created_by = by.ok_or_else(ApiError::unauthorized)?.created_by;
    }
    api_keys::insert(&mut tx, &key, &secret.hash()).await?;
    let scopes: Vec<_> = key.scopes.iter().map(domain::Scope::name).collect();
    let after = json!({"name": key.name, "prefix": key.prefix, "scopes": scopes});
    let changed = Changed { before: None, after: Some(after) };
    caller.audit(&mut tx, &state.ambient, "api-key.created", key.id, changed).await?;
    tx.commit().await?;
    let created = CreatedApiKey { stored: key.into(), key: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(created)))
}

fn read_scopes(scopes: Option<Vec<Scope>>) -> ApiResult<Scopes> {
    match scopes {
        None => Ok(Scopes::all()),
        Some(scopes) if scopes.is_empty() => Err(ApiError::invalid(
            "scopes",
            "`scopes` must name read, chat or manage, or be left out",
        )),
        Some(scopes) => Ok(scopes.into_iter().map(domain::Scope::from).collect()),
    }
}

fn read_expiry(text: &str, now: Timestamp) -> ApiResult<Timestamp> {
    let expiry = Timestamp::parse_rfc3339(text).filter(|expiry| *expiry > now);
    expiry.ok_or_else(|| {
        let message = "`expiresAt` must be a time in the future, like 2030-01-01T00:00:00Z";
        ApiError::invalid("expiresAt", message)
    })
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
    let mut tx = state.db.write().await?;
    let now = state.ambient.now();
    if !api_keys::revoke(&mut tx, caller.workspace(), id, now).await? {
        return Err(DomainError::not_found(<ApiKeyId as domain::ids::PrefixedId>::KIND).into());
    }
    caller.audit(&mut tx, &state.ambient, "api-key.revoked", id, Changed::default()).await?;
    tx.commit().await?;
    state.authenticator.forget(id);
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
