//! The messages of a conversation, and what operators say in it.

use axum::extract::State;
use domain::attachment::Uploader;
use domain::conversation::Transition;
use domain::message::{Author, Message, MessageKind, MessageState, Operator};
use domain::{
    Action, AttachmentId, ConversationId, DomainError, Timestamp, UserId, WorkspaceId, text,
};
use http::StatusCode;
use serde::Deserialize;
use storage::inbox::Take;
use storage::messages::NewMessage;
use storage::{Conn, Tx, attachments, conversations, inbox, messages, reads};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::paging::{List, Meta};
use super::views::{MessageView, whole};
use super::words::MessageType;
use super::{found, member};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;

/// Most characters of an operator's message.
const MOST_CHARS: usize = 10_000;
/// Most files of one message.
const MOST_FILES: usize = 10;
/// Most characters of a client's own id.
const MOST_ID_CHARS: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .person(Action::WorkConversations, routes!(send))
}

/// Which messages: a page, or those on one side of a message.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MessageQuery {
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Messages of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `ASC` (oldest first) or `DESC`. With `before` and `after` the answer is always oldest first.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", default = "ASC", required = false)]
    order: Option<String>,
    /// Only the `take` messages next above this `seq`; in the place of `page`.
    #[param(value_type = i64, minimum = 0, required = false)]
    after: Option<String>,
    /// Only the `take` messages next below this `seq`; in the place of `page`.
    #[param(value_type = i64, minimum = 1, required = false)]
    before: Option<String>,
}

/// Where in a conversation to read.
enum Part {
    Page { page: usize, descending: bool },
    After(i64),
    Before(i64),
}

impl Part {
    /// For what is on one side of a message: from which sequence number on and below which one was read.
    fn bounds(&self, found: &[Message]) -> Option<(i64, i64)> {
        match *self {
            Self::Page { .. } => None,
            Self::After(after) => {
                let last = found.last().map_or(after, |message| message.seq);
                Some((after.saturating_add(1), last.saturating_add(1)))
            }
            Self::Before(before) => {
                let first = found.first().map_or(before, |message| message.seq);
                Some((first, before))
            }
        }
    }
}

impl MessageQuery {
    fn part(&self) -> ApiResult<(Part, i64)> {
        let number = |field, text: &Option<String>, least, most| match text {
            Some(text) => whole_number(field, text, least, most).map(Some),
            None => Ok(None),
        };
        let take = number("take", &self.take, 1, 100)?.unwrap_or(10);
        let after = number("after", &self.after, 0, i64::MAX)?;
        let before = number("before", &self.before, 1, i64::MAX)?;
        let page = number("page", &self.page, 1, i64::from(u32::MAX))?;
        let descending = match self.order.as_deref() {
            None | Some("ASC") => false,
            Some("DESC") => true,
            Some(_) => return Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
        };
        let part = match (after, before, page) {
            (Some(_), Some(_), _) => {
                let message = "give `before` or `after`, not both";
                return Err(ApiError::invalid("before", message));
            }
            (Some(_), None, Some(_)) | (None, Some(_), Some(_)) => {
                let message = "give `page`, or one of `before` and `after`";
                return Err(ApiError::invalid("page", message));
            }
            (Some(after), None, None) => Part::After(after),
            (None, Some(before), None) => Part::Before(before),
            (None, None, page) => {
                let page = usize::try_from(page.unwrap_or(1)).unwrap_or(usize::MAX);
                Part::Page { page, descending }
            }
        };
        Ok((part, take))
    }
}

/// List the messages of a conversation
///
/// By page, or on one side of a message: `after` its `seq` for what is new, `before` it for what is older. Notes are no
/// messages.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/messages",
    tag = "Conversation threads",
    operation_id = "listConversationMessages",
    params(("conversationId" = String, Path), MessageQuery),
    responses((status = 200, description = "Some of the messages.", body = List<MessageView>)),
)]
#[tracing::instrument(name = "handler.v1.conversations.messages.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Query(query): Query<MessageQuery>,
) -> ApiResult<Json<List<MessageView>>> {
    let (part, take) = query.part()?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    found(&mut conn, &caller, id).await?;
    let all = messages::count_before(&mut conn, workspace, id, i64::MAX).await?;
    let (messages, page) = read(&mut conn, workspace, id, &part, take, all).await?;
    let mut meta = Meta::of(page, usize::try_from(take).unwrap_or(1), count(all));
    if let Some((from, to)) = part.bounds(&messages) {
        let older = messages::count_before(&mut conn, workspace, id, from).await?;
        let upto = messages::count_before(&mut conn, workspace, id, to).await?;
        meta = meta.between(older > 0, upto < all);
    }
    Ok(Json(List { data: whole(&mut conn, workspace, messages).await?, meta }))
}

