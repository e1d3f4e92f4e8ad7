//! Gates of agents, and versions that are evaluated before they are published.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::gate::{AgentPublication, Finding, Gate, PublicationStatus, Verdict};
use domain::{Action, AgentId, DomainError, EvalDatasetId, PublicationId, Timestamp};
use evals::metrics;
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use storage::gates;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::PageQuery;
use super::agents::find;
use super::waiting::patience;
use super::words::{self, GateMode};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Ids, Json, Query};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

/// A look without a wake-up, which another process may have been given.
const LOOK: Duration = Duration::from_secs(1);
/// Entries of floors, and of tolerances.
const MOST_ENTRIES: usize = 50;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadAgents, routes!(get))
        .route(Action::ManageAgents, routes!(put))
        .route(Action::ManageAgents, routes!(delete))
        .route(Action::ReadAgents, routes!(publications))
        .route(Action::ReadAgents, routes!(publication))
        .route(Action::ManageAgents, routes!(cancel))
}

/// What must hold before a version of an agent is published.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gate)]
struct GateView {
    /// The questions that a new version must answer.
    #[schema(pattern = "^evalset_[0-9a-f]{32}$")]
    dataset: String,
    mode: GateMode,
    /// The least that metrics must reach; the most, of those of which less is better.
    #[schema(example = json!({"answered": 0.8}))]
    floors: BTreeMap<String, f64>,
    /// Losses against the published version that are none, in place of the metrics' own.
    #[schema(example = json!({"containment": 0.05}))]
    tolerances: BTreeMap<String, f64>,
}

/// Changes of a gate; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = GateChanges)]
struct GateChanges {
    /// Needed for a new gate.
    #[schema(pattern = "^evalset_[0-9a-f]{32}$", nullable = false)]
    dataset: Option<String>,
    /// `refuse` for a new gate.
    #[schema(nullable = false)]
    mode: Option<GateMode>,
    /// Metrics as in reports of evaluations. They take the place of those that were there.
    #[schema(nullable = false, example = json!({"answered": 0.8}))]
    floors: Option<BTreeMap<String, f64>>,
    /// They take the place of those that were there.
    #[schema(nullable = false, example = json!({"containment": 0.05}))]
    tolerances: Option<BTreeMap<String, f64>>,
}

/// A version that is evaluated before it is published.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentPublication)]
pub(super) struct PublicationView {
    #[schema(pattern = "^pub_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    status: words::PublicationStatus,
    /// The published version that it is to follow.
    #[schema(minimum = 1)]
    base_version: i64,
    /// The revision of the draft that it is; null for a change of the agent.
    #[schema(minimum = 1)]
    draft_revision: Option<i64>,
    /// The API key that asked for it.
    #[schema(pattern = "^key_[0-9a-f]{32}$")]
    requested_by: Option<String>,
    /// What they said about it.
    note: Option<String>,
    progress: ProgressView,
    /// What its evaluation came to; null before that.
    #[schema(required = true)]
    verdict: Option<VerdictView>,
    /// Why nothing came of it.
    error: Option<String>,
    /// The version that it became.
    #[schema(minimum = 1)]
    version: Option<i64>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:05:00.000Z")]
    ended_at: Option<String>,
}

/// How far an evaluation is: of the new version and, where its result is not known, of the published one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublicationProgress)]
struct ProgressView {
    /// Cases that were asked.
    #[schema(minimum = 0)]
    done: i64,
    /// All of them; 0 before it has begun.
    #[schema(minimum = 0)]
    all: i64,
    /// Those that failed.
    #[schema(minimum = 0)]
    errors: i64,
    /// Micro-dollars (US).
    #[schema(minimum = 0)]
    cost: i64,
}

/// What the evaluation of a version came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GateVerdict)]
pub(super) struct VerdictView {
    /// Whether nothing speaks against it.
    passed: bool,
    /// Cases that were asked.
    cases: i64,
    /// Those that failed.
    errors: i64,
    /// The version that it was compared with; null when that could not be evaluated.
    compared_with: Option<i64>,
    /// What speaks against it.
    findings: Vec<FindingView>,
    /// What each metric came to.
    metrics: Vec<MeasuredView>,
}

