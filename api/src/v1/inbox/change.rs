//! One conversation: reading it, and what people do with it.

use axum::extract::State;
use domain::conversation::Transition;
use domain::{Action, ConversationId, DomainError, UserId, text};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::views::{ConversationView, Editable, tagged};
use super::words::{ConversationStatus, Priority};
use super::work::{Work, perform, snooze_time, tag_names};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;
use crate::v1::etag::{IfMatch, Tagged};

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(get))
        .panel(Action::WorkConversations, routes!(update))
        .panel(Action::WorkConversations, routes!(assign))
        .person(Action::WorkConversations, routes!(take_over))
        .panel(Action::WorkConversations, routes!(hand_back))
        .panel(Action::WorkConversations, routes!(close))
        .panel(Action::WorkConversations, routes!(reopen))
}

/// Longest title, in characters.
const MAX_TITLE: usize = 200;

/// A change of a conversation; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConversationChange {
    #[schema(nullable = false)]
    status: Option<ConversationStatus>,
    /// Null takes it from whoever has it.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^user_[0-9a-f]{32}$")]
    assigned_to_user_id: Patch<UserId>,
    /// All of its tags, by name, each of 1 to 50 characters; those that the workspace does not have are made.
    #[schema(max_items = 20, nullable = false, example = json!(["vip", "venta"]))]
    tags: Option<Vec<String>>,
    #[schema(nullable = false)]
    priority: Option<Priority>,
    /// RFC 3339, within a year; null: it is put off no more.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    snoozed_until: Patch<String>,
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    title: Option<String>,
}

/// Whose a conversation is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewAssignee {
    /// A member who works conversations; null: nobody.
    #[schema(value_type = Option<String>, required = true, pattern = "^user_[0-9a-f]{32}$")]
    #[serde(deserialize_with = "Option::deserialize")]
    assigned_to_user_id: Option<UserId>,
}

/// Get a conversation
///
/// Its `ETag` tells whether anybody has edited it; new messages do not change it.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}",
    tag = "Conversations",
    operation_id = "getConversation",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Tagged<ConversationView>> {
    let reader = caller.person().ok().map(|person| person.user);
    let mut conn = state.db.read().await?;
    let found = storage::inbox::entry(&mut conn, caller.workspace(), reader, id).await?;
    tagged(found.ok_or_else(|| DomainError::not_found("conversation"))?)
}

/// Change a conversation
#[utoipa::path(
    patch,
    path = "/v1/conversations/{conversationId}",
    tag = "Conversations",
    operation_id = "updateConversation",
    params(("conversationId" = String, Path), IfMatch),
    request_body = ConversationChange,
    responses(
        (status = 200, description = "The conversation.", body = ConversationView),
        (status = 409, description = "A closed conversation cannot be put off.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.conversations.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    if_match: IfMatch,
    Json(change): Json<ConversationChange>,
) -> ApiResult<Tagged<ConversationView>> {
    let works = change.works(&state)?;
    done(&state, &caller, id, &works, |before| if_match.check(before)).await
}

/// Assign a conversation
///
/// To a member who works conversations, whoever has it; from then on no AI answers.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/assign",
    tag = "Conversations",
    operation_id = "assignConversation",
    params(("conversationId" = String, Path)),
    request_body = NewAssignee,
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.assign", skip_all)]
async fn assign(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(to): Json<NewAssignee>,
) -> ApiResult<Tagged<ConversationView>> {
    let work = to.assigned_to_user_id.map_or(Work::Unassign, Work::Assign);
    done(&state, &caller, id, &[work], |_| Ok(())).await
}

/// Take a conversation over
///
/// It is the caller's from then on, and no AI answers. Of two who take it at once one has it.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/take-over",
    tag = "Conversations",
    operation_id = "takeConversationOver",
    params(("conversationId" = String, Path)),
    responses(
        (status = 200, description = "The conversation.", body = ConversationView),
        (status = 409, description = "Another has it.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.conversations.take_over", skip_all)]
async fn take_over(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Tagged<ConversationView>> {
    caller.person()?;
    done(&state, &caller, id, &[Work::TakeOver], |_| Ok(())).await
}

/// Hand a conversation back
///
/// To the agent, which answers from then on; what was said before does not enter its prompts.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/hand-back",
    tag = "Conversations",
    operation_id = "handConversationBack",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.hand_back", skip_all)]
async fn hand_back(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Tagged<ConversationView>> {
    done(&state, &caller, id, &[Work::Move(Transition::HandBack)], |_| Ok(())).await
}

/// Close a conversation
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/close",
    tag = "Conversations",
    operation_id = "closeConversation",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.close", skip_all)]
async fn close(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Tagged<ConversationView>> {
    done(&state, &caller, id, &[Work::Move(Transition::Close)], |_| Ok(())).await
}

/// Reopen a conversation
///
/// Whoever answered in it does so again.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/reopen",
    tag = "Conversations",
    operation_id = "reopenConversation",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.reopen", skip_all)]
async fn reopen(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Tagged<ConversationView>> {
    done(&state, &caller, id, &[Work::Move(Transition::Reopen)], |_| Ok(())).await
}

async fn done(
    state: &AppState,
    caller: &Caller,
    id: ConversationId,
    works: &[Work],
    check: impl FnOnce(&Editable) -> ApiResult<()>,
) -> ApiResult<Tagged<ConversationView>> {
    let mut tx = state.db.write().await?;
    let entry = perform((state, caller), &mut tx, id, works, check).await?;
    tx.commit().await?;
    tagged(entry)
}

impl ConversationStatus {
    /// What brings a conversation there.
    pub(super) const fn transition(self) -> Transition {
        match self {
            Self::Open => Transition::Reopen,
            Self::Pending => Transition::MarkPending,
            Self::Closed => Transition::Close,
        }
    }
}

impl ConversationChange {
    /// Whose it is comes before its status, since whoever is given one opens it.
    fn works(self, state: &AppState) -> ApiResult<Vec<Work>> {
        let mut works = Vec::new();
        match self.assigned_to_user_id {
            Patch::Keep => {}
            Patch::Clear => works.push(Work::Unassign),
            Patch::Set(user) => works.push(Work::Assign(user)),
        }
        if let Some(status) = self.status {
            works.push(Work::Move(status.transition()));
        }
        if let Some(tags) = &self.tags {
            works.push(Work::SetTags(tag_names(tags)?));
        }
        if let Some(priority) = self.priority {
            works.push(Work::SetPriority(priority.into()));
        }
        match &self.snoozed_until {
            Patch::Keep => {}
            Patch::Clear => works.push(Work::Unsnooze),
            Patch::Set(until) => works.push(Work::Snooze(snooze_time(state, until)?)),
        }
        if let Some(title) = &self.title {
            works.push(Work::Rename(text::required("title", title, MAX_TITLE)?));
        }
        if works.is_empty() {
            let message = "`status` is missing, as is everything else that can be changed; send \
                one of status, assignedToUserId, tags, priority, snoozedUntil, title";
            return Err(ApiError::invalid("status", message));
        }
        Ok(works)
    }
}