/// The messages of a part, and the page that it would be.
async fn read(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
    part: &Part,
    take: i64,
    all: i64,
) -> ApiResult<(Vec<Message>, usize)> {
    let page = |before: i64| count(before / take) + 1;
    Ok(match *part {
        Part::Page { page, descending } => {
            let skipped = i64::try_from(page - 1).unwrap_or(i64::MAX).saturating_mul(take);
            let mut found = Vec::new();
            if descending {
                let left = all - skipped;
                if left > 0 {
                    // Messages are numbered without gaps.
                    found = messages::list_before(conn, workspace, id, left + 1, take).await?;
                    found.reverse();
                }
            } else {
                found = messages::list(conn, workspace, id, skipped, take).await?;
            }
            (found, page)
        }
        Part::After(after) => {
            let before =
                messages::count_before(conn, workspace, id, after.saturating_add(1)).await?;
            (messages::list(conn, workspace, id, after, take).await?, page(before))
        }
        Part::Before(before) => {
            let found = messages::list_before(conn, workspace, id, before, take).await?;
            let first = found.first().map_or(1, |message| message.seq);
            (found, page(messages::count_before(conn, workspace, id, first).await?))
        }
    })
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// What an operator says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OperatorMessage {
    /// The text; may be left out where files say it.
    #[schema(max_length = 10000, example = "Hola, soy Andrea, te ayudo con esto.")]
    content: Option<String>,
    /// `text` when absent. `image` and `file` need `attachmentIds`.
    #[serde(rename = "type")]
    #[schema(nullable = false)]
    kind: Option<MessageType>,
    /// Files that the person has uploaded for this conversation and not sent yet.
    #[schema(value_type = Option<Vec<String>>, max_items = 10)]
    attachment_ids: Option<Vec<AttachmentId>>,
    /// The client's own id of the message: a repeated one is answered with what was stored first.
    #[schema(min_length = 1, max_length = 100)]
    client_message_id: Option<String>,
}

/// An operator's message, checked.
struct Said {
    content: String,
    kind: MessageKind,
    files: Vec<AttachmentId>,
    client_id: Option<String>,
}

impl OperatorMessage {
    fn checked(self, user: UserId) -> ApiResult<Said> {
        let kind = self.kind.map_or(MessageKind::Text, Into::into);
        let content = self.content.unwrap_or_default();
        let content = match kind {
            MessageKind::Text => text::required("content", &content, MOST_CHARS)?,
            MessageKind::Image | MessageKind::File => {
                text::optional("content", &content, MOST_CHARS)?
            }
        };
        let files = self.attachment_ids.unwrap_or_default();
        if files.is_empty() && kind != MessageKind::Text {
            let message =
                "`attachmentIds` must name the files of an `image` or a `file`; upload them first";
            return Err(ApiError::invalid("attachmentIds", message));
        }
        if files.len() > MOST_FILES {
            let message = format!(
                "`attachmentIds` names {} files; at most {MOST_FILES} are accepted",
                files.len()
            );
            return Err(ApiError::invalid("attachmentIds", message));
        }
        // Each person has their own, which nobody else's can be taken for.
        let client_id = match &self.client_message_id {
            Some(id) => {
                let id = text::required("clientMessageId", id, MOST_ID_CHARS)?;
                Some(format!("{user}/{id}"))
            }
            None => None,
        };
        Ok(Said { content, kind, files, client_id })
    }
}

