//! The one error envelope: `{"error": {"code", "message", "details"?, "requestId"}}`.

use axum::response::{IntoResponse, Response};
use domain::{DomainError, ErrorKind, Lang};
use http::StatusCode;
use retrieval::RetrievalError;
use serde::Serialize;
use storage::StorageError;
use utoipa::ToSchema;

use crate::messages::{self, NOT_SIGNED_IN, fixed_message};

/// A failure on its way to a client. [`crate::edge`] writes the body, since it knows the request id and
/// the language.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(DomainError, Option<String>);

pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody {
    /// Stable, `UPPER_SNAKE`, from the table of `docs/API-DESIGN.md`.
    #[schema(pattern = "^[A-Z][A-Z0-9_]*$", example = "INVALID_PARAMETER")]
    pub code: &'static str,
    /// For people: what is wrong and what to do.
    #[schema(example = "`query` must not be empty")]
    pub message: String,
    /// The fields to blame, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub details: Vec<ErrorDetail>,
    /// Of `SECOND_FACTOR_REQUIRED`: what the code is sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub challenge: Option<String>,
    /// The id of the request, also in the header `x-request-id`; name it when asking for help.
    #[schema(example = "req_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    pub request_id: String,
}

/// A field to blame.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// Its path: `contact.email`, `tools[0].type`.
    #[schema(example = "query")]
    pub field: String,
    /// What is wrong with it.
    #[schema(example = "`query` must not be empty")]
    pub message: String,
}

impl ApiError {
    /// No credential, or one that does not hold: the same answer in all cases.
    pub fn unauthorized() -> Self {
        Self::fixed(ErrorKind::Unauthenticated, "UNAUTHORIZED")
    }

    /// As [`Self::unauthorized`], on the panel.
    pub fn not_signed_in() -> Self {
        Self(DomainError::new(ErrorKind::Unauthenticated, "UNAUTHORIZED", NOT_SIGNED_IN), None)
    }

