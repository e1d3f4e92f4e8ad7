//! A workspace's own model providers.

use axum::extract::State;
use domain::settings::without_secrets;
use domain::vault::SecretPlace;
use domain::{Action, DomainError, ProviderId, text};
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use storage::providers::Provider;
use storage::{StorageError, providers};
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Patch;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

/// Most providers of a workspace.
const MAX_PROVIDERS: i64 = 20;

/// Most models of a provider.
const MAX_MODELS: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ManageProviders, routes!(list))
        .route(Action::ManageProviders, routes!(create))
        .route(Action::ManageProviders, routes!(get))
        .route(Action::ManageProviders, routes!(update))
        .route(Action::ManageProviders, routes!(delete))
        .route(Action::ManageProviders, routes!(models))
}

/// A model provider of the workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Provider)]
struct ProviderView {
    #[schema(pattern = "^prov_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "OpenRouter")]
    name: String,
    /// Without what may be secret in its query.
    #[schema(example = "https://openrouter.ai/api/v1")]
    base_url: String,
    /// Whether a key is stored; it is never shown.
    has_api_key: bool,
    /// Azure's `api-version`; null for every other provider.
    azure_api_version: Option<String>,
    /// What agents may name. The first one of the provider that is asked first answers for agents that name none.
    models: Vec<String>,
    /// Lower ones are asked first.
    priority: i64,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2026-11-20T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2026-11-20T10:00:00.000Z")]
    updated_at: String,
}

/// A new provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewProvider {
    #[schema(min_length = 1, max_length = 100, example = "OpenRouter")]
    name: String,
    /// Of an OpenAI-compatible server, up to and including `/v1`; for Azure the resource's.
    #[schema(max_length = 2000, example = "https://openrouter.ai/api/v1")]
    base_url: String,
    /// Encrypted at rest, never shown again; absent for a server that wants none.
    #[schema(min_length = 1, max_length = 2000)]
    api_key: Option<String>,
    /// Chooses Azure-style requests.
    #[schema(max_length = 50, example = json!(null))]
    azure_api_version: Option<String>,
    /// What agents may name, the one for agents that name none first.
    #[schema(min_items = 1, max_items = 100, example = json!(["openai/gpt-4o-mini"]))]
    models: Vec<String>,
    /// Lower ones are asked first.
    #[schema(minimum = 0, maximum = 1000, default = 0)]
    priority: Option<i64>,
}

/// Changes of a provider; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProviderChanges {
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// A stored key goes to no other site: give it again, or null, when the address leads to one.
    #[schema(max_length = 2000, nullable = false)]
    base_url: Option<String>,
    /// Null removes it.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2000)]
    api_key: Patch<String>,
    /// Null for every provider but Azure.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 50)]
    azure_api_version: Patch<String>,
    #[schema(min_items = 1, max_items = 100, nullable = false)]
    models: Option<Vec<String>>,
    #[schema(minimum = 0, maximum = 1000, nullable = false)]
    priority: Option<i64>,
}

/// What a provider has.
#[derive(Debug, Serialize, ToSchema)]
struct ListedModels {
    /// Null for one that has no list.
    models: Option<Vec<String>>,
}

/// List model providers
///
/// All of them, in the order that they are asked; a workspace has at most 20. They go before the installation's.
#[utoipa::path(
    get,
    path = "/api/v2/providers",
    tag = "Providers",
    operation_id = "listProviders",
    responses((status = 200, description = "Every provider.", body = Page<ProviderView>)),
)]
#[tracing::instrument(name = "handler.v2.providers.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<Json<Page<ProviderView>>> {
    let mut conn = state.db.read().await?;
    let found = providers::list(&mut conn, caller.workspace()).await?;
    Ok(Json(Page { data: found.into_iter().map(Into::into).collect(), next_cursor: None }))
}

