//! Projects: the sites and apps that open the widget.

use std::time::Duration;

use axum::extract::State;
use domain::ids::PrefixedId;
use domain::workspace::Project;
use domain::{Action, DomainError, ProjectId, Timestamp, WorkspaceId, origin, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::projects::RetiredKey;
use storage::{Conn, Tx, projects};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::etag::{IfMatch, Tagged};
use super::paging::{List, ListQuery};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, OptionalJson, Query};
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;

/// Most origins of a project.
const MAX_ORIGINS: usize = 50;
/// Most projects of a workspace.
const MAX_PROJECTS: usize = 500;
/// How long a replaced key lets pages in, in hours, when nobody says.
const GRACE_HOURS: u64 = 24;
/// And at most: 30 days.
const MOST_GRACE_HOURS: u64 = 30 * 24;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadProjects, routes!(list))
        .panel(Action::ManageProjects, routes!(create))
        .panel(Action::ReadProjects, routes!(get))
        .panel(Action::ManageProjects, routes!(update))
        .panel(Action::ManageProjects, routes!(delete))
        .panel(Action::ManageProjects, routes!(rotate))
}

/// A site or app with a widget.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Project)]
pub(super) struct ProjectView {
    #[schema(pattern = "^proj_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "Funpark.cl")]
    name: String,
    /// Where it is.
    #[schema(example = "https://funpark.cl")]
    domain: Option<String>,
    /// The origins of the pages that may open the widget; while there are none, every page may.
    #[schema(example = json!(["https://funpark.cl"]))]
    allowed_origins: Vec<String>,
    /// What a page carries to open the widget. Public.
    #[schema(pattern = "^site_[0-9a-f]{32}$")]
    site_key: String,
    /// Keys that were replaced and still let pages in.
    retired_site_keys: Vec<RetiredKeyView>,
    /// Whether it is the one that the workspace was born with, which stays.
    is_default: bool,
    /// What to think over.
    warnings: Vec<Warning>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A key that was replaced.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetiredSiteKey)]
struct RetiredKeyView {
    #[schema(pattern = "^site_[0-9a-f]{32}$")]
    site_key: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    valid_until: String,
}

/// Something to think over.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Warning {
    /// The field that it is about.
    #[schema(example = "allowedOrigins")]
    pub field: &'static str,
    /// What it is, and what to do.
    pub message: String,
}

/// A new project.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewProject {
    #[schema(min_length = 1, max_length = 100, example = "Funpark.cl")]
    name: String,
    /// Its origin: `https://host`, with a port where it has one of its own.
    #[schema(max_length = 300, example = "https://funpark.cl")]
    domain: Option<String>,
    /// That of `domain` alone when absent.
    #[schema(max_items = 50, example = json!(["https://funpark.cl"]))]
    allowed_origins: Option<Vec<String>>,
}

/// A change of a project; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProjectChange {
    #[schema(min_length = 1, max_length = 100, nullable = false, example = "Funpark.cl")]
    name: Option<String>,
    /// Takes the place of the one before among `allowedOrigins`, unless those are given too. Null for none.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 300, example = "https://funpark.cl")]
    domain: Patch<String>,
    #[schema(max_items = 50, nullable = false, example = json!(["https://funpark.cl"]))]
    allowed_origins: Option<Vec<String>>,
}

/// How a site key is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    /// How long the key of now, and those before it, still let pages in. 0 ends them at once.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 720, default = 24, nullable = false)]
    grace_hours: Option<i64>,
}

/// List projects
#[utoipa::path(
    get,
    path = "/v1/projects",
    tag = "Projects",
    operation_id = "listProjects",
    params(ListQuery),
    responses((status = 200, description = "A page of projects, oldest first.", body = List<ProjectView>)),
)]
#[tracing::instrument(name = "handler.v1.projects.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<ProjectView>>> {
    let mut conn = state.db.read().await?;
    let mut all = Vec::new();
    for project in projects::list(&mut conn, caller.workspace()).await? {
        all.push(view(&state, &mut conn, caller.workspace(), project).await?);
    }
    let page = query
        .page_of(all, |project| [&project.name, project.domain.as_deref().unwrap_or_default()])?;
    Ok(Json(page))
}

