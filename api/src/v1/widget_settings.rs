//! The widget of a project, as its people set it.

use axum::extract::State;
use domain::tool::BusinessHours;
use domain::widget::{self, TEXT_FIELDS, Widget, WidgetTexts};
use domain::workspace::{Project, SiteIdentity};
use domain::{Action, AgentId, DomainError, ProjectId, WorkspaceId};
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use storage::{Tx, agents, projects};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::etag::{IfMatch, Tagged};
use super::projects::{Warning, absent};
use super::widget_words::{HoursView, LeadFormView, Position, TextsByLanguage, Theme, WidgetLang};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadProjects, routes!(get))
        .panel(Action::ManageProjects, routes!(update))
        .panel(Action::ManageProjects, routes!(renew_secret))
}

/// A widget.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetSettings)]
struct SettingsView {
    theme: Theme,
    /// White text stands on it.
    #[schema(pattern = "^#[0-9A-F]{6}$", example = "#00AEEF")]
    primary_color: String,
    position: Position,
    /// What visitors of other languages read.
    default_language: WidgetLang,
    /// The first thing that visitors read, in the default language.
    #[schema(example = "¡Hola! ¿En qué te ayudamos?")]
    welcome_message: String,
    /// What it says in each language: the project's own words, else the product's.
    texts: TextsByLanguage,
    /// Who answers; null for the workspace's default agent.
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: Option<String>,
    lead_form: LeadFormView,
    /// When people are there; null for always.
    hours: Option<HoursView>,
    /// Whether it names the product that it is made with.
    powered_by: bool,
    /// Whether visitors may send files.
    attachments: bool,
    identity: IdentityView,
    /// What to think over.
    warnings: Vec<Warning>,
}

/// Whether a site vouches for its visitors.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetIdentity)]
struct IdentityView {
    /// Whether only visitors that the site vouches for are let in.
    required: bool,
    /// Whether there is a secret to vouch with.
    configured: bool,
}

/// Changes of a widget; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetChange)]
struct Change {
    #[schema(nullable = false)]
    theme: Option<Theme>,
    #[schema(pattern = "^#[0-9A-Fa-f]{6}$", nullable = false, example = "#00AEEF")]
    primary_color: Option<String>,
    #[schema(nullable = false)]
    position: Option<Position>,
    #[schema(nullable = false)]
    default_language: Option<WidgetLang>,
    /// As `welcomeMessage` of the default language's texts. Null for the product's words.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500, example = "¡Hola! ¿En qué te ayudamos?")]
    welcome_message: Patch<String>,
    /// Each text by itself; null, or an empty one, for the product's words.
    #[schema(nullable = false)]
    texts: Option<TextsByLanguage>,
    /// Null for the workspace's default agent.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^agent_[0-9a-f]{32}$", example = json!(null))]
    agent_id: Patch<String>,
    #[schema(nullable = false)]
    lead_form: Option<LeadFormView>,
    /// Null for always.
    #[serde(default)]
    #[schema(value_type = Option<HoursView>)]
    hours: Patch<BusinessHours>,
    #[schema(nullable = false)]
    powered_by: Option<bool>,
    #[schema(nullable = false)]
    attachments: Option<bool>,
    #[schema(nullable = false)]
    identity: Option<IdentityChange>,
}

/// Changes of who is let in.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WidgetIdentityChange)]
struct IdentityChange {
    /// Needs a secret to vouch with.
    #[schema(nullable = false)]
    required: Option<bool>,
}

/// A secret to vouch with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetIdentitySecret)]
struct IdentitySecret {
    /// Shown this once. `hash` of an identity is the HMAC-SHA256 of `userId` by this text, in hexadecimal.
    #[schema(pattern = "^wis_[0-9a-f]{64}$")]
    secret: String,
}

/// Get a widget
#[utoipa::path(
    get,
    path = "/v1/projects/{projectId}/widget",
    tag = "Projects",
    operation_id = "getWidget",
    params(("projectId" = String, Path)),
    responses((status = 200, description = "The widget.", body = SettingsView)),
)]
#[tracing::instrument(name = "handler.v1.widget_settings.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
) -> ApiResult<Tagged<SettingsView>> {
    let mut conn = state.db.read().await?;
    let project = projects::get(&mut conn, caller.workspace(), id).await?.ok_or_else(absent)?;
    Tagged::of(SettingsView::from(&project))
}

/// Change a widget
///
/// Merges: what is absent stays. Pages that open the widget afterwards show it as it is then.
#[utoipa::path(
    patch,
    path = "/v1/projects/{projectId}/widget",
    tag = "Projects",
    operation_id = "updateWidget",
    params(("projectId" = String, Path), IfMatch),
    request_body = Change,
    responses((status = 200, description = "The widget.", body = SettingsView)),
)]
#[tracing::instrument(name = "handler.v1.widget_settings.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
    if_match: IfMatch,
    Json(change): Json<Change>,
) -> ApiResult<Tagged<SettingsView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    let mut project = projects::lock(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    let before = SettingsView::from(&project);
    if_match.check(&before)?;
    change.apply(&mut tx, workspace, &mut project).await?;
    project.updated_at = state.ambient.now();
    projects::update(&mut tx, workspace, &project).await?;
    let after = SettingsView::from(&project);
    let changed = Changed {
        before: serde_json::to_value(&before).ok(),
        after: serde_json::to_value(&after).ok(),
    };
    caller.audit(&mut tx, &state.ambient, "project.widget-updated", id, changed).await?;
    tx.commit().await?;
    Tagged::of(after)
}

