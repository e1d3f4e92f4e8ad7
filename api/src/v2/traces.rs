//! How an answer came about.

use agents::{TraceCall, TraceHit, TraceNeighbour, TracePhase, TraceStep, TraceTool, TurnTrace};
use axum::extract::State;
use domain::{Action, DomainError, ErrorKind, MessageId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use storage::messages;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Id, Json};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadConversations, routes!(get))
}

/// How an answer came about. Times are milliseconds since the request arrived. What is null is not known, or there was no
/// such thing; traces of earlier versions of Vocero know less.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Trace {
    /// The answer.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    /// The customer's message.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    question_id: Option<String>,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: Option<String>,
    /// The agent's name then.
    agent_name: Option<String>,
    /// The published version of the agent that answered; for a draft, the one that it was made from.
    agent_version: Option<i64>,
    /// The revision of the draft that answered; null for a published version.
    agent_draft: Option<i64>,
    /// RFC 3339; when the request arrived.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    began_at: Option<String>,
    question: TraceQuestion,
    /// The model that answered.
    model: String,
    /// Models that could not be asked before it.
    fallbacks: Vec<TraceFallback>,
    /// The kind of answer: `answered`, `abstained`, `smalltalk`, `handed-off` or `lead-captured`.
    outcome: Option<String>,
    /// `complete`, `interrupted` or `failed`.
    state: Option<String>,
    retrieval: TraceRetrieval,
    /// Everything that was done, in order.
    steps: Vec<TraceStepView>,
    tokens: TraceTokens,
    /// What the calls of models cost, in micro-dollars (US), as in the ledger; null for traces of earlier versions.
    cost: Option<i64>,
    checks: TraceChecks,
    /// Why the model could call no more tools: `rounds`, `time` or `tokens`.
    tool_limit: Option<String>,
    /// How the provider failed.
    error: Option<String>,
    /// When the first text was ready to be sent.
    first_token_ms: Option<f64>,
    /// The whole until storing began.
    total_ms: Option<f64>,
}

/// What was asked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceQuestion {
    /// What the customer wrote.
    asked: Option<String>,
    /// The question that was searched for, standing alone; null when nothing was searched for.
    searched: Option<String>,
    /// Who made it stand alone: `model` or `rule`; null where it did so by itself.
    rewritten_by: Option<String>,
    /// ISO 639-1.
    language: Option<String>,
}

/// What was found, and whether that was enough.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceRetrieval {
    /// 0 to 1.
    evidence: Option<f64>,
    /// The evidence below which the agent does not answer from what was found.
    threshold: Option<f64>,
    /// Whose threshold that is: `agent`, `installation`, `calibration` or `size`.
    threshold_from: Option<String>,
    /// `open` or `closed`.
    gate: Option<String>,
    hits: Vec<TraceHitView>,
}

/// A passage that was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceHit)]
struct TraceHitView {
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    chunk_id: String,
    #[schema(pattern = "^src_[0-9a-f]{32}$")]
    source_id: String,
    /// The name of the source then.
    source: Option<String>,
    /// `question`, or `tool` when the model searched for it.
    found_by: Option<String>,
    /// Whether the answer cites it.
    cited: Option<bool>,
    /// The score that it was ordered by.
    score: f64,
    /// By words.
    words: Option<f64>,
    /// By character 4-grams.
    grams: Option<f64>,
    /// By embeddings.
    dense: Option<f64>,
    /// What stands around it in its source and was told to the model with it.
    neighbours: Vec<TraceNeighbourView>,
}

/// A passage that was told beside a hit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceNeighbour)]
struct TraceNeighbourView {
    /// `before` or `after` the hit.
    #[schema(pattern = "^(before|after)$")]
    place: String,
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    chunk_id: String,
}

