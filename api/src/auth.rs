//! Who is calling: `Authorization: Bearer vk_…`, and on the panel also the access token of a person.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use accounts::{Person, Standing};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::api_key::{ApiKey, ApiKeySecret, FoundKey};
use domain::ids::PrefixedId;
use domain::inbox::By;
use domain::principal::Scopes;
use domain::{Action, Actor, Ambient, ApiKeyId, DomainError, ErrorKind, Principal, WorkspaceId};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, header};
use moka::sync::Cache;
use storage::audit::{Author, Change};
use storage::{Db, Tx};
use tokio_util::task::TaskTracker;

use crate::edge::preferred_language;
use crate::error::{ApiError, ApiResult, source_chain};
use crate::rate_limit;
use crate::routes::{Callers, Surface};
use crate::state::AppState;

/// How long a key that was read is believed without another look. A key that is revoked by this process
/// stops at once; one revoked by another process or the command line, within this time.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// How often the time of last use is noted, at most.
const NOTED_EVERY: Duration = Duration::from_mins(1);
const REMEMBERED_KEYS: u64 = 10_000;
/// Characters of a client's name for itself that are kept.
const MAX_USER_AGENT: usize = 300;

/// Tells keys from guesses without a look at the database for each request.
pub(crate) struct Authenticator {
    db: Db,
    ambient: Ambient,
    tracker: TaskTracker,
    known: Cache<[u8; 32], Arc<FoundKey>>,
    /// Revoked here within `BELIEVED_FOR`: wins over `known`, which a look-up under way could fill again.
    revoked: Cache<ApiKeyId, ()>,
    noted: Cache<ApiKeyId, ()>,
}

/// Why there is no caller.
enum Refusal {
    /// No credential, or a key that is revoked or expired: nobody is guessing.
    Unauthorized,
    /// Something that is no key of this installation: counted per address.
    Guess,
    /// The look-up failed.
    Failed(ApiError),
}

impl Authenticator {
    pub fn new(db: Db, ambient: Ambient, tracker: TaskTracker) -> Self {
        let kept_for = |time| Cache::builder().max_capacity(REMEMBERED_KEYS).time_to_live(time);
        Self {
            db,
            ambient,
            tracker,
            known: Cache::builder()
                .max_capacity(REMEMBERED_KEYS)
                .time_to_live(BELIEVED_FOR)
                .build(),
            revoked: kept_for(BELIEVED_FOR * 2).build(),
            noted: kept_for(NOTED_EVERY).build(),
        }
    }

    /// Who comes with a key: what it may do is bounded by what the person who made it may do today.
    async fn key_of(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        let Some(credential) = headers.get(header::AUTHORIZATION) else {
            return Err(Refusal::Unauthorized);
        };
        let secret = credential.to_str().ok().and_then(bearer).and_then(ApiKeySecret::parse);
        let hash = secret.ok_or(Refusal::Guess)?.hash();
        let found = match self.known.get(&hash) {
            Some(found) => found,
            None => self.look_up(hash).await?,
        };
        let key = &found.key;
        let role = found.role(self.ambient.now()).ok_or(Refusal::Unauthorized)?;
        if self.revoked.contains_key(&key.id) {
            return Err(Refusal::Unauthorized);
        }
        self.note_use(key);
        Ok(Principal {
            workspace: key.workspace_id,
            role,
            scopes: key.scopes,
            actor: Actor::ApiKey(key.id),
        })
    }

    async fn look_up(&self, hash: [u8; 32]) -> Result<Arc<FoundKey>, Refusal> {
        let found = self.find(&hash).await.map_err(Refusal::Failed)?;
        let key = Arc::new(found.ok_or(Refusal::Guess)?);
        self.known.insert(hash, key.clone());
        Ok(key)
    }

    async fn find(&self, hash: &[u8; 32]) -> ApiResult<Option<FoundKey>> {
        let mut conn = self.db.read().await?;
        Ok(storage::api_keys::find_by_hash(&mut conn, hash).await?)
    }

    /// A key was revoked by this process: it stops working at once.
    pub fn forget(&self, key: ApiKeyId) {
        self.revoked.insert(key, ());
    }

