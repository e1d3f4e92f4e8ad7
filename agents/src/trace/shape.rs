//! A trace as it is read: of today's shape, or of the one before it.

use std::fmt;

use domain::{AgentId, ConversationId, MessageId};
use serde::Deserialize;
use serde_json::{Map, Value};

/// How a turn went. Times are milliseconds since the request arrived; what is not known is absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnTrace {
    /// The shape that it was written in; 0 for the one before shapes were numbered.
    pub version: u32,
    /// The turn; also the id of the answer, if there is one.
    pub turn_id: Option<MessageId>,
    /// The customer's message.
    pub question_id: Option<MessageId>,
    /// Where it took place.
    pub conversation_id: Option<ConversationId>,
    /// Who was asked.
    pub agent_id: Option<AgentId>,
    /// The agent's name then.
    pub agent_name: Option<String>,
    /// The published version that answered; for a draft, the one that it was made from.
    pub agent_version: Option<i64>,
    /// The revision of the draft that answered, when it was one.
    pub agent_draft: Option<i64>,
    /// When the request arrived, in microseconds since 1970.
    pub began_at: Option<i64>,
    /// What the customer wrote.
    pub asked: Option<String>,
    /// The question that was searched for, standing alone.
    pub question: Option<String>,
    /// Who made it stand alone: `model` or `rule`; absent where it did so by itself.
    pub rewritten_by: Option<String>,
    /// The customer's language, ISO 639-1.
    pub language: Option<String>,
    /// The model that was to answer; absent for the built-in answerer.
    pub model: Option<String>,
    /// The model that answered in its place.
    pub answered_by: Option<String>,
    /// What happened beside calls of models and of tools, in order.
    pub phases: Vec<TracePhase>,
    /// The calls of models, in order.
    pub calls: Vec<TraceCall>,
    /// The calls of tools, in order.
    pub tools: Vec<TraceTool>,
    /// The passages that were found.
    pub hits: Vec<TraceHit>,
    /// The evidence that they are, 0 to 1.
    pub evidence: Option<f64>,
    /// The evidence below which the agent does not answer from them.
    pub threshold: Option<f64>,
    /// Whose threshold that is: `agent`, `installation`, `calibration` or `size`.
    pub threshold_from: Option<String>,
    /// `open` or `closed`.
    pub gate: Option<String>,
    /// Tokens of the first prompt of the answer, nearly.
    pub prompt_tokens_estimate: Option<i64>,
    /// Tokens of the prompts of all calls.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answers of all calls.
    pub completion_tokens: Option<i64>,
    /// Those of the prompts that the provider had kept.
    pub cached_tokens: Option<i64>,
    /// What all calls cost, in micro-dollars, as in the ledger.
    pub cost: Option<i64>,
    /// Something of it the provider did not count.
    pub estimated: bool,
    /// Models that could not be asked, and why.
    pub fallbacks: Vec<TraceFallback>,
    /// Why no more tools could be called: `rounds`, `time` or `tokens`.
    pub tool_limit: Option<String>,
    /// What of the answer stands in nothing that it cites.
    pub unsupported: Vec<String>,
    /// For which of it the model was asked once more.
    pub retried_for: Vec<String>,
    /// The answer that was withheld.
    pub withheld: Option<String>,
    /// Markers that named no passage.
    pub removed_markers: Vec<String>,
    /// The model said that it does not know.
    pub said_unknown: bool,
    /// The model's text cites nothing.
    pub cites_nothing: bool,
    /// Why the model stopped last.
    pub finish_reason: Option<String>,
    /// How the provider failed.
    pub model_error: Option<String>,
    /// The kind of answer.
    pub outcome: Option<String>,
    /// Whether the text is whole.
    pub state: Option<String>,
    /// How the turn ended: the kind of answer, `silent` when nobody answers here, `left` when the reader was
    /// gone, or the code of the error. Known to observers only, since it is known after storing.
    pub end: Option<String>,
    /// When the first text was ready to be sent.
    pub first_token_ms: Option<f64>,
    /// The whole, until storing began; for observers, until it was over.
    pub total_ms: Option<f64>,
    /// Durations by name, in the first shape.
    ms: Map<String, Value>,
}

