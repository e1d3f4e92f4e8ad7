//! Conversations.

use domain::conversation::{Conversation, ConversationStatus, Transition};
use domain::{AgentId, Ambient, ConversationId, Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

/// Which conversations to list.
#[derive(Debug, Clone, Default)]
pub struct ConversationFilter {
    /// Only with this agent.
    pub agent: Option<AgentId>,
    /// Only in this status.
    pub status: Option<ConversationStatus>,
}

/// Stores a new conversation and its `conversation.created` event.
pub async fn insert(tx: &mut Tx, conversation: &Conversation) -> Result<()> {
    todo!()
}

/// The conversation.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<Conversation>> {
    todo!()
}

/// Conversations, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &ConversationFilter,
    before: Option<ConversationId>,
    limit: i64,
) -> Result<Vec<Conversation>> {
    todo!()
}

/// Applies a transition (`domain::conversation::apply`) under a row lock, with its events (`conversation.updated`, and `conversation.closed` or `handoff.requested`); the conversation afterwards, `None` when absent. `CustomerReturns` to a closed one moves `context_after` to the newest message.
pub async fn transition(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    transition: Transition,
    now: Timestamp,
) -> Result<Option<Conversation>> {
    todo!()
}

/// Takes the turn of a conversation for `owner` until `until`; `false` while another holds it. Retaken by its own owner.
pub async fn lock_turn(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Gives the turn back if `owner` still holds it.
pub async fn unlock_turn(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    owner: &str,
) -> Result<()> {
    todo!()
}

/// Links the conversation to a contact.
pub async fn set_contact(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    contact: domain::ContactId,
) -> Result<()> {
    todo!()
}

/// Removes conversations not touched since `before`, at most `limit`; how many.
pub async fn delete_older(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    before: Timestamp,
    limit: i64,
) -> Result<i64> {
    todo!()
}