/// Create a project
///
/// With a site key of its own, and a widget that can be opened at once from the pages of its domain.
#[utoipa::path(
    post,
    path = "/v1/projects",
    tag = "Projects",
    operation_id = "createProject",
    request_body = NewProject,
    responses(
        (status = 201, description = "The project.", body = ProjectView),
        (status = 409, description = "There are too many.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.projects.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewProject>,
) -> ApiResult<(StatusCode, Tagged<ProjectView>)> {
    let name = text::required("name", &new.name, 100)?;
    let mut project = Project::new(&state.ambient, &name, false);
    project.domain =
        new.domain.as_deref().map(|domain| origin::parse("domain", domain)).transpose()?;
    project.allowed_origins = match new.allowed_origins {
        Some(origins) => read_origins(&origins)?,
        None => project.domain.iter().cloned().collect(),
    };
    let mut tx = state.db.write().await?;
    if projects::list(&mut tx, caller.workspace()).await?.len() >= MAX_PROJECTS {
        let message = format!("a workspace has at most {MAX_PROJECTS} projects; delete one first");
        return Err(DomainError::conflict("CONFLICT", message).into());
    }
    projects::insert(&mut tx, caller.workspace(), &project).await?;
    let changed = Changed { before: None, after: Some(facts(&project)) };
    caller.audit(&mut tx, &state.ambient, "project.created", project.id, changed).await?;
    let view = view(&state, &mut tx, caller.workspace(), project).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Tagged::of(view)?))
}

/// Get a project
#[utoipa::path(
    get,
    path = "/v1/projects/{projectId}",
    tag = "Projects",
    operation_id = "getProject",
    params(("projectId" = String, Path)),
    responses((status = 200, description = "The project.", body = ProjectView)),
)]
#[tracing::instrument(name = "handler.v1.projects.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
) -> ApiResult<Tagged<ProjectView>> {
    let mut conn = state.db.read().await?;
    let project = projects::get(&mut conn, caller.workspace(), id).await?.ok_or_else(absent)?;
    Tagged::of(view(&state, &mut conn, caller.workspace(), project).await?)
}

/// Change a project
#[utoipa::path(
    patch,
    path = "/v1/projects/{projectId}",
    tag = "Projects",
    operation_id = "updateProject",
    params(("projectId" = String, Path), IfMatch),
    request_body = ProjectChange,
    responses((status = 200, description = "The project.", body = ProjectView)),
)]
#[tracing::instrument(name = "handler.v1.projects.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
    if_match: IfMatch,
    Json(change): Json<ProjectChange>,
) -> ApiResult<Tagged<ProjectView>> {
    let mut tx = state.db.write().await?;
    let mut project = locked(&state, &mut tx, &caller, id, &if_match).await?;
    let before = facts(&project);
    change.apply(&mut project)?;
    project.updated_at = state.ambient.now();
    projects::update(&mut tx, caller.workspace(), &project).await?;
    let changed = Changed { before: Some(before), after: Some(facts(&project)) };
    caller.audit(&mut tx, &state.ambient, "project.updated", id, changed).await?;
    let view = view(&state, &mut tx, caller.workspace(), project).await?;
    tx.commit().await?;
    Tagged::of(view)
}

