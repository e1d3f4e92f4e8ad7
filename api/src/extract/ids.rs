//! Ids in paths. A malformed id names nothing, so it answers as an absent one does.

use axum::extract::{FromRequestParts, RawPathParams};
use domain::ids::PrefixedId;
use domain::{AgentId, DomainError};
use http::request::Parts;

use crate::error::ApiError;

/// The one id of a path.
pub(crate) struct Id<T>(pub T);

/// The two ids of a path, outer first.
pub(crate) struct Ids<A, B>(pub A, pub B);

/// The id of an agent and the number of one of its versions.
pub(crate) struct Version(pub AgentId, pub i64);

/// The one parameter of a path that is no id; empty when it is no text.
pub(crate) struct Text(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Text {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Self, std::convert::Infallible> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        let text = parameters.as_ref().and_then(|all| Some(all.iter().next()?.1.to_owned()));
        Ok(Self(text.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        let number = parameters.as_ref().and_then(|all| all.iter().nth(1)?.1.parse().ok());
        let both = nth(parameters.as_ref(), 0).zip(number);
        both.map(|(agent, number)| Self(agent, number)).ok_or_else(no_version)
    }
}

/// Absent, of another agent, or of another workspace's.
pub(crate) fn no_version() -> ApiError {
    DomainError::not_found("version").into()
}

impl<S: Send + Sync, T: PrefixedId> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        nth(parameters.as_ref(), 0).map(Self).ok_or_else(absent::<T>)
    }
}

impl<S: Send + Sync, A: PrefixedId, B: PrefixedId> FromRequestParts<S> for Ids<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        let both = || Some(Self(nth(parameters.as_ref(), 0)?, nth(parameters.as_ref(), 1)?));
        both().ok_or_else(absent::<B>)
    }
}

fn nth<T: PrefixedId>(parameters: Option<&RawPathParams>, position: usize) -> Option<T> {
    let (_, text) = parameters?.iter().nth(position)?;
    text.parse().ok()
}

/// What the path is about is not there: the last id's kind, whichever of them names nothing.
fn absent<T: PrefixedId>() -> ApiError {
    DomainError::not_found(T::KIND).into()
}
