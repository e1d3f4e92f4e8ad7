//! How far the person has read a conversation.

use axum::extract::State;
use domain::{Action, ConversationId, DomainError};
use serde::{Deserialize, Serialize};
use storage::reads;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::found;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .person(Action::ReadConversations, routes!(get))
        .person(Action::ReadConversations, routes!(mark))
}

/// How far the person has read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReadState)]
struct ReadStateView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// The `seq` of the last message that they have read; 0 for none.
    #[schema(minimum = 0)]
    seq: i64,
    /// Messages of the customer above it.
    #[schema(minimum = 0)]
    unread: i64,
}

/// Up to where.
#[derive(Debug, Deserialize, ToSchema)]
struct ReadMark {
    /// The `seq` of a message; the newest when absent. Nothing is unread by a lower one.
    #[schema(nullable = false, minimum = 1)]
    seq: Option<i64>,
}

/// Get how far the person has read
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/read",
    tag = "Conversation threads",
    operation_id = "getReadState",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "How far.", body = ReadStateView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.reads.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Json<ReadStateView>> {
    let user = caller.person()?.user;
    let mut conn = state.db.read().await?;
    found(&mut conn, &caller, id).await?;
    let read = reads::state(&mut conn, caller.workspace(), id, user).await?;
    Ok(Json(ReadStateView { conversation_id: id.to_string(), seq: read.seq, unread: read.unread }))
}

/// Mark messages as read
///
/// For the person alone: what colleagues have read stays.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/read",
    tag = "Conversation threads",
    operation_id = "markRead",
    params(("conversationId" = String, Path)),
    request_body = ReadMark,
    responses((status = 200, description = "How far they have read now.", body = ReadStateView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.reads.mark", skip_all)]
async fn mark(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(mark): Json<ReadMark>,
) -> ApiResult<Json<ReadStateView>> {
    let (user, workspace) = (caller.person()?.user, caller.workspace());
    let seq = mark.seq.unwrap_or(i64::MAX);
    if seq < 1 {
        return Err(ApiError::invalid("seq", "`seq` must be that of a message, from 1"));
    }
    let now = state.ambient.now();
    let mut tx = state.db.write().await?;
    if !reads::mark(&mut tx, workspace, id, (user, seq), now).await? {
        return Err(DomainError::not_found("conversation").into());
    }
    let read = reads::state(&mut tx, workspace, id, user).await?;
    tx.commit().await?;
    Ok(Json(ReadStateView { conversation_id: id.to_string(), seq: read.seq, unread: read.unread }))
}
