//! Files of visitors: uploaded first, then sent with a message, saved by who is in the conversation.

use std::collections::HashSet;

use ::agents::SentFile;
use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use domain::attachment::{Attachment, Uploader};
use domain::{AttachmentId, DomainError, ErrorKind};
use http::StatusCode;
use http::request::Parts;
use ingest::attachments::NewAttachment;
use serde::Serialize;
use storage::{Conn, attachments, contacts};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::own_conversation;
use crate::download;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Upload};
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::Guest;

/// Most files of one message.
const MOST_FILES: usize = 10;

pub(super) fn routes() -> Routes {
    Routes::new().visitor_upload(routes!(upload)).visitor(routes!(save))
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
#[schema(as = VisitorAttachmentForm)]
struct AttachmentForm {
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// An uploaded file, which no message shows yet.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorUpload)]
struct UploadView {
    #[schema(pattern = "^att_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "foto.png")]
    name: String,
    #[schema(example = "image/png")]
    media_type: String,
    #[schema(minimum = 1)]
    bytes: i64,
}

/// A visitor who may upload a file now. Judged before anything of the file is read.
struct Uploading(Guest);

impl FromRequestParts<AppState> for Uploading {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let guest = Guest::from_request_parts(parts, state).await?;
        if !guest.site.project.widget.attachments {
            let message = "this widget takes no files; its people can turn `attachments` on";
            let error = DomainError::new(ErrorKind::Forbidden, "ATTACHMENTS_OFF", message);
            return Err(error.into());
        }
        state.visitors.count_upload(&guest)?;
        let mut conn = state.db.read().await?;
        let (workspace, visitor) = (guest.site.workspace, Some(&guest.visitor));
        if contacts::is_blocked(&mut conn, workspace, None, visitor).await? {
            return Err(domain::contact::blocked().into());
        }
        Ok(Self(guest))
    }
}

/// Upload a file
///
/// Name it in `attachmentIds` of a message within a day, or it is removed. What it is is told by its content and its name
/// together.
#[utoipa::path(
    post,
    path = "/v1/widget/attachments",
    tag = "Widget",
    operation_id = "uploadVisitorAttachment",
    request_body(content = AttachmentForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "The file.", body = UploadView)),
)]
#[tracing::instrument(name = "handler.v1.widget.attachments.upload", skip_all)]
async fn upload(
    State(state): State<AppState>,
    Uploading(guest): Uploading,
    upload: Upload,
) -> ApiResult<(StatusCode, Json<UploadView>)> {
    let new = NewAttachment {
        name: upload.file_name.clone(),
        path: upload.file.to_path_buf(),
        bytes: upload.bytes,
        conversation: None,
        uploader: Uploader::Visitor(guest.visitor),
    };
    let stored = state.ingest.add_attachment(guest.site.workspace, new).await?;
    Ok((StatusCode::CREATED, Json(stored.into())))
}

/// Save a file
///
/// One of a message of the visitor's own conversations, whoever sent it. Always as a download.
#[utoipa::path(
    get,
    path = "/v1/widget/attachments/{attachmentId}",
    tag = "Widget",
    operation_id = "getVisitorAttachment",
    params(("attachmentId" = String, Path)),
    responses(
        (status = 200, description = "The file.", content_type = "application/octet-stream"),
        (status = 404, description = "It stands in no conversation of the visitor's.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.attachments.save", skip_all)]
async fn save(
    State(state): State<AppState>,
    guest: Guest,
    Id(id): Id<AttachmentId>,
) -> ApiResult<Response> {
    let workspace = guest.site.workspace;
    let mut conn = state.db.read().await?;
    let found = attachments::get(&mut conn, workspace, id).await?;
    let shown = found.filter(|found| found.message_id.is_some());
    let conversation = shown.and_then(|shown| shown.conversation_id).ok_or_else(absent)?;
    own_conversation(&mut conn, &guest, conversation).await.map_err(|error| {
        if error.domain().kind == ErrorKind::NotFound { absent() } else { error }
    })?;
    drop(conn);
    let found = state.ingest.attachment(workspace, id).await?;
    let (attachment, content) = found.ok_or_else(absent)?;
    Ok(download::response(&attachment.name, &attachment.media_type, content))
}

/// The files that a message names: 404 for one that is not the visitor's own upload. Whether one was sent before is
/// looked at when the message is stored, since the message may have been.
pub(super) async fn named(
    conn: &mut Conn,
    guest: &Guest,
    ids: &[String],
) -> ApiResult<Vec<Attachment>> {
    let field = "attachmentIds";
    if ids.len() > MOST_FILES {
        let count = ids.len();
        let message = format!("`{field}` names {count} files; at most {MOST_FILES} are accepted");
        return Err(ApiError::invalid(field, message));
    }
    let (mut files, mut seen) = (Vec::with_capacity(ids.len()), HashSet::new());
    let uploader = Uploader::Visitor(guest.visitor.clone());
    for (place, id) in ids.iter().enumerate() {
        if !seen.insert(id) {
            let field = format!("{field}[{place}]");
            let message = format!("`{field}` is named twice; name each file once");
            return Err(ApiError::invalid(field, message));
        }
        // A malformed id names none.
        let id = id.parse().map_err(|_| absent())?;
        let found = attachments::get(conn, guest.site.workspace, id).await?;
        files.push(found.filter(|found| found.uploader == uploader).ok_or_else(absent)?);
    }
    Ok(files)
}

/// The files as the agent is told of them; images are read where it is to see them.
pub(super) async fn sent(
    state: &AppState,
    guest: &Guest,
    files: &[Attachment],
    is_to_see: bool,
) -> ApiResult<Vec<SentFile>> {
    let worth_showing = if is_to_see { state.agents.worth_showing(files) } else { Vec::new() };
    let mut sent = Vec::with_capacity(files.len());
    for file in files {
        let mut one = SentFile::named(file);
        if worth_showing.contains(&file.id)
            && let Some((_, content)) =
                state.ingest.attachment(guest.site.workspace, file.id).await?
        {
            one = one.shown(file, &content);
        }
        sent.push(one);
    }
    Ok(sent)
}

fn absent() -> ApiError {
    DomainError::not_found("attachment").into()
}

impl From<Attachment> for UploadView {
    fn from(file: Attachment) -> Self {
        Self {
            id: file.id.to_string(),
            name: file.name,
            media_type: file.media_type,
            bytes: file.bytes,
        }
    }
}
