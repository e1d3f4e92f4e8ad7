//! The one HTTP client that leaves the building for addresses that users supply.

use domain::settings::FetchSettings;

/// The guarded client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {}

/// A page or file that was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The address after redirects.
    pub url: url::Url,
    /// `Content-Type`, without parameters, in lower case.
    pub content_type: Option<String>,
    /// The charset that `Content-Type` names.
    pub charset: Option<String>,
    /// The body, decompressed.
    pub body: bytes::Bytes,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// What came of a conditional fetch.
#[derive(Debug, Clone)]
pub enum FetchOutcome {
    /// There is a body.
    Fetched(Fetched),
    /// 304: unchanged since the validators given.
    NotModified,
}

/// Why an address was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// UPPER_SNAKE: `FETCH_REFUSED`, `FETCH_ROBOTS`, `FETCH_STATUS`, `FETCH_TIMEOUT`, `FETCH_TOO_LARGE`,
    /// `FETCH_TYPE`, `FETCH_UNREACHABLE`.
    pub code: &'static str,
    /// A sentence for a person. Does not tell what an inner network holds.
    pub message: String,
    /// Whether trying again could help.
    pub retry: bool,
}

/// Checks an address as far as that goes without the network: scheme, port, user info, literal hosts.
/// The normalised address, or why not.
pub fn check_url(text: &str, settings: &FetchSettings) -> Result<url::Url, FetchError> {
    let _ = (text, settings);
    todo!()
}

impl Fetcher {
    /// A client with the installation's limits.
    pub fn new(settings: FetchSettings) -> Self {
        let _ = settings;
        todo!()
    }

    /// Fetches a page, respecting robots.txt; at most three redirects, each judged from the start.
    pub async fn fetch(
        &self,
        url: &url::Url,
        validators: &storage::sources::Validators,
    ) -> Result<FetchOutcome, FetchError> {
        let _ = (url, validators);
        todo!()
    }
}
