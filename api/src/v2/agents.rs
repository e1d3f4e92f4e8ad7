//! Agents.

use ::agents::Candidate;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::agent::{Agent, AgentSettings, AgentTool, ToolKind};
use domain::agent_version::Publication;
use domain::{Action, AgentId, DatastoreId, DomainError, WorkspaceId, text};
use evals::stored::Publishing;
use http::{HeaderMap, StatusCode};
use models::builtin;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::agents;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use super::gates::{PublicationView, wanted};
use super::tool_settings;
use super::words::{AgentStatus, ContactFact, Rewrite, ToolName, Unsupported};
use super::{PageQuery, Patch, TextOrLines};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::paging::{Page, whole_number_in};
use crate::routes::Routes;
use crate::state::AppState;

/// How often a change is put on top of what others have published meanwhile.
const TRIES: usize = 5;
/// The code of [`::agents::stale_version`].
const STALE_VERSION: &str = "STALE_VERSION";

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadAgents, routes!(list))
        .route(Action::ManageAgents, routes!(create))
        .route(Action::ReadAgents, routes!(get))
        .route(Action::ManageAgents, routes!(update))
        .route(Action::ManageAgents, routes!(delete))
}

/// An agent: answers from the knowledge that its tools name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Agent)]
struct AgentView {
    #[schema(pattern = "^agent_[0-9a-f]{32}$", example = "agent_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    id: String,
    /// Short, unique in the workspace.
    #[schema(example = "A-001")]
    code: String,
    #[schema(example = "Agente de Ventas")]
    name: String,
    /// Shown to people; part of the prompt.
    #[schema(example = "Responde consultas de productos")]
    description: String,
    /// What it is for; part of the prompt.
    purpose: String,
    /// How it speaks; part of the prompt.
    tone: String,
    /// Stored for speech.
    voice: String,
    /// What it is told; part of the prompt.
    system_prompt: String,
    /// The model that answers: the agent's own, else the installation's.
    #[schema(example = "gpt-4o")]
    model_name: String,
    /// Tools without settings as their name, others as objects.
    tools: Vec<Tool>,
    status: AgentStatus,
    settings: SettingsView,
    /// The number of the published version.
    #[schema(minimum = 1, example = 1)]
    version: i64,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
}

/// A tool: its name, or an object with its settings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Tool {
    Name(ToolName),
    Object(ToolObject),
}

/// A tool with its settings beside `type` and `id`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolObject {
    r#type: ToolName,
    /// The object that it is about: a datastore's id for `datastore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

/// How an agent answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentSettings)]
pub(super) struct SettingsView {
    /// What it says when the knowledge does not hold the answer; null for the catalogue's words.
    unknown_answer: Option<String>,
    /// Evidence below which it says so, 0 to 1; null for the installation's.
    min_evidence: Option<f64>,
    /// Passages in the prompt.
    top_k: u32,
    /// Sampling temperature; null for the provider's.
    temperature: Option<f64>,
    /// Most tokens of an answer.
    max_answer_tokens: u32,
    /// Tokens of earlier messages in the prompt.
    history_tokens: u32,
    /// Handed to the model so that it answers alike, where it can; null for none.
    seed: Option<i64>,
    /// Texts that end an answer.
    stop: Vec<String>,
    /// Whether the model answers with one JSON object.
    json_mode: bool,
    /// With `retry` and `withhold` an answer is judged whole before it is streamed.
    unsupported: Unsupported,
    /// Models that answer, in order, when the agent's own cannot be asked.
    fallback_models: Vec<String>,
    /// Who makes a follow-up stand alone before it is searched for.
    rewrite: Rewrite,
    /// What of the customer's contact the model is told.
    contact_facts: Vec<ContactFact>,
}

/// Changes of an agent; what is absent stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentChanges {
    #[schema(min_length = 1, max_length = 100, nullable = false, example = "Agente de Soporte")]
    name: Option<String>,
    #[schema(max_length = 2000, nullable = false)]
    description: Option<String>,
    #[schema(max_length = 2000, nullable = false)]
    purpose: Option<String>,
    #[schema(max_length = 500, nullable = false)]
    tone: Option<String>,
    #[schema(max_length = 200, nullable = false)]
    voice: Option<String>,
    /// At most 32,000 characters; a list of strings is joined by line breaks.
    #[schema(nullable = false)]
    system_prompt: Option<TextOrLines>,
    /// Another name of `systemPrompt`.
    #[schema(nullable = false)]
    instructions: Option<TextOrLines>,
    /// Null for the installation's default.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, example = "gpt-4o")]
    model_name: Patch<String>,
    /// Another name of `modelName`.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    model: Patch<String>,
    #[schema(value_type = Option<Vec<Tool>>, max_items = 20, nullable = false, example = json!(["datastore", "request-human"]))]
    tools: Option<Vec<Value>>,
    #[schema(nullable = false)]
    status: Option<AgentStatus>,
    #[schema(nullable = false)]
    settings: Option<SettingsChanges>,
    /// What is said about the version that this publishes.
    #[schema(max_length = 1000, nullable = false, example = json!(null))]
    note: Option<String>,
}

