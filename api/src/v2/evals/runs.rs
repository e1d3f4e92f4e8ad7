//! Runs: wanted, looked at, followed, stopped.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::eval::EvalStatus as Status;
use domain::{Action, DomainError, EvalDatasetId, EvalRunId, Timestamp, WorkspaceId};
use evals::stored::{StoredOptions, WantedRun, WantedTarget};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use storage::Wakeup;
use storage::evals::{EvalRun, EvalRunFilter};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::paging::{Page, Paging, whole_number_in};
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::words::{EvalStatus, EvalTarget};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ManageEvals, routes!(create))
        .route(Action::ReadEvals, routes!(list))
        .route(Action::ReadEvals, routes!(get))
        .route(Action::ManageEvals, routes!(delete))
        .route(Action::ManageEvals, routes!(cancel))
        .route(Action::ReadEvals, routes!(follow))
}

/// A dataset put to an agent or a datastore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EvalRun)]
pub(super) struct EvalRunView {
    #[schema(pattern = "^evalrun_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^evalset_[0-9a-f]{32}$")]
    dataset_id: String,
    /// The dataset's version when the run was wanted.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    version: String,
    target: EvalTargetView,
    options: EvalOptionsView,
    status: EvalStatus,
    /// Cases.
    #[schema(minimum = 0)]
    total: i64,
    /// Cases that were asked, failed ones included.
    #[schema(minimum = 0)]
    done: i64,
    /// Cases that failed.
    #[schema(minimum = 0)]
    errors: i64,
    /// Answers that the judge is to read, once it does.
    #[schema(minimum = 0)]
    to_judge: i64,
    /// Answers that it has read.
    #[schema(minimum = 0)]
    judged: i64,
    /// Of asking, and once answers are judged of that, too.
    #[schema(minimum = 0, maximum = 100)]
    percent: i64,
    /// Whether every case was asked, and every answer judged that was to be; else the limit of what it may cost was
    /// reached, it was stopped, or it goes on.
    complete: bool,
    /// Micro-dollars (US) so far, of answers and judge.
    cost: i64,
    /// Seconds until the cases are asked, by the time that those took until now; null while that cannot be told.
    #[schema(minimum = 0)]
    eta_seconds: Option<i64>,
    /// Why it failed.
    error: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339; when a worker took it up last.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = EvalRunTarget)]
struct EvalTargetView {
    r#type: EvalTarget,
    /// The id of the agent or the datastore.
    #[schema(example = "agent_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    id: String,
}

/// How it is asked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EvalRunOptions)]
struct EvalOptionsView {
    /// Cases under way at once.
    concurrency: u32,
    /// Cases begun a minute, at most.
    per_minute: Option<u32>,
    /// Seconds that a case may take.
    timeout_seconds: u32,
    /// Micro-dollars (US) after which no case is begun, and no answer judged.
    max_cost: Option<i64>,
    /// Passages of each ranking that are looked at.
    depth: u32,
    /// The model that judges the answers.
    judge: Option<String>,
}

/// A run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewEvalRun {
    #[schema(example = "evalset_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    dataset_id: String,
    target: EvalTargetView,
    #[serde(default)]
    #[schema(required = false)]
    options: NewEvalOptions,
}

