//! Evaluation datasets and their versions.

use axum::extract::State;
use domain::{Action, DomainError, EvalDatasetId, text};
use evals::Dataset;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use storage::evals::{EvalDataset, EvalVersion};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::cases::{self, EvalCase};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query, Upload};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::PageQuery;

/// Versions that are told.
const VERSIONS: i64 = 100;
/// Characters of a name.
const MOST_NAME: usize = 200;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ManageEvals, routes!(create))
        .upload(Action::ManageEvals, routes!(create_from_file))
        .route(Action::ReadEvals, routes!(list))
        .route(Action::ReadEvals, routes!(get))
        .route(Action::ManageEvals, routes!(replace))
        .upload(Action::ManageEvals, routes!(replace_by_file))
        .route(Action::ManageEvals, routes!(delete))
}

/// A dataset of questions that answers are evaluated with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EvalDataset)]
pub(super) struct EvalDatasetView {
    #[schema(pattern = "^evalset_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "Preguntas de la tienda")]
    name: String,
    /// The version in use: the hash of its cases.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "9f86d081884c7d65")]
    version: String,
    /// How many cases that has.
    #[schema(minimum = 0)]
    case_count: i64,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
}

/// A dataset with the versions that it has had.
#[derive(Debug, Serialize, ToSchema)]
struct EvalDatasetDetail {
    #[serde(flatten)]
    dataset: EvalDatasetView,
    /// Newest first, at most 100; the cases of each can be read.
    versions: Vec<EvalVersionView>,
}

/// What a dataset held once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EvalVersion)]
struct EvalVersionView {
    /// The hash of its cases.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    version: String,
    /// How many they are.
    #[schema(minimum = 0)]
    case_count: i64,
    /// RFC 3339; when the dataset first held them.
    #[schema(format = DateTime)]
    created_at: String,
}

/// A dataset.
#[derive(Debug, Deserialize, ToSchema)]
struct NewEvalDataset {
    #[schema(min_length = 1, max_length = 200, example = "Preguntas de la tienda")]
    name: String,
    /// Its cases; may come later.
    #[serde(default)]
    #[schema(required = false, max_items = 5_000)]
    cases: Vec<EvalCase>,
}

/// A change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
struct EvalDatasetChange {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// In the place of all that it has.
    #[schema(max_items = 5_000)]
    cases: Option<Vec<EvalCase>>,
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form that `Upload` reads")]
struct EvalFileForm {
    /// A case a line (`.jsonl`), or a table with the columns `question` and `answer` (`.csv`).
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The dataset's name, instead of the file's.
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
}

/// Create a dataset
///
/// Of cases in the body; larger ones are uploaded.
#[utoipa::path(
    post,
    path = "/api/v2/evals/datasets",
    tag = "Evaluations",
    operation_id = "createEvalDataset",
    request_body = NewEvalDataset,
    responses((status = 201, description = "The dataset.", body = EvalDatasetView)),
)]
#[tracing::instrument(name = "handler.v2.evals.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewEvalDataset>,
) -> ApiResult<(StatusCode, Json<EvalDatasetView>)> {
    let name = text::required("name", &new.name, MOST_NAME)?;
    let dataset = cases::given(&name, new.cases)?;
    let stored = state.evals.signed(caller.author()).create(caller.workspace(), &dataset).await?;
    Ok((StatusCode::CREATED, Json(stored.into())))
}

/// Create a dataset from a file
///
/// `multipart/form-data` with exactly one part `file`.
#[utoipa::path(
    post,
    path = "/api/v2/evals/datasets/file",
    tag = "Evaluations",
    operation_id = "createEvalDatasetFromFile",
    request_body(content = EvalFileForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "The dataset.", body = EvalDatasetView)),
)]
#[tracing::instrument(name = "handler.v2.evals.create_from_file", skip_all)]
async fn create_from_file(
    State(state): State<AppState>,
    caller: Caller,
    upload: Upload,
) -> ApiResult<(StatusCode, Json<EvalDatasetView>)> {
    let dataset = read(upload).await?;
    let stored = state.evals.signed(caller.author()).create(caller.workspace(), &dataset).await?;
    Ok((StatusCode::CREATED, Json(stored.into())))
}

/// List datasets
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/evals/datasets",
    tag = "Evaluations",
    operation_id = "listEvalDatasets",
    params(PageQuery),
    responses((status = 200, description = "A page of datasets.", body = Page<EvalDatasetView>)),
)]
#[tracing::instrument(name = "handler.v2.evals.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<EvalDatasetView>>> {
    let paging = query.paging()?;
    let mut conn = state.db.read().await?;
    let limit = paging.one_more();
    let found = storage::evals::list(&mut conn, caller.workspace(), paging.after, limit).await?;
    Ok(Json(paging.page(found, |dataset| dataset.id, EvalDatasetView::from)))
}

