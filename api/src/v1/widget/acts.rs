//! What visitors do with a conversation beside writing in it.

use axum::extract::State;
use domain::conversation::Transition;
use domain::inbox::By;
use domain::text;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::conversations::{self, ConversationRating};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::views::ConversationView;
use super::{no_conversation, own_conversation, read_conversation};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::Guest;

pub(super) fn routes() -> Routes {
    Routes::new().visitor(routes!(rate)).visitor(routes!(end)).visitor(routes!(typing))
}

/// What a visitor thinks of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorRating)]
struct RatingInput {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// 1 to 5, 5 being best; null takes it back.
    #[schema(minimum = 1, maximum = 5)]
    rating: Option<i64>,
    #[schema(max_length = 1000)]
    comment: Option<String>,
}

/// A conversation of the visitor's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorConversationName)]
struct Named {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
}

/// Whether a visitor writes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorTyping)]
struct TypingInput {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// False when they stopped.
    #[schema(default = true, nullable = false)]
    typing: Option<bool>,
}

/// Tell that the visitor types
///
/// People who look at the conversation see it. Nothing is stored.
#[utoipa::path(
    post,
    path = "/v1/widget/typing",
    tag = "Widget",
    operation_id = "tellVisitorTypes",
    request_body = TypingInput,
    responses(
        (status = 204, description = "Told."),
        (status = 404, description = "The conversation is not the visitor's own.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.typing", skip_all)]
async fn typing(
    State(state): State<AppState>,
    guest: Guest,
    Json(input): Json<TypingInput>,
) -> ApiResult<StatusCode> {
    let signal = json!({"kind": "typing", "typing": input.typing.unwrap_or(true)});
    tell_people(&state, &guest, &input.conversation_id, signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells the members of the workspace something passing about a visitor in one of their own conversations.
pub(super) async fn tell_people(
    state: &AppState,
    guest: &Guest,
    conversation: &str,
    mut signal: Value,
) -> ApiResult<()> {
    let id = read_conversation(conversation)?;
    let mut conn = state.db.read().await?;
    own_conversation(&mut conn, guest, id).await?;
    drop(conn);
    signal["conversationId"] = json!(id);
    signal["visitorId"] = json!(guest.visitor.as_str());
    Ok(state.live.signal(guest.site.workspace, &signal).await?)
}

/// Rate a conversation
#[utoipa::path(
    post,
    path = "/v1/widget/rating",
    tag = "Widget",
    operation_id = "rateVisitorConversation",
    request_body = RatingInput,
    responses(
        (status = 204, description = "Noted."),
        (status = 404, description = "The conversation is not the visitor's own.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.rate", skip_all)]
async fn rate(
    State(state): State<AppState>,
    guest: Guest,
    Json(input): Json<RatingInput>,
) -> ApiResult<StatusCode> {
    let rating = input.rating()?;
    let id = read_conversation(&input.conversation_id)?;
    let (workspace, now) = (guest.site.workspace, state.ambient.now());
    let mut tx = state.db.write().await?;
    own_conversation(&mut tx, &guest, id).await?;
    conversations::set_rating(&mut tx, workspace, id, rating.as_ref(), now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a conversation
///
/// Closes it. Who writes in it again opens it again, with the agent.
#[utoipa::path(
    post,
    path = "/v1/widget/end",
    tag = "Widget",
    operation_id = "endVisitorConversation",
    request_body = Named,
    responses(
        (status = 200, description = "It is closed.", body = ConversationView),
        (status = 404, description = "The conversation is not the visitor's own.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.end", skip_all)]
async fn end(
    State(state): State<AppState>,
    guest: Guest,
    Json(named): Json<Named>,
) -> ApiResult<Json<ConversationView>> {
    let id = read_conversation(&named.conversation_id)?;
    let (workspace, now) = (guest.site.workspace, state.ambient.now());
    let mut tx = state.db.write().await?;
    own_conversation(&mut tx, &guest, id).await?;
    let close = (Transition::Close, By::Customer);
    let closed = conversations::transition_by(&mut tx, workspace, id, close, now).await?;
    tx.commit().await?;
    Ok(Json(closed.ok_or_else(no_conversation)?.into()))
}

impl RatingInput {
    fn rating(&self) -> ApiResult<Option<ConversationRating>> {
        let comment = match &self.comment {
            Some(comment) => Some(text::optional("comment", comment, 1_000)?),
            None => None,
        };
        let comment = comment.filter(|comment| !comment.is_empty());
        match self.rating {
            Some(rating) if !(1..=5).contains(&rating) => {
                Err(ApiError::invalid("rating", "`rating` must be 1 to 5, 5 being best"))
            }
            Some(rating) => Ok(Some(ConversationRating { rating, comment })),
            None => Ok(None),
        }
    }
}
