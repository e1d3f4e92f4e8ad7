//! One turn of a conversation.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::agent::ToolKind;
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, ConversationStatus, Handler};
use domain::message::{Citation, MessageState, Outcome, ToolStatus, ToolUse};
use domain::settings::{AgentDefaults, ModelSettings};
use domain::vault::Vault;
use domain::{
    AgentId, Ambient, ApiKeyId, ConversationId, DatastoreId, DomainError, ErrorKind, MessageId,
    ProjectId, VisitorId, WorkspaceId,
};
use models::{Catalogue, ChatModel, ModelError};
use retrieval::Retrieval;
use storage::audit::{Author, Change};
use storage::providers::Provider;
use storage::{Conn, Db, Tx, conversations};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::approve;
use crate::begin::{self, Admission, Begun, Reading, Taking};
use crate::files::SentFile;
use crate::images::SeenImage;
use crate::likeness::Analysed;
use crate::meaning::Vectors;
use crate::providers::Providers;
use crate::queue::{KeyedLocks, Queue};
use crate::running::Running;
use crate::streams::{self, Joined, Render, Resumable};
use crate::supplied::Earlier;
use crate::tools::mcp::Listings;
use crate::trace::TurnObserver;

/// What turns need.
#[derive(Debug, Clone)]
pub struct AgentsOptions {
    /// Limits and defaults.
    pub defaults: AgentDefaults,
    /// The provider's model; `None` means the built-in answerer.
    pub chat: Option<Arc<dyn ChatModel>>,
    /// The model that agents without one of their own use.
    pub default_model: Option<String>,
    /// What is known of models: prices, sizes.
    pub catalogue: Catalogue,
    /// What tools reach addresses by that operators declared.
    pub fetch: fetch::Client,
    /// Opens the secrets of tools and providers.
    pub vault: Vault,
    /// Time limits and tries of the workspaces' own providers.
    pub models: ModelSettings,
    /// Is told of every turn that has ended.
    pub observer: Option<Arc<dyn TurnObserver>>,
}

/// Runs turns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents {
    pub(crate) inner: Arc<Inner>,
    /// Whom the audit log names; the server's own doings are not in it.
    author: Option<Arc<Author>>,
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
    pub(crate) providers: Providers,
    pub(crate) listings: Listings,
    pub(crate) analysed: Analysed,
    pub(crate) vectors: Vectors,
}

/// A datastore that an agent may search.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KnownDatastore {
    pub(crate) id: DatastoreId,
    pub(crate) name: String,
}

/// A message from a customer. Checked at the edge.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The agent that is asked.
    pub agent: AgentId,
    /// Which configuration of it answers; anything but the published one is a trial, which leaves no gaps.
    pub edition: Edition,
    /// What the customer says, 1 to 8,000 characters; may be empty where `files` say it.
    pub query: String,
    /// Uploads of `visitor` that go with it. 404 for one that is not theirs, 409 `ATTACHMENT_USED` for one that was sent.
    pub files: Vec<SentFile>,
    /// The fields of a form that came with it, by name: noted as a lead, with `contact`. Empty where there was none.
    pub lead: BTreeMap<String, String>,
    /// What the customer shows beside it, at most [`MAX_IMAGES`](crate::MAX_IMAGES); 400 `images` when the model that
    /// answers does not see.
    pub images: Vec<SeenImage>,
    /// The conversation that goes on; `None` begins one.
    pub conversation: Option<ConversationId>,
    /// What was said before, oldest first, when the caller keeps the conversation itself; only for a
    /// conversation that begins. It is context of this turn, and is not stored.
    pub history: Vec<Earlier>,
    /// The caller's name for the customer.
    pub visitor: Option<VisitorId>,
    /// What is known of the customer.
    pub contact: ContactDetails,
    /// Where it takes place.
    pub channel: Channel,
    /// The site or app that it takes place on; its pages' facts are noted on a conversation that begins.
    pub project: Option<ProjectId>,
    /// The caller's own id of this message, so that a repeated request is one message.
    pub client_id: Option<String>,
    /// The key that asks, for the ledger and the budgets.
    pub api_key: Option<ApiKeyId>,
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
    /// A tool is at work, or was.
    Tool(ToolStep),
    /// A passage that the answer may cite; before the token that may do so. All come before the first token,
    /// unless the model searches again after it has begun to write.
    Source(Box<TurnSource>),
    /// A piece of the answer. Joined they are `Answer::text`.
    Token(String),
    /// The whole answer; the last event.
    Done(Box<Answer>),
    /// The turn failed; the last event.
    Error(DomainError),
}

