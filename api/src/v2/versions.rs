//! Published versions of agents: history, differences, putting an old one back.

use ::agents::{Candidate, Missing, MissingKind, stale_draft, without_missing};
use axum::extract::State;
use domain::agent::Agent;
use domain::agent_version::{AgentConfig, AgentDraft, AgentVersion, NamedDatastore};
use domain::{Action, AgentId, DomainError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::PageQuery;
use super::agents::{SettingsView, Tool, find, publication};
use super::drafts::DraftView;
use super::gates::VerdictView;
use super::version_diff::{VersionChange, changes};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query, Version, no_version};
use crate::paging::{Cursor, Page};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadAgents, routes!(list))
        .route(Action::ReadAgents, routes!(get))
        .route(Action::ReadAgents, routes!(diff))
        .route(Action::ManageAgents, routes!(restore))
}

/// What of an agent is published: everything that its answers depend on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentConfig)]
pub(super) struct ConfigView {
    name: String,
    description: String,
    purpose: String,
    tone: String,
    voice: String,
    system_prompt: String,
    /// Null for the installation's default.
    #[schema(example = "gpt-4o")]
    model_name: Option<String>,
    /// Tools without settings as their name, others as objects; without secrets.
    tools: Vec<Tool>,
    settings: SettingsView,
}

/// A published version of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentVersion)]
pub(super) struct VersionView {
    #[serde(flatten)]
    summary: VersionSummary,
    /// What its evaluation came to; null when no gate had it evaluated.
    #[schema(required = true)]
    verdict: Option<VerdictView>,
    config: ConfigView,
}

/// A published version of an agent, without what it says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AgentVersionSummary)]
struct VersionSummary {
    /// From 1, without holes.
    #[schema(minimum = 1, example = 3)]
    number: i64,
    /// Whether it is the one that answers.
    published: bool,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    published_at: String,
    /// The API key that published it; null for the server itself.
    #[schema(pattern = "^key_[0-9a-f]{32}$", example = "key_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    published_by: Option<String>,
    /// What they said about it.
    note: Option<String>,
    /// The version that it puts back.
    #[schema(minimum = 1)]
    restored_from: Option<i64>,
}

/// Two configurations of an agent, compared.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentDiff)]
struct DiffView {
    from: DiffSide,
    to: DiffSide,
    /// The fields that are different; none when they are the same.
    changes: Vec<VersionChange>,
}

/// A configuration: a version, or the draft.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AgentDiffSide)]
struct DiffSide {
    /// The number of the version; for the draft, of the one that it was made from.
    #[schema(minimum = 1)]
    version: i64,
    /// The revision of the draft; null for a published version.
    #[schema(minimum = 1)]
    draft: Option<i64>,
}

/// What is compared.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The number of a version, `published` or `draft`. Without it the published version, or where that is the other side,
    /// the one before.
    #[param(value_type = String, required = false, example = "1")]
    from: Option<String>,
    /// The number of a version, `published` or `draft`. Without it the draft, or where there is none, the published version.
    #[param(value_type = String, required = false, example = "draft")]
    to: Option<String>,
}

/// Where an old version is put.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RestoreRequest)]
struct Restore {
    #[serde(default)]
    #[schema(required = false)]
    into: RestoreInto,
    /// Puts it back without what is not there any more.
    #[serde(default)]
    skip_missing: bool,
    /// The revision of the draft that it takes the place of; 0, or nothing, when there is none.
    #[schema(minimum = 0, nullable = false)]
    revision: Option<i64>,
    /// What is said about the new version.
    #[schema(max_length = 1000, nullable = false)]
    note: Option<String>,
}

/// Where an old version is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RestoreInto {
    /// It is published at once, as a new version.
    #[default]
    Published,
    /// It is the draft.
    Draft,
}

/// An old version that was put back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Restored)]
struct RestoredView {
    /// The published version, when it was published.
    #[schema(required = true)]
    version: Option<VersionView>,
    /// The draft, when it became that.
    #[schema(required = true)]
    draft: Option<DraftView>,
    /// What is not there any more and was left out. A secret's tool stays, and fails until it is given again.
    missing: Vec<MissingView>,
}

/// Something that a configuration names and that is not there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MissingPart)]
struct MissingView {
    /// Where the configuration names it.
    #[schema(example = "tools[0].id")]
    field: String,
    r#type: MissingType,
    /// The id of the datastore, or the name of the model or header.
    id: String,
    /// What it was called, where that is known; of a secret, its tool.
    name: Option<String>,
}

/// What is not there.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MissingType {
    /// A datastore that was deleted.
    Datastore,
    /// A model that no provider knows.
    Model,
    /// A secret whose key is gone.
    Secret,
}

/// Where a list of versions goes on.
#[derive(Debug, Clone, Copy)]
struct VersionPlace(i64);

impl Cursor for VersionPlace {
    fn write(&self) -> String {
        format!("version {}", self.0)
    }

