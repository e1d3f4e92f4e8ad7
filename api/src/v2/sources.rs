//! Sources: files, URLs and texts in a datastore.

use axum::extract::State;
use domain::datastore::Source;
use domain::{Action, DatastoreId, DomainError, SourceId, text};
use http::{HeaderMap, StatusCode};
use ingest::{Ingest, NewFile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::words::{Language, SourceStatus, SourceType, Stage};
use super::{PageQuery, datastores, metadata, waiting};
use crate::auth::Caller;
use crate::error::{ApiResult, ErrorEnvelope};
use crate::extract::{Id, Ids, Json, Query, Upload};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .upload(Action::ManageKnowledge, routes!(add_file))
        .route(Action::ManageKnowledge, routes!(add_url))
        .route(Action::ManageKnowledge, routes!(add_text))
        .route(Action::ReadKnowledge, routes!(list))
        .route(Action::ReadKnowledge, routes!(get))
        .route(Action::ManageKnowledge, routes!(delete))
        .route(Action::ManageKnowledge, routes!(retry))
        .route(Action::ManageKnowledge, routes!(cancel))
        .route(Action::ManageKnowledge, routes!(sync))
}

/// A source that was accepted; its ingestion goes on by itself.
#[derive(Debug, Serialize, ToSchema)]
struct AcceptedSource {
    #[schema(pattern = "^src_[0-9a-f]{32}$", example = "src_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    id: String,
    #[schema(example = "Políticas de envío")]
    name: String,
    r#type: SourceType,
    status: SourceStatus,
}

/// A file, URL or text in a datastore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Source)]
struct SourceView {
    #[schema(pattern = "^src_[0-9a-f]{32}$", example = "src_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    id: String,
    #[schema(example = "Políticas de envío")]
    name: String,
    r#type: SourceType,
    status: SourceStatus,
    /// The stage at work, while `running`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stage: Option<Stage>,
    /// Progress of the whole ingestion, while `running`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100, nullable = false)]
    percent: Option<i64>,
    /// Why it failed. An older live version goes on answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<SourceError>,
    /// Something to know although it is ready: `needs_ocr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
    /// The address, when it came from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    /// The content type that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "application/pdf")]
    content_type: Option<String>,
    /// Chunks of the live version.
    chunks: i64,
    /// Size of the content as received.
    bytes: i64,
    /// The language that most of it is in.
    language: Option<Language>,
    /// The newest version that was begun, from 1.
    version: i64,
    /// The version that questions are answered from; 0 when none is live yet.
    live_version: i64,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
}

/// Why a source could not be ingested.
#[derive(Debug, Serialize, ToSchema)]
struct SourceError {
    /// Stable, `UPPER_SNAKE`.
    #[schema(example = "NEEDS_OCR")]
    code: String,
    /// For people, with the remedy.
    message: String,
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form that `Upload` reads")]
struct FileForm {
    /// The document: PDF, DOCX, XLSX, PPTX, CSV, HTML, Markdown, text, JSON, JSONL, EML or EPUB.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Shown instead of the file's name.
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
    /// A JSON object of strings, numbers, booleans and lists of strings, for filters.
    #[schema(value_type = Option<Object>, nullable = false)]
    metadata: Option<Map<String, Value>>,
}

/// A page on the web.
#[derive(Debug, Deserialize, ToSchema)]
struct NewUrl {
    /// http or https, ports 80 and 443; private networks are refused.
    #[schema(min_length = 1, max_length = 2000, example = "https://ejemplo.com/faq")]
    url: String,
    /// Shown instead of the page's title.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Strings, numbers, booleans and lists of strings, for filters.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// A text.
#[derive(Debug, Deserialize, ToSchema)]
struct NewText {
    #[schema(min_length = 1, example = "Información a indexar...")]
    content: String,
    #[schema(min_length = 1, max_length = 200, example = "Políticas de envío")]
    name: String,
    /// Strings, numbers, booleans and lists of strings, for filters.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Add a file
///
/// `multipart/form-data` with exactly one part `file`.
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/file",
    tag = "Sources",
    operation_id = "addFileSource",
    params(
        ("datastoreId" = String, Path),
        (
            "Prefer" = Option<String>,
            Header,
            description = "`wait=<seconds>`, at most 30: answers when the source is ready or failed, which `status` tells.",
            example = "wait=10",
        ),
    ),
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 202, description = "Accepted.", body = AcceptedSource)),
)]
#[tracing::instrument(name = "handler.v2.sources.add_file", skip_all)]
async fn add_file(
    State(state): State<AppState>,
    caller: Caller,
    Id(datastore): Id<DatastoreId>,
    headers: HeaderMap,
    upload: Upload,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    super::datastores::refuse_system(&state, &caller, datastore).await?;
    let metadata = metadata::check(upload.metadata)?;
    let file = NewFile {
        // The extension tells the type, so a name of the caller's own comes as a title, not as the file's.
        name: upload.file_name,
        title: upload.name,
        path: upload.file.to_path_buf(),
        bytes: upload.bytes,
        metadata,
    };
    let source = signed(&state, &caller).add_file(caller.workspace(), datastore, file).await?;
    Ok(accepted(waiting::settled(&state, &headers, source).await?))
}

