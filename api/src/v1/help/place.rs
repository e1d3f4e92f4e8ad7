//! Whose help centre it is, in which language, and how long an answer is good.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::{IntoResponse, Response};
use domain::article::Article;
use domain::workspace::Workspace;
use domain::{DomainError, Lang, Timestamp};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use storage::Conn;

use crate::edge::preferred_language;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;
use crate::v1::end_users::known_language;
use crate::v1::etag::Tagged;

/// How long browsers and what stands between may keep an answer, in seconds, and for how long they may show an old one while
/// they ask for the next.
const CACHED: HeaderValue =
    HeaderValue::from_static("public, max-age=60, stale-while-revalidate=300");

/// What site keys begin with; no workspace's code has an underscore.
const SITE_KEY: &str = "site_";

/// The help centre of the path, and what else the path names.
pub(in crate::v1) struct HelpCentre {
    pub workspace: Workspace,
    /// The slug of the path; empty where there is none.
    pub slug: String,
    /// What the reader's program likes best.
    pub preferred: Option<Lang>,
    tag: Option<HeaderValue>,
}

impl FromRequestParts<AppState> for HelpCentre {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        let nth = |place| Some(parameters.as_ref()?.iter().nth(place)?.1.to_owned());
        let name = nth(0).unwrap_or_default();
        let mut conn = state.db.read().await?;
        let now = state.ambient.now();
        let workspace = find(&mut conn, &name, now).await?.ok_or_else(absent)?;
        Ok(Self {
            workspace,
            slug: nth(1).unwrap_or_default(),
            preferred: preferred_language(&parts.headers),
            tag: parts.headers.get(header::IF_NONE_MATCH).cloned(),
        })
    }
}

async fn find(conn: &mut Conn, name: &str, now: Timestamp) -> ApiResult<Option<Workspace>> {
    if !name.starts_with(SITE_KEY) {
        return Ok(storage::workspaces::by_code(conn, name).await?);
    }
    match storage::projects::find_by_site_key(conn, name, now).await? {
        Some((workspace, _)) => Ok(storage::workspaces::get(conn, workspace).await?),
        None => Ok(None),
    }
}

/// There is no such help centre.
fn absent() -> ApiError {
    DomainError::not_found("help centre").into()
}

/// The language that is asked for, if one is.
pub(super) fn asked_language(code: Option<&str>) -> ApiResult<Option<Lang>> {
    code.map(|code| known_language("language", code)).transpose()
}

impl HelpCentre {
    /// Languages in the order in which an article is looked for.
    pub fn languages(&self, asked: Option<Lang>) -> Vec<Lang> {
        if let Some(asked) = asked {
            return vec![asked];
        }
        let mut all: Vec<Lang> = self.preferred.into_iter().chain(Lang::KNOWN).collect();
        let mut seen = Vec::new();
        all.retain(|language| {
            let fresh = !seen.contains(language);
            seen.push(*language);
            fresh
        });
        all
    }

    /// An answer that may be kept for a while; 304 to who has it already.
    pub fn answer<T: Serialize>(&self, body: T) -> ApiResult<Response> {
        let mut response = Tagged::of(body)?.into_response();
        let is_known = same(self.tag.as_ref(), response.headers());
        response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-language"));
        if !is_known {
            return Ok(response);
        }
        let (parts, _) = response.into_parts();
        let mut unchanged = StatusCode::NOT_MODIFIED.into_response();
        for name in [header::ETAG, header::CACHE_CONTROL, header::VARY] {
            if let Some(value) = parts.headers.get(&name) {
                unchanged.headers_mut().insert(name, value.clone());
            }
        }
        Ok(unchanged)
    }
}

/// Whether `If-None-Match` names the tag of an answer.
fn same(known: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let Some(known) = known.and_then(|value| value.to_str().ok()) else { return false };
    let Some(tag) = headers.get(header::ETAG).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    known
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one == tag)
}

/// Where people read an article: in the help centre, at the address that this installation is known by. `None` without one.
pub(in crate::v1) async fn link_of(
    state: &AppState,
    conn: &mut Conn,
    article: &Article,
) -> ApiResult<Option<String>> {
    let Some(base) = &state.settings.server.public_url else { return Ok(None) };
    let workspace = storage::workspaces::get(conn, article.workspace_id).await?;
    let Some(workspace) = workspace else { return Ok(None) };
    let base = base.as_str().trim_end_matches('/');
    let (code, slug, language) = (workspace.code, &article.slug, article.language.code());
    Ok(Some(format!("{base}/v1/help/{code}/articles/{slug}?language={language}")))
}
