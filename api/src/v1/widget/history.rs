//! What was said.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use storage::{conversations, messages};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::views::{self, ConversationView, MessageView};
use super::{own_conversation, read_conversation};
use crate::error::{ApiResult, ErrorEnvelope};
use crate::extract::{Json, Query};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::Guest;

/// Messages of an answer, unless it says otherwise, and at most.
const LIMITS: (i64, i64) = (50, 200);
/// Conversations of an answer.
const MOST_CONVERSATIONS: i64 = 50;

pub(super) fn routes() -> Routes {
    Routes::new().visitor(routes!(list_messages)).visitor(routes!(list_conversations))
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Only those with a greater `seq`.
    #[param(value_type = i64, minimum = 0, default = 0, required = false)]
    after: Option<String>,
    /// One of the visitor's own; their newest when absent.
    #[param(value_type = String, pattern = "^conv_[0-9a-f]{32}$", required = false)]
    conversation_id: Option<String>,
    /// How many at most.
    #[param(value_type = i64, minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<String>,
}

/// Messages of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorMessages)]
struct Messages {
    /// In order.
    data: Vec<MessageView>,
    /// Whether there are more after these.
    has_more: bool,
    /// Theirs; null for a visitor who has none.
    conversation: Option<ConversationView>,
}

/// The conversations of a visitor.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VisitorConversations)]
struct Conversations {
    /// The newest first, at most 50.
    data: Vec<ConversationView>,
}

/// List messages
///
/// Of one of the visitor's conversations, after the one that the page has last.
#[utoipa::path(
    get,
    path = "/v1/widget/messages",
    tag = "Widget",
    operation_id = "listVisitorMessages",
    params(HistoryQuery),
    responses(
        (status = 200, description = "The messages, in order.", body = Messages),
        (status = 404, description = "The conversation is not the visitor's own.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.list_messages", skip_all)]
async fn list_messages(
    State(state): State<AppState>,
    guest: Guest,
    Query(query): Query<HistoryQuery>,
) -> ApiResult<Json<Messages>> {
    let (usual, most) = LIMITS;
    let limit = match &query.limit {
        Some(limit) => whole_number("limit", limit, 1, most)?,
        None => usual,
    };
    let after = match &query.after {
        Some(after) => whole_number("after", after, 0, i64::MAX)?,
        None => 0,
    };
    let workspace = guest.site.workspace;
    let mut conn = state.db.read().await?;
    let conversation = if let Some(id) = &query.conversation_id {
        Some(own_conversation(&mut conn, &guest, read_conversation(id)?).await?)
    } else {
        let (project, visitor) = (guest.site.project.id, &guest.visitor);
        let newest = conversations::of_visitor(&mut conn, workspace, project, visitor, 1).await?;
        newest.into_iter().next().map(|(conversation, _)| conversation)
    };
    let Some(conversation) = conversation else {
        return Ok(Json(Messages { data: Vec::new(), has_more: false, conversation: None }));
    };
    let mut found = messages::list(&mut conn, workspace, conversation.id, after, limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let data = views::of_messages(&state, &mut conn, &guest, found).await?;
    Ok(Json(Messages { data, has_more, conversation: Some(conversation.into()) }))
}

/// List conversations
#[utoipa::path(
    get,
    path = "/v1/widget/conversations",
    tag = "Widget",
    operation_id = "listVisitorConversations",
    responses((status = 200, description = "The visitor's own, the newest first.", body = Conversations)),
)]
#[tracing::instrument(name = "handler.v1.widget.list_conversations", skip_all)]
async fn list_conversations(
    State(state): State<AppState>,
    guest: Guest,
) -> ApiResult<Json<Conversations>> {
    let (workspace, project) = (guest.site.workspace, guest.site.project.id);
    let mut conn = state.db.read().await?;
    let visitor = &guest.visitor;
    let found =
        conversations::of_visitor(&mut conn, workspace, project, visitor, MOST_CONVERSATIONS)
            .await?;
    Ok(Json(Conversations { data: found.into_iter().map(|(one, _)| one.into()).collect() }))
}
