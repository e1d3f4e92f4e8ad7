//! An agent of a Vocero server, over HTTP.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use url::Url;

use super::{Estimate, Target, TargetInfo, asks_back, ms};
use crate::dataset::{Case, Role};
use crate::observation::{Cited, Failure, Found, Observation, Outcome, Step};

/// Times that a request is repeated that came too fast.
const MAX_WAITS: u32 = 10;

/// Where an agent is.
#[derive(Clone)]
pub struct HttpAgent {
    /// Speaks HTTP; made by the caller, who decides what addresses it may reach.
    pub client: reqwest::Client,
    /// The server's address.
    pub base: Url,
    /// A key of it with the scopes read and chat.
    pub key: String,
    /// The agent's id.
    pub agent: String,
}

/// Takes turns with an agent over HTTP: each case is a conversation of its own. Of the history the customer's messages are
/// said first, since a server keeps conversations itself.
#[derive(Clone)]
pub struct HttpAgentTarget {
    agent: HttpAgent,
}

impl std::fmt::Debug for HttpAgentTarget {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAgentTarget")
            .field("base", &self.agent.base.as_str())
            .field("agent", &self.agent.agent)
            .finish_non_exhaustive()
    }
}

/// What came of a streamed turn.
struct Told {
    done: Value,
    first_token_ms: Option<f64>,
}

impl HttpAgentTarget {
    /// The agent.
    pub fn new(agent: HttpAgent) -> Self {
        Self { agent }
    }

    fn address(&self, path: &str) -> Result<Url, Failure> {
        let base = format!("{}/", self.agent.base.as_str().trim_end_matches('/'));
        let address = Url::parse(&base).and_then(|base| base.join(path));
        address.map_err(|error| Failure::new("ADDRESS", error.to_string()))
    }

    /// Sends, and again after the time told where it came too fast.
    async fn send(
        &self,
        build: impl Fn() -> Result<RequestBuilder, Failure>,
    ) -> Result<Response, Failure> {
        let mut waits = 0;
        loop {
            let sent = build()?.bearer_auth(&self.agent.key).send().await;
            let response = sent.map_err(|error| unreachable(&error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let after = response.headers().get("retry-after");
            let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
            if let Some(seconds) = after.filter(|_| waits < MAX_WAITS) {
                waits += 1;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                continue;
            }
            let body: Value = response.json().await.unwrap_or_default();
            let code = body["error"]["code"].as_str().unwrap_or("HTTP").to_owned();
            let message = body["error"]["message"].as_str();
            let message = message.map_or_else(|| format!("status {status}"), str::to_owned);
            return Err(Failure::new(code, message));
        }
    }

    async fn say(&self, text: &str, conversation: Option<&str>) -> Result<Told, Failure> {
        let mut body = json!({ "query": text, "streaming": true });
        if let Some(conversation) = conversation {
            body["conversationId"] = conversation.into();
        }
        let path = format!("api/v2/agents/{}/chat", self.agent.agent);
        let address = self.address(&path)?;
        let started = Instant::now();
        let response =
            self.send(|| Ok(self.agent.client.post(address.clone()).json(&body))).await?;
        let mut events = response.bytes_stream().eventsource();
        let mut first_token_ms = None;
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| Failure::new("BROKE_OFF", error.to_string()))?;
            match event.event.as_str() {
                "token" => {
                    first_token_ms.get_or_insert_with(|| ms(started.elapsed()));
                }
                "done" => {
                    let done = serde_json::from_str(&event.data);
                    let done = done.map_err(|error| Failure::new("WIRE", error.to_string()))?;
                    return Ok(Told { done, first_token_ms });
                }
                "error" => {
                    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                    let text = |key: &str| data[key].as_str().unwrap_or("ERROR").to_owned();
                    return Err(Failure::new(text("code"), text("message")));
                }
                _ => {}
            }
        }
        Err(Failure::new("BROKE_OFF", "the answer broke off"))
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let address = self.address(path).ok()?;
        let response = self.send(|| Ok(self.agent.client.get(address.clone()))).await.ok()?;
        response.json().await.ok()
    }

