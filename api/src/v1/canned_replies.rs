//! Texts that operators answer with again and again.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::canned_reply::{ANY_LANGUAGE, CannedReply, fill};
use domain::{
    Action, CannedReplyId, ConversationId, DomainError, ErrorKind, Lang, Role, UserId, WorkspaceId,
    text,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::{Conn, StorageError, canned_replies, contacts, conversations, members, messages};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::etag::{IfMatch, Tagged};
use super::paging::{List, ListQuery};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

/// Most characters of a text.
const MOST_CHARS: usize = 5_000;
/// Most replies of a workspace.
const MOST_REPLIES: i64 = 2_000;
/// Messages that the language of a conversation is told by.
const LANGUAGE_FROM: i64 = 5;
const LANGUAGES: [&str; 4] = ["es", "en", "pt", ANY_LANGUAGE];

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .panel(Action::WorkConversations, routes!(create))
        .panel(Action::ReadConversations, routes!(get))
        .panel(Action::WorkConversations, routes!(update))
        .panel(Action::WorkConversations, routes!(delete))
        .panel(Action::ReadConversations, routes!(render))
}

/// A canned reply.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CannedReply)]
struct CannedReplyView {
    #[schema(pattern = "^canned_[0-9a-f]{32}$")]
    id: String,
    /// Unique in the workspace.
    #[schema(example = "hola")]
    shortcut: String,
    #[schema(example = "Saludo")]
    title: String,
    /// By language (`es`, `en`, `pt`), or one text for `any`. `{{contact.name}}`, `{{agent.name}}` and
    /// `{{conversation.id}}` stand for those.
    contents: BTreeMap<String, String>,
    /// Whether it is the person's own; else everybody of the workspace has it.
    personal: bool,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A new canned reply.
#[derive(Debug, Deserialize, ToSchema)]
struct NewCannedReply {
    /// Letters, digits, `-` and `_`.
    #[schema(min_length = 1, max_length = 40, pattern = r"^[\p{L}\p{N}_-]+$", example = "hola")]
    shortcut: String,
    #[schema(min_length = 1, max_length = 100, example = "Saludo")]
    title: String,
    /// The text for every language; or give `contents`.
    #[schema(
        nullable = false,
        max_length = 5000,
        example = "¡Hola, {{contact.name}}! Soy {{agent.name}}."
    )]
    content: Option<String>,
    /// A text for each of `es`, `en`, `pt`, or for `any`.
    #[schema(nullable = false)]
    contents: Option<BTreeMap<String, String>>,
    /// Whether nobody else has it. Those for everybody are for administrators to make.
    #[schema(nullable = false, default = false)]
    personal: Option<bool>,
}

/// A change of a canned reply.
#[derive(Debug, Deserialize, ToSchema)]
struct CannedReplyChange {
    #[schema(nullable = false, min_length = 1, max_length = 40, pattern = r"^[\p{L}\p{N}_-]+$")]
    shortcut: Option<String>,
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    title: Option<String>,
    /// The text for every language, in the place of all that there are.
    #[schema(nullable = false, max_length = 5000)]
    content: Option<String>,
    /// The texts, in the place of all that there are.
    #[schema(nullable = false)]
    contents: Option<BTreeMap<String, String>>,
    #[schema(nullable = false)]
    personal: Option<bool>,
}

/// What a reply is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RenderRequest {
    #[schema(value_type = String, pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: ConversationId,
    /// The customer's own language when absent.
    #[schema(nullable = false, pattern = "^(es|en|pt)$", example = "es")]
    language: Option<String>,
}

/// A reply with its placeholders filled.
#[derive(Debug, Serialize, ToSchema)]
struct RenderedReply {
    #[schema(example = "¡Hola, Carla! Soy Andrea.")]
    content: String,
}