    /// What members may do was changed by this process: so was what their keys may do.
    pub fn forget_makers(&self) {
        self.known.invalidate_all();
    }

    /// Notes the time of use in a task of its own: no request waits for it.
    fn note_use(&self, key: &ApiKey) {
        if !self.noted.entry(key.id).or_insert(()).is_fresh() {
            return;
        }
        let (db, id, workspace) = (self.db.clone(), key.id, key.workspace_id);
        let now = self.ambient.now();
        self.tracker.spawn(async move {
            let noted = async {
                let mut tx = db.write().await?;
                storage::api_keys::touch(&mut tx, workspace, id, now).await?;
                tx.commit().await
            };
            if let Err(error) = noted.await {
                tracing::warn!(error = source_chain(&error), key = %id, "last use was not noted");
            }
        });
    }
}

/// The token that a request carries, whatever kind it is.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok().and_then(bearer)
}

fn bearer(credential: &str) -> Option<&str> {
    let (scheme, token) = credential.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a route's own middleware needs.
#[derive(Clone)]
pub(crate) struct Gate {
    pub state: AppState,
    /// What the caller must be allowed to do; `None` lets every caller in.
    pub action: Option<Action>,
    /// Whose credentials are taken.
    pub surface: Surface,
    /// Whom of those is let in.
    pub callers: Callers,
}

/// Lets strangers through, as often as their address may.
pub(crate) async fn limit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let hops = gate.state.settings.server.trusted_hops;
    let address = client_address(request.headers(), request.extensions(), hops);
    match gate.state.limits.count_stranger(address) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Lets a request through when its key is good, within its limit, and made for the route's action.
pub(crate) async fn authorize(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let (standing, caller) = gate.admit(&parts).await;
    let mut response = match caller {
        Ok(caller) => {
            tracing::Span::current()
                .record("workspace", tracing::field::display(caller.workspace()));
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

/// The caller of a live connection, by the token or key of its first words: as a request to the panel with that
/// credential, but not counted as one.
pub(crate) async fn admit_to_panel(
    state: &AppState,
    request: &Parts,
    token: &str,
    workspace: Option<&str>,
    action: Action,
) -> ApiResult<Caller> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.extensions = request.extensions.clone();
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| ApiError::not_signed_in());
    parts.headers.insert(header::AUTHORIZATION, header(&format!("Bearer {token}"))?);
    for name in ["x-forwarded-for", "user-agent"] {
        if let Some(value) = request.headers.get(name) {
            parts.headers.insert(name, value.clone());
        }
    }
    if let Some(workspace) = workspace {
        parts.headers.insert("x-workspace-id", header(workspace)?);
    }
    let (surface, callers) = (Surface::Panel, Callers::Known);
    let gate = Gate { state: state.clone(), action: Some(action), surface, callers };
    match gate.principal(&parts).await {
        Ok(principal) => gate.permit(principal, visit_of(&parts, state)),
        Err(refusal) => Err(gate.refuse(refusal, &parts)),
    }
}

impl Gate {
    async fn admit(
        &self,
        request: &Parts,
    ) -> (Option<rate_limit::Standing>, Result<Caller, ApiError>) {
        let principal = match self.principal(request).await {
            Ok(principal) => principal,
            Err(refusal) => return (None, Err(self.refuse(refusal, request))),
        };
        let caller = match principal.actor {
            Actor::ApiKey(key) => key.uuid(),
            Actor::User { id, .. } => id.uuid(),
            Actor::Visitor(_) | Actor::System => principal.workspace.uuid(),
        };
        let (standing, outcome) = self.state.limits.count_request(caller);
        let visit = visit_of(request, &self.state);
        (standing, outcome.and_then(|()| self.permit(principal, visit)))
    }

    async fn principal(&self, request: &Parts) -> Result<Principal, Refusal> {
        if self.surface == Surface::Programs {
            return self.state.authenticator.key_of(&request.headers).await;
        }
        let wanted = wanted_workspace(request).map_err(Refusal::Failed)?;
        let token = bearer_of(&request.headers);
        let Some(token) = token.filter(|token| !token.starts_with(ApiKeySecret::PREFIX)) else {
            let key = self.state.authenticator.key_of(&request.headers).await?;
            let elsewhere = wanted.is_some_and(|wanted| wanted != key.workspace);
            return if elsewhere { Err(no_workspace()) } else { Ok(key) };
        };
        let standing = self.state.accounts.standing(token, wanted).await;
        match standing.map_err(|error| Refusal::Failed(error.into()))? {
            Standing::Member(person) => Ok(of_person(person)),
            Standing::Stranger if wanted.is_some() => Err(no_workspace()),
            // The token's own workspace is theirs no more: the next one names another.
            Standing::Stranger => Err(Refusal::Unauthorized),
            Standing::Nobody => Err(Refusal::Guess),
        }
    }

    fn refuse(&self, refusal: Refusal, request: &Parts) -> ApiError {
        match refusal {
            Refusal::Failed(error) => error,
            Refusal::Unauthorized => self.unauthorized(),
            Refusal::Guess => {
                let hops = self.state.settings.server.trusted_hops;
                let address = client_address(&request.headers, &request.extensions, hops);
                let counted = self.state.limits.count_stranger(address);
                counted.err().unwrap_or_else(|| self.unauthorized())
            }
        }
    }

    fn unauthorized(&self) -> ApiError {
        match self.surface {
            Surface::Programs => ApiError::unauthorized(),
            _ => ApiError::not_signed_in(),
        }
    }

    fn permit(&self, principal: Principal, visit: accounts::Visit) -> Result<Caller, ApiError> {
        let Some(action) = self.action.filter(|action| !principal.may(*action)) else {
            let caller = Caller { principal, visit };
            if self.callers == Callers::People {
                caller.person()?;
            }
            return Ok(caller);
        };
        let (role, scope) = action.needs();
        Err(match principal.actor {
            Actor::ApiKey(_) if principal.role >= role => ApiError::forbidden(scope),
            Actor::ApiKey(_) => forbidden("an API key may not do this; sign in as an owner"),
            _ => forbidden(&format!("this needs the role {role} in the workspace")),
        })
    }
}

fn of_person(person: Person) -> Principal {
    Principal {
        workspace: person.workspace,
        role: person.role,
        scopes: Scopes::all(),
        actor: Actor::User { id: person.user, session: person.session },
    }
}

/// The workspace that the path names, else the header; `None` where the credential's own is meant.
fn wanted_workspace(request: &Parts) -> Result<Option<WorkspaceId>, ApiError> {
    let of_path = request.uri.path().strip_prefix("/v1/workspaces/");
    let of_path = of_path.map(|rest| rest.split('/').next().unwrap_or_default());
    let of_header = request.headers.get("x-workspace-id");
    let named = match (of_path, of_header) {
        (Some(id), _) => id,
        (None, Some(value)) => value.to_str().unwrap_or_default(),
        (None, None) => return Ok(None),
    };
    let absent = |_| DomainError::not_found(WorkspaceId::KIND);
    Ok(Some(named.parse().map_err(absent)?))
}

fn no_workspace() -> Refusal {
    Refusal::Failed(DomainError::not_found(WorkspaceId::KIND).into())
}

fn forbidden(message: &str) -> ApiError {
    DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into()
}

/// Where a call comes from.
#[derive(Debug, Clone)]
pub(crate) struct Visitor(pub accounts::Visit);

impl FromRequestParts<AppState> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &AppState,
    ) -> Result<Self, std::convert::Infallible> {
        Ok(Self(visit_of(parts, state)))
    }
}

