//! What every request passes: its id, its span, the body of its error, the headers of its answer.

use std::any::Any;
use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::{Ambient, Lang};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tracing::Instrument;

use crate::error::{ApiError, ErrorEnvelope};
use crate::openai;
use crate::state::AppState;
use crate::visitors;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Nothing that the API answers is a page: nothing may run or be framed.
const API_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The outermost middleware.
pub(crate) async fn edge(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers(), &state.ambient);
    let language = preferred_language(request.headers());
    let method = request.method().clone();
    let writes_as_openai = openai::owns(request.uri().path());
    let writes_to_customers = visitors::owns(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!(
        "http.request",
        %method,
        route,
        request_id = request_id.to_str().unwrap_or_default(),
        workspace = tracing::field::Empty,
    );

    let mut response = next.run(request).instrument(span.clone()).await;

    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let body = if writes_as_openai {
            openai::write_error(&error, language)
        } else {
            envelope(&error, language, &request_id, writes_to_customers)
        };
        write_error(&mut response, &error, body);
    }
    write_headers(response.headers_mut(), request_id);
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    span.in_scope(|| {
        let ms = elapsed.as_secs_f64() * 1_000.0;
        tracing::info!(status, ms, "request");
    });
    count(method.as_str(), route, status, elapsed);
    response
}

fn count(method: &str, route: &str, status: u16, elapsed: Duration) {
    let (method, route) = (method.to_owned(), route.to_owned());
    let labels = [("method", method), ("route", route), ("status", status.to_string())];
    metrics::counter!("vocero_http_requests_total", &labels).increment(1);
    metrics::histogram!("vocero_http_request_seconds", &labels[..2]).record(elapsed.as_secs_f64());
}

/// The client's own id when it is 1 to 128 letters, digits, `_`, `.` or `-`; else a new one.
fn request_id(headers: &HeaderMap, ambient: &Ambient) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
        (1..=128).contains(&bytes.len()) && bytes.iter().all(fits)
    });
    given.cloned().unwrap_or_else(|| {
        let id = format!("req_{}", ambient.new_uuid().simple());
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("req_unknown"))
    })
}

/// The language among es, en and pt that the client likes best; `None` when it names none of them.
pub(crate) fn preferred_language(headers: &HeaderMap) -> Option<Lang> {
    let text = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f64, Lang)> = None;
    for entry in text.split(',') {
        let (tag, parameters) = entry.split_once(';').unwrap_or((entry, "q=1"));
        let weight = parameters.trim().strip_prefix("q=").and_then(|q| q.parse().ok());
        let weight: f64 = weight.unwrap_or(0.0);
        let Ok(language) = tag.trim().parse::<Lang>() else { continue };
        let better = best.is_none_or(|(weight_so_far, _)| weight > weight_so_far);
        if language != Lang::Other && weight > 0.0 && better {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// The body of an error on our own surfaces. Customers are told politely.
fn envelope(
    error: &ApiError,
    language: Option<Lang>,
    request_id: &HeaderValue,
    to_customers: bool,
) -> Vec<u8> {
    let mut body: ErrorEnvelope = error.body(language, request_id.to_str().unwrap_or_default());
    let told = error.domain();
    if to_customers && let Some(polite) = visitors::polite(told.code, told.kind, language) {
        polite.clone_into(&mut body.error.message);
    }
    serde_json::to_vec(&body).unwrap_or_default()
}

fn write_error(response: &mut Response, error: &ApiError, body: Vec<u8>) {
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, JSON);
    error_headers(headers, error);
    *response.body_mut() = Body::from(body);
}

/// What stands beside the status of an error: which credential is taken, when to come back.
pub(crate) fn error_headers(headers: &mut HeaderMap, error: &ApiError) {
    if error.status() == http::StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = error.domain().retry_after {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

fn write_headers(headers: &mut HeaderMap, request_id: HeaderValue) {
    headers.insert(REQUEST_ID, request_id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Answers a path that no route has.
pub(crate) async fn not_found() -> ApiError {
    ApiError::no_route()
}

/// Answers a method that the route does not take; the router adds `Allow`.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}

/// Answers for a handler that panicked: the message goes to the log only.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer calls")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&'static str>().map(|text| Cow::Borrowed(*text));
    let text = text.or_else(|| panic.downcast_ref::<String>().map(|text| Cow::Borrowed(&**text)));
    tracing::error!(panic = text.as_deref().unwrap_or("no message"), "a handler panicked");
    ApiError::internal().into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    fn preferred(value: &'static str) -> Option<Lang> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(value));
        preferred_language(&headers)
    }

    #[test]
    fn the_best_liked_language_of_the_three_is_taken() {
        assert_eq!(preferred("es-CL,es;q=0.9,en;q=0.8"), Some(Lang::Es));
        assert_eq!(preferred("de, en;q=0.3, pt-BR;q=0.7"), Some(Lang::Pt));
        assert_eq!(preferred("*"), None);
        assert_eq!(preferred("en;q=0, fr"), None);
    }

    #[tokio::test]
    async fn a_panic_answers_500_and_tells_nothing() {
        async fn broken() {
            assert_eq!(1, 2, "the secret");
        }
        let layer = tower_http::catch_panic::CatchPanicLayer::custom(panicked);
        let router = axum::Router::new().route("/", axum::routing::get(broken)).layer(layer);
        let mut response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::INTERNAL_SERVER_ERROR);
        let error = response.extensions_mut().remove::<ApiError>().unwrap();
        let body = envelope(&error, None, &HeaderValue::from_static("req_1"), false);
        write_error(&mut response, &error, body);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["error"]["code"], &body["error"]["requestId"]),
            (&"INTERNAL".into(), &"req_1".into())
        );
        assert!(!body.to_string().contains("secret"), "{body}");
    }

    #[test]
    fn only_a_plain_request_id_is_taken_over() {
        let ambient = Ambient::system();
        for (given, taken) in [("abc-1.2_3", true), ("", false), ("a b", false), ("a\"b", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            let id = request_id(&headers, &ambient);
            assert_eq!(id == given, taken, "{given}");
            assert!(taken || id.to_str().unwrap().starts_with("req_"));
        }
    }
}
