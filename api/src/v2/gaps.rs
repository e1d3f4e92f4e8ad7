//! Gaps: questions that the knowledge could not answer, those that ask the same together.

use std::collections::HashMap;

use agents::Rechecked;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::gap::GapStatus as Status;
use domain::{Action, AgentId, DomainError, GapId, Timestamp, WorkspaceId};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use storage::Conn;
use storage::gaps::{self, Gap, GapFilter, GapGroup};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::words::{GapReason, GapStatus, Language};
use crate::auth::{Caller, Changed};
use crate::csv;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::paging::{Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;

/// Examples of a group.
const EXAMPLES: usize = 5;

/// Single questions that are looked at for a page of groups.
const LOOKED_AT: i64 = 2_000;

/// Groups read for a table at a time, and most of a table.
const BATCH: i64 = 500;
const MOST: usize = 50_000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadConversations, routes!(list))
        .route(Action::ReadConversations, routes!(get))
        .route(Action::WorkConversations, routes!(change))
        .route(Action::WorkConversations, routes!(recheck))
}

/// Questions that ask the same and that the knowledge could not answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gap)]
struct GapView {
    #[schema(pattern = "^gap_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    /// Where it was last asked.
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// The answer that did not answer it, the last time.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    /// The question that was asked first, standing alone.
    #[schema(example = "¿Envían a la Antártida?")]
    question: String,
    status: GapStatus,
    /// How often it was asked.
    #[schema(minimum = 1)]
    count: i64,
    /// The languages it was asked in, as far as they tell.
    languages: Vec<Language>,
    /// The best evidence found so far, 0 to 1.
    evidence: f64,
    /// The latest ways in which it was asked, newest first.
    examples: Vec<GapExample>,
    /// What the agent answered when it was asked again.
    answer: Option<String>,
    /// RFC 3339; when it was first asked.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    last_asked_at: String,
    /// RFC 3339; when it was last asked again.
    #[schema(format = DateTime)]
    rechecked_at: Option<String>,
    /// RFC 3339; when it was closed or dismissed.
    #[schema(format = DateTime)]
    closed_at: Option<String>,
}

/// One time that it was asked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GapExample {
    question: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    reason: GapReason,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
}

/// What asking again came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecheckView {
    /// Whether it is answered now.
    answered: bool,
    /// The answer.
    answer: Option<String>,
    /// The evidence that was found, 0 to 1.
    evidence: f64,
    /// The gap afterwards.
    gap: GapView,
}

/// A change.
#[derive(Debug, Deserialize, ToSchema)]
struct GapChange {
    /// `dismissed` when it need not be answered, `open` to take that back.
    status: GapStatus,
}

/// Which gaps.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct GapQuery {
    /// Only in this status.
    #[param(value_type = GapStatus, required = false)]
    status: Option<String>,
    /// Only of this agent.
    #[param(value_type = String, required = false)]
    agent_id: Option<String>,
    /// `csv` for a table of all of them.
    #[param(value_type = String, required = false)]
    format: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// List gaps
///
/// Newest first; questions that ask the same are one gap. With `format=csv`, or `Accept: text/csv`, all of them as
/// a table.
#[utoipa::path(
    get,
    path = "/api/v2/gaps",
    tag = "Gaps",
    operation_id = "listGaps",
    params(GapQuery),
    responses((status = 200, description = "A page of gaps, or the table.", content((Page<GapView> = "application/json"), (String = "text/csv")))),
)]
#[tracing::instrument(name = "handler.v2.gaps.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<GapQuery>,
) -> ApiResult<Response> {
    let paging = Paging::<GapId>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let workspace = caller.workspace();
    let table = match query.format.as_deref() {
        None => csv::wanted(&headers),
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("format", "`format` must be json or csv")),
    };
    let filter = query.filter()?;
    if table {
        return Ok(csv::response("gaps.csv", as_table(&all(&state, workspace, filter).await?)));
    }
    let mut conn = state.db.read().await?;
    let limit = paging.one_more();
    let found = gaps::groups(&mut conn, workspace, filter, paging.after, limit).await?;
    let asked = asked(&mut conn, workspace, &found).await?;
    let page: Page<GapView> = paging.page(
        found,
        |group| group.id,
        |group| {
            let asked = asked.get(&group.id).cloned().unwrap_or_default();
            view(group, &asked)
        },
    );
    Ok(Json(page).into_response())
}

