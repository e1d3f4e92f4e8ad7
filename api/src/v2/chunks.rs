//! Chunks: the passages that citations open.

use axum::extract::State;
use domain::datastore::{Chunk, LiveChunk};
use domain::{Action, ChunkId, DatastoreId, DomainError, SourceId};
use serde::{Deserialize, Serialize};
use storage::chunks::{self, ChunkCursor};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::datastores;
use super::words::Language;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::{Cursor, Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadKnowledge, routes!(list))
        .route(Action::ReadKnowledge, routes!(get))
}

/// A passage of a source.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Chunk)]
pub(super) struct ChunkView {
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^src_[0-9a-f]{32}$")]
    source_id: String,
    /// Its place in the document, from 0.
    ordinal: i64,
    /// The passage, verbatim from the extracted text.
    content: String,
    /// Headings above it, outermost first.
    heading: String,
    /// The page that it starts on, from 1, where the format has pages.
    page: Option<i64>,
    /// Where it starts in the extracted text, in characters.
    start: i64,
    /// Where it ends (excluded), in characters.
    end: i64,
    /// Its size in tokens.
    tokens: i64,
    language: Language,
}

/// A passage with its surroundings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChunkInContext {
    #[serde(flatten)]
    chunk: ChunkView,
    #[schema(pattern = "^ds_[0-9a-f]{32}$")]
    datastore_id: String,
    source_name: String,
    /// The address of the source, when it came from the web.
    url: Option<String>,
    /// The version of the source that it was cut from.
    version: i64,
    /// Whether questions are answered from that version now.
    live: bool,
    /// The passage before it.
    previous: Option<ChunkView>,
    /// The passage after it.
    next: Option<ChunkView>,
}

/// Which chunks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ChunkQuery {
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
    /// Only chunks of this source.
    #[param(value_type = String, required = false)]
    source: Option<String>,
}

impl Cursor for ChunkPlace {
    fn write(&self) -> String {
        format!("{}:{}", self.0.source, self.0.ordinal)
    }

    fn read(text: &str) -> Option<Self> {
        let (source, ordinal) = text.split_once(':')?;
        Some(Self(ChunkCursor { source: source.parse().ok()?, ordinal: ordinal.parse().ok()? }))
    }
}

#[derive(Clone, Copy)]
struct ChunkPlace(ChunkCursor);

/// List chunks
///
/// Of the live versions, in document order.
#[utoipa::path(
    get,
    path = "/api/v2/datastores/{datastoreId}/chunks",
    tag = "Chunks",
    operation_id = "listChunks",
    params(("datastoreId" = String, Path), ChunkQuery),
    responses((status = 200, description = "A page of chunks.", body = Page<ChunkView>)),
)]
#[tracing::instrument(name = "handler.v2.chunks.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(datastore): Id<DatastoreId>,
    Query(query): Query<ChunkQuery>,
) -> ApiResult<Json<Page<ChunkView>>> {
    let paging = Paging::<ChunkPlace>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let source = query.source.as_deref().map(read_source).transpose()?;
    datastores::find(&state, &caller, datastore).await?;
    let after = paging.after.map(|place| place.0);
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let found = chunks::list(&mut conn, workspace, datastore, source, after, paging.one_more());
    let place = |live: &LiveChunk| {
        let (source, ordinal) = (live.chunk.source_id, live.chunk.ordinal);
        ChunkPlace(ChunkCursor { source, ordinal })
    };
    Ok(Json(paging.page(found.await?, place, |live| live.chunk.into())))
}

fn read_source(text: &str) -> ApiResult<SourceId> {
    text.parse().map_err(|error| ApiError::invalid("source", format!("`source`: {error}")))
}

/// Get a chunk
///
/// What a citation opens. Of an older version too, as long as it is kept.
#[utoipa::path(
    get,
    path = "/api/v2/chunks/{chunkId}",
    tag = "Chunks",
    operation_id = "getChunk",
    params(("chunkId" = String, Path)),
    responses((status = 200, description = "The chunk with its neighbours.", body = ChunkInContext)),
)]
#[tracing::instrument(name = "handler.v2.chunks.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ChunkId>,
) -> ApiResult<Json<ChunkInContext>> {
    let workspace = caller.workspace();
    let gone = || DomainError::not_found(<ChunkId as domain::ids::PrefixedId>::KIND);
    let mut conn = state.db.read().await?;
    let chunk = chunks::get(&mut conn, workspace, id).await?.ok_or_else(gone)?;
    let source = storage::sources::get_any(&mut conn, workspace, chunk.source_id).await?;
    let source = source.ok_or_else(gone)?;
    let (version, ordinal) = (chunk.version, chunk.ordinal);
    let around =
        chunks::of_version(&mut conn, workspace, source.id, version, ordinal - 2, 3).await?;
    let neighbour = |place: i64| around.iter().find(|chunk| chunk.ordinal == place).cloned();
    let url = match source.origin {
        domain::datastore::SourceOrigin::Url { url } => Some(url),
        _ => None,
    };
    Ok(Json(ChunkInContext {
        datastore_id: chunk.datastore_id.to_string(),
        source_name: source.name,
        url,
        version,
        live: source.live_version == version,
        previous: neighbour(ordinal - 1).map(Into::into),
        next: neighbour(ordinal + 1).map(Into::into),
        chunk: chunk.into(),
    }))
}

impl From<Chunk> for ChunkView {
    fn from(chunk: Chunk) -> Self {
        Self {
            id: chunk.id.to_string(),
            source_id: chunk.source_id.to_string(),
            ordinal: chunk.ordinal,
            content: chunk.text,
            heading: chunk.heading,
            page: chunk.page,
            start: chunk.start,
            end: chunk.end,
            tokens: chunk.tokens,
            language: chunk.lang.into(),
        }
    }
}