/// A phase of a turn.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TracePhase {
    /// `accept`, `wait`, `context`, `rewrite`, `search`, `prompt`, `extract` or `store`.
    pub name: String,
    /// When it began.
    pub start_ms: Option<f64>,
    /// How long it took; absent for `store`, which the stored trace is part of.
    pub ms: Option<f64>,
}

/// A call of a model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceCall {
    /// `answer` or `rewrite`.
    pub purpose: String,
    /// The name that it was asked under.
    pub model: String,
    /// `installation`, or the id of a provider of the workspace.
    pub provider: Option<String>,
    /// When it began.
    pub start_ms: Option<f64>,
    /// How long it took.
    pub ms: Option<f64>,
    /// How long its first event took.
    pub first_ms: Option<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<i64>,
    /// Tokens of the prompt that the provider had kept.
    pub cached_tokens: Option<i64>,
    /// Micro-dollars; absent for a model without a price.
    pub cost: Option<i64>,
    /// The provider did not count, or was cut off before it could.
    pub estimated: bool,
    /// `stop`, `length`, `tool_calls` or `content_filter`.
    pub finish_reason: Option<String>,
    /// `unavailable`, `rate_limited`, `breaker_open`, `credential`, `refused`, `broken` or `cancelled`.
    pub error_type: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceTool {
    /// The provider's id of the call.
    pub call_id: Option<String>,
    /// The name that the model called.
    pub name: String,
    /// What it was called with, without secrets; a text when it was no JSON, or too long.
    pub arguments: Value,
    /// `done` or `failed`.
    pub status: String,
    /// What the model was told, without secrets, cut at 2,000 characters.
    pub result: String,
    /// When it began.
    pub start_ms: Option<f64>,
    /// How long it took.
    pub ms: Option<f64>,
}

/// A passage that was found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceHit {
    /// Its id.
    pub chunk_id: String,
    /// The id of its source.
    pub source_id: String,
    /// The source's name then.
    pub source: Option<String>,
    /// `question`, or `tool` when the model searched for it.
    pub found_by: Option<String>,
    /// Whether the answer cites it; absent in the first shape.
    pub cited: Option<bool>,
    /// The score that it was ordered by.
    pub score: f64,
    /// By words.
    pub words: Option<f64>,
    /// By 4-grams.
    pub grams: Option<f64>,
    /// By embeddings.
    pub dense: Option<f64>,
    /// What stands around it and was told with it: searched for by nothing, and so without a score.
    pub neighbours: Vec<TraceNeighbour>,
}

/// A passage that was told beside a hit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceNeighbour {
    /// `before` or `after` the hit.
    pub place: String,
    /// Its id.
    pub chunk_id: String,
}

/// A model that could not be asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceFallback {
    /// Its name.
    pub model: String,
    /// Why.
    pub error: String,
}

/// A step of a turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TraceStep<'a> {
    /// Something of ours.
    Phase(&'a TracePhase),
    /// A model was asked.
    Call(&'a TraceCall),
    /// A tool was called.
    Tool(&'a TraceTool),
}

impl TraceStep<'_> {
    /// When it began.
    pub fn start_ms(self) -> Option<f64> {
        match self {
            Self::Phase(phase) => phase.start_ms,
            Self::Call(call) => call.start_ms,
            Self::Tool(tool) => tool.start_ms,
        }
    }
}

impl TurnTrace {
    /// Reads what was stored, of any shape. An error for what is no trace.
    pub fn read(stored: Value) -> Result<Self, serde_json::Error> {
        let mut trace: Self = serde_json::from_value(stored)?;
        if trace.version == 0 {
            trace.bring_up_to_date();
        }
        Ok(trace)
    }

    /// Everything that happened, in the order in which it began.
    pub fn steps(&self) -> Vec<TraceStep<'_>> {
        let mut steps: Vec<TraceStep<'_>> = self.phases.iter().map(TraceStep::Phase).collect();
        steps.extend(self.calls.iter().map(TraceStep::Call));
        steps.extend(self.tools.iter().map(TraceStep::Tool));
        // In the first shape nothing says when a step began: they stay by their kind.
        if steps.iter().all(|step| step.start_ms().is_some()) {
            let start = |step: &TraceStep<'_>| step.start_ms().unwrap_or_default();
            steps.sort_by(|one, other| start(one).total_cmp(&start(other)));
        }
        steps
    }

    /// The first shape had the milliseconds of all steps in one object.
    fn bring_up_to_date(&mut self) {
        for (name, ms) in std::mem::take(&mut self.ms) {
            let ms = ms.as_f64();
            match name.as_str() {
                "total" => self.total_ms = ms,
                "firstToken" => self.first_token_ms = ms,
                _ if name.starts_with("model") => self.calls.push(TraceCall {
                    purpose: "answer".to_owned(),
                    model: self.answered_by.clone().or(self.model.clone()).unwrap_or_default(),
                    ms,
                    ..TraceCall::default()
                }),
                "retrieve" => self.phases.push(TracePhase {
                    name: "search".to_owned(),
                    ms,
                    ..TracePhase::default()
                }),
                _ => self.phases.push(TracePhase { name, ms, ..TracePhase::default() }),
            }
        }
    }
}

