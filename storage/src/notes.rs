//! Notes on conversations, and the members that they call. Nothing that a customer, a channel or a prompt is made of
//! reads them.

use std::collections::HashMap;

use domain::note::{Mention, Note, NoteAuthor};
use domain::{ConversationId, NoteId, Timestamp, UserId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::sql::{Dialects, Id, Micros, with_list, with_rows};
use crate::{Conn, Result, StorageError, Tx, events};

#[derive(FromRow)]
struct NoteRow {
    id: Id<NoteId>,
    conversation_id: Id<ConversationId>,
    user_id: Option<Id<UserId>>,
    user_name: Option<String>,
    content: String,
    created_at: Micros,
    updated_at: Micros,
}

#[derive(FromRow)]
struct MentionRow {
    #[sqlx(flatten)]
    note: NoteRow,
    read_at: Option<Micros>,
}

macro_rules! select_notes {
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT
                conversation_notes.id,
                conversation_notes.conversation_id,
                conversation_notes.user_id,
                users.name AS user_name,
                conversation_notes.content,
                conversation_notes.created_at,
                conversation_notes.updated_at",
            $more,
            " FROM conversation_notes
            LEFT JOIN users
                ON users.id = conversation_notes.user_id ",
            $rest
        )
    };
}

/// Which mentions of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MentionFilter {
    /// All.
    Any,
    /// Those that were not read yet.
    Unread,
}

/// Stores a note, with its `note.created` event and a `note.mentioned` for each member that it calls. `Conflict` when the
/// workspace has no such conversation. Whom it calls must be members; the author's name is not stored.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, note: &Note) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO conversation_notes (
                id,
                workspace_id,
                conversation_id,
                user_id,
                content,
                created_at,
                updated_at
            )
            SELECT
                $3,
                workspace_id,
                id,
                $4,
                $5,
                $6,
                $7
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(note.conversation_id))
        .bind(Id(note.id))
        .bind(note.author.as_ref().map(|author| Id(author.id)))
        .bind(&note.content)
        .bind(Micros(note.created_at))
        .bind(Micros(note.updated_at))
        .changed()
        .await?;
    if !stored {
        return Err(StorageError::without_parent());
    }
    insert_mentions(tx, workspace, note.id, &note.mentions).await?;
    tell(tx, workspace, note, "note.created", note.created_at).await?;
    tell_mentioned(tx, workspace, note, &note.mentions, note.created_at).await
}