/// Something that speaks against a version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GateFinding)]
struct FindingView {
    /// Null when the evaluation says nothing.
    #[schema(example = "answered")]
    metric: Option<String>,
    value: Option<f64>,
    /// The floor that it misses.
    floor: Option<f64>,
    /// What it was for the published version, when it fell by more than the tolerance.
    previous: Option<f64>,
    /// For people, with what to do.
    message: String,
}

/// A metric of a version and of the published one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GateMeasured)]
struct MeasuredView {
    #[schema(example = "answered")]
    metric: String,
    value: f64,
    previous: Option<f64>,
}

/// Get the gate of an agent
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/gate",
    tag = "Versions",
    operation_id = "getAgentGate",
    params(("agentId" = String, Path)),
    responses((status = 200, description = "The gate.", body = GateView)),
)]
#[tracing::instrument(name = "handler.v2.gates.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<Json<GateView>> {
    find(&state, &caller, id).await?;
    let mut conn = state.db.read().await?;
    let gate = gates::get(&mut conn, caller.workspace(), id).await?;
    let gate = gate.ok_or_else(|| DomainError::not_found("gate"))?;
    Ok(Json(gate.into()))
}

/// Put a gate before an agent
///
/// From then on a configuration that is different is evaluated on the dataset before it is published: changes of the agent
/// and `publish` answer 202 with the publication. It is held against the floors and against the published version. Merges: what
/// is absent stays.
#[utoipa::path(
    put,
    path = "/api/v2/agents/{agentId}/gate",
    tag = "Versions",
    operation_id = "updateAgentGate",
    params(("agentId" = String, Path)),
    request_body = GateChanges,
    responses((status = 200, description = "The gate.", body = GateView)),
)]
#[tracing::instrument(name = "handler.v2.gates.put", skip_all)]
async fn put(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Json(changes): Json<GateChanges>,
) -> ApiResult<Json<GateView>> {
    find(&state, &caller, id).await?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let known = gates::get(&mut conn, workspace, id).await?;
    let dataset = match (&changes.dataset, &known) {
        (Some(dataset), _) => {
            let dataset = dataset.parse::<EvalDatasetId>().ok();
            let found = match dataset {
                Some(dataset) => storage::evals::get(&mut conn, workspace, dataset).await?,
                None => None,
            };
            let absent = || DomainError::not_found("evaluation dataset").at("dataset");
            found.ok_or_else(absent)?.id
        }
        (None, Some(known)) => known.dataset,
        (None, None) => return Err(ApiError::invalid("dataset", "`dataset` is missing")),
    };
    drop(conn);
    let before = known.as_ref().map(told);
    let known_mode = known.as_ref().map(|known| known.mode);
    let mode = changes.mode.map(Into::into).or(known_mode);
    let known = known.map(|known| (known.floors, known.tolerances)).unwrap_or_default();
    let gate = Gate {
        dataset,
        mode: mode.unwrap_or(domain::gate::GateMode::Refuse),
        floors: changes
            .floors
            .map(|floors| checked("floors", floors))
            .transpose()?
            .unwrap_or(known.0),
        tolerances: changes
            .tolerances
            .map(|tolerances| checked("tolerances", tolerances))
            .transpose()?
            .unwrap_or(known.1),
    };
    let mut tx = state.db.write().await?;
    let there = gates::put(&mut tx, workspace, id, &gate, state.ambient.now()).await?;
    if there {
        let sides = Changed { before, after: Some(told(&gate)) };
        caller.audit(&mut tx, &state.ambient, "gate.updated", id, sides).await?;
    }
    tx.commit().await?;
    if !there {
        return Err(DomainError::not_found("agent").into());
    }
    Ok(Json(gate.into()))
}