/// How to ask.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewEvalOptions {
    /// Cases under way at once; absent means 4.
    #[schema(minimum = 1, maximum = 16)]
    concurrency: Option<i64>,
    /// Cases begun a minute, at most.
    #[schema(minimum = 1, maximum = 100_000)]
    per_minute: Option<i64>,
    /// Seconds that a case may take; absent means 180.
    #[schema(minimum = 1, maximum = 600)]
    timeout_seconds: Option<i64>,
    /// Micro-dollars (US) after which no case is begun, and no answer judged.
    #[schema(minimum = 0, maximum = 1_000_000_000_i64)]
    max_cost: Option<i64>,
    /// Passages of each ranking that are looked at; absent means 20.
    #[schema(minimum = 1, maximum = 100)]
    depth: Option<i64>,
    /// A model that judges the answers; what it costs is in the ledger under `eval`.
    #[schema(max_length = 200)]
    judge: Option<String>,
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct RunQuery {
    /// Only of this dataset.
    #[param(value_type = String, required = false)]
    dataset_id: Option<String>,
    /// Only in this status.
    #[param(value_type = EvalStatus, required = false)]
    status: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// Run a dataset
///
/// In the version that it has now, as a job: it goes on after a restart. Turns of an agent are counted as any other, use
/// its tools, and leave no conversation.
#[utoipa::path(
    post,
    path = "/api/v2/evals/runs",
    tag = "Evaluations",
    operation_id = "createEvalRun",
    request_body = NewEvalRun,
    responses(
        (status = 202, description = "It will be run.", body = EvalRunView),
        (status = 409, description = "The dataset has no cases.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.run", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewEvalRun>,
) -> ApiResult<(StatusCode, Json<EvalRunView>)> {
    let wanted = new.check(&caller)?;
    let run = state.evals.signed(caller.author()).want_run(caller.workspace(), &wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(view(run, state.ambient.now())?)))
}

/// List runs
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/evals/runs",
    tag = "Evaluations",
    operation_id = "listEvalRuns",
    params(RunQuery),
    responses((status = 200, description = "A page of runs.", body = Page<EvalRunView>)),
)]
#[tracing::instrument(name = "handler.v2.evals.runs", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<RunQuery>,
) -> ApiResult<Json<Page<EvalRunView>>> {
    let paging = Paging::<EvalRunId>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let filter = query.filter()?;
    let (mut conn, limit) = (state.db.read().await?, paging.one_more());
    let workspace = caller.workspace();
    let mut found = storage::evals::runs(&mut conn, workspace, filter, paging.after, limit).await?;
    let next_cursor = paging.cut(&mut found, |run| run.id);
    let now = state.ambient.now();
    let data = found.into_iter().map(|run| view(run, now)).collect::<ApiResult<_>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Get a run
#[utoipa::path(
    get,
    path = "/api/v2/evals/runs/{evalRunId}",
    tag = "Evaluations",
    operation_id = "getEvalRun",
    params(("evalRunId" = String, Path)),
    responses((status = 200, description = "The run.", body = EvalRunView)),
)]
#[tracing::instrument(name = "handler.v2.evals.get_run", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
) -> ApiResult<Json<EvalRunView>> {
    let run = find(&state, caller.workspace(), id).await?.ok_or_else(absent)?;
    Ok(Json(view(run, state.ambient.now())?))
}

