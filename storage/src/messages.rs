//! Messages, tools, traces and feedback.

use std::time::Duration;

use domain::agent::ToolKind;
use domain::agent_version::AnsweredFrom;
use domain::inbox::By;
use domain::message::{
    Author, Citation, CitedPassage, Message, MessageKind, MessageState, Operator, Outcome, Rating,
    ShownImage, ToolStatus, ToolUse,
};
use domain::{AgentId, ConversationId, MessageId, Timestamp, UserId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::compress::{compress, decompress};
use crate::sql::{Id, Json, Micros, Name, with_list, with_rows};
use crate::{Conn, Result, StorageError, Tx, citations, events, inbox};

/// A message to be stored; its sequence number is given by the conversation.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The message; `seq` is ignored.
    pub message: Message,
    /// What the customer showed beside it.
    pub images: Vec<ShownImage>,
    /// Its citations.
    pub citations: Vec<Citation>,
    /// The texts of the passages that it cites.
    pub passages: Vec<CitedPassage>,
    /// The tools that it used, in the order of the calls.
    pub tools: Vec<ToolUse>,
    /// How the answer came about; JSON, see `docs/API-DESIGN.md`.
    pub trace: Option<Value>,
    /// The caller's own id of the message, for idempotency; unique in the conversation.
    pub client_id: Option<String>,
}

#[derive(FromRow)]
struct MessageRow {
    id: Id<MessageId>,
    conversation_id: Id<ConversationId>,
    seq: i64,
    author: Name<Author>,
    user_id: Option<Id<UserId>>,
    user_name: Option<String>,
    kind: Name<MessageKind>,
    content: String,
    state: Name<MessageState>,
    outcome: Option<Name<Outcome>>,
    model: Option<String>,
    reply_to: Option<Id<MessageId>>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    unsupported: Option<Json<Vec<String>>>,
    agent_version: Option<i64>,
    agent_draft: Option<i64>,
    created_at: Micros,
}

#[derive(FromRow)]
struct ToolRow {
    message_id: Id<MessageId>,
    kind: Name<ToolKind>,
    name: String,
    status: Name<ToolStatus>,
    arguments: Json<Value>,
    result: String,
    micros: i64,
}

macro_rules! select_messages {
    ($rest:literal) => {
        concat!(
            "SELECT
                messages.id,
                messages.conversation_id,
                messages.seq,
                messages.author,
                messages.user_id,
                (
                    SELECT users.name
                    FROM users
                    WHERE users.id = messages.user_id
                ) AS user_name,
                messages.kind,
                messages.content,
                messages.state,
                messages.outcome,
                messages.model,
                messages.reply_to,
                messages.prompt_tokens,
                messages.completion_tokens,
                messages.unsupported,
                messages.agent_version,
                messages.agent_draft,
                messages.created_at
            FROM messages ",
            $rest
        )
    };
}

/// Stores a message with its citations and trace, counts it, and adds its `message.created` event. Gives it with its sequence number; a message with the same `client_id` is given back instead. `Conflict` when the workspace has no such conversation.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Message> {
    let NewMessage { message: told, client_id, .. } = message;
    if let Some(client_id) = client_id {
        lock_conversation(tx, workspace, told.conversation_id).await?;
        let stored = of_client_in(tx, workspace, told.conversation_id, client_id).await?;
        if let Some(stored) = stored {
            return Ok(stored);
        }
    }
    let seq = next_seq(tx, workspace, told, now).await?;
    inbox::add_words(tx, workspace, told.conversation_id, &told.content).await?;
    insert_as(tx, workspace, message, seq, now).await
}

/// As [`insert`], of the first message of a conversation that counts it already and is found by its words.
pub(crate) async fn insert_first(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Message> {
    insert_as(tx, workspace, message, 1, now).await
}

/// Stores a message under its sequence number, with what comes with it and its event.
async fn insert_as(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &NewMessage,
    seq: i64,
    now: Timestamp,
) -> Result<Message> {
    let NewMessage { message, images, citations, passages, tools, trace, client_id } = message;
    let message = Message { seq, ..message.clone() };
    insert_row(tx, workspace, &message, client_id.as_deref()).await?;
    citations::insert(tx, workspace, message.id, citations, passages).await?;
    insert_tools(tx, workspace, message.id, tools).await?;
    insert_images(tx, workspace, message.id, images).await?;
    if let Some(trace) = trace {
        insert_trace(tx, workspace, message.id, trace).await?;
    }
    let payload = json!({
        "conversationId": message.conversation_id,
        "seq": seq,
        "author": message.author.name(),
        "userId": message.operator.as_ref().map(|operator| operator.id),
        "type": message.kind.name(),
        "outcome": message.outcome.map(Outcome::name),
    });
    events::insert(tx, workspace, "message.created", &message.id.to_string(), &payload, now)
        .await?;
    Ok(message)
}

/// The message.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Message>> {
    let row: Option<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Message::from))
}

