//! One turn of a conversation.

use std::sync::Arc;

use domain::agent::{Agent, ToolKind};
use domain::contact::ContactDetails;
use domain::conversation::{Channel, ConversationStatus, Handler};
use domain::message::{Citation, MessageState, Outcome};
use domain::settings::AgentDefaults;
use domain::{AgentId, Ambient, ConversationId, DomainError, MessageId, VisitorId, WorkspaceId};
use models::{ChatModel, builtin};
use retrieval::Retrieval;
use storage::Db;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::begin::{self, Admission, Reading};
use crate::queue::{KeyedLocks, Queue};
use crate::running::Running;

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
pub struct Agents {
    inner: Arc<Inner>,
}

/// What all turns share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) retrieval: Retrieval,
    pub(crate) ambient: Ambient,
    pub(crate) options: AgentsOptions,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) queue: Arc<Queue>,
    pub(crate) admissions: KeyedLocks<Admission>,
    pub(crate) running: Arc<Running>,
}

impl Inner {
    /// The provider's model and the name to ask it under; `None` when the built-in answerer answers: there
    /// is no provider, or the agent names the built-in one.
    pub(crate) fn provider<'a>(&'a self, agent: &'a Agent) -> Option<(&'a dyn ChatModel, &'a str)> {
        let chat = self.options.chat.as_deref()?;
        let named = agent.model_name.as_deref().filter(|name| !name.is_empty());
        let name = named.or(self.options.default_model.as_deref())?;
        (name != builtin::MODEL_NAME).then_some((chat, name))
    }

    /// The model that answers for `agent`.
    pub(crate) fn model_name<'a>(&'a self, agent: &'a Agent) -> &'a str {
        self.provider(agent).map_or(builtin::MODEL_NAME, |(_, name)| name)
    }
}

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
    /// A tool did its work; before the first token.
    Tool(ToolKind),
    /// A passage that the answer may cite; all before the first token.
    Source(Box<TurnSource>),
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
    /// Turns over the given parts. Turns under way are tracked by `tracker`. `stop` is for the end of a
    /// shutdown's grace: until it is cancelled turns end by themselves, then what they have produced is
    /// stored as interrupted at once.
    pub fn new(
        db: Db,
        retrieval: Retrieval,
        ambient: Ambient,
        options: AgentsOptions,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let running = Arc::new(Running::new(&ambient));
        let inner = Inner {
            db,
            retrieval,
            ambient,
            options,
            tracker,
            stop,
            queue: Arc::default(),
            admissions: KeyedLocks::default(),
            running,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a turn: stores the customer's message, then works in a task of its own. Errors that are the
    /// caller's come from here, before anything is streamed: 404 for an agent or conversation that is
    /// absent, another tenant's or another agent's; 409 `AGENT_PAUSED`; 409 `CONFLICT` when the same
    /// `client_id` is being answered already; 503 `CONVERSATION_BUSY` when too many messages wait. A
    /// repeated `client_id` whose answer is stored gives the stored answer again.
    pub async fn start(&self, request: TurnRequest) -> Result<Turn, DomainError> {
        begin::begin(&self.inner, request, Reading::Stream).await
    }

    /// As [`start`](Self::start), for a caller that wants the whole answer at once: the only event is the
    /// last one. When a person takes the conversation over meanwhile, it is the empty answer of a
    /// conversation that a person has (a stream that has begun ends with `TAKEN_OVER` instead).
    pub async fn start_whole(&self, request: TurnRequest) -> Result<Turn, DomainError> {
        begin::begin(&self.inner, request, Reading::Whole).await
    }

    /// Stops the turn that is writing `message` in this process; `false` when there is none in this
    /// workspace. The turn stores what was produced as interrupted and ends with `Done` carrying it.
    #[expect(clippy::unused_async, reason = "turns of other processes are reached by the database")]
    pub async fn stop(
        &self,
        workspace: WorkspaceId,
        message: MessageId,
    ) -> Result<bool, DomainError> {
        Ok(self.inner.running.stop(workspace, message))
    }

    /// Whether an agent may name this model: 400 `modelName` when the provider does not know it. Without a
    /// provider every name is taken, for the day there is one; until then the built-in answerer answers.
    pub async fn check_model(&self, model: &str) -> Result<(), DomainError> {
        let Some(chat) = &self.inner.options.chat else { return Ok(()) };
        if model == builtin::MODEL_NAME || chat.knows(model).await? {
            return Ok(());
        }
        let words =
            format!("`modelName` {model} is not known to the model provider; choose one it lists");
        Err(DomainError::invalid("modelName", words))
    }
}