/// Get a dataset
#[utoipa::path(
    get,
    path = "/api/v2/evals/datasets/{evalDatasetId}",
    tag = "Evaluations",
    operation_id = "getEvalDataset",
    params(("evalDatasetId" = String, Path)),
    responses((status = 200, description = "The dataset.", body = EvalDatasetDetail)),
)]
#[tracing::instrument(name = "handler.v2.evals.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
) -> ApiResult<Json<EvalDatasetDetail>> {
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let dataset = storage::evals::get(&mut conn, workspace, id).await?.ok_or_else(absent)?;
    let versions = storage::evals::versions(&mut conn, workspace, id, VERSIONS).await?;
    let versions = versions.into_iter().map(EvalVersionView::from).collect();
    Ok(Json(EvalDatasetDetail { dataset: dataset.into(), versions }))
}

/// Change a dataset
///
/// Other cases are a new version; the same cases are the same version. Runs keep the version that they were begun with.
#[utoipa::path(
    put,
    path = "/api/v2/evals/datasets/{evalDatasetId}",
    tag = "Evaluations",
    operation_id = "changeEvalDataset",
    params(("evalDatasetId" = String, Path)),
    request_body = EvalDatasetChange,
    responses(
        (status = 200, description = "The dataset.", body = EvalDatasetView),
        (status = 409, description = "It was changed meanwhile.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.change", skip_all)]
async fn replace(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
    Json(change): Json<EvalDatasetChange>,
) -> ApiResult<Json<EvalDatasetView>> {
    let name = change.name.map(|name| text::required("name", &name, MOST_NAME)).transpose()?;
    let dataset = change.cases.map(|cases| cases::given("", cases)).transpose()?;
    let workspace = caller.workspace();
    let stored = state
        .evals
        .signed(caller.author())
        .replace(workspace, id, name.as_deref(), dataset.as_ref())
        .await?;
    Ok(Json(stored.into()))
}

/// Replace the cases of a dataset by a file
///
/// `multipart/form-data` with exactly one part `file`. The same cases are the same version.
#[utoipa::path(
    put,
    path = "/api/v2/evals/datasets/{evalDatasetId}/file",
    tag = "Evaluations",
    operation_id = "replaceEvalDatasetByFile",
    params(("evalDatasetId" = String, Path)),
    request_body(content = EvalFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The dataset.", body = EvalDatasetView),
        (status = 409, description = "It was changed meanwhile.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.replace_by_file", skip_all)]
async fn replace_by_file(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
    upload: Upload,
) -> ApiResult<Json<EvalDatasetView>> {
    let name = upload.name.clone();
    let dataset = read(upload).await?;
    let workspace = caller.workspace();
    let stored = state
        .evals
        .signed(caller.author())
        .replace(workspace, id, name.as_deref(), Some(&dataset))
        .await?;
    Ok(Json(stored.into()))
}

/// Delete a dataset
///
/// Its versions, runs and reports go with it; runs under way are stopped.
#[utoipa::path(
    delete,
    path = "/api/v2/evals/datasets/{evalDatasetId}",
    tag = "Evaluations",
    operation_id = "deleteEvalDataset",
    params(("evalDatasetId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.evals.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
) -> ApiResult<StatusCode> {
    state.evals.signed(caller.author()).delete(caller.workspace(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The cases of an upload, under its name.
async fn read(upload: Upload) -> ApiResult<Dataset> {
    if upload.bytes > evals::stored::MOST_BYTES as u64 {
        let most = evals::stored::MOST_BYTES;
        let message = format!("`file` is larger than the {most} bytes that a dataset may have");
        return Err(ApiError::too_large(message));
    }
    let bytes = tokio::fs::read(&upload.file).await.map_err(|error| {
        tracing::error!(%error, "an upload was not read");
        ApiError::internal()
    })?;
    let dataset = cases::uploaded(&upload.file_name, &bytes)?;
    Ok(Dataset { name: upload.name.unwrap_or(dataset.name), ..dataset })
}

fn absent() -> DomainError {
    DomainError::not_found("evaluation dataset")
}

impl From<EvalDataset> for EvalDatasetView {
    fn from(dataset: EvalDataset) -> Self {
        Self {
            id: dataset.id.to_string(),
            name: dataset.name,
            version: dataset.version,
            case_count: dataset.cases,
            created_at: dataset.created_at.to_rfc3339(),
            updated_at: dataset.updated_at.to_rfc3339(),
        }
    }
}

impl From<EvalVersion> for EvalVersionView {
    fn from(version: EvalVersion) -> Self {
        Self {
            version: version.version,
            case_count: version.cases,
            created_at: version.created_at.to_rfc3339(),
        }
    }
}
