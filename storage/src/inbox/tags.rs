//! Tags of conversations.

use domain::inbox::{By, Happening};
use domain::{Ambient, ConversationId, TagId, Timestamp, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::change::note;
use crate::sql::{Id, Micros, with_list, with_rows};
use crate::{Conn, Result, Tx};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its id.
    pub id: TagId,
    /// Unique in the workspace, in whichever case.
    pub name: String,
    /// `#rrggbb`.
    pub colour: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A tag and how many conversations have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagInUse {
    /// The tag.
    pub tag: Tag,
    /// Conversations that have it.
    pub conversations: i64,
}

#[derive(FromRow)]
struct TagRow {
    id: Id<TagId>,
    name: String,
    colour: Option<String>,
    created_at: Micros,
    conversations: i64,
}

macro_rules! select_tags {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                name,
                colour,
                created_at,
                (
                    SELECT COUNT(*)
                    FROM conversation_tags
                    WHERE conversation_tags.tag_id = tags.id
                ) AS conversations
            FROM tags ",
            $rest
        )
    };
}

/// The tags of a workspace, by name.
pub async fn tags(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<TagInUse>> {
    let rows: Vec<TagRow> = conn
        .statement(select_tags!(
            "WHERE workspace_id = $1
            ORDER BY folded_name"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(TagInUse::from).collect())
}

/// The tag.
pub async fn tag(conn: &mut Conn, workspace: WorkspaceId, id: TagId) -> Result<Option<TagInUse>> {
    let row: Option<TagRow> = conn
        .statement(select_tags!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(TagInUse::from))
}

/// Stores a tag. `Conflict` when there is one of that name.
pub async fn create_tag(tx: &mut Tx, workspace: WorkspaceId, tag: &Tag) -> Result<()> {
    tx.statement(
        "INSERT INTO tags (
            id,
            workspace_id,
            name,
            folded_name,
            colour,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(Id(tag.id))
    .bind(Id(workspace))
    .bind(&tag.name)
    .bind(tag.name.to_lowercase())
    .bind(&tag.colour)
    .bind(Micros(tag.created_at))
    .execute()
    .await?;
    Ok(())
}

/// Sets name and colour of a tag; `false` when it is absent. `Conflict` when another has that name.
pub async fn change_tag(tx: &mut Tx, workspace: WorkspaceId, tag: &Tag) -> Result<bool> {
    tx.statement(
        "UPDATE tags
        SET
            name = $3,
            folded_name = $4,
            colour = $5
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(tag.id))
    .bind(&tag.name)
    .bind(tag.name.to_lowercase())
    .bind(&tag.colour)
    .changed()
    .await
}

/// Removes a tag from the workspace and its conversations; `false` when it is absent.
pub async fn delete_tag(tx: &mut Tx, workspace: WorkspaceId, id: TagId) -> Result<bool> {
    tx.statement(
        "DELETE FROM tags
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// The names of the tags of those conversations, by name.
pub async fn tags_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<Vec<(ConversationId, String)>> {
    let rows: Vec<(Id<ConversationId>, String)> = conn
        .statement(with_list!(
            "SELECT
                conversation_tags.conversation_id,
                tags.name
            FROM conversation_tags
            INNER JOIN tags
                ON tags.id = conversation_tags.tag_id
            WHERE conversation_tags.workspace_id = $1
                AND ",
            "conversation_tags.conversation_id" in "$2";
            " ORDER BY tags.folded_name"
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id), name)| (id, name)).collect())
}

/// Sets the tags of a conversation, which the transaction holds ([`super::lock`]), by their names; those that the workspace does not have are made. Nothing where they are the same.
pub async fn set_tags(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    conversation: ConversationId,
    (names, by): (&[String], By),
) -> Result<()> {
    let mut names: Vec<&String> = names.iter().collect();
    // In the same order by everyone: two who make the same tags wait for each other once only.
    names.sort_by_key(|name| name.to_lowercase());
    names.dedup_by_key(|name| name.to_lowercase());
    let folded: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let before = tags_of(tx, workspace, &[conversation]).await?;
    let before: Vec<String> = before.into_iter().map(|(_, name)| name.to_lowercase()).collect();
    if before == folded {
        return Ok(());
    }
    let now = ambient.now();
    let rows: Vec<Value> = names
        .iter()
        .map(|name| json!([ambient.new_id::<TagId>(), name, name.to_lowercase()]))
        .collect();
    make_missing(tx, workspace, &rows, now).await?;
    clear(tx, workspace, conversation).await?;
    put(tx, workspace, conversation, &folded).await?;
    touch(tx, workspace, conversation, now).await?;
    let added: Vec<&String> = folded.iter().filter(|name| !before.contains(name)).collect();
    let removed: Vec<&String> = before.iter().filter(|name| !folded.contains(name)).collect();
    let details = json!({"added": added, "removed": removed});
    note(tx, workspace, conversation, (Happening::Tagged, by), &details, now).await
}

async fn make_missing(
    tx: &mut Tx,
    workspace: WorkspaceId,
    rows: &[Value],
    now: Timestamp,
) -> Result<()> {
    tx.statement(with_rows!(
        "INSERT INTO tags (
            id,
            workspace_id,
            name,
            folded_name,
            created_at
        )
        SELECT
            value->>0,
            $1,
            value->>1,
            value->>2,
            $2
        FROM ",
        "$3",
        " WHERE TRUE
        ON CONFLICT (workspace_id, folded_name) DO NOTHING"
    ))
    .bind(Id(workspace))
    .bind(Micros(now))
    .json(rows)
    .later()
    .await
}

async fn clear(tx: &mut Tx, workspace: WorkspaceId, conversation: ConversationId) -> Result<()> {
    tx.statement(
        "DELETE FROM conversation_tags
        WHERE workspace_id = $1
            AND conversation_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(conversation))
    .later()
    .await
}

async fn put(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    folded: &[String],
) -> Result<()> {
    tx.statement(with_list!(
        "INSERT INTO conversation_tags (
            conversation_id,
            tag_id,
            workspace_id
        )
        SELECT
            conversations.id,
            tags.id,
            tags.workspace_id
        FROM tags
        INNER JOIN conversations
            ON conversations.workspace_id = tags.workspace_id
        WHERE tags.workspace_id = $1
            AND conversations.id = $2
            AND ",
        "tags.folded_name" in "$3";
        ""
    ))
    .bind(Id(workspace))
    .bind(Id(conversation))
    .list(folded)
    .execute()
    .await?;
    Ok(())
}

async fn touch(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET updated_at = $3
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(conversation))
    .bind(Micros(now))
    .later()
    .await
}

impl From<TagRow> for TagInUse {
    fn from(row: TagRow) -> Self {
        let tag =
            Tag { id: row.id.0, name: row.name, colour: row.colour, created_at: row.created_at.0 };
        Self { tag, conversations: row.conversations }
    }
}