/// Answer in a conversation
///
/// Takes the conversation over: the agent says nothing more in it, and what it is writing is neither sent nor stored. One
/// that was closed is open again. Somebody else's conversation stays theirs.
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversationId}/messages",
    tag = "Conversation threads",
    operation_id = "sendConversationMessage",
    params(("conversationId" = String, Path)),
    request_body = OperatorMessage,
    responses(
        (status = 201, description = "The message.", body = MessageView),
        (status = 200, description = "It was sent before, with this `clientMessageId`.", body = MessageView),
    ),
)]
#[tracing::instrument(name = "handler.v1.conversations.messages.send", skip_all)]
async fn send(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(said): Json<OperatorMessage>,
) -> ApiResult<(StatusCode, Json<MessageView>)> {
    let said = said.checked(caller.person()?.user)?;
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let mut tx = state.db.write().await?;
    let (user, name) = member(&mut tx, &caller).await?;
    take_over(&mut tx, &caller, id, now).await?;
    let operator = Operator { id: user, name };
    let new = new_message(id, operator, &said, state.ambient.new_id(), now);
    let stored = messages::insert(&mut tx, workspace, &new, now).await?;
    if stored.id != new.message.id {
        // Nothing of this transaction is kept.
        let views = whole(&mut tx, workspace, vec![stored]).await?;
        return shown(StatusCode::OK, views);
    }
    attach(&mut tx, workspace, user, &stored, &said.files).await?;
    // Who answers has read.
    reads::mark(&mut tx, workspace, id, (user, stored.seq), now).await?;
    let views = whole(&mut tx, workspace, vec![stored]).await?;
    tx.commit().await?;
    shown(StatusCode::CREATED, views)
}

/// An answer takes the conversation over; who has it keeps it.
async fn take_over(
    tx: &mut Tx,
    caller: &Caller,
    id: ConversationId,
    now: Timestamp,
) -> ApiResult<()> {
    let (workspace, user) = (caller.workspace(), caller.person()?.user);
    match inbox::take_over(tx, workspace, id, user, now).await? {
        Take::Taken => {}
        Take::Held(_) => {
            let transition = (Transition::TakeOver, caller.by());
            conversations::transition_by(tx, workspace, id, transition, now).await?;
        }
        Take::Absent => return Err(DomainError::not_found("conversation").into()),
    }
    Ok(())
}

fn new_message(
    conversation: ConversationId,
    operator: Operator,
    said: &Said,
    id: domain::MessageId,
    now: Timestamp,
) -> NewMessage {
    let message = Message {
        id,
        conversation_id: conversation,
        seq: 0,
        author: Author::Operator,
        operator: Some(operator),
        kind: said.kind,
        content: said.content.clone(),
        state: MessageState::Complete,
        outcome: None,
        model: None,
        reply_to: None,
        prompt_tokens: None,
        completion_tokens: None,
        unsupported: Vec::new(),
        answered_from: None,
        created_at: now,
    };
    NewMessage {
        message,
        images: Vec::new(),
        citations: Vec::new(),
        passages: Vec::new(),
        tools: Vec::new(),
        trace: None,
        client_id: said.client_id.clone(),
    }
}

/// Has the message show its files, which must be the person's own, of this conversation, and not sent yet.
async fn attach(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    message: &Message,
    files: &[AttachmentId],
) -> ApiResult<()> {
    let uploader = Uploader::Operator(Some(user));
    for (place, &file) in (0_i64..).zip(files) {
        let to = (message.conversation_id, message.id, place);
        let field = format!("attachmentIds[{place}]");
        if !attachments::attach(tx, workspace, file, &uploader, to).await? {
            let message = format!(
                "`{field}` is no file that you uploaded for this conversation and have not sent yet"
            );
            return Err(ApiError::invalid(field, message));
        }
        let attached = attachments::get(tx, workspace, file).await?;
        let is_image = attached.is_some_and(|attachment| attachment.is_image());
        if message.kind == MessageKind::Image && !is_image {
            let message = format!("`{field}` is no image; send it with `type` `file`");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

fn shown(
    status: StatusCode,
    views: Vec<MessageView>,
) -> ApiResult<(StatusCode, Json<MessageView>)> {
    let view = views.into_iter().next().ok_or_else(ApiError::internal)?;
    Ok((status, Json(view)))
}
