//! Why an address was not fetched.

use std::time::Duration;

use crate::MAX_REDIRECTS;

/// Why an address was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// `UPPER_SNAKE`: `FETCH_REFUSED`, `FETCH_TIMEOUT`, `FETCH_TOO_LARGE`, `FETCH_TYPE`, `FETCH_UNREACHABLE`;
    /// for pages also `FETCH_ROBOTS` and `FETCH_STATUS`.
    pub code: &'static str,
    /// A sentence for a person. Does not tell what an inner network holds.
    pub message: String,
    /// Whether trying again could help.
    pub retry: bool,
}

impl FetchError {
    /// A failure that trying again does not mend.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: false }
    }

    /// The request may not be sent.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::permanent("FETCH_REFUSED", message)
    }

    /// The body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::permanent("FETCH_TOO_LARGE", format!("the answer is larger than {limit} bytes"))
    }

    /// The limit of time is over.
    pub fn timed_out(limit: Duration) -> Self {
        Self {
            code: "FETCH_TIMEOUT",
            message: format!("the server did not answer within {} seconds", limit.as_secs_f64()),
            retry: true,
        }
    }

    /// There are more redirects than are followed.
    pub fn too_many_redirects() -> Self {
        Self::refused(format!(
            "the page redirects more than {MAX_REDIRECTS} times; give the final address"
        ))
    }

    pub(crate) fn refused_port() -> Self {
        Self::refused("only the ports 80 and 443 are fetched; leave the port out of the address")
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: "FETCH_UNREACHABLE", message: message.into(), retry: true }
    }
}
