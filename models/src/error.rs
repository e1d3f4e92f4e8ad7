//! What can go wrong with a model.

use std::time::Duration;

use domain::{DomainError, ErrorKind};

/// A failure of a model provider. `Display` is for logs; clients get the `DomainError`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The provider refuses the credential (401, 403): the operator must act.
    #[error("the model provider refuses the key: {0}")]
    Credential(String),
    /// The provider refuses the request (400, 404, 422): repeating it is useless.
    #[error("the model provider refuses the request: {0}")]
    Refused(String),
    /// Too many requests (429), or the provider is overloaded.
    #[error("the model provider is at its limit")]
    RateLimited {
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// Unreachable, 5xx, or nothing within the time allowed.
    #[error("the model provider is not available: {0}")]
    Unavailable(String),
    /// The stream ended early or made no sense.
    #[error("the model's answer broke off: {0}")]
    Broken(String),
    /// The breaker is open: the provider failed often just now.
    #[error("the model provider failed repeatedly; not asked again for a moment")]
    BreakerOpen {
        /// When it is asked again.
        retry_after: Duration,
    },
}

impl From<ModelError> for DomainError {
    fn from(error: ModelError) -> Self {
        let wait = Duration::from_secs(5);
        match error {
            ModelError::Credential(_) => Self::unavailable(
                "MODEL_CREDENTIAL",
                "the model provider refuses the key; set OPENAI_API_KEY, or the key of the workspace's provider",
                Duration::from_mins(1),
            ),
            ModelError::Refused(reason) => Self::new(
                ErrorKind::Unavailable,
                "MODEL_REFUSED",
                format!("the model provider refused the request: {reason}"),
            ),
            ModelError::RateLimited { retry_after } => Self::unavailable(
                "MODEL_UNAVAILABLE",
                "the model provider is at its limit; try again shortly",
                retry_after.unwrap_or(wait),
            ),
            ModelError::Unavailable(_) | ModelError::Broken(_) => Self::unavailable(
                "MODEL_UNAVAILABLE",
                "the model provider is not available; try again shortly",
                wait,
            ),
            ModelError::BreakerOpen { retry_after } => Self::unavailable(
                "MODEL_UNAVAILABLE",
                "the model provider is not available; try again shortly",
                retry_after,
            ),
        }
    }
}
