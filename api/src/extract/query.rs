//! Query parameters. Types hold texts; what they mean is parsed by the handler, which knows the remedy.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The query parameters; unknown ones are ignored.
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let parameters = serde_urlencoded::Deserializer::new(pairs);
        match serde_path_to_error::deserialize(parameters) {
            Ok(parameters) => Ok(Self(parameters)),
            Err(error) => {
                let field = super::body::field_of(&error);
                let message = format!("`{field}`: {}", error.inner());
                Err(ApiError::invalid(field, message))
            }
        }
    }
}
