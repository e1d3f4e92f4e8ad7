//! Conversations.

use std::collections::HashMap;

use axum::extract::State;
use domain::attachment::Attachment;
use domain::contact::Contact;
use domain::conversation::{Conversation, Transition};
use domain::message::{Citation, Message, ShownImage};
use domain::{
    Action, AgentId, ContactId, ConversationId, DomainError, MessageId, Timestamp, WorkspaceId,
    text,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::conversations::{self, ConversationFilter, ConversationRating};
use storage::{Conn, attachments, citations, contacts, messages};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::chat::CitedSource;
use super::tools::UsedTool;
use super::words::{Channel, ConversationStatus, Handler, MessageState, Outcome, Rating, Role};
use super::{PageQuery, required_nullable};
use crate::attachment_links;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::{Cursor, Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadConversations, routes!(list))
        .route(Action::ReadConversations, routes!(get))
        .route(Action::ReadConversations, routes!(list_messages))
        .route(Action::WorkConversations, routes!(set_status))
        .route(Action::Chat, routes!(rate))
}

/// A conversation between a customer and an agent or a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
struct ConversationView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    status: ConversationStatus,
    handler: Handler,
    channel: Channel,
    /// The first words of it.
    title: String,
    messages_count: i64,
    /// The caller's name for the customer.
    visitor_id: Option<String>,
    /// The customer, once known.
    contact: Option<ContactView>,
    /// What the customer thinks of it.
    rating: Option<RatingView>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
    /// RFC 3339; when it was last closed.
    #[schema(format = DateTime)]
    closed_at: Option<String>,
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Contact)]
struct ContactView {
    #[schema(pattern = "^contact_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "cliente@ejemplo.com")]
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// E.164.
    #[schema(example = "+5491123456789")]
    phone_number: Option<String>,
}

/// An image that was shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ShownImage)]
struct ImageView {
    #[schema(example = "image/png")]
    media_type: String,
    /// Its size.
    bytes: i64,
}

/// A file that a message shows.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attachment)]
struct AttachmentView {
    #[schema(pattern = "^att_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "foto.png")]
    name: String,
    #[schema(example = "image/png")]
    media_type: String,
    /// Its size.
    bytes: i64,
    /// Opens the file without a credential, for about a day; read the message again for a new one.
    url: String,
}

/// One message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
struct MessageView {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    role: Role,
    /// Of a person of the workspace: the name that the customer sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Andrea")]
    operator_name: Option<String>,
    /// What it says; of an answer that broke off, what was produced until then.
    content: String,
    state: MessageState,
    /// Of an answer: what kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<Outcome>,
    /// Of an answer: the model that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
    /// Of an answer: the published version of the agent that it came from; for a draft, the one that the draft was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    agent_version: Option<i64>,
    /// Of an answer that came from a draft: its revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    agent_draft: Option<i64>,
    /// The passages that it cites, in order of first use, as they were shown.
    sources: Vec<CitedSource>,
    /// What the customer showed beside it; the images themselves are not kept. Absent when there was none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    images: Vec<ImageView>,
    /// The files that it shows. Absent when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    attachments: Vec<AttachmentView>,
    /// The tools that it used, in the order of the calls.
    tools: Vec<UsedTool>,
    /// What the customer thinks of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    feedback: Option<FeedbackView>,
    /// Of an answer: what of it stands in no passage it cites; absent when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unsupported: Vec<String>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
}

/// What a customer thinks of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = GivenFeedback)]
struct FeedbackView {
    rating: Rating,
    comment: Option<String>,
}

/// What a customer thinks of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConversationRating)]
struct RatingView {
    /// 5 is best.
    #[schema(minimum = 1, maximum = 5)]
    rating: i64,
    comment: Option<String>,
}

/// A new rating.
#[derive(Debug, Deserialize, ToSchema)]
struct RatingChange {
    /// 5 is best; null takes an earlier rating back.
    #[serde(deserialize_with = "required_nullable")]
    #[schema(required = true, minimum = 1, maximum = 5)]
    rating: Option<i64>,
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

/// Which conversations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ConversationQuery {
    /// Only with this agent.
    #[param(value_type = String, required = false)]
    agent_id: Option<String>,
    /// Only in this status.
    #[param(value_type = ConversationStatus, required = false)]
    status: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// A new status.
#[derive(Debug, Deserialize, ToSchema)]
struct StatusChange {
    status: ConversationStatus,
}

/// A place in a conversation.
#[derive(Clone, Copy)]
struct MessagePlace(i64);

impl Cursor for MessagePlace {
    fn write(&self) -> String {
        format!("message:{}", self.0)
    }