    fn read(text: &str) -> Option<Self> {
        text.strip_prefix("version ")?.parse().ok().map(Self)
    }
}

/// List versions of an agent
///
/// Newest first. Every configuration that was published, with or without a draft, is one.
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/versions",
    tag = "Versions",
    operation_id = "listAgentVersions",
    params(("agentId" = String, Path), PageQuery),
    responses((status = 200, description = "A page of versions.", body = Page<VersionSummary>)),
)]
#[tracing::instrument(name = "handler.v2.versions.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<VersionSummary>>> {
    let agent = find(&state, &caller, id).await?;
    let paging = query.paging::<VersionPlace>()?;
    let before = paging.after.map(|place| place.0);
    let mut conn = state.db.read().await?;
    let found =
        storage::versions::list(&mut conn, caller.workspace(), id, before, paging.one_more());
    let place = |version: &AgentVersion| VersionPlace(version.number);
    Ok(Json(paging.page(found.await?, place, |version| summary(&version, &agent))))
}

/// Get a version of an agent
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/versions/{version}",
    tag = "Versions",
    operation_id = "getAgentVersion",
    params(("agentId" = String, Path), ("version" = i64, Path, minimum = 1)),
    responses((status = 200, description = "The version.", body = VersionView)),
)]
#[tracing::instrument(name = "handler.v2.versions.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Version(id, number): Version,
) -> ApiResult<Json<VersionView>> {
    let (agent, version) = find_version(&state, &caller, id, number).await?;
    Ok(Json(VersionView::of(version, &agent)))
}

/// Compare versions of an agent
///
/// Field by field; the draft can be compared too.
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/diff",
    tag = "Versions",
    operation_id = "compareAgentVersions",
    params(("agentId" = String, Path), DiffQuery),
    responses((status = 200, description = "What is different.", body = DiffView)),
)]
#[tracing::instrument(name = "handler.v2.versions.diff", skip_all)]
async fn diff(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Query(query): Query<DiffQuery>,
) -> ApiResult<Json<DiffView>> {
    let agent = find(&state, &caller, id).await?;
    let mut conn = state.db.read().await?;
    let draft = storage::versions::draft(&mut conn, caller.workspace(), id).await?;
    drop(conn);
    let to = match query.to {
        Some(text) => Side::read("to", &text, &agent)?,
        None if draft.is_some() => Side::Draft,
        None => Side::Version(agent.version),
    };
    let from = match query.from {
        Some(text) => Side::read("from", &text, &agent)?,
        None if to == Side::Version(agent.version) => Side::Version((agent.version - 1).max(1)),
        None => Side::Version(agent.version),
    };
    let (from, before) = from.open(&state, &caller, id, draft.as_ref()).await?;
    let (to, after) = to.open(&state, &caller, id, draft.as_ref()).await?;
    let changes = changes(&state, &agent, &before, &after);
    Ok(Json(DiffView { from, to, changes }))
}

/// Put an old version of an agent back
///
/// As a new version, or into the draft. When it names what is not there any more this is 409 and says what, unless
/// `skipMissing` leaves that out.
#[utoipa::path(
    post,
    path = "/api/v2/agents/{agentId}/versions/{version}/restore",
    tag = "Versions",
    operation_id = "restoreAgentVersion",
    params(("agentId" = String, Path), ("version" = i64, Path, minimum = 1)),
    request_body = Restore,
    responses(
        (status = 200, description = "It is back.", body = RestoredView),
        (status = 409, description = "Something of it is missing, or there is another draft than that of `revision`.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.versions.restore", skip_all)]
async fn restore(
    State(state): State<AppState>,
    caller: Caller,
    Version(id, number): Version,
    Json(request): Json<Restore>,
) -> ApiResult<Json<RestoredView>> {
    let (agent, old) = find_version(&state, &caller, id, number).await?;
    let mut publication = publication(&caller, request.note.as_deref())?;
    publication.restored_from = Some(number);
    let (config, missing) = parts_there(&state, &agent, &old, request.skip_missing).await?;
    let missing: Vec<MissingView> = missing.into_iter().map(Into::into).collect();
    if request.into == RestoreInto::Draft {
        let draft = AgentDraft {
            agent_id: id,
            revision: request.revision.unwrap_or(0),
            base_version: agent.version,
            config,
            updated_by: caller.api_key(),
            updated_at: state.ambient.now(),
        };
        let saved = state.agents.signed(caller.author()).save_draft(&agent, draft).await;
        let saved = saved.map_err(|error| draft_in_the_way(error, request.revision))?;
        let draft = Some(DraftView::of(saved, &agent));
        return Ok(Json(RestoredView { version: None, draft, missing }));
    }
    let candidate = Candidate { agent: agent.with_config(config), publication, draft: None };
    let number = state.agents.signed(caller.author()).publish(&candidate).await?;
    let (agent, version) = find_version(&state, &caller, id, number).await?;
    let version = Some(VersionView::of(version, &agent));
    Ok(Json(RestoredView { version, draft: None, missing }))
}

