//! Which conversations a list has.

use domain::conversation::{Channel, ConversationStatus, Handler};
use domain::inbox::Priority;
use domain::{AgentId, ContactId, ProjectId, UserId, WorkspaceId};

use super::words::SoughtWord;
use crate::sql::{Id, Name, Statement};
use crate::{Conn, Result};

/// Conversations that have a word in their texts, and customers who have it, from which on there are many.
const MANY: i64 = 2_000;

/// Which conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this status.
    pub status: Option<ConversationStatus>,
    /// Only of this channel.
    pub channel: Option<Channel>,
    /// Only with this handler.
    pub handler: Option<Handler>,
    /// Only of this member, or of nobody.
    pub assigned: Option<Assigned>,
    /// Only with this agent.
    pub agent: Option<AgentId>,
    /// Only of this site or app.
    pub project: Option<ProjectId>,
    /// Only of this customer.
    pub contact: Option<ContactId>,
    /// Only with the tag of this name.
    pub tag: Option<String>,
    /// Only of this priority.
    pub priority: Option<Priority>,
    /// Only with messages of the customer that whoever asks has not read.
    pub unread: bool,
    /// Those that are put off.
    pub snoozed: Snoozed,
    /// Only with all of these words ([`super::sought`]).
    pub words: Vec<SoughtWord>,
}

/// Who has it in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// Nobody.
    Nobody,
    /// This member.
    To(UserId),
}

/// What of what is put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snoozed {
    /// None of it.
    #[default]
    Hidden,
    /// Nothing else.
    Only,
    /// As the others.
    Shown,
}

/// Adds to a statement about `conversations`, whose `$1` is the workspace and `$2` who reads, what a filter asks for.
pub(super) fn narrowed<'c>(
    statement: Statement<'c>,
    filter: &Filter,
    frequent: &[bool],
) -> Statement<'c> {
    let mut statement = statement
        .when(" AND contact_id = ", filter.contact.map(Id))
        .when(" AND status = ", filter.status.map(Name))
        .when(" AND channel = ", filter.channel.map(Name))
        .when(" AND handler = ", filter.handler.map(Name))
        .when(" AND agent_id = ", filter.agent.map(Id))
        .when(" AND project_id = ", filter.project.map(Id))
        .when(" AND priority = ", filter.priority.map(Priority::rank));
    statement = match filter.assigned {
        None => statement,
        Some(Assigned::Nobody) => statement.then(" AND assignee_id IS NULL"),
        Some(Assigned::To(user)) => statement.when(" AND assignee_id = ", Some(Id(user))),
    };
    statement = match filter.snoozed {
        Snoozed::Hidden => statement.then(" AND snoozed_until IS NULL"),
        Snoozed::Only => statement.then(" AND snoozed_until IS NOT NULL"),
        Snoozed::Shown => statement,
    };
    if filter.unread {
        statement = statement.then(
            " AND EXISTS (
                SELECT 1
                FROM messages
                WHERE messages.conversation_id = conversations.id
                    AND messages.author = 'customer'
                    AND messages.seq > COALESCE(
                        (
                            SELECT conversation_reads.last_seq
                            FROM conversation_reads
                            WHERE conversation_reads.conversation_id = conversations.id
                                AND conversation_reads.user_id = $2
                        ),
                        0
                    )
            )",
        );
    }
    if let Some(tag) = &filter.tag {
        statement = statement
            .then(
                " AND id IN (
                    SELECT conversation_tags.conversation_id
                    FROM conversation_tags
                    INNER JOIN tags
                        ON tags.id = conversation_tags.tag_id
                    WHERE tags.workspace_id = $1",
            )
            .when(" AND tags.folded_name = ", Some(tag.to_lowercase()))
            .then(")");
    }
    for (word, is_frequent) in filter.words.iter().zip(frequent) {
        statement = with_word(statement, word, *is_frequent);
    }
    statement
}

/// Only conversations with a word in their texts, or in what is known of their customer. Those of a rare word are looked up
/// by their ids, whatever their order; one that many have is looked for in one conversation after the other, since enough of them are soon found. `OFFSET 0` keeps
/// PostgreSQL from reading all rows of the word instead, which it thinks is cheaper, for it forgets the limit there.
fn with_word<'c>(statement: Statement<'c>, word: &SoughtWord, is_frequent: bool) -> Statement<'c> {
    if is_frequent {
        let statement = statement.then(
            " AND (EXISTS (
                SELECT 1
                FROM conversation_words
                WHERE conversation_words.conversation_id = conversations.id",
        );
        let statement = in_texts(statement, word).then(
            " LIMIT 1 OFFSET 0) OR EXISTS (
                SELECT 1
                FROM contact_terms
                WHERE contact_terms.contact_id = conversations.contact_id",
        );
        return in_contacts(statement, word).then(" LIMIT 1 OFFSET 0))");
    }
    let statement = statement.then(
        " AND id IN (
            SELECT conversation_words.conversation_id
            FROM conversation_words
            WHERE conversation_words.workspace_id = $1",
    );
    let statement = in_texts(statement, word).then(
        " UNION
            SELECT known.id
            FROM conversations AS known
            WHERE known.workspace_id = $1
                AND known.contact_id IN (
                    SELECT contact_terms.contact_id
                    FROM contact_terms
                    WHERE contact_terms.workspace_id = $1",
    );
    in_contacts(statement, word).then("))")
}

fn in_texts<'c>(statement: Statement<'c>, word: &SoughtWord) -> Statement<'c> {
    if !word.is_prefix {
        return statement.when(" AND conversation_words.word = ", Some(&word.word));
    }
    statement
        .when(" AND conversation_words.word >= ", Some(&word.word))
        .when(" AND conversation_words.word < ", Some(word.end()))
}

fn in_contacts<'c>(statement: Statement<'c>, word: &SoughtWord) -> Statement<'c> {
    if !word.is_prefix {
        return statement.when(" AND contact_terms.term = ", Some(&word.word));
    }
    statement
        .when(" AND contact_terms.term >= ", Some(&word.word))
        .when(" AND contact_terms.term < ", Some(word.end()))
}

/// Which of the words of a search many conversations or customers have.
pub(super) async fn frequent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    words: &[SoughtWord],
) -> Result<Vec<bool>> {
    let mut frequent = Vec::with_capacity(words.len());
    for word in words {
        let statement = conn
            .statement(
                "SELECT COUNT(*)
                FROM (
                    SELECT 1
                    FROM conversation_words
                    WHERE conversation_words.workspace_id = $1",
            )
            .bind(Id(workspace));
        let statement = in_texts(statement, word).then(
            " UNION ALL
                SELECT 1
                FROM contact_terms
                WHERE contact_terms.workspace_id = $1",
        );
        let (found,): (i64,) = in_contacts(statement, word)
            .when(" LIMIT ", Some(MANY))
            .then(") AS found")
            .one()
            .await?;
        frequent.push(found >= MANY);
    }
    Ok(frequent)
}
