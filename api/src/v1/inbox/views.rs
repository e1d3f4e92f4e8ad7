//! What the inbox shows.

use domain::contact::Contact;
use domain::{Timestamp, UserId};
use serde::Serialize;
use storage::inbox::{Entry, LastMessage, Person};
use utoipa::ToSchema;

use super::words::{Channel, ConversationStatus, Handler, LastMessageAuthor, Priority};
use crate::error::ApiResult;
use crate::v1::etag::Tagged;

/// A conversation between a customer and an agent or a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(super) struct ConversationView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    id: String,
    status: ConversationStatus,
    handler: Handler,
    channel: Channel,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    /// The site or app that it began on.
    #[schema(pattern = "^proj_[0-9a-f]{32}$")]
    project_id: Option<String>,
    /// The first words of it, or what it was called since.
    #[schema(example = "¿Hasta qué hora abren?")]
    title: String,
    messages_count: i64,
    last_message: Option<LastMessageView>,
    /// Messages of the customer that the caller has not read; null for an API key, which reads nothing.
    #[schema(minimum = 0)]
    unread: Option<i64>,
    /// Who has it in hand.
    assignee: Option<AssigneeView>,
    /// The caller's name for the customer.
    visitor_id: Option<String>,
    /// The page that they began it on.
    #[schema(example = "https://cliente.cl/producto/123")]
    page_url: Option<String>,
    /// The browser that they began it with.
    #[schema(example = "Mozilla/5.0")]
    user_agent: Option<String>,
    /// The customer, once known.
    contact: Option<CustomerView>,
    /// By name.
    #[schema(example = json!(["venta", "vip"]))]
    tags: Vec<String>,
    priority: Priority,
    /// RFC 3339; until then it is out of the way, unless the customer writes.
    #[schema(format = DateTime)]
    snoozed_until: Option<String>,
    /// RFC 3339; since when the customer waits for a person.
    #[schema(format = DateTime)]
    waiting_since: Option<String>,
    /// What the customer thinks of it.
    rating: Option<ConversationRatingView>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
    /// RFC 3339; when it was last closed.
    #[schema(format = DateTime)]
    closed_at: Option<String>,
}

/// The newest message of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastMessage)]
struct LastMessageView {
    /// Its first 200 characters; of one without a text, the name of its first file.
    text: String,
    author: LastMessageAuthor,
    /// RFC 3339.
    #[schema(format = DateTime)]
    at: String,
}

/// A member who has a conversation in hand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Assignee)]
struct AssigneeView {
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "Andrea")]
    name: String,
}

/// The customer of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
struct CustomerView {
    #[schema(pattern = "^contact_[0-9a-f]{32}$")]
    id: String,
    name: Option<String>,
    #[schema(example = "cliente@ejemplo.com")]
    email: Option<String>,
    /// E.164.
    #[schema(example = "+5491123456789")]
    phone: Option<String>,
}

/// What a customer thinks of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConversationRating)]
struct ConversationRatingView {
    /// 5 is best.
    #[schema(minimum = 1, maximum = 5)]
    rating: i64,
    comment: Option<String>,
}

/// What of a conversation is edited: what two editors must not overwrite each other's of. New messages are none of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Editable {
    status: ConversationStatus,
    handler: Handler,
    assigned_to_user_id: Option<UserId>,
    tags: Vec<String>,
    priority: Priority,
    snoozed_until: Option<String>,
    title: String,
}

impl From<&Entry> for Editable {
    fn from(entry: &Entry) -> Self {
        Self {
            status: entry.status.into(),
            handler: entry.handler.into(),
            assigned_to_user_id: entry.assignee.as_ref().map(|assignee| assignee.id),
            tags: entry.tags.clone(),
            priority: entry.priority.into(),
            snoozed_until: entry.snoozed_until.map(Timestamp::to_rfc3339),
            title: entry.title.clone(),
        }
    }
}

/// A conversation with the tag of what of it is edited.
pub(super) fn tagged(entry: Entry) -> ApiResult<Tagged<ConversationView>> {
    let editable = Editable::from(&entry);
    Tagged::by(&editable, entry.into())
}

impl From<Entry> for ConversationView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            status: entry.status.into(),
            handler: entry.handler.into(),
            channel: entry.channel.into(),
            agent_id: entry.agent.to_string(),
            project_id: entry.project.map(|project| project.to_string()),
            title: entry.title,
            messages_count: entry.messages_count,
            last_message: entry.last_message.map(Into::into),
            unread: entry.unread,
            assignee: entry.assignee.map(Into::into),
            visitor_id: entry.visitor.map(|visitor| visitor.to_string()),
            page_url: entry.visit.page_url,
            user_agent: entry.visit.user_agent,
            contact: entry.contact.map(Into::into),
            tags: entry.tags,
            priority: entry.priority.into(),
            snoozed_until: entry.snoozed_until.map(Timestamp::to_rfc3339),
            waiting_since: entry.waiting_since.map(Timestamp::to_rfc3339),
            rating: entry.rating.map(|rating| ConversationRatingView {
                rating: rating.rating,
                comment: rating.comment,
            }),
            created_at: entry.created_at.to_rfc3339(),
            updated_at: entry.updated_at.to_rfc3339(),
            closed_at: entry.closed_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl From<LastMessage> for LastMessageView {
    fn from(message: LastMessage) -> Self {
        Self { text: message.text, author: message.author.into(), at: message.at.to_rfc3339() }
    }
}

impl From<Person> for AssigneeView {
    fn from(person: Person) -> Self {
        Self { id: person.id.to_string(), name: person.name }
    }
}

impl From<Contact> for CustomerView {
    fn from(contact: Contact) -> Self {
        let names = [contact.first_name, contact.last_name];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Self {
            id: contact.id.to_string(),
            name: (!name.is_empty()).then_some(name),
            email: contact.email,
            phone: contact.phone,
        }
    }
}
