//! What the law lets a person ask for: all that is stored about them, and that it goes.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::message::{Author, Message};
use domain::note::Note;
use domain::{ContactId, WorkspaceId};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::{
    Conn, attachments, contacts, conversations, erasure, leads, messages, notes, visits,
};
use utoipa::{IntoParams, ToSchema};

use super::list::absent;
use super::view::EndUserView;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::state::AppState;

/// Messages and events read at once.
const BATCH: i64 = 500;

/// All that is stored about one person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndUserExport)]
pub(in crate::v1) struct ExportView {
    end_user: EndUserView,
    /// The names that callers know them by.
    visitors: Vec<String>,
    /// Their conversations, oldest first, with every message, rating and lead. Of each, `internalNotes` is how many notes members
    /// have written on it, and `notes` these notes where they were asked for.
    #[schema(value_type = Vec<ExportedTalk>)]
    conversations: Vec<Value>,
    /// What happened with them, oldest first.
    #[schema(value_type = Vec<super::history::EntryView>)]
    timeline: Vec<Value>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    exported_at: String,
}

/// What is to be in an export.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::v1) struct ExportQuery {
    /// `true`: with what members have noted on the conversations. Look at them before you hand the file on: they are words of
    /// colleagues to each other.
    #[param(value_type = bool, required = false)]
    notes: Option<String>,
}

/// A conversation of the person, whole.
#[derive(ToSchema)]
#[schema(as = EndUserExportConversation, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `talk_of` writes")]
struct ExportedTalk {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    id: String,
    title: String,
    #[schema(pattern = "^(api|cli|web|whatsapp|instagram|facebook|email)$")]
    channel: String,
    #[schema(pattern = "^(open|pending|closed)$")]
    status: String,
    visitor_id: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Of what no longer fits the agent's memory.
    summary: Option<String>,
    rating: Option<ExportedRating>,
    /// The fields that they left.
    lead: Option<BTreeMap<String, String>>,
    /// The page that it began on.
    page_url: Option<String>,
    /// The browser that it began with.
    user_agent: Option<String>,
    /// Oldest first.
    messages: Vec<ExportedMessage>,
    /// How many notes members have written on it.
    #[schema(minimum = 0)]
    internal_notes: usize,
    /// These notes, where they were asked for.
    #[schema(required = false)]
    notes: Vec<ExportedNote>,
}

/// What a member noted on a conversation.
#[derive(ToSchema)]
#[schema(as = EndUserExportNote, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `note_of` writes")]
struct ExportedNote {
    /// Their name; null where they are gone.
    author: Option<String>,
    content: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
}

/// What the person thought of a conversation.
#[derive(ToSchema)]
#[schema(as = EndUserExportRating)]
#[expect(dead_code, reason = "describes what `talk_of` writes")]
struct ExportedRating {
    #[schema(minimum = 1, maximum = 5)]
    rating: i64,
    comment: Option<String>,
}

/// A message to or from the person.
#[derive(ToSchema)]
#[schema(as = EndUserExportMessage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `message_of` writes")]
struct ExportedMessage {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^(customer|agent|operator)$")]
    author: String,
    content: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    feedback: Option<ExportedFeedback>,
    attachments: Vec<ExportedFile>,
    /// Whether it is stored how the answer came about.
    has_trace: bool,
}

/// What the person thought of an answer.
#[derive(ToSchema)]
#[schema(as = EndUserExportFeedback)]
#[expect(dead_code, reason = "describes what `message_of` writes")]
struct ExportedFeedback {
    rating: String,
    comment: Option<String>,
}

/// A file of a message.
#[derive(ToSchema)]
#[schema(as = EndUserExportFile, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `message_of` writes")]
struct ExportedFile {
    name: String,
    media_type: String,
    #[schema(minimum = 0)]
    bytes: i64,
}

