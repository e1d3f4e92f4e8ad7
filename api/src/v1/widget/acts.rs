//! What visitors do with a conversation beside writing in it.

use axum::extract::State;
use domain::conversation::Transition;
use domain::text;
use http::StatusCode;
use serde::Deserialize;
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
    Routes::new().visitor(routes!(rate)).visitor(routes!(end))
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
    let closed = conversations::transition(&mut tx, workspace, id, Transition::Close, now).await?;
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
