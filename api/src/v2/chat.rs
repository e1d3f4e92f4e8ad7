//! Talking to an agent.

use agents::{
    Answer, Follow, Joined, MAX_IMAGES, Resumable, SeenImage, Turn, TurnEvent, TurnRequest,
};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::Channel;
use domain::{Action, AgentId, ConversationId, DomainError, MessageId, Scope, VisitorId, text};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::stream;
use super::tools::UsedTool;
use super::words::{ConversationStatus, Handler, MessageState, Outcome};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{ChatJson, Id, Ids, Json, Query, client_id, id_headers};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::Chat, routes!(chat))
        .route(Action::Chat, routes!(chat_plural))
        .route(Action::Chat, routes!(stop))
        .route(Action::Chat, routes!(stop_plural))
        .route(Action::Chat, routes!(join))
        .route(Action::Chat, routes!(join_plural))
}

/// A message to an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChatRequest {
    #[schema(min_length = 1, max_length = 8000, example = "¿Cuáles son los horarios?")]
    query: String,
    /// What the customer shows beside it, for models that see: each a `data:image/…;base64,…` address, or an http(s) one
    /// that is fetched at once. PNG, JPEG, WebP or GIF. Not stored.
    #[serde(default)]
    #[schema(max_items = 4, required = false, example = json!([]))]
    images: Vec<String>,
    /// The conversation that goes on; absent begins one.
    #[schema(example = json!(null))]
    conversation_id: Option<String>,
    /// Your own name for the customer.
    #[schema(min_length = 1, max_length = 200, example = "user_456")]
    visitor_id: Option<String>,
    /// Whether the answer is streamed; wins over `Accept`.
    streaming: Option<bool>,
    /// Whether a streamed answer is written to its end although you leave, so that it can be joined again with
    /// `GET …/chat/{messageId}/stream`.
    #[serde(default)]
    resumable: bool,
    /// Tries another configuration of the agent: `draft`, or the number of a version. Needs the scope `manage`; absent,
    /// the published version answers.
    #[schema(value_type = Option<EditionWord>, example = json!(null))]
    version: Option<EditionWord>,
    /// What you know of the customer.
    contact: Option<ContactInput>,
}

/// `draft`, or the number of a published version.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`draft` or the number of a version")]
#[schema(as = AgentEdition)]
enum EditionWord {
    Draft(DraftWord),
    Version(i64),
}

/// The draft.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DraftWord {
    Draft,
}

impl From<EditionWord> for Edition {
    fn from(word: EditionWord) -> Self {
        match word {
            EditionWord::Draft(DraftWord::Draft) => Self::Draft,
            EditionWord::Version(number) => Self::Version(number),
        }
    }
}

/// What you know of the customer. Matched by e-mail, then phone.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContactDetails)]
struct ContactInput {
    #[schema(max_length = 254, example = "cliente@ejemplo.com")]
    email: Option<String>,
    #[schema(max_length = 200, example = "Juan")]
    first_name: Option<String>,
    #[schema(max_length = 200)]
    last_name: Option<String>,
    /// E.164.
    #[schema(example = "+5491123456789")]
    phone_number: Option<String>,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatAnswer {
    /// The text; `[n]` marks what it takes from the source with that `index`. Empty while a person has
    /// the conversation.
    #[schema(example = "Nuestros horarios son de 9 a 18 hs. [1]")]
    answer: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$", example = "conv_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    conversation_id: String,
    #[schema(pattern = "^msg_[0-9a-f]{32}$", example = "msg_0199f0c4a5b07cc09f5a3f1d2b4c6e8b")]
    message_id: String,
    /// The passages that the text cites, in order of first use.
    sources: Vec<CitedSource>,
    /// The tools that were used, in the order of the calls.
    tools: Vec<UsedTool>,
    /// Numbers, dates, prices, percentages, hours and codes of the text that stand in no passage it cites nor in
    /// what the customer said; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unsupported: Vec<String>,
    /// What kind of answer; null while a person has the conversation.
    outcome: Option<Outcome>,
    /// Who answers in the conversation after this turn.
    handler: Handler,
    /// Whether the text is whole; `interrupted` after a stop.
    state: MessageState,
    /// The model that wrote it.
    #[schema(example = "builtin-extractive")]
    model: String,
    /// Where the conversation stands after this turn.
    status: ConversationStatus,
}

/// A passage that an answer cites.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CitedSource {
    /// The number in `[n]`.
    #[schema(minimum = 1)]
    pub index: i64,
    /// The name of the source.
    #[schema(example = "FAQ")]
    pub source: String,
    /// 0 to 1, higher is better.
    #[schema(example = 0.95)]
    pub score: f64,
    #[schema(pattern = "^ds_[0-9a-f]{32}$")]
    pub datasource_id: String,
    /// Opens with `GET /api/v2/chunks/{chunkId}` while it is there, and always with the citations of the message.
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    pub chunk_id: String,
    #[schema(pattern = "^src_[0-9a-f]{32}$")]
    pub source_id: String,
    /// The address of the source, when it came from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// The page, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub page: Option<i64>,
    /// The words that the answer rests on, verbatim.
    pub quote: String,
}

