//! Opening the widget.

use axum::extract::State;
use domain::widget::{self, Widget};
use domain::workspace::SiteIdentity;
use domain::{DomainError, ErrorKind, Lang, VisitorId, text};
use http::HeaderMap;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use storage::visits::Visit;
use storage::{conversations, inbox, visits};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::widget_words::{
    HoursView, LeadFormView, Position, TextsByLanguage, Theme, WidgetLang,
};
use super::views::ConversationView;
use crate::edge::preferred_language;
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::{Guest, MaybeGuest, Site};

/// Conversations among which one that goes on is looked for.
const RECENT: i64 = 20;
/// Longest id that a site gives a user of its own, in characters.
const MAX_USER_ID: usize = 150;

pub(super) fn routes() -> Routes {
    Routes::new().site(routes!(init))
}

/// A page with a visitor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetInit)]
struct InitRequest {
    /// Taken from the token alone: without one this begins a new visit.
    #[serde(rename = "visitorId")]
    #[schema(example = "abc123")]
    _visitor_id: Option<String>,
    /// The page.
    #[schema(max_length = 4000, example = "https://cliente.cl/producto/123")]
    page_url: Option<String>,
    /// The browser.
    #[schema(max_length = 1000, example = "Mozilla/5.0")]
    user_agent: Option<String>,
    /// A user of the site itself, whom it vouches for.
    identity: Option<Identity>,
}

/// A user of the site itself.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetIdentityProof)]
struct Identity {
    /// The site's own id of them.
    #[schema(min_length = 1, max_length = 150, example = "user_456")]
    user_id: String,
    /// HMAC-SHA256 of `userId` by the secret of the project's widget, in hexadecimal. Made by the site's server, never by
    /// the page.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    hash: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// What the widget needs to begin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetOpened)]
struct Opened {
    /// Who the visitor is to this site.
    #[schema(example = "visitor_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    visitor_id: String,
    /// Says so to every other route; keep it. Good for half a year after each opening.
    visitor_token: String,
    /// Seconds that the token is good for.
    #[schema(minimum = 1, example = 15_552_000)]
    expires_in: u64,
    project: ProjectName,
    widget_config: PublicConfig,
    /// The newest conversation of the visitor that is not closed, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    active_conversation: Option<ConversationView>,
}

/// The site.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetProject)]
struct ProjectName {
    #[schema(pattern = "^proj_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "Funpark.cl")]
    name: String,
}

/// How the widget looks and what it says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetConfig)]
struct PublicConfig {
    theme: Theme,
    #[schema(pattern = "^#[0-9A-F]{6}$", example = "#00AEEF")]
    primary_color: String,
    position: Position,
    /// The visitor's, by `Accept-Language`, else the site's.
    language: WidgetLang,
    /// In that language.
    #[schema(example = "¡Hola! ¿En qué te ayudamos?")]
    welcome_message: String,
    /// In every language.
    texts: TextsByLanguage,
    lead_form: LeadFormView,
    /// Whether people are there now: within `hours`, and not everybody has said to be away.
    online: bool,
    /// When they are; null for always.
    hours: Option<HoursView>,
    powered_by: bool,
    attachments: bool,
}

/// Open the widget
///
/// Makes a visitor, or knows one again by `x-visitor-token`, whose token it renews. A bare `visitorId` opens nobody's
/// history.
#[utoipa::path(
    post,
    path = "/v1/widget/init",
    tag = "Widget",
    operation_id = "initWidget",
    request_body = InitRequest,
    responses((status = 200, description = "The visitor, the widget, and what goes on.", body = Opened)),
)]
#[tracing::instrument(name = "handler.v1.widget.init", skip_all)]
async fn init(
    State(state): State<AppState>,
    site: Site,
    MaybeGuest(known): MaybeGuest,
    headers: HeaderMap,
    Json(request): Json<InitRequest>,
) -> ApiResult<Json<Opened>> {
    let visit = request.visit()?;
    let guest = match (&request.identity, known) {
        (Some(identity), _) => identity.check(&state, &site)?,
        (None, Some(known)) => known,
        (None, None) if site.project.widget.identity_required => return Err(nobody_vouches()),
        (None, None) => new_visitor(&state, &site)?,
    };
    let (workspace, project) = (site.workspace, site.project.id);
    let now = state.ambient.now();
    let mut tx = state.db.write().await?;
    visits::note(&mut tx, workspace, project, &guest.visitor, &visit, now).await?;
    let recent =
        conversations::of_visitor(&mut tx, workspace, project, &guest.visitor, RECENT).await?;
    let is_anybody_there = inbox::is_anybody_there(&mut tx, workspace).await?;
    tx.commit().await?;
    let active = recent.into_iter().find(|(conversation, _)| !conversation.is_closed());
    let active = active.map(|(conversation, _)| conversation);
    let language = preferred_language(&headers);
    Ok(Json(Opened {
        visitor_id: guest.visitor.to_string(),
        visitor_token: guest.token(&state)?,
        expires_in: accounts::VISITOR_TOKEN.as_secs(),
        project: ProjectName { id: project.to_string(), name: site.project.name.clone() },
        widget_config: PublicConfig::new(&site.project.widget, language, is_anybody_there, now),
        active_conversation: active.map(Into::into),
    }))
}