/// A new agent.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct NewAgent(AgentChanges);

impl PartialSchema for NewAgent {
    fn schema() -> RefOr<Schema> {
        let mut schema = AgentChanges::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.push("name".to_owned());
            object.description = Some("A new agent.".to_owned());
        }
        schema
    }
}

impl ToSchema for NewAgent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AgentChanges::schemas(schemas);
    }
}

/// Changes of how an agent answers; what is absent stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentSettingsChanges)]
pub(super) struct SettingsChanges {
    /// Null for the catalogue's words.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2000)]
    unknown_answer: Patch<String>,
    /// Null for the installation's.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0.0, maximum = 1.0)]
    min_evidence: Patch<f64>,
    #[schema(minimum = 1, maximum = 20, nullable = false)]
    top_k: Option<i64>,
    /// Null for the provider's.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0.0, maximum = 2.0)]
    temperature: Patch<f64>,
    #[schema(minimum = 1, maximum = 32_000, nullable = false)]
    max_answer_tokens: Option<i64>,
    #[schema(minimum = 0, maximum = 100_000, nullable = false)]
    history_tokens: Option<i64>,
    /// Null for none.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    seed: Patch<i64>,
    /// Each 1 to 100 characters; an empty list for none.
    #[schema(max_items = 4, nullable = false)]
    stop: Option<Vec<String>>,
    #[schema(nullable = false)]
    json_mode: Option<bool>,
    #[schema(nullable = false)]
    unsupported: Option<Unsupported>,
    /// Tried before the first token only, when a model is not available or at its limit; an empty list for none.
    #[schema(max_items = 5, nullable = false)]
    fallback_models: Option<Vec<String>>,
    #[schema(nullable = false)]
    rewrite: Option<Rewrite>,
    #[schema(nullable = false, max_items = 3)]
    contact_facts: Option<Vec<ContactFact>>,
}

/// List agents
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/agents",
    tag = "Agents",
    operation_id = "listAgents",
    params(PageQuery),
    responses((status = 200, description = "A page of agents.", body = Page<AgentView>)),
)]
#[tracing::instrument(name = "handler.v2.agents.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<AgentView>>> {
    let paging = query.paging()?;
    let mut conn = state.db.read().await?;
    let found =
        agents::list(&mut conn, caller.workspace(), paging.after, paging.one_more()).await?;
    let default = state.agents.default_model(&mut conn, caller.workspace()).await?;
    Ok(Json(paging.page(found, |agent| agent.id, |agent| view(agent, &default))))
}

/// Create an agent
#[utoipa::path(
    post,
    path = "/api/v2/agents",
    tag = "Agents",
    operation_id = "createAgent",
    request_body = NewAgent,
    responses(
        (status = 201, description = "The agent.", body = AgentView),
        (status = 404, description = "A tool names a datastore that is not there.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.agents.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(NewAgent(changes)): Json<NewAgent>,
) -> ApiResult<(StatusCode, Json<AgentView>)> {
    if changes.name.is_none() {
        return Err(ApiError::invalid("name", "`name` is missing"));
    }
    let now = state.ambient.now();
    let mut agent = Agent {
        id: state.ambient.new_id(),
        workspace_id: caller.workspace(),
        code: String::new(),
        name: String::new(),
        description: String::new(),
        purpose: String::new(),
        tone: String::new(),
        voice: String::new(),
        system_prompt: String::new(),
        model_name: None,
        tools: vec![AgentTool::plain(ToolKind::Datastore)],
        settings: AgentSettings::default(),
        status: domain::agent::AgentStatus::Active,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let publication = publication(&caller, changes.note.as_deref())?;
    changes.apply(&mut agent, &state).await?;
    let mut tx = state.db.write().await?;
    agent.code = agents::next_code(&mut tx, caller.workspace()).await?;
    agents::insert_as(&mut tx, &agent, &publication).await?;
    let made = Changed::to(serde_json::json!({"name": agent.name, "code": agent.code}));
    caller.audit(&mut tx, &state.ambient, "agent.created", agent.id, made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view(agent, &default_model(&state, &caller).await?))))
}

