//! Calls of tools that wait for a person's word.

use serde_json::Value;

use crate::agent::ToolKind;
use crate::{AgentId, ApiKeyId, ApprovalId, ConversationId, MessageId, Timestamp, WorkspaceId};

/// A call that a model made and that is done only when a person allows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The agent whose tool it is.
    pub agent_id: AgentId,
    /// The conversation that waits for it.
    pub conversation_id: ConversationId,
    /// The customer's message that led to it.
    pub question_id: MessageId,
    /// The agent's message that said that a person is asked.
    pub message_id: MessageId,
    /// The kind of tool.
    pub kind: ToolKind,
    /// The tool's name, as the model knows it.
    pub tool: String,
    /// Where the call goes, without its arguments: `POST https://api.example.com/bookings`.
    pub target: String,
    /// What it is called with, checked; without secrets.
    pub arguments: Value,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// Who decided.
    pub decided_by: Option<ApiKeyId>,
    /// What who decided said about it; the model is told.
    pub note: Option<String>,
    /// When it was decided, or its time was over.
    pub decided_at: Option<Timestamp>,
    /// The agent's further message, once it is stored.
    pub answer_id: Option<MessageId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on nobody can decide any more.
    pub expires_at: Timestamp,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalStatus {
    /// Nobody has decided.
    Waiting,
    /// Allowed; the call is being made, or the model is telling what came of it.
    Approved,
    /// Not allowed.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Allowed, and the customer has the answer.
    Done,
    /// Nothing came of it: see the error.
    Failed,
}

impl ApprovalStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Approved, Self::Denied, Self::Expired, Self::Done, Self::Failed];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
