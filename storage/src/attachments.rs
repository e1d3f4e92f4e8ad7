//! Files that people and customers send in conversations. The bytes are in [`Blobs`](crate::Blobs), under generated ids.

use std::collections::HashSet;

use domain::attachment::{Attachment, Uploader};
use domain::{
    AttachmentId, BlobId, ConversationId, MessageId, Timestamp, UserId, VisitorId, WorkspaceId,
};
use sqlx::FromRow;

use crate::sql::{Id, Micros, with_list};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct AttachmentRow {
    id: Id<AttachmentId>,
    conversation_id: Option<Id<ConversationId>>,
    message_id: Option<Id<MessageId>>,
    blob_id: Id<BlobId>,
    name: String,
    media_type: String,
    bytes: i64,
    user_id: Option<Id<UserId>>,
    visitor_id: Option<String>,
    created_at: Micros,
}

macro_rules! select_attachments {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                conversation_id,
                message_id,
                blob_id,
                name,
                media_type,
                bytes,
                user_id,
                visitor_id,
                created_at
            FROM attachments ",
            $rest
        )
    };
}

/// Stores an uploaded file's row; no message shows it yet. `Conflict` when the workspace has no such conversation.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, attachment: &Attachment) -> Result<()> {
    let (user, visitor) = parts(&attachment.uploader);
    let stored = tx
        .statement(
            "INSERT INTO attachments (
                id,
                workspace_id,
                conversation_id,
                blob_id,
                name,
                media_type,
                bytes,
                user_id,
                visitor_id,
                created_at
            )
            SELECT
                $2,
                id,
                $3,
                $4,
                $5,
                $6,
                $7,
                $8,
                $9,
                $10
            FROM workspaces
            WHERE id = $1
                AND (
                    $3 IS NULL
                    OR EXISTS (
                        SELECT 1
                        FROM conversations
                        WHERE conversations.workspace_id = $1
                            AND conversations.id = $3
                    )
                )",
        )
        .bind(Id(workspace))
        .bind(Id(attachment.id))
        .bind(attachment.conversation_id.map(Id))
        .bind(Id(attachment.blob))
        .bind(&attachment.name)
        .bind(&attachment.media_type)
        .bind(attachment.bytes)
        .bind(user.map(Id))
        .bind(visitor)
        .bind(Micros(attachment.created_at))
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// The attachment.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: AttachmentId,
) -> Result<Option<Attachment>> {
    let row: Option<AttachmentRow> = conn
        .statement(select_attachments!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    row.map(AttachmentRow::into_attachment).transpose()
}

/// Has a message show a file, as its `place`-th from 0; `false` when the file is absent, another conversation's, somebody
/// else's upload, or shown by a message already.
pub async fn attach(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: AttachmentId,
    uploader: &Uploader,
    (conversation, message, place): (ConversationId, MessageId, i64),
) -> Result<bool> {
    let (user, visitor) = parts(uploader);
    tx.statement(
        "UPDATE attachments
        SET
            conversation_id = $3,
            message_id = $4,
            place = $5
        WHERE workspace_id = $1
            AND id = $2
            AND message_id IS NULL
            AND (conversation_id IS NULL OR conversation_id = $3)
            AND (user_id = $6 OR visitor_id = $7)",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Id(conversation))
    .bind(Id(message))
    .bind(place)
    .bind(user.map(Id))
    .bind(visitor)
    .changed()
    .await
}

/// What those messages show, by message, in the order that it was given in.
pub async fn of_messages(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Attachment)>> {
    let rows: Vec<AttachmentRow> = conn
        .statement(with_list!(
            select_attachments!("WHERE workspace_id = $1 AND "),
            "message_id" in "$2";
            " ORDER BY message_id, place"
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let attachment = row.into_attachment()?;
        shown.extend(attachment.message_id.map(|message| (message, attachment)));
    }
    Ok(shown)
}

/// Files and bytes that a visitor has uploaded since `since`.
pub async fn used_by_visitor(
    conn: &mut Conn,
    workspace: WorkspaceId,
    visitor: &VisitorId,
    since: Timestamp,
) -> Result<(i64, i64)> {
    conn.statement(
        "SELECT
            COUNT(*),
            CAST(COALESCE(SUM(bytes), 0) AS BIGINT)
        FROM attachments
        WHERE workspace_id = $1
            AND visitor_id = $2
            AND created_at >= $3",
    )
    .bind(Id(workspace))
    .bind(visitor.as_str())
    .bind(Micros(since))
    .one()
    .await
}

/// The stored files of those conversations: to be removed once the conversations are.
pub async fn blobs_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<Vec<BlobId>> {
    let rows: Vec<(Id<BlobId>,)> = conn
        .statement(with_list!(
            "SELECT blob_id
            FROM attachments
            WHERE workspace_id = $1
                AND ",
            "conversation_id" in "$2";
            " ORDER BY id"
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// Those of `blobs` that attachments name.
pub async fn blobs_in_use(
    conn: &mut Conn,
    workspace: WorkspaceId,
    blobs: &[BlobId],
) -> Result<HashSet<BlobId>> {
    let rows: Vec<(Id<BlobId>,)> = conn
        .statement(with_list!(
            "SELECT blob_id
            FROM attachments
            WHERE workspace_id = $1
                AND ",
            "blob_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(blobs)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// Removes what was uploaded before `before` and no message shows, at most `limit`; how many. The files that nothing
/// names any more are swept by themselves.
pub async fn delete_unused(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM attachments
        WHERE id IN (
            SELECT id
            FROM attachments
            WHERE message_id IS NULL
                AND created_at < $1
            ORDER BY created_at
            LIMIT $2
        )",
    )
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await
}

fn parts(uploader: &Uploader) -> (Option<UserId>, Option<&str>) {
    match uploader {
        Uploader::Operator(user) => (*user, None),
        Uploader::Visitor(visitor) => (None, Some(visitor.as_str())),
    }
}

impl AttachmentRow {
    fn into_attachment(self) -> Result<Attachment> {
        let uploader = match self.visitor_id {
            Some(text) => Uploader::Visitor(VisitorId::parse(&text).ok_or_else(|| {
                StorageError::decode("attachments.visitor_id", "not a visitor id")
            })?),
            None => Uploader::Operator(self.user_id.map(|user| user.0)),
        };
        Ok(Attachment {
            id: self.id.0,
            conversation_id: self.conversation_id.map(|id| id.0),
            message_id: self.message_id.map(|id| id.0),
            blob: self.blob_id.0,
            name: self.name,
            media_type: self.media_type,
            bytes: self.bytes,
            uploader,
            created_at: self.created_at.0,
        })
    }
}
