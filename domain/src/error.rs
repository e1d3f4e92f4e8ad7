//! Every error answers one question: whose fault, and may I retry?

use std::time::Duration;

/// The closed set of failures that a caller can be told about. Each surface maps it to a status once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; repeating it is useless. 400.
    Invalid,
    /// No credential, or one that does not hold. 401.
    Unauthenticated,
    /// The plan is used up. 402.
    UsageLimit,
    /// The credential does not allow this. 403.
    Forbidden,
    /// Absent, or another tenant's. 404.
    NotFound,
    /// The state does not allow it now. 409.
    Conflict,
    /// What was to be changed is another by now. 412.
    Stale,
    /// Over a size limit. 413.
    TooLarge,
    /// A type that is not taken. 415.
    UnsupportedType,
    /// Too many requests; retry later. 429.
    RateLimited,
    /// A dependency is down or busy; retry later. 503.
    Unavailable,
    /// Our fault. 500.
    Internal,
}

/// A failure to be told to the caller: code, message with the remedy, and the field when one is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DomainError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// `UPPER_SNAKE`, stable, from one table (`docs/API-DESIGN.md`).
    pub code: &'static str,
    /// Lower case, no final period, names the thing and the remedy.
    pub message: String,
    /// The path of the field to blame: `contact.email`.
    pub field: Option<String>,
    /// When to try again, for `RateLimited` and `Unavailable`.
    pub retry_after: Option<Duration>,
}

impl DomainError {
    /// An error of a kind, with its code and message.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), field: None, retry_after: None }
    }

    /// A field holds a value that is not accepted.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(ErrorKind::Invalid, "INVALID_PARAMETER", message)
        }
    }

    /// Absent or another tenant's; the same words in both cases. `what` is the kind of thing: `agent`.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorKind::NotFound, "NOT_FOUND", format!("{what} not found"))
    }

    /// The state does not allow it.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, message)
    }

    /// A dependency is down; `retry_after` says when to try again.
    pub fn unavailable(
        code: &'static str,
        message: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ErrorKind::Unavailable, code, message) }
    }

    /// The same error blaming `field`.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
