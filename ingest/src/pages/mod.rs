//! Pages of the web, read as their sites let robots read them.

mod robots;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fetch::header::{
    ACCEPT, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use fetch::{
    Client, FetchError, HeaderMap, HeaderValue, MAX_REDIRECTS, Method, Response, StatusCode, Target,
};
use storage::sources::Validators;
use url::Url;

use self::robots::Rules;

/// The name that robots.txt knows this client by.
const USER_AGENT_NAME: &str = "VoceroBot";
/// What sites see.
const USER_AGENT_VALUE: &str = concat!("VoceroBot/", env!("CARGO_PKG_VERSION"));
/// How long a site's robots.txt is remembered.
const ROBOTS_LIFETIME: Duration = Duration::from_mins(10);
/// What is asked for, best first.
const ACCEPTED: &str = "text/html,application/xhtml+xml,text/markdown,text/plain,application/pdf;q=0.9,\
                        application/*;q=0.5,text/*;q=0.5";

/// Reads pages through the guarded client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    robots: moka::future::Cache<String, Arc<Rules>>,
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

impl Fetcher {
    /// Reads pages through this client, under its limits.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            robots: moka::future::Cache::builder()
                .max_capacity(1_000)
                .time_to_live(ROBOTS_LIFETIME)
                .build(),
        }
    }

    /// The guarded client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Fetches a page, respecting robots.txt; at most three redirects, each judged from the start.
    pub async fn fetch(
        &self,
        url: &Url,
        validators: &Validators,
    ) -> Result<FetchOutcome, FetchError> {
        let limit = self.client.settings().timeout;
        tokio::time::timeout(limit, self.fetch_unhurried(url, validators))
            .await
            .unwrap_or_else(|_| Err(FetchError::timed_out(limit)))
    }

    async fn fetch_unhurried(
        &self,
        url: &Url,
        validators: &Validators,
    ) -> Result<FetchOutcome, FetchError> {
        let headers = request_headers(validators);
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let target = self.client.judge(&url).await?;
            if !self.rules(&target).await?.allow(&url) {
                return Err(FetchError::permanent(
                    "FETCH_ROBOTS",
                    "the site's robots.txt does not let this page be read",
                ));
            }
            let response = self.get(&target, headers.clone()).await?;
            match response.status() {
                StatusCode::NOT_MODIFIED => return Ok(FetchOutcome::NotModified),
                status if status.is_success() => {
                    let fetched = self.read(response).await?;
                    return Ok(FetchOutcome::Fetched(Box::new(fetched)));
                }
                status => match response.redirect_target() {
                    Some(target) => url = target?,
                    None => return Err(refused_status(status)),
                },
            }
        }
        Err(FetchError::too_many_redirects())
    }

    /// The rules of the page's site, from the cache when they were read a short while ago.
    async fn rules(&self, page: &Target) -> Result<Arc<Rules>, FetchError> {
        let site = page.url().origin().ascii_serialization();
        let rules = async { self.read_rules(page).await.map(Arc::new) };
        self.robots.try_get_with(site, rules).await.map_err(Arc::unwrap_or_clone)
    }

    async fn read_rules(&self, page: &Target) -> Result<Rules, FetchError> {
        let mut target = page.at_path(robots::PATH);
        for _ in 0..=MAX_REDIRECTS {
            let mut response = self.get(&target, HeaderMap::new()).await?;
            let status = response.status();
            if status.is_success() {
                let body = response.read_up_to(robots::MAX_BYTES).await?;
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
            match response.redirect_target() {
                Some(next) => target = self.client.judge(&next?).await?,
                None => return Ok(Rules::AllowAll),
            }
        }
        // More hops than that: as if there were no file (RFC 9309, 2.3.1.2).
        Ok(Rules::AllowAll)
    }

    async fn get(&self, target: &Target, mut headers: HeaderMap) -> Result<Response, FetchError> {
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        self.client.send_to(target, Method::GET, headers, Bytes::new()).await
    }

    async fn read(&self, mut response: Response) -> Result<Fetched, FetchError> {
        let (content_type, charset) =
            response.header(&CONTENT_TYPE).map_or((None, None), split_type);
        if let Some(content_type) = &content_type
            && !is_taken(content_type, response.url())
        {
            return Err(FetchError::permanent(
                "FETCH_TYPE",
                format!(
                    "pages of type {content_type} are not taken; give a text page or a document"
                ),
            ));
        }
        let body = response.read_all(self.client.settings().max_bytes).await?;
        let etag = response.header(&ETAG).map(str::to_owned);
        let last_modified = response.header(&LAST_MODIFIED).map(str::to_owned);
        let url = response.url().clone();
        Ok(Fetched { url, content_type, charset, body, etag, last_modified })
    }
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
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers
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

fn refused_status(status: StatusCode) -> FetchError {
    let retry = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    FetchError {
        code: "FETCH_STATUS",
        message: format!("the server answered with status {}", status.as_u16()),
        retry,
    }
}
