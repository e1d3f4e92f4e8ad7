//! Who is calling from a page: the page carries the site key of a project, its visitor a token.
//!
//! Browsers say which page is calling (`Origin`), and only pages of the project's origins are let in; the answer tells the
//! browser so. Nothing here goes by cookies, so there is nothing that another page could make a browser send.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use accounts::VisitorTicket;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::workspace::Project;
use domain::{DomainError, ErrorKind, Lang, VisitorId, WorkspaceId};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use moka::sync::Cache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use storage::projects;
use url::form_urlencoded;
use uuid::Uuid;

use crate::auth::{Gate, client_address};
use crate::error::{ApiError, ApiResult};
use crate::messages::{NO_SITE_KEY, NO_VISITOR, WRONG_SITE_KEY};
use crate::rate_limit::MessageLimit;
use crate::routes::Surface;
use crate::state::AppState;

/// Every route of the widget is under it.
const PREFIX: &str = "/v1/widget/";
/// The routes where a token may stand in the address: browsers set no headers on what is live.
const LIVE: [&str; 2] = ["/v1/widget/stream", "/v1/widget/ws"];
const SITE_KEY: HeaderName = HeaderName::from_static("x-site-key");
const VISITOR_TOKEN: HeaderName = HeaderName::from_static("x-visitor-token");
/// How long an origin is believed to be let in, or not, by some project; what a call itself may is looked up each time.
const BELIEVED_FOR: Duration = Duration::from_secs(10);
const REMEMBERED_ORIGINS: u64 = 1_000;
/// Seconds that a browser may believe what it was told of a route.
const PREFLIGHT_SECONDS: &str = "600";
/// Live connections of one visitor.
const MOST_SOCKETS: usize = 5;

/// The site that a call comes from.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// The workspace that everything happens in.
    pub workspace: WorkspaceId,
    /// The project, as it is now.
    pub project: Arc<Project>,
    /// The key that the page carries.
    pub key: String,
    /// The page's, as its browser says.
    pub origin: Option<String>,
}

/// A visitor of a site.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    /// Where they are.
    pub site: Site,
    /// Who they are there.
    pub visitor: VisitorId,
    /// The version of the site's secret that vouched for them; `None` where nobody did.
    pub identity: Option<i64>,
}

/// What visitors share: how much each may, and which origins somebody lets in.
pub(crate) struct Visitors {
    messages: MessageLimit,
    uploads: MessageLimit,
    origins: Cache<String, bool>,
    sockets: Arc<Mutex<HashMap<Uuid, usize>>>,
}

/// A live connection of a visitor; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Seat {
    sockets: Arc<Mutex<HashMap<Uuid, usize>>>,
    key: Uuid,
}

/// The origin that an answer may be read by.
#[derive(Clone)]
struct LetIn(HeaderValue);

impl Visitors {
    /// Each visitor may send so many messages a minute, and upload as many files; 0 for as many as they like.
    pub fn new(messages_per_minute: u32) -> Self {
        Self {
            messages: MessageLimit::per_minute(NonZeroU32::new(messages_per_minute)),
            uploads: MessageLimit::per_minute(NonZeroU32::new(messages_per_minute)),
            origins: Cache::builder()
                .max_capacity(REMEMBERED_ORIGINS)
                .time_to_live(BELIEVED_FOR)
                .build(),
            sockets: Arc::default(),
        }
    }

    /// Counts a message: 429 when there were too many.
    pub fn count_message(&self, guest: &Guest) -> ApiResult<()> {
        self.messages.count(guest.key())
    }

    /// Counts an upload: 429 when there were too many.
    pub fn count_upload(&self, guest: &Guest) -> ApiResult<()> {
        self.uploads.count(guest.key())
    }

    /// A place for a live connection; `None` when the visitor has as many as they may.
    pub fn seat(&self, guest: &Guest) -> Option<Seat> {
        let key = guest.key();
        let mut sockets = self.sockets.lock();
        let count = sockets.entry(key).or_insert(0);
        if *count >= MOST_SOCKETS {
            return None;
        }
        *count += 1;
        Some(Seat { sockets: self.sockets.clone(), key })
    }
}

/// There are as many live connections as there may be.
pub(crate) fn too_many_sockets() -> ApiError {
    let message =
        "there are as many live connections as there may be; close one, or try again in a while";
    let error = DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message);
    DomainError { retry_after: Some(Duration::from_secs(30)), ..error }.into()
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sockets = self.sockets.lock();
        if let Some(count) = sockets.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&self.key);
            }
        }
    }
}

