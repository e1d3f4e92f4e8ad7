//! API keys: the same ones as on the other surfaces. The key itself is shown once, when it is made.

use axum::extract::State;
use domain::api_key::{ApiKey, ApiKeySecret};
use domain::ids::PrefixedId;
use domain::principal::Scopes;
use domain::{Action, ApiKeyId, DomainError, Timestamp, UserId, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::{Tx, api_keys};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::paging::{List, ListQuery};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
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
    let all = api_keys::all(&mut conn, caller.workspace()).await?;
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
    key.created_by = maker(&mut tx, &caller).await?;
    api_keys::insert(&mut tx, &key, &secret.hash()).await?;
    let scopes: Vec<_> = key.scopes.iter().map(domain::Scope::name).collect();
    let after = json!({"name": key.name, "prefix": key.prefix, "scopes": scopes});
    let changed = Changed { before: None, after: Some(after) };
    caller.audit(&mut tx, &state.ambient, "api-key.created", key.id, changed).await?;
    tx.commit().await?;
    let created = CreatedApiKey { stored: key.into(), key: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Who makes a key: the person, or whoever made the key that makes it.
async fn maker(tx: &mut Tx, caller: &Caller) -> ApiResult<Option<UserId>> {
    match caller.api_key() {
        None => Ok(Some(caller.person()?.user)),
        Some(key) => {
            let key = api_keys::get(tx, caller.workspace(), key).await?;
            Ok(key.ok_or_else(ApiError::unauthorized)?.created_by)
        }
    }
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
    let found = api_keys::get(&mut conn, caller.workspace(), id).await?;
    Ok(Json(found.filter(|key| key.revoked_at.is_none()).ok_or_else(absent)?.into()))
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
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let mut tx = state.db.write().await?;
    let found = api_keys::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if !api_keys::revoke(&mut tx, workspace, id, now).await? {
        return Err(absent().into());
    }
    let before = json!({"name": found.name, "prefix": found.prefix});
    let changed = Changed { before: Some(before), after: None };
    caller.audit(&mut tx, &state.ambient, "api-key.revoked", id, changed).await?;
    tx.commit().await?;
    state.authenticator.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

fn absent() -> DomainError {
    DomainError::not_found(ApiKeyId::KIND)
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
