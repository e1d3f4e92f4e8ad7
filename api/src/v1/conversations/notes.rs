//! Notes: what members tell each other about a conversation. Customers, channels and models never see them.

use std::collections::BTreeSet;

use axum::extract::State;
use domain::note::{Note, NoteAuthor};
use domain::{Action, ConversationId, DomainError, ErrorKind, NoteId, Role, UserId, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::{Conn, members, notes};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::etag::{IfMatch, Tagged};
use super::super::paging::{List, ListQuery};
use super::{found, member};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Ids, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

/// Most characters of a note.
const MOST_CHARS: usize = 10_000;
/// Most members that a note calls.
const MOST_MENTIONS: usize = 50;
/// What an id in the text of a note is enclosed by: `@[user_…]`.
const OPENS: &str = "@[";

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .person(Action::WorkConversations, routes!(create))
        .panel(Action::ReadConversations, routes!(get))
        .person(Action::WorkConversations, routes!(update))
        .person(Action::WorkConversations, routes!(delete))
}

/// A note.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Note)]
pub(super) struct NoteView {
    #[schema(pattern = "^note_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    pub conversation_id: String,
    /// Absent once the account is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub author: Option<NoteAuthorView>,
    #[schema(example = "Cliente VIP, manejar con cariño")]
    pub content: String,
    /// Always false: notes are for members.
    pub visible_to_customer: bool,
    /// The members that it calls.
    pub mentions: Vec<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Who wrote a note.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NoteAuthor)]
pub(super) struct NoteAuthorView {
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "Andrea")]
    pub name: String,
}

/// A new note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewNote {
    /// `@[user_…]` in it calls that member.
    #[schema(min_length = 1, max_length = 10000, example = "Cliente VIP, manejar con cariño")]
    content: String,
    /// Notes are for members: true is refused.
    #[schema(nullable = false, default = false)]
    visible_to_customer: Option<bool>,
    /// Members to call beside those that the content names.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    mentions: Option<Vec<UserId>>,
}

/// A change of a note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NoteChange {
    #[schema(min_length = 1, max_length = 10000)]
    content: Option<String>,
    #[schema(nullable = false, default = false)]
    visible_to_customer: Option<bool>,
    /// Takes the place of those that were called, beside those that the content names.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    mentions: Option<Vec<UserId>>,
}

/// List the notes of a conversation
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/notes",
    tag = "Notes",
    operation_id = "listNotes",
    params(("conversationId" = String, Path), ListQuery),
    responses((status = 200, description = "A page of notes, oldest first.", body = List<NoteView>)),
)]
#[tracing::instrument(name = "handler.v1.conversations.notes.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<NoteView>>> {
    let mut conn = state.db.read().await?;
    found(&mut conn, &caller, id).await?;
    let all = notes::list(&mut conn, caller.workspace(), id).await?;
    Ok(Json(query.page_of(all, |note| [&note.content, author_name(note)])?))
}

/// Write a note
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/notes",
    tag = "Notes",
    operation_id = "createNote",
    params(("conversationId" = String, Path)),
    request_body = NewNote,
    responses((status = 201, description = "The note.", body = NoteView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.notes.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(new): Json<NewNote>,
) -> ApiResult<(StatusCode, Tagged<NoteView>)> {
    caller.person()?;
    check_invisible(new.visible_to_customer)?;
    let content = text::required("content", &new.content, MOST_CHARS)?;
    let now = state.ambient.now();
    let mut tx = state.db.write().await?;
    let (user, name) = member(&mut tx, &caller).await?;
    found(&mut tx, &caller, id).await?;
    let mentions = called(&mut tx, &caller, &content, &new.mentions.unwrap_or_default()).await?;
    let note = Note {
        id: state.ambient.new_id(),
        conversation_id: id,
        author: Some(NoteAuthor { id: user, name }),
        content,
        mentions,
        created_at: now,
        updated_at: now,
    };
    notes::insert(&mut tx, caller.workspace(), &note).await?;
    let made = Changed::to(told(&note));
    caller.audit(&mut tx, &state.ambient, "note.created", note.id, made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Tagged::of(note.into())?))
}

/// Get a note
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/notes/{noteId}",
    tag = "Notes",
    operation_id = "getNote",
    params(("conversationId" = String, Path), ("noteId" = String, Path)),
    responses((status = 200, description = "The note.", body = NoteView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.notes.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<ConversationId, NoteId>,
) -> ApiResult<Tagged<NoteView>> {
    let mut conn = state.db.read().await?;
    Tagged::of(note_of(&mut conn, &caller, &ids).await?.into())
}

/// Change a note
///
/// One's own. Who is called anew is told.
#[utoipa::path(
    patch,
    path = "/v1/conversations/{conversationId}/notes/{noteId}",
    tag = "Notes",
    operation_id = "updateNote",
    params(("conversationId" = String, Path), ("noteId" = String, Path), IfMatch),
    request_body = NoteChange,
    responses((status = 200, description = "The note.", body = NoteView)),
)]
#[tracing::instrument(name = "handler.v1.conversations.notes.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<ConversationId, NoteId>,
    if_match: IfMatch,
    Json(change): Json<NoteChange>,
) -> ApiResult<Tagged<NoteView>> {
    check_invisible(change.visible_to_customer)?;
    let content = change.content.map(|content| text::required("content", &content, MOST_CHARS));
    let content = content.transpose()?;
    let mut tx = state.db.write().await?;
    notes::hold(&mut tx, caller.workspace(), ids.1).await?;
    let before = note_of(&mut tx, &caller, &ids).await?;
    check_own(&caller, &before, Role::Owner)?;
    if_match.check(&NoteView::from(before.clone()))?;
    let content = content.unwrap_or_else(|| before.content.clone());
    let named = if let Some(mentions) = change.mentions {
        mentions
    } else {
        // Those that the text of before named go with it.
        let in_text = in_text(&before.content)?;
        before.mentions.iter().filter(|user| !in_text.contains(user)).copied().collect()
    };
    let mentions = called(&mut tx, &caller, &content, &named).await?;
    let after = Note { content, mentions, updated_at: state.ambient.now(), ..before.clone() };
    let is_same = (&after.content, &after.mentions) == (&before.content, &before.mentions);
    if is_same {
        return Tagged::of(before.into());
    }
    notes::update(&mut tx, caller.workspace(), &after).await?;
    let changed = Changed::between(told(&before), told(&after));
    caller.audit(&mut tx, &state.ambient, "note.updated", after.id, changed).await?;
    tx.commit().await?;
    Tagged::of(after.into())
}