/// Create a model provider
///
/// Agents of the workspace use it from now on. Nothing is asked of it yet; `GET …/models` does.
#[utoipa::path(
    post,
    path = "/api/v2/providers",
    tag = "Providers",
    operation_id = "createProvider",
    request_body = NewProvider,
    responses(
        (status = 201, description = "The provider.", body = ProviderView),
        (status = 409, description = "There is one of this name, or there are too many.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.providers.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewProvider>,
) -> ApiResult<(StatusCode, Json<ProviderView>)> {
    let now = state.ambient.now();
    let mut provider = Provider {
        id: state.ambient.new_id(),
        name: text::required("name", &new.name, 100)?,
        base_url: read_address(&state, &new.base_url)?,
        api_key: None,
        azure_api_version: new.azure_api_version.as_deref().map(read_version).transpose()?,
        models: read_models(&new.models)?,
        priority: read_priority(new.priority.unwrap_or(0))?,
        created_at: now,
        updated_at: now,
    };
    provider.api_key =
        new.api_key.map(|key| seal(&state, &caller, provider.id, &key)).transpose()?;
    let mut tx = state.db.write().await?;
    let stored = providers::insert(&mut tx, caller.workspace(), &provider, MAX_PROVIDERS).await;
    if !stored.map_err(taken)? {
        let message =
            format!("a workspace has at most {MAX_PROVIDERS} providers; delete one first");
        return Err(DomainError::conflict("CONFLICT", message).into());
    }
    let made = Changed::to(told(&provider));
    caller.audit(&mut tx, &state.ambient, "provider.created", provider.id, made).await?;
    tx.commit().await?;
    state.agents.providers_changed(caller.workspace());
    Ok((StatusCode::CREATED, Json(provider.into())))
}

/// Get a model provider
#[utoipa::path(
    get,
    path = "/api/v2/providers/{providerId}",
    tag = "Providers",
    operation_id = "getProvider",
    params(("providerId" = String, Path)),
    responses((status = 200, description = "The provider.", body = ProviderView)),
)]
#[tracing::instrument(name = "handler.v2.providers.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProviderId>,
) -> ApiResult<Json<ProviderView>> {
    Ok(Json(find(&state, &caller, id).await?.into()))
}

/// Change a model provider
///
/// Merges: what is absent stays.
#[utoipa::path(
    put,
    path = "/api/v2/providers/{providerId}",
    tag = "Providers",
    operation_id = "updateProvider",
    params(("providerId" = String, Path)),
    request_body = ProviderChanges,
    responses(
        (status = 200, description = "The provider.", body = ProviderView),
        (status = 409, description = "There is one of this name.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.providers.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProviderId>,
    Json(changes): Json<ProviderChanges>,
) -> ApiResult<Json<ProviderView>> {
    let mut provider = find(&state, &caller, id).await?;
    let (before, key_before) = (told(&provider), provider.api_key.clone());
    changes.apply(&mut provider, &state, &caller)?;
    provider.updated_at = state.ambient.now();
    let mut tx = state.db.write().await?;
    let there = providers::update(&mut tx, caller.workspace(), &provider).await.map_err(taken)?;
    if there {
        let mut after = told(&provider);
        if provider.api_key != key_before {
            after["keyChanged"] = true.into();
        }
        let sides = Changed::between(before, after);
        caller.audit(&mut tx, &state.ambient, "provider.updated", id, sides).await?;
    }
    tx.commit().await?;
    state.agents.providers_changed(caller.workspace());
    if !there {
        return Err(DomainError::not_found("provider").into());
    }
    Ok(Json(provider.into()))
}

/// Delete a model provider
///
/// Agents that name one of its models are answered by another provider that has it, or not at all.
#[utoipa::path(
    delete,
    path = "/api/v2/providers/{providerId}",
    tag = "Providers",
    operation_id = "deleteProvider",
    params(("providerId" = String, Path)),
    responses((status = 204, description = "It is asked no more, and its key is gone.")),
)]
#[tracing::instrument(name = "handler.v2.providers.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProviderId>,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    let absent = || DomainError::not_found("provider");
    let found = providers::get(&mut tx, caller.workspace(), id).await?.ok_or_else(absent)?;
    if !providers::delete(&mut tx, caller.workspace(), id).await? {
        return Err(absent().into());
    }
    let gone = Changed::from(told(&found));
    caller.audit(&mut tx, &state.ambient, "provider.deleted", id, gone).await?;
    tx.commit().await?;
    state.agents.providers_changed(caller.workspace());
    Ok(StatusCode::NO_CONTENT)
}

/// Ask a provider for its models
///
/// Asks it now, with its key: also the way to see whether address and key are right.
#[utoipa::path(
    get,
    path = "/api/v2/providers/{providerId}/models",
    tag = "Providers",
    operation_id = "listProviderModels",
    params(("providerId" = String, Path)),
    responses((status = 200, description = "What it lists.", body = ListedModels)),
)]
#[tracing::instrument(name = "handler.v2.providers.models", skip_all)]
async fn models(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProviderId>,
) -> ApiResult<Json<ListedModels>> {
    let provider = find(&state, &caller, id).await?;
    let models = state.agents.listed_models(caller.workspace(), &provider).await?;
    Ok(Json(ListedModels { models }))
}

async fn find(state: &AppState, caller: &Caller, id: ProviderId) -> ApiResult<Provider> {
    let mut conn = state.db.read().await?;
    let found = providers::get(&mut conn, caller.workspace(), id).await?;
    Ok(found.ok_or_else(|| DomainError::not_found("provider"))?)
}