/// Talk to an agent
///
/// With `streaming: true`, or `Accept: text/event-stream`, the answer is a stream of events: `source`
/// (each passage, before the first token), `token` (`{text}`), `tool` (`{name, type, status}`), `error` (`{code, message}`) and
/// `done`, whose data is the body that a call without streaming answers. The body is taken without
/// `Content-Type` too. `Idempotency-Key` makes a repeated message one message. With `resumable: true` the answer is
/// written to its end although you leave, and can be joined again.
#[utoipa::path(
    post,
    path = "/api/v2/agent/{agentId}/chat",
    tag = "Chat",
    operation_id = "chat",
    params(
        ("agentId" = String, Path),
        ("idempotency-key" = Option<String>, Header, max_length = 200, description = "Your own id of the message."),
    ),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer, or its events.", content((ChatAnswer = "application/json"), (String = "text/event-stream"))),
        (status = 402, description = "A budget is used up.", body = ErrorEnvelope),
        (status = 409, description = "The agent is paused, or a message with the same `Idempotency-Key` is being answered.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.chat.create", skip_all)]
async fn chat(
    State(state): State<AppState>,
    caller: Caller,
    Id(agent): Id<AgentId>,
    headers: HeaderMap,
    ChatJson(request): ChatJson<ChatRequest>,
) -> ApiResult<Response> {
    let streaming = request.streaming.unwrap_or_else(|| wants_events(&headers));
    let client_id = client_id(&headers)?;
    let resumable = request.resumable;
    if resumable && !streaming {
        let message = "`resumable` needs a stream to resume; send `streaming: true` with it";
        return Err(ApiError::invalid("resumable", message));
    }
    let images = read_images(&state, "images", &request.images).await?;
    let request = request.check(&state, &caller, agent, images, client_id)?;
    if resumable {
        return Ok(match state.agents.start_resumable(request, stream::render).await? {
            Resumable::Following(follow) => rejoined(follow),
            Resumable::Told(turn) => {
                let ids = id_headers(turn.conversation, turn.message);
                (ids, stream::response(turn).await).into_response()
            }
        });
    }
    let turn = if streaming {
        state.agents.start(request).await?
    } else {
        state.agents.start_whole(request).await?
    };
    let ids = id_headers(turn.conversation, turn.message);
    if streaming {
        return Ok((ids, stream::response(turn).await).into_response());
    }
    Ok((ids, Json(whole_answer(turn).await?)).into_response())
}

/// Talk to an agent
///
/// The same as `/api/v2/agent/{agentId}/chat`.
#[utoipa::path(
    post,
    path = "/api/v2/agents/{agentId}/chat",
    tag = "Chat",
    operation_id = "chatPlural",
    params(
        ("agentId" = String, Path),
        ("idempotency-key" = Option<String>, Header, max_length = 200, description = "Your own id of the message."),
    ),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer, or its events.", content((ChatAnswer = "application/json"), (String = "text/event-stream"))),
        (status = 402, description = "A budget is used up.", body = ErrorEnvelope),
        (status = 409, description = "The agent is paused, or a message with the same `Idempotency-Key` is being answered.", body = ErrorEnvelope),
    ),
)]
async fn chat_plural(
    state: State<AppState>,
    caller: Caller,
    agent: Id<AgentId>,
    headers: HeaderMap,
    request: ChatJson<ChatRequest>,
) -> ApiResult<Response> {
    chat(state, caller, agent, headers, request).await
}

/// Stop an answer
///
/// What was produced so far is stored as interrupted, in whichever process of the installation it is written. The id
/// of the answer is in the header `x-message-id` of its stream.
#[utoipa::path(
    post,
    path = "/api/v2/agent/{agentId}/chat/{messageId}/stop",
    tag = "Chat",
    operation_id = "stopAnswer",
    params(("agentId" = String, Path), ("messageId" = String, Path)),
    responses((status = 202, description = "It stops.")),
)]
#[tracing::instrument(name = "handler.v2.chat.stop", skip_all)]
async fn stop(
    State(state): State<AppState>,
    caller: Caller,
    Ids(agent, message): Ids<AgentId, MessageId>,
) -> ApiResult<StatusCode> {
    if !state.agents.stop(caller.workspace(), agent, message).await? {
        return Err(DomainError::not_found("message").into());
    }
    Ok(StatusCode::ACCEPTED)
}

