//! A conversation as the inbox shows it.

use std::collections::HashMap;

use domain::contact::Contact;
use domain::conversation::{Channel, ConversationStatus, Handler};
use domain::inbox::Priority;
use domain::message::Author;
use domain::{
    AgentId, ContactId, ConversationId, ProjectId, Timestamp, UserId, VisitorId, WorkspaceId,
};
use sqlx::FromRow;

use crate::conversations::ConversationRating;
use crate::sql::{Id, Micros, Name, with_list};
use crate::visits::Visit;
use crate::{Conn, Result, StorageError, inbox};

/// A conversation as the inbox shows it to a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: ConversationId,
    /// The agent that it is with.
    pub agent: AgentId,
    /// The site or app that it began on.
    pub project: Option<ProjectId>,
    /// Where it takes place.
    pub channel: Channel,
    /// Where it stands.
    pub status: ConversationStatus,
    /// Who answers.
    pub handler: Handler,
    /// The first words of it, or what it was called since.
    pub title: String,
    /// Messages in it.
    pub messages_count: i64,
    /// The newest of them.
    pub last_message: Option<LastMessage>,
    /// Messages of the customer that the member has not read; `None` when nobody asks.
    pub unread: Option<i64>,
    /// Who has it in hand.
    pub assignee: Option<Person>,
    /// The caller's name for the customer.
    pub visitor: Option<VisitorId>,
    /// Where and with what they began it, as far as their page said.
    pub visit: Visit,
    /// The customer, once known.
    pub contact: Option<Contact>,
    /// By name.
    pub tags: Vec<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// Until when it is put off.
    pub snoozed_until: Option<Timestamp>,
    /// Since when the customer waits for a person.
    pub waiting_since: Option<Timestamp>,
    /// What the customer thinks of it.
    pub rating: Option<ConversationRating>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last closed.
    pub closed_at: Option<Timestamp>,
}

/// A member, named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Shown to people.
    pub name: String,
}

/// The newest message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage {
    /// Its first 200 characters; of one without a text, the name of its first file.
    pub text: String,
    /// Who wrote it.
    pub author: Author,
    /// When.
    pub at: Timestamp,
}

#[derive(FromRow)]
struct EntryRow {
    id: Id<ConversationId>,
    agent_id: Id<AgentId>,
    project_id: Option<Id<ProjectId>>,
    channel: Name<Channel>,
    status: Name<ConversationStatus>,
    handler: Name<Handler>,
    title: String,
    messages_count: i64,
    last_author: Option<Name<Author>>,
    last_text: Option<String>,
    last_at: Option<Micros>,
    unread: i64,
    assignee_id: Option<Id<UserId>>,
    assignee_name: Option<String>,
    visitor_id: Option<String>,
    page_url: Option<String>,
    user_agent: Option<String>,
    contact_id: Option<Id<ContactId>>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    conflict: Option<bool>,
    contact_created_at: Option<Micros>,
    priority: i64,
    snoozed_until: Option<Micros>,
    waiting_since: i64,
    rating: Option<i64>,
    comment: Option<String>,
    created_at: Micros,
    updated_at: Micros,
    closed_at: Option<Micros>,
}

/// A conversation as the inbox shows it to a member.
pub async fn entry(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    id: ConversationId,
) -> Result<Option<Entry>> {
    Ok(entries(conn, workspace, reader, &[id]).await?.pop())
}

/// Conversations as the inbox shows them to a member, in the order of their ids here; those that are not there are left out.
pub(super) async fn entries(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    ids: &[ConversationId],
) -> Result<Vec<Entry>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut tags: HashMap<ConversationId, Vec<String>> = HashMap::new();
    for (id, name) in inbox::tags_of(conn, workspace, ids).await? {
        tags.entry(id).or_default().push(name);
    }
    let mut entries = HashMap::with_capacity(ids.len());
    for row in rows(conn, workspace, reader, ids).await? {
        let mut entry = row.into_entry(reader)?;
        entry.tags = tags.remove(&entry.id).unwrap_or_default();
        entries.insert(entry.id, entry);
    }
    Ok(ids.iter().filter_map(|id| entries.remove(id)).collect())
}

