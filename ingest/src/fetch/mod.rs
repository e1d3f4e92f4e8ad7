//! The one HTTP client that leaves the building for addresses that users supply.
//!
//! An address is parsed once, its host resolved once, every resolved address judged, and the connection
//! goes to a judged address only. Redirects are followed by hand, each judged from the start.

mod guard;
mod robots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::settings::FetchSettings;
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION,
};
use reqwest::{Response, StatusCode};
use storage::sources::Validators;
use url::Url;

use self::robots::Rules;

/// The name that robots.txt knows this client by.
const USER_AGENT_NAME: &str = "VoceroBot";
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects followed.
const MAX_REDIRECTS: usize = 3;
/// How long a site's robots.txt is remembered.
const ROBOTS_LIFETIME: Duration = Duration::from_mins(10);
/// How long a client for one host is kept after its last use.
const CLIENT_IDLE: Duration = Duration::from_secs(30);
/// What is asked for, best first.
const ACCEPTED: &str = "text/html,application/xhtml+xml,text/markdown,text/plain,application/pdf;q=0.9,\
                        application/*;q=0.5,text/*;q=0.5";

/// The guarded client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    settings: Arc<FetchSettings>,
    robots: moka::future::Cache<String, Arc<Rules>>,
    clients: moka::sync::Cache<(String, Vec<SocketAddr>), reqwest::Client>,
}

/// A page or file that was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The address after redirects.
    pub url: Url,
    /// `Content-Type`, without parameters, in lower case.
    pub content_type: Option<String>,
    /// The charset that `Content-Type` names.
    pub charset: Option<String>,
    /// The body, decompressed.
    pub body: Bytes,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// What came of a conditional fetch.
#[derive(Debug, Clone)]
pub enum FetchOutcome {
    /// There is a body.
    Fetched(Box<Fetched>),
    /// 304: unchanged since the validators given.
    NotModified,
}

/// Why an address was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// `UPPER_SNAKE`: `FETCH_REFUSED`, `FETCH_ROBOTS`, `FETCH_STATUS`, `FETCH_TIMEOUT`, `FETCH_TOO_LARGE`,
    /// `FETCH_TYPE`, `FETCH_UNREACHABLE`.
    pub code: &'static str,
    /// A sentence for a person. Does not tell what an inner network holds.
    pub message: String,
    /// Whether trying again could help.
    pub retry: bool,
}

impl FetchError {
    fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: false }
    }

    fn refused(message: impl Into<String>) -> Self {
        Self::permanent("FETCH_REFUSED", message)
    }

    fn refused_port() -> Self {
        Self::refused("only the ports 80 and 443 are fetched; leave the port out of the address")
    }

    fn unreachable(message: impl Into<String>) -> Self {
        Self { code: "FETCH_UNREACHABLE", message: message.into(), retry: true }
    }
}

/// Checks an address as far as that goes without the network: scheme, port, user info, literal hosts.
/// The normalised address, or why not.
pub fn check_url(text: &str, settings: &FetchSettings) -> Result<Url, FetchError> {
    guard::check(text, &settings.allow)
}

