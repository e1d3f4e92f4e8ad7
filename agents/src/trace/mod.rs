//! How an answer came about: collected while the turn goes on, kept beside the answer, told to an observer.

mod shape;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Timestamp;
use domain::message::Citation;
use models::FinishReason;
use parking_lot::Mutex;
use retrieval::{Hit, SearchResults};
use serde_json::{Map, Value, json};

pub use shape::{
    EndedTurn, TraceCall, TraceFallback, TraceHit, TraceNeighbour, TracePhase, TraceStep,
    TraceTool, TurnObserver, TurnTrace,
};

use crate::run::Work;
use crate::spend::{Call, Meter};
use crate::tools::ShownCall;

/// The shape that is written; traces without a version are of the first one.
const VERSION: u32 = 2;

/// The phase in which a model puts the question so that it stands alone.
pub(crate) const REWRITE: &str = "rewrite";

/// Collects what happens in a turn. A handle: its clones collect into the same trace.
#[derive(Debug, Clone)]
pub(crate) struct Trace(Arc<Mutex<Collected>>);

#[derive(Debug)]
struct Collected {
    began: Instant,
    step_began: Instant,
    /// When storing began.
    store_began: Option<Instant>,
    ended: Option<Instant>,
    meter: Arc<Meter>,
    facts: Map<String, Value>,
    phases: Vec<(&'static str, Instant, Instant)>,
    /// Written as JSON at the end only: a turn can be long, and many wait for their model at once.
    hits: Vec<NotedHit>,
    tools: Vec<Value>,
}

/// A passage that the answer could draw on.
#[derive(Debug)]
struct NotedHit {
    hit: Hit,
    found_by: &'static str,
    cited: bool,
}

impl Trace {
    /// Of a turn whose task has just begun.
    pub(crate) fn of(work: &Work) -> Self {
        let now = Instant::now();
        let began_at = work.inner.ambient.now().minus(work.began.elapsed());
        let mut facts = Map::new();
        facts.insert("version".to_owned(), VERSION.into());
        facts.insert("turnId".to_owned(), work.answer.to_string().into());
        facts.insert("questionId".to_owned(), work.question.id.to_string().into());
        facts.insert("conversationId".to_owned(), work.conversation.id.to_string().into());
        facts.insert("agentId".to_owned(), work.agent.id.to_string().into());
        facts.insert("agentName".to_owned(), work.agent.name.as_str().into());
        facts.insert("agentVersion".to_owned(), work.asked_of.from.version.into());
        if let Some(draft) = work.asked_of.from.draft {
            facts.insert("agentDraft".to_owned(), draft.into());
        }
        facts.insert("beganAt".to_owned(), Timestamp::micros(began_at).into());
        facts.insert("asked".to_owned(), work.question.content.as_str().into());
        Self(Arc::new(Mutex::new(Collected {
            began: work.began,
            step_began: now,
            store_began: None,
            ended: None,
            meter: work.spending.meter.clone(),
            facts,
            phases: vec![("accept", work.began, now)],
            hits: Vec::new(),
            tools: Vec::new(),
        })))
    }

    /// The phase that ends now; it began when the one before it ended.
    pub(crate) fn step(&mut self, name: &'static str) {
        let mut collected = self.0.lock();
        let now = Instant::now();
        let began = std::mem::replace(&mut collected.step_began, now);
        collected.phases.push((name, began, now));
    }

    /// A fact of the turn.
    pub(crate) fn note(&mut self, name: &str, fact: impl Into<Value>) {
        self.0.lock().facts.insert(name.to_owned(), fact.into());
    }

    /// What was retrieved, and what the evidence gate measures it by: the threshold and whose it is
    /// (`agent`, `installation`, `calibration` or `size`).
    pub(crate) fn note_search(&mut self, results: &SearchResults, threshold: f64, origin: &str) {
        self.note("evidence", results.evidence);
        self.note("threshold", threshold);
        self.note("thresholdFrom", origin);
        let mut collected = self.0.lock();
        let noted = results.hits.iter().map(|hit| NotedHit::new(hit, "question"));
        collected.hits = noted.collect();
    }

    /// The passages that the answer could draw on, with the neighbours that were told with them: those that are not
    /// known yet a tool has found.
    pub(crate) fn note_passages(&mut self, passages: &[Hit]) {
        let mut collected = self.0.lock();
        for hit in passages {
            let id = hit.live.chunk.id;
            match collected.hits.iter_mut().find(|known| known.hit.live.chunk.id == id) {
                Some(known) => known.hit.around = hit.around.clone(),
                None => collected.hits.push(NotedHit::new(hit, "tool")),
            }
        }
    }

    /// What the answer cites.
    pub(crate) fn note_cited(&mut self, citations: &[Citation]) {
        let mut collected = self.0.lock();
        for noted in &mut collected.hits {
            let id = noted.hit.live.chunk.id;
            noted.cited = citations.iter().any(|citation| citation.chunk_id == id);
        }
    }

    /// When the first text of the answer was ready to be sent; the time since the turn began.
    pub(crate) fn note_first_token(&mut self, at: Instant) -> Duration {
        let waited = at.saturating_duration_since(self.0.lock().began);
        self.note("firstTokenMs", millis(waited));
        waited
    }

