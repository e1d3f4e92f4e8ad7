//! What visitors see of conversations and messages.

use std::collections::HashMap;

use domain::attachment::Attachment;
use domain::conversation::Conversation;
use domain::message::{Citation, Message};
use domain::{MessageId, VisitorId};
use serde::Serialize;
use storage::{Conn, StorageError, attachments, citations, messages};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::attachment_links;
use crate::state::AppState;
use crate::visitors::Guest;
use crate::words::words;

words! {
    /// Where a conversation stands.
    VisitorConversationStatus = domain::conversation::ConversationStatus {
        /// Going on.
        Open = "open",
        /// Waiting for a person.
        Pending = "pending",
        /// Closed.
        Closed = "closed",
    }

    /// Who answers.
    VisitorConversationHandler = domain::conversation::Handler {
        /// The agent.
        Bot = "bot",
        /// Nobody yet: a person was called.
        Queue = "queue",
        /// A person.
        Operator = "operator",
    }

    /// Who wrote a message.
    VisitorMessageAuthor = domain::message::Author {
        /// The visitor.
        Customer = "customer",
        /// The agent.
        Agent = "agent",
        /// A person of the business.
        Operator = "operator",
    }

    /// Whether a message is whole.
    VisitorMessageState = domain::message::MessageState {
        /// Whole.
        Complete = "complete",
        /// It broke off.
        Interrupted = "interrupted",
        /// It could not be written to its end.
        Failed = "failed",
    }
}

/// A conversation of a visitor.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorConversation)]
pub(super) struct ConversationView {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    pub id: String,
    pub status: VisitorConversationStatus,
    pub handler: VisitorConversationHandler,
    /// Its first words.
    pub title: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A message of a visitor's conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorMessage)]
pub(super) struct MessageView {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    pub conversation_id: String,
    /// Its place in the conversation, rising.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub author: VisitorMessageAuthor,
    /// The name of the person who wrote it, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub author_name: Option<String>,
    /// The text; `[n]` marks what it takes from the citation with that `index`.
    pub content: String,
    pub state: VisitorMessageState,
    /// What the text rests on, in order of first use.
    pub citations: Vec<CitationView>,
    /// The files that it shows.
    pub attachments: Vec<FileView>,
    /// The page's own id of it, where it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub client_message_id: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A file of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorAttachment)]
pub(super) struct FileView {
    #[schema(pattern = "^att_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "foto.png")]
    name: String,
    #[schema(example = "image/png")]
    media_type: String,
    #[schema(minimum = 1)]
    bytes: i64,
    /// Where it is saved from, for a day; read the message again for another one.
    url: String,
}

impl FileView {
    fn new(file: Attachment, url: String) -> Self {
        Self {
            id: file.id.to_string(),
            name: file.name,
            media_type: file.media_type,
            bytes: file.bytes,
            url,
        }
    }
}

/// What an answer rests on.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = VisitorCitation)]
pub(super) struct CitationView {
    /// The number in `[n]`.
    #[schema(minimum = 1)]
    pub index: i64,
    /// The name of the source.
    #[schema(example = "FAQ")]
    pub source: String,
    /// Its address, when it came from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// The page, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub page: Option<i64>,
    /// The words that the answer rests on, verbatim.
    pub quote: String,
}

/// A page's id of a message, as it is stored: another visitor's may read the same.
pub(super) fn stored_client_id(visitor: &VisitorId, id: &str) -> String {
    format!("{visitor}/{id}")
}

/// One for a message that its page gave none.
pub(super) fn own_client_id(visitor: &VisitorId, id: Uuid) -> String {
    format!("{visitor}//{}", id.simple())
}

/// The page's id of a message.
fn shown_client_id(visitor: &VisitorId, stored: &str) -> Option<String> {
    let id = stored.strip_prefix(visitor.as_str())?.strip_prefix('/')?;
    (!id.starts_with('/')).then(|| id.to_owned())
}

/// Messages as their visitor sees them, in the same order.
pub(super) async fn of_messages(
    state: &AppState,
    conn: &mut Conn,
    guest: &Guest,
    found: Vec<Message>,
) -> Result<Vec<MessageView>, StorageError> {
    let workspace = guest.site.workspace;
    let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut cited: HashMap<MessageId, Vec<CitationView>> = HashMap::new();
    for (message, citation) in citations::of_messages(conn, workspace, &ids).await? {
        cited.entry(message).or_default().push(citation.into());
    }
    let now = state.ambient.now();
    let mut shown: HashMap<MessageId, Vec<FileView>> = HashMap::new();
    for (message, file) in attachments::of_messages(conn, workspace, &ids).await? {
        let url = attachment_links::link(&state.vault, workspace, file.id, now);
        shown.entry(message).or_default().push(FileView::new(file, url));
    }
    let named = messages::client_ids(conn, workspace, &ids).await?;
    let mut named: HashMap<MessageId, String> = named.into_iter().collect();
    let view = |message: Message| {
        let own = named.remove(&message.id);
        let own = own.and_then(|stored| shown_client_id(&guest.visitor, &stored));
        MessageView {
            id: message.id.to_string(),
            conversation_id: message.conversation_id.to_string(),
            seq: message.seq,
            author: message.author.into(),
            author_name: message.operator.map(|operator| operator.name),
            attachments: shown.remove(&message.id).unwrap_or_default(),
            citations: cited.remove(&message.id).unwrap_or_default(),
            content: message.content,
            state: message.state.into(),
            client_message_id: own,
            created_at: message.created_at.to_rfc3339(),
        }
    };
    Ok(found.into_iter().map(view).collect())
}

impl ConversationView {
    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.status == VisitorConversationStatus::Closed
    }
}

impl From<Citation> for CitationView {
    fn from(citation: Citation) -> Self {
        Self {
            index: citation.marker,
            source: citation.source_name,
            url: citation.url,
            page: citation.page,
            quote: citation.quote,
        }
    }
}

impl From<Conversation> for ConversationView {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            status: conversation.status.into(),
            handler: conversation.handler.into(),
            title: conversation.title,
            created_at: conversation.created_at.to_rfc3339(),
            updated_at: conversation.updated_at.to_rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_page_is_its_visitors_own_and_reads_as_it_was_given() {
        let visitor = |name: &str| VisitorId::parse(name).unwrap();
        let ana = visitor("proj_1:ana/1");
        let stored = stored_client_id(&ana, "m-1");
        assert_eq!(shown_client_id(&ana, &stored).as_deref(), Some("m-1"));
        assert_eq!(shown_client_id(&visitor("proj_1:eva"), &stored), None);
        assert_eq!(shown_client_id(&ana, &own_client_id(&ana, Uuid::nil())), None);
    }
}