impl Fetcher {
    /// A client with the installation's limits.
    pub fn new(settings: FetchSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            robots: moka::future::Cache::builder()
                .max_capacity(1_000)
                .time_to_live(ROBOTS_LIFETIME)
                .build(),
            clients: moka::sync::Cache::builder()
                .max_capacity(64)
                .time_to_idle(CLIENT_IDLE)
                .build(),
        }
    }

    /// The limits that this client works under.
    pub fn settings(&self) -> &FetchSettings {
        &self.settings
    }

    /// Fetches a page, respecting robots.txt; at most three redirects, each judged from the start.
    pub async fn fetch(
        &self,
        url: &Url,
        validators: &Validators,
    ) -> Result<FetchOutcome, FetchError> {
        let limit = self.settings.timeout;
        tokio::time::timeout(limit, self.fetch_unhurried(url, validators))
            .await
            .unwrap_or_else(|_| Err(timed_out(limit)))
    }

    async fn fetch_unhurried(
        &self,
        url: &Url,
        validators: &Validators,
    ) -> Result<FetchOutcome, FetchError> {
        let headers = request_headers(validators);
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let addresses = guard::resolve(&url, &self.settings.allow).await?;
            if !self.rules(&url, &addresses).await?.allow(&url) {
                return Err(FetchError::permanent(
                    "FETCH_ROBOTS",
                    "the site's robots.txt does not let this page be read",
                ));
            }
            let response = self.send(&url, &addresses, headers.clone()).await?;
            match response.status() {
                StatusCode::NOT_MODIFIED => return Ok(FetchOutcome::NotModified),
                status if status.is_success() => {
                    let fetched = self.read(url, response).await?;
                    return Ok(FetchOutcome::Fetched(Box::new(fetched)));
                }
                status => match redirect_target(&url, &response) {
                    Some(target) => url = target?,
                    None => return Err(refused_status(status)),
                },
            }
        }
        Err(too_many_redirects())
    }

    /// The rules of the page's site, from the cache when they were read a short while ago.
    async fn rules(&self, page: &Url, addresses: &[SocketAddr]) -> Result<Arc<Rules>, FetchError> {
        let site = page.origin().ascii_serialization();
        let rules = async { self.read_rules(page, addresses).await.map(Arc::new) };
        self.robots.try_get_with(site, rules).await.map_err(Arc::unwrap_or_clone)
    }

    async fn read_rules(&self, page: &Url, addresses: &[SocketAddr]) -> Result<Rules, FetchError> {
        let mut url = robots::address(page);
        let mut addresses = addresses.to_vec();
        for _ in 0..=MAX_REDIRECTS {
            let mut response = self.send(&url, &addresses, HeaderMap::new()).await?;
            let status = response.status();
            if status.is_success() {
                let body = read_up_to(&mut response, robots::MAX_BYTES).await?;
                return Ok(Rules::parse(&body));
            }
            // A site that fails to say what may be read is left alone (RFC 9309, 2.3.1.4).
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                return Err(FetchError {
                    code: "FETCH_ROBOTS",
                    message: "the site's robots.txt cannot be read just now".to_owned(),
                    retry: true,
                });
            }
            match redirect_target(&url, &response) {
                Some(target) => url = target?,
                None => return Ok(Rules::AllowAll),
            }
            addresses = guard::resolve(&url, &self.settings.allow).await?;
        }
        // More hops than that: as if there were no file (RFC 9309, 2.3.1.2).
        Ok(Rules::AllowAll)
    }

    async fn send(
        &self,
        url: &Url,
        addresses: &[SocketAddr],
        headers: HeaderMap,
    ) -> Result<Response, FetchError> {
        let client = self.client(url, addresses)?;
        client.get(url.clone()).headers(headers).send().await.map_err(|error| broken(&error))
    }

    /// A client that can reach the judged addresses of one host and nothing else.
    fn client(&self, url: &Url, addresses: &[SocketAddr]) -> Result<reqwest::Client, FetchError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut key_addresses = addresses.to_vec();
        key_addresses.sort_unstable();
        self.clients
            .try_get_with((host.clone(), key_addresses), || build_client(&host, addresses))
            .map_err(|error| broken(&error))
    }

    async fn read(&self, url: Url, mut response: Response) -> Result<Fetched, FetchError> {
        let content_type = header(response.headers(), &CONTENT_TYPE);
        let (content_type, charset) = content_type.as_deref().map_or((None, None), split_type);
        if let Some(content_type) = &content_type
            && !is_taken(content_type, &url)
        {
            return Err(FetchError::permanent(
                "FETCH_TYPE",
                format!(
                    "pages of type {content_type} are not taken; give a text page or a document"
                ),
            ));
        }
        let limit = self.settings.max_bytes;
        let body = read_up_to(&mut response, limit.saturating_add(1)).await?;
        if body.len() > limit {
            return Err(FetchError::permanent(
                "FETCH_TOO_LARGE",
                format!("the page is larger than {limit} bytes"),
            ));
        }
        let etag = header(response.headers(), &ETAG);
        let last_modified = header(response.headers(), &LAST_MODIFIED);
        Ok(Fetched { url, content_type, charset, body, etag, last_modified })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module is the guard that every address supplied by a user goes through"
)]
fn build_client(host: &str, addresses: &[SocketAddr]) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(guard::user_agent())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(NoLookUp))
        .resolve_to_addrs(host, addresses)
        .build()
}