/// Take the gate of an agent away
#[utoipa::path(
    delete,
    path = "/api/v2/agents/{agentId}/gate",
    tag = "Versions",
    operation_id = "deleteAgentGate",
    params(("agentId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.gates.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<StatusCode> {
    find(&state, &caller, id).await?;
    let mut tx = state.db.write().await?;
    let absent = || DomainError::not_found("gate");
    let found = gates::get(&mut tx, caller.workspace(), id).await?.ok_or_else(absent)?;
    if !gates::delete(&mut tx, caller.workspace(), id).await? {
        return Err(absent().into());
    }
    let gone = Changed::from(told(&found));
    caller.audit(&mut tx, &state.ambient, "gate.deleted", id, gone).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List publications of an agent
///
/// Those that a gate had evaluated, newest first.
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/publications",
    tag = "Versions",
    operation_id = "listAgentPublications",
    params(("agentId" = String, Path), PageQuery),
    responses((status = 200, description = "A page of publications.", body = Page<PublicationView>)),
)]
#[tracing::instrument(name = "handler.v2.gates.publications", skip_all)]
async fn publications(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<PublicationView>>> {
    find(&state, &caller, id).await?;
    let paging = query.paging::<PublicationId>()?;
    let mut conn = state.db.read().await?;
    let found =
        gates::publications(&mut conn, caller.workspace(), id, paging.after, paging.one_more());
    let id = |publication: &AgentPublication| publication.id;
    Ok(Json(paging.page(found.await?, id, PublicationView::from)))
}

/// Get a publication of an agent
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/publications/{publicationId}",
    tag = "Versions",
    operation_id = "getAgentPublication",
    params(("agentId" = String, Path), ("publicationId" = String, Path)),
    responses((status = 200, description = "The publication.", body = PublicationView)),
)]
#[tracing::instrument(name = "handler.v2.gates.publication", skip_all)]
async fn publication(
    State(state): State<AppState>,
    caller: Caller,
    Ids(agent, id): Ids<AgentId, PublicationId>,
) -> ApiResult<Json<PublicationView>> {
    let found = look(&state, &caller, (agent, id)).await?;
    Ok(Json(found.ok_or_else(|| DomainError::not_found("publication"))?.into()))
}

/// Cancel a publication of an agent
///
/// Its evaluation ends and nothing is published.
#[utoipa::path(
    post,
    path = "/api/v2/agents/{agentId}/publications/{publicationId}/cancel",
    tag = "Versions",
    operation_id = "cancelAgentPublication",
    params(("agentId" = String, Path), ("publicationId" = String, Path)),
    responses(
        (status = 202, description = "Nothing is published.", body = PublicationView),
        (status = 409, description = "It is over.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.gates.cancel", skip_all)]
async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Ids(agent, id): Ids<AgentId, PublicationId>,
) -> ApiResult<(StatusCode, Json<PublicationView>)> {
    let absent = || DomainError::not_found("publication");
    look(&state, &caller, (agent, id)).await?.ok_or_else(absent)?;
    if !state.evals.signed(caller.author()).cancel_publication(caller.workspace(), id).await? {
        let message = "the publication is over; what was published is put back with …/versions/{version}/restore";
        return Err(DomainError::conflict("CONFLICT", message).into());
    }
    let cancelled = look(&state, &caller, (agent, id)).await?.ok_or_else(absent)?;
    Ok((StatusCode::ACCEPTED, Json(cancelled.into())))
}

/// What the audit log says of a gate.
fn told(gate: &Gate) -> serde_json::Value {
    serde_json::json!({
        "datasetId": gate.dataset,
        "mode": gate.mode,
        "floors": gate.floors,
        "tolerances": gate.tolerances,
    })
}

/// What is told of a version that is evaluated before it is published: 202 and where to look. With `Prefer: wait=` it is waited
/// for; `None` then means that it is published, and 409 `GATE_REFUSED` that it is not.
pub(super) async fn wanted(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    publication: AgentPublication,
) -> ApiResult<Option<Response>> {
    let latest = settled(state, caller, headers, publication).await?;
    match latest.status {
        PublicationStatus::Published => Ok(None),
        PublicationStatus::Refused | PublicationStatus::Failed => Err(refused(&latest).into()),
        PublicationStatus::Pending | PublicationStatus::Running | PublicationStatus::Cancelled => {
            let (agent, id) = (latest.agent_id, latest.id);
            let place = format!("/api/v2/agents/{agent}/publications/{id}");
            let location: [(HeaderName, String); 1] = [(header::LOCATION, place)];
            let view = Json(PublicationView::from(latest));
            Ok(Some((StatusCode::ACCEPTED, location, view).into_response()))
        }
    }
}