/// The customer's message that carries this `client_id` in any conversation with that agent, the oldest
/// when there are several: how a repeated request that names no conversation finds the one it began.
pub async fn of_client(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    client_id: &str,
) -> Result<Option<Message>> {
    let row: Option<MessageRow> = conn
        .statement(select_messages!(
            "JOIN conversations
                ON conversations.id = messages.conversation_id
            WHERE messages.workspace_id = $1
                AND messages.client_id = $3
                AND messages.author = 'customer'
                AND conversations.workspace_id = $1
                AND conversations.agent_id = $2
            ORDER BY messages.id
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(client_id)
        .optional()
        .await?;
    Ok(row.map(Message::from))
}

/// The message of a conversation that carries this `client_id`.
pub async fn of_client_in(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    client_id: &str,
) -> Result<Option<Message>> {
    let row: Option<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND conversation_id = $2
                AND client_id = $3"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(client_id)
        .optional()
        .await?;
    Ok(row.map(Message::from))
}

/// The callers' own ids of those messages that have one.
pub async fn client_ids(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, String)>> {
    let rows: Vec<(Id<MessageId>, String)> = conn
        .statement(with_list!(
            "SELECT
                id,
                client_id
            FROM messages
            WHERE workspace_id = $1
                AND client_id IS NOT NULL
                AND ",
            "id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id, client_id)| (id.0, client_id)).collect())
}

/// The agent's answer to a message (its `reply_to`), the newest when there are several.
pub async fn reply(
    conn: &mut Conn,
    workspace: WorkspaceId,
    to: MessageId,
) -> Result<Option<Message>> {
    let row: Option<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND reply_to = $2
                AND author = 'agent'
            ORDER BY seq DESC
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .bind(Id(to))
        .optional()
        .await?;
    Ok(row.map(Message::from))
}

/// Messages of a conversation with a sequence number above `after`, in order.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows: Vec<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND conversation_id = $2
                AND seq > $3
            ORDER BY seq
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(after)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(Message::from).collect())
}

/// The `limit` messages next below the sequence number `before`, in order.
pub async fn list_before(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    before: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows: Vec<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND conversation_id = $2
                AND seq < $3
            ORDER BY seq DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(before)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().rev().map(Message::from).collect())
}

/// How many messages of a conversation have a sequence number below `before`; all of them with `i64::MAX`.
pub async fn count_before(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    before: i64,
) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(
            "SELECT COUNT(*)
            FROM messages
            WHERE workspace_id = $1
                AND conversation_id = $2
                AND seq < $3",
        )
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(before)
        .one()
        .await?;
    Ok(count)
}

/// The newest `limit` messages above `after`, in order: what a prompt is made of.
pub async fn recent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows: Vec<MessageRow> = conn
        .statement(select_messages!(
            "WHERE workspace_id = $1
                AND conversation_id = $2
                AND seq > $3
            ORDER BY seq DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .bind(after)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().rev().map(Message::from).collect())
}