fn visit_of(parts: &Parts, state: &AppState) -> accounts::Visit {
    let hops = state.settings.server.trusted_hops;
    let address = client_address(&parts.headers, &parts.extensions, hops);
    let user_agent = parts.headers.get(header::USER_AGENT);
    let user_agent = user_agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    accounts::Visit {
        address,
        user_agent: user_agent.chars().take(MAX_USER_AGENT).collect(),
        language: preferred_language(&parts.headers),
    }
}

/// The address of the client: the peer's, or what the outermost trusted proxy saw.
pub(crate) fn client_address(
    headers: &HeaderMap,
    extensions: &Extensions,
    trusted_hops: u32,
) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if trusted_hops == 0 {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let entries: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    // Each trusted proxy appended the address that it saw; entries further left are the client's own words.
    let position = entries.len().checked_sub(trusted_hops as usize);
    let seen = position.and_then(|position| entries.get(position)?.parse().ok());
    seen.unwrap_or(peer)
}

/// The caller of a route, put there by [`authorize`].
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Principal,
    visit: accounts::Visit,
}

/// What a change was made of: the two sides of an entry of the audit log, without secrets.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Absent for what was made.
    pub before: Option<serde_json::Value>,
    /// Absent for what is gone.
    pub after: Option<serde_json::Value>,
}