/// A turn that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedTurn {
    /// How it went.
    pub trace: TurnTrace,
    /// What was answered; `None` without an answer, and for one that broke off.
    pub answer: Option<String>,
    /// The code of the error that it ended with.
    pub error: Option<&'static str>,
}

/// Is told of every turn once it has ended, also of those that left no answer. An open set: exporters.
pub trait TurnObserver: Send + Sync + fmt::Debug {
    /// A turn is over and its reader has been told. Must not block: it is called where turns run.
    fn turn_ended(&self, turn: EndedTurn);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trace_of_the_first_shape_opens() {
        let stored = json!({
            "language": "es", "question": "¿Abren hoy?", "model": "gpt-4o",
            "hits": [{"chunkId": "chunk_1", "sourceId": "src_1", "score": 0.5, "words": 0.4, "grams": 0.6, "dense": null}],
            "evidence": 0.7, "threshold": 0.3, "thresholdFrom": "size", "gate": "open",
            "promptTokens": 100, "completionTokens": 7, "finishReason": "stop", "outcome": "answered",
            "tools": [{"name": "find", "arguments": "{}", "status": "done", "result": "x", "ms": 1.5}],
            "ms": {"context": 0.5, "retrieve": 2.0, "model": 10.0, "model2": 11.0, "firstToken": 9.0, "total": 30.0},
        });
        let trace = TurnTrace::read(stored).unwrap();
        assert_eq!((trace.first_token_ms, trace.total_ms), (Some(9.0), Some(30.0)));
        assert_eq!((trace.prompt_tokens, trace.cost, trace.version), (Some(100), None, 0));
        assert_eq!(trace.hits[0].cited, None);
        let steps: Vec<(String, Option<f64>)> = trace
            .steps()
            .into_iter()
            .map(|step| match step {
                TraceStep::Phase(phase) => (phase.name.clone(), phase.ms),
                TraceStep::Call(call) => (call.model.clone(), call.ms),
                TraceStep::Tool(tool) => (tool.name.clone(), tool.ms),
            })
            .collect();
        let expected =
            [("context", 0.5), ("search", 2.0), ("gpt-4o", 10.0), ("gpt-4o", 11.0), ("find", 1.5)];
        let expected: Vec<_> =
            expected.into_iter().map(|(name, ms)| (name.to_owned(), Some(ms))).collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn steps_stand_in_the_order_in_which_they_began() {
        let trace = TurnTrace::read(json!({
            "version": 2,
            "phases": [{"name": "wait", "startMs": 0.1, "ms": 1.0}, {"name": "store", "startMs": 30.0, "ms": null}],
            "calls": [{"model": "m", "startMs": 2.0, "ms": 3.0}, {"model": "m", "startMs": 9.0, "ms": 3.0}],
            "tools": [{"name": "t", "startMs": 5.0, "ms": 3.0}],
        }))
        .unwrap();
        let starts: Vec<f64> = trace.steps().iter().filter_map(|step| step.start_ms()).collect();
        assert_eq!(starts, [0.1, 2.0, 5.0, 9.0, 30.0]);
        assert!(TurnTrace::read(json!("no trace")).is_err());
    }
}
