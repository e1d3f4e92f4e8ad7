//! Suggested replies.

use agents::Suggestion;
use axum::extract::State;
use domain::message::Citation;
use domain::{ConversationId, text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::Json;
use crate::state::AppState;

/// Most characters of a message.
const MAX_MESSAGE: usize = 10_000;

/// What a reply is wanted to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct ReplyWanted {
    #[schema(value_type = String, pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: ConversationId,
    /// What the customer says; without it, the newest message of theirs in the conversation.
    #[schema(
        min_length = 1,
        max_length = 10_000,
        example = "¿Cuál es el horario del parque el domingo?"
    )]
    last_message: Option<String>,
}

/// A reply that may be sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SuggestedReply)]
pub(in crate::v1) struct SuggestionView {
    /// Null when the knowledge does not hold an answer.
    #[schema(example = "¡Hola! El domingo abrimos de 11:00 a 20:30 hrs...")]
    suggested_reply: Option<String>,
    /// What it rests on, in the order of first use.
    sources: Vec<SourceView>,
    /// The evidence that was found, 0 to 1; halved for a reply with something in `unsupported`.
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
    /// Why there is no reply: `NO_KNOWLEDGE`, `NO_EVIDENCE` or `NOT_ANSWERED`.
    #[schema(example = json!(null))]
    reason: Option<&'static str>,
    /// Numbers, prices, hours and the like of the reply that no source supports: check them before you send it.
    unsupported: Vec<String>,
    /// The model that wrote it; `builtin-extractive` for sentences of the documents.
    model: String,
}

/// A passage that a reply rests on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SuggestedReplySource)]
pub(in crate::v1) struct SourceView {
    /// The name of the document.
    source: String,
    #[schema(pattern = "^src_[0-9a-f]{32}$")]
    source_id: String,
    #[schema(pattern = "^ds_[0-9a-f]{32}$")]
    datastore_id: String,
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    chunk_id: String,
    /// Where people read it, if it is on the web or an article.
    url: Option<String>,
    page: Option<i64>,
    /// The words that the reply rests on.
    quote: String,
    #[schema(minimum = 0, maximum = 1)]
    score: f64,
}

/// Suggest a reply
///
/// By the conversation's agent and out of its knowledge, whoever has the conversation in hand. Nothing is stored and nothing is
/// sent. What it costs is counted under `assist`.
#[utoipa::path(
    post,
    path = "/v1/ai/suggest-reply",
    tag = "AI help",
    operation_id = "suggestReply",
    request_body = ReplyWanted,
    responses(
        (status = 200, description = "A reply, or why there is none.", body = SuggestionView),
        (status = 402, description = "A budget is used up.", body = crate::error::ErrorEnvelope),
        (status = 404, description = "The conversation is absent, or another workspace's.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.ai.suggest_reply", skip_all)]
pub(super) async fn suggest_reply(
    State(state): State<AppState>,
    caller: Caller,
    Json(wanted): Json<ReplyWanted>,
) -> ApiResult<Json<SuggestionView>> {
    let last = wanted.last_message.map(|last| text::required("lastMessage", &last, MAX_MESSAGE));
    let (workspace, key) = (caller.workspace(), caller.api_key());
    let suggesting =
        state.agents.suggest_reply(workspace, wanted.conversation_id, last.transpose()?, key);
    Ok(Json(suggesting.await?.into()))
}

impl From<Suggestion> for SuggestionView {
    fn from(suggestion: Suggestion) -> Self {
        Self {
            suggested_reply: suggestion.text,
            sources: suggestion.citations.into_iter().map(SourceView::from).collect(),
            confidence: suggestion.confidence,
            reason: suggestion.reason,
            unsupported: suggestion.unsupported,
            model: suggestion.model,
        }
    }
}

impl From<Citation> for SourceView {
    fn from(citation: Citation) -> Self {
        Self {
            source: citation.source_name,
            source_id: citation.source_id.to_string(),
            datastore_id: citation.datastore_id.to_string(),
            chunk_id: citation.chunk_id.to_string(),
            url: citation.url,
            page: citation.page,
            quote: citation.quote,
            score: citation.score,
        }
    }
}