/// Delete a run
///
/// Its report goes with it; one under way is stopped.
#[utoipa::path(
    delete,
    path = "/api/v2/evals/runs/{evalRunId}",
    tag = "Evaluations",
    operation_id = "deleteEvalRun",
    params(("evalRunId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.evals.delete_run", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
) -> ApiResult<StatusCode> {
    state.evals.signed(caller.author()).delete_run(caller.workspace(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel a run
///
/// What was asked by then stays and can be reported on.
#[utoipa::path(
    post,
    path = "/api/v2/evals/runs/{evalRunId}/cancel",
    tag = "Evaluations",
    operation_id = "cancelEvalRun",
    params(("evalRunId" = String, Path)),
    responses(
        (status = 200, description = "The run.", body = EvalRunView),
        (status = 409, description = "It is over.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.cancel", skip_all)]
async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
) -> ApiResult<Json<EvalRunView>> {
    let run = state.evals.signed(caller.author()).cancel_run(caller.workspace(), id).await?;
    Ok(Json(view(run, state.ambient.now())?))
}

/// Follow a run
///
/// A stream of events (`text/event-stream`): `progress`, whose data is the run, at the start and whenever it has gone on,
/// and `done`, the last one, whose data is the run as it ended; `error` (`{code, message}`) in its place when the run was
/// deleted. A comment goes out every 15 seconds without an event. Connect again when it breaks off: nothing is lost, as every
/// event tells the whole state. A browser that does so after `done`, which its `Last-Event-ID` tells, gets 204.
#[utoipa::path(
    get,
    path = "/api/v2/evals/runs/{evalRunId}/events",
    tag = "Evaluations",
    operation_id = "followEvalRun",
    params(
        ("evalRunId" = String, Path),
        ("last-event-id" = Option<String>, Header, description = "The `id` of the last event that was seen."),
    ),
    responses(
        (status = 200, description = "Its events.", content((String = "text/event-stream"))),
        (status = 204, description = "`done` was seen already."),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.follow", skip_all)]
async fn follow(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let workspace = caller.workspace();
    // Before the first look, so that nothing is missed between the two.
    let wakeups = state.db.wakeups();
    find(&state, workspace, id).await?.ok_or_else(absent)?;
    if headers.get("last-event-id").is_some_and(|seen| seen == LAST_ID) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let told = Follower { state, workspace, id, wakeups, told: None, ended: false };
    let frames = futures::stream::unfold(told, |mut told| async move {
        let frame = told.next().await?;
        Some((Ok::<_, Infallible>(frame), told))
    });
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// A comment line goes out after this long without an event.
const SILENCE: Duration = Duration::from_secs(15);
/// A look without a wake-up, which another process may have been given.
const LOOK: Duration = Duration::from_secs(5);
/// Events go out at this distance at least: a search takes milliseconds.
const DISTANCE: Duration = Duration::from_millis(200);
/// The id of the last event.
const LAST_ID: &str = "end";

/// Somebody who follows a run.
struct Follower {
    state: AppState,
    workspace: WorkspaceId,
    id: EvalRunId,
    wakeups: broadcast::Receiver<Wakeup>,
    /// What was told last, and when.
    told: Option<(EvalRun, Instant)>,
    ended: bool,
}

impl Follower {
    /// The next event, or a comment; `None` at the end, and when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        let deadline = Instant::now() + SILENCE;
        loop {
            if self.ended {
                return None;
            }
            if let Some((_, at)) = &self.told {
                tokio::time::sleep_until(*at + DISTANCE).await;
            }
            match self.look().await {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => return Some(self.end_with(&error)),
            }
            if self.state.stopping.is_cancelled() {
                return None;
            }
            if Instant::now() >= deadline {
                return Some(Bytes::from_static(b": \n\n"));
            }
            self.wait(deadline).await;
        }
    }

    /// An event when the run is not what was told last.
    async fn look(&mut self) -> ApiResult<Option<Bytes>> {
        let run = find(&self.state, self.workspace, self.id).await?.ok_or_else(absent)?;
        if self.told.as_ref().is_some_and(|(told, _)| *told == run) {
            return Ok(None);
        }
        self.told = Some((run.clone(), Instant::now()));
        self.ended = run.status.is_over();
        let shown = view(run, self.state.ambient.now())?;
        let data = serde_json::to_string(&shown).unwrap_or_default();
        Ok(Some(if self.ended {
            Bytes::from(format!("id: {LAST_ID}\nevent: done\ndata: {data}\n\n"))
        } else {
            let id = format!("{}.{}", shown.done, shown.judged);
            Bytes::from(format!("id: {id}\nevent: progress\ndata: {data}\n\n"))
        }))
    }

    fn end_with(&mut self, error: &ApiError) -> Bytes {
        self.ended = true;
        let message = error.message(Some(domain::Lang::En));
        let data = serde_json::json!({"code": error.domain().code, "message": message});
        Bytes::from(format!("id: {LAST_ID}\nevent: error\ndata: {data}\n\n"))
    }

    /// Until something may have changed.
    async fn wait(&mut self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + LOOK);
        let stopping = self.state.stopping.clone();
        loop {
            let woken = tokio::select! {
                () = stopping.cancelled() => return,
                woken = timeout_at(deadline, self.wakeups.recv()) => woken,
            };
            match woken {
                Ok(Ok(Wakeup::Evals) | Err(RecvError::Lagged(_))) | Err(_) => return,
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Closed)) => {
                    // The database was closed: nothing more will come.
                    tokio::time::sleep_until(deadline).await;
                    return;
                }
            }
        }
    }
}

async fn find(
    state: &AppState,
    workspace: WorkspaceId,
    id: EvalRunId,
) -> ApiResult<Option<EvalRun>> {
    let mut conn = state.db.read().await?;
    Ok(storage::evals::run(&mut conn, workspace, id).await?)
}

fn absent() -> ApiError {
    DomainError::not_found("evaluation run").into()
}

impl NewEvalRun {
    fn check(&self, caller: &Caller) -> ApiResult<WantedRun> {
        let dataset: EvalDatasetId = named("datasetId", &self.dataset_id)?;
        let EvalTargetView { r#type, id } = &self.target;
        let target = match r#type {
            EvalTarget::Agent => WantedTarget::Agent(named("target.id", id)?),
            EvalTarget::Datastore => WantedTarget::Datastore(named("target.id", id)?),
        };
        let options = self.options.check()?;
        if options.judge.is_some() && *r#type == EvalTarget::Datastore {
            let message = "`options.judge` reads answers, and a datastore gives none; leave it out";
            return Err(ApiError::invalid("options.judge", message));
        }
        Ok(WantedRun { dataset, target, options, api_key: caller.api_key() })
    }
}

