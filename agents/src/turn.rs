//! One turn of a conversation.

use std::sync::Arc;

use domain::contact::ContactDetails;
use domain::conversation::{Channel, ConversationStatus, Handler};
use domain::message::{Citation, MessageState, Outcome};
use domain::settings::AgentDefaults;
use domain::{AgentId, Ambient, ConversationId, DomainError, MessageId, VisitorId, WorkspaceId};
use models::ChatModel;
use retrieval::Retrieval;
use storage::Db;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What turns need.
#[derive(Debug, Clone)]
pub struct AgentsOptions {
    /// Limits and defaults.
    pub defaults: AgentDefaults,
    /// The provider's model; `None` means the built-in answerer.
    pub chat: Option<Arc<dyn ChatModel>>,
    /// The model that agents without one of their own use.
    pub default_model: Option<String>,
}

/// Runs turns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents {}

/// A message from a customer. Checked at the edge.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The agent that is asked.
    pub agent: AgentId,
    /// What the customer says, 1 to 8,000 characters.
    pub query: String,
    /// The conversation that goes on; `None` begins one.
    pub conversation: Option<ConversationId>,
    /// The caller's name for the customer.
    pub visitor: Option<VisitorId>,
    /// What is known of the customer.
    pub contact: ContactDetails,
    /// Where it takes place.
    pub channel: Channel,
    /// The caller's own id of this message, so that a repeated request is one message.
    pub client_id: Option<String>,
}

/// A turn under way. Dropping it cancels the model call; what was produced so far is stored as interrupted.
#[derive(Debug)]
pub struct Turn {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The id that the answer has, or will have.
    pub message: MessageId,
    /// What happens, in order; ends after `Done` or `Error`. Bounded: a reader that does not read holds up
    /// the turn, never the memory.
    pub events: mpsc::Receiver<TurnEvent>,
}

/// What happens in a turn.
#[derive(Debug, Clone)]
pub enum TurnEvent {
    /// A passage that the answer may cite; all before the first token.
    Source(TurnSource),
    /// A piece of the answer. Joined they are `Answer::text`.
    Token(String),
    /// The whole answer; the last event.
    Done(Box<Answer>),
    /// The turn failed; the last event.
    Error(DomainError),
}

/// A passage that an answer may cite.
#[derive(Debug, Clone)]
pub struct TurnSource {
    /// As it would be stored; `citation.marker` is the `[n]` of the text.
    pub citation: Citation,
}

/// The whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The conversation.
    pub conversation: ConversationId,
    /// The stored answer; while a person has the conversation there is none and this is the customer's message.
    pub message: MessageId,
    /// The text, with `[n]` markers; empty while a person has the conversation.
    pub text: String,
    /// The passages that the text cites, in order of first use; none for an abstention.
    pub citations: Vec<Citation>,
    /// What kind of answer; `None` while a person has the conversation.
    pub outcome: Option<Outcome>,
    /// Who answers in the conversation after this turn.
    pub handler: Handler,
    /// Whether the text is whole; `Interrupted` after `Agents::stop`.
    pub state: MessageState,
    /// Where the conversation stands after this turn.
    pub status: ConversationStatus,
    /// The model that wrote it: `builtin-extractive` without a provider.
    pub model: String,
}

impl Agents {
    /// Turns over the given parts; turns under way are tracked by `tracker` and end with `stop`.
    pub fn new(
        db: Db,
        retrieval: Retrieval,
        ambient: Ambient,
        options: AgentsOptions,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let _ = (db, retrieval, ambient, options, tracker, stop);
        todo!()
    }

    /// Begins a turn: stores the customer's message, then works in a task of its own. Errors that are the
    /// caller's (404, 409, 400) come from here, before anything is streamed.
    pub async fn start(&self, request: TurnRequest) -> Result<Turn, DomainError> {
        let _ = request;
        todo!()
    }

    /// Stops the turn that is writing `message`; `false` when there is none in this workspace.
    pub async fn stop(
        &self,
        workspace: WorkspaceId,
        message: MessageId,
    ) -> Result<bool, DomainError> {
        let _ = (workspace, message);
        todo!()
    }

    /// Whether an agent may name this model: 400 `modelName` when the provider does not know it.
    pub async fn check_model(&self, model: &str) -> Result<(), DomainError> {
        let _ = model;
        todo!()
    }
}
