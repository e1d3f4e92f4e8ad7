//! Agents as models; the embedder beside them.

use axum::extract::{Path, State};
use domain::agent::{Agent, AgentStatus};
use domain::{Action, AgentId, DomainError, ErrorKind, WorkspaceId};
use serde::Serialize;
use storage::agents;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::Json as Body;
use crate::routes::Routes;
use crate::state::AppState;

/// Agents that are read at once.
const PAGE: i64 = 200;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadAgents, routes!(list))
        .route(Action::ReadAgents, routes!(retrieve))
}

#[derive(Debug, Serialize)]
struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Debug, Serialize)]
struct Model {
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    owned_by: &'static str,
    /// What is ours; absent for the embedder.
    #[serde(skip_serializing_if = "Option::is_none")]
    vocero: Option<AgentWords>,
}

#[derive(Debug, Serialize)]
struct AgentWords {
    name: String,
    code: String,
    description: String,
}

/// The agents that answer, newest first, and the embedder.
#[utoipa::path(get, path = "/openai/v1/models")]
#[tracing::instrument(name = "handler.openai.models.list", skip_all)]
async fn list(State(state): State<AppState>, caller: Caller) -> ApiResult<Body<ModelList>> {
    let mut data = Vec::new();
    let mut before = None;
    let mut conn = state.db.read().await?;
    loop {
        let page = agents::list(&mut conn, caller.workspace(), before, PAGE).await?;
        before = page.last().map(|agent| agent.id);
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(0);
        let active = page.into_iter().filter(|agent| agent.status == AgentStatus::Active);
        data.extend(active.map(Model::from));
        if is_last {
            break;
        }
    }
    drop(conn);
    data.extend(embedder(&state));
    Ok(Body(ModelList { object: "list", data }))
}

/// One of them, by id or by code.
#[utoipa::path(get, path = "/openai/v1/models/{model}", params(("model" = String, Path)))]
#[tracing::instrument(name = "handler.openai.models.retrieve", skip_all)]
async fn retrieve(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Body<Model>> {
    if let Some(model) = embedder(&state).filter(|model| model.id == name) {
        return Ok(Body(model));
    }
    Ok(Body(find(&state, caller.workspace(), &name).await?.into()))
}

/// The agent that a request names as its model, by id or by code.
///
/// Errors: 404 `MODEL_NOT_FOUND` naming `model`, in the same words for what is absent and another tenant's.
pub(super) async fn find(state: &AppState, workspace: WorkspaceId, name: &str) -> ApiResult<Agent> {
    let mut conn = state.db.read().await?;
    let found = match name.parse::<AgentId>() {
        Ok(id) => agents::get(&mut conn, workspace, id).await?,
        Err(_) => agents::get_by_code(&mut conn, workspace, name).await?,
    };
    Ok(found.ok_or_else(unknown)?)
}

fn unknown() -> DomainError {
    let message = "the `model` does not exist or this key has no access to it; \
                   GET /openai/v1/models lists what there is";
    DomainError::new(ErrorKind::NotFound, "MODEL_NOT_FOUND", message).at("model")
}

fn embedder(state: &AppState) -> Option<Model> {
    let embedder = state.retrieval.embedder()?;
    let id = embedder.space().model.clone();
    Some(Model { id, object: "model", created: 0, owned_by: "vocero", vocero: None })
}

impl From<Agent> for Model {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            object: "model",
            created: agent.created_at.micros().div_euclid(1_000_000),
            owned_by: "vocero",
            vocero: Some(AgentWords {
                name: agent.name,
                code: agent.code,
                description: agent.description,
            }),
        }
    }
}