    /// What the trace tells. A key that may not read traces, or a server that keeps none, leaves it out.
    async fn complete(&self, message: &str, observation: &mut Observation) {
        let Some(trace) = self.get(&format!("api/v2/messages/{message}/trace")).await else {
            return;
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut retrieved = Vec::new();
        for hit in list(&trace["retrieval"]["hits"]) {
            let id = hit["chunkId"].as_str().unwrap_or_default().to_owned();
            let chunk = self.get(&format!("api/v2/chunks/{id}")).await.unwrap_or_default();
            retrieved.push(Found {
                id,
                document: hit["sourceId"].as_str().map(str::to_owned),
                title: hit["source"].as_str().unwrap_or_default().to_owned(),
                text: chunk["content"].as_str().unwrap_or_default().to_owned(),
                score: hit["score"].as_f64().unwrap_or_default(),
            });
        }
        observation.retrieved = Some(retrieved);
        observation.evidence = trace["retrieval"]["evidence"].as_f64();
        observation.threshold = trace["retrieval"]["threshold"].as_f64();
        let removed = list(&trace["checks"]["removedMarkers"]);
        observation.removed_markers =
            removed.iter().filter_map(|marker| marker.as_str().map(str::to_owned)).collect();
        observation.prompt_tokens = trace["tokens"]["prompt"].as_i64();
        observation.completion_tokens = trace["tokens"]["completion"].as_i64();
        observation.cost = trace["cost"].as_i64();
        let step = |step: &Value| Step {
            name: step["kind"].as_str().unwrap_or_default().to_owned(),
            start_ms: step["startMs"].as_f64(),
            ms: step["ms"].as_f64(),
        };
        observation.steps = list(&trace["steps"]).iter().map(step).collect();
    }
}

fn unreachable(error: &reqwest::Error) -> Failure {
    Failure::new("UNREACHABLE", format!("the server cannot be reached: {error}"))
}

fn outcome(name: Option<&str>, answer: &str, cites: bool) -> Outcome {
    match name {
        Some("answered") if !cites && asks_back(answer) => Outcome::Clarified,
        Some("answered") => Outcome::Answered,
        Some("abstained") => Outcome::Abstained,
        // Nothing is said while a person has the conversation.
        Some("handed-off" | "awaiting-approval") | None => Outcome::HandedOff,
        Some("smalltalk" | "lead-captured") => Outcome::Smalltalk,
        Some(_) => Outcome::Silent,
    }
}

#[async_trait]
impl Target for HttpAgentTarget {
    fn info(&self) -> TargetInfo {
        let base = self.agent.base.as_str();
        let config = json!({ "server": base, "agent": self.agent.agent });
        TargetInfo { kind: "http-agent".to_owned(), name: self.agent.agent.clone(), config }
    }

    async fn ask(&self, case: &Case) -> Result<Observation, Failure> {
        let mut conversation: Option<String> = None;
        for said in case.history.iter().filter(|said| said.role == Role::User) {
            let told = self.say(&said.text, conversation.as_deref()).await?;
            conversation = told.done["conversationId"].as_str().map(str::to_owned);
        }
        let started = Instant::now();
        let Told { done, first_token_ms } = self.say(&case.input, conversation.as_deref()).await?;
        let total_ms = ms(started.elapsed());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let sources = done["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let cited = |source: &Value| Cited {
            marker: source["index"].as_i64().unwrap_or_default(),
            id: text(&source["chunkId"]),
            quote: text(&source["quote"]),
        };
        let citations: Vec<Cited> = sources.iter().map(cited).collect();
        let answer = text(&done["answer"]);
        let mut observation = Observation {
            outcome: outcome(done["outcome"].as_str(), &answer, !citations.is_empty()),
            answer,
            citations: Some(citations),
            model: done["model"].as_str().map(str::to_owned),
            first_token_ms,
            total_ms: Some(total_ms),
            ..Observation::default()
        };
        self.complete(&text(&done["messageId"]), &mut observation).await;
        Ok(observation)
    }

    /// The server knows what its model costs; here nothing is known of it.
    fn estimate(&self, _case: &Case) -> Estimate {
        Estimate { prompt_tokens: 0, completion_tokens: 0, cost: None }
    }
}
