//! What happened with an end-user.

use axum::extract::State;
use domain::ContactId;
use domain::conversation::Conversation;
use serde::Serialize;
use serde_json::Value;
use storage::contacts::{self, TimelineEntry, TimelineKind};
use storage::conversations;
use utoipa::ToSchema;

use super::list::absent;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::state::AppState;
use crate::v1::paging::List;
use crate::v1::window::{Window, WindowQuery};
use crate::words::words;

words! {
    /// Something that happened with an end-user.
    EndUserEvent = TimelineKind {
        /// They became known.
        Created = "created",
        /// A conversation began.
        Conversation = "conversation",
        /// A conversation was closed.
        Closed = "closed",
        /// They left contact details.
        Lead = "lead",
        /// They rated a conversation.
        Rating = "rating",
        /// Another end-user became part of this one.
        Merge = "merge",
    }
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndUserTimelineEntry)]
pub(in crate::v1) struct EntryView {
    /// RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    #[serde(rename = "type")]
    kind: EndUserEvent,
    /// Where, if it was in a conversation.
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: Option<String>,
    /// The title of the conversation; the comment that was left with a rating.
    text: Option<String>,
    /// Of a rating: 1 to 5, 5 being best.
    #[schema(minimum = 1, maximum = 5)]
    rating: Option<i64>,
    /// The fields of a lead; of a merge, what the end-user was that is no more.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// A conversation of an end-user, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndUserConversation)]
pub(in crate::v1) struct TalkView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    id: String,
    /// The first words of it.
    title: String,
    #[schema(pattern = "^(open|pending|closed)$")]
    status: &'static str,
    /// Who answers.
    #[schema(pattern = "^(bot|queue|operator)$")]
    handler: &'static str,
    #[schema(pattern = "^(api|cli|web|whatsapp|instagram|facebook|email)$", example = "web")]
    channel: &'static str,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    #[schema(minimum = 0)]
    messages_count: i64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Get what happened with an end-user
///
/// Conversations, contact details that they left, ratings and merges in the order of time, the newest first. Takes no
/// `criteria`.
#[utoipa::path(
    get,
    path = "/v1/end-users/{endUserId}/timeline",
    tag = "End-users",
    operation_id = "getEndUserTimeline",
    params(
        ("endUserId" = String, Path),
        ("orderBy" = Option<String>, Query, description = "There is one order: by time.", pattern = "^(at)$"),
        WindowQuery,
    ),
    responses((status = 200, description = "A page of what happened.", body = List<EntryView>)),
)]
#[tracing::instrument(name = "handler.v1.end_users.timeline", skip_all)]
pub(super) async fn timeline(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
    Query(window): Query<WindowQuery>,
) -> ApiResult<Json<List<EntryView>>> {
    let window = without_criteria(window.read(&[("at", ())], true)?)?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    contacts::get(&mut conn, workspace, id).await?.ok_or_else(absent)?;
    let count = contacts::count_timeline(&mut conn, workspace, id).await?;
    let (offset, limit) = (window.offset(), window.limit());
    let found =
        contacts::timeline(&mut conn, workspace, id, window.descending, offset, limit).await?;
    Ok(Json(window.list(found.into_iter().map(EntryView::from).collect(), count)))
}

/// List the conversations of an end-user
///
/// The newest first. Takes no `criteria`: search the inbox by `contactId`.
#[utoipa::path(
    get,
    path = "/v1/end-users/{endUserId}/conversations",
    tag = "End-users",
    operation_id = "listEndUserConversations",
    params(
        ("endUserId" = String, Path),
        ("orderBy" = Option<String>, Query, description = "There is one order: by time.", pattern = "^(createdAt)$"),
        WindowQuery,
    ),
    responses((status = 200, description = "A page of conversations.", body = List<TalkView>)),
)]
#[tracing::instrument(name = "handler.v1.end_users.conversations", skip_all)]
pub(super) async fn conversations(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
    Query(window): Query<WindowQuery>,
) -> ApiResult<Json<List<TalkView>>> {
    let window = without_criteria(window.read(&[("createdAt", ())], true)?)?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    contacts::get(&mut conn, workspace, id).await?.ok_or_else(absent)?;
    let count = conversations::count_of_contact(&mut conn, workspace, id).await?;
    let (offset, limit) = (window.offset(), window.limit());
    let order = window.descending;
    let found = conversations::of_contact(&mut conn, workspace, id, order, offset, limit).await?;
    Ok(Json(window.list(found.into_iter().map(TalkView::from).collect(), count)))
}

/// What somebody said is searched in the inbox, which has an index of it.
fn without_criteria(window: Window<()>) -> ApiResult<Window<()>> {
    if window.criteria.is_none() {
        return Ok(window);
    }
    let message =
        "`criteria` is not taken here; search GET /v1/conversations by `contactId` and `criteria`";
    Err(ApiError::invalid("criteria", message))
}

impl From<TimelineEntry> for EntryView {
    fn from(entry: TimelineEntry) -> Self {
        Self {
            at: entry.at.to_rfc3339(),
            kind: entry.kind.into(),
            conversation_id: entry.conversation.map(|id| id.to_string()),
            text: entry.text,
            rating: entry.rating,
            data: entry.data,
        }
    }
}

impl From<Conversation> for TalkView {
    fn from(talk: Conversation) -> Self {
        Self {
            id: talk.id.to_string(),
            title: talk.title,
            status: talk.status.name(),
            handler: talk.handler.name(),
            channel: talk.channel.name(),
            agent_id: talk.agent_id.to_string(),
            messages_count: talk.messages_count,
            created_at: talk.created_at.to_rfc3339(),
            updated_at: talk.updated_at.to_rfc3339(),
        }
    }
}
