//! Conversations in short.

use axum::extract::State;
use domain::ConversationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::Json;
use crate::state::AppState;
use crate::v1::end_users::known_language;

/// Which conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct SummaryWanted {
    #[schema(value_type = String, pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: ConversationId,
    /// `es`, `en` or `pt`; without it, the customer's.
    #[schema(example = "es")]
    language: Option<String>,
}

/// A conversation in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationSummary)]
pub(in crate::v1) struct SummaryView {
    /// Empty when nothing was said.
    summary: String,
    /// Made of words of the conversation itself, because no model is configured.
    extractive: bool,
    /// The model that wrote it.
    model: String,
    /// How many messages it covers, the newest ones.
    #[schema(minimum = 0)]
    messages_count: usize,
}

/// Sum up a conversation
///
/// Notes do not enter, nothing is stored. Without a model the summary is made of the conversation's own words.
#[utoipa::path(
    post,
    path = "/v1/ai/summarize",
    tag = "AI help",
    operation_id = "summarizeConversation",
    request_body = SummaryWanted,
    responses(
        (status = 200, description = "The summary.", body = SummaryView),
        (status = 402, description = "A budget is used up.", body = crate::error::ErrorEnvelope),
        (status = 404, description = "The conversation is absent, or another workspace's.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.ai.summarize", skip_all)]
pub(super) async fn summarize(
    State(state): State<AppState>,
    caller: Caller,
    Json(wanted): Json<SummaryWanted>,
) -> ApiResult<Json<SummaryView>> {
    let language = wanted.language.map(|code| known_language("language", &code)).transpose()?;
    let (workspace, key) = (caller.workspace(), caller.api_key());
    let summing = state.agents.summarize(workspace, wanted.conversation_id, language, key);
    let found = summing.await?;
    Ok(Json(SummaryView {
        summary: found.text,
        extractive: found.is_extract,
        model: found.model,
        messages_count: found.messages,
    }))
}