/// Add a URL
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/url",
    tag = "Sources",
    operation_id = "addUrlSource",
    params(
        ("datastoreId" = String, Path),
        (
            "Prefer" = Option<String>,
            Header,
            description = "`wait=<seconds>`, at most 30: answers when the source is ready or failed, which `status` tells.",
            example = "wait=10",
        ),
    ),
    request_body = NewUrl,
    responses((status = 202, description = "Accepted.", body = AcceptedSource)),
)]
#[tracing::instrument(name = "handler.v2.sources.add_url", skip_all)]
async fn add_url(
    State(state): State<AppState>,
    caller: Caller,
    Id(datastore): Id<DatastoreId>,
    headers: HeaderMap,
    Json(new): Json<NewUrl>,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    super::datastores::refuse_system(&state, &caller, datastore).await?;
    let url = text::required("url", &new.url, 2_000)?;
    let name = new.name.map(|name| text::required("name", &name, 200)).transpose()?;
    let metadata = metadata::check(new.metadata)?;
    let workspace = caller.workspace();
    let source = signed(&state, &caller)
        .add_url(workspace, datastore, &url, name.as_deref(), metadata)
        .await?;
    Ok(accepted(waiting::settled(&state, &headers, source).await?))
}

/// Add a text
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/text",
    tag = "Sources",
    operation_id = "addTextSource",
    params(
        ("datastoreId" = String, Path),
        (
            "Prefer" = Option<String>,
            Header,
            description = "`wait=<seconds>`, at most 30: answers when the source is ready or failed, which `status` tells.",
            example = "wait=10",
        ),
    ),
    request_body = NewText,
    responses((status = 202, description = "Accepted.", body = AcceptedSource)),
)]
#[tracing::instrument(name = "handler.v2.sources.add_text", skip_all)]
async fn add_text(
    State(state): State<AppState>,
    caller: Caller,
    Id(datastore): Id<DatastoreId>,
    headers: HeaderMap,
    Json(new): Json<NewText>,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    super::datastores::refuse_system(&state, &caller, datastore).await?;
    let name = text::required("name", &new.name, 200)?;
    let content = text::required("content", &new.content, usize::MAX)?;
    let metadata = metadata::check(new.metadata)?;
    let workspace = caller.workspace();
    let source =
        signed(&state, &caller).add_text(workspace, datastore, &name, &content, metadata).await?;
    Ok(accepted(waiting::settled(&state, &headers, source).await?))
}

/// List sources
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/datastores/{datastoreId}/sources",
    tag = "Sources",
    operation_id = "listSources",
    params(("datastoreId" = String, Path), PageQuery),
    responses((status = 200, description = "A page of sources.", body = Page<SourceView>)),
)]
#[tracing::instrument(name = "handler.v2.sources.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(datastore): Id<DatastoreId>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<SourceView>>> {
    let paging = query.paging()?;
    datastores::find(&state, &caller, datastore).await?;
    let mut conn = state.db.read().await?;
    let found = storage::sources::list(
        &mut conn,
        caller.workspace(),
        datastore,
        paging.after,
        paging.one_more(),
    );
    Ok(Json(paging.page(found.await?, |source| source.id, SourceView::from)))
}