/// List canned replies
///
/// Those that everybody has and the person's own, by shortcut. `criteria` looks at shortcut and title.
#[utoipa::path(
    get,
    path = "/v1/canned-replies",
    tag = "Canned replies",
    operation_id = "listCannedReplies",
    params(ListQuery),
    responses((status = 200, description = "A page of replies.", body = List<CannedReplyView>)),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<CannedReplyView>>> {
    let mut conn = state.db.read().await?;
    let all = canned_replies::list(&mut conn, caller.workspace(), user_of(&caller)).await?;
    Ok(Json(query.page_by_name(all, |reply| [&reply.shortcut, &reply.title])?))
}

/// Make a canned reply
#[utoipa::path(
    post,
    path = "/v1/canned-replies",
    tag = "Canned replies",
    operation_id = "createCannedReply",
    request_body = NewCannedReply,
    responses(
        (status = 201, description = "The reply.", body = CannedReplyView),
        (status = 409, description = "The shortcut is taken.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewCannedReply>,
) -> ApiResult<(StatusCode, Tagged<CannedReplyView>)> {
    let now = state.ambient.now();
    let contents = contents(new.content, new.contents)?;
    let contents = contents.ok_or_else(|| {
        ApiError::invalid("content", "`content` must not be empty; or give `contents`")
    })?;
    let reply = CannedReply {
        id: state.ambient.new_id(),
        shortcut: shortcut(&new.shortcut)?,
        title: text::required("title", &new.title, 100)?,
        contents,
        owner: owner(&caller, new.personal.unwrap_or(false))?,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.db.write().await?;
    if canned_replies::count(&mut tx, caller.workspace()).await? >= MOST_REPLIES {
        let message =
            format!("a workspace has at most {MOST_REPLIES} canned replies; delete one first");
        return Err(DomainError::conflict("TOO_MANY_CANNED_REPLIES", message).into());
    }
    canned_replies::insert(&mut tx, caller.workspace(), &reply).await.map_err(taken)?;
    let changed = Changed { before: None, after: Some(audited(&reply)) };
    caller.audit(&mut tx, &state.ambient, "canned-reply.created", reply.id, changed).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Tagged::of(reply.into())?))
}

/// Get a canned reply
#[utoipa::path(
    get,
    path = "/v1/canned-replies/{cannedReplyId}",
    tag = "Canned replies",
    operation_id = "getCannedReply",
    params(("cannedReplyId" = String, Path)),
    responses((status = 200, description = "The reply.", body = CannedReplyView)),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<CannedReplyId>,
) -> ApiResult<Tagged<CannedReplyView>> {
    let mut conn = state.db.read().await?;
    Tagged::of(reply_of(&mut conn, &caller, id).await?.into())
}