impl GapQuery {
    fn filter(&self) -> ApiResult<GapFilter> {
        let status = match &self.status {
            None => None,
            Some(word) => {
                let read = serde_json::from_value::<GapStatus>(word.as_str().into());
                let words = "`status` must be open, closed or dismissed";
                Some(read.map_err(|_| ApiError::invalid("status", words))?.into())
            }
        };
        let agent = self.agent_id.as_deref().map(str::parse::<AgentId>).transpose();
        let agent =
            agent.map_err(|error| ApiError::invalid("agentId", format!("`agentId`: {error}")))?;
        Ok(GapFilter { status, agent })
    }
}

/// Get a gap
#[utoipa::path(
    get,
    path = "/api/v2/gaps/{gapId}",
    tag = "Gaps",
    operation_id = "getGap",
    params(("gapId" = String, Path)),
    responses((status = 200, description = "The gap.", body = GapView)),
)]
#[tracing::instrument(name = "handler.v2.gaps.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<GapId>,
) -> ApiResult<Json<GapView>> {
    let mut conn = state.db.read().await?;
    Ok(Json(read(&mut conn, caller.workspace(), id).await?))
}

/// Dismiss or reopen a gap
///
/// Questions like a dismissed one are counted there and open no new gap.
#[utoipa::path(
    put,
    path = "/api/v2/gaps/{gapId}",
    tag = "Gaps",
    operation_id = "changeGap",
    params(("gapId" = String, Path)),
    request_body = GapChange,
    responses((status = 200, description = "The gap.", body = GapView)),
)]
#[tracing::instrument(name = "handler.v2.gaps.change", skip_all)]
async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<GapId>,
    Json(change): Json<GapChange>,
) -> ApiResult<Json<GapView>> {
    let status: Status = change.status.into();
    if status == Status::Closed {
        let words = "`status` must be open or dismissed; a gap is closed by an answer: recheck it";
        return Err(ApiError::invalid("status", words));
    }
    let mut tx = state.db.write().await?;
    let workspace = caller.workspace();
    let absent = || DomainError::not_found("gap");
    let before = gaps::group(&mut tx, workspace, id).await?.ok_or_else(absent)?.status;
    gaps::set_status(&mut tx, workspace, id, status, state.ambient.now()).await?;
    let view = read(&mut tx, workspace, id).await?;
    let told = |status: Status| serde_json::json!({"status": status.name()});
    let changed = Changed::between(told(before), told(status));
    caller.audit(&mut tx, &state.ambient, "gap.updated", id, changed).await?;
    tx.commit().await?;
    Ok(Json(view))
}

/// Ask a gap's question again
///
/// Closed when it is answered now. No conversation is stored.
#[utoipa::path(
    post,
    path = "/api/v2/gaps/{gapId}/recheck",
    tag = "Gaps",
    operation_id = "recheckGap",
    params(("gapId" = String, Path)),
    responses(
        (status = 200, description = "What it came to.", body = RecheckView),
        (status = 402, description = "A budget is used up.", body = ErrorEnvelope),
        (status = 409, description = "Its agent is paused.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.gaps.recheck", skip_all)]
async fn recheck(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<GapId>,
) -> ApiResult<Json<RecheckView>> {
    let workspace = caller.workspace();
    let agents = state.agents.signed(caller.author());
    let found = agents.recheck(workspace, id, caller.api_key()).await?;
    let Rechecked { answered, answer, evidence, group } =
        found.ok_or_else(|| DomainError::not_found("gap"))?;
    let mut conn = state.db.read().await?;
    let mut asked = asked(&mut conn, workspace, std::slice::from_ref(&group)).await?;
    let asked = asked.remove(&group.id).unwrap_or_default();
    Ok(Json(RecheckView { answered, answer, evidence, gap: view(group, &asked) }))
}

async fn read(conn: &mut Conn, workspace: WorkspaceId, id: GapId) -> ApiResult<GapView> {
    let group = gaps::group(conn, workspace, id).await?;
    let group = group.ok_or_else(|| DomainError::not_found("gap"))?;
    let mut asked = asked(conn, workspace, std::slice::from_ref(&group)).await?;
    let asked = asked.remove(&group.id).unwrap_or_default();
    Ok(view(group, &asked))
}

