//! What customers think of answers.

use axum::extract::State;
use domain::{Action, DomainError, MessageId, text};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::required_nullable;
use super::words::Rating;
use crate::auth::Caller;
use crate::error::{ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::Chat, routes!(rate))
}

/// What a customer thinks of an answer.
#[derive(Debug, Deserialize, ToSchema)]
struct Feedback {
    /// Null takes an earlier rating back.
    #[serde(deserialize_with = "required_nullable")]
    #[schema(required = true)]
    rating: Option<Rating>,
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

/// Rate an answer
///
/// A thumbs-down makes a gap of the question that was asked, until it is taken back.
#[utoipa::path(
    put,
    path = "/api/v2/messages/{messageId}/feedback",
    tag = "Messages",
    operation_id = "rateMessage",
    params(("messageId" = String, Path)),
    request_body = Feedback,
    responses(
        (status = 204, description = "Noted."),
        (status = 409, description = "The message is not an answer.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.messages.rate", skip_all)]
async fn rate(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<MessageId>,
    Json(feedback): Json<Feedback>,
) -> ApiResult<StatusCode> {
    let comment = feedback.comment.as_deref().map(|text| text::optional("comment", text, 2_000));
    let comment = comment.transpose()?.filter(|comment| !comment.is_empty());
    let rating = feedback.rating.map(Into::into);
    let workspace = caller.workspace();
    let agents = state.agents.signed(caller.author());
    if !agents.rate(workspace, id, rating, comment.as_deref()).await? {
        return Err(DomainError::not_found("message").into());
    }
    Ok(StatusCode::NO_CONTENT)
}