/// Get a source
///
/// Also tells how far its ingestion is.
#[utoipa::path(
    get,
    path = "/api/v2/datastores/{datastoreId}/sources/{sourceId}",
    tag = "Sources",
    operation_id = "getSource",
    params(("datastoreId" = String, Path), ("sourceId" = String, Path)),
    responses((status = 200, description = "The source.", body = SourceView)),
)]
#[tracing::instrument(name = "handler.v2.sources.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Ids(datastore, id): Ids<DatastoreId, SourceId>,
) -> ApiResult<Json<SourceView>> {
    let mut conn = state.db.read().await?;
    let source = storage::sources::get(&mut conn, caller.workspace(), datastore, id).await?;
    let source = source.ok_or_else(|| DomainError::not_found("source"))?;
    Ok(Json(source.into()))
}

/// Delete a source
///
/// Its chunks, vectors and files go with it; no later query finds them.
#[utoipa::path(
    delete,
    path = "/api/v2/datastores/{datastoreId}/sources/{sourceId}",
    tag = "Sources",
    operation_id = "deleteSource",
    params(("datastoreId" = String, Path), ("sourceId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.sources.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Ids(datastore, id): Ids<DatastoreId, SourceId>,
) -> ApiResult<StatusCode> {
    super::datastores::refuse_system(&state, &caller, datastore).await?;
    signed(&state, &caller).delete_source(caller.workspace(), datastore, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Retry a source
///
/// Begins again with one that failed or was cancelled.
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/{sourceId}/retry",
    tag = "Sources",
    operation_id = "retrySource",
    params(("datastoreId" = String, Path), ("sourceId" = String, Path)),
    responses(
        (status = 202, description = "Accepted.", body = AcceptedSource),
        (status = 409, description = "It neither failed nor was cancelled.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.sources.retry", skip_all)]
async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    Ids(datastore, id): Ids<DatastoreId, SourceId>,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    Ok(accepted(signed(&state, &caller).retry(caller.workspace(), datastore, id).await?))
}

/// Cancel the ingestion of a source
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/{sourceId}/cancel",
    tag = "Sources",
    operation_id = "cancelSource",
    params(("datastoreId" = String, Path), ("sourceId" = String, Path)),
    responses(
        (status = 202, description = "It stops.", body = AcceptedSource),
        (status = 409, description = "It is neither pending nor running.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.sources.cancel", skip_all)]
async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Ids(datastore, id): Ids<DatastoreId, SourceId>,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    super::datastores::refuse_system(&state, &caller, datastore).await?;
    Ok(accepted(signed(&state, &caller).cancel(caller.workspace(), datastore, id).await?))
}

/// Bring a source up to date
///
/// Looks whether the content changed, and ingests it again when it did.
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/sources/{sourceId}/sync",
    tag = "Sources",
    operation_id = "syncSource",
    params(("datastoreId" = String, Path), ("sourceId" = String, Path)),
    responses(
        (status = 202, description = "Accepted.", body = AcceptedSource),
        (status = 409, description = "Its ingestion is under way.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.sources.sync", skip_all)]
async fn sync(
    State(state): State<AppState>,
    caller: Caller,
    Ids(datastore, id): Ids<DatastoreId, SourceId>,
) -> ApiResult<(StatusCode, Json<AcceptedSource>)> {
    Ok(accepted(signed(&state, &caller).sync(caller.workspace(), datastore, id).await?))
}

fn accepted(source: Source) -> (StatusCode, Json<AcceptedSource>) {
    let accepted = AcceptedSource {
        id: source.id.to_string(),
        r#type: (&source.origin).into(),
        name: source.name,
        status: source.status.into(),
    };
    (StatusCode::ACCEPTED, Json(accepted))
}

impl From<Source> for SourceView {
    fn from(source: Source) -> Self {
        let url = match &source.origin {
            domain::datastore::SourceOrigin::Url { url } => Some(url.clone()),
            _ => None,
        };
        let error = source.failure;
        Self {
            id: source.id.to_string(),
            name: source.name,
            r#type: (&source.origin).into(),
            status: source.status.into(),
            stage: source.stage.map(Into::into),
            percent: source.percent,
            error: error.map(|error| SourceError { code: error.code, message: error.message }),
            warning: source.warning,
            url,
            content_type: source.mime,
            chunks: source.chunks,
            bytes: source.bytes,
            language: source.language.map(Into::into),
            version: source.version,
            live_version: source.live_version,
            metadata: source.metadata,
            created_at: source.created_at.to_rfc3339(),
            updated_at: source.updated_at.to_rfc3339(),
        }
    }
}

/// Ingestion whose changes are the caller's in the audit log.
fn signed(state: &AppState, caller: &Caller) -> Ingest {
    state.ingest.signed(caller.author())
}
