//! JSON bodies.

use std::time::Duration;

use agents::MAX_IMAGES;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// A JSON body sent as `application/json`; also a JSON answer.
pub(crate) struct Json<T>(pub T);

/// As [`Json`], where no body at all is as good as an empty object.
pub(crate) struct OptionalJson<T>(pub T);

/// A message to an agent, which may show images: a JSON body sent as `application/json`, as nothing, or as `text/plain`,
/// which is what browsers and Node make of a text body without a type.
pub(crate) struct ChatJson<T>(pub T);

/// As [`Json`], for a message that may show images.
pub(crate) struct JsonWithImages<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonWithImages<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(refuse_type(request, state).await);
        }
        Ok(Self(read(request.into_body(), most_of_chat(state)).await?))
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(refuse_type(request, state).await);
        }
        Ok(Self(read(request.into_body(), state.settings.server.max_json_bytes).await?))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        if typed && !is_json(request.headers()) {
            return Err(refuse_type(request, state).await);
        }
        let body = collect(request.into_body(), state.settings.server.max_json_bytes).await?;
        match (body.is_empty(), typed) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => Ok(Self(parse(&body)?)),
            (false, false) => Err(ApiError::unsupported_type("application/json")),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for ChatJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let headers = request.headers();
        let untyped = !headers.contains_key(header::CONTENT_TYPE);
        if !untyped && !is_json(headers) && essence(headers).as_deref() != Some("text/plain") {
            return Err(refuse_type(request, state).await);
        }
        Ok(Self(read(request.into_body(), most_of_chat(state)).await?))
    }
}

/// Largest message with its images, which are a third longer as base64.
fn most_of_chat(state: &AppState) -> usize {
    let image = state.settings.agents.max_image_bytes;
    let images = image.saturating_mul(MAX_IMAGES).saturating_mul(4) / 3;
    state.settings.server.max_json_bytes.saturating_add(images)
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// The content type without its parameters, in lower case.
pub(super) fn essence(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.parse::<mime::Mime>().ok()?.essence_str().to_ascii_lowercase())
}

/// Says what is missing: a body, or its type.
async fn refuse_type(request: Request, state: &AppState) -> ApiError {
    let typed = request.headers().contains_key(header::CONTENT_TYPE);
    match collect(request.into_body(), state.settings.server.max_json_bytes).await {
        Ok(body) if body.is_empty() && !typed => missing_body(),
        Ok(_) => ApiError::unsupported_type("application/json"),
        Err(error) => error,
    }
}

fn missing_body() -> ApiError {
    ApiError::invalid_json("the body is missing; send a JSON object")
}

async fn read<T: DeserializeOwned>(body: Body, most: usize) -> ApiResult<T> {
    parse(&collect(body, most).await?)
}

/// Reads a body of at most `most` bytes.
pub(super) async fn collect(mut body: Body, most: usize) -> ApiResult<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid_json("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > most {
            drain(body, most).await;
            let message = format!("the body is larger than the {most} bytes that are accepted");
            return Err(ApiError::too_large(message));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Reads on for a while, so that a client that is still sending gets to see the answer: closing a
/// connection with unread bytes resets it.
pub(super) async fn drain(mut body: Body, most: usize) {
    let reading = async {
        let mut left = most.max(4 * 1024 * 1024);
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    // Whether it got to the end does not matter: the answer is the same.
    let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
}

/// Parses JSON: bounded in depth (128, by `serde_json`), without NUL characters; errors name the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    if bytes.trim_ascii().is_empty() {
        return Err(missing_body());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = error.valid_up_to();
        ApiError::invalid_json(format!("the body is not UTF-8: byte {position} is not; send UTF-8"))
    })?;
    if !text.trim_ascii_start().starts_with('{') {
        // Types would read a list as their fields in order.
        return Err(ApiError::invalid_json("the body must be a JSON object: {…}"));
    }
    refuse_nul(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| describe(&error))?;
    json.end().map_err(|error| ApiError::invalid_json(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let cause = error.inner();
    if cause.classify() != Category::Data {
        return ApiError::invalid_json(format!("the body is not JSON: {cause}"));
    }
    let message = cause.to_string();
    let place = format!(" at line {} column {}", cause.line(), cause.column());
    let message = without_text(message.strip_suffix(&place).unwrap_or(&message));
    let field = field_of(error);
    if field.is_empty() {
        return ApiError::invalid_json(message);
    }
    ApiError::invalid(&field, format!("`{field}`: {message}"))
}

/// The message without the text that was sent, which may be a secret in the wrong place.
fn without_text(message: &str) -> String {
    for (opening, kept, closing) in [
        ("invalid type: string \"", "invalid type: string", "\", expected "),
        ("invalid value: string \"", "invalid value", "\", expected "),
        ("unknown variant `", "unknown value", "`, expected "),
    ] {
        let Some(rest) = message.strip_prefix(opening) else { continue };
        let expected = rest.rsplit_once(closing).map_or("something else", |(_, expected)| expected);
        return format!("{kept}, expected {expected}");
    }
    message.to_owned()
}

/// The path of the field that an error blames; for a missing field, where it should be.
pub(super) fn field_of<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    let path = if path == "." { String::new() } else { path };
    let message = error.inner().to_string();
    for opening in ["missing field `", "duplicate field `"] {
        let Some(rest) = message.strip_prefix(opening) else { continue };
        let name = rest.split('`').next().unwrap_or_default();
        if path == name || path.ends_with(&format!(".{name}")) {
            return path;
        }
        return if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    }
    path
}

