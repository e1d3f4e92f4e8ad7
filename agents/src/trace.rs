//! How an answer came about, as stored beside it.

use std::time::{Duration, Instant};

use models::{ToolCall, Usage};
use retrieval::SearchResults;
use serde_json::{Map, Value, json};

use crate::tools::Called;

/// Collects what happens in a turn. Written as JSON once the turn is over.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Instant,
    step_began: Instant,
    steps: Map<String, Value>,
    facts: Map<String, Value>,
    tools: Vec<Value>,
}

impl Trace {
    /// For a turn that began at `began`.
    pub(crate) fn since(began: Instant) -> Self {
        Self {
            began,
            step_began: Instant::now(),
            steps: Map::new(),
            facts: Map::new(),
            tools: Vec::new(),
        }
    }

    /// The step that ends now: its milliseconds since the step before ended.
    pub(crate) fn step(&mut self, name: &str) {
        let now = Instant::now();
        let millis = millis_between(self.step_began, now);
        self.steps.insert(name.to_owned(), json!(millis));
        self.step_began = now;
    }

    /// A fact of the turn.
    pub(crate) fn note(&mut self, name: &str, fact: impl Into<Value>) {
        self.facts.insert(name.to_owned(), fact.into());
    }

    /// What was retrieved, and what the evidence gate measures it by: the threshold and whose it is
    /// (`agent`, `installation` or `size`).
    pub(crate) fn note_search(&mut self, results: &SearchResults, threshold: f64, origin: &str) {
        let hits: Vec<Value> = results
            .hits
            .iter()
            .map(|hit| {
                json!({
                    "chunkId": hit.live.chunk.id.to_string(),
                    "sourceId": hit.live.chunk.source_id.to_string(),
                    "score": hit.score,
                    "words": hit.scores.words,
                    "grams": hit.scores.grams,
                    "dense": hit.scores.dense,
                })
            })
            .collect();
        self.note("hits", hits);
        self.note("evidence", results.evidence);
        self.note("threshold", threshold);
        self.note("thresholdFrom", origin);
    }

    /// When the first text of the answer was ready to be sent; the time since the turn began.
    pub(crate) fn note_first_token(&mut self, at: Instant) -> Duration {
        let millis = millis_between(self.began, at);
        self.steps.insert("firstToken".to_owned(), json!(millis));
        at.saturating_duration_since(self.began)
    }

    /// A round of the model is over.
    pub(crate) fn round(&mut self, round: u32) {
        self.step(&format!(
            "model{}",
            if round == 0 { String::new() } else { (round + 1).to_string() }
        ));
    }

    /// What came of a tool.
    pub(crate) fn tool(&mut self, call: &ToolCall, called: &Called, took: Duration) {
        let (status, result) = match called {
            Called::Told(text) => ("done", text.as_str()),
            Called::Failed(reason) => ("failed", reason.as_str()),
            Called::HandOff => ("done", ""),
        };
        let micros = f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.tools.push(json!({
            "name": call.name,
            "arguments": call.arguments,
            "status": status,
            "result": result,
            "ms": micros / 1_000.0,
        }));
        self.step_began = Instant::now();
    }

    /// Tokens as the provider counted them.
    pub(crate) fn note_usage(&mut self, usage: Option<Usage>) {
        if let Some(usage) = usage {
            self.note("promptTokens", usage.prompt_tokens);
            self.note("completionTokens", usage.completion_tokens);
        }
    }

    /// The whole as JSON.
    pub(crate) fn finish(&mut self) -> Value {
        let mut whole = std::mem::take(&mut self.facts);
        let total = millis_between(self.began, Instant::now());
        self.steps.insert("total".to_owned(), json!(total));
        if !self.tools.is_empty() {
            whole.insert("tools".to_owned(), Value::Array(std::mem::take(&mut self.tools)));
        }
        whole.insert("ms".to_owned(), Value::Object(std::mem::take(&mut self.steps)));
        Value::Object(whole)
    }
}

/// Milliseconds with three decimals.
fn millis_between(from: Instant, to: Instant) -> f64 {
    let micros = to.saturating_duration_since(from).as_micros();
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0
}
