//! Datastores.

use axum::extract::State;
use domain::datastore::Datastore;
use domain::{Action, DatastoreId, DomainError, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::{Conn, datastores};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::words::Language;
use super::{PageQuery, Patch};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadKnowledge, routes!(list))
        .route(Action::ManageKnowledge, routes!(create))
        .route(Action::ReadKnowledge, routes!(get))
        .route(Action::ReadKnowledge, routes!(health))
        .route(Action::ManageKnowledge, routes!(tune))
        .route(Action::ManageKnowledge, routes!(update))
        .route(Action::ManageKnowledge, routes!(delete))
}

/// A collection of knowledge.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Datastore)]
struct DatastoreView {
    #[schema(pattern = "^ds_[0-9a-f]{32}$", example = "ds_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    id: String,
    #[schema(example = "Centro de ayuda")]
    name: String,
    description: String,
    /// The language of content that does not tell its own; null lets each passage decide.
    language: Option<Language>,
    /// Whether it is the one that `"datastore"` alone means.
    is_default: bool,
    /// Whether the server keeps it by itself, from the articles of the knowledge base: it is searched and read like any
    /// other, and changed through the articles only.
    is_system: bool,
    /// Sources in it, whatever their status.
    #[schema(minimum = 0, example = 3)]
    sources_count: i64,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
}

/// What searches in a datastore go by.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DatastoreHealth)]
struct HealthView {
    /// Passages that questions are answered from.
    #[schema(minimum = 0)]
    passages: i64,
    /// The evidence below which agents that set none themselves say that they do not know, 0 to 1.
    #[schema(example = 0.41)]
    threshold: f64,
    /// `set` by somebody; `calibration` by questions made from the passages, from fifty passages on; `size` by their number.
    #[schema(example = "calibration")]
    threshold_from: &'static str,
    /// Null without an embedding model.
    dense: Option<DenseView>,
    tuning: TuningView,
}

/// What somebody set for a datastore, in the place of what it finds out by itself.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DatastoreTuning)]
struct TuningView {
    /// The evidence below which agents that set none themselves say that they do not know; null leaves it to the datastore.
    #[serde(deserialize_with = "super::required_nullable")]
    #[schema(required = true, minimum = 0, maximum = 1, example = 0.38)]
    threshold: Option<f64>,
    /// The part of dense vectors in the ranking; null leaves it to the datastore.
    #[serde(deserialize_with = "super::required_nullable")]
    #[schema(required = true, minimum = 0, maximum = 1, example = json!(null))]
    dense_weight: Option<f64>,
}

/// What dense vectors do in a datastore.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DenseHealth)]
struct DenseView {
    /// Halves of sentences were asked: passages that vectors found first for each that words found first. From .6 on the
    /// vectors get more weight. Null before there are fifty passages, or when nothing could be found out.
    #[schema(example = 0.71)]
    ratio: Option<f64>,
    /// Their part in the ranking, 0 to 1.
    #[schema(example = 0.5)]
    weight: f64,
}

/// A new datastore.
#[derive(Debug, Deserialize, ToSchema)]
struct NewDatastore {
    #[schema(min_length = 1, max_length = 100, example = "Centro de ayuda")]
    name: String,
    #[schema(max_length = 2000)]
    description: Option<String>,
    /// Null lets each passage decide.
    language: Option<ChosenLanguage>,
}

/// Changes of a datastore; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
struct DatastoreChanges {
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    #[schema(max_length = 2000, nullable = false)]
    description: Option<String>,
    /// Null lets each passage decide.
    #[serde(default)]
    #[schema(value_type = Option<ChosenLanguage>)]
    language: Patch<ChosenLanguage>,
}

/// A language that can be chosen.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChosenLanguage {
    /// Spanish.
    Es,
    /// English.
    En,
    /// Portuguese.
    Pt,
}

impl From<ChosenLanguage> for domain::Lang {
    fn from(language: ChosenLanguage) -> Self {
        match language {
            ChosenLanguage::Es => Self::Es,
            ChosenLanguage::En => Self::En,
            ChosenLanguage::Pt => Self::Pt,
        }
    }
}