    fn read(text: &str) -> Option<Self> {
        let number = text.strip_prefix("message:")?.parse().ok()?;
        (number >= 0).then_some(Self(number))
    }
}

/// List conversations
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/conversations",
    tag = "Conversations",
    operation_id = "listConversations",
    params(ConversationQuery),
    responses((status = 200, description = "A page of conversations.", body = Page<ConversationView>)),
)]
#[tracing::instrument(name = "handler.v2.conversations.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ConversationQuery>,
) -> ApiResult<Json<Page<ConversationView>>> {
    let paging = Paging::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let filter = query.filter()?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let found =
        conversations::list(&mut conn, workspace, &filter, paging.after, paging.one_more()).await?;
    let contacts = contacts_of(&mut conn, &caller, &found).await?;
    let ratings = ratings_of(&mut conn, &caller, &found).await?;
    let page = paging.page(
        found,
        |conversation| conversation.id,
        |conversation| {
            let contact = conversation.contact_id.and_then(|id| contacts.get(&id)).cloned();
            let rating = ratings.get(&conversation.id).cloned();
            view(conversation, contact, rating)
        },
    );
    Ok(Json(page))
}

impl ConversationQuery {
    fn filter(&self) -> ApiResult<ConversationFilter> {
        let agent = self.agent_id.as_deref().map(str::parse::<AgentId>).transpose();
        let agent =
            agent.map_err(|error| ApiError::invalid("agentId", format!("`agentId`: {error}")))?;
        let status = self.status.as_deref().map(read_status).transpose()?;
        Ok(ConversationFilter { agent, status })
    }
}

fn read_status(text: &str) -> ApiResult<domain::conversation::ConversationStatus> {
    let word = serde_json::Value::from(text);
    let status = serde_json::from_value::<ConversationStatus>(word);
    status
        .map(Into::into)
        .map_err(|_| ApiError::invalid("status", "`status` must be open, unresolved or resolved"))
}

/// Get a conversation
#[utoipa::path(
    get,
    path = "/api/v2/conversations/{conversationId}",
    tag = "Conversations",
    operation_id = "getConversation",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v2.conversations.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Json<ConversationView>> {
    let mut conn = state.db.read().await?;
    let found = conversations::get(&mut conn, caller.workspace(), id).await?;
    let found = found.ok_or_else(|| DomainError::not_found("conversation"))?;
    Ok(Json(view_with_contact(&mut conn, &caller, found).await?))
}

