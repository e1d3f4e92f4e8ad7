//! Searching a datastore.

use axum::extract::State;
use domain::datastore::LiveChunk;
use domain::{Action, DatastoreId, DomainError, text};
use retrieval::{Filter, Hit, SearchQuery, SearchResults};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::words::Mode;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json};
use crate::paging::whole_number_in;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadKnowledge, routes!(query))
}

/// A question to a datastore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DatastoreQuery {
    #[schema(min_length = 1, max_length = 8000, example = "¿Cuáles son los horarios?")]
    query: String,
    /// Most results.
    #[schema(minimum = 1, maximum = 100, default = 5, nullable = false)]
    top_k: Option<i64>,
    /// Conditions on the metadata of sources: `{"field": value}` or `{"field": [values]}`, all of which
    /// must hold.
    #[schema(value_type = Option<Object>, nullable = false, example = json!({"area": "ventas"}))]
    filter: Option<Map<String, Value>>,
    #[schema(nullable = false)]
    mode: Option<Mode>,
    /// Only results whose `score` is at least this.
    #[schema(minimum = 0.0, maximum = 1.0, nullable = false)]
    min_score: Option<f64>,
}

/// What was found, best first.
#[derive(Debug, Serialize, ToSchema)]
struct QueryResults {
    results: Vec<QueryResult>,
    /// How well the best results cover the question, 0 to 1: what an agent's `minEvidence` is compared with.
    evidence: f64,
    /// Whether a reranker decided the order; false when it failed. Absent where none is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reranked: Option<bool>,
}

/// A passage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueryResult {
    /// The passage, verbatim.
    #[schema(example = "Nuestros horarios son de 9 a 18 hs.")]
    content: String,
    /// 0 to 1, higher is better.
    #[schema(example = 0.95)]
    score: f64,
    source: ResultSource,
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    chunk_id: String,
    scores: Scores,
    /// The page that it starts on, where the format has pages.
    page: Option<i64>,
    /// The address of the source, when it came from the web.
    url: Option<String>,
    /// Headings above it, outermost first.
    #[schema(example = "Atención › Horarios")]
    heading: String,
}

/// The source of a passage.
#[derive(Debug, Serialize, ToSchema)]
struct ResultSource {
    #[schema(pattern = "^src_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "FAQ General")]
    name: String,
}

/// What a score is made of; null where that search did not find the passage.
#[derive(Debug, Serialize, ToSchema)]
struct Scores {
    /// BM25 over stemmed words.
    words: Option<f64>,
    /// BM25 over character 4-grams.
    grams: Option<f64>,
    /// Cosine of dense vectors.
    dense: Option<f64>,
    /// How well the passage answers by the reranker, 0 to 1. It orders results; `score` stays the fused one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rerank: Option<f64>,
}

/// Search a datastore
#[utoipa::path(
    post,
    path = "/api/v2/datastores/{datastoreId}/query",
    tag = "Datastores",
    operation_id = "queryDatastore",
    params(("datastoreId" = String, Path)),
    request_body = DatastoreQuery,
    responses(
        (status = 200, description = "What was found.", body = QueryResults),
        (status = 402, description = "A budget is used up, and a model that costs something would be asked.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.datastores.query", skip_all)]
async fn query(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<DatastoreId>,
    Json(query): Json<DatastoreQuery>,
) -> ApiResult<Json<QueryResults>> {
    let query = query.check(id)?;
    let found = state.agents.search(caller.workspace(), &query, caller.api_key()).await?;
    if found.searched.is_empty() {
        return Err(DomainError::not_found("datastore").into());
    }
    Ok(Json(found.into()))
}

impl DatastoreQuery {
    fn check(self, datastore: DatastoreId) -> ApiResult<SearchQuery> {
        let text = text::required("query", &self.query, 8_000)?;
        let top_k = whole_number_in("topK", self.top_k.unwrap_or(5), 1, 100)?;
        if self.min_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            return Err(ApiError::invalid("minScore", "`minScore` must be a number from 0 to 1"));
        }
        let filter = self.filter.map(|filter| Filter::parse(&Value::Object(filter))).transpose()?;
        Ok(SearchQuery {
            datastores: vec![datastore],
            text,
            top_k: top_k as usize,
            mode: self.mode.unwrap_or(Mode::Hybrid).into(),
            min_score: self.min_score,
            filter,
            dense_weight: None,
        })
    }
}

impl From<SearchResults> for QueryResults {
    fn from(found: SearchResults) -> Self {
        let results = found.hits.into_iter().map(QueryResult::from).collect();
        Self { results, evidence: found.evidence, reranked: found.reranked }
    }
}

impl From<Hit> for QueryResult {
    fn from(hit: Hit) -> Self {
        let LiveChunk { chunk, source_name, url, .. } = &*hit.live;
        Self {
            content: chunk.text.clone(),
            score: hit.score,
            source: ResultSource { id: chunk.source_id.to_string(), name: source_name.clone() },
            chunk_id: chunk.id.to_string(),
            scores: Scores {
                words: hit.scores.words,
                grams: hit.scores.grams,
                dense: hit.scores.dense,
                rerank: hit.scores.rerank,
            },
            page: chunk.page,
            url: url.clone(),
            heading: chunk.heading.clone(),
        }
    }
}