/// The single questions of groups, newest first.
async fn asked(
    conn: &mut Conn,
    workspace: WorkspaceId,
    groups: &[GapGroup],
) -> ApiResult<HashMap<GapId, Vec<Gap>>> {
    let ids: Vec<GapId> = groups.iter().map(|group| group.id).collect();
    let mut asked: HashMap<GapId, Vec<Gap>> = HashMap::new();
    for gap in gaps::of_groups(conn, workspace, &ids, LOOKED_AT).await? {
        asked.entry(gap.group_id).or_default().push(gap);
    }
    Ok(asked)
}

/// Every group up to a bound, newest first. No connection is held between two reads.
async fn all(
    state: &AppState,
    workspace: WorkspaceId,
    filter: GapFilter,
) -> ApiResult<Vec<GapView>> {
    let mut found: Vec<GapView> = Vec::new();
    let mut before = None;
    loop {
        let mut conn = state.db.read().await?;
        let batch = gaps::groups(&mut conn, workspace, filter, before, BATCH).await?;
        let mut asked = asked(&mut conn, workspace, &batch).await?;
        drop(conn);
        let last = batch.len() < usize::try_from(BATCH).unwrap_or(usize::MAX);
        before = batch.last().map(|group| group.id);
        for group in batch {
            let asked = asked.remove(&group.id).unwrap_or_default();
            found.push(view(group, &asked));
        }
        if last || found.len() >= MOST {
            return Ok(found);
        }
    }
}

fn as_table(gaps: &[GapView]) -> Vec<u8> {
    let heading = [
        "id",
        "question",
        "status",
        "count",
        "languages",
        "evidence",
        "agentId",
        "createdAt",
        "lastAskedAt",
        "answer",
    ];
    let row = |gap: &GapView| {
        let languages: Vec<String> = gap
            .languages
            .iter()
            .filter_map(|language| serde_json::to_value(language).ok()?.as_str().map(str::to_owned))
            .collect();
        let status = domain::gap::GapStatus::from(gap.status).name();
        vec![
            gap.id.clone(),
            gap.question.clone(),
            status.to_owned(),
            gap.count.to_string(),
            languages.join(" "),
            gap.evidence.to_string(),
            gap.agent_id.clone(),
            gap.created_at.clone(),
            gap.last_asked_at.clone(),
            gap.answer.clone().unwrap_or_default(),
        ]
    };
    let heading = heading.map(str::to_owned).to_vec();
    csv::table(std::iter::once(heading).chain(gaps.iter().map(row)))
}

fn view(group: GapGroup, asked: &[Gap]) -> GapView {
    let mut languages: Vec<domain::Lang> = asked.iter().filter_map(|gap| gap.lang).collect();
    languages.sort_unstable_by_key(|lang| lang.code());
    languages.dedup();
    let last = asked.first();
    let mut examples: Vec<GapExample> = Vec::new();
    for gap in asked {
        let told = examples.iter().any(|example| example.question == gap.question);
        if !told && examples.len() < EXAMPLES {
            examples.push(gap.into());
        }
    }
    GapView {
        id: group.id.to_string(),
        agent_id: group.agent_id.to_string(),
        conversation_id: last.map(|gap| gap.conversation_id.to_string()).unwrap_or_default(),
        message_id: last.map(|gap| gap.message_id.to_string()).unwrap_or_default(),
        question: group.question,
        status: group.status.into(),
        count: group.count,
        languages: languages.into_iter().map(Into::into).collect(),
        evidence: group.evidence,
        examples,
        answer: group.answer,
        created_at: group.created_at.to_rfc3339(),
        last_asked_at: group.last_at.to_rfc3339(),
        rechecked_at: group.rechecked_at.map(Timestamp::to_rfc3339),
        closed_at: group.closed_at.map(Timestamp::to_rfc3339),
    }
}

impl From<&Gap> for GapExample {
    fn from(gap: &Gap) -> Self {
        Self {
            question: gap.question.clone(),
            conversation_id: gap.conversation_id.to_string(),
            message_id: gap.message_id.to_string(),
            reason: gap.reason.into(),
            created_at: gap.created_at.to_rfc3339(),
        }
    }
}