/// Get an agent
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}",
    tag = "Agents",
    operation_id = "getAgent",
    params(("agentId" = String, Path)),
    responses((status = 200, description = "The agent.", body = AgentView)),
)]
#[tracing::instrument(name = "handler.v2.agents.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<Json<AgentView>> {
    let agent = find(&state, &caller, id).await?;
    Ok(Json(view(agent, &default_model(&state, &caller).await?)))
}

/// Change an agent
///
/// Merges: what is absent stays. What is different is published at once, as a new version; where the agent has a gate, once it
/// was evaluated. `Prefer: wait=<seconds>` (at most 30) waits for that.
#[utoipa::path(
    put,
    path = "/api/v2/agents/{agentId}",
    tag = "Agents",
    operation_id = "updateAgent",
    params(("agentId" = String, Path)),
    request_body = AgentChanges,
    responses(
        (status = 200, description = "The agent.", body = AgentView),
        (status = 202, description = "It is evaluated before it is published; `Location` says where that stands.", body = PublicationView),
        (status = 409, description = "A gate refused it, or another version is being evaluated.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.agents.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    headers: HeaderMap,
    Json(changes): Json<AgentChanges>,
) -> ApiResult<Response> {
    let publication = publication(&caller, changes.note.as_deref())?;
    for _ in 0..TRIES {
        let mut agent = find(&state, &caller, id).await?;
        changes.clone().apply(&mut agent, &state).await?;
        let candidate =
            Candidate { agent: agent.clone(), publication: publication.clone(), draft: None };
        match state.evals.signed(caller.author()).publish(&candidate).await {
            // Somebody was faster: the changes go on top of theirs.
            Err(error) if error.code == STALE_VERSION => continue,
            Err(error) => return Err(error.into()),
            Ok(Publishing::Wanted(publication)) => {
                if let Some(answer) = wanted(&state, &caller, &headers, *publication).await? {
                    return Ok(answer);
                }
            }
            Ok(Publishing::Done(_)) => {}
        }
        let agent = find(&state, &caller, id).await?;
        let view = view(agent, &default_model(&state, &caller).await?);
        return Ok(Json(view).into_response());
    }
    let message = "the agent is being changed by others; send it again";
    Err(DomainError::conflict("CONFLICT", message).into())
}

/// Delete an agent
///
/// Its conversations go with it.
#[utoipa::path(
    delete,
    path = "/api/v2/agents/{agentId}",
    tag = "Agents",
    operation_id = "deleteAgent",
    params(("agentId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v2.agents.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    let absent = || DomainError::not_found("agent");
    let found = agents::get(&mut tx, caller.workspace(), id).await?.ok_or_else(absent)?;
    if !agents::delete(&mut tx, caller.workspace(), id).await? {
        return Err(absent().into());
    }
    let gone = Changed::from(serde_json::json!({"name": found.name, "code": found.code}));
    caller.audit(&mut tx, &state.ambient, "agent.deleted", id, gone).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who publishes, and what they say about it.
pub(super) fn publication(caller: &Caller, note: Option<&str>) -> ApiResult<Publication> {
    let note = note.map(|note| text::optional("note", note, 1_000)).transpose()?;
    let note = note.filter(|note| !note.is_empty());
    Ok(Publication { by: caller.api_key(), note, ..Publication::default() })
}

/// The agent of the caller's workspace, or 404.
pub(super) async fn find(state: &AppState, caller: &Caller, id: AgentId) -> ApiResult<Agent> {
    let mut conn = state.db.read().await?;
    let agent = agents::get(&mut conn, caller.workspace(), id).await?;
    agent.ok_or_else(|| DomainError::not_found("agent").into())
}

impl AgentChanges {
    /// The first field that a draft does not have.
    pub(super) fn beyond_a_draft(&self) -> Option<&'static str> {
        if self.status.is_some() {
            return Some("status");
        }
        self.note.is_some().then_some("note")
    }

    /// Checks everything, then writes it into `agent`.
    pub(super) async fn apply(self, agent: &mut Agent, state: &AppState) -> ApiResult<()> {
        if let Some(name) = &self.name {
            agent.name = text::required("name", name, 100)?;
        }
        let texts = [
            ("description", &self.description, 2_000, &mut agent.description),
            ("purpose", &self.purpose, 2_000, &mut agent.purpose),
            ("tone", &self.tone, 500, &mut agent.tone),
            ("voice", &self.voice, 200, &mut agent.voice),
        ];
        for (field, given, most, target) in texts {
            if let Some(given) = given {
                *target = text::optional(field, given, most)?;
            }
        }
        let (field, prompt) = match (self.system_prompt, self.instructions) {
            (Some(_), Some(_)) => return Err(one_name_of("instructions", "systemPrompt")),
            (None, instructions) => ("instructions", instructions),
            (prompt, None) => ("systemPrompt", prompt),
        };
        if let Some(prompt) = prompt {
            agent.system_prompt = text::optional(field, &prompt.into_text(), 32_000)?;
        }
        match (self.model_name, self.model) {
            (Patch::Keep, Patch::Keep) => {}
            (Patch::Keep, model) => change_model("model", model, agent, state).await?,
            (model, Patch::Keep) => change_model("modelName", model, agent, state).await?,
            _ => return Err(one_name_of("model", "modelName")),
        }
        if let Some(tools) = self.tools {
            let before = std::mem::take(&mut agent.tools);
            agent.tools = tool_settings::read_all(tools, &before)?;
            tool_settings::seal(agent, state)?;
            check_datastores(agent, state).await?;
        }
        if let Some(status) = self.status {
            agent.status = status.into();
        }
        if let Some(mut settings) = self.settings {
            if let Some(models) = settings.fallback_models.take() {
                let models = fallback_models(models, agent.workspace_id, state).await?;
                agent.settings.fallback_models = models;
            }
            settings.apply(&mut agent.settings)?;
        }
        Ok(())
    }
}

fn one_name_of(alias: &str, name: &str) -> ApiError {
    ApiError::invalid(alias, format!("`{alias}` is another name of `{name}`; send one of them"))
}

async fn change_model(
    field: &str,
    model: Patch<String>,
    agent: &mut Agent,
    state: &AppState,
) -> ApiResult<()> {
    let Patch::Set(model) = model else {
        agent.model_name = None;
        return Ok(());
    };
    let model = text::required(field, &model, 200)?;
    // What an agent without a model of its own prints reads back as just that.
    if model == builtin::MODEL_NAME {
        let mut conn = state.db.read().await?;
        let default = state.agents.default_model(&mut conn, agent.workspace_id).await?;
        if default == builtin::MODEL_NAME {
            agent.model_name = None;
            return Ok(());
        }
    }
    match state.agents.check_model(agent.workspace_id, &model).await {
        Ok(()) => agent.model_name = Some(model),
        Err(error) if error.field.is_some() => return Err(error.at(field).into()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn fallback_models(
    given: Vec<String>,
    workspace: WorkspaceId,
    state: &AppState,
) -> ApiResult<Vec<String>> {
    if given.len() > 5 {
        let message = "`settings.fallbackModels` has more than 5 entries";
        return Err(ApiError::invalid("settings.fallbackModels", message));
    }
    let mut models = Vec::with_capacity(given.len());
    for (position, model) in given.iter().enumerate() {
        let field = format!("settings.fallbackModels[{position}]");
        let model = text::required(&field, model, 200)?;
        match state.agents.check_model(workspace, &model).await {
            Ok(()) => models.push(model),
            Err(error) if error.field.is_some() => return Err(error.at(field).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(models)
}

impl SettingsChanges {
    fn apply(self, settings: &mut AgentSettings) -> ApiResult<()> {
        self.unknown_answer.apply(&mut settings.unknown_answer, |answer| {
            Ok(text::required("settings.unknownAnswer", &answer, 2_000)?)
        })?;
        let evidence = |number| number_within("settings.minEvidence", number, 1.0);
        self.min_evidence.apply(&mut settings.min_evidence, evidence)?;
        let temperature = |number| number_within("settings.temperature", number, 2.0);
        self.temperature.apply(&mut settings.temperature, temperature)?;
        self.seed.apply(&mut settings.seed, Ok)?;
        if let Some(stop) = self.stop {
            settings.stop = stop_texts(stop)?;
        }
        settings.json_mode = self.json_mode.unwrap_or(settings.json_mode);
        settings.unsupported = self.unsupported.map_or(settings.unsupported, Into::into);
        settings.rewrite = self.rewrite.map_or(settings.rewrite, Into::into);
        if let Some(facts) = self.contact_facts {
            let mut known: Vec<domain::agent::ContactFact> = Vec::new();
            for fact in facts.into_iter().map(Into::into) {
                if !known.contains(&fact) {
                    known.push(fact);
                }
            }
            settings.contact_facts = known;
        }
        let numbers = [
            ("settings.topK", self.top_k, 1, 20, &mut settings.top_k),
            (
                "settings.maxAnswerTokens",
                self.max_answer_tokens,
                1,
                32_000,
                &mut settings.max_answer_tokens,
            ),
            (
                "settings.historyTokens",
                self.history_tokens,
                0,
                100_000,
                &mut settings.history_tokens,
            ),
        ];
        for (field, given, least, most, target) in numbers {
            if let Some(given) = given {
                *target = whole_number_in(field, given, least, most)?;
            }
        }
        Ok(())
    }
}

fn stop_texts(given: Vec<String>) -> ApiResult<Vec<String>> {
    if given.len() > 4 {
        let message = "`settings.stop` has more than 4 entries; providers take up to 4";
        return Err(ApiError::invalid("settings.stop", message));
    }
    for (position, text) in given.iter().enumerate() {
        // Kept as given: line breaks and spaces are what many an answer is stopped by.
        if !(1..=100).contains(&text.chars().count()) {
            let field = format!("settings.stop[{position}]");
            let message = format!("`{field}` must have 1 to 100 characters");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(given)
}

fn number_within(field: &str, number: f64, most: f64) -> ApiResult<f64> {
    if !(0.0..=most).contains(&number) {
        let message = format!("`{field}` must be a number from 0 to {most}, or null");
        return Err(ApiError::invalid(field, message));
    }
    Ok(number)
}

/// Ids in bodies are checked like ids in paths: a datastore that is not the caller's is not there.
async fn check_datastores(agent: &Agent, state: &AppState) -> ApiResult<()> {
    for (position, tool) in agent.tools.iter().enumerate() {
        let Some(id) = tool.id.as_deref().filter(|_| tool.kind == ToolKind::Datastore) else {
            continue;
        };
        let mut conn = state.db.read().await?;
        let found = match id.parse::<DatastoreId>() {
            Ok(id) => storage::datastores::get(&mut conn, agent.workspace_id, id).await?,
            Err(_) => None,
        };
        if found.is_none() {
            return Err(DomainError::not_found("datastore")
                .at(format!("tools[{position}].id"))
                .into());
        }
    }
    Ok(())
}

/// The model of agents of the caller's workspace that name none.
async fn default_model(state: &AppState, caller: &Caller) -> ApiResult<String> {
    let mut conn = state.db.read().await?;
    Ok(state.agents.default_model(&mut conn, caller.workspace()).await?)
}

fn view(agent: Agent, default_model: &str) -> AgentView {
    AgentView {
        id: agent.id.to_string(),
        code: agent.code,
        name: agent.name,
        description: agent.description,
        purpose: agent.purpose,
        tone: agent.tone,
        voice: agent.voice,
        system_prompt: agent.system_prompt,
        model_name: agent.model_name.unwrap_or_else(|| default_model.to_owned()),
        tools: agent.tools.into_iter().map(Tool::from).collect(),
        status: agent.status.into(),
        settings: agent.settings.into(),
        version: agent.version,
        created_at: agent.created_at.to_rfc3339(),
        updated_at: agent.updated_at.to_rfc3339(),
    }
}

impl From<AgentTool> for Tool {
    fn from(tool: AgentTool) -> Self {
        if tool.id.is_none() && tool.settings.is_empty() {
            return Self::Name(tool.kind.into());
        }
        let settings = tool_settings::shown(tool.settings);
        Self::Object(ToolObject { r#type: tool.kind.into(), id: tool.id, settings })
    }
}

impl From<AgentSettings> for SettingsView {
    fn from(settings: AgentSettings) -> Self {
        Self {
            unknown_answer: settings.unknown_answer,
            min_evidence: settings.min_evidence,
            top_k: settings.top_k,
            temperature: settings.temperature,
            max_answer_tokens: settings.max_answer_tokens,
            history_tokens: settings.history_tokens,
            seed: settings.seed,
            stop: settings.stop,
            json_mode: settings.json_mode,
            unsupported: settings.unsupported.into(),
            fallback_models: settings.fallback_models,
            rewrite: settings.rewrite.into(),
            contact_facts: settings.contact_facts.into_iter().map(Into::into).collect(),
        }
    }
}