/// Change a canned reply
///
/// One's own; those that everybody has are for administrators.
#[utoipa::path(
    patch,
    path = "/v1/canned-replies/{cannedReplyId}",
    tag = "Canned replies",
    operation_id = "updateCannedReply",
    params(("cannedReplyId" = String, Path), IfMatch),
    request_body = CannedReplyChange,
    responses(
        (status = 200, description = "The reply.", body = CannedReplyView),
        (status = 409, description = "The shortcut is taken.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<CannedReplyId>,
    if_match: IfMatch,
    Json(change): Json<CannedReplyChange>,
) -> ApiResult<Tagged<CannedReplyView>> {
    let now = state.ambient.now();
    let new_shortcut = change.shortcut.as_deref().map(shortcut).transpose()?;
    let title = change.title.map(|title| text::required("title", &title, 100)).transpose()?;
    let contents = contents(change.content, change.contents)?;
    let mut tx = state.db.write().await?;
    canned_replies::hold(&mut tx, caller.workspace(), id).await?;
    let before = reply_of(&mut tx, &caller, id).await?;
    check_may_change(&caller, &before)?;
    if_match.check(&CannedReplyView::from(before.clone()))?;
    let after = CannedReply {
        shortcut: new_shortcut.unwrap_or_else(|| before.shortcut.clone()),
        title: title.unwrap_or_else(|| before.title.clone()),
        contents: contents.unwrap_or_else(|| before.contents.clone()),
        owner: change.personal.map_or(Ok(before.owner), |personal| owner(&caller, personal))?,
        ..before.clone()
    };
    if after == before {
        return Tagged::of(before.into());
    }
    let after = CannedReply { updated_at: now, ..after };
    canned_replies::update(&mut tx, caller.workspace(), &after, now).await.map_err(taken)?;
    let changed = Changed { before: Some(audited(&before)), after: Some(audited(&after)) };
    caller.audit(&mut tx, &state.ambient, "canned-reply.updated", id, changed).await?;
    tx.commit().await?;
    Tagged::of(after.into())
}

/// Delete a canned reply
#[utoipa::path(
    delete,
    path = "/v1/canned-replies/{cannedReplyId}",
    tag = "Canned replies",
    operation_id = "deleteCannedReply",
    params(("cannedReplyId" = String, Path), IfMatch),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<CannedReplyId>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    canned_replies::hold(&mut tx, caller.workspace(), id).await?;
    let before = reply_of(&mut tx, &caller, id).await?;
    check_may_change(&caller, &before)?;
    if_match.check(&CannedReplyView::from(before.clone()))?;
    canned_replies::delete(&mut tx, caller.workspace(), id).await?;
    let changed = Changed { before: Some(audited(&before)), after: None };
    caller.audit(&mut tx, &state.ambient, "canned-reply.deleted", id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fill a canned reply
///
/// Puts the conversation's facts in the place of the placeholders. Sends nothing.
#[utoipa::path(
    post,
    path = "/v1/canned-replies/{cannedReplyId}/render",
    tag = "Canned replies",
    operation_id = "renderCannedReply",
    params(("cannedReplyId" = String, Path)),
    request_body = RenderRequest,
    responses((status = 200, description = "The text to send.", body = RenderedReply)),
)]
#[tracing::instrument(name = "handler.v1.canned_replies.render", skip_all)]
async fn render(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<CannedReplyId>,
    Json(request): Json<RenderRequest>,
) -> ApiResult<Json<RenderedReply>> {
    if let Some(language) = request.language.as_deref()
        && !LANGUAGES.contains(&language)
    {
        return Err(ApiError::invalid("language", "`language` must be es, en or pt"));
    }
    let mut conn = state.db.read().await?;
    let reply = reply_of(&mut conn, &caller, id).await?;
    let workspace = caller.workspace();
    let conversation = conversations::get(&mut conn, workspace, request.conversation_id).await?;
    let conversation = conversation.ok_or_else(|| DomainError::not_found("conversation"))?;
    let contact = match conversation.contact_id {
        Some(contact) => contacts::get(&mut conn, workspace, contact).await?,
        None => None,
    };
    let names = contact.map(|contact| [contact.first_name, contact.last_name]);
    let names: Vec<String> = names.into_iter().flatten().flatten().collect();
    let operator = match user_of(&caller) {
        Some(user) => members::get(&mut conn, workspace, user).await?,
        None => None,
    };
    let language = match request.language {
        Some(language) => language,
        None => spoken(&mut conn, workspace, conversation.id).await?.to_owned(),
    };
    let values = [
        ("contact.name", names.join(" ")),
        ("agent.name", operator.map_or_else(String::new, |member| member.user.name)),
        ("conversation.id", conversation.id.to_string()),
    ];
    let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
    Ok(Json(RenderedReply { content: fill(reply.text(&language), &values) }))
}

/// The language of what the customer said last.
async fn spoken(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> ApiResult<&'static str> {
    let said = messages::list_before(conn, workspace, conversation, i64::MAX, LANGUAGE_FROM * 4);
    let said = said.await?;
    let texts: Vec<&str> = said
        .iter()
        .filter(|message| message.author == domain::message::Author::Customer)
        .map(|message| message.content.as_str())
        .collect();
    let from = texts.len().saturating_sub(usize::try_from(LANGUAGE_FROM).unwrap_or(0));
    Ok(match models::lexical::detect(&texts[from..].join("\n")) {
        None | Some(Lang::Other) => ANY_LANGUAGE,
        Some(known) => known.code(),
    })
}