/// Stop an answer
///
/// The same as `/api/v2/agent/{agentId}/chat/{messageId}/stop`.
#[utoipa::path(
    post,
    path = "/api/v2/agents/{agentId}/chat/{messageId}/stop",
    tag = "Chat",
    operation_id = "stopAnswerPlural",
    params(("agentId" = String, Path), ("messageId" = String, Path)),
    responses((status = 202, description = "It stops.")),
)]
async fn stop_plural(
    state: State<AppState>,
    caller: Caller,
    ids: Ids<AgentId, MessageId>,
) -> ApiResult<StatusCode> {
    stop(state, caller, ids).await
}

/// Where a stream is joined.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct RejoinQuery {
    /// As the header `Last-Event-ID`, which wins, for clients that cannot set it.
    #[param(example = "12")]
    last_event_id: Option<String>,
}

/// Join the stream of an answer
///
/// For an answer that was asked for with `resumable: true`, on whichever process of the installation it is written: the
/// events after the one that `Last-Event-ID` names, from the first one without it, then those that follow as they come.
/// 204 when the answer is over and nothing follows, so that `EventSource` does not connect again. Events are kept for
/// a while after the end (`agents.stream_retention`); later the stored answer is told in their place, or only its
/// `done` to who names an event.
#[utoipa::path(
    get,
    path = "/api/v2/agent/{agentId}/chat/{messageId}/stream",
    tag = "Chat",
    operation_id = "joinAnswer",
    params(
        ("agentId" = String, Path),
        ("messageId" = String, Path),
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that you have."),
        RejoinQuery,
    ),
    responses(
        (status = 200, description = "Its events.", content((String = "text/event-stream"))),
        (status = 204, description = "It is over, and nothing follows."),
    ),
)]
#[tracing::instrument(name = "handler.v2.chat.join", skip_all)]
async fn join(
    State(state): State<AppState>,
    caller: Caller,
    Ids(agent, message): Ids<AgentId, MessageId>,
    headers: HeaderMap,
    Query(query): Query<RejoinQuery>,
) -> ApiResult<Response> {
    let after = last_event(&headers, query.last_event_id.as_deref())?;
    let workspace = caller.workspace();
    let joined = state.agents.join(workspace, agent, message, after, stream::render).await?;
    match joined {
        Some(Joined::Following(follow)) => Ok(rejoined(follow)),
        Some(Joined::Over) => Ok(StatusCode::NO_CONTENT.into_response()),
        None => Err(DomainError::not_found("message").into()),
    }
}

/// Join the stream of an answer
///
/// The same as `/api/v2/agent/{agentId}/chat/{messageId}/stream`.
#[utoipa::path(
    get,
    path = "/api/v2/agents/{agentId}/chat/{messageId}/stream",
    tag = "Chat",
    operation_id = "joinAnswerPlural",
    params(
        ("agentId" = String, Path),
        ("messageId" = String, Path),
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that you have."),
        RejoinQuery,
    ),
    responses(
        (status = 200, description = "Its events.", content((String = "text/event-stream"))),
        (status = 204, description = "It is over, and nothing follows."),
    ),
)]
async fn join_plural(
    state: State<AppState>,
    caller: Caller,
    ids: Ids<AgentId, MessageId>,
    headers: HeaderMap,
    query: Query<RejoinQuery>,
) -> ApiResult<Response> {
    join(state, caller, ids, headers, query).await
}

/// The events of a turn that can be rejoined, with the ids that are needed for it.
fn rejoined(follow: Follow) -> Response {
    let ids = id_headers(follow.conversation, follow.message);
    (ids, stream::following(follow)).into_response()
}

/// The id of the event that a client got last; 0 for none.
fn last_event(headers: &HeaderMap, query: Option<&str>) -> ApiResult<i64> {
    let name = "Last-Event-ID";
    let header = headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (field, text) = match (header, query) {
        (Some(text), _) => (name, text),
        (None, Some(text)) => ("lastEventId", text),
        (None, None) => return Ok(0),
    };
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().ok().filter(|id| *id >= 0).ok_or_else(|| {
        let message =
            format!("`{field}` must be the id of an event of this stream, or be left out");
        ApiError::invalid(field, message)
    })
}

