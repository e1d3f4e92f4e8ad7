//! Talking to an agent as to a model.

use agents::{Answer, SeenImage, Turn, TurnEvent, TurnRequest};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::agent::Agent;
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::Channel;
use domain::{Action, ConversationId, DomainError, VisitorId};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa_axum::routes;

use super::answer::{Completion, Head, Usage};
use super::messages::{self, InputMessage, Said};
use super::models;
use super::stream::{self, Streaming};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json as Body, JsonWithImages, client_id, id_headers};
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::read_images;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::Chat, routes!(create))
}

/// What is read of a request. Sampling parameters (`temperature`, `max_tokens`, `stop`, `seed`…) are not: the
/// agent's own settings hold.
#[derive(Debug, Deserialize)]
struct CompletionRequest {
    model: String,
    messages: Vec<InputMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// The caller's name for the customer.
    user: Option<String>,
    /// The newer name of `user`.
    safety_identifier: Option<String>,
    metadata: Option<Map<String, Value>>,
    // What follows is looked at only to refuse what cannot be done.
    n: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    response_format: Option<Typed>,
    modalities: Option<Vec<String>>,
    audio: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Typed {
    r#type: String,
}

/// Talks to an agent
#[utoipa::path(post, path = "/openai/v1/chat/completions")]
#[tracing::instrument(name = "handler.openai.chat.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    JsonWithImages(mut request): JsonWithImages<CompletionRequest>,
) -> ApiResult<Response> {
    request.refuse_what_cannot_be_done()?;
    let workspace = caller.workspace();
    let agent = models::find(&state, workspace, &request.model).await?;
    let is_stream = request.stream.unwrap_or(false);
    let include_usage =
        request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    let mut said = messages::read(std::mem::take(&mut request.messages))?;
    let images = read_images(&state, &said.images_field, &std::mem::take(&mut said.images)).await?;
    let request = request.check(&caller, &agent, said, images, client_id(&headers)?)?;
    let question = request.query.clone();
    let turn = if is_stream {
        state.agents.start(request).await?
    } else {
        state.agents.start_whole(request).await?
    };
    let ids = id_headers(turn.conversation, turn.message);
    let head = Head::new(&state, turn.message, agent.id.to_string());
    if is_stream {
        let streaming = Streaming { state, workspace, head, question, include_usage, turn };
        return Ok((ids, stream::response(streaming)).into_response());
    }
    let answer = whole_answer(turn).await?;
    let usage = Usage::of(&state, workspace, &question, &answer).await?;
    Ok((ids, Body(Completion::new(head, answer, usage))).into_response())
}

impl CompletionRequest {
    fn refuse_what_cannot_be_done(&self) -> ApiResult<()> {
        let is_text = |kind: &str| kind == "text";
        let asks_for_tools =
            |tools: &Option<Vec<Value>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let refusals = [
            (self.n.is_some_and(|n| n != 1), "n", "an agent gives one answer; send 1 or nothing"),
            (self.logprobs == Some(true), "logprobs", "not available; leave it out"),
            (self.top_logprobs.is_some(), "top_logprobs", "not available; leave it out"),
            (asks_for_tools(&self.tools), "tools", "an agent runs its own tools; leave it out"),
            (
                asks_for_tools(&self.functions),
                "functions",
                "an agent runs its own tools; leave it out",
            ),
            (
                self.response_format.as_ref().is_some_and(|format| !is_text(&format.r#type)),
                "response_format",
                "an agent answers in text; leave it out",
            ),
            (
                self.modalities.iter().flatten().any(|modality| !is_text(modality)),
                "modalities",
                "an agent answers in text; leave it out",
            ),
            (self.audio.is_some(), "audio", "an agent answers in text; leave it out"),
        ];
        match refusals.into_iter().find(|(refused, ..)| *refused) {
            Some((_, field, reason)) => {
                Err(ApiError::invalid(field, format!("`{field}`: {reason}")))
            }
            None => Ok(()),
        }
    }

    fn check(
        self,
        caller: &Caller,
        agent: &Agent,
        said: Said,
        images: Vec<SeenImage>,
        client_id: Option<String>,
    ) -> ApiResult<TurnRequest> {
        let Said { question, earlier, .. } = said;
        let conversation = self.metadata.as_ref().and_then(|fields| fields.get("conversation_id"));
        let conversation = conversation.map(read_conversation).transpose()?;
        let visitor = match (self.user, self.safety_identifier) {
            (Some(user), _) => Some(read_visitor("user", &user)?),
            (None, Some(id)) => Some(read_visitor("safety_identifier", &id)?),
            (None, None) => None,
        };
        Ok(TurnRequest {
            workspace: caller.workspace(),
            agent: agent.id,
            edition: Edition::Published,
            query: question,
            files: Vec::new(),
            lead: BTreeMap::new(),
            images,
            conversation,
            // A conversation that goes on has its own memory.
            history: if conversation.is_some() { Vec::new() } else { earlier },
            visitor,
            contact: ContactDetails::default(),
            channel: Channel::Api,
            project: None,
            client_id,
            api_key: caller.api_key(),
        })
    }
}

/// The id that an earlier answer gave as `vocero.conversationId`. One that is malformed names no conversation:
/// the same answer as for one that is not there.
fn read_conversation(value: &Value) -> ApiResult<ConversationId> {
    let id = value.as_str().and_then(|text| text.parse().ok());
    Ok(id.ok_or_else(|| DomainError::not_found("conversation").at("metadata.conversation_id"))?)
}

fn read_visitor(field: &str, text: &str) -> ApiResult<VisitorId> {
    VisitorId::parse(text).ok_or_else(|| {
        let message = format!(
            "`{field}` must have 1 to {} characters and no control characters",
            VisitorId::MAX_CHARS
        );
        ApiError::invalid(field, message)
    })
}

/// Waits for the end of a turn. Dropped with its request, it drops the turn, which ends the model call.
async fn whole_answer(mut turn: Turn) -> ApiResult<Answer> {
    while let Some(event) = turn.events.recv().await {
        match event {
            TurnEvent::Done(answer) => return Ok(*answer),
            TurnEvent::Error(error) => return Err(error.into()),
            _ => {}
        }
    }
    tracing::error!(message = %turn.message, "a turn ended without an answer");
    Err(ApiError::internal())
}
