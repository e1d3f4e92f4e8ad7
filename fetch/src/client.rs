//! The client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::settings::FetchSettings;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::response::broken;
use crate::{FetchError, MAX_REDIRECTS, Response, Target, guard, headers};

/// How long connecting may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client for one host is kept after its last use.
const CLIENT_IDLE: Duration = Duration::from_secs(30);
/// What servers see when the caller says nothing else.
const USER_AGENT: &str = concat!("Vocero/", env!("CARGO_PKG_VERSION"));

/// The guarded client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<FetchSettings>,
    clients: moka::sync::Cache<(String, Vec<SocketAddr>), reqwest::Client>,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address; judged before anything is sent.
    pub url: Url,
    /// Headers beside those that the client sets itself.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// A GET without headers of its own.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The limits of one call.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the whole call, redirects and body included.
    pub timeout: Duration,
    /// Largest body of the answer after decompression, in bytes.
    pub max_bytes: usize,
    /// Types that an answer with a body may have, such as `application/json` or `text/*`; empty for all.
    pub content_types: &'static [&'static str],
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The address after redirects.
    pub url: Url,
    /// The status, of whatever class.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// `Content-Type` without parameters, in lower case.
    pub content_type: Option<String>,
    /// The body, decompressed.
    pub body: Bytes,
}

impl Client {
    /// A client with the installation's limits.
    pub fn new(settings: FetchSettings) -> Self {
        Self {
            settings: Arc::new(settings),
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

    /// Resolves the host of an address once and judges every address that it has.
    ///
    /// Errors: `FETCH_REFUSED`, `FETCH_UNREACHABLE`.
    pub async fn judge(&self, url: &Url) -> Result<Target, FetchError> {
        guard::resolve(url, &self.settings.allow).await
    }

    /// Sends a request and reads the whole answer. A GET is followed for at most [`MAX_REDIRECTS`] hops;
    /// the redirect that another method is answered with is given as it is.
    ///
    /// Errors: `FETCH_REFUSED`, `FETCH_UNREACHABLE`, `FETCH_TIMEOUT`, `FETCH_TOO_LARGE`, `FETCH_TYPE`. A
    /// status is no error.
    pub async fn send(&self, request: Request, limits: &Limits) -> Result<Answer, FetchError> {
        let whole = async {
            let mut response = self.follow(request).await?;
            let content_type = response.content_type();
            limits.check_type(content_type.as_deref())?;
            let body = response.read_all(limits.max_bytes).await?;
            Ok(Answer {
                url: response.url().clone(),
                status: response.status(),
                headers: response.headers().clone(),
                content_type,
                body,
            })
        };
        let answer = tokio::time::timeout(limits.timeout, whole).await;
        answer.unwrap_or_else(|_| Err(FetchError::timed_out(limits.timeout)))
    }

    /// As [`Self::send`], but gives the answer as soon as its head is there; `timeout` is for the head alone.
    pub async fn open(&self, request: Request, timeout: Duration) -> Result<Response, FetchError> {
        let answer = tokio::time::timeout(timeout, self.follow(request)).await;
        answer.unwrap_or_else(|_| Err(FetchError::timed_out(timeout)))
    }

    /// Sends to a judged target, once. Follows nothing and has no limit of time.
    pub async fn send_to(
        &self,
        target: &Target,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, FetchError> {
        headers::check(&headers)?;
        let client = self.client(target)?;
        let mut request = client.request(method, target.url().clone()).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| broken(&error))?;
        Ok(Response::new(target.url().clone(), response))
    }

    async fn follow(&self, request: Request) -> Result<Response, FetchError> {
        let Request { method, mut url, mut headers, body } = request;
        for _ in 0..=MAX_REDIRECTS {
            let target = self.judge(&url).await?;
            let sending = self.send_to(&target, method.clone(), headers.clone(), body.clone());
            let response = sending.await?;
            if method != Method::GET {
                return Ok(response);
            }
            let Some(next) = response.redirect_target() else {
                return Ok(response);
            };
            let next = next?;
            if next.origin() != url.origin() {
                headers = headers::for_another_site(&headers);
            }
            url = next;
        }
        Err(FetchError::too_many_redirects())
    }

    /// A client that can reach the judged addresses of one host and nothing else.
    fn client(&self, target: &Target) -> Result<reqwest::Client, FetchError> {
        let host = target.url().host_str().unwrap_or_default().to_owned();
        let mut key_addresses = target.addresses().to_vec();
        key_addresses.sort_unstable();
        self.clients
            .try_get_with((host.clone(), key_addresses), || build(&host, target.addresses()))
            .map_err(|error| broken(&error))
    }
}

impl Limits {
    fn check_type(&self, content_type: Option<&str>) -> Result<(), FetchError> {
        let Some(content_type) = content_type.filter(|_| !self.content_types.is_empty()) else {
            return Ok(());
        };
        let taken = self.content_types.iter().any(|taken| match taken.strip_suffix('*') {
            Some(family) => content_type.starts_with(family),
            None => content_type == *taken,
        });
        if taken {
            return Ok(());
        }
        Err(FetchError::permanent(
            "FETCH_TYPE",
            format!(
                "the answer is of type {content_type}; taken are {}",
                self.content_types.join(", ")
            ),
        ))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this crate is the guard that every address supplied by a user goes through"
)]
fn build(host: &str, addresses: &[SocketAddr]) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(HeaderValue::from_static(USER_AGENT))
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
