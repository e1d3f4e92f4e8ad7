//! Signing in with an account elsewhere (`OpenID` Connect).

use accounts::{SignIn, Visit};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use utoipa_axum::routes;

use super::oidc_arrival::Arrival;
use super::second_factor::signed_in;
use super::views::SignedInView;
use crate::auth::Visitor;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::pages;
use crate::routes::Routes;
use crate::state::AppState;

/// What keeps the state in the browser, so that nobody is signed in by a link that somebody else sends them.
const COOKIE: &str = "vocero_oidc";
/// Where it is sent, and for how many seconds.
const COOKIE_ENDS: &str = "; Path=/v1/auth/oidc; Max-Age=600; HttpOnly; SameSite=Lax";

pub(super) fn routes() -> Routes {
    Routes::new().open(routes!(start)).open(routes!(callback))
}

/// Sign in elsewhere
///
/// Sends a browser to the identity provider of the settings.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/start",
    tag = "Account",
    operation_id = "startOidc",
    responses(
        (status = 303, description = "To the provider; `Location` says where.", headers(("Location" = String))),
        (status = 404, description = "No provider is set up.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.oidc.start", skip_all)]
async fn start(State(state): State<AppState>, Visitor(visit): Visitor) -> ApiResult<Response> {
    let departure = state.accounts.depart(&visit).await?;
    let public = state.settings.server.public_url.as_ref();
    let secure = if public.is_some_and(|url| url.scheme() == "https") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={}{COOKIE_ENDS}{secure}", departure.state);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ApiError::internal());
    let headers = [
        (header::LOCATION, value(&departure.url)?),
        (header::SET_COOKIE, value(&cookie)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Come back from elsewhere
///
/// Where the identity provider sends the browser. An address that the provider has verified belongs to the account of that address, or to a
/// new one. 403 where the provider does not vouch for it, or strangers may not register. A program gets tokens; a browser (`Accept: text/html`)
/// is shown a page without any, and no session stays behind.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/callback",
    tag = "Account",
    operation_id = "oidcCallback",
    params(Arrival),
    responses(
        (status = 200, description = "Signed in.", body = SignedInView),
        (status = 401, description = "Signing in did not work, or a code of the second factor is needed, too.", body = crate::error::ErrorEnvelope),
        (status = 403, description = "The provider does not vouch for the address, or strangers may not register here.", body = crate::error::ErrorEnvelope),
        (status = 404, description = "No provider is set up.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.oidc.callback", skip_all)]
async fn callback(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    headers: HeaderMap,
    Query(arrival): Query<Arrival>,
) -> ApiResult<Response> {
    let done = arrive(&state, &visit, &headers, arrival).await;
    if pages::are_wanted(&headers) {
        let page = pages::came_back(&state, done, &visit).await;
        return Ok((forget()?, page).into_response());
    }
    let body: Json<SignedInView> = signed_in(done?)?;
    Ok((forget()?, body).into_response())
}

async fn arrive(
    state: &AppState,
    visit: &Visit,
    headers: &HeaderMap,
    arrival: Arrival,
) -> ApiResult<SignIn> {
    let required = |name: &str, value: Option<String>| {
        let message = format!("`{name}` is missing; begin at /v1/auth/oidc/start");
        value.ok_or_else(|| ApiError::invalid(name, message))
    };
    if let Some(error) = arrival.error.filter(|_| arrival.code.is_none()) {
        let error: String = domain::text::sanitize(&error).chars().take(100).collect();
        return Err(ApiError::invalid("error", format!("`error`: the provider says {error}")));
    }
    let (left_with, code) = (required("state", arrival.state)?, required("code", arrival.code)?);
    let kept = cookie_of(headers);
    Ok(state.accounts.arrive(&left_with, kept, code, visit).await?)
}

/// The cookie has done its work; nobody keeps the answer.
fn forget() -> ApiResult<[(HeaderName, HeaderValue); 2]> {
    let forget = format!("{COOKIE}=; Path=/v1/auth/oidc; Max-Age=0; HttpOnly; SameSite=Lax");
    let forget = HeaderValue::from_str(&forget).map_err(|_| ApiError::internal())?;
    Ok([
        (header::SET_COOKIE, forget),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}