/// Get the messages of a conversation
///
/// Oldest first.
#[utoipa::path(
    get,
    path = "/api/v2/conversations/{conversationId}/messages",
    tag = "Conversations",
    operation_id = "listMessages",
    params(("conversationId" = String, Path), PageQuery),
    responses((status = 200, description = "A page of messages.", body = Page<MessageView>)),
)]
#[tracing::instrument(name = "handler.v2.conversations.messages", skip_all)]
async fn list_messages(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<MessageView>>> {
    let paging = query.paging::<MessagePlace>()?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let conversation = conversations::get(&mut conn, workspace, id).await?;
    conversation.ok_or_else(|| DomainError::not_found("conversation"))?;
    let after = paging.after.map_or(0, |place| place.0);
    let found = messages::list(&mut conn, workspace, id, after, paging.one_more()).await?;
    let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
    let mut cited: HashMap<MessageId, Vec<CitedSource>> = HashMap::new();
    for (message, citation) in citations::of_messages(&mut conn, workspace, &ids).await? {
        cited.entry(message).or_default().push(citation.into());
    }
    let mut used: HashMap<MessageId, Vec<UsedTool>> = HashMap::new();
    for (message, tool) in messages::tools(&mut conn, workspace, &ids).await? {
        used.entry(message).or_default().push(tool.into());
    }
    let mut shown: HashMap<MessageId, Vec<ImageView>> = HashMap::new();
    for (message, images) in messages::images(&mut conn, workspace, &ids).await? {
        shown.insert(message, images.into_iter().map(Into::into).collect());
    }
    let mut files: HashMap<MessageId, Vec<AttachmentView>> = HashMap::new();
    for (message, file) in attachments::of_messages(&mut conn, workspace, &ids).await? {
        files.entry(message).or_default().push(attachment_view(&state, workspace, file));
    }
    let mut rated: HashMap<MessageId, FeedbackView> = HashMap::new();
    for (message, rating, comment) in messages::feedbacks(&mut conn, workspace, &ids).await? {
        rated.insert(message, FeedbackView { rating: rating.into(), comment });
    }
    let place = |message: &Message| MessagePlace(message.seq);
    Ok(Json(paging.page(found, place, |message| {
        let sources = cited.get(&message.id).cloned().unwrap_or_default();
        let tools = used.get(&message.id).cloned().unwrap_or_default();
        let feedback = rated.get(&message.id).cloned();
        let images = shown.get(&message.id).cloned().unwrap_or_default();
        let attachments = files.get(&message.id).cloned().unwrap_or_default();
        MessageView { images, attachments, feedback, ..message_view(message, sources, tools) }
    })))
}

/// Change the status of a conversation
#[utoipa::path(
    put,
    path = "/api/v2/conversations/{conversationId}/status",
    tag = "Conversations",
    operation_id = "setConversationStatus",
    params(("conversationId" = String, Path)),
    request_body = StatusChange,
    responses((status = 200, description = "The conversation.", body = ConversationView)),
)]
#[tracing::instrument(name = "handler.v2.conversations.set_status", skip_all)]
async fn set_status(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(change): Json<StatusChange>,
) -> ApiResult<Json<ConversationView>> {
    let transition = match change.status {
        ConversationStatus::Open => Transition::Reopen,
        ConversationStatus::Pending => Transition::MarkPending,
        ConversationStatus::Closed => Transition::Close,
    };
    let mut tx = state.db.write().await?;
    let now = state.ambient.now();
    let transition = (transition, caller.by());
    let workspace = caller.workspace();
    let absent = || DomainError::not_found("conversation");
    let before = conversations::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    let changed = conversations::transition_by(&mut tx, workspace, id, transition, now).await?;
    let changed = changed.ok_or_else(absent)?;
    if told(&before) != told(&changed) {
        let sides = Changed::between(told(&before), told(&changed));
        caller.audit(&mut tx, &state.ambient, "conversation.updated", id, sides).await?;
    }
    let view = view_with_contact(&mut tx, &caller, changed).await?;
    tx.commit().await?;
    Ok(Json(view))
}

