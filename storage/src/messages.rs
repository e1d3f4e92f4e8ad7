//! Messages, citations, traces and feedback.

use domain::message::{Citation, Message, Rating};
use domain::{AgentId, ConversationId, MessageId, Timestamp, WorkspaceId};
use serde_json::Value;

use crate::{Conn, Result, Tx};

/// A message to be stored; its sequence number is given by the conversation.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The message; `seq` is ignored.
    pub message: Message,
    /// Its citations.
    pub citations: Vec<Citation>,
    /// How the answer came about; JSON, see `docs/API-DESIGN.md`.
    pub trace: Option<Value>,
    /// The caller's own id of the message, for idempotency; unique in the conversation.
    pub client_id: Option<String>,
}

/// Stores a message with its citations and trace, counts it, and adds its `message.created` event. Gives it with its sequence number; a message with the same `client_id` is given back instead.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Message> {
    todo!()
}

/// The message.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Message>> {
    todo!()
}

/// The customer's message that carries this `client_id` in any conversation with that agent, the oldest
/// when there are several: how a repeated request that names no conversation finds the one it began.
pub async fn of_client(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    client_id: &str,
) -> Result<Option<Message>> {
    todo!()
}

/// The agent's answer to a message (its `reply_to`).
pub async fn reply(
    conn: &mut Conn,
    workspace: WorkspaceId,
    to: MessageId,
) -> Result<Option<Message>> {
    todo!()
}

/// Messages of a conversation with a sequence number above `after`, in order.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    todo!()
}

/// The newest `limit` messages above `after`, in order: what a prompt is made of.
pub async fn recent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>> {
    todo!()
}

/// The citations of those messages, by message, in order of first use.
pub async fn citations(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Citation)>> {
    todo!()
}

/// How an answer came about.
pub async fn trace(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Value>> {
    todo!()
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
    todo!()
}