/// How a tool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolStep {
    /// The kind of tool.
    pub kind: ToolKind,
    /// The name that the operator gave it; the kind's own where operators name none.
    pub name: String,
    /// How far it is.
    pub phase: ToolPhase,
}

impl ToolStep {
    /// A use that is over.
    pub(crate) fn of(used: ToolUse) -> Self {
        let phase = match used.status {
            ToolStatus::Done => ToolPhase::Done,
            ToolStatus::Failed => ToolPhase::Failed,
            ToolStatus::Waiting => ToolPhase::Waiting,
        };
        Self { kind: used.kind, name: used.name, phase }
    }
}

/// How far a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolPhase {
    /// At work.
    Running,
    /// It did its work.
    Done,
    /// It did not.
    Failed,
    /// It waits for a person's word.
    Waiting,
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
    /// The tools that were used, in the order of the calls.
    pub tools: Vec<ToolUse>,
    /// The numbers, dates, prices, percentages, hours and codes of the text that stand in no passage it cites nor
    /// in what the customer said, as the text writes them.
    pub unsupported: Vec<String>,
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
            providers: Providers::new(&options, &ambient),
            db,
            retrieval,
            ambient,
            options,
            tracker,
            stop,
            queue: Arc::default(),
            admissions: KeyedLocks::default(),
            running,
            listings: Listings::default(),
            analysed: Analysed::default(),
            vectors: Vectors::default(),
        };
        Self { inner: Arc::new(inner), author: None }
    }

    /// The same, whose changes are written into the audit log as somebody's.
    #[must_use]
    pub fn signed(&self, author: Author) -> Self {
        self.signed_by(Some(Arc::new(author)))
    }

    /// Likewise, where it is somebody's.
    #[must_use]
    pub fn signed_by(&self, author: Option<Arc<Author>>) -> Self {
        Self { author, inner: self.inner.clone() }
    }

    /// Writes a change into the audit log, where it is somebody's.
    pub(crate) async fn note(&self, tx: &mut Tx, change: Change) -> storage::Result<()> {
        match &self.author {
            Some(author) => author.note(tx, &self.inner.ambient, change).await,
            None => Ok(()),
        }
    }

    /// The name that this process holds turns under.
    pub fn owner(&self) -> &str {
        &self.inner.running.owner
    }

    /// Begins a turn: stores the customer's message, then works in a task of its own. Errors that are the
    /// caller's come from here, before anything is streamed: 404 for an agent or conversation that is
    /// absent, another tenant's or another agent's; 409 `AGENT_PAUSED`; 409 `CONFLICT` when the same
    /// `client_id` is being answered already; 402 `USAGE_LIMIT`, for a visitor's 429 `RATE_LIMITED`, when a budget is
    /// used up; 503 `CONVERSATION_BUSY` when too many messages wait. A repeated `client_id` whose answer is stored
    /// gives the stored answer again.
    pub async fn start(&self, request: TurnRequest) -> Result<Turn, DomainError> {
        begin::begin(&self.inner, request, Reading::Stream).await
    }

    /// As [`start`](Self::start), for a caller that wants the whole answer at once: the only event is the
    /// last one. When a person takes the conversation over meanwhile, it is the empty answer of a
    /// conversation that a person has (a stream that has begun ends with `TAKEN_OVER` instead).
    pub async fn start_whole(&self, request: TurnRequest) -> Result<Turn, DomainError> {
        begin::begin(&self.inner, request, Reading::Whole).await
    }

    /// As [`start`](Self::start), for a turn that goes on when its reader leaves and can be joined again, by its message,
    /// on any process ([`join`](Self::join)). Its events are kept in the words of `render`. A repeated `client_id` joins the
    /// turn that answers it already.
    pub async fn start_resumable(
        &self,
        request: TurnRequest,
        render: Render,
    ) -> Result<Resumable, DomainError> {
        let taking = Taking { reading: Reading::Stream, recorded: Some(render) };
        Ok(match begin::begin_as(&self.inner, request, taking).await? {
            Begun::Turn(turn) => Resumable::Told(turn),
            Begun::Recorded(follow) => Resumable::Following(follow),
        })
    }

    /// Joins the turn of `agent` that writes, or wrote, `message`, on whichever process it runs, after the event with
    /// the id `after` (0 means from the start). `None` when there was none that can be rejoined. Some time after its
    /// end what is left of it is the stored answer: it is told once more, or to who has seen a part of it, its end.
    pub async fn join(
        &self,
        workspace: WorkspaceId,
        agent: AgentId,
        message: MessageId,
        after: i64,
        render: Render,
    ) -> Result<Option<Joined>, DomainError> {
        streams::join(&self.inner, workspace, agent, message, after, render).await
    }

    /// Stops the turn of `agent` that is writing `message`, in whichever process of this database it runs; `false`
    /// when there is none. The turn stores what was produced as interrupted and ends with `Done` carrying it. Of
    /// another process a turn that waits for another to end is found only if it can be rejoined. A turn that waits for
    /// a person's word, told by `message`, does not go on: its call is not made any more, and nothing more is said.
    pub async fn stop(
        &self,
        workspace: WorkspaceId,
        agent: AgentId,
        message: MessageId,
    ) -> Result<bool, DomainError> {
        let Inner { running, db, ambient, .. } = &*self.inner;
        if running.stop(workspace, agent, message) {
            return Ok(true);
        }
        // It may have run here and be over; only its last events are not stored yet.
        let is_over = running.log(workspace, agent, message).is_some();
        let mut tx = db.write().await?;
        let now = ambient.now();
        let found = !is_over
            && (conversations::want_stop(&mut tx, workspace, agent, message, now).await?
                || storage::streams::want_stop(&mut tx, workspace, agent, message, now).await?);
        let waited = approve::stop(&mut tx, workspace, agent, message, now).await?;
        tx.commit().await?;
        if let Some(going_on) = waited.and_then(|question| running.answering(question)) {
            running.stop_own(going_on);
        }
        Ok(found || waited.is_some())
    }

    /// Whether an agent of the workspace may name this model: 400 `modelName` when no provider knows it. Without a
    /// provider every name is taken, for the day there is one; until then the built-in answerer answers.
    pub async fn check_model(
        &self,
        workspace: WorkspaceId,
        model: &str,
    ) -> Result<(), DomainError> {
        self.inner.check_model(workspace, model).await
    }

    /// The model that answers for an agent of the workspace that names none: `builtin-extractive` without a provider.
    pub async fn default_model(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
    ) -> Result<String, DomainError> {
        Ok(self.inner.default_model(conn, workspace).await?)
    }

    /// An address that tools and providers may have, normalised, as far as that can be told without the network; else why
    /// not.
    pub fn check_address(&self, address: &str) -> Result<Url, String> {
        let fetch = self.inner.options.fetch.settings();
        fetch::check_url(address, fetch).map_err(|error| error.message)
    }

    /// The names that a provider lists, which it is asked for now: `None` when it has no list.
    ///
    /// Errors: 400 `baseUrl` when its address is not allowed; 503 when it cannot be asked.
    pub async fn listed_models(
        &self,
        workspace: WorkspaceId,
        provider: &Provider,
    ) -> Result<Option<Vec<String>>, DomainError> {
        let client = self.inner.providers.connect(workspace, provider).map_err(provider_error)?;
        client.list().await.map_err(provider_error)
    }

    /// Tells this process that the providers of a workspace were changed; others notice within seconds.
    pub fn providers_changed(&self, workspace: WorkspaceId) {
        self.inner.providers.forget(workspace);
    }
}

/// What the owner of a provider is told of its failure: in its own words, since they are who can mend it.
fn provider_error(error: ModelError) -> DomainError {
    match error {
        ModelError::Credential(_) | ModelError::Refused(_) => {
            let message = format!("the provider cannot be used: {error}");
            DomainError::new(ErrorKind::Unavailable, "PROVIDER_REFUSED", message)
        }
        other => other.into(),
    }
}