/// What the audit log says of a provider: of the address the site alone, and never the key.
fn told(provider: &Provider) -> serde_json::Value {
    serde_json::json!({
        "name": provider.name,
        "site": origin(&provider.base_url).map(|site| site.ascii_serialization()),
        "models": provider.models,
        "priority": provider.priority,
        "hasKey": provider.api_key.is_some(),
    })
}

impl ProviderChanges {
    fn apply(self, provider: &mut Provider, state: &AppState, caller: &Caller) -> ApiResult<()> {
        if let Some(name) = self.name {
            provider.name = text::required("name", &name, 100)?;
        }
        if let Some(address) = self.base_url {
            let address = read_address(state, &address)?;
            let keeps_key = provider.api_key.is_some() && matches!(self.api_key, Patch::Keep);
            if keeps_key && origin(&address) != origin(&provider.base_url) {
                let message = "`apiKey` must be given again, or null: the new `baseUrl` is another site, and a stored key goes to the one it was given for only";
                return Err(ApiError::invalid("apiKey", message));
            }
            provider.base_url = address;
        }
        self.api_key.apply(&mut provider.api_key, |key| seal(state, caller, provider.id, &key))?;
        self.azure_api_version
            .apply(&mut provider.azure_api_version, |version| read_version(&version))?;
        if let Some(models) = self.models {
            provider.models = read_models(&models)?;
        }
        if let Some(priority) = self.priority {
            provider.priority = read_priority(priority)?;
        }
        Ok(())
    }
}

/// An address that the guard of the installation lets through; where its name leads is judged with each connection.
fn read_address(state: &AppState, address: &str) -> ApiResult<String> {
    let address = text::required("baseUrl", address, 2_000)?;
    let url = state.agents.check_address(&address).map_err(|reason| {
        ApiError::invalid("baseUrl", format!("`baseUrl` cannot be used: {reason}"))
    })?;
    Ok(url.into())
}

fn origin(address: &str) -> Option<url::Origin> {
    Url::parse(address).ok().map(|url| url.origin())
}

fn read_version(version: &str) -> ApiResult<String> {
    let version = text::required("azureApiVersion", version, 50)?;
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if !version.chars().all(is_word) {
        let message = "`azureApiVersion` must be one such as 2024-10-21";
        return Err(ApiError::invalid("azureApiVersion", message));
    }
    Ok(version)
}

fn read_models(given: &[String]) -> ApiResult<Vec<String>> {
    if given.is_empty() || given.len() > MAX_MODELS {
        let message = format!("`models` must have 1 to {MAX_MODELS} names");
        return Err(ApiError::invalid("models", message));
    }
    let mut models: Vec<String> = Vec::with_capacity(given.len());
    for (position, model) in given.iter().enumerate() {
        let field = format!("models[{position}]");
        let model = text::required(&field, model, 200)?;
        if model == models::builtin::MODEL_NAME {
            let message = format!("`{field}` is the built-in answerer's name; leave it out");
            return Err(ApiError::invalid(field, message));
        }
        if !models.contains(&model) {
            models.push(model);
        }
    }
    Ok(models)
}

fn read_priority(priority: i64) -> ApiResult<i64> {
    if !(0..=1_000).contains(&priority) {
        return Err(ApiError::invalid("priority", "`priority` must be 0 to 1000"));
    }
    Ok(priority)
}

/// The key, encrypted for the provider's row.
fn seal(state: &AppState, caller: &Caller, id: ProviderId, key: &str) -> ApiResult<String> {
    let key = key.trim();
    let is_sendable = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_sendable || key.len() > 2_000 {
        let message = "`apiKey` must have 1 to 2000 characters, ASCII without spaces";
        return Err(ApiError::invalid("apiKey", message));
    }
    let row = id.to_string();
    let workspace = caller.workspace();
    let place = SecretPlace { workspace, table: "providers", column: "api_key", row: &row };
    let sealed = state.vault.seal(&state.ambient, place, &SecretString::from(key));
    sealed.map_err(|error| {
        tracing::error!(%error, "a provider's key was not sealed");
        ApiError::internal()
    })
}

fn taken(error: StorageError) -> ApiError {
    match error {
        StorageError::Conflict(_) => {
            let message = "there is a provider of this name already; choose another one";
            DomainError::conflict("CONFLICT", message).at("name").into()
        }
        other => other.into(),
    }
}

impl From<Provider> for ProviderView {
    fn from(provider: Provider) -> Self {
        let shown = Url::parse(&provider.base_url).map(|url| without_secrets(&url));
        Self {
            id: provider.id.to_string(),
            name: provider.name,
            base_url: shown.unwrap_or_default(),
            has_api_key: provider.api_key.is_some(),
            azure_api_version: provider.azure_api_version,
            models: provider.models,
            priority: provider.priority,
            created_at: provider.created_at.to_rfc3339(),
            updated_at: provider.updated_at.to_rfc3339(),
        }
    }
}