fn named<T: std::str::FromStr<Err = domain::ids::InvalidId>>(
    field: &str,
    id: &str,
) -> ApiResult<T> {
    id.parse().map_err(|error| ApiError::invalid(field, format!("`{field}`: {error}")))
}

impl NewEvalOptions {
    fn check(&self) -> ApiResult<StoredOptions> {
        let usual = StoredOptions::default();
        let number = |field: &str, given: Option<i64>, most: u32, usual: u32| {
            let field = format!("options.{field}");
            given.map_or(Ok(usual), |number| whole_number_in(&field, number, 1, most))
        };
        let per_minute =
            self.per_minute.map(|count| whole_number_in("options.perMinute", count, 1, 100_000));
        let max_cost = self
            .max_cost
            .map(|cost| whole_number_in("options.maxCost", cost, 0, 1_000_000_000).map(i64::from));
        let judge = self.judge.as_deref();
        let judge = judge.map(|name| domain::text::required("options.judge", name, 200));
        Ok(StoredOptions {
            concurrency: number("concurrency", self.concurrency, 16, usual.concurrency)?,
            per_minute: per_minute.transpose()?,
            timeout_seconds: number(
                "timeoutSeconds",
                self.timeout_seconds,
                600,
                usual.timeout_seconds,
            )?,
            max_cost: max_cost.transpose()?,
            depth: number("depth", self.depth, 100, usual.depth)?,
            judge: judge.transpose()?,
        })
    }
}

impl RunQuery {
    fn filter(&self) -> ApiResult<EvalRunFilter> {
        let status = match &self.status {
            None => None,
            Some(word) => {
                let read = serde_json::from_value::<EvalStatus>(word.as_str().into());
                let words = "`status` must be waiting, running, done, failed or cancelled";
                Some(read.map_err(|_| ApiError::invalid("status", words))?.into())
            }
        };
        let dataset = self.dataset_id.as_deref().map(|id| named("datasetId", id)).transpose()?;
        Ok(EvalRunFilter { dataset, status })
    }
}

fn view(run: EvalRun, now: Timestamp) -> ApiResult<EvalRunView> {
    let options: StoredOptions = serde_json::from_value(run.options.clone()).map_err(|error| {
        tracing::error!(%error, run = %run.id, "the options of a run do not read");
        ApiError::internal()
    })?;
    let progress = run.progress;
    let asked = progress.done >= run.total && progress.judged >= progress.to_judge;
    Ok(EvalRunView {
        eta_seconds: eta(&run, now),
        percent: percent(&run),
        complete: run.status == Status::Done && asked,
        id: run.id.to_string(),
        dataset_id: run.dataset_id.to_string(),
        version: run.version,
        target: EvalTargetView { r#type: run.target.into(), id: run.target_id },
        options: EvalOptionsView {
            concurrency: options.concurrency,
            per_minute: options.per_minute,
            timeout_seconds: options.timeout_seconds,
            max_cost: options.max_cost,
            depth: options.depth,
            judge: options.judge,
        },
        status: run.status.into(),
        total: run.total,
        done: progress.done,
        errors: progress.errors,
        to_judge: progress.to_judge,
        judged: progress.judged,
        cost: progress.cost,
        error: run.error,
        created_at: run.created_at.to_rfc3339(),
        started_at: run.begun_at.map(Timestamp::to_rfc3339),
        finished_at: run.finished_at.map(Timestamp::to_rfc3339),
    })
}

fn percent(run: &EvalRun) -> i64 {
    let all = run.total.saturating_add(run.progress.to_judge);
    let done = run.progress.done.saturating_add(run.progress.judged);
    done.saturating_mul(100).checked_div(all).unwrap_or(0).clamp(0, 100)
}

/// By the time that each case took since the run was taken up.
fn eta(run: &EvalRun, now: Timestamp) -> Option<i64> {
    let done = run.progress.done - run.begun_done;
    if run.status != Status::Running || done <= 0 {
        return None;
    }
    let left = (run.total - run.progress.done).max(0);
    let micros = now.micros().saturating_sub(run.begun_at?.micros()).max(0);
    Some(micros.saturating_mul(left) / done / 1_000_000)
}