/// Rate a conversation
#[utoipa::path(
    put,
    path = "/api/v2/conversations/{conversationId}/rating",
    tag = "Conversations",
    operation_id = "rateConversation",
    params(("conversationId" = String, Path)),
    request_body = RatingChange,
    responses((status = 204, description = "Noted.")),
)]
#[tracing::instrument(name = "handler.v2.conversations.rate", skip_all)]
async fn rate(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Json(change): Json<RatingChange>,
) -> ApiResult<StatusCode> {
    let rating = change.checked()?;
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let mut tx = state.db.write().await?;
    if !conversations::set_rating(&mut tx, workspace, id, rating.as_ref(), now).await? {
        return Err(DomainError::not_found("conversation").into());
    }
    let after = json!({"rating": rating.map(|rating| rating.rating)});
    caller.audit(&mut tx, &state.ambient, "conversation.rated", id, Changed::to(after)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of where a conversation stands.
fn told(conversation: &Conversation) -> Value {
    json!({"status": conversation.status.name(), "handler": conversation.handler.name()})
}

impl RatingChange {
    fn checked(self) -> ApiResult<Option<ConversationRating>> {
        let comment = self.comment.as_deref().map(|text| text::optional("comment", text, 2_000));
        let comment = comment.transpose()?.filter(|comment| !comment.is_empty());
        let Some(rating) = self.rating else { return Ok(None) };
        if !(1..=5).contains(&rating) {
            return Err(ApiError::invalid("rating", "`rating` must be 1 to 5, or null"));
        }
        Ok(Some(ConversationRating { rating, comment }))
    }
}

async fn view_with_contact(
    conn: &mut Conn,
    caller: &Caller,
    conversation: Conversation,
) -> ApiResult<ConversationView> {
    let contact = match conversation.contact_id {
        Some(id) => contacts::get(conn, caller.workspace(), id).await?,
        None => None,
    };
    let rated = ratings_of(conn, caller, std::slice::from_ref(&conversation)).await?;
    let rating = rated.into_values().next();
    Ok(view(conversation, contact, rating))
}

async fn ratings_of(
    conn: &mut Conn,
    caller: &Caller,
    found: &[Conversation],
) -> ApiResult<HashMap<ConversationId, RatingView>> {
    let ids: Vec<ConversationId> = found.iter().map(|conversation| conversation.id).collect();
    let ratings = conversations::ratings(conn, caller.workspace(), &ids).await?;
    let shown = |(id, ConversationRating { rating, comment })| (id, RatingView { rating, comment });
    Ok(ratings.into_iter().map(shown).collect())
}

async fn contacts_of(
    conn: &mut Conn,
    caller: &Caller,
    conversations: &[Conversation],
) -> ApiResult<HashMap<ContactId, Contact>> {
    let mut ids: Vec<ContactId> =
        conversations.iter().filter_map(|found| found.contact_id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let contacts = contacts::get_many(conn, caller.workspace(), &ids).await?;
    Ok(contacts.into_iter().map(|contact| (contact.id, contact)).collect())
}

fn view(
    conversation: Conversation,
    contact: Option<Contact>,
    rating: Option<RatingView>,
) -> ConversationView {
    ConversationView {
        id: conversation.id.to_string(),
        agent_id: conversation.agent_id.to_string(),
        status: conversation.status.into(),
        handler: conversation.handler.into(),
        channel: conversation.channel.into(),
        title: conversation.title,
        messages_count: conversation.messages_count,
        visitor_id: conversation.visitor_id.map(|id| id.to_string()),
        contact: contact.map(Into::into),
        rating,
        created_at: conversation.created_at.to_rfc3339(),
        updated_at: conversation.updated_at.to_rfc3339(),
        closed_at: conversation.closed_at.map(Timestamp::to_rfc3339),
    }
}

fn message_view(message: Message, sources: Vec<CitedSource>, tools: Vec<UsedTool>) -> MessageView {
    MessageView {
        id: message.id.to_string(),
        conversation_id: message.conversation_id.to_string(),
        role: message.author.into(),
        operator_name: message.operator.map(|operator| operator.name),
        content: message.content,
        state: message.state.into(),
        outcome: message.outcome.map(Into::into),
        model: message.model,
        agent_version: message.answered_from.map(|from| from.version),
        agent_draft: message.answered_from.and_then(|from| from.draft),
        feedback: None,
        unsupported: message.unsupported,
        sources,
        images: Vec::new(),
        attachments: Vec::new(),
        tools,
        created_at: message.created_at.to_rfc3339(),
    }
}

fn attachment_view(state: &AppState, workspace: WorkspaceId, file: Attachment) -> AttachmentView {
    let now = state.ambient.now();
    AttachmentView {
        url: attachment_links::link(&state.vault, workspace, file.id, now),
        id: file.id.to_string(),
        name: file.name,
        media_type: file.media_type,
        bytes: file.bytes,
    }
}

impl From<ShownImage> for ImageView {
    fn from(image: ShownImage) -> Self {
        Self { media_type: image.media_type, bytes: image.bytes }
    }
}

impl From<Contact> for ContactView {
    fn from(contact: Contact) -> Self {
        Self {
            id: contact.id.to_string(),
            email: contact.email,
            first_name: contact.first_name,
            last_name: contact.last_name,
            phone_number: contact.phone,
        }
    }
}

impl From<Citation> for CitedSource {
    fn from(citation: Citation) -> Self {
        Self {
            index: citation.marker,
            source: citation.source_name,
            score: citation.score,
            datasource_id: citation.datastore_id.to_string(),
            chunk_id: citation.chunk_id.to_string(),
            source_id: citation.source_id.to_string(),
            url: citation.url,
            page: citation.page,
            quote: citation.quote,
        }
    }
}
