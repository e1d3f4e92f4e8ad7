//! Files of conversations: uploaded by operators, saved by members and, by a signed link, by customers.

use axum::extract::State;
use axum::response::Response;
use domain::attachment::Uploader;
use domain::{Action, AttachmentId, ConversationId, DomainError, WorkspaceId};
use http::StatusCode;
use ingest::attachments::NewAttachment;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::found;
use super::views::AttachmentView;
use crate::attachment_links;
use crate::auth::Caller;
use crate::download;
use crate::error::ApiResult;
use crate::extract::{Id, Json, Query, Upload};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .person_upload(Action::WorkConversations, routes!(upload))
        .panel(Action::ReadConversations, routes!(get))
        .open(routes!(shared))
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct AttachmentForm {
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// What a link carries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LinkQuery {
    /// As the link has it.
    token: String,
}

/// Upload a file for a conversation
///
/// Name it in `attachmentIds` of a message within a day, or it is removed. What it is is told by its content and its name
/// together.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/attachments",
    tag = "Conversation threads",
    operation_id = "uploadAttachment",
    params(("conversationId" = String, Path)),
    request_body(content = AttachmentForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "The file.", body = AttachmentView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.attachments.upload", skip_all)]
async fn upload(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    upload: Upload,
) -> ApiResult<(StatusCode, Json<AttachmentView>)> {
    let person = caller.person()?;
    let mut conn = state.db.read().await?;
    found(&mut conn, &caller, id).await?;
    drop(conn);
    let new = NewAttachment {
        name: upload.file_name.clone(),
        path: upload.file.to_path_buf(),
        bytes: upload.bytes,
        conversation: Some(id),
        uploader: Uploader::Operator(Some(person.user)),
    };
    let stored = state.ingest.add_attachment(caller.workspace(), new).await?;
    Ok((StatusCode::CREATED, Json(stored.into())))
}

/// Save a file
///
/// Always as a download.
#[utoipa::path(
    get,
    path = "/v1/attachments/{attachmentId}",
    tag = "Conversation threads",
    operation_id = "getAttachment",
    params(("attachmentId" = String, Path)),
    responses((status = 200, description = "The file.", content_type = "application/octet-stream")),
)]
#[tracing::instrument(name = "handler.v1.attachments.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<AttachmentId>,
) -> ApiResult<Response> {
    file(&state, caller.workspace(), id).await
}

/// Save a file by its link
///
/// For customers: the links in what the widget shows carry the `token`, which opens that one file for about a day.
#[utoipa::path(
    get,
    path = "/v1/attachments/{attachmentId}/shared",
    tag = "Conversation threads",
    operation_id = "getSharedAttachment",
    params(("attachmentId" = String, Path), LinkQuery),
    responses(
        (status = 200, description = "The file.", content_type = "application/octet-stream"),
        (status = 404, description = "Absent, or the link is no longer good.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.attachments.shared", skip_all)]
async fn shared(
    State(state): State<AppState>,
    Id(id): Id<AttachmentId>,
    Query(query): Query<LinkQuery>,
) -> ApiResult<Response> {
    let now = state.ambient.now();
    let workspace = attachment_links::open(&state.vault, id, &query.token, now);
    let absent = || DomainError::not_found("attachment");
    let workspace = workspace.ok_or_else(absent)?;
    // One that is being removed is absent at once; its files go later.
    let mut conn = state.db.read().await?;
    storage::workspaces::get(&mut conn, workspace).await?.ok_or_else(absent)?;
    drop(conn);
    file(&state, workspace, id).await
}

async fn file(state: &AppState, workspace: WorkspaceId, id: AttachmentId) -> ApiResult<Response> {
    let found = state.ingest.attachment(workspace, id).await?;
    let (attachment, content) = found.ok_or_else(|| DomainError::not_found("attachment"))?;
    Ok(download::response(&attachment.name, &attachment.media_type, content))
}
