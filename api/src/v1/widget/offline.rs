//! The form for when nobody is there.

use axum::extract::State;
use domain::widget::LeadFormWhen;
use domain::{DomainError, ErrorKind, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::answering::{agent_of, read_client_id, request};
use super::check_visitor;
use super::details::Details;
use super::views::{self, ConversationView, MessageView};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::Guest;

pub(super) fn routes() -> Routes {
    Routes::new().visitor(routes!(leave))
}

/// What a visitor leaves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorOfflineMessage)]
struct OfflineMessage {
    /// The token's visitor; may be left out.
    #[schema(example = "abc123")]
    visitor_id: Option<String>,
    /// Who they are; `email` or `phone` is needed: people answer there.
    #[serde(flatten)]
    details: Details,
    #[schema(min_length = 1, max_length = 8000, example = "Quiero cotizar un cumpleaños")]
    message: String,
    /// The page's own id: a message that is sent again is one message.
    #[schema(pattern = "^[A-Za-z0-9_.:-]{1,100}$")]
    client_message_id: Option<String>,
}

/// What was left.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorOfflineMessageLeft)]
struct LeftView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    message: MessageView,
    conversation: ConversationView,
}

/// Leave a message
///
/// Begins a conversation that waits for people, and notes who it is from as a lead. Nobody answers here. What the widget's form
/// requires must be there; 403 where the widget has no form.
#[utoipa::path(
    post,
    path = "/v1/widget/offline",
    tag = "Widget",
    operation_id = "leaveOfflineMessage",
    request_body = OfflineMessage,
    responses(
        (status = 201, description = "People will see it.", body = LeftView),
        (status = 403, description = "The widget has no form.", body = ErrorEnvelope),
        (status = 409, description = "The workspace has no agent.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.leave", skip_all)]
async fn leave(
    State(state): State<AppState>,
    guest: Guest,
    Json(left): Json<OfflineMessage>,
) -> ApiResult<(StatusCode, Json<LeftView>)> {
    check_visitor(&guest, left.visitor_id.as_deref())?;
    let content = text::required("message", &left.message, 8_000)?;
    let country = state.settings.agents.default_country.as_deref();
    let form = &guest.site.project.widget.lead_form;
    if form.when == LeadFormWhen::Never {
        let message = "this widget takes no messages by form; write in the chat";
        return Err(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into());
    }
    let known = left.details.read("", country)?;
    known.check_form("", form)?;
    if known.contact.email.is_none() && known.contact.phone.is_none() {
        let message = "`email` is needed, or `phone`: without one nobody can answer";
        return Err(ApiError::invalid("email", message));
    }
    let client_id = match left.client_message_id {
        Some(id) => Some(views::stored_client_id(&guest.visitor, &read_client_id(id)?)),
        None => None,
    };
    let mut conn = state.db.read().await?;
    let agent = agent_of(&mut conn, &guest, None).await?;
    drop(conn);
    state.visitors.count_message(&guest)?;
    let mut request = request(&guest, agent, content, None, client_id);
    (request.contact, request.lead) = (known.contact, known.fields);
    let left = state.agents.leave(request).await?;
    let mut conn = state.db.read().await?;
    let mut views = views::of_messages(&state, &mut conn, &guest, vec![left.message]).await?;
    let view = LeftView {
        conversation_id: left.conversation.id.to_string(),
        message: views.pop().ok_or_else(ApiError::internal)?,
        conversation: left.conversation.into(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}