/// Delete a note
///
/// One's own; an administrator may delete any.
#[utoipa::path(
    delete,
    path = "/v1/conversations/{conversationId}/notes/{noteId}",
    tag = "Notes",
    operation_id = "deleteNote",
    params(("conversationId" = String, Path), ("noteId" = String, Path), IfMatch),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.conversations.notes.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<ConversationId, NoteId>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let now = state.ambient.now();
    let mut tx = state.db.write().await?;
    notes::hold(&mut tx, caller.workspace(), ids.1).await?;
    let note = note_of(&mut tx, &caller, &ids).await?;
    check_own(&caller, &note, Role::Admin)?;
    if_match.check(&NoteView::from(note.clone()))?;
    notes::delete(&mut tx, caller.workspace(), &note, now).await?;
    let changed = Changed::from(told(&note));
    caller.audit(&mut tx, &state.ambient, "note.deleted", note.id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of a note: not what it says of customers, who can be erased from it while it is there only.
fn told(note: &Note) -> serde_json::Value {
    json!({
        "conversationId": note.conversation_id,
        "authorId": note.author.as_ref().map(|author| author.id),
        "characters": note.content.chars().count(),
        "mentions": note.mentions,
    })
}

/// Empty once the account is gone.
fn author_name(note: &Note) -> &str {
    note.author.as_ref().map_or("", |author| author.name.as_str())
}

async fn note_of(
    conn: &mut Conn,
    caller: &Caller,
    Ids(conversation, id): &Ids<ConversationId, NoteId>,
) -> ApiResult<Note> {
    let found = notes::get(conn, caller.workspace(), *conversation, *id).await?;
    Ok(found.ok_or_else(|| DomainError::not_found("note"))?)
}

fn check_invisible(visible: Option<bool>) -> ApiResult<()> {
    if visible != Some(true) {
        return Ok(());
    }
    let message =
        "`visibleToCustomer` must be false: notes are for members; send a message instead";
    Err(ApiError::invalid("visibleToCustomer", message))
}

/// Others' notes need at least the role `others`; nobody changes the words of another but an owner.
fn check_own(caller: &Caller, note: &Note, others: Role) -> ApiResult<()> {
    let person = caller.person()?;
    let is_own = note.author.as_ref().is_some_and(|author| author.id == person.user);
    if is_own || person.role >= others {
        return Ok(());
    }
    let message = format!("the note is somebody else's; this needs the role {others}");
    Err(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into())
}

/// Those that a note calls: named in its text or beside it. All must be members.
async fn called(
    conn: &mut Conn,
    caller: &Caller,
    content: &str,
    named: &[UserId],
) -> ApiResult<Vec<UserId>> {
    let in_text = in_text(content)?;
    let all: BTreeSet<UserId> = in_text.iter().chain(named).copied().collect();
    if all.len() > MOST_MENTIONS {
        let message =
            format!("`mentions` names {} members; at most {MOST_MENTIONS} are accepted", all.len());
        return Err(ApiError::invalid("mentions", message));
    }
    for &user in &all {
        if members::get(conn, caller.workspace(), user).await?.is_none() {
            let field = if in_text.contains(&user) { "content" } else { "mentions" };
            let message = format!("`{field}` calls {user}, who is no member of the workspace");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(all.into_iter().collect())
}

/// The ids in `@[user_…]`.
fn in_text(content: &str) -> ApiResult<BTreeSet<UserId>> {
    let mut users = BTreeSet::new();
    for rest in content.split(OPENS).skip(1) {
        let Some((id, _)) = rest.split_once(']') else { continue };
        if !id.starts_with("user_") {
            continue;
        }
        let user = id.parse().map_err(|error| {
            ApiError::invalid("content", format!("`content` calls `{OPENS}{id}]`: {error}"))
        })?;
        users.insert(user);
    }
    Ok(users)
}

impl From<Note> for NoteView {
    fn from(note: Note) -> Self {
        let author = note
            .author
            .map(|author| NoteAuthorView { id: author.id.to_string(), name: author.name });
        Self {
            id: note.id.to_string(),
            conversation_id: note.conversation_id.to_string(),
            author,
            content: note.content,
            visible_to_customer: false,
            mentions: note.mentions.iter().map(ToString::to_string).collect(),
            created_at: note.created_at.to_rfc3339(),
            updated_at: note.updated_at.to_rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_brackets_are_calls() {
        let id = format!("user_{}", "0".repeat(31) + "7");
        let found = in_text(&format!("hola @[{id}] y @[{id}], @[nadie] @[ y @{id}")).unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [id]);
        assert!(in_text("@[user_7]").is_err());
    }
}