    /// A round of the model is over; the call itself is told by the meter.
    pub(crate) fn round(&mut self) {
        self.0.lock().step_began = Instant::now();
    }

    /// What came of a tool, as it may be shown.
    pub(crate) fn tool(&mut self, call: ShownCall, took: Duration) {
        let mut collected = self.0.lock();
        let now = Instant::now();
        let start = now.saturating_duration_since(collected.began).saturating_sub(took);
        let ShownCall { id, name, arguments, status, result } = call;
        collected.tools.push(json!({
            "callId": id,
            "name": name,
            "arguments": arguments,
            "status": status.name(),
            "result": result,
            "startMs": millis(start),
            "ms": millis(took),
        }));
        collected.step_began = now;
    }

    /// The whole as JSON, to be stored with the answer: storing begins now.
    pub(crate) fn to_be_stored(&self) -> Value {
        let mut collected = self.0.lock();
        collected.store_began = Some(Instant::now());
        collected.whole()
    }

    /// The turn is over; the whole as JSON.
    pub(crate) fn ended(&mut self, end: &str) -> Value {
        self.note("end", end);
        let mut collected = self.0.lock();
        collected.ended = Some(Instant::now());
        collected.whole()
    }
}

impl Collected {
    fn whole(&self) -> Value {
        let mut whole = self.facts.clone();
        let calls = self.meter.calls();
        whole.insert("phases".to_owned(), self.shown_phases().into());
        let shown: Vec<Value> = calls.iter().map(|call| self.shown_call(call)).collect();
        whole.insert("calls".to_owned(), shown.into());
        whole.insert("tools".to_owned(), self.tools.clone().into());
        let hits: Vec<Value> = self.hits.iter().map(NotedHit::shown).collect();
        whole.insert("hits".to_owned(), hits.into());
        let metered = self.meter.read();
        if metered.calls > 0 {
            whole.insert("promptTokens".to_owned(), metered.usage.prompt_tokens.into());
            whole.insert("completionTokens".to_owned(), metered.usage.completion_tokens.into());
            whole.insert("cachedTokens".to_owned(), metered.usage.cached_tokens.into());
        }
        whole.insert("cost".to_owned(), metered.cost.into());
        whole.insert("estimated".to_owned(), metered.estimated.into());
        let until = self.ended.or(self.store_began).unwrap_or_else(Instant::now);
        whole.insert("totalMs".to_owned(), self.offset(until).into());
        Value::Object(whole)
    }

    fn shown_phases(&self) -> Vec<Value> {
        let over = self.phases.iter().map(|(name, began, ended)| {
            let took = millis(ended.saturating_duration_since(*began));
            json!({"name": name, "startMs": self.offset(*began), "ms": took})
        });
        let mut phases: Vec<Value> = over.collect();
        if let Some(began) = self.store_began {
            let took = self.ended.map(|ended| millis(ended.saturating_duration_since(began)));
            phases.push(json!({"name": "store", "startMs": self.offset(began), "ms": took}));
        }
        phases
    }

    fn shown_call(&self, call: &Call) -> Value {
        let mut phases = self.phases.iter();
        let rewrites = phases.any(|(name, began, ended)| {
            *name == REWRITE && *began <= call.began && call.began <= *ended
        });
        json!({
            "purpose": if rewrites { REWRITE } else { "answer" },
            "model": call.model,
            "provider": call.provider,
            "startMs": self.offset(call.began),
            "ms": millis(call.ended.saturating_duration_since(call.began)),
            "firstMs": call.first.map(|first| millis(first.saturating_duration_since(call.began))),
            "promptTokens": call.usage.map(|usage| usage.prompt_tokens),
            "completionTokens": call.usage.map(|usage| usage.completion_tokens),
            "cachedTokens": call.usage.map(|usage| usage.cached_tokens),
            "cost": call.cost,
            "estimated": call.estimated,
            "finishReason": call.reason.map(reason_name),
            "errorType": call.error.as_ref().map(|error| error.kind),
            "error": call.error.as_ref().map(|error| &error.message),
        })
    }

    fn offset(&self, at: Instant) -> f64 {
        millis(at.saturating_duration_since(self.began))
    }
}

impl NotedHit {
    fn new(hit: &Hit, found_by: &'static str) -> Self {
        Self { hit: hit.clone(), found_by, cited: false }
    }

    fn shown(&self) -> Value {
        let Self { hit, found_by, cited } = self;
        let beside = [("before", &hit.around.before), ("after", &hit.around.after)];
        let neighbours: Vec<Value> = beside
            .into_iter()
            .filter_map(|(place, chunk)| {
                let chunk = chunk.as_ref()?;
                Some(json!({"place": place, "chunkId": chunk.id.to_string()}))
            })
            .collect();
        json!({
            "chunkId": hit.live.chunk.id.to_string(),
            "sourceId": hit.live.chunk.source_id.to_string(),
            "source": hit.live.source_name,
            "foundBy": found_by,
            "cited": cited,
            "score": hit.score,
            "words": hit.scores.words,
            "grams": hit.scores.grams,
            "dense": hit.scores.dense,
            "neighbours": neighbours,
        })
    }
}

/// As the attribute `gen_ai.response.finish_reasons` has it.
pub(crate) fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// Milliseconds with three decimals.
fn millis(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
