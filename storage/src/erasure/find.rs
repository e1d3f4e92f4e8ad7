//! What is to be known before something is erased.

use domain::{BlobId, ContactId, ConversationId, Timestamp, VisitorId, WorkspaceId};

use crate::sql::{Id, Micros, with_list};
use crate::{Conn, Result, StorageError};

/// The conversations of a contact, and of the visitors that it is known as.
pub async fn conversations_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: ContactId,
) -> Result<Vec<ConversationId>> {
    let rows: Vec<(Id<ConversationId>,)> = conn
        .statement(
            "SELECT id
            FROM conversations
            WHERE workspace_id = $1
                AND (
                    contact_id = $2
                    OR visitor_id IN (
                        SELECT visitor_id
                        FROM visitors
                        WHERE workspace_id = $1
                            AND contact_id = $2
                    )
                )
            ORDER BY id",
        )
        .bind(Id(workspace))
        .bind(Id(contact))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// The visitors that a contact is known as, in order.
pub async fn visitors_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: ContactId,
) -> Result<Vec<VisitorId>> {
    let rows: Vec<(String,)> = conn
        .statement(
            "SELECT visitor_id
            FROM visitors
            WHERE workspace_id = $1
                AND contact_id = $2
            ORDER BY visitor_id",
        )
        .bind(Id(workspace))
        .bind(Id(contact))
        .all()
        .await?;
    let read = |(text,): (String,)| {
        VisitorId::parse(&text)
            .ok_or_else(|| StorageError::decode("visitor_id", "not a visitor id"))
    };
    rows.into_iter().map(read).collect()
}

/// The stored files that a contact's visitors have uploaded, sent or not.
pub async fn uploads_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: ContactId,
) -> Result<Vec<BlobId>> {
    let rows: Vec<(Id<BlobId>,)> = conn
        .statement(
            "SELECT blob_id
            FROM attachments
            WHERE workspace_id = $1
                AND visitor_id IN (
                    SELECT visitor_id
                    FROM visitors
                    WHERE workspace_id = $1
                        AND contact_id = $2
                )
            ORDER BY id",
        )
        .bind(Id(workspace))
        .bind(Id(contact))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// Whether an answer is being written in one of the conversations.
pub async fn is_busy(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
    now: Timestamp,
) -> Result<bool> {
    let row: Option<(Id<ConversationId>,)> = conn
        .statement(with_list!(
            "SELECT id
            FROM conversations
            WHERE workspace_id = $1
                AND turn_owner IS NOT NULL
                AND turn_until > $3
                AND ", "id" in "$2"; " LIMIT 1"
        ))
        .bind(Id(workspace))
        .list(conversations)
        .bind(Micros(now))
        .optional()
        .await?;
    Ok(row.is_some())
}

/// The questions of the conversations that were not answered, of which vectors may be kept.
pub async fn questions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = conn
        .statement(with_list!(
            "SELECT question
            FROM gaps
            WHERE workspace_id = $1
                AND ", "conversation_id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(question,)| question).collect())
}

/// Conversations that have not changed since `before`, the oldest first, at most `limit`.
pub async fn old_conversations(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<ConversationId>> {
    let rows: Vec<(Id<ConversationId>,)> = conn
        .statement(
            "SELECT id
            FROM conversations
            WHERE workspace_id = $1
                AND updated_at < $2
                AND (turn_owner IS NULL OR turn_until < $2)
            ORDER BY updated_at
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(Micros(before))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// Contacts without conversations that have not changed since `before`, at most `limit`.
pub async fn old_contacts(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<ContactId>> {
    let rows: Vec<(Id<ContactId>,)> = conn
        .statement(
            "SELECT id
            FROM contacts
            WHERE workspace_id = $1
                AND updated_at < $2
                AND NOT EXISTS (
                    SELECT 1
                    FROM conversations
                    WHERE conversations.contact_id = contacts.id
                )
            ORDER BY updated_at, id
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(Micros(before))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}