/// Names are resolved before a client is built; whatever name it asks for besides is a mistake.
struct NoLookUp;

impl reqwest::dns::Resolve for NoLookUp {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(std::future::ready(Err("names are resolved by the guard only".into())))
    }
}

/// Reads a body, decompressed, but for what comes after `limit` bytes.
async fn read_up_to(response: &mut Response, limit: usize) -> Result<Bytes, FetchError> {
    let mut body = BytesMut::new();
    while body.len() < limit {
        let Some(piece) = response.chunk().await.map_err(|error| broken(&error))? else {
            break;
        };
        let room = limit - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(body.freeze())
}

fn request_headers(validators: &Validators) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let conditions =
        [(IF_NONE_MATCH, &validators.etag), (IF_MODIFIED_SINCE, &validators.last_modified)];
    for (name, value) in conditions {
        if let Some(value) = value.as_ref().and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(ACCEPT, reqwest::header::HeaderValue::from_static(ACCEPTED));
    headers
}

/// Where a redirect leads; `None` when the response is not one. Judged by the next hop.
fn redirect_target(from: &Url, response: &Response) -> Option<Result<Url, FetchError>> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = header(response.headers(), &LOCATION).filter(|_| redirects)?;
    let target = from.join(&location).map(|mut url| {
        url.set_fragment(None);
        url
    });
    Some(
        target
            .map_err(|_| FetchError::refused("the page redirects to an address that is not valid")),
    )
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A content type and its charset.
fn split_type(value: &str) -> (Option<String>, Option<String>) {
    let mut parts = value.split(';').map(str::trim);
    let content_type =
        parts.next().filter(|essence| !essence.is_empty()).map(str::to_ascii_lowercase);
    let charset = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim_matches([' ', '"']).to_owned())
    });
    (content_type, charset)
}

/// Text and documents are taken; what they really are is told by their content later.
fn is_taken(content_type: &str, url: &Url) -> bool {
    const DOCUMENTS: [&str; 16] = [
        "application/xhtml+xml",
        "application/xml",
        "application/pdf",
        "application/x-pdf",
        "application/json",
        "application/ld+json",
        "application/jsonl",
        "application/x-ndjson",
        "application/csv",
        "application/epub+zip",
        "application/zip",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "message/rfc822",
    ];
    // Servers that do not know a document's type say one of these; then the name has to tell.
    const UNKNOWN: [&str; 3] =
        ["application/octet-stream", "binary/octet-stream", "application/x-download"];
    const EXTENSIONS: [&str; 14] = [
        ".pdf", ".docx", ".xlsx", ".pptx", ".csv", ".tsv", ".md", ".txt", ".json", ".jsonl",
        ".eml", ".epub", ".html", ".htm",
    ];
    if content_type.starts_with("text/") || DOCUMENTS.contains(&content_type) {
        return true;
    }
    let path = url.path().to_ascii_lowercase();
    UNKNOWN.contains(&content_type) && EXTENSIONS.iter().any(|extension| path.ends_with(extension))
}

fn broken(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return timed_out(CONNECT_TIMEOUT);
    }
    if error.is_body() || error.is_decode() {
        return FetchError::unreachable("the server's answer broke off or cannot be decoded");
    }
    FetchError::unreachable("the server cannot be reached; check the address or try again later")
}

fn timed_out(limit: Duration) -> FetchError {
    FetchError {
        code: "FETCH_TIMEOUT",
        message: format!("the server did not answer within {} seconds", limit.as_secs_f64()),
        retry: true,
    }
}

fn too_many_redirects() -> FetchError {
    FetchError::permanent(
        "FETCH_REFUSED",
        format!("the page redirects more than {MAX_REDIRECTS} times; give the final address"),
    )
}

fn refused_status(status: StatusCode) -> FetchError {
    let retry = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    FetchError {
        code: "FETCH_STATUS",
        message: format!("the server answered with status {}", status.as_u16()),
        retry,
    }
}
