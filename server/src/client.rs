//! A client of the HTTP API, for the command line.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

/// How often a request is repeated that came too fast.
const MAX_WAITS: u32 = 30;

/// Speaks to one server with one key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: String,
}

impl Client {
    /// For the server at `base`, which may have a path.
    pub fn new(base: &Url, key: &str) -> anyhow::Result<Self> {
        let mut base = base.clone();
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Ok(Self { http: build_http()?, base, key: key.to_owned() })
    }

    /// `GET`; the JSON body.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(|| self.request(Method::GET, path)).await
    }

    /// `POST` of a JSON body; the JSON body of the answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json(|| Ok(self.request(Method::POST, path)?.json(body))).await
    }

    /// `PUT` of a JSON body; the JSON body of the answer.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json(|| Ok(self.request(Method::PUT, path)?.json(body))).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.body(|| self.request(Method::DELETE, path)).await.map(drop)
    }

    /// `GET`; the body as a text.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let body = self.body(|| self.request(Method::GET, path)).await?;
        String::from_utf8(body.to_vec()).context("the server did not answer in text")
    }

    /// `POST` of a file, as a form.
    pub async fn upload(&self, path: &str, file: &Path) -> anyhow::Result<Value> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no readable name", file.display()))?;
        let bytes = tokio::fs::read(file)
            .await
            .with_context(|| format!("cannot read {}", file.display()))?;
        let bytes = Bytes::from(bytes);
        let length = u64::try_from(bytes.len())?;
        self.json(|| {
            let part = Part::stream_with_length(bytes.clone(), length).file_name(name.to_owned());
            let form = Form::new().part("file", part);
            Ok(self.request(Method::POST, path)?.multipart(form))
        })
        .await
    }

    /// `POST` of a JSON body; the answer as it comes in.
    pub async fn stream(&self, path: &str, body: &Value) -> anyhow::Result<Response> {
        let response = self.request(Method::POST, path)?.json(body).send().await;
        let response = response.with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        bail!(failure(status, &response.bytes().await?))
    }

    /// Every object of a list, page after page.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut objects = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut address = format!("{path}{sign}limit=100");
            if let Some(cursor) = &cursor {
                address.push_str("&cursor=");
                address.push_str(cursor);
            }
            let mut page = self.get(&address).await?;
            if let Value::Array(data) = page["data"].take() {
                objects.extend(data);
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(objects),
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = self.base.join(path.trim_start_matches('/'))?;
        Ok(self.http.request(method, url).bearer_auth(&self.key))
    }

    /// Sends a request as `body` does; the JSON in the answer.
    async fn json(
        &self,
        build: impl Fn() -> anyhow::Result<RequestBuilder>,
    ) -> anyhow::Result<Value> {
        let body = self.body(build).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).context("the server did not answer in JSON")
    }

    /// Sends a request, again after the time told when the server says that it came too fast or that it is
    /// busy.
    async fn body(
        &self,
        build: impl Fn() -> anyhow::Result<RequestBuilder>,
    ) -> anyhow::Result<Bytes> {
        let mut waits = 0;
        loop {
            let response = build()?.send().await.with_context(|| self.unreachable())?;
            let status = response.status();
            let wait = retry_after(&response).filter(|_| waits < MAX_WAITS);
            let body = response.bytes().await?;
            if status.is_success() {
                return Ok(body);
            }
            match wait {
                Some(wait) => {
                    waits += 1;
                    tokio::time::sleep(wait).await;
                }
                None => bail!(failure(status, &body)),
            }
        }
    }

    fn unreachable(&self) -> String {
        format!("cannot reach the server at {}", self.base)
    }
}

/// Speaks HTTP with servers that the operator names.
#[expect(
    clippy::disallowed_methods,
    reason = "the address of a Vocero server that the operator names; no user of it does"
)]
pub fn build_http() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .build()
        .context("cannot make an HTTP client")
}

fn retry_after(response: &Response) -> Option<Duration> {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if !busy.contains(&response.status()) {
        return None;
    }
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the server said was wrong.
fn failure(status: StatusCode, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body["error"]["message"].as_str() {
        Some(message) => format!("{message} ({status})"),
        None => format!("the server answered with status {status}"),
    }
}