impl Changed {
    /// Of what was made or changed: what it is now.
    pub fn to(after: serde_json::Value) -> Self {
        Self { before: None, after: Some(after) }
    }

    /// Of what was removed: what it was.
    pub fn from(before: serde_json::Value) -> Self {
        Self { before: Some(before), after: None }
    }

    /// Of what was changed: what it was and what it is now.
    pub fn between(before: serde_json::Value, after: serde_json::Value) -> Self {
        Self { before: Some(before), after: Some(after) }
    }
}

impl Caller {
    /// The workspace that everything happens in.
    pub fn workspace(&self) -> WorkspaceId {
        self.principal.workspace
    }

    /// The key that the caller came with.
    pub fn api_key(&self) -> Option<ApiKeyId> {
        match self.principal.actor {
            Actor::ApiKey(id) => Some(id),
            Actor::User { .. } | Actor::Visitor(_) | Actor::System => None,
        }
    }

    /// The person, where it is one: what is done to an account needs somebody to be signed in to it.
    pub fn person(&self) -> Result<Person, ApiError> {
        let (workspace, role) = (self.principal.workspace, self.principal.role);
        match self.principal.actor {
            Actor::User { id, session } => Ok(Person { user: id, session, workspace, role }),
            Actor::ApiKey(_) | Actor::Visitor(_) | Actor::System => {
                Err(forbidden("an API key is nobody's account; sign in"))
            }
        }
    }

    /// Who it is, as what happens to a conversation names them.
    pub fn by(&self) -> By {
        By::from(&self.principal.actor)
    }

    /// Where the call comes from.
    pub fn visit(&self) -> &accounts::Visit {
        &self.visit
    }

    /// Whether its role and scopes allow `action`.
    pub fn may(&self, action: Action) -> bool {
        self.principal.may(action)
    }

    /// Whom the audit log names for what is done below this crate.
    pub fn author(&self) -> Author {
        Author {
            workspace: self.principal.workspace,
            actor: self.principal.actor.clone(),
            address: Some(self.visit.address.to_string()),
            user_agent: self.visit.user_agent.clone(),
        }
    }

    /// Writes a change into the audit log, in the transaction that makes it. `action` names the kind of thing and
    /// what happened to it, as in `project.updated`; `subject` is the thing's id.
    pub async fn audit(
        &self,
        tx: &mut Tx,
        ambient: &Ambient,
        action: &'static str,
        subject: impl ToString,
        changed: Changed,
    ) -> ApiResult<()> {
        let change = Change::new(action, subject);
        let change = match changed.before {
            Some(before) => change.from(before),
            None => change,
        };
        let change = match changed.after {
            Some(after) => change.to(after),
            None => change,
        };
        Ok(self.author().note(tx, ambient, change).await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(forwarded: &[&'static str], hops: u32) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 9], 1))));
        client_address(&headers, &extensions, hops).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_appended_is_believed() {
        assert_eq!(seen(&["1.1.1.1"], 0), "10.0.0.9");
        assert_eq!(seen(&["6.6.6.6, 1.1.1.1"], 1), "1.1.1.1");
        assert_eq!(seen(&["6.6.6.6, 1.1.1.1", "10.0.0.1"], 2), "1.1.1.1");
        assert_eq!(seen(&["1.1.1.1"], 2), "10.0.0.9");
        assert_eq!(seen(&["garbage"], 1), "10.0.0.9");
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("bearer x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("vk_x"), None);
    }
}
