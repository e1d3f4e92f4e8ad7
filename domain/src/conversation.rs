//! Conversations and who answers in them.

use crate::{AgentId, ContactId, ConversationId, ProjectId, Timestamp, VisitorId, WorkspaceId};

/// A conversation between a customer and an agent or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// The agent that it is with.
    pub agent_id: AgentId,
    /// Where it takes place.
    pub channel: Channel,
    /// The site or app that it began on.
    pub project_id: Option<ProjectId>,
    /// The caller's name for the customer.
    pub visitor_id: Option<VisitorId>,
    /// The customer, once known.
    pub contact_id: Option<ContactId>,
    /// Where it stands.
    pub status: ConversationStatus,
    /// Who answers.
    pub handler: Handler,
    /// The first words of it.
    pub title: String,
    /// Messages in it.
    pub messages_count: i64,
    /// Only messages with a greater sequence number enter a prompt: set when it goes back to the agent.
    pub context_after: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last closed.
    pub closed_at: Option<Timestamp>,
}

impl Conversation {
    /// Whether it is over, unless the customer comes back.
    pub fn is_closed(&self) -> bool {
        self.status == ConversationStatus::Closed
    }
}

/// Where a conversation takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// By API.
    Api,
    /// From the command line.
    Cli,
    /// In the widget of a site or app.
    Web,
    /// By WhatsApp.
    Whatsapp,
    /// By direct messages of Instagram.
    Instagram,
    /// By Messenger.
    Facebook,
    /// By e-mail.
    Email,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 7] = [
        Self::Api,
        Self::Cli,
        Self::Web,
        Self::Whatsapp,
        Self::Instagram,
        Self::Facebook,
        Self::Email,
    ];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Web => "web",
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
            Self::Email => "email",
        }
    }
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConversationStatus {
    /// Going on.
    Open,
    /// Waiting for a person.
    Pending,
    /// Closed.
    Closed,
}

impl ConversationStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Open, Self::Pending, Self::Closed];

    /// As stored; v2 has words of its own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Closed => "closed",
        }
    }
}

/// Who answers. While it is not `Bot`, no AI, flow or automation may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handler {
    /// The agent.
    Bot,
    /// Nobody yet: a person was requested.
    Queue,
    /// A person.
    Operator,
}

impl Handler {
    /// Every handler.
    pub const ALL: [Self; 3] = [Self::Bot, Self::Queue, Self::Operator];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Queue => "queue",
            Self::Operator => "operator",
        }
    }
}

/// What can happen to a conversation. One transition function serves every surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The customer asked for a person, or the agent cannot help.
    RequestHuman,
    /// A person closes it, or the agent finds it resolved.
    Close,
    /// A person reopens it.
    Reopen,
    /// The customer writes again after it was closed.
    CustomerReturns,
    /// A person marks it as waiting.
    MarkPending,
    /// A person answers, or says that they will.
    TakeOver,
    /// A person is given it.
    Assign,
    /// The person gives it back to the agent.
    HandBack,
}

/// Status and handler after `transition`. Closing keeps the handler; reopening by the customer gives the
/// conversation back to the agent; whoever has it in hand, nobody waits for a person any more.
pub fn apply(
    status: ConversationStatus,
    handler: Handler,
    transition: Transition,
) -> (ConversationStatus, Handler) {
    match transition {
        Transition::RequestHuman if handler == Handler::Operator => (status, handler),
        Transition::RequestHuman => (ConversationStatus::Pending, Handler::Queue),
        Transition::Close => (ConversationStatus::Closed, handler),
        Transition::Reopen => (ConversationStatus::Open, handler),
        Transition::CustomerReturns if status == ConversationStatus::Closed => {
            (ConversationStatus::Open, Handler::Bot)
        }
        Transition::CustomerReturns => (status, handler),
        Transition::MarkPending => (ConversationStatus::Pending, handler),
        Transition::Assign if status == ConversationStatus::Closed => (status, Handler::Operator),
        // Nobody is waited for any more.
        Transition::TakeOver | Transition::Assign => (ConversationStatus::Open, Handler::Operator),
        Transition::HandBack if status == ConversationStatus::Closed => (status, Handler::Bot),
        Transition::HandBack => (ConversationStatus::Open, Handler::Bot),
    }
}