/// The tools that those messages used, by message, in the order of the calls.
pub async fn tools(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, ToolUse)>> {
    let rows: Vec<ToolRow> = conn
        .statement(with_list!(
            "SELECT
                message_id,
                kind,
                name,
                status,
                arguments,
                result,
                micros
            FROM message_tools
            WHERE workspace_id = $1
                AND ",
            "message_id" in "$2";
            " ORDER BY message_id, place"
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    Ok(rows.into_iter().map(|row| (row.message_id.0, ToolUse::from(row))).collect())
}

/// What was shown beside messages of a workspace, where something was.
pub async fn images(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Vec<ShownImage>)>> {
    let rows: Vec<(Id<MessageId>, Json<Vec<ShownImage>>)> = conn
        .statement(with_list!(
            "SELECT
                message_id,
                images
            FROM message_images
            WHERE workspace_id = $1
                AND ",
            "message_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id, images)| (id.0, images.0)).collect())
}

/// How an answer came about.
pub async fn trace(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Value>> {
    let row: Option<(Vec<u8>,)> = conn
        .statement(
            "SELECT trace
            FROM message_traces
            WHERE workspace_id = $1
                AND message_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    let Some((bytes,)) = row else { return Ok(None) };
    let json = decompress(TRACE, &bytes)?;
    serde_json::from_slice(&json).map(Some).map_err(|error| StorageError::decode(TRACE, &error))
}

/// Removes traces of answers that were begun before `before`, at most `limit`; how many. An answer's id tells when
/// it was begun.
pub async fn delete_traces(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM message_traces
        WHERE message_id IN (
            SELECT message_id
            FROM message_traces
            WHERE message_id < $1
            ORDER BY message_id
            LIMIT $2
        )",
    )
    .bind(Id(MessageId::earliest(before)))
    .bind(limit)
    .execute()
    .await
}

/// Sets or (with `None`) removes the rating of a message, with its `feedback.received` event; `false` when the message is absent.
pub async fn set_feedback(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: MessageId,
    rating: Option<Rating>,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let Some(message) = get(tx, workspace, id).await? else { return Ok(false) };
    match rating {
        Some(rating) => write_feedback(tx, workspace, id, rating, comment, now).await?,
        None => delete_feedback(tx, workspace, id).await?,
    }
    let payload = json!({
        "conversationId": message.conversation_id,
        "rating": rating.map(Rating::name),
    });
    events::insert(tx, workspace, "feedback.received", &id.to_string(), &payload, now).await?;
    Ok(true)
}

/// The rating of a message and what was said with it.
pub async fn feedback(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<(Rating, Option<String>)>> {
    let row: Option<(Name<Rating>, Option<String>)> = conn
        .statement(
            "SELECT
                rating,
                comment
            FROM message_feedback
            WHERE workspace_id = $1
                AND message_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(|(Name(rating), comment)| (rating, comment)))
}

/// The ratings of those messages that have one, and what was said with each.
pub async fn feedbacks(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Rating, Option<String>)>> {
    let rows: Vec<(Id<MessageId>, Name<Rating>, Option<String>)> = conn
        .statement(with_list!(
            "SELECT
                message_id,
                rating,
                comment
            FROM message_feedback
            WHERE workspace_id = $1
                AND ",
            "message_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(messages)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id), Name(rating), comment)| (id, rating, comment)).collect())
}

/// The column of traces, for messages.
const TRACE: &str = "message_traces.trace";

/// From here on a message with the same client id is either stored and visible, or not stored at all.
/// SQLite has one writer anyway.
async fn lock_conversation(tx: &mut Tx, workspace: WorkspaceId, id: ConversationId) -> Result<()> {
    if !tx.is_postgres() {
        return Ok(());
    }
    tx.statement(
        "SELECT id
        FROM conversations
        WHERE workspace_id = $1
            AND id = $2
        FOR NO KEY UPDATE",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    Ok(())
}

/// Counts a message; its sequence number. A customer who writes waits for whoever has the conversation, if that is a
/// person, and it is put off no more; one who is answered by a person waits no more.
async fn next_seq(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &Message,
    now: Timestamp,
) -> Result<i64> {
    let row: Option<(i64, Option<i64>)> = tx
        .statement(
            "UPDATE conversations
            SET
                messages_count = messages_count + 1,
                last_seq = last_seq + 1,
                updated_at = $3,
                waiting_since = CASE
                    WHEN $4 = 'operator' THEN 9223372036854775807
                    WHEN $4 = 'customer'
                        AND handler <> 'bot'
                        AND waiting_since = 9223372036854775807 THEN $3
                    ELSE waiting_since
                END
            WHERE workspace_id = $1
                AND id = $2
            RETURNING
                last_seq,
                snoozed_until",
        )
        .bind(Id(workspace))
        .bind(Id(message.conversation_id))
        .bind(Micros(now))
        .bind(Name(message.author))
        .optional()
        .await?;
    let (seq, snoozed) = row.ok_or_else(StorageError::without_parent)?;
    if snoozed.is_some() && message.author == Author::Customer {
        inbox::unsnooze(tx, workspace, message.conversation_id, By::Customer, now).await?;
    }
    Ok(seq)
}

async fn insert_row(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &Message,
    client_id: Option<&str>,
) -> Result<()> {
    tx.statement(
        "INSERT INTO messages (
            id,
            workspace_id,
            conversation_id,
            seq,
            author,
            content,
            state,
            outcome,
            model,
            reply_to,
            prompt_tokens,
            completion_tokens,
            unsupported,
            agent_version,
            agent_draft,
            client_id,
            created_at,
            kind,
            user_id
        )
        VALUES (
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19
        )",
    )
    .bind(Id(message.id))
    .bind(Id(workspace))
    .bind(Id(message.conversation_id))
    .bind(message.seq)
    .bind(Name(message.author))
    .bind(&message.content)
    .bind(Name(message.state))
    .bind(message.outcome.map(Name))
    .bind(&message.model)
    .bind(message.reply_to.map(Id))
    .bind(message.prompt_tokens)
    .bind(message.completion_tokens)
    .bind((!message.unsupported.is_empty()).then(|| Json(message.unsupported.clone())))
    .bind(message.answered_from.map(|from| from.version))
    .bind(message.answered_from.and_then(|from| from.draft))
    .bind(client_id)
    .bind(Micros(message.created_at))
    .bind(Name(message.kind))
    .bind(message.operator.as_ref().map(|operator| Id(operator.id)))
    .later()
    .await
}

async fn insert_tools(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    tools: &[ToolUse],
) -> Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = tools.iter().enumerate().map(tool_row).collect();
    tx.statement(with_rows!(
        "INSERT INTO message_tools (
            message_id,
            place,
            workspace_id,
            kind,
            name,
            status,
            arguments,
            result,
            micros
        )
        SELECT
            $1,
            CAST(value->>0 AS BIGINT),
            $2,
            value->>1,
            value->>2,
            value->>3,
            value->>4,
            value->>5,
            CAST(value->>6 AS BIGINT)
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(message))
    .bind(Id(workspace))
    .json(&rows)
    .later()
    .await
}

async fn insert_images(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    images: &[ShownImage],
) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    tx.statement(
        "INSERT INTO message_images (message_id, workspace_id, images)
        VALUES ($1, $2, $3)",
    )
    .bind(Id(message))
    .bind(Id(workspace))
    .json(&images)
    .later()
    .await
}

fn tool_row((place, tool): (usize, &ToolUse)) -> Value {
    json!([
        place,
        tool.kind.name(),
        tool.name,
        tool.status.name(),
        tool.arguments.to_string(),
        tool.result,
        i64::try_from(tool.took.as_micros()).unwrap_or(i64::MAX),
    ])
}

async fn insert_trace(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    trace: &Value,
) -> Result<()> {
    let trace = compress(TRACE, trace.to_string().as_bytes())?;
    tx.statement(
        "INSERT INTO message_traces (
            message_id,
            workspace_id,
            trace
        )
        VALUES ($1, $2, $3)",
    )
    .bind(Id(message))
    .bind(Id(workspace))
    .bind(trace)
    .later()
    .await
}

async fn write_feedback(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    rating: Rating,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO message_feedback (
            message_id,
            workspace_id,
            rating,
            comment,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (message_id) DO UPDATE
        SET
            rating = excluded.rating,
            comment = excluded.comment,
            updated_at = excluded.updated_at",
    )
    .bind(Id(message))
    .bind(Id(workspace))
    .bind(Name(rating))
    .bind(comment)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

async fn delete_feedback(tx: &mut Tx, workspace: WorkspaceId, message: MessageId) -> Result<()> {
    tx.statement(
        "DELETE FROM message_feedback
        WHERE workspace_id = $1
            AND message_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(message))
    .execute()
    .await?;
    Ok(())
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id.0,
            conversation_id: row.conversation_id.0,
            seq: row.seq,
            author: row.author.0,
            operator: row
                .user_id
                .map(|id| Operator { id: id.0, name: row.user_name.unwrap_or_default() }),
            kind: row.kind.0,
            content: row.content,
            state: row.state.0,
            outcome: row.outcome.map(|outcome| outcome.0),
            model: row.model,
            reply_to: row.reply_to.map(|to| to.0),
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            unsupported: row.unsupported.map(|found| found.0).unwrap_or_default(),
            answered_from: row
                .agent_version
                .map(|version| AnsweredFrom { version, draft: row.agent_draft }),
            created_at: row.created_at.0,
        }
    }
}

impl From<ToolRow> for ToolUse {
    fn from(row: ToolRow) -> Self {
        Self {
            kind: row.kind.0,
            name: row.name,
            status: row.status.0,
            arguments: row.arguments.0,
            result: row.result,
            took: Duration::from_micros(u64::try_from(row.micros).unwrap_or(0)),
        }
    }
}