/// Renew the secret that a site vouches with
///
/// Makes the first one, too. Visitors who were vouched for with the one before are strangers at once.
#[utoipa::path(
    post,
    path = "/v1/projects/{projectId}/widget/identity-secret",
    tag = "Projects",
    operation_id = "renewWidgetIdentitySecret",
    params(("projectId" = String, Path)),
    responses((status = 201, description = "The secret, this once.", body = IdentitySecret)),
)]
#[tracing::instrument(name = "handler.v1.widget_settings.renew_secret", skip_all)]
async fn renew_secret(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ProjectId>,
) -> ApiResult<(StatusCode, Json<IdentitySecret>)> {
    let workspace = caller.workspace();
    let secret = format!("wis_{}", hex::encode(state.ambient.random_bytes::<32>()));
    let row = id.to_string();
    let place = SiteIdentity::place(workspace, &row);
    let sealed = state.vault.seal(&state.ambient, place, &SecretString::from(secret.as_str()));
    let sealed = sealed.map_err(|error| {
        tracing::error!(%error, "a secret was not sealed");
        ApiError::internal()
    })?;
    let mut tx = state.db.write().await?;
    let mut project = projects::lock(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    let version = project.identity.as_ref().map_or(0, |identity| identity.version) + 1;
    project.identity = Some(SiteIdentity { secret: sealed, version });
    project.updated_at = state.ambient.now();
    projects::update(&mut tx, workspace, &project).await?;
    let changed = Changed { before: None, after: Some(serde_json::json!({"version": version})) };
    let action = "project.identity-secret-renewed";
    caller.audit(&mut tx, &state.ambient, action, id, changed).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(IdentitySecret { secret })))
}

impl Change {
    async fn apply(
        mut self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        project: &mut Project,
    ) -> ApiResult<()> {
        let agent = std::mem::take(&mut self.agent_id);
        agent.apply(&mut project.widget.agent_id, |id| {
            id.parse::<AgentId>().map_err(|_| no_agent())
        })?;
        if let Some(id) = project.widget.agent_id
            && agents::get(tx, workspace, id).await?.is_none()
        {
            return Err(no_agent());
        }
        if let Some(identity) = self.identity.take()
            && let Some(required) = identity.required
        {
            if required && project.identity.is_none() {
                let message = "`identity.required` needs a secret to vouch with; make one with POST …/widget/identity-secret first";
                return Err(ApiError::invalid("identity.required", message));
            }
            project.widget.identity_required = required;
        }
        self.apply_looks(&mut project.widget)
    }

    fn apply_looks(self, widget: &mut Widget) -> ApiResult<()> {
        if let Some(theme) = self.theme {
            widget.theme = theme.into();
        }
        if let Some(color) = self.primary_color {
            widget.primary_color = widget::color("primaryColor", &color)?;
        }
        if let Some(position) = self.position {
            widget.position = position.into();
        }
        if let Some(language) = self.default_language {
            widget.default_language = language.into();
        }
        if let Some(texts) = self.texts {
            texts.apply(&mut widget.texts)?;
        }
        if !matches!(self.welcome_message, Patch::Keep) {
            let texts = widget.texts.entry(widget.default_language).or_default();
            apply_welcome(self.welcome_message, texts)?;
        }
        if let Some(form) = self.lead_form {
            form.apply(&mut widget.lead_form);
            widget::check_form("leadForm", &widget.lead_form)?;
        }
        self.hours.apply(&mut widget.hours, |hours| {
            hours.check("hours")?;
            Ok(hours)
        })?;
        widget.powered_by = self.powered_by.unwrap_or(widget.powered_by);
        widget.attachments = self.attachments.unwrap_or(widget.attachments);
        Ok(())
    }
}

fn apply_welcome(message: Patch<String>, texts: &mut WidgetTexts) -> ApiResult<()> {
    for (name, most, field) in TEXT_FIELDS {
        if name == "welcomeMessage" {
            let field = field(texts);
            *field = match message {
                Patch::Set(text) => widget::checked_text(name, &text, most)?,
                Patch::Keep | Patch::Clear => None,
            };
            return Ok(());
        }
    }
    Ok(())
}

fn no_agent() -> ApiError {
    DomainError::not_found("agent").at("agentId").into()
}

impl From<&Project> for SettingsView {
    fn from(project: &Project) -> Self {
        let widget = &project.widget;
        let warning = |(field, message)| Warning { field, message };
        let own = widget.texts_in(widget.default_language);
        Self {
            theme: widget.theme.into(),
            primary_color: widget.primary_color.clone(),
            position: widget.position.into(),
            default_language: widget.default_language.into(),
            welcome_message: own.welcome_message.unwrap_or_default(),
            texts: TextsByLanguage::of(widget),
            agent_id: widget.agent_id.map(|id| id.to_string()),
            lead_form: (&widget.lead_form).into(),
            hours: widget.hours.as_ref().map(Into::into),
            powered_by: widget.powered_by,
            attachments: widget.attachments,
            identity: IdentityView {
                required: widget.identity_required,
                configured: project.identity.is_some(),
            },
            warnings: widget.warnings().into_iter().map(warning).collect(),
        }
    }
}
