//! Merging and blocking.

use axum::extract::{RawPathParams, State};
use domain::{ContactId, DomainError, VisitorId};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use storage::contacts;
use utoipa::ToSchema;

use super::change::noted;
use super::list::absent;
use super::view::EndUserView;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::state::AppState;
use crate::v1::etag::Tagged;

/// Who becomes part of the end-user of the path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct EndUserMerge {
    #[schema(value_type = String, pattern = "^contact_[0-9a-f]{32}$")]
    other_id: ContactId,
}

/// Merge two end-users
///
/// The other one becomes part of this one: its visitors, conversations and leads move; what this one lacks is taken from it;
/// its e-mail address and phone number stand beside this one's, and what contradicts is kept in the timeline. There is no way
/// back.
#[utoipa::path(
    post,
    path = "/v1/end-users/{endUserId}/merge",
    tag = "End-users",
    operation_id = "mergeEndUsers",
    params(("endUserId" = String, Path)),
    request_body = EndUserMerge,
    responses((status = 200, description = "The end-user that is left.", body = EndUserView)),
)]
#[tracing::instrument(name = "handler.v1.end_users.merge", skip_all)]
pub(super) async fn merge(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
    Json(merge): Json<EndUserMerge>,
) -> ApiResult<Tagged<EndUserView>> {
    let other = merge.other_id;
    if other == id {
        return Err(ApiError::invalid("otherId", "`otherId` must be another end-user"));
    }
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    contacts::one_at_a_time(&mut tx, workspace).await?;
    let kept = contacts::profile(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    let gone = contacts::profile(&mut tx, workspace, other).await?.ok_or_else(absent)?;
    let merged = contacts::merge(&mut tx, workspace, id, other, state.ambient.now()).await?;
    let merged = merged.ok_or_else(absent)?;
    let of_kept = Changed { before: Some(noted(&kept)), after: Some(noted(&merged)) };
    caller.audit(&mut tx, &state.ambient, "end-user.merged", id, of_kept).await?;
    let of_gone = Changed { before: Some(noted(&gone)), after: Some(json!({"mergedInto": id})) };
    caller.audit(&mut tx, &state.ambient, "end-user.merged-away", other, of_gone).await?;
    tx.commit().await?;
    Tagged::of(merged.into())
}

/// Block an end-user
///
/// What they write is refused, whatever the channel, and nobody answers. Also what comes from their visitors.
#[utoipa::path(
    post,
    path = "/v1/end-users/{endUserId}/block",
    tag = "End-users",
    operation_id = "blockEndUser",
    params(("endUserId" = String, Path)),
    responses((status = 200, description = "The end-user.", body = EndUserView)),
)]
#[tracing::instrument(name = "handler.v1.end_users.block", skip_all)]
pub(super) async fn block(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
) -> ApiResult<Tagged<EndUserView>> {
    set_blocked(&state, &caller, id, true).await
}

/// Take the block of an end-user back
#[utoipa::path(
    post,
    path = "/v1/end-users/{endUserId}/unblock",
    tag = "End-users",
    operation_id = "unblockEndUser",
    params(("endUserId" = String, Path)),
    responses((status = 200, description = "The end-user.", body = EndUserView)),
)]
#[tracing::instrument(name = "handler.v1.end_users.unblock", skip_all)]
pub(super) async fn unblock(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
) -> ApiResult<Tagged<EndUserView>> {
    set_blocked(&state, &caller, id, false).await
}

async fn set_blocked(
    state: &AppState,
    caller: &Caller,
    id: ContactId,
    blocked: bool,
) -> ApiResult<Tagged<EndUserView>> {
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let mut tx = state.db.write().await?;
    let (changed, action) = if blocked {
        (contacts::block(&mut tx, workspace, id, now).await?, "end-user.blocked")
    } else {
        (contacts::unblock(&mut tx, workspace, id, now).await?, "end-user.unblocked")
    };
    let found = contacts::profile(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if changed {
        let sides = Changed {
            before: Some(json!({"blocked": !blocked})),
            after: Some(json!({"blocked": blocked})),
        };
        caller.audit(&mut tx, &state.ambient, action, id, sides).await?;
    }
    tx.commit().await?;
    Tagged::of(found.into())
}

/// The caller's own name for a visitor, in the path.
pub(in crate::v1) struct VisitorName(VisitorId);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for VisitorName {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, ApiError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
        let name = parameters.as_ref().and_then(|all| all.iter().next());
        let visitor = name.and_then(|(_, text)| VisitorId::parse(text));
        visitor.map(Self).ok_or_else(|| DomainError::not_found("visitor").into())
    }
}

/// Block a visitor
///
/// One that is no end-user yet, by the name that messages carry in `visitorId`.
#[utoipa::path(
    post,
    path = "/v1/visitors/{visitorId}/block",
    tag = "End-users",
    operation_id = "blockVisitor",
    params(("visitorId" = String, Path)),
    responses((status = 204, description = "What they write is refused.")),
)]
#[tracing::instrument(name = "handler.v1.end_users.block_visitor", skip_all)]
pub(super) async fn block_visitor(
    State(state): State<AppState>,
    caller: Caller,
    VisitorName(visitor): VisitorName,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    if contacts::block_visitor(&mut tx, workspace, &visitor, now).await? {
        let changed = Changed { after: Some(json!({"blocked": true})), ..Changed::default() };
        caller.audit(&mut tx, &state.ambient, "visitor.blocked", &visitor, changed).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the block of a visitor back
#[utoipa::path(
    post,
    path = "/v1/visitors/{visitorId}/unblock",
    tag = "End-users",
    operation_id = "unblockVisitor",
    params(("visitorId" = String, Path)),
    responses((status = 204, description = "They can write again, unless they are an end-user who is blocked.")),
)]
#[tracing::instrument(name = "handler.v1.end_users.unblock_visitor", skip_all)]
pub(super) async fn unblock_visitor(
    State(state): State<AppState>,
    caller: Caller,
    VisitorName(visitor): VisitorName,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    if contacts::unblock_visitor(&mut tx, caller.workspace(), &visitor).await? {
        let changed = Changed { before: Some(json!({"blocked": true})), ..Changed::default() };
        caller.audit(&mut tx, &state.ambient, "visitor.unblocked", &visitor, changed).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
