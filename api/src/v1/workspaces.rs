//! Workspaces.

use axum::extract::State;
use domain::ids::PrefixedId;
use domain::{Action, DomainError, WorkspaceId, text};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::etag::{IfMatch, Tagged};
use super::paging::{List, ListQuery};
use super::views::{OwnWorkspaceView, SignedInView, WorkspaceView};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .person(Action::OwnAccount, routes!(list))
        .person(Action::OwnAccount, routes!(create))
        .panel(Action::ReadWorkspace, routes!(get))
        .panel(Action::ManageWorkspace, routes!(update))
        .person(Action::OwnWorkspace, routes!(delete))
        .person(Action::OwnAccount, routes!(switch))
}

/// A new workspace.
#[derive(Debug, Deserialize, ToSchema)]
struct NewWorkspace {
    #[schema(min_length = 1, max_length = 100, example = "Agencia Latam")]
    name: String,
}

/// A change of a workspace.
#[derive(Debug, Deserialize, ToSchema)]
struct WorkspaceChange {
    #[schema(min_length = 1, max_length = 100, example = "Agencia Latam")]
    name: Option<String>,
}

/// What shows that a removal is meant.
#[derive(Debug, Deserialize, ToSchema)]
struct Confirmation {
    /// The name or the code of the workspace.
    #[schema(example = "agencia-latam")]
    confirm: String,
}

/// List workspaces
///
/// Those that the person is a member of.
#[utoipa::path(
    get,
    path = "/v1/workspaces",
    tag = "Workspaces",
    operation_id = "listWorkspaces",
    params(ListQuery),
    responses((status = 200, description = "A page of workspaces.", body = List<OwnWorkspaceView>)),
)]
#[tracing::instrument(name = "handler.v1.workspaces.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<OwnWorkspaceView>>> {
    let (_, places) = state.accounts.me(caller.person()?.user).await?;
    Ok(Json(query.page_of(places, |place| [&place.workspace.name, &place.workspace.code])?))
}

/// Create a workspace
///
/// With a project, a datastore and an agent that answers from it; the person is its owner.
#[utoipa::path(
    post,
    path = "/v1/workspaces",
    tag = "Workspaces",
    operation_id = "createWorkspace",
    request_body = NewWorkspace,
    responses(
        (status = 201, description = "The workspace.", body = OwnWorkspaceView),
        (status = 409, description = "The person has as many as one may have.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.workspaces.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewWorkspace>,
) -> ApiResult<(StatusCode, Json<OwnWorkspaceView>)> {
    let by = caller.person()?;
    let place = state.accounts.create_workspace(&by, &new.name, caller.visit()).await?;
    Ok((StatusCode::CREATED, Json(place.into())))
}

/// Get a workspace
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}",
    tag = "Workspaces",
    operation_id = "getWorkspace",
    params(("workspaceId" = String, Path)),
    responses((status = 200, description = "The workspace.", body = WorkspaceView)),
)]
#[tracing::instrument(name = "handler.v1.workspaces.get", skip_all)]
async fn get(State(state): State<AppState>, caller: Caller) -> ApiResult<Tagged<WorkspaceView>> {
    let mut conn = state.db.read().await?;
    let found = storage::workspaces::get(&mut conn, caller.workspace()).await?;
    let workspace = found.ok_or_else(|| DomainError::not_found(WorkspaceId::KIND))?;
    Tagged::of(workspace.into())
}

/// Change a workspace
///
/// Its code stays.
#[utoipa::path(
    patch,
    path = "/v1/workspaces/{workspaceId}",
    tag = "Workspaces",
    operation_id = "updateWorkspace",
    params(("workspaceId" = String, Path), IfMatch),
    request_body = WorkspaceChange,
    responses((status = 200, description = "The workspace.", body = WorkspaceView)),
)]
#[tracing::instrument(name = "handler.v1.workspaces.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Json(change): Json<WorkspaceChange>,
) -> ApiResult<Tagged<WorkspaceView>> {
    let name = change.name.map(|name| text::required("name", &name, 100)).transpose()?;
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, caller.workspace()).await?;
    let found = storage::workspaces::get(&mut tx, caller.workspace()).await?;
    let before = found.ok_or_else(|| DomainError::not_found(WorkspaceId::KIND))?;
    let mut after = before.clone();
    if_match.check(&WorkspaceView::from(before.clone()))?;
    if let Some(name) = name {
        storage::workspaces::rename(&mut tx, caller.workspace(), &name).await?;
        let changed = Changed {
            before: Some(json!({"name": before.name})),
            after: Some(json!({"name": name})),
        };
        caller.audit(&mut tx, &state.ambient, "workspace.updated", before.id, changed).await?;
        after.name = name;
    }
    tx.commit().await?;
    Tagged::of(after.into())
}

/// Switch to a workspace
///
/// The session goes on there, with the tokens of the answer; the refresh token before holds no longer.
#[utoipa::path(
    post,
    path = "/v1/workspaces/{workspaceId}/switch",
    tag = "Workspaces",
    operation_id = "switchWorkspace",
    params(("workspaceId" = String, Path)),
    responses((status = 200, description = "A pair of tokens for it.", body = SignedInView)),
)]
#[tracing::instrument(name = "handler.v1.workspaces.switch", skip_all)]
async fn switch(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> ApiResult<Json<SignedInView>> {
    Ok(Json(state.accounts.switch(&caller.person()?, id).await?.into()))
}

/// Remove a workspace
///
/// It is absent at once for its members, its keys and its visitors; everything of it goes: conversations, contacts, knowledge, vectors,
/// files, jobs. Nothing brings it back.
#[utoipa::path(
    delete,
    path = "/v1/workspaces/{workspaceId}",
    tag = "Workspaces",
    operation_id = "deleteWorkspace",
    params(("workspaceId" = String, Path), IfMatch),
    request_body = Confirmation,
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.workspaces.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Json(confirmation): Json<Confirmation>,
) -> ApiResult<StatusCode> {
    let (workspace, person) = (caller.workspace(), caller.person()?);
    let absent = || DomainError::not_found(WorkspaceId::KIND);
    let mut tx = state.db.write().await?;
    let found = storage::workspaces::get(&mut tx, workspace).await?.ok_or_else(absent)?;
    let typed = confirmation.confirm.trim();
    if typed != found.name && typed != found.code {
        let message = format!(
            "`confirm` must be the name of the workspace, `{}`, or its code, `{}`",
            found.name, found.code
        );
        return Err(ApiError::invalid("confirm", message));
    }
    if_match.check(&WorkspaceView::from(found))?;
    if !state.ingest.close_workspace(&mut tx, workspace).await? {
        return Err(absent().into());
    }
    tx.commit().await?;
    state.accounts.forget_members();
    state.authenticator.forget_makers();
    tracing::info!(%workspace, by = %person.user, "a workspace is being removed");
    Ok(StatusCode::NO_CONTENT)
}
