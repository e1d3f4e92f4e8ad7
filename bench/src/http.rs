//! A client of the API under measurement, and a reader of event streams that costs little itself.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

/// Calls the server with one API key over kept connections.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    key: String,
}

/// A client without proxy, with Nagle's algorithm off.
#[expect(
    clippy::disallowed_methods,
    reason = "the load generator calls addresses of its own making"
)]
pub fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?)
}

impl Api {
    /// A client of the server at `base` (`http://127.0.0.1:8080`).
    pub fn new(base: &str, key: &str) -> anyhow::Result<Self> {
        Ok(Self { client: client()?, base: base.to_owned(), key: key.to_owned() })
    }

    /// The same connections with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Adds a text; its source id.
    pub async fn add_text(
        &self,
        datastore: &str,
        name: &str,
        content: &str,
    ) -> anyhow::Result<String> {
        let path = format!("/api/v2/datastores/{datastore}/sources/text");
        let answer = self.post(&path, &json!({"name": name, "content": content})).await?;
        Ok(answer["id"].as_str().context("no id")?.to_owned())
    }

    /// Searches; the parsed answer and how long it took until the body was there.
    pub async fn query(&self, datastore: &str, query: &str) -> anyhow::Result<(Value, Duration)> {
        let path = format!("/api/v2/datastores/{datastore}/query");
        let started = Instant::now();
        let answer = self.post(&path, &json!({"query": query, "topK": 5})).await?;
        Ok((answer, started.elapsed()))
    }

    /// A page of sources, newest first.
    pub async fn sources(&self, datastore: &str, cursor: Option<&str>) -> anyhow::Result<Value> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let url = format!("{}/api/v2/datastores/{datastore}/sources?limit=100{cursor}", self.base);
        let response = self.client.get(url).bearer_auth(&self.key).send().await?;
        Ok(response.error_for_status()?.json().await?)
    }

    /// The status of a source.
    pub async fn status(&self, datastore: &str, source: &str) -> anyhow::Result<String> {
        let url = format!("{}/api/v2/datastores/{datastore}/sources/{source}", self.base);
        let response = self.client.get(url).bearer_auth(&self.key).send().await?;
        let source: Value = response.error_for_status()?.json().await?;
        Ok(source["status"].as_str().context("no status")?.to_owned())
    }

    /// Asks an agent for a stream.
    pub async fn chat(&self, agent: &str, query: &str) -> anyhow::Result<Stream> {
        let url = format!("{}/api/v2/agents/{agent}/chat", self.base);
        let request = self.client.post(url).bearer_auth(&self.key);
        Stream::open(request.json(&json!({"query": query, "streaming": true}))).await
    }

    /// Reads a path; how long it took until the body was there.
    pub async fn get(&self, path: &str) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let url = format!("{}{path}", self.base);
        let response = self.client.get(url).bearer_auth(&self.key).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{path} answered {status}: {text}");
        }
        Ok(started.elapsed())
    }

    /// Sends a body; the answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, body).await
    }

    /// Sends a change; the answer.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, url).bearer_auth(&self.key);
        let response = request.json(body).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{path} answered {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }
}

/// How a stream of a turn went.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// From the request to the first piece of text.
    pub first_token: Duration,
    /// Whether it said that it does not know.
    pub abstained: bool,
}

/// Asks a model server directly for a stream.
pub async fn chat_directly(
    client: &reqwest::Client,
    base_url: &str,
    query: &str,
) -> anyhow::Result<Stream> {
    let body = json!({"model": "gpt-test", "stream": true, "messages": [{"role": "user", "content": query}]});
    Stream::open(client.post(format!("{base_url}/chat/completions")).json(&body)).await
}

/// An event stream under way.
#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    buffer: BytesMut,
    /// When the request was sent.
    pub started: Instant,
}

/// One event: its name (empty for streams without names) and its data.
#[derive(Debug)]
pub struct Event {
    /// After `event:`.
    pub name: String,
    /// After `data:`.
    pub data: String,
}

impl Stream {
    async fn open(request: reqwest::RequestBuilder) -> anyhow::Result<Self> {
        let started = Instant::now();
        let response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            bail!("the stream answered {status}: {}", response.text().await?);
        }
        Ok(Self { response, buffer: BytesMut::new(), started })
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame = self.buffer.split_to(end);
                self.buffer.advance(2);
                if let Some(event) = parse(&String::from_utf8_lossy(&frame)) {
                    return Ok(Some(event));
                }
                continue;
            }
            match self.response.chunk().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Reads to the end.
    pub async fn told(mut self) -> anyhow::Result<Told> {
        let (mut first, mut abstained) = (None, false);
        while let Some(event) = self.next().await? {
            let is_token = event.name == "token" || event.data.contains("\"content\":\"");
            if first.is_none() && is_token {
                first = Some(self.started.elapsed());
            }
            if event.name == "error" {
                bail!("the stream failed: {}", event.data);
            }
            abstained |= event.name == "done" && event.data.contains("\"outcome\":\"abstained\"");
        }
        Ok(Told { first_token: first.context("the stream had no token")?, abstained })
    }
}

/// Runs `work` from `callers` at once until every number below `count` has been taken.
pub async fn concurrently<F, T>(
    callers: usize,
    count: usize,
    work: impl Fn(usize) -> F,
) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut results = futures::stream::iter((0..count).map(work)).buffer_unordered(callers);
    let mut all = Vec::with_capacity(count);
    while let Some(result) = results.next().await {
        all.push(result?);
    }
    Ok(all)
}

fn parse(frame: &str) -> Option<Event> {
    let mut event = Event { name: String::new(), data: String::new() };
    for line in frame.lines() {
        if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut event.name);
        } else if let Some(data) = line.strip_prefix("data:") {
            event.data.push_str(data.trim_start());
        }
    }
    (!event.data.is_empty()).then_some(event)
}