impl InitRequest {
    fn visit(&self) -> ApiResult<Visit> {
        let page_url = self.page_url.as_deref().map(|url| read_page("pageUrl", url)).transpose()?;
        let user_agent = match &self.user_agent {
            Some(name) => Some(text::optional("userAgent", name, 1_000)?),
            None => None,
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Visit { page_url: some(page_url), user_agent: some(user_agent) })
    }
}

/// The address of a page: people open it from the inbox, so it is one of the web.
fn read_page(field: &str, address: &str) -> ApiResult<String> {
    let address = text::optional(field, address, 4_000)?;
    let is_of_the_web =
        url::Url::parse(&address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if address.is_empty() || is_of_the_web {
        return Ok(address);
    }
    let message = format!("`{field}` must be the address of a page, http:// or https://");
    Err(ApiError::invalid(field, message))
}

impl Identity {
    /// The visitor that the site vouches for, the same on each of their devices.
    fn check(&self, state: &AppState, site: &Site) -> ApiResult<Guest> {
        let user_id = text::required("identity.userId", &self.user_id, MAX_USER_ID)?;
        if user_id != self.user_id {
            let field = "identity.userId";
            let message = format!("`{field}` must not begin or end with spaces");
            return Err(ApiError::invalid(field, message));
        }
        let own = site.project.identity.as_ref().ok_or_else(not_vouched_for)?;
        let row = site.project.id.to_string();
        let secret: SecretString = state
            .vault
            .open(SiteIdentity::place(site.workspace, &row), &own.secret)
            .map_err(|error| {
                tracing::error!(%error, project = row, "the secret of a site does not open");
                ApiError::internal()
            })?;
        if !accounts::is_vouched_for(&secret, &user_id, &self.hash) {
            return Err(not_vouched_for());
        }
        // The same id on another site of the workspace is somebody else.
        let visitor = VisitorId::parse(&format!("{row}:{user_id}"));
        let visitor = visitor.ok_or_else(|| {
            let field = "identity.userId";
            ApiError::invalid(field, format!("`{field}` must have no control characters"))
        })?;
        Ok(Guest { site: site.clone(), visitor, identity: Some(own.version) })
    }
}

fn new_visitor(state: &AppState, site: &Site) -> ApiResult<Guest> {
    let visitor = VisitorId::parse(&format!("visitor_{}", state.ambient.new_uuid().simple()));
    let visitor = visitor.ok_or_else(ApiError::internal)?;
    Ok(Guest { site: site.clone(), visitor, identity: None })
}

fn not_vouched_for() -> ApiError {
    let message =
        "`identity.hash` is not the HMAC-SHA256 of `identity.userId` by the secret of this widget";
    DomainError::new(ErrorKind::Forbidden, "IDENTITY_REFUSED", message).into()
}

fn nobody_vouches() -> ApiError {
    let message =
        "this widget is for users of the site; send `identity` with their id and its hash";
    DomainError::new(ErrorKind::Forbidden, "IDENTITY_REQUIRED", message).into()
}

impl PublicConfig {
    fn new(
        widget: &Widget,
        wanted: Option<Lang>,
        is_anybody_there: bool,
        now: domain::Timestamp,
    ) -> Self {
        let speaks = |lang: &widget::WidgetLang| Some(Lang::from(*lang)) == wanted;
        let language = widget::WidgetLang::ALL.into_iter().find(speaks);
        let language = language.unwrap_or(widget.default_language);
        Self {
            theme: widget.theme.into(),
            primary_color: widget.primary_color.clone(),
            position: widget.position.into(),
            language: language.into(),
            welcome_message: widget.texts_in(language).welcome_message.unwrap_or_default(),
            texts: TextsByLanguage::of(widget),
            lead_form: (&widget.lead_form).into(),
            online: is_anybody_there && widget.is_staffed(now),
            hours: widget.hours.as_ref().map(Into::into),
            powered_by: widget.powered_by,
            attachments: widget.attachments,
        }
    }
}