/// List datastores
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/datastores",
    tag = "Datastores",
    operation_id = "listDatastores",
    params(PageQuery),
    responses((status = 200, description = "A page of datastores.", body = Page<DatastoreView>)),
)]
#[tracing::instrument(name = "handler.v2.datastores.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<DatastoreView>>> {
    let paging = query.paging()?;
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let found = datastores::list(&mut conn, workspace, paging.after, paging.one_more()).await?;
    let ids: Vec<DatastoreId> = found.iter().map(|datastore| datastore.id).collect();
    let counts = datastores::count_sources(&mut conn, workspace, &ids).await?;
    let count = |datastore: &Datastore| counts.get(&datastore.id).copied().unwrap_or(0);
    Ok(Json(paging.page(
        found,
        |datastore| datastore.id,
        |datastore| {
            let sources = count(&datastore);
            view(datastore, sources)
        },
    )))
}

/// Create a datastore
#[utoipa::path(
    post,
    path = "/api/v2/datastores",
    tag = "Datastores",
    operation_id = "createDatastore",
    request_body = NewDatastore,
    responses((status = 201, description = "The datastore.", body = DatastoreView)),
)]
#[tracing::instrument(name = "handler.v2.datastores.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewDatastore>,
) -> ApiResult<(StatusCode, Json<DatastoreView>)> {
    let now = state.ambient.now();
    let datastore = Datastore {
        id: state.ambient.new_id(),
        workspace_id: caller.workspace(),
        name: text::required("name", &new.name, 100)?,
        description: text::optional("description", &new.description.unwrap_or_default(), 2_000)?,
        language: new.language.map(Into::into),
        is_default: false,
        is_system: false,
        revision: 0,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.db.write().await?;
    datastores::insert(&mut tx, &datastore).await?;
    let made = Changed::to(told(&datastore));
    caller.audit(&mut tx, &state.ambient, "datastore.created", datastore.id, made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view(datastore, 0))))
}

/// Get a datastore
#[utoipa::path(
    get,
    path = "/api/v2/datastores/{datastoreId}",
    tag = "Datastores",
    operation_id = "getDatastore",
    params(("datastoreId" = String, Path)),
    responses((status = 200, description = "The datastore.", body = DatastoreView)),
)]
#[tracing::instrument(name = "handler.v2.datastores.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
) -> ApiResult<Json<DatastoreView>> {
    let datastore = find(&state, &caller, id).await?;
    let mut conn = state.db.read().await?;
    Ok(Json(counted(&mut conn, datastore).await?))
}

/// What searches in a datastore go by
#[utoipa::path(
    get,
    path = "/api/v2/datastores/{datastoreId}/health",
    tag = "Datastores",
    operation_id = "getDatastoreHealth",
    params(("datastoreId" = String, Path)),
    responses((status = 200, description = "As found out from its own passages.", body = HealthView)),
)]
#[tracing::instrument(name = "handler.v2.datastores.health", skip_all)]
async fn health(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
) -> ApiResult<Json<HealthView>> {
    health_of(&state, &caller, id).await
}

async fn health_of(
    state: &AppState,
    caller: &Caller,
    id: DatastoreId,
) -> ApiResult<Json<HealthView>> {
    let found = state.retrieval.health(caller.workspace(), id).await?;
    let health = found.ok_or_else(|| DomainError::not_found("datastore"))?;
    let datastores::Tuning { threshold, dense_weight } = health.tuning;
    Ok(Json(HealthView {
        passages: health.passages,
        threshold: health.threshold,
        threshold_from: health.threshold_from.as_str(),
        dense: health.dense.map(|dense| DenseView { ratio: dense.ratio, weight: dense.weight }),
        tuning: TuningView { threshold, dense_weight },
    }))
}

/// Set what searches in a datastore go by
///
/// In the place of what the datastore finds out by itself, from the next search on; `vocero eval calibrate` finds a threshold.
/// An agent's own `minEvidence` wins over it.
#[utoipa::path(
    put,
    path = "/api/v2/datastores/{datastoreId}/tuning",
    tag = "Datastores",
    operation_id = "tuneDatastore",
    params(("datastoreId" = String, Path)),
    request_body = TuningView,
    responses((status = 200, description = "What searches in it go by now.", body = HealthView)),
)]
#[tracing::instrument(name = "handler.v2.datastores.tune", skip_all)]
async fn tune(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
    Json(wanted): Json<TuningView>,
) -> ApiResult<Json<HealthView>> {
    let share = |field: &str, value: Option<f64>| match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(ApiError::invalid(field, format!("`{field}` must be 0 to 1, or null")))
        }
        value => Ok(value),
    };
    let tuning = datastores::Tuning {
        threshold: share("threshold", wanted.threshold)?,
        dense_weight: share("denseWeight", wanted.dense_weight)?,
    };
    let mut tx = state.db.write().await?;
    if !datastores::tune(&mut tx, caller.workspace(), id, tuning).await? {
        return Err(DomainError::not_found("datastore").into());
    }
    let after = json!({"threshold": tuning.threshold, "denseWeight": tuning.dense_weight});
    caller.audit(&mut tx, &state.ambient, "datastore.tuned", id, Changed::to(after)).await?;
    tx.commit().await?;
    health_of(&state, &caller, id).await
}

