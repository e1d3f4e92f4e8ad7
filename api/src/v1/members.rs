//! The members of a workspace.

use axum::extract::State;
use domain::{Action, UserId, WorkspaceId};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::paging::{List, ListQuery};
use super::views::{MemberView, Role};
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Ids, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadWorkspace, routes!(list))
        .person(Action::ManageWorkspace, routes!(update))
        .person(Action::ManageWorkspace, routes!(remove))
        .person(Action::OwnAccount, routes!(leave))
        .person(Action::OwnWorkspace, routes!(hand_over))
}

/// A change of a member.
#[derive(Debug, Deserialize, ToSchema)]
struct MemberChange {
    role: Role,
}

/// Who is to own the workspace.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HandOver {
    #[schema(value_type = String, pattern = "^user_[0-9a-f]{32}$")]
    user_id: UserId,
}

/// List members
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}/members",
    tag = "Members",
    operation_id = "listMembers",
    params(("workspaceId" = String, Path), ListQuery),
    responses((status = 200, description = "A page of members, oldest first.", body = List<MemberView>)),
)]
#[tracing::instrument(name = "handler.v1.members.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<MemberView>>> {
    let mut conn = state.db.read().await?;
    let all = storage::members::list(&mut conn, caller.workspace()).await?;
    Ok(Json(query.page_of(all, |member| [&member.user.name, &member.user.email])?))
}

/// Change a member's role
///
/// Only an owner makes an owner, or changes one; the last owner stays one.
#[utoipa::path(
    patch,
    path = "/v1/workspaces/{workspaceId}/members/{memberId}",
    tag = "Members",
    operation_id = "updateMember",
    params(("workspaceId" = String, Path), ("memberId" = String, Path)),
    request_body = MemberChange,
    responses(
        (status = 200, description = "The member.", body = MemberView),
        (status = 409, description = "It is the last owner.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.members.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<WorkspaceId, UserId>,
    Json(change): Json<MemberChange>,
) -> ApiResult<Json<MemberView>> {
    let by = caller.person()?;
    let role = change.role.into();
    let member = state.accounts.set_role(&by, ids.1, role, caller.visit()).await?;
    state.authenticator.forget_makers();
    Ok(Json(member.into()))
}

/// Remove a member
#[utoipa::path(
    delete,
    path = "/v1/workspaces/{workspaceId}/members/{memberId}",
    tag = "Members",
    operation_id = "removeMember",
    params(("workspaceId" = String, Path), ("memberId" = String, Path)),
    responses(
        (status = 204, description = "They are no member any more, at once."),
        (status = 409, description = "It is the last owner.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.members.remove", skip_all)]
async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<WorkspaceId, UserId>,
) -> ApiResult<StatusCode> {
    state.accounts.remove_member(&caller.person()?, ids.1, caller.visit()).await?;
    state.authenticator.forget_makers();
    Ok(StatusCode::NO_CONTENT)
}

/// Leave a workspace
#[utoipa::path(
    post,
    path = "/v1/workspaces/{workspaceId}/leave",
    tag = "Members",
    operation_id = "leaveWorkspace",
    params(("workspaceId" = String, Path)),
    responses(
        (status = 204, description = "The person is no member any more."),
        (status = 409, description = "They are the last owner.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.members.leave", skip_all)]
async fn leave(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    let person = caller.person()?;
    state.accounts.remove_member(&person, person.user, caller.visit()).await?;
    state.authenticator.forget_makers();
    Ok(StatusCode::NO_CONTENT)
}

/// Hand the workspace over
///
/// Another member becomes an owner, and the caller an administrator.
#[utoipa::path(
    post,
    path = "/v1/workspaces/{workspaceId}/transfer",
    tag = "Members",
    operation_id = "transferWorkspace",
    params(("workspaceId" = String, Path)),
    request_body = HandOver,
    responses((status = 204, description = "It is theirs.")),
)]
#[tracing::instrument(name = "handler.v1.members.hand_over", skip_all)]
async fn hand_over(
    State(state): State<AppState>,
    caller: Caller,
    Json(to): Json<HandOver>,
) -> ApiResult<StatusCode> {
    state.accounts.hand_over(&caller.person()?, to.user_id, caller.visit()).await?;
    state.authenticator.forget_makers();
    Ok(StatusCode::NO_CONTENT)
}
