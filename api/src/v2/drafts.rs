//! Drafts of agents: what may be published next.

use ::agents::{Candidate, stale_draft};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::agent::Agent;
use domain::agent_version::{AgentConfig, AgentDraft};
use domain::{Action, AgentId, DomainError};
use evals::stored::Publishing;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::agents::{AgentChanges, find, publication};
use super::gates::{PublicationView, wanted};
use super::versions::{ConfigView, NO_NAMES, VersionView, find_version, missing_parts};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;

/// How often changes are put on top of what others have drafted meanwhile.
const TRIES: usize = 5;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadAgents, routes!(get))
        .route(Action::ManageAgents, routes!(put))
        .route(Action::ManageAgents, routes!(delete))
        .route(Action::ManageAgents, routes!(publish))
}

/// What may be published next. Customers are answered by the published version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentDraft)]
pub(super) struct DraftView {
    /// Rises with every change.
    #[schema(minimum = 1, example = 2)]
    revision: i64,
    /// The version that it was made from.
    #[schema(minimum = 1, example = 3)]
    base_version: i64,
    /// Whether another version was published since: it is not published then before `baseVersion` says that this was seen.
    stale: bool,
    /// The API key that changed it last; null for the server itself.
    #[schema(pattern = "^key_[0-9a-f]{32}$", example = "key_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    updated_by: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
    config: ConfigView,
}

/// Which draft is changed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct DraftQuery {
    /// The revision that you have read, 0 for none: 409 when it is another one by now.
    #[param(value_type = i64, minimum = 0, required = false)]
    revision: Option<String>,
    /// The published version that you have seen, for a draft that was made from an older one.
    #[param(value_type = i64, minimum = 1, required = false)]
    base_version: Option<String>,
}

/// Which draft is published.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PublishRequest)]
struct Publish {
    /// The revision that you have read: 409 when it is another one by now.
    #[schema(minimum = 1, nullable = false)]
    revision: Option<i64>,
    /// What is said about the version.
    #[schema(max_length = 1000, nullable = false, example = "Horario de verano")]
    note: Option<String>,
}

/// Get the draft of an agent
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/draft",
    tag = "Versions",
    operation_id = "getAgentDraft",
    params(("agentId" = String, Path)),
    responses((status = 200, description = "The draft.", body = DraftView)),
)]
#[tracing::instrument(name = "handler.v2.drafts.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<Json<DraftView>> {
    let agent = find(&state, &caller, id).await?;
    let draft = draft_of(&state, &agent).await?;
    let draft = draft.ok_or_else(|| DomainError::not_found("draft"))?;
    Ok(Json(DraftView::of(draft, &agent)))
}

/// Change the draft of an agent
///
/// Merges: what is absent stays. Without a draft one is made from the published version. Takes what a change of the agent
/// takes, without `status` and `note`.
#[utoipa::path(
    put,
    path = "/api/v2/agents/{agentId}/draft",
    tag = "Versions",
    operation_id = "updateAgentDraft",
    params(("agentId" = String, Path), DraftQuery),
    request_body = AgentChanges,
    responses(
        (status = 200, description = "The draft.", body = DraftView),
        (status = 409, description = "The draft is not the one of `revision` any more.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.drafts.put", skip_all)]
async fn put(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Query(query): Query<DraftQuery>,
    Json(changes): Json<AgentChanges>,
) -> ApiResult<Json<DraftView>> {
    if let Some(field) = changes.beyond_a_draft() {
        let message = format!(
            "`{field}` is no part of a draft; send it when you change the agent or publish the draft"
        );
        return Err(ApiError::invalid(field, message));
    }
    let number = |field: &str, text: Option<&str>, least: i64| {
        text.map(|text| whole_number(field, text, least, i64::MAX)).transpose()
    };
    let read = number("revision", query.revision.as_deref(), 0)?;
    let seen = number("baseVersion", query.base_version.as_deref(), 1)?;
    for _ in 0..TRIES {
        let agent = find(&state, &caller, id).await?;
        let known = draft_of(&state, &agent).await?;
        let revision = known.as_ref().map_or(0, |known| known.revision);
        if read.is_some_and(|read| read != revision) {
            return Err(stale_draft().into());
        }
        let draft = edited(&state, &caller, &agent, known, (seen, &changes)).await?;
        match state.agents.signed(caller.author()).save_draft(&agent, draft).await {
            // Somebody was faster: the changes go on top of theirs.
            Err(error) if error.code == stale_draft().code && read.is_none() => {}
            saved => return Ok(Json(DraftView::of(saved?, &agent))),
        }
    }
    Err(stale_draft().into())
}

