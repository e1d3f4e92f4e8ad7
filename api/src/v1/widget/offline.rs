//! The form for when nobody is there.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::contact::ContactDetails;
use domain::text;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::answering::{agent_of, read_client_id, request};
use super::check_visitor;
use super::views::{self, ConversationView, MessageView};
use crate::error::{ApiError, ApiResult};
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
    #[schema(max_length = 200, example = "Andrea")]
    name: Option<String>,
    /// This or `phone` is needed: people answer there.
    #[schema(format = Email, max_length = 254, example = "andrea@ejemplo.com")]
    email: Option<String>,
    /// E.164.
    #[schema(example = "+56987654321")]
    phone: Option<String>,
    #[schema(max_length = 200)]
    company: Option<String>,
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

/// What people get to know of the visitor.
struct Known {
    contact: ContactDetails,
    fields: BTreeMap<String, String>,
}

/// Leave a message
///
/// Begins a conversation that waits for people, and notes who it is from as a lead. Nobody answers here.
#[utoipa::path(
    post,
    path = "/v1/widget/offline",
    tag = "Widget",
    operation_id = "leaveOfflineMessage",
    request_body = OfflineMessage,
    responses(
        (status = 201, description = "People will see it.", body = LeftView),
        (status = 409, description = "The workspace has no agent.", body = crate::error::ErrorEnvelope),
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
    let known = left.known(country)?;
    let client_id = match left.client_message_id {
        Some(id) => Some(views::stored_client_id(&guest.visitor, &read_client_id(id)?)),
        None => None,
    };
    let mut conn = state.db.read().await?;
    let agent = agent_of(&mut conn, &guest, None).await?;
    drop(conn);
    state.visitors.count_message(&guest)?;
    let mut request = request(&guest, agent, content, None, client_id);
    request.contact = known.contact;
    let left = state.agents.leave(request, known.fields).await?;
    let mut conn = state.db.read().await?;
    let mut views = views::of_messages(&state, &mut conn, &guest, vec![left.message]).await?;
    let view = LeftView {
        conversation_id: left.conversation.id.to_string(),
        message: views.pop().ok_or_else(ApiError::internal)?,
        conversation: left.conversation.into(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

impl OfflineMessage {
    fn known(&self, country: Option<&str>) -> ApiResult<Known> {
        let optional = |field: &str, value: &Option<String>| {
            let text = value.as_deref().map(|text| text::optional(field, text, 200)).transpose()?;
            ApiResult::Ok(text.filter(|text| !text.is_empty()))
        };
        let name = optional("name", &self.name)?;
        let company = optional("company", &self.company)?;
        let given = |value: &Option<String>| value.clone().filter(|text| !text.trim().is_empty());
        let email = given(&self.email).map(|email| text::email("email", &email)).transpose()?;
        let phone = given(&self.phone);
        let phone = phone.map(|phone| text::phone("phone", &phone, country)).transpose()?;
        if email.is_none() && phone.is_none() {
            let message = "`email` is needed, or `phone`: without one nobody can answer";
            return Err(ApiError::invalid("email", message));
        }
        let all = [("name", &name), ("email", &email), ("phone", &phone), ("company", &company)];
        let fields =
            all.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value.clone()?)));
        let fields = fields.collect();
        let (first_name, last_name) = match name.as_deref().map(|name| name.split_once(' ')) {
            Some(Some((first, last))) => (Some(first.to_owned()), Some(last.trim().to_owned())),
            _ => (name, None),
        };
        let contact = ContactDetails { first_name, last_name, email, phone };
        Ok(Known { contact, fields })
    }
}