/// Export an end-user
///
/// All that is stored about one person, as a download. Without the notes on their conversations unless they are asked for;
/// it says how many there are.
#[utoipa::path(
    get,
    path = "/v1/end-users/{endUserId}/export",
    tag = "End-users",
    operation_id = "exportEndUser",
    params(("endUserId" = String, Path), ExportQuery),
    responses((status = 200, description = "All that is stored.", body = ExportView)),
)]
#[tracing::instrument(name = "handler.v1.end_users.export", skip_all)]
pub(super) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let with_notes = match query.notes.as_deref() {
        None | Some("false") => false,
        Some("true") => caller.person().map(|_| true)?,
        Some(_) => return Err(ApiError::invalid("notes", "`notes` must be true or false")),
    };
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let profile = contacts::profile(&mut conn, workspace, id).await?.ok_or_else(absent)?;
    let visitors = erasure::visitors_of(&mut conn, workspace, id).await?;
    let mut talks = Vec::new();
    for talk in erasure::conversations_of(&mut conn, workspace, id).await? {
        if let Some(found) = conversations::get(&mut conn, workspace, talk).await? {
            talks.push(talk_of(&mut conn, workspace, found, with_notes).await?);
        }
    }
    let mut timeline = Vec::new();
    loop {
        let offset = i64::try_from(timeline.len()).unwrap_or(i64::MAX);
        let page = contacts::timeline(&mut conn, workspace, id, false, offset, BATCH).await?;
        if page.is_empty() {
            break;
        }
        timeline
            .extend(page.into_iter().map(|entry| json!(super::history::EntryView::from(entry))));
    }
    drop(conn);
    let mut tx = state.db.write().await?;
    caller.audit(&mut tx, &state.ambient, "end-user.exported", id, Changed::default()).await?;
    tx.commit().await?;
    let body = ExportView {
        end_user: profile.into(),
        visitors: visitors.iter().map(ToString::to_string).collect(),
        conversations: talks,
        timeline,
        exported_at: state.ambient.now().to_rfc3339(),
    };
    let mut response = Json(body).into_response();
    let name = format!("attachment; filename=\"end-user-{id}.json\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn talk_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    talk: domain::conversation::Conversation,
    with_notes: bool,
) -> ApiResult<Value> {
    let mut said = Vec::new();
    let mut after = 0;
    loop {
        let page = messages::list(conn, workspace, talk.id, after, BATCH).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for message in page {
            said.push(message_of(conn, workspace, message).await?);
        }
    }
    let rating = conversations::ratings(conn, workspace, &[talk.id]).await?.pop();
    let lead = leads::of_conversation(conn, workspace, talk.id).await?;
    let summary = conversations::summary(conn, workspace, talk.id).await?;
    let visits = visits::of_conversations(conn, workspace, &[talk.id]).await?;
    let visit = visits.into_iter().next().map(|(_, visit)| visit).unwrap_or_default();
    let notes = notes::list(conn, workspace, talk.id).await?;
    let mut whole = json!({
        "id": talk.id,
        "title": talk.title,
        "channel": talk.channel.name(),
        "status": talk.status.name(),
        "visitorId": talk.visitor_id.map(|visitor| visitor.to_string()),
        "createdAt": talk.created_at.to_rfc3339(),
        "updatedAt": talk.updated_at.to_rfc3339(),
        "summary": summary.map(|(text, _)| text),
        "rating": rating.map(|(_, rating)| json!({"rating": rating.rating, "comment": rating.comment})),
        "lead": lead.map(|lead| json!(lead.fields)),
        "pageUrl": visit.page_url,
        "userAgent": visit.user_agent,
        "messages": said,
        "internalNotes": notes.len(),
    });
    if with_notes {
        whole["notes"] = notes.into_iter().map(note_of).collect();
    }
    Ok(whole)
}

fn note_of(note: Note) -> Value {
    json!({
        "author": note.author.map(|author| author.name),
        "content": note.content,
        "createdAt": note.created_at.to_rfc3339(),
    })
}

async fn message_of(conn: &mut Conn, workspace: WorkspaceId, message: Message) -> ApiResult<Value> {
    let feedback = messages::feedback(conn, workspace, message.id).await?;
    let is_answer = message.author == Author::Agent;
    let files = attachments::of_messages(conn, workspace, &[message.id]).await?;
    let files: Vec<Value> = files
        .into_iter()
        .map(|(_, file)| json!({"name": file.name, "mediaType": file.media_type, "bytes": file.bytes}))
        .collect();
    let traced = is_answer && messages::trace(conn, workspace, message.id).await?.is_some();
    Ok(json!({
        "id": message.id,
        "author": message.author.name(),
        "content": message.content,
        "createdAt": message.created_at.to_rfc3339(),
        "feedback": feedback.map(|(rating, comment)| json!({"rating": rating.name(), "comment": comment})),
        "attachments": files,
        // How an answer came about is stored too; it holds nothing that is not here but passages of documents.
        "hasTrace": traced,
    }))
}

/// Erase an end-user
///
/// With all that they said and all that quotes it: conversations, traces, leads, questions without an answer, cases of
/// evaluations, files. What it cost stays in the ledger, without their name. There is no way back.
#[utoipa::path(
    delete,
    path = "/v1/end-users/{endUserId}",
    tag = "End-users",
    operation_id = "eraseEndUser",
    params(("endUserId" = String, Path)),
    responses(
        (status = 204, description = "Nothing of it is found any more; files go within minutes."),
        (status = 409, description = "An answer to them is being written.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.end_users.erase", skip_all)]
pub(super) async fn erase(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
) -> ApiResult<StatusCode> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    contacts::one_at_a_time(&mut tx, workspace).await?;
    if !state.agents.erase_contact(&mut tx, workspace, id).await? {
        return Err(absent());
    }
    // That it was done is kept, who it was is not.
    caller.audit(&mut tx, &state.ambient, "end-user.erased", id, Changed::default()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