/// The note, of that conversation.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    id: NoteId,
) -> Result<Option<Note>> {
    let row: Option<NoteRow> = conn
        .statement(select_notes!(
            "",
            "WHERE conversation_notes.workspace_id = $1
                AND conversation_notes.conversation_id = $2
                AND conversation_notes.id = $3"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(Id(id))
        .optional()
        .await?;
    let mut notes = with_mentions(conn, workspace, row.into_iter().collect()).await?;
    Ok(notes.pop())
}

/// Keeps others from changing a note until the transaction ends. SQLite has one writer anyway.
pub async fn hold(tx: &mut Tx, workspace: WorkspaceId, id: NoteId) -> Result<()> {
    let rows: Vec<(Id<NoteId>,)> = tx
        .statement(Dialects {
            sqlite: "SELECT id
            FROM conversation_notes
            WHERE workspace_id = $1
                AND id = $2",
            postgres: "SELECT id
            FROM conversation_notes
            WHERE workspace_id = $1
                AND id = $2
            FOR UPDATE",
        })
        .bind(Id(workspace))
        .bind(Id(id))
        .all()
        .await?;
    drop(rows);
    Ok(())
}

/// The notes of a conversation, oldest first.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<Vec<Note>> {
    let rows: Vec<NoteRow> = conn
        .statement(select_notes!(
            "",
            "WHERE conversation_notes.workspace_id = $1
                AND conversation_notes.conversation_id = $2
            ORDER BY conversation_notes.id"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .all()
        .await?;
    with_mentions(conn, workspace, rows).await
}

/// Writes the content and whom the note calls now, with its `note.updated` event and a `note.mentioned` for each member
/// that it did not call before; `false` when absent. Who is still called keeps what they have read.
pub async fn update(tx: &mut Tx, workspace: WorkspaceId, note: &Note) -> Result<bool> {
    let changed = tx
        .statement(
            "UPDATE conversation_notes
            SET
                content = $3,
                updated_at = $4
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(note.id))
        .bind(&note.content)
        .bind(Micros(note.updated_at))
        .changed()
        .await?;
    if !changed {
        return Ok(false);
    }
    let before = mentioned(tx, workspace, &[note.id]).await?.remove(&note.id).unwrap_or_default();
    let gone: Vec<UserId> =
        before.iter().filter(|user| !note.mentions.contains(user)).copied().collect();
    let new: Vec<UserId> =
        note.mentions.iter().filter(|user| !before.contains(user)).copied().collect();
    delete_mentions(tx, workspace, note.id, &gone).await?;
    insert_mentions(tx, workspace, note.id, &new).await?;
    tell(tx, workspace, note, "note.updated", note.updated_at).await?;
    tell_mentioned(tx, workspace, note, &new, note.updated_at).await?;
    Ok(true)
}

/// Removes a note, with its `note.deleted` event; `false` when absent.
pub async fn delete(
    tx: &mut Tx,
    workspace: WorkspaceId,
    note: &Note,
    now: Timestamp,
) -> Result<bool> {
    let deleted = tx
        .statement(
            "DELETE FROM conversation_notes
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(note.id))
        .changed()
        .await?;
    if deleted {
        tell(tx, workspace, note, "note.deleted", now).await?;
    }
    Ok(deleted)
}

/// The notes that call a member, those that were not read first, then the newest first.
pub async fn mentions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: UserId,
    filter: MentionFilter,
    (limit, offset): (i64, i64),
) -> Result<Vec<Mention>> {
    let rows: Vec<MentionRow> = conn
        .statement(select_notes!(
            ",
                note_mentions.read_at",
            "INNER JOIN note_mentions
                ON note_mentions.note_id = conversation_notes.id
            WHERE note_mentions.user_id = $2
                AND note_mentions.workspace_id = $1
                AND conversation_notes.workspace_id = $1
                AND ($3 = 0 OR note_mentions.read_at IS NULL)
            ORDER BY
                CASE WHEN note_mentions.read_at IS NULL THEN 0 ELSE 1 END,
                conversation_notes.id DESC
            LIMIT $4
            OFFSET $5"
        ))
        .bind(Id(workspace))
        .bind(Id(user))
        .bind(i64::from(filter == MentionFilter::Unread))
        .bind(limit)
        .bind(offset)
        .all()
        .await?;
    let read: Vec<Option<Timestamp>> = rows.iter().map(|row| row.read_at.map(|at| at.0)).collect();
    let notes = rows.into_iter().map(|row| row.note).collect();
    let notes = with_mentions(conn, workspace, notes).await?;
    Ok(notes.into_iter().zip(read).map(|(note, read_at)| Mention { note, read_at }).collect())
}

/// How many notes call a member.
pub async fn count_mentions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: UserId,
    filter: MentionFilter,
) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(
            "SELECT COUNT(*)
            FROM note_mentions
            WHERE workspace_id = $1
                AND user_id = $2
                AND ($3 = 0 OR read_at IS NULL)",
        )
        .bind(Id(workspace))
        .bind(Id(user))
        .bind(i64::from(filter == MentionFilter::Unread))
        .one()
        .await?;
    Ok(count)
}

/// Notes that a member has read what calls them; `false` when the note does not.
pub async fn read_mention(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    note: NoteId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE note_mentions
        SET read_at = COALESCE(read_at, $4)
        WHERE workspace_id = $1
            AND user_id = $2
            AND note_id = $3",
    )
    .bind(Id(workspace))
    .bind(Id(user))
    .bind(Id(note))
    .bind(Micros(now))
    .changed()
    .await
}