impl Guest {
    /// Who a token says that its bearer is, if it holds, here and now.
    pub fn of_token(state: &AppState, site: &Site, token: &str) -> Option<Self> {
        let ticket = state.visitor_tokens.read(token, state.ambient.now())?;
        let VisitorTicket { workspace, project, visitor, identity } = ticket;
        let is_here = workspace == site.workspace && project == site.project.id;
        let guest = Self { site: site.clone(), visitor, identity };
        (is_here && guest.is_known_to(&site.project)).then_some(guest)
    }

    /// Whether the site, as it is now, still takes them for who they are.
    pub fn is_known_to(&self, project: &Project) -> bool {
        match self.identity {
            Some(version) => {
                project.identity.as_ref().is_some_and(|identity| identity.version == version)
            }
            None => !project.widget.identity_required,
        }
    }

    /// A token that says who they are.
    pub fn token(&self, state: &AppState) -> ApiResult<String> {
        let ticket = VisitorTicket {
            workspace: self.site.workspace,
            project: self.site.project.id,
            visitor: self.visitor.clone(),
            identity: self.identity,
        };
        Ok(state.visitor_tokens.sign(&ticket, state.ambient.now())?)
    }

    /// What they are counted under.
    pub fn key(&self) -> Uuid {
        let name = format!("{}\0{}", self.site.workspace, self.visitor);
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Uuid::from_bytes(key)
    }
}

