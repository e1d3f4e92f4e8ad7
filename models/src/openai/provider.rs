//! The connection to a provider: one HTTP client for the life of the process, addresses, the key, and what its
//! refusals mean.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Ambient;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url};

use super::OpenAiOptions;
use super::attempts::{Failure, Pause, retry_after};
use super::breaker::Breaker;
use super::judge::JudgedHost;
use crate::ModelError;

/// Longest text of a provider's error that is kept, in characters.
const MAX_ERROR: usize = 300;
/// Most of an error body that is read, in bytes.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A provider and how to speak to it.
pub(super) struct Provider {
    pub ambient: Ambient,
    pub breaker: Arc<Breaker>,
    pub pause: Arc<dyn Pause>,
    pub max_attempts: u32,
    client: Client,
    base: Url,
    azure_api_version: Option<String>,
    /// What the provider must not say back to anybody: the key, and what opens its address.
    secrets: Vec<SecretString>,
}

impl Provider {
    pub fn new(options: &OpenAiOptions, ambient: &Ambient) -> Result<Self, ModelError> {
        let mut base = options.base_url.clone();
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            let reason = "the address of a provider must begin with http:// or https://; check OPENAI_BASE_URL";
            return Err(ModelError::Refused(reason.to_owned()));
        }
        if let Ok(mut path) = base.path_segments_mut() {
            path.pop_if_empty();
        }
        Ok(Self {
            ambient: ambient.clone(),
            breaker: Breaker::new(ambient.clone()),
            pause: options.pause.clone(),
            max_attempts: options.max_attempts.max(1),
            client: client(options, &base)?,
            secrets: secrets(options.key.as_ref(), &base),
            base,
            azure_api_version: options.azure_api_version.clone(),
        })
    }

    /// Whether requests are Azure-style. Azure does not list an account's deployments to a key.
    pub fn is_azure(&self) -> bool {
        self.azure_api_version.is_some()
    }

    /// Whether this is OpenAI itself or Azure's copy of it, which know `max_completion_tokens`; other servers may know
    /// only `max_tokens` and ignore what they do not know.
    pub fn knows_completion_tokens(&self) -> bool {
        self.is_azure() || self.base.host_str() == Some("api.openai.com")
    }

    /// The address of `operation` (`chat/completions`, `embeddings`) for a model.
    pub fn address(&self, operation: &str, model: &str) -> Url {
        let mut url = self.base.clone();
        let Some(version) = &self.azure_api_version else {
            extend(&mut url, operation.split('/'));
            return url;
        };
        let path = self.base.path();
        if !path.contains("/openai/deployments/") {
            if !path.ends_with("/openai") {
                extend(&mut url, ["openai"]);
            }
            extend(&mut url, ["deployments", model]);
        }
        extend(&mut url, operation.split('/'));
        url.query_pairs_mut().append_pair("api-version", version);
        url
    }

    /// The address of the list of models.
    pub fn list_address(&self) -> Url {
        let mut url = self.base.clone();
        extend(&mut url, ["models"]);
        url
    }

    /// Sends JSON. The answer has a status of success; all others are told apart in the failure.
    pub async fn post(
        &self,
        url: Url,
        accept: &'static str,
        body: Bytes,
    ) -> Result<Response, CallFailure> {
        let request = self
            .client
            .post(url)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| self.transport(error))?;
        self.accepted(response).await
    }

    /// Gets JSON.
    pub async fn get(&self, url: Url) -> Result<Response, CallFailure> {
        let request = self.client.get(url).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| self.transport(error))?;
        self.accepted(response).await
    }

    async fn accepted(&self, response: Response) -> Result<Response, CallFailure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let asked = retry_after(response.headers(), &self.ambient);
        let said = self.read_error(response).await;
        Err(CallFailure { failure: self.judge(status, asked, &said), said })
    }

    /// What a refusal means.
    fn judge(&self, status: StatusCode, asked: Option<Duration>, said: &ErrorBody) -> Failure {
        let text = self.clean(&said.message);
        let told = format!("status {}: {text}", status.as_u16());
        match status.as_u16() {
            401 | 403 => Failure::lasting(ModelError::Credential(told)),
            // It will not pass by waiting.
            429 if said.code == "insufficient_quota" => Failure::lasting(ModelError::Refused(told)),
            429 => Failure::passing(ModelError::RateLimited { retry_after: asked }),
            // Overloaded, and says until when.
            503 | 529 if asked.is_some() => {
                Failure::passing(ModelError::RateLimited { retry_after: asked })
            }
            408 | 409 | 425 | 500.. => Failure::passing(ModelError::Unavailable(told)),
            // Redirects are not followed: the key would go along.
            300..=399 => Failure::lasting(ModelError::Refused(format!(
                "status {}: the address of the provider redirects; set OPENAI_BASE_URL, or the provider's `baseUrl`, to where it leads",
                status.as_u16()
            ))),
            _ => Failure::lasting(ModelError::Refused(told)),
        }
    }

    fn transport(&self, error: reqwest::Error) -> CallFailure {
        Failure::passing(ModelError::Unavailable(self.describe(error))).into()
    }

    /// A transport error and what caused it, without the address (it may hold a secret).
    pub fn describe(&self, error: reqwest::Error) -> String {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        self.clean(&text)
    }

    /// The whole body of an answer, up to `limit` bytes.
    pub async fn read_body(
        &self,
        response: &mut Response,
        limit: usize,
    ) -> Result<Vec<u8>, ModelError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() <= limit => {
                    body.extend_from_slice(&piece);
                }
                Ok(Some(_)) => {
                    return Err(ModelError::Broken(format!("an answer of over {limit} bytes")));
                }
                Ok(None) => return Ok(body),
                Err(error) => return Err(ModelError::Unavailable(self.describe(error))),
            }
        }
    }

    async fn read_error(&self, mut response: Response) -> ErrorBody {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ERROR_BODY {
                break;
            }
        }
        ErrorBody::parse(&body)
    }

    /// A provider's words as they may be logged: one line, short, without the key.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.retain(|letter| !letter.is_control());
        for secret in &self.secrets {
            text = text.replace(secret.expose_secret(), "[key]");
        }
        match text.char_indices().nth(MAX_ERROR) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.base.host_str().unwrap_or_default();
        f.debug_struct("Provider")
            .field("host", &host)
            .field("azure", &self.is_azure())
            .finish_non_exhaustive()
    }
}

