//! Errors as `OpenAI` writes them: `{"error": {"message", "type", "param", "code"}}`.

use domain::{ErrorKind, Lang};
use serde::Serialize;

use crate::error::ApiError;

#[derive(Debug, Serialize)]
pub(super) struct ErrorBody {
    error: ErrorObject,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    message: String,
    r#type: &'static str,
    param: Option<String>,
    code: String,
}

/// The body of an error, as bytes.
pub(crate) fn write(error: &ApiError, language: Option<Lang>) -> Vec<u8> {
    serde_json::to_vec(&ErrorBody::of(error, language)).unwrap_or_default()
}

impl ErrorBody {
    /// In the client's language where the message is one of the fixed ones; English when it names none.
    pub(super) fn of(error: &ApiError, language: Option<Lang>) -> Self {
        let domain = error.domain();
        let (kind, code) = words(domain.kind);
        Self {
            error: ErrorObject {
                message: error.message(Some(language.unwrap_or(Lang::En))),
                r#type: kind,
                param: domain.field.clone(),
                code: code.map_or_else(|| domain.code.to_ascii_lowercase(), str::to_owned),
            },
        }
    }
}

/// The type, and the code where `OpenAI` has one of its own; else ours is told in lower case.
fn words(kind: ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::Unauthenticated => ("invalid_request_error", Some("invalid_api_key")),
        ErrorKind::Forbidden => ("invalid_request_error", Some("insufficient_permissions")),
        ErrorKind::UsageLimit => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::RateLimited => ("requests", Some("rate_limit_exceeded")),
        ErrorKind::Unavailable | ErrorKind::Internal => ("server_error", None),
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Stale
        | ErrorKind::TooLarge
        | ErrorKind::UnsupportedType => ("invalid_request_error", None),
    }
}
