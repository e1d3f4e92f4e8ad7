//! `ETag` of what is read, `If-Match` on what is changed: an edit of something that has changed meanwhile is refused.
//!
//! A tag is a digest of what is compared, so it needs no column and no clock. It is compared within the transaction of
//! the change, after the row was read there: of two who change the same thing at once, one wins and the other is told.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use domain::{DomainError, ErrorKind};
use http::request::Parts;
use http::{HeaderValue, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use crate::error::{ApiError, ApiResult};
use crate::extract::Json;

/// Bytes of a digest that make a tag.
const TAG_BYTES: usize = 12;

/// An answer with its `ETag`.
#[derive(Debug)]
pub(super) struct Tagged<T> {
    tag: String,
    body: T,
}

/// What a caller takes for the state of what it changes: `If-Match`; anything goes where it is absent or `*`.
#[derive(Debug)]
pub(super) struct IfMatch(Option<Vec<String>>);

/// The tag of a value, with its quotes.
fn tag_of(value: &impl Serialize) -> ApiResult<String> {
    let json = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "a value that is answered is no JSON");
        ApiError::internal()
    })?;
    let digest = Sha256::digest(&json);
    Ok(format!("\"{}\"", hex::encode(&digest[..TAG_BYTES])))
}

impl<T: Serialize> Tagged<T> {
    /// An answer whose tag is that of `edited`, the part of it that people edit.
    pub fn by(edited: &impl Serialize, body: T) -> ApiResult<Self> {
        Ok(Self { tag: tag_of(edited)?, body })
    }

    /// An answer whose tag is that of all of it.
    pub fn of(body: T) -> ApiResult<Self> {
        Ok(Self { tag: tag_of(&body)?, body })
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl IfMatch {
    /// Whether the caller knows `current`, the very value that [`Tagged`] had made the tag of; else 412 `STALE`.
    pub fn check(&self, current: &impl Serialize) -> ApiResult<()> {
        let Some(tags) = &self.0 else { return Ok(()) };
        if tags.contains(&tag_of(current)?) {
            return Ok(());
        }
        let message = "somebody has changed it meanwhile; read it again and repeat the change";
        Err(DomainError::new(ErrorKind::Stale, "STALE", message).into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let invalid = || {
            let message = "`If-Match` must be the `ETag` of an answer, with its quotes, or `*`";
            ApiError::invalid("If-Match", message)
        };
        let text = value.to_str().map_err(|_| invalid())?.trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let tags: Vec<String> = text.split(',').map(|tag| tag.trim().to_owned()).collect();
        let quoted = |tag: &String| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
        if tags.iter().all(quoted) { Ok(Self(Some(tags))) } else { Err(invalid()) }
    }
}

impl utoipa::IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text =
            "The `ETag` that the resource was read with: where it is another one by now, 412.";
        let schema = ObjectBuilder::new().schema_type(Type::String);
        vec![
            ParameterBuilder::new()
                .name("If-Match")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(text))
                .schema(Some(schema))
                .build(),
        ]
    }
}