/// A step. `model` is there for calls of models, `tool` for calls of tools.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceStep)]
struct TraceStepView {
    /// `accept`, `wait` (for earlier turns of the conversation), `context`, `rewrite`, `search`, `prompt`, `extract`,
    /// `model`, `tool` or `store`. A `rewrite` by a model is followed by the call that it made.
    kind: String,
    /// When it began.
    start_ms: Option<f64>,
    /// How long it took; null for `store`, which the trace is part of.
    ms: Option<f64>,
    model: Option<TraceModelCall>,
    tool: Option<TraceToolCall>,
}

/// A call of a model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceModelCall {
    /// The name that it was asked under.
    name: String,
    /// `answer`, or `rewrite` when it made the question stand alone.
    purpose: String,
    /// `installation`, or the id of a provider of the workspace.
    provider: Option<String>,
    /// How long its first event took.
    first_ms: Option<f64>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    /// Those of the prompt that the provider had kept.
    cached_tokens: Option<i64>,
    /// Micro-dollars (US); null for a model without a price.
    cost: Option<i64>,
    /// Whether tokens are counted by us, since the provider did not.
    estimated: bool,
    /// `stop`, `length`, `tool_calls` or `content_filter`.
    finish_reason: Option<String>,
    /// Why it failed.
    error: Option<String>,
}

/// A call of a tool. Secrets stand as `[secret]`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceToolCall {
    /// The provider's id of the call.
    call_id: Option<String>,
    /// What the model called.
    name: String,
    /// A text when it was no JSON, or longer than 2,000 characters.
    arguments: Value,
    /// `done` or `failed`.
    status: String,
    /// What the model was told, at most 2,000 characters of it.
    result: String,
}

/// Tokens of all calls together.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceTokens {
    /// The size of the first prompt of the answer, nearly, before it was sent.
    prompt_size: Option<i64>,
    prompt: Option<i64>,
    completion: Option<i64>,
    /// Those of the prompts that the provider had kept.
    cached: Option<i64>,
    /// Whether some of it is counted by us, since the provider did not.
    estimated: bool,
}

/// What was found when the answer was checked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TraceChecks {
    /// What of the answer stands in nothing that it cites.
    unsupported: Vec<String>,
    /// For which of it the model was asked once more.
    retried_for: Vec<String>,
    /// The answer that was withheld.
    withheld: Option<String>,
    /// Markers that named no passage and were taken out.
    removed_markers: Vec<String>,
    /// The model said that it does not know.
    said_unknown: bool,
    /// The model's text cites nothing.
    cites_nothing: bool,
}

/// A model that could not be asked.
#[derive(Debug, Serialize, ToSchema)]
struct TraceFallback {
    model: String,
    /// Why.
    error: String,
}

/// Get the trace of an answer
///
/// How it came about, step by step. Traces are kept for `agents.trace_retention_days`; afterwards, and for messages that
/// are no answers, this is 404.
#[utoipa::path(
    get,
    path = "/api/v2/messages/{messageId}/trace",
    tag = "Messages",
    operation_id = "getTrace",
    params(("messageId" = String, Path)),
    responses((status = 200, description = "The trace.", body = Trace)),
)]
#[tracing::instrument(name = "handler.v2.messages.trace", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<MessageId>,
) -> ApiResult<Json<Trace>> {
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let absent = |what: &'static str| move || DomainError::not_found(what);
    let message = messages::get(&mut conn, workspace, id).await?.ok_or_else(absent("message"))?;
    let stored = messages::trace(&mut conn, workspace, id).await?.ok_or_else(absent("trace"))?;
    let trace = TurnTrace::read(stored).map_err(|error| {
        tracing::error!(%error, message = %id, "a stored trace does not read");
        DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
    })?;
    let conversation = message.conversation_id.to_string();
    let model = message.model.unwrap_or_default();
    Ok(Json(view(id, conversation, model, trace)))
}