fn user_of(caller: &Caller) -> Option<UserId> {
    caller.person().ok().map(|person| person.user)
}

async fn reply_of(conn: &mut Conn, caller: &Caller, id: CannedReplyId) -> ApiResult<CannedReply> {
    let found = canned_replies::get(conn, caller.workspace(), user_of(caller), id).await?;
    Ok(found.ok_or_else(|| DomainError::not_found("canned reply"))?)
}

/// Whose a reply is to be.
fn owner(caller: &Caller, personal: bool) -> ApiResult<Option<UserId>> {
    if personal {
        return Ok(Some(caller.person()?.user));
    }
    check_administers(caller).map(|()| None)
}

fn check_may_change(caller: &Caller, reply: &CannedReply) -> ApiResult<()> {
    match reply.owner {
        // Only its owner gets to see it.
        Some(_) => Ok(()),
        None => check_administers(caller),
    }
}

fn check_administers(caller: &Caller) -> ApiResult<()> {
    if caller.person().map_or(Role::Admin, |person| person.role) >= Role::Admin {
        return Ok(());
    }
    let message =
        "replies for everybody need the role admin; set `personal` to true for one of your own";
    Err(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into())
}

fn shortcut(given: &str) -> ApiResult<String> {
    let shortcut = text::required("shortcut", given, 40)?.to_lowercase();
    if shortcut.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
        return Ok(shortcut);
    }
    let message = "`shortcut` must be letters, digits, `-` and `_`, without blanks";
    Err(ApiError::invalid("shortcut", message))
}

/// The texts as given one way or the other; `None` when neither is.
fn contents(
    content: Option<String>,
    contents: Option<BTreeMap<String, String>>,
) -> ApiResult<Option<BTreeMap<String, String>>> {
    let given = match (content, contents) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("contents", "give `content` or `contents`, not both"));
        }
        (Some(content), None) => {
            let content = text::required("content", &content, MOST_CHARS)?;
            return Ok(Some(BTreeMap::from([(ANY_LANGUAGE.to_owned(), content)])));
        }
        (None, Some(contents)) => contents,
        (None, None) => return Ok(None),
    };
    if given.is_empty() {
        return Err(ApiError::invalid("contents", "`contents` must hold a text"));
    }
    let mut checked = BTreeMap::new();
    for (language, content) in given {
        let field = format!("contents.{language}");
        if !LANGUAGES.contains(&language.as_str()) {
            let message = format!("`{field}`: a language is es, en or pt; `any` stands for all");
            return Err(ApiError::invalid(field, message));
        }
        checked.insert(language, text::required(&field, &content, MOST_CHARS)?);
    }
    Ok(Some(checked))
}

fn taken(error: StorageError) -> ApiError {
    match error {
        StorageError::Conflict(_) => {
            let message = "`shortcut` is taken in this workspace; choose another one";
            DomainError::conflict("SHORTCUT_TAKEN", message).at("shortcut").into()
        }
        other => other.into(),
    }
}

fn audited(reply: &CannedReply) -> Value {
    json!({
        "shortcut": reply.shortcut,
        "title": reply.title,
        "contents": reply.contents,
        "personal": reply.owner.is_some(),
    })
}

impl From<CannedReply> for CannedReplyView {
    fn from(reply: CannedReply) -> Self {
        Self {
            id: reply.id.to_string(),
            shortcut: reply.shortcut,
            title: reply.title,
            contents: reply.contents,
            personal: reply.owner.is_some(),
            created_at: reply.created_at.to_rfc3339(),
            updated_at: reply.updated_at.to_rfc3339(),
        }
    }
}
