//! Ids in paths. A malformed id names nothing, so it answers as an absent one does.

use axum::extract::{FromRequestParts, RawPathParams};
use domain::DomainError;
use domain::ids::PrefixedId;
use http::request::Parts;

use crate::error::{ApiError, ApiResult};

/// The one id of a path.
pub(crate) struct Id<T>(pub T);

/// The two ids of a path, outer first.
pub(crate) struct Ids<A, B>(pub A, pub B);

impl<S: Send + Sync, T: PrefixedId> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        Ok(Self(nth(parameters.as_ref(), 0)?))
    }
}

impl<S: Send + Sync, A: PrefixedId, B: PrefixedId> FromRequestParts<S> for Ids<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        Ok(Self(nth(parameters.as_ref(), 0)?, nth(parameters.as_ref(), 1)?))
    }
}

fn nth<T: PrefixedId>(parameters: Option<&RawPathParams>, position: usize) -> ApiResult<T> {
    let text = parameters.and_then(|parameters| parameters.iter().nth(position));
    let id = text.and_then(|(_, text)| text.parse().ok());
    id.ok_or_else(|| DomainError::not_found(T::KIND).into())
}