/// Notes that a member has read everything that calls them; how much it was.
pub async fn read_all_mentions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    now: Timestamp,
) -> Result<i64> {
    tx.statement(
        "UPDATE note_mentions
        SET read_at = $3
        WHERE workspace_id = $1
            AND user_id = $2
            AND read_at IS NULL",
    )
    .bind(Id(workspace))
    .bind(Id(user))
    .bind(Micros(now))
    .execute()
    .await
}

async fn with_mentions(
    conn: &mut Conn,
    workspace: WorkspaceId,
    rows: Vec<NoteRow>,
) -> Result<Vec<Note>> {
    let ids: Vec<NoteId> = rows.iter().map(|row| row.id.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut called = mentioned(conn, workspace, &ids).await?;
    let notes = rows.into_iter().map(|row| {
        let mentions = called.remove(&row.id.0).unwrap_or_default();
        row.into_note(mentions)
    });
    Ok(notes.collect())
}

async fn mentioned(
    conn: &mut Conn,
    workspace: WorkspaceId,
    notes: &[NoteId],
) -> Result<HashMap<NoteId, Vec<UserId>>> {
    let rows: Vec<(Id<NoteId>, Id<UserId>)> = conn
        .statement(with_list!(
            "SELECT
                note_id,
                user_id
            FROM note_mentions
            WHERE workspace_id = $1
                AND ",
            "note_id" in "$2";
            " ORDER BY note_id, user_id"
        ))
        .bind(Id(workspace))
        .list(notes)
        .all()
        .await?;
    let mut called: HashMap<NoteId, Vec<UserId>> = HashMap::new();
    for (note, user) in rows {
        called.entry(note.0).or_default().push(user.0);
    }
    Ok(called)
}

async fn insert_mentions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    note: NoteId,
    users: &[UserId],
) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = users.iter().map(|user| json!([user])).collect();
    tx.statement(with_rows!(
        "INSERT INTO note_mentions (
            note_id,
            user_id,
            workspace_id
        )
        SELECT
            $1,
            value->>0,
            $2
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(note))
    .bind(Id(workspace))
    .json(&rows)
    .later()
    .await
}

async fn delete_mentions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    note: NoteId,
    users: &[UserId],
) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    tx.statement(with_list!(
        "DELETE FROM note_mentions
        WHERE workspace_id = $1
            AND note_id = $2
            AND ",
        "user_id" in "$3";
        ""
    ))
    .bind(Id(workspace))
    .bind(Id(note))
    .list(users)
    .execute()
    .await?;
    Ok(())
}

/// Events name ids alone: what a note says stays in its table.
async fn tell(
    tx: &mut Tx,
    workspace: WorkspaceId,
    note: &Note,
    kind: &'static str,
    now: Timestamp,
) -> Result<()> {
    let payload = json!({
        "conversationId": note.conversation_id,
        "userId": note.author.as_ref().map(|author| author.id),
    });
    events::insert(tx, workspace, kind, &note.id.to_string(), &payload, now).await
}

async fn tell_mentioned(
    tx: &mut Tx,
    workspace: WorkspaceId,
    note: &Note,
    users: &[UserId],
    now: Timestamp,
) -> Result<()> {
    for user in users {
        let payload = json!({
            "conversationId": note.conversation_id,
            "userId": user,
            "byUserId": note.author.as_ref().map(|author| author.id),
        });
        let subject = note.id.to_string();
        events::insert(tx, workspace, "note.mentioned", &subject, &payload, now).await?;
    }
    Ok(())
}

impl NoteRow {
    fn into_note(self, mentions: Vec<UserId>) -> Note {
        let name = self.user_name.unwrap_or_default();
        Note {
            id: self.id.0,
            conversation_id: self.conversation_id.0,
            author: self.user_id.map(|id| NoteAuthor { id: id.0, name }),
            content: self.content,
            mentions,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        }
    }
}