/// Delete the draft of an agent
#[utoipa::path(
    delete,
    path = "/api/v2/agents/{agentId}/draft",
    tag = "Versions",
    operation_id = "deleteAgentDraft",
    params(("agentId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.drafts.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<StatusCode> {
    find(&state, &caller, id).await?;
    let mut tx = state.db.write().await?;
    let was_there = storage::versions::delete_draft(&mut tx, caller.workspace(), id, None).await?;
    if was_there {
        caller.audit(&mut tx, &state.ambient, "draft.deleted", id, Changed::default()).await?;
    }
    tx.commit().await?;
    if !was_there {
        return Err(DomainError::not_found("draft").into());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Publish the draft of an agent
///
/// It becomes a version, which answers from the next message on; the draft goes. 409 when it was made from another version
/// than the published one, or names what is not there any more. Where the agent has a gate it is evaluated first;
/// `Prefer: wait=<seconds>` (at most 30) waits for that.
#[utoipa::path(
    post,
    path = "/api/v2/agents/{agentId}/publish",
    tag = "Versions",
    operation_id = "publishAgentDraft",
    params(("agentId" = String, Path)),
    request_body = Publish,
    responses(
        (status = 200, description = "The published version.", body = VersionView),
        (status = 202, description = "It is evaluated before it is published; `Location` says where that stands.", body = PublicationView),
        (status = 409, description = "The draft cannot be published as it is.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.drafts.publish", skip_all)]
async fn publish(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    headers: HeaderMap,
    Json(request): Json<Publish>,
) -> ApiResult<Response> {
    let publication = publication(&caller, request.note.as_deref())?;
    let agent = find(&state, &caller, id).await?;
    let draft = draft_of(&state, &agent).await?;
    let draft = draft.ok_or_else(|| DomainError::not_found("draft"))?;
    if request.revision.is_some_and(|revision| revision != draft.revision) {
        return Err(stale_draft().into());
    }
    if draft.base_version != agent.version {
        return Err(made_from_another(draft.base_version, agent.version).into());
    }
    let revision = draft.revision;
    let agent = agent.with_config(draft.config);
    let missing = state.agents.missing(&agent, NO_NAMES).await?;
    if !missing.is_empty() {
        let remedy = "change the draft";
        return Err(missing_parts("the draft", &missing, remedy).into());
    }
    let candidate = Candidate { agent, publication, draft: Some(revision) };
    if let Publishing::Wanted(publication) =
        state.evals.signed(caller.author()).publish(&candidate).await?
        && let Some(answer) = wanted(&state, &caller, &headers, *publication).await?
    {
        return Ok(answer);
    }
    let published = find(&state, &caller, id).await?.version;
    let (agent, version) = find_version(&state, &caller, id, published).await?;
    Ok(Json(VersionView::of(version, &agent)).into_response())
}

/// The draft of an agent of the caller's workspace.
async fn draft_of(state: &AppState, agent: &Agent) -> ApiResult<Option<AgentDraft>> {
    let mut conn = state.db.read().await?;
    Ok(storage::versions::draft(&mut conn, agent.workspace_id, agent.id).await?)
}

/// The draft with the changes; one that is made from the published version where there is none.
async fn edited(
    state: &AppState,
    caller: &Caller,
    agent: &Agent,
    known: Option<AgentDraft>,
    (seen, changes): (Option<i64>, &AgentChanges),
) -> ApiResult<AgentDraft> {
    if seen.is_some_and(|seen| seen > agent.version) {
        let message = format!(
            "`baseVersion` must be a published version; the newest one is {}",
            agent.version
        );
        return Err(ApiError::invalid("baseVersion", message));
    }
    let (revision, base, config): (i64, i64, AgentConfig) = match known {
        Some(known) => (known.revision, known.base_version, known.config),
        None => (0, agent.version, agent.config()),
    };
    let mut edited = agent.clone().with_config(config);
    changes.clone().apply(&mut edited, state).await?;
    Ok(AgentDraft {
        agent_id: agent.id,
        revision,
        base_version: seen.unwrap_or(base),
        config: edited.config(),
        updated_by: caller.api_key(),
        updated_at: state.ambient.now(),
    })
}

fn made_from_another(base: i64, published: i64) -> DomainError {
    let message = format!(
        "the draft was made from version {base}, and {published} is published since; look at what that changed \
         (GET …/diff?from={base}&to={published}), then save the draft with ?baseVersion={published}"
    );
    DomainError::conflict("STALE_DRAFT", message)
}

impl DraftView {
    pub(super) fn of(draft: AgentDraft, agent: &Agent) -> Self {
        Self {
            revision: draft.revision,
            base_version: draft.base_version,
            stale: draft.base_version != agent.version,
            updated_by: draft.updated_by.map(|key| key.to_string()),
            updated_at: draft.updated_at.to_rfc3339(),
            config: draft.config.into(),
        }
    }
}