fn view(id: MessageId, conversation_id: String, model: String, trace: TurnTrace) -> Trace {
    let steps = trace.steps().into_iter().map(TraceStepView::from).collect();
    Trace {
        message_id: id.to_string(),
        question_id: trace.question_id.map(|id| id.to_string()),
        conversation_id,
        agent_id: trace.agent_id.map(|id| id.to_string()),
        agent_name: trace.agent_name,
        agent_version: trace.agent_version,
        agent_draft: trace.agent_draft,
        began_at: trace.began_at.map(|at| Timestamp::from_micros(at).to_rfc3339()),
        question: TraceQuestion {
            asked: trace.asked,
            searched: trace.question,
            rewritten_by: trace.rewritten_by,
            language: trace.language,
        },
        model,
        fallbacks: trace
            .fallbacks
            .into_iter()
            .map(|failed| TraceFallback { model: failed.model, error: failed.error })
            .collect(),
        outcome: trace.outcome,
        state: trace.state,
        retrieval: TraceRetrieval {
            evidence: trace.evidence,
            threshold: trace.threshold,
            threshold_from: trace.threshold_from,
            gate: trace.gate,
            hits: trace.hits.into_iter().map(Into::into).collect(),
        },
        steps,
        tokens: TraceTokens {
            prompt_size: trace.prompt_tokens_estimate,
            prompt: trace.prompt_tokens,
            completion: trace.completion_tokens,
            cached: trace.cached_tokens,
            estimated: trace.estimated,
        },
        cost: trace.cost,
        checks: TraceChecks {
            unsupported: trace.unsupported,
            retried_for: trace.retried_for,
            withheld: trace.withheld,
            removed_markers: trace.removed_markers,
            said_unknown: trace.said_unknown,
            cites_nothing: trace.cites_nothing,
        },
        tool_limit: trace.tool_limit,
        error: trace.model_error,
        first_token_ms: trace.first_token_ms,
        total_ms: trace.total_ms,
    }
}

impl From<TraceStep<'_>> for TraceStepView {
    fn from(step: TraceStep<'_>) -> Self {
        match step {
            TraceStep::Phase(phase) => phase.into(),
            TraceStep::Call(call) => call.into(),
            TraceStep::Tool(tool) => tool.into(),
        }
    }
}

impl From<&TracePhase> for TraceStepView {
    fn from(phase: &TracePhase) -> Self {
        let TracePhase { name, start_ms, ms } = phase.clone();
        Self { kind: name, start_ms, ms, model: None, tool: None }
    }
}

impl From<&TraceCall> for TraceStepView {
    fn from(call: &TraceCall) -> Self {
        let call = call.clone();
        let model = TraceModelCall {
            name: call.model,
            purpose: call.purpose,
            provider: call.provider,
            first_ms: call.first_ms,
            prompt_tokens: call.prompt_tokens,
            completion_tokens: call.completion_tokens,
            cached_tokens: call.cached_tokens,
            cost: call.cost,
            estimated: call.estimated,
            finish_reason: call.finish_reason,
            error: call.error,
        };
        let kind = "model".to_owned();
        Self { kind, start_ms: call.start_ms, ms: call.ms, model: Some(model), tool: None }
    }
}

impl From<&TraceTool> for TraceStepView {
    fn from(tool: &TraceTool) -> Self {
        let TraceTool { call_id, name, arguments, status, result, start_ms, ms } = tool.clone();
        let tool = TraceToolCall { call_id, name, arguments, status, result };
        Self { kind: "tool".to_owned(), start_ms, ms, model: None, tool: Some(tool) }
    }
}

impl From<TraceNeighbour> for TraceNeighbourView {
    fn from(neighbour: TraceNeighbour) -> Self {
        Self { place: neighbour.place, chunk_id: neighbour.chunk_id }
    }
}

impl From<TraceHit> for TraceHitView {
    fn from(hit: TraceHit) -> Self {
        Self {
            chunk_id: hit.chunk_id,
            source_id: hit.source_id,
            source: hit.source,
            found_by: hit.found_by,
            cited: hit.cited,
            score: hit.score,
            words: hit.words,
            grams: hit.grams,
            dense: hit.dense,
            neighbours: hit.neighbours.into_iter().map(Into::into).collect(),
        }
    }
}