async fn rows(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    ids: &[ConversationId],
) -> Result<Vec<EntryRow>> {
    conn.statement(with_list!(
        "SELECT
            conversations.id,
            conversations.agent_id,
            conversations.project_id,
            conversations.channel,
            conversations.status,
            conversations.handler,
            conversations.title,
            conversations.messages_count,
            messages.author AS last_author,
            CASE
                WHEN messages.content = '' THEN (
                    SELECT attachments.name
                    FROM attachments
                    WHERE attachments.message_id = messages.id
                    ORDER BY attachments.place
                    LIMIT 1
                )
                ELSE SUBSTR(messages.content, 1, 200)
            END AS last_text,
            messages.created_at AS last_at,
            (
                SELECT COUNT(*)
                FROM messages AS told
                WHERE told.conversation_id = conversations.id
                    AND told.seq > COALESCE(conversation_reads.last_seq, 0)
                    AND told.author = 'customer'
            ) AS unread,
            conversations.assignee_id,
            users.name AS assignee_name,
            conversations.visitor_id,
            conversations.page_url,
            conversations.user_agent,
            contacts.id AS contact_id,
            contacts.first_name,
            contacts.last_name,
            contacts.email,
            contacts.phone,
            contacts.conflict,
            contacts.created_at AS contact_created_at,
            conversations.priority,
            conversations.snoozed_until,
            conversations.waiting_since,
            conversation_ratings.rating,
            conversation_ratings.comment,
            conversations.created_at,
            conversations.updated_at,
            conversations.closed_at
        FROM conversations
        LEFT JOIN messages
            ON messages.conversation_id = conversations.id
            AND messages.seq = conversations.last_seq
        LEFT JOIN conversation_reads
            ON conversation_reads.conversation_id = conversations.id
            AND conversation_reads.user_id = $2
        LEFT JOIN users
            ON users.id = conversations.assignee_id
        LEFT JOIN contacts
            ON contacts.id = conversations.contact_id
        LEFT JOIN conversation_ratings
            ON conversation_ratings.conversation_id = conversations.id
        WHERE conversations.workspace_id = $1
            AND ",
        "conversations.id" in "$3";
        ""
    ))
    .bind(Id(workspace))
    .bind(reader.map(Id))
    .list(ids)
    .all()
    .await
}

impl EntryRow {
    /// The entry, without its tags.
    fn into_entry(self, reader: Option<UserId>) -> Result<Entry> {
        let priority = Priority::of_rank(self.priority);
        let priority = priority.ok_or_else(|| StorageError::decode("priority", "no priority"))?;
        let contact = self.contact_id.zip(self.contact_created_at);
        let contact = contact.map(|(Id(id), Micros(created_at))| Contact {
            id,
            first_name: self.first_name,
            last_name: self.last_name,
            email: self.email,
            phone: self.phone,
            conflict: self.conflict.unwrap_or_default(),
            created_at,
        });
        let last_text = self.last_text.unwrap_or_default();
        let last = self.last_author.map(|author| (author, last_text)).zip(self.last_at);
        let last_message =
            last.map(|((Name(author), text), Micros(at))| LastMessage { text, author, at });
        let assignee = self.assignee_id.zip(self.assignee_name);
        let waits = self.waiting_since != i64::MAX;
        Ok(Entry {
            id: self.id.0,
            agent: self.agent_id.0,
            project: self.project_id.map(|Id(project)| project),
            channel: self.channel.0,
            status: self.status.0,
            handler: self.handler.0,
            title: self.title,
            messages_count: self.messages_count,
            last_message,
            unread: reader.map(|_| self.unread),
            assignee: assignee.map(|(Id(id), name)| Person { id, name }),
            visitor: self.visitor_id.as_deref().and_then(VisitorId::parse),
            visit: Visit { page_url: self.page_url, user_agent: self.user_agent },
            contact,
            tags: Vec::new(),
            priority,
            snoozed_until: self.snoozed_until.map(|Micros(at)| at),
            waiting_since: waits.then_some(Timestamp::from_micros(self.waiting_since)),
            rating: self.rating.map(|rating| ConversationRating { rating, comment: self.comment }),
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            closed_at: self.closed_at.map(|Micros(at)| at),
        })
    }
}