/// A failed call, with what the provider said so that the request can be changed to its liking.
#[derive(Debug)]
pub(super) struct CallFailure {
    pub failure: Failure,
    pub said: ErrorBody,
}

impl From<Failure> for CallFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, said: ErrorBody::default() }
    }
}

/// The body of an error, in any of the forms that servers use.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    pub message: String,
    pub param: String,
    pub code: String,
}

impl ErrorBody {
    fn parse(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self { message: String::from_utf8_lossy(body).into_owned(), ..Self::default() };
        };
        let error = if value["error"].is_object() { &value["error"] } else { &value };
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let message = [&error["message"], &value["error"], &value["detail"], &value["message"]]
            .into_iter()
            .find_map(Value::as_str)
            .map_or_else(|| value.to_string(), str::to_owned);
        Self { message, param: text("param"), code: text("code") }
    }

    /// Whether it names a field of the request.
    pub fn names(&self, field: &str) -> bool {
        self.param == field || self.message.contains(field)
    }
}

/// Shorter values of a query are no secrets but words, such as a version's.
const SHORTEST_SECRET: usize = 12;

fn secrets(key: Option<&SecretString>, base: &Url) -> Vec<SecretString> {
    let mut secrets: Vec<SecretString> = key.cloned().into_iter().collect();
    secrets.extend(base.password().map(SecretString::from));
    for (_, value) in base.query_pairs().filter(|(_, value)| value.len() >= SHORTEST_SECRET) {
        secrets.push(value.into_owned().into());
    }
    secrets.retain(|secret| !secret.expose_secret().is_empty());
    secrets
}

fn extend<'a>(url: &mut Url, segments: impl IntoIterator<Item = &'a str>) {
    // A base without a path cannot get here: `Provider::new` refuses it.
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one client for model providers; operators set its address, or a judge says where it may be"
)]
fn client(options: &OpenAiOptions, base: &Url) -> Result<Client, ModelError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &options.key {
        let (name, value) = match options.azure_api_version {
            Some(_) => (HeaderName::from_static("api-key"), key.expose_secret().to_owned()),
            None => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
        };
        let Ok(mut value) = HeaderValue::from_str(&value) else {
            let reason = "it holds characters that no HTTP header may carry; check OPENAI_API_KEY";
            return Err(ModelError::Credential(reason.to_owned()));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut builder = Client::builder()
        .user_agent(concat!("vocero/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_mins(1))
        .pool_idle_timeout(Duration::from_secs(90))
        .redirect(Policy::none())
        // A compressed stream holds tokens back.
        .no_gzip()
        .no_brotli()
        .no_deflate();
    if is_loopback(base) || options.judge.is_some() {
        builder = builder.no_proxy();
    }
    if let Some(judge) = &options.judge {
        let host = JudgedHost { judge: judge.clone(), base: base.clone() };
        builder = builder.dns_resolver(Arc::new(host));
    }
    let built = builder.build();
    built.map_err(|error| ModelError::Unavailable(format!("cannot set up the client: {error}")))
}

fn is_loopback(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