/// Refuses NUL characters, which a database cannot hold; the error names the field.
fn refuse_nul(text: &str) -> ApiResult<()> {
    if !text.contains("\\u0000") {
        return Ok(());
    }
    // The escape may be an escaped backslash followed by `u0000`: only the parsed value tells.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(()) };
    match nul_in(&value, String::new()) {
        Some(field) => {
            let message = format!("`{field}` has a NUL character; remove it");
            Err(ApiError::invalid(field, message))
        }
        None => Ok(()),
    }
}

fn nul_in(value: &Value, path: String) -> Option<String> {
    match value {
        Value::String(text) if text.contains('\0') => Some(path),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(position, item)| nul_in(item, format!("{path}[{position}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, item)| {
            let name = name.replace('\0', "\u{FFFD}");
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if name.contains('\u{FFFD}') { Some(inner) } else { nul_in(item, inner) }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[expect(dead_code, reason = "only its parsing matters")]
        query: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing matters")]
        count: u32,
    }

    fn refused(text: &str) -> (String, Option<String>, String) {
        let error = parse::<Sample>(text.as_bytes()).unwrap_err();
        let error = error.domain();
        (error.code.to_owned(), error.field.clone(), error.message.clone())
    }

    #[test]
    fn an_error_names_the_field_and_what_is_wrong_with_it() {
        let (code, field, message) = refused(r#"{"query": 5}"#);
        assert_eq!((code.as_str(), field.as_deref()), ("INVALID_PARAMETER", Some("query")));
        assert_eq!(message, "`query`: invalid type: integer `5`, expected a string");
        assert_eq!(refused("{}").1.as_deref(), Some("query"));
        assert_eq!(refused(r#"{"query":"a","query":"b"}"#).1.as_deref(), Some("query"));
        assert_eq!(refused(r#"{"query":"a","inner":{}}"#).1.as_deref(), Some("inner.count"));
        let (_, field, _) = refused(r#"{"query":"a","inner":{"count":-1}}"#);
        assert_eq!(field.as_deref(), Some("inner.count"));
    }

    #[test]
    fn an_error_does_not_repeat_the_text_that_was_sent() {
        let (_, field, message) = refused(r#"{"query":"a","inner":{"count":"my \"secret\""}}"#);
        assert_eq!(field.as_deref(), Some("inner.count"));
        assert_eq!(message, "`inner.count`: invalid type: string, expected u32");
        assert_eq!(
            without_text("unknown variant `secret`, expected `a` or `b`"),
            "unknown value, expected `a` or `b`"
        );
    }

    #[test]
    fn what_is_not_json_is_told_apart_from_wrong_fields() {
        let deep = format!("{{\"query\":\"a\",\"inner\":{}{}}}", "[".repeat(500), "]".repeat(500));
        assert!(parse::<Sample>(deep.as_bytes()).is_err());
        let deep = format!("{{\"query\":{}{}}}", "{\"a\":".repeat(500), "}".repeat(500));
        assert!(parse::<Value>(deep.as_bytes()).is_err());
        for text in [
            "",
            "  ",
            "{",
            "nope",
            "[1]",
            "\"x\"",
            "{\"query\":\"a\"} x",
            "{\"query\":\"\\ud800\"}",
        ] {
            assert_eq!(refused(text).0, "INVALID_JSON", "{text}");
        }
        let error = parse::<Sample>(b"{\"query\":\"\xff\"}").unwrap_err();
        assert!(error.domain().message.contains("UTF-8"));
    }

    #[test]
    fn nul_characters_are_refused_by_name_and_lookalikes_are_not() {
        let (code, field, _) = refused("{\"query\":\"a\\u0000b\"}");
        assert_eq!((code.as_str(), field.as_deref()), ("INVALID_PARAMETER", Some("query")));
        assert_eq!(
            refused("{\"query\":\"a\",\"x\":[{\"y\":\"\\u0000\"}]}").1.as_deref(),
            Some("x[0].y")
        );
        let sample = parse::<Sample>(b"{\"query\":\"a\\\\u0000b\"}").unwrap();
        assert!(sample.inner.is_none());
    }
}