impl ChatRequest {
    fn check(
        self,
        state: &AppState,
        caller: &Caller,
        agent: AgentId,
        images: Vec<SeenImage>,
        client_id: Option<String>,
    ) -> ApiResult<TurnRequest> {
        if self.version.is_some() && !caller.may(Action::ManageAgents) {
            return Err(ApiError::forbidden(Scope::Manage));
        }
        let edition = self.version.map(Edition::from).unwrap_or_default();
        let query = text::required("query", &self.query, 8_000)?;
        let visitor = self.visitor_id.as_deref().map(read_visitor).transpose()?;
        let country = state.settings.agents.default_country.as_deref();
        let contact = self.contact.unwrap_or_default().check(country)?;
        // A malformed id names no conversation: the same answer as for one that is not there.
        let conversation = self.conversation_id.map(|id| id.parse::<ConversationId>()).transpose();
        let conversation = conversation.map_err(|_| DomainError::not_found("conversation"))?;
        Ok(TurnRequest {
            workspace: caller.workspace(),
            agent,
            edition,
            query,
            files: Vec::new(),
            lead: BTreeMap::new(),
            images,
            conversation,
            history: Vec::new(),
            visitor,
            contact,
            channel: Channel::Api,
            project: None,
            client_id,
            api_key: caller.api_key(),
        })
    }
}

/// Reads what is shown beside a message, one image after the other.
pub(crate) async fn read_images(
    state: &AppState,
    field: &str,
    addresses: &[String],
) -> ApiResult<Vec<SeenImage>> {
    if addresses.len() > MAX_IMAGES {
        let message = format!("`{field}` has more than {MAX_IMAGES} images");
        return Err(ApiError::invalid(field, message));
    }
    let mut images = Vec::with_capacity(addresses.len());
    for (position, address) in addresses.iter().enumerate() {
        images.push(state.agents.read_image(&format!("{field}[{position}]"), address).await?);
    }
    Ok(images)
}

fn read_visitor(text: &str) -> ApiResult<VisitorId> {
    VisitorId::parse(text).ok_or_else(|| {
        let message = format!(
            "`visitorId` must have 1 to {} characters and no control characters",
            VisitorId::MAX_CHARS
        );
        ApiError::invalid("visitorId", message)
    })
}

impl ContactInput {
    fn check(self, country: Option<&str>) -> ApiResult<ContactDetails> {
        let name = |field: &str, name: Option<String>| {
            let name = name.map(|name| text::optional(field, &name, 200)).transpose()?;
            Ok::<_, DomainError>(name.filter(|name| !name.is_empty()))
        };
        let phone =
            self.phone_number.map(|phone| text::phone("contact.phoneNumber", &phone, country));
        Ok(ContactDetails {
            first_name: name("contact.firstName", self.first_name)?,
            last_name: name("contact.lastName", self.last_name)?,
            email: self.email.map(|email| text::email("contact.email", &email)).transpose()?,
            phone: phone.transpose()?,
        })
    }
}

/// Whether `Accept` asks for events.
fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|entry| {
        let essence = entry.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// Waits for the end of a turn. Dropped with its request, it drops the turn, which ends the model call.
async fn whole_answer(mut turn: Turn) -> ApiResult<ChatAnswer> {
    while let Some(event) = turn.events.recv().await {
        match event {
            TurnEvent::Done(answer) => return Ok((*answer).into()),
            TurnEvent::Error(error) => return Err(error.into()),
            TurnEvent::Tool(_) | TurnEvent::Source(_) | TurnEvent::Token(_) => {}
        }
    }
    tracing::error!(message = %turn.message, "a turn ended without an answer");
    Err(ApiError::internal())
}

impl From<Answer> for ChatAnswer {
    fn from(answer: Answer) -> Self {
        Self {
            answer: answer.text,
            conversation_id: answer.conversation.to_string(),
            message_id: answer.message.to_string(),
            sources: answer.citations.into_iter().map(Into::into).collect(),
            tools: answer.tools.into_iter().map(Into::into).collect(),
            unsupported: answer.unsupported,
            outcome: answer.outcome.map(Into::into),
            handler: answer.handler.into(),
            state: answer.state.into(),
            model: answer.model,
            status: answer.status.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_event_is_named_by_the_header_or_the_query() {
        let named = |header: Option<&'static str>, query: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("last-event-id", HeaderValue::from_static(header));
            }
            last_event(&headers, query).ok()
        };
        assert_eq!((named(None, None), named(Some(""), None)), (Some(0), Some(0)));
        assert_eq!((named(Some("12"), Some("3")), named(None, Some("3"))), (Some(12), Some(3)));
        assert_eq!((named(Some("-1"), None), named(None, Some("x"))), (None, None));
    }

    #[test]
    fn accept_asks_for_events_only_by_name() {
        let asks = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            wants_events(&headers)
        };
        assert!(asks("text/event-stream"));
        assert!(asks("application/json, Text/Event-Stream;q=0.5"));
        assert!(!asks("*/*") && !asks("text/*") && !wants_events(&HeaderMap::new()));
    }
}