    /// The credential does not allow this.
    pub fn forbidden(scope: domain::Scope) -> Self {
        let message = format!("this API key lacks the scope `{scope}`");
        Self(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message), None)
    }

    /// The password was right; the code that is owed is sent with `challenge`.
    pub fn second_factor(challenge: String) -> Self {
        let message = "a code of the second factor is needed; send it with error.challenge";
        let code = "SECOND_FACTOR_REQUIRED";
        Self(DomainError::new(ErrorKind::Unauthenticated, code, message), Some(challenge))
    }

    /// No such route.
    pub fn no_route() -> Self {
        let message = "there is no such route; /docs lists them";
        Self(DomainError::new(ErrorKind::NotFound, "NOT_FOUND", message), None)
    }

    /// The route exists, with other methods.
    pub fn method_not_allowed() -> Self {
        Self::fixed(ErrorKind::Invalid, METHOD_NOT_ALLOWED)
    }

    /// Our fault.
    pub fn internal() -> Self {
        Self::fixed(ErrorKind::Internal, "INTERNAL")
    }

    /// The body is not the JSON that it should be.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self(DomainError::new(ErrorKind::Invalid, "INVALID_JSON", message), None)
    }

    /// Over a size limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self(DomainError::new(ErrorKind::TooLarge, "PAYLOAD_TOO_LARGE", message), None)
    }

    /// A content type that is not taken.
    pub fn unsupported_type(expected: &str) -> Self {
        let message = format!("this content type is not taken; send Content-Type: {expected}");
        Self(DomainError::new(ErrorKind::UnsupportedType, "UNSUPPORTED_MEDIA_TYPE", message), None)
    }

    /// A field holds a value that is not accepted.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(DomainError::invalid(field, message), None)
    }

    fn fixed(kind: ErrorKind, code: &'static str) -> Self {
        let message = fixed_message(code, Lang::En).unwrap_or("error");
        Self(DomainError::new(kind, code, message), None)
    }

    /// The error as the domain says it.
    pub fn domain(&self) -> &DomainError {
        &self.0
    }

    /// The status that the error answers with.
    pub fn status(&self) -> StatusCode {
        if self.0.code == METHOD_NOT_ALLOWED {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        match self.0.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorKind::UsageLimit => StatusCode::PAYMENT_REQUIRED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Stale => StatusCode::PRECONDITION_FAILED,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::UnsupportedType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body, in the client's language where the message is one of the fixed ones.
    pub fn body(&self, language: Option<Lang>, request_id: &str) -> ErrorEnvelope {
        let message = self.message(language);
        let details = match &self.0.field {
            Some(field) => vec![ErrorDetail { field: field.clone(), message: message.clone() }],
            None => Vec::new(),
        };
        let request_id = request_id.to_owned();
        let (code, challenge) = (self.0.code, self.1.clone());
        ErrorEnvelope { error: ErrorBody { code, message, details, challenge, request_id } }
    }

    /// The message in `language`; without one, in the words of the specification.
    pub fn message(&self, language: Option<Lang>) -> String {
        let language = language.unwrap_or(match self.0.kind {
            ErrorKind::Unauthenticated => Lang::Es,
            _ => Lang::En,
        });
        let named = self.0.field.is_some();
        let told = match language {
            Lang::En => None,
            other => messages::translated(self.0.code, &self.0.message, named, other),
        };
        if let Some(told) = told {
            return told.to_owned();
        }
        let field = self.0.field.as_deref();
        match field.filter(|field| !self.0.message.contains(*field)) {
            Some(field) => format!("`{field}`: {}", self.0.message),
            None => self.0.message.clone(),
        }
    }
}

const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";

impl From<DomainError> for ApiError {
    fn from(error: DomainError) -> Self {
        if error.kind == ErrorKind::Internal {
            tracing::error!(code = error.code, message = error.message, "request failed");
            return Self::internal();
        }
        Self(error, None)
    }
}

impl From<accounts::Error> for ApiError {
    fn from(error: accounts::Error) -> Self {
        match error {
            accounts::Error::Domain(error) => error.into(),
            accounts::Error::Storage(error) => error.into(),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        tracing::error!(error = source_chain(&error), "storage failed");
        Self(error.into(), None)
    }
}

impl From<RetrievalError> for ApiError {
    fn from(error: RetrievalError) -> Self {
        if !matches!(error, RetrievalError::Invalid(_)) {
            tracing::error!(error = source_chain(&error), "search failed");
        }
        Self(error.into(), None)
    }
}

impl IntoResponse for ApiError {
    /// Status and an extension; the body is written by [`crate::edge`].
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error and its causes, in one line.
pub(crate) fn source_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_language_a_refused_key_reads_as_in_the_specification() {
        let refused = ApiError::unauthorized();
        assert_eq!(refused.message(None), "API key inválida");
        assert_eq!(refused.message(Some(Lang::En)), "invalid API key");
    }

    #[test]
    fn messages_that_name_something_stay_as_they_are() {
        let error = ApiError::invalid("query", "`query` must not be empty");
        assert_eq!(error.message(Some(Lang::Es)), "`query` must not be empty");
        let body = error.body(None, "req_1");
        assert_eq!(body.error.details[0].field, "query");
        let error = ApiError::invalid("url", "not an address");
        assert_eq!(error.message(None), "`url`: not an address");
    }

    #[test]
    fn what_names_nothing_is_told_in_the_language_of_the_caller() {
        let taken = "`email` has an account already; sign in, or use another address";
        let error = ApiError::from(DomainError::conflict("EMAIL_TAKEN", taken).at("email"));
        assert_eq!(error.message(None), taken);
        assert!(error.message(Some(Lang::Es)).starts_with("Esa dirección ya tiene una cuenta"));
        let error = ApiError::not_signed_in();
        assert!(error.message(Some(Lang::Pt)).starts_with("Não há sessão"));
    }

    #[test]
    fn a_failure_of_ours_tells_nothing_of_it() {
        let secret = DomainError::new(ErrorKind::Internal, "INTERNAL", "column ssn is broken");
        assert_eq!(
            ApiError::from(secret).message(Some(Lang::En)),
            "something went wrong on our side"
        );
    }
}