/// Delete a project
///
/// Its site key opens nothing any more. Its conversations stay in the inbox, as no project's; its visitors cannot go
/// on with them.
#[utoipa::path(
    delete,
    path = "/v1/projects/{projectId}",
    tag = "Projects",
    operation_id = "deleteProject",
    params(("projectId" = String, Path), IfMatch),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "It is the one that the workspace was born with.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.projects.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    let project = locked(&state, &mut tx, &caller, id, &if_match).await?;
    if project.is_default {
        let message =
            "this is the project that the workspace was born with, and it stays; change it instead";
        return Err(DomainError::conflict("DEFAULT_PROJECT", message).into());
    }
    projects::delete(&mut tx, caller.workspace(), id).await?;
    let changed = Changed { before: Some(facts(&project)), after: None };
    caller.audit(&mut tx, &state.ambient, "project.deleted", id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renew a site key
///
/// The key of now still lets pages in for `graceHours`, so that every page can be changed before.
#[utoipa::path(
    post,
    path = "/v1/projects/{projectId}/site-key/rotate",
    tag = "Projects",
    operation_id = "rotateSiteKey",
    params(("projectId" = String, Path), IfMatch),
    request_body = Option<Rotation>,
    responses((status = 200, description = "The project with its new key.", body = ProjectView)),
)]
#[tracing::instrument(name = "handler.v1.projects.rotate", skip_all)]
async fn rotate(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
    if_match: IfMatch,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> ApiResult<Tagged<ProjectView>> {
    let grace = rotation.grace()?;
    let now = state.ambient.now();
    let mut tx = state.db.write().await?;
    let mut project = locked(&state, &mut tx, &caller, id, &if_match).await?;
    let (workspace, until) = (caller.workspace(), now.plus(grace));
    let site_key = Project::new_site_key(&state.ambient);
    projects::rotate_site_key(&mut tx, workspace, &project, &site_key, until, now).await?;
    let before = json!({"siteKey": project.site_key});
    (project.site_key, project.updated_at) = (site_key, now);
    let after = json!({"siteKey": project.site_key, "oneBeforeValidUntil": until.to_rfc3339()});
    let changed = Changed { before: Some(before), after: Some(after) };
    caller.audit(&mut tx, &state.ambient, "project.site-key-rotated", id, changed).await?;
    let view = view(&state, &mut tx, workspace, project).await?;
    tx.commit().await?;
    Tagged::of(view)
}

/// The project, which nobody else changes meanwhile, in the state that the caller takes it to be in.
async fn locked(
    state: &AppState,
    tx: &mut Tx,
    caller: &Caller,
    id: ProjectId,
    if_match: &IfMatch,
) -> ApiResult<Project> {
    let project = projects::lock(tx, caller.workspace(), id).await?.ok_or_else(absent)?;
    if_match.check(&view(state, tx, caller.workspace(), project.clone()).await?)?;
    Ok(project)
}

async fn view(
    state: &AppState,
    conn: &mut Conn,
    workspace: WorkspaceId,
    project: Project,
) -> ApiResult<ProjectView> {
    let retired = projects::retired_keys(conn, workspace, project.id, state.ambient.now()).await?;
    Ok(ProjectView::new(project, retired))
}

/// What the audit log keeps of a project.
fn facts(project: &Project) -> serde_json::Value {
    json!({
        "name": project.name,
        "domain": project.domain,
        "allowedOrigins": project.allowed_origins,
    })
}

pub(super) fn absent() -> ApiError {
    DomainError::not_found(ProjectId::KIND).into()
}

fn read_origins(texts: &[String]) -> ApiResult<Vec<String>> {
    if texts.len() > MAX_ORIGINS {
        let message = format!("`allowedOrigins` has more than {MAX_ORIGINS} entries");
        return Err(ApiError::invalid("allowedOrigins", message));
    }
    let mut origins: Vec<String> = Vec::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        let origin = origin::parse(&format!("allowedOrigins[{position}]"), text)?;
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    Ok(origins)
}

impl ProjectChange {
    fn apply(self, project: &mut Project) -> ApiResult<()> {
        if let Some(name) = self.name {
            project.name = text::required("name", &name, 100)?;
        }
        let before = project.domain.clone();
        self.domain.apply(&mut project.domain, |domain| Ok(origin::parse("domain", &domain)?))?;
        if let Some(origins) = self.allowed_origins {
            project.allowed_origins = read_origins(&origins)?;
        } else if before != project.domain {
            follow(&mut project.allowed_origins, before.as_ref(), project.domain.as_ref());
        }
        Ok(())
    }
}

/// Puts a project's new domain in the place of the one before. A list that lets every page in stays as it is.
fn follow(origins: &mut Vec<String>, before: Option<&String>, domain: Option<&String>) {
    let Some(domain) = domain else { return };
    if origins.contains(domain) || (origins.is_empty() && before.is_some()) {
        return;
    }
    match origins.iter_mut().find(|origin| Some(&**origin) == before) {
        Some(origin) => origin.clone_from(domain),
        None => origins.insert(0, domain.clone()),
    }
}

impl Rotation {
    fn grace(&self) -> ApiResult<Duration> {
        let hours = match self.grace_hours {
            None => Some(GRACE_HOURS),
            Some(hours) => u64::try_from(hours).ok().filter(|hours| *hours <= MOST_GRACE_HOURS),
        };
        hours.map(|hours| Duration::from_secs(hours * 3_600)).ok_or_else(|| {
            let message = format!("`graceHours` must be 0 to {MOST_GRACE_HOURS}");
            ApiError::invalid("graceHours", message)
        })
    }
}

impl ProjectView {
    fn new(project: Project, retired: Vec<RetiredKey>) -> Self {
        let mut warnings = Vec::new();
        if project.allowed_origins.is_empty() {
            let message = "every page of the web can open the widget with the site key; name the origins of yours";
            warnings.push(Warning { field: "allowedOrigins", message: message.to_owned() });
        }
        Self {
            id: project.id.to_string(),
            name: project.name,
            domain: project.domain,
            allowed_origins: project.allowed_origins,
            site_key: project.site_key,
            retired_site_keys: retired.into_iter().map(Into::into).collect(),
            is_default: project.is_default,
            warnings,
            created_at: project.created_at.to_rfc3339(),
            updated_at: Timestamp::to_rfc3339(project.updated_at),
        }
    }
}

impl From<RetiredKey> for RetiredKeyView {
    fn from(key: RetiredKey) -> Self {
        Self { site_key: key.site_key, valid_until: key.valid_until.to_rfc3339() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_domain_takes_the_place_of_the_one_before() {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (a, b) = ("https://a.cl".to_owned(), "https://b.cl".to_owned());
        for (origins, before, after) in [
            (
                list(&["https://x.cl", "https://a.cl"]),
                Some(&a),
                list(&["https://x.cl", "https://b.cl"]),
            ),
            (list(&["https://x.cl"]), Some(&a), list(&["https://b.cl", "https://x.cl"])),
            (list(&["https://b.cl"]), Some(&a), list(&["https://b.cl"])),
            (list(&[]), Some(&a), list(&[])),
            (list(&[]), None, list(&["https://b.cl"])),
        ] {
            let mut now = origins.clone();
            follow(&mut now, before, Some(&b));
            assert_eq!(now, after, "{origins:?}");
        }
    }
}