fn refused(publication: &AgentPublication) -> DomainError {
    let why = match (&publication.verdict, &publication.error) {
        (_, Some(error)) => error.clone(),
        (Some(verdict), None) => verdict.words(),
        (None, None) => String::new(),
    };
    let id = publication.id;
    DomainError::conflict("GATE_REFUSED", format!("nothing is published ({id}): {why}"))
}

/// The publication once it is over, or as it stands when the caller's patience ends.
async fn settled(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    publication: AgentPublication,
) -> ApiResult<AgentPublication> {
    let Some(patience) = patience(headers) else { return Ok(publication) };
    let deadline = Instant::now() + patience;
    let mut wakeups = state.db.wakeups();
    let mut latest = publication;
    loop {
        let which = (latest.agent_id, latest.id);
        // Gone with its agent: nothing more will come of it.
        let Some(found) = look(state, caller, which).await? else { return Ok(latest) };
        latest = found;
        let waited = Instant::now() >= deadline || state.stopping.is_cancelled();
        if latest.status.is_over() || waited {
            return Ok(latest);
        }
        // Woken, late or lagging behind: in each case it is time to look again.
        let _ = timeout_at(deadline.min(Instant::now() + LOOK), wakeups.recv()).await;
    }
}

async fn look(
    state: &AppState,
    caller: &Caller,
    (agent, id): (AgentId, PublicationId),
) -> ApiResult<Option<AgentPublication>> {
    let mut conn = state.db.read().await?;
    let found = gates::publication(&mut conn, caller.workspace(), id).await?;
    Ok(found.filter(|found| found.agent_id == agent))
}

fn checked(field: &str, given: BTreeMap<String, f64>) -> ApiResult<BTreeMap<String, f64>> {
    if given.len() > MOST_ENTRIES {
        let message = format!("`{field}` has more than {MOST_ENTRIES} entries");
        return Err(ApiError::invalid(field, message));
    }
    for (metric, value) in &given {
        if metrics::find(metric).is_none() {
            let field = format!("{field}.{metric}");
            let known: Vec<&str> = metrics::METRICS.iter().map(|metric| metric.name).collect();
            let message = format!("`{field}` is no metric; use {}", known.join(", "));
            return Err(ApiError::invalid(field, message));
        }
        if !value.is_finite() || *value < -1.0 {
            let field = format!("{field}.{metric}");
            let message = format!("`{field}` must be a number from -1");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(given)
}

impl From<Gate> for GateView {
    fn from(gate: Gate) -> Self {
        Self {
            dataset: gate.dataset.to_string(),
            mode: gate.mode.into(),
            floors: gate.floors,
            tolerances: gate.tolerances,
        }
    }
}

impl From<AgentPublication> for PublicationView {
    fn from(publication: AgentPublication) -> Self {
        let progress = publication.progress;
        Self {
            id: publication.id.to_string(),
            agent_id: publication.agent_id.to_string(),
            status: publication.status.into(),
            base_version: publication.base_version,
            draft_revision: publication.draft_revision,
            requested_by: publication.publication.by.map(|key| key.to_string()),
            note: publication.publication.note,
            progress: ProgressView {
                done: progress.done,
                all: progress.all,
                errors: progress.errors,
                cost: progress.cost,
            },
            verdict: publication.verdict.map(Into::into),
            error: publication.error,
            version: publication.version,
            created_at: publication.created_at.to_rfc3339(),
            ended_at: publication.ended_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        let passed = verdict.passed();
        let metrics = verdict.metrics.into_iter().map(|measured| MeasuredView {
            metric: measured.metric,
            value: measured.value,
            previous: measured.previous,
        });
        Self {
            passed,
            cases: verdict.cases,
            errors: verdict.errors,
            compared_with: verdict.compared_with,
            findings: verdict.findings.into_iter().map(Into::into).collect(),
            metrics: metrics.collect(),
        }
    }
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { metric, value, floor, previous, message } = finding;
        Self { metric, value, floor, previous, message }
    }
}