/// Lets a call through that carries the key of a site, comes from one of its pages and, where the route is a visitor's
/// own, carries the visitor's token.
pub(crate) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let site = match site_of(&gate.state, &parts).await {
        Ok(site) => site,
        Err(error) => return error.into_response(),
    };
    tracing::Span::current().record("workspace", tracing::field::display(site.workspace));
    let let_in = parts.headers.get(header::ORIGIN).cloned().map(LetIn);
    let mut response = match admit_guest(&gate, &site, &mut parts) {
        Ok(()) => {
            parts.extensions.insert(site);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    if let Some(let_in) = let_in {
        response.extensions_mut().insert(let_in);
    }
    response
}

/// The site that a call comes from: 401 for a key that is none, 403 for a page that is not the site's.
async fn site_of(state: &AppState, parts: &Parts) -> ApiResult<Site> {
    let Some(key) = site_key(&parts.headers, parts.uri.query()) else {
        return Err(unauthorized(NO_SITE_KEY));
    };
    let mut conn = state.db.read().await?;
    let found = projects::find_by_site_key(&mut conn, &key, state.ambient.now()).await?;
    drop(conn);
    let Some((workspace, project)) = found else {
        count_stranger(state, parts)?;
        return Err(unauthorized(WRONG_SITE_KEY));
    };
    let origin = match parts.headers.get(header::ORIGIN) {
        None => None,
        Some(origin) => {
            let origin = origin.to_str().unwrap_or_default();
            if !project.lets_in(origin) {
                return Err(foreign_page());
            }
            Some(origin.to_owned())
        }
    };
    Ok(Site { workspace, project: Arc::new(project), key, origin })
}

fn admit_guest(gate: &Gate, site: &Site, parts: &mut Parts) -> ApiResult<()> {
    let token = visitor_token(parts);
    let guest = token.as_deref().and_then(|token| Guest::of_token(&gate.state, site, token));
    if gate.surface == Surface::Visitors {
        let Some(guest) = guest else {
            count_stranger(&gate.state, parts)?;
            return Err(unauthorized(NO_VISITOR));
        };
        gate.state.limits.count_request(guest.key()).1?;
        parts.extensions.insert(guest);
        return Ok(());
    }
    // A call that makes a visitor counts for its address.
    count_stranger(&gate.state, parts)?;
    if let Some(guest) = guest {
        parts.extensions.insert(guest);
    }
    Ok(())
}

fn count_stranger(state: &AppState, parts: &Parts) -> ApiResult<()> {
    let hops = state.settings.server.trusted_hops;
    state.limits.count_stranger(client_address(&parts.headers, &parts.extensions, hops))
}

fn site_key(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let given = match headers.get(SITE_KEY) {
        Some(key) => key.to_str().ok().map(str::to_owned),
        None => in_query(query, "siteKey"),
    };
    given.filter(|key| !key.is_empty() && key.len() <= 100 && !key.contains('\0'))
}

fn visitor_token(parts: &Parts) -> Option<String> {
    if let Some(token) = parts.headers.get(VISITOR_TOKEN) {
        return token.to_str().ok().map(str::to_owned);
    }
    if let Some(credential) = parts.headers.get(header::AUTHORIZATION) {
        let (scheme, token) = credential.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("visitor").then(|| token.trim().to_owned());
    }
    let is_live = LIVE.contains(&parts.uri.path());
    if is_live { in_query(parts.uri.query(), "visitorToken") } else { None }
}

fn in_query(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn unauthorized(message: &str) -> ApiError {
    DomainError::new(ErrorKind::Unauthenticated, "UNAUTHORIZED", message).into()
}

fn foreign_page() -> ApiError {
    let message =
        "pages of this origin may not open the widget; add it to the project's `allowedOrigins`";
    DomainError::new(ErrorKind::Forbidden, "ORIGIN_NOT_ALLOWED", message).into()
}

impl<S: Send + Sync> FromRequestParts<S> for Site {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Guest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// The visitor, where the call says who they are.
pub(crate) struct MaybeGuest(pub Option<Guest>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeGuest {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Self, std::convert::Infallible> {
        Ok(Self(parts.extensions.get::<Guest>().cloned()))
    }
}

/// Whether what is told under a path is told to customers.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Tells browsers which pages may call the widget and read its answers. Goes around whatever else answers browsers:
/// here each project decides.
pub(crate) async fn answer_browsers(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if !owns(request.uri().path()) {
        return next.run(request).await;
    }
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first {
        let (parts, _) = request.into_parts();
        preflight(&state, &parts).await.unwrap_or_else(IntoResponse::into_response)
    } else {
        next.run(request).await
    };
    let let_in = response.extensions_mut().remove::<LetIn>();
    let headers = response.headers_mut();
    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(LetIn(origin)) = let_in {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = "retry-after, x-conversation-id, x-message-id, x-request-id";
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    }
    response
}

/// A browser asks before it calls. It names the page, and the site only where its key is in the address; without it every
/// page is told yes that some site lets in. The call itself is judged by its own site.
async fn preflight(state: &AppState, parts: &Parts) -> ApiResult<Response> {
    count_stranger(state, parts)?;
    let origin = parts.headers.get(header::ORIGIN).cloned().ok_or_else(foreign_page)?;
    let text = origin.to_str().map_err(|_| foreign_page())?;
    if site_key(&parts.headers, parts.uri.query()).is_some() {
        site_of(state, parts).await?;
    } else if !is_let_in_somewhere(state, text).await? {
        return Err(foreign_page());
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allowed = "authorization, content-type, accept-language, last-event-id, x-site-key, x-visitor-token, x-request-id";
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.extensions_mut().insert(LetIn(origin));
    Ok(response)
}

async fn is_let_in_somewhere(state: &AppState, origin: &str) -> ApiResult<bool> {
    if let Some(known) = state.visitors.origins.get(origin) {
        return Ok(known);
    }
    let mut conn = state.db.read().await?;
    let let_in = projects::lets_in(&mut conn, origin).await?;
    state.visitors.origins.insert(origin.to_owned(), let_in);
    Ok(let_in)
}

/// What a customer is told of an error beside its code; `None` for what the page's own people are to mend.
pub(crate) fn polite(code: &str, kind: ErrorKind, language: Option<Lang>) -> Option<&'static str> {
    let (es, en, pt) = match kind {
        ErrorKind::RateLimited => (
            "Estás escribiendo muy rápido. Espera un momento e inténtalo de nuevo.",
            "You are writing very fast. Please wait a moment and try again.",
            "Está a escrever muito depressa. Espere um momento e tente de novo.",
        ),
        // The page named a file twice.
        ErrorKind::Conflict if code == "ATTACHMENT_USED" => return None,
        ErrorKind::Conflict if code == "CONFLICT" => (
            "Ya estamos respondiendo a tu mensaje.",
            "Your message is being answered already.",
            "Já estamos a responder à sua mensagem.",
        ),
        ErrorKind::Conflict | ErrorKind::UsageLimit => (
            "Ahora no podemos responderte por aquí. Por favor, inténtalo más tarde.",
            "We cannot answer you here now. Please try again later.",
            "Agora não podemos responder por aqui. Por favor, tente mais tarde.",
        ),
        ErrorKind::Unavailable | ErrorKind::Internal => (
            "Algo no salió bien de nuestro lado. Por favor, inténtalo de nuevo en un momento.",
            "Something went wrong on our side. Please try again in a moment.",
            "Algo correu mal do nosso lado. Por favor, tente de novo daqui a pouco.",
        ),
        _ => return None,
    };
    Some(match language.unwrap_or_default() {
        Lang::Es | Lang::Other => es,
        Lang::En => en,
        Lang::Pt => pt,
    })
}