/// The configuration of an old version, and what of it is missing: 409 naming that, unless it may be left out.
async fn parts_there(
    state: &AppState,
    agent: &Agent,
    old: &AgentVersion,
    skip_missing: bool,
) -> ApiResult<(AgentConfig, Vec<Missing>)> {
    let mut config = old.config.clone();
    let then = agent.clone().with_config(config.clone());
    let missing = state.agents.missing(&then, &old.datastores).await?;
    if !missing.is_empty() && !skip_missing {
        let what = format!("version {}", old.number);
        let remedy = "send `skipMissing: true` to put it back without";
        return Err(missing_parts(&what, &missing, remedy).into());
    }
    without_missing(&mut config, &missing);
    Ok((config, missing))
}

/// What a configuration names and is not there: 409.
pub(super) fn missing_parts(what: &str, missing: &[Missing], remedy: &str) -> DomainError {
    let parts: Vec<String> = missing
        .iter()
        .map(|missing| format!("{} (`{}`)", missing.words(), missing.field))
        .collect();
    let message =
        format!("{what} needs what is not there any more: {}; {remedy}", parts.join(", "));
    DomainError::conflict("MISSING_PARTS", message)
}

fn draft_in_the_way(error: DomainError, revision: Option<i64>) -> DomainError {
    if error.code == stale_draft().code && revision.is_none() {
        let message =
            "there is a draft already; send its `revision` to put the version in its place";
        return DomainError::conflict(error.code, message);
    }
    error
}

/// The agent of the caller's workspace and a version of it, or 404.
pub(super) async fn find_version(
    state: &AppState,
    caller: &Caller,
    id: AgentId,
    number: i64,
) -> ApiResult<(Agent, AgentVersion)> {
    let mut conn = state.db.read().await?;
    let agent = storage::agents::get(&mut conn, caller.workspace(), id).await?;
    let version = storage::versions::get(&mut conn, caller.workspace(), id, number).await?;
    agent.zip(version).ok_or_else(no_version)
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Draft,
    Version(i64),
}

impl Side {
    fn read(field: &str, text: &str, agent: &Agent) -> ApiResult<Self> {
        match text {
            "draft" => Ok(Self::Draft),
            "published" => Ok(Self::Version(agent.version)),
            number => number.parse().map(Self::Version).map_err(|_| {
                let message =
                    format!("`{field}` must be the number of a version, `published` or `draft`");
                ApiError::invalid(field, message)
            }),
        }
    }

    async fn open(
        self,
        state: &AppState,
        caller: &Caller,
        id: AgentId,
        draft: Option<&AgentDraft>,
    ) -> ApiResult<(DiffSide, AgentConfig)> {
        match (self, draft) {
            (Self::Draft, Some(draft)) => {
                let side = DiffSide { version: draft.base_version, draft: Some(draft.revision) };
                Ok((side, draft.config.clone()))
            }
            (Self::Draft, None) => Err(DomainError::not_found("draft").into()),
            (Self::Version(number), _) => {
                let (_, version) = find_version(state, caller, id, number).await?;
                Ok((DiffSide { version: number, draft: None }, version.config))
            }
        }
    }
}

impl VersionView {
    pub(super) fn of(version: AgentVersion, agent: &Agent) -> Self {
        let summary = summary(&version, agent);
        let verdict = version.publication.verdict.map(Into::into);
        Self { summary, verdict, config: version.config.into() }
    }
}

fn summary(version: &AgentVersion, agent: &Agent) -> VersionSummary {
    let AgentVersion { number, publication, created_at, .. } = version;
    VersionSummary {
        number: *number,
        published: *number == agent.version,
        published_at: created_at.to_rfc3339(),
        published_by: publication.by.map(|key| key.to_string()),
        note: publication.note.clone(),
        restored_from: publication.restored_from,
    }
}

/// The datastores that a configuration names have no other names than their own while they are there.
pub(super) const NO_NAMES: &[NamedDatastore] = &[];

impl From<AgentConfig> for ConfigView {
    fn from(config: AgentConfig) -> Self {
        Self {
            name: config.name,
            description: config.description,
            purpose: config.purpose,
            tone: config.tone,
            voice: config.voice,
            system_prompt: config.system_prompt,
            model_name: config.model_name,
            tools: config.tools.into_iter().map(Tool::from).collect(),
            settings: config.settings.into(),
        }
    }
}

impl From<Missing> for MissingView {
    fn from(missing: Missing) -> Self {
        let kind = match missing.kind {
            MissingKind::Datastore => MissingType::Datastore,
            MissingKind::Model => MissingType::Model,
            MissingKind::Secret => MissingType::Secret,
        };
        Self { field: missing.field, r#type: kind, id: missing.id, name: missing.name }
    }
}