/// Change a datastore
///
/// Merges: what is absent stays.
#[utoipa::path(
    put,
    path = "/api/v2/datastores/{datastoreId}",
    tag = "Datastores",
    operation_id = "updateDatastore",
    params(("datastoreId" = String, Path)),
    request_body = DatastoreChanges,
    responses((status = 200, description = "The datastore.", body = DatastoreView)),
)]
#[tracing::instrument(name = "handler.v2.datastores.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
    Json(changes): Json<DatastoreChanges>,
) -> ApiResult<Json<DatastoreView>> {
    refuse_system(&state, &caller, id).await?;
    let mut datastore = find(&state, &caller, id).await?;
    let before = told(&datastore);
    if let Some(name) = changes.name {
        datastore.name = text::required("name", &name, 100)?;
    }
    if let Some(description) = changes.description {
        datastore.description = text::optional("description", &description, 2_000)?;
    }
    changes.language.apply(&mut datastore.language, |language| Ok(language.into()))?;
    datastore.updated_at = state.ambient.now();
    let mut tx = state.db.write().await?;
    if !datastores::update(&mut tx, &datastore).await? {
        return Err(DomainError::not_found("datastore").into());
    }
    let sides = Changed::between(before, told(&datastore));
    caller.audit(&mut tx, &state.ambient, "datastore.updated", id, sides).await?;
    let view = counted(&mut tx, datastore).await?;
    tx.commit().await?;
    Ok(Json(view))
}

/// Delete a datastore
///
/// Its sources, their chunks, vectors and files go with it; no later query finds them.
#[utoipa::path(
    delete,
    path = "/api/v2/datastores/{datastoreId}",
    tag = "Datastores",
    operation_id = "deleteDatastore",
    params(("datastoreId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.datastores.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
) -> ApiResult<StatusCode> {
    refuse_system(&state, &caller, id).await?;
    state.ingest.signed(caller.author()).delete_datastore(caller.workspace(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of a datastore.
fn told(datastore: &Datastore) -> Value {
    json!({
        "name": datastore.name,
        "description": datastore.description,
        "language": datastore.language.map(domain::Lang::code),
    })
}

/// The datastore of the caller's workspace, or 404.
pub(super) async fn find(
    state: &AppState,
    caller: &Caller,
    id: DatastoreId,
) -> ApiResult<Datastore> {
    let mut conn = state.db.read().await?;
    let datastore = datastores::get(&mut conn, caller.workspace(), id).await?;
    datastore.ok_or_else(|| DomainError::not_found("datastore").into())
}

/// 409 for the datastore that the server keeps by itself: it changes with the articles of the knowledge base.
pub(super) async fn refuse_system(
    state: &AppState,
    caller: &Caller,
    id: DatastoreId,
) -> ApiResult<()> {
    let mut conn = state.db.read().await?;
    let system = datastores::system(&mut conn, caller.workspace()).await?;
    if system.is_none_or(|system| system.id != id) {
        return Ok(());
    }
    let message = "the server keeps this datastore by itself; change the articles of the knowledge base (/v1/kb/articles)";
    Err(DomainError::conflict("SYSTEM_DATASTORE", message).into())
}

async fn counted(conn: &mut Conn, datastore: Datastore) -> ApiResult<DatastoreView> {
    let (workspace, id) = (datastore.workspace_id, datastore.id);
    let counts = datastores::count_sources(conn, workspace, &[id]).await?;
    Ok(view(datastore, counts.get(&id).copied().unwrap_or(0)))
}

fn view(datastore: Datastore, sources_count: i64) -> DatastoreView {
    DatastoreView {
        id: datastore.id.to_string(),
        name: datastore.name,
        description: datastore.description,
        language: datastore.language.map(Into::into),
        is_default: datastore.is_default,
        is_system: datastore.is_system,
        sources_count,
        created_at: datastore.created_at.to_rfc3339(),
        updated_at: datastore.updated_at.to_rfc3339(),
    }
}
