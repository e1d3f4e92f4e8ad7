//! The beginning of a turn: what the caller can be told at once, and the one transaction that stores the
//! customer's message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::agent::{Agent, AgentStatus, ToolKind};
use domain::agent_version::{AnsweredFrom, Edition};
use domain::budget::{Budget, Payer};
use domain::conversation::{Conversation, ConversationStatus, Handler, Transition};
use domain::datastore::Datastore;
use domain::message::{Author, Message, MessageState};
use domain::{
    AgentId, ApiKeyId, ContactId, ConversationId, DatastoreId, DomainError, MessageId, Timestamp,
    VisitorId, WorkspaceId,
};
use models::builtin::{self, Intent};
use models::{Catalogue, Image};
use storage::agents::{AgentAtWork, DefaultDatastore};
use storage::budgets::Hold;
use storage::datastores::Revisions;
use storage::messages::NewMessage;
use storage::streams::{NewStream, StreamState, TurnStream};
use storage::{
    Conn, StorageError, Tx, agents, budgets, citations, contacts, conversations, datastores,
    messages, spending, streams, versions, visits,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::context;
use crate::files::{self, TurnFile};
use crate::images::SeenImage;
use crate::left;
use crate::model::{Candidate, TurnModel};
use crate::prepare::{self, Early, Said};
use crate::run::{self, Work};
use crate::running::{LEASE, TurnKey};
use crate::spend::{Meter, Spending, expected};
use crate::streams::{Follow, Render, events_of, joined_from_start, record};
use crate::supplied::Earlier;
use crate::tools::{Note, fields_of, lead_settings, note_lead};
use crate::turn::{Answer, Inner, KnownDatastore, Turn, TurnEvent, TurnRequest};

/// Events that wait for a slow reader; then the turn waits.
const WAITING_EVENTS: usize = 32;

/// How much longer than a turn can take its part of a budget is held: for what storing takes.
const HOLD_MARGIN: Duration = Duration::from_mins(2);

/// Longest title of a conversation, in characters.
const MAX_TITLE: usize = 80;

/// How the caller takes the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Event by event.
    Stream,
    /// The last event only.
    Whole,
}

/// What a caller wants of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    pub(crate) reading: Reading,
    /// The turn goes on without a reader, and its events are kept in these words.
    pub(crate) recorded: Option<Render>,
}

/// A turn that has begun.
pub(crate) enum Begun {
    Turn(Turn),
    /// It goes on without a reader.
    Recorded(Follow),
}

/// The parts of a turn that is stored with its question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewTurn {
    pub(crate) conversation: ConversationId,
    pub(crate) answer: MessageId,
    /// Nobody in this process is before it.
    pub(crate) first: bool,
    /// It goes on without a reader.
    pub(crate) recorded: bool,
}

/// Requests that must not begin at the same time: those of one conversation, so that turns are in the
/// order of their messages, and repetitions of one request that names no conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Admission {
    Conversation(ConversationId),
    Request(WorkspaceId, AgentId, String),
}

/// What was looked up before anything is written.
struct Known {
    /// As the edition has it that was asked for.
    agent: Agent,
    asked_of: AskedOf,
    /// `None` when the agent has no datastore tool.
    datastores: Option<Vec<KnownDatastore>>,
    /// The models that may answer, first choice first.
    candidates: Vec<Candidate>,
    /// Every budget of the workspace.
    budgets: Vec<Budget>,
    /// What the turn uses; its search may run already.
    meter: Arc<Meter>,
}

impl Known {
    /// The model that answers, if nothing goes wrong.
    fn model_name(&self) -> &str {
        self.candidates.first().map_or(builtin::MODEL_NAME, |first| &first.name)
    }

    /// Leaves out the models that take no images.
    fn keep_those_who_see(&mut self, catalogue: &Catalogue) -> Result<(), DomainError> {
        let first = self.model_name().to_owned();
        self.candidates.retain(|candidate| catalogue.sees(&candidate.name));
        if self.candidates.is_empty() {
            let message = format!(
                "`images`: the agent's model {first} is not known to take images; give the agent one that does, or describe it in models.catalogue"
            );
            return Err(DomainError::invalid("images", message));
        }
        Ok(())
    }

    /// Who pays for a turn of `conversation`, and which parts of the budgets it needs.
    fn spending(
        &self,
        inner: &Inner,
        conversation: &Conversation,
        api_key: Option<ApiKeyId>,
        said: &str,
    ) -> Spending {
        let visitor = conversation.visitor_id.as_ref().map(ToString::to_string);
        let contact = || conversation.contact_id.map(|contact| contact.to_string());
        let payer =
            Payer { agent: Some(self.agent.id), api_key, visitor: visitor.or_else(contact) };
        let first = self.candidates.first().map(|first| first.name.as_str());
        let expected = expected(&inner.options.catalogue, first, &self.agent.settings, said);
        let holds = spending::plan(&self.budgets, &payer, expected, inner.ambient.now());
        Spending { payer, holds, meter: self.meter.clone() }
    }

    /// The model of a turn; `None` when the built-in answerer answers.
    fn turn_model(&mut self, inner: &Inner, spending: &Spending) -> Option<TurnModel> {
        let candidates = std::mem::take(&mut self.candidates);
        TurnModel::new(candidates, inner.options.catalogue.clone(), spending.meter.clone())
    }
}

enum Stored {
    /// The message is stored; `locked` says whether the turn is taken.
    New { conversation: Conversation, question: Message, locked: bool, spending: Box<Spending> },
    /// The message was stored by an earlier request; nothing was changed.
    Before(Message),
}

/// Begins a turn that ends when its reader leaves.
pub(crate) async fn begin(
    inner: &Arc<Inner>,
    request: TurnRequest,
    reading: Reading,
) -> Result<Turn, DomainError> {
    match begin_as(inner, request, Taking { reading, recorded: None }).await? {
        Begun::Turn(turn) => Ok(turn),
        // Made only of what is to be recorded.
        Begun::Recorded(_) => Err(run::internal()),
    }
}

/// Begins a turn.
pub(crate) async fn begin_as(
    inner: &Arc<Inner>,
    request: TurnRequest,
    taking: Taking,
) -> Result<Begun, DomainError> {
    if inner.stop.is_cancelled() {
        return Err(run::shutting_down());
    }
    let began = Instant::now();
    let (mut known, said, early) = look_up(inner, &request).await?;
    if !request.images.is_empty() {
        known.keep_those_who_see(&inner.options.catalogue)?;
    }
    let sent = Sent::of(&request, &mut known, &inner.options.catalogue);
    let admission = match (request.conversation, &request.client_id) {
        (Some(conversation), _) => Some(Admission::Conversation(conversation)),
        (None, Some(id)) => Some(Admission::Request(request.workspace, request.agent, id.clone())),
        (None, None) => None,
    };
    let _admitted = match admission {
        Some(key) => Some(inner.admissions.lock(key).await),
        None => None,
    };
    if let Some(question) = asked_before(inner, &request).await? {
        return again(inner, known, question, Asked::of(request, sent), taking, began).await;
    }
    let id = request.conversation.unwrap_or_else(|| inner.ambient.new_id());
    let place = inner.queue.enter(id).map_err(|_| busy())?;
    let answer = inner.ambient.new_id();
    let (first, recorded) = (place.is_first(), taking.recorded.is_some());
    let turn = NewTurn { conversation: id, answer, first, recorded };
    let stored = store(inner, &known, &request, &said, turn).await?;
    let (conversation, question, locked, spending) = match stored {
        Stored::New { conversation, question, locked, spending } => {
            (conversation, question, locked, *spending)
        }
        Stored::Before(question) => {
            drop(place);
            return again(inner, known, question, Asked::of(request, sent), taking, began).await;
        }
    };
    if conversation.handler != Handler::Bot {
        return Ok(Begun::Turn(silent(&conversation, &question, known.model_name())));
    }
    let (workspace, agent) = (request.workspace, request.agent);
    let key = TurnKey { workspace, agent, conversation: id, question: question.id, answer };
    let registration = inner.running.register(key, &inner.stop).ok_or_else(still_answering)?;
    let (events, receiver) = mpsc::channel(WAITING_EVENTS);
    let work = Work {
        inner: inner.clone(),
        model: known.turn_model(inner, &spending),
        spending,
        agent: known.agent,
        asked_of: known.asked_of,
        datastores: known.datastores,
        said,
        // What was read before an answer under way was stored is not all there is.
        early: early.filter(|early| locked || matches!(early, Early::Search(_))),
        images: sent.images,
        files: sent.files,
        fresh: request.conversation.is_none(),
        supplied: request.history,
        conversation,
        question,
        answer,
        place,
        registration,
        events,
        reading: taking.reading,
        locked,
        repeated: false,
        began,
    };
    start_task(work);
    Ok(hand_over(inner, key, receiver, taking))
}

/// The search for a question that stands alone because nothing was said before it: it needs nothing of what
/// is stored, so it runs beside the storing. Dropping it ends it.
fn early_search(
    inner: &Arc<Inner>,
    agent: &Agent,
    (datastores, revisions): (Option<&[KnownDatastore]>, &[Revisions]),
    request: &TurnRequest,
    said: &Said,
    (meter, budgets): (&Meter, i64),
) -> Option<Early> {
    let datastores = datastores?;
    // What costs something waits until it is known that there is money, that the request is no repetition, and that
    // nobody asks who was blocked.
    let is_nobody = request.visitor.is_none() && request.contact.is_empty();
    let is_sure = budgets == 0 && request.client_id.is_none() && is_nobody;
    if !is_sure && inner.retrieval.paid_model().is_some() {
        return None;
    }
    // What is shown says what is meant.
    let shows = !request.images.is_empty() || !request.files.is_empty();
    if !request.history.is_empty() || shows || said.intent != Intent::Question {
        return None;
    }
    let ids: Vec<DatastoreId> = datastores.iter().map(|datastore| datastore.id).collect();
    let query = prepare::search_query(agent, &ids, &request.query);
    let at = |id: &DatastoreId| revisions.iter().find(|known| known.id == *id).copied();
    // Of all of them or of none: what one statement read is of one moment.
    let known: Option<Vec<Revisions>> = ids.iter().map(at).collect();
    let (retrieval, workspace) = (inner.retrieval.clone(), request.workspace);
    let tally = meter.tally().clone();
    let search = async move {
        tally.over(Box::pin(retrieval.search_knowing(workspace, &query, known))).await
    };
    Some(Early::Search(AbortOnDropHandle::new(inner.tracker.spawn(search))))
}

/// What was said before, read beside the storing of the question.
fn early_history(inner: &Inner, workspace: WorkspaceId, id: ConversationId) -> Early {
    let db = inner.db.clone();
    let reading = async move {
        let mut conn = db.read().await?;
        messages::recent(&mut conn, workspace, id, 0, context::MAX_MESSAGES).await
    };
    Early::History(AbortOnDropHandle::new(inner.tracker.spawn(reading)))
}

/// Agent, datastores, budgets and models, by one read connection; what the message says of itself, which is found out
/// while the first of them is on its way; and the search that can begin as soon as the first two are known.
async fn look_up(
    inner: &Arc<Inner>,
    request: &TurnRequest,
) -> Result<(Known, Said, Option<Early>), DomainError> {
    let workspace = request.workspace;
    let mut conn = inner.db.read().await?;
    let finding = agents::at_work(&mut conn, workspace, request.agent);
    let (found, said) = tokio::join!(finding, async { Said::new(&request.query) });
    let found = found?.ok_or_else(|| DomainError::not_found("agent"))?;
    let AgentAtWork { agent, defaults, budgets } = found;
    let is_evaluated = matches!(request.edition, Edition::Given(_));
    if agent.status != AgentStatus::Active && !is_evaluated {
        return Err(paused(agent.status));
    }
    let (agent, asked_of) = as_edition(&mut conn, agent, &request.edition).await?;
    let revisions: Vec<Revisions> = defaults.iter().map(|default| default.revisions).collect();
    let datastores = datastores_among(&mut conn, &agent, Some(defaults)).await?;
    let meter = Arc::new(Meter::default());
    let early = match request.conversation {
        None => {
            let paid = (&*meter, budgets);
            let datastores = (datastores.as_deref(), revisions.as_slice());
            early_search(inner, &agent, datastores, request, &said, paid)
        }
        Some(id) if request.history.is_empty() => Some(early_history(inner, workspace, id)),
        Some(_) => None,
    };
    let budgets =
        if budgets == 0 { Vec::new() } else { budgets::list(&mut conn, workspace).await? };
    let candidates = inner.candidates(&mut conn, &agent).await?;
    let known = Known { agent, asked_of, datastores, candidates, budgets, meter };
    Ok((known, said, early))
}

/// Which configuration of its agent a turn goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedOf {
    pub(crate) from: AnsweredFrom,
    /// Anything but the published one is tried by somebody, or evaluated: no customer asked.
    pub(crate) is_trial: bool,
}

/// The agent as an edition has it: 404 when there is no such draft or version.
pub(crate) async fn as_edition(
    conn: &mut Conn,
    agent: Agent,
    edition: &Edition,
) -> Result<(Agent, AskedOf), DomainError> {
    let (workspace, id, published) = (agent.workspace_id, agent.id, agent.version);
    let (agent, version, draft) = match edition {
        Edition::Published => (agent, published, None),
        Edition::Draft => {
            let draft = versions::draft(conn, workspace, id).await?;
            let draft = draft.ok_or_else(|| DomainError::not_found("draft"))?;
            (agent.with_config(draft.config), draft.base_version, Some(draft.revision))
        }
        Edition::Version(number) => {
            let version = versions::get(conn, workspace, id, *number).await?;
            let version = version.ok_or_else(|| DomainError::not_found("version"))?;
            (agent.with_config(version.config), *number, None)
        }
        Edition::Given(config) => (agent.with_config(*config.clone()), published, None),
    };
    let is_trial = *edition != Edition::Published;
    Ok((agent, AskedOf { from: AnsweredFrom { version, draft }, is_trial }))
}

/// What a caller is told of an agent that does not answer.
pub(crate) fn paused(status: AgentStatus) -> DomainError {
    let status = status.name();
    DomainError::conflict(
        "AGENT_PAUSED",
        format!("the agent is {status} and does not answer; set its status to active"),
    )
}

/// The datastores of the agent's tools that are there; `None` when it has no datastore tool.
pub(crate) async fn datastores_of(
    conn: &mut Conn,
    agent: &Agent,
) -> Result<Option<Vec<KnownDatastore>>, DomainError> {
    datastores_among(conn, agent, None).await
}

/// As [`datastores_of`], with the default ones of the workspace where they are known already.
async fn datastores_among(
    conn: &mut Conn,
    agent: &Agent,
    defaults: Option<Vec<DefaultDatastore>>,
) -> Result<Option<Vec<KnownDatastore>>, DomainError> {
    let tools = agent.tools.iter().filter(|tool| tool.kind == ToolKind::Datastore);
    let (mut named, mut tool_count, mut wants_defaults) = (Vec::new(), 0, false);
    for tool in tools {
        tool_count += 1;
        match &tool.id {
            Some(id) => named.extend(id.parse::<DatastoreId>().ok()),
            None => wants_defaults = true,
        }
    }
    if tool_count == 0 {
        return Ok(None);
    }
    let known = |datastore: Datastore| KnownDatastore { id: datastore.id, name: datastore.name };
    let mut found: Vec<KnownDatastore> = Vec::new();
    // Most agents name the default one.
    for default in defaults.iter().flatten() {
        if named.contains(&default.revisions.id) {
            wants_defaults |= default.is_default;
            found.push(KnownDatastore { id: default.revisions.id, name: default.name.clone() });
        }
    }
    named.retain(|id| !found.iter().any(|known| known.id == *id));
    if !named.is_empty() {
        let rows = datastores::get_many(conn, agent.workspace_id, &named).await?;
        // Whoever answers from the default one, answers from the articles too.
        wants_defaults |= rows.iter().any(|datastore| datastore.is_default);
        found.extend(rows.into_iter().map(known));
    }
    match defaults {
        Some(defaults) if wants_defaults => {
            let known = |default: DefaultDatastore| {
                let DefaultDatastore { name, revisions, .. } = default;
                KnownDatastore { id: revisions.id, name }
            };
            found.extend(defaults.into_iter().map(known));
        }
        None if wants_defaults => {
            let rows = datastores::defaults(conn, agent.workspace_id).await?;
            found.extend(rows.into_iter().map(known));
        }
        _ => {}
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// The message of an earlier request with the same client id that, like this one, named no conversation.
pub(crate) async fn asked_before(
    inner: &Inner,
    request: &TurnRequest,
) -> Result<Option<Message>, DomainError> {
    let (None, Some(client_id)) = (request.conversation, &request.client_id) else {
        return Ok(None);
    };
    let mut conn = inner.db.read().await?;
    Ok(messages::of_client(&mut conn, request.workspace, request.agent, client_id).await?)
}

/// One short transaction: contact, conversation, message, events, and the turn itself when nobody in this
/// process is before it.
async fn store(
    inner: &Inner,
    known: &Known,
    request: &TurnRequest,
    said: &Said,
    turn: NewTurn,
) -> Result<Stored, DomainError> {
    let now = inner.ambient.now();
    let NewTurn { conversation: id, answer, .. } = turn;
    let mut tx = inner.db.write().await?;
    let new = question_of(inner, request, id, now);
    let (mut conversation, question) = match request.conversation {
        Some(id) => {
            let conversation = continue_conversation(inner, &mut tx, request, id).await?;
            (conversation, messages::insert(&mut tx, request.workspace, &new, now).await?)
        }
        None => begin_conversation(inner, &mut tx, request, turn, &new).await?,
    };
    if question.id != new.message.id {
        return Ok(Stored::Before(question));
    }
    files::attach(&mut tx, request, &question).await?;
    left::note_form(inner, &mut tx, request, &mut conversation, question.id).await?;
    if conversation.handler == Handler::Queue {
        note_details(inner, &mut tx, &known.agent, &mut conversation, said, &question).await?;
    }
    let spending = known.spending(inner, &conversation, request.api_key, &request.query);
    if conversation.handler == Handler::Bot {
        hold(inner, &mut tx, request.workspace, answer, &spending.holds).await?;
    }
    if turn.recorded && conversation.handler == Handler::Bot {
        note_stream(inner, &mut tx, request.workspace, &question, answer).await?;
    }
    let taken = request.conversation.is_none();
    let locked = turn.first && conversation.handler == Handler::Bot && {
        let turn = inner.running.lock(answer, now);
        taken || conversations::lock_turn(&mut tx, request.workspace, id, &turn, now).await?
    };
    tx.commit().await?;
    Ok(Stored::New { conversation, question, locked, spending: Box::new(spending) })
}

/// What a customer says, as it is stored.
pub(crate) fn question_of(
    inner: &Inner,
    request: &TurnRequest,
    conversation: ConversationId,
    now: Timestamp,
) -> NewMessage {
    NewMessage {
        message: Message {
            id: inner.ambient.new_id(),
            conversation_id: conversation,
            seq: 0,
            author: Author::Customer,
            operator: None,
            kind: files::kind_of(&request.files),
            content: request.query.clone(),
            state: MessageState::Complete,
            outcome: None,
            model: None,
            reply_to: None,
            prompt_tokens: None,
            completion_tokens: None,
            unsupported: Vec::new(),
            answered_from: None,
            created_at: now,
        },
        images: request.images.iter().map(|image| image.shown.clone()).collect(),
        citations: Vec::new(),
        tools: Vec::new(),
        passages: Vec::new(),
        trace: None,
        client_id: request.client_id.clone(),
    }
}

/// Notes that the turn can be rejoined.
async fn note_stream(
    inner: &Inner,
    tx: &mut Tx,
    workspace: WorkspaceId,
    question: &Message,
    answer: MessageId,
) -> Result<(), StorageError> {
    let stream = NewStream {
        message: answer,
        conversation: question.conversation_id,
        question: question.id,
        owner: &inner.running.owner,
        live_until: inner.ambient.now().plus(LEASE),
    };
    streams::insert(tx, workspace, &stream).await
}

/// As [`hold`], in a transaction of its own.
pub(crate) async fn hold_for(
    inner: &Inner,
    workspace: WorkspaceId,
    answer: MessageId,
    holds: &[Hold],
) -> Result<(), DomainError> {
    if holds.is_empty() {
        return Ok(());
    }
    let mut tx = inner.db.write().await?;
    hold(inner, &mut tx, workspace, answer, holds).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes the turn's part of each budget, for as long as the turn can take and some more.
async fn hold(
    inner: &Inner,
    tx: &mut Tx,
    workspace: WorkspaceId,
    answer: MessageId,
    holds: &[Hold],
) -> Result<(), DomainError> {
    let now = inner.ambient.now();
    // It may wait for its time as long as it may take.
    let until = now.plus(2 * inner.options.defaults.turn_timeout + HOLD_MARGIN);
    spending::hold_all(tx, workspace, answer, holds, now, until).await
}

/// Nobody answers a customer who waits for a person, but the address that they leave meanwhile is noted.
async fn note_details(
    inner: &Inner,
    tx: &mut Tx,
    agent: &Agent,
    conversation: &mut Conversation,
    said: &Said,
    question: &Message,
) -> Result<(), DomainError> {
    let Intent::ContactDetails { email, phone } = &said.intent else { return Ok(()) };
    let country = inner.options.defaults.default_country.as_deref();
    let Some(details) =
        prepare::checked_details(agent, country, email.as_deref(), phone.as_deref())
    else {
        return Ok(());
    };
    let settings = lead_settings(agent).unwrap_or_default();
    let fields = fields_of(&settings, &details);
    let note = Note { agent: agent.id, message: question.id, details: &details, fields };
    note_lead(inner, tx, conversation, note).await?;
    Ok(())
}

/// Stores a new conversation with the message that it begins with.
pub(crate) async fn begin_conversation(
    inner: &Inner,
    tx: &mut Tx,
    request: &TurnRequest,
    turn: NewTurn,
    first: &NewMessage,
) -> Result<(Conversation, Message), DomainError> {
    let now = inner.ambient.now();
    let visitor = request.visitor.as_ref();
    let contact = if visitor.is_none() && request.contact.is_empty() {
        None
    } else {
        let (ambient, workspace) = (&inner.ambient, request.workspace);
        contacts::resolve(tx, ambient, workspace, visitor, &request.contact).await?
    };
    let contact_id = contact.map(|contact| contact.id);
    refuse_blocked(tx, request.workspace, contact_id, visitor).await?;
    let conversation = Conversation {
        id: turn.conversation,
        workspace_id: request.workspace,
        agent_id: request.agent,
        channel: request.channel,
        project_id: request.project,
        visitor_id: request.visitor.clone(),
        contact_id,
        status: ConversationStatus::Open,
        handler: Handler::Bot,
        title: match request.query.trim() {
            "" => title_of(&files::title_of(&request.files)),
            said => title_of(said),
        },
        messages_count: 1,
        context_after: 0,
        created_at: now,
        updated_at: now,
        closed_at: None,
    };
    let lock = inner.running.lock(turn.answer, now);
    let lock = turn.first.then_some(&lock);
    let first = conversations::begin(tx, &conversation, lock, first, now).await?;
    if conversation.project_id.is_some() {
        visits::describe(tx, conversation.workspace_id, conversation.id).await?;
    }
    Ok((conversation, first))
}

pub(crate) async fn continue_conversation(
    inner: &Inner,
    tx: &mut Tx,
    request: &TurnRequest,
    id: ConversationId,
) -> Result<Conversation, DomainError> {
    let workspace = request.workspace;
    let absent = || DomainError::not_found("conversation");
    let conversation = conversations::get(tx, workspace, id).await?;
    let mut conversation =
        conversation.filter(|c| c.agent_id == request.agent).ok_or_else(absent)?;
    if conversation.status == ConversationStatus::Closed {
        let (transition, now) = (Transition::CustomerReturns, inner.ambient.now());
        let returned = conversations::transition(tx, workspace, id, transition, now).await?;
        conversation = returned.ok_or_else(absent)?;
    }
    let visitor = request.visitor.clone().or_else(|| conversation.visitor_id.clone());
    let visitor = visitor.as_ref();
    refuse_blocked(tx, workspace, conversation.contact_id, visitor).await?;
    if request.contact.is_empty() && request.visitor.is_none() {
        return Ok(conversation);
    }
    let contact =
        contacts::resolve(tx, &inner.ambient, workspace, visitor, &request.contact).await?;
    if let Some(contact) = contact.filter(|contact| conversation.contact_id != Some(contact.id)) {
        refuse_blocked(tx, workspace, Some(contact.id), None).await?;
        conversations::set_contact(tx, workspace, id, contact.id).await?;
        conversation.contact_id = Some(contact.id);
    }
    Ok(conversation)
}

/// Nobody answers a customer who was blocked; what they write is not stored.
async fn refuse_blocked(
    tx: &mut Tx,
    workspace: WorkspaceId,
    contact: Option<ContactId>,
    visitor: Option<&VisitorId>,
) -> Result<(), DomainError> {
    if !contacts::is_blocked(tx, workspace, contact, visitor).await? {
        return Ok(());
    }
    Err(domain::contact::blocked())
}

/// What comes beside the text of a message, as its model takes it.
struct Sent {
    images: Vec<Image>,
    files: Vec<TurnFile>,
}

impl Sent {
    fn of(request: &TurnRequest, known: &mut Known, catalogue: &Catalogue) -> Self {
        let (of_files, files) = files::for_model(&request.files, &mut known.candidates, catalogue);
        let own = |seen: &SeenImage| seen.image.clone();
        let images = request.images.iter().map(own).chain(of_files).collect();
        Self { images, files }
    }
}

/// What a repeated request tells again, since it is not stored.
struct Asked {
    supplied: Vec<Earlier>,
    sent: Sent,
    api_key: Option<ApiKeyId>,
}

impl Asked {
    fn of(request: TurnRequest, sent: Sent) -> Self {
        Self { supplied: request.history, sent, api_key: request.api_key }
    }
}

/// A repeated request: the stored answer is given again; without one the question is answered now, unless
/// that is being done already.
async fn again(
    inner: &Arc<Inner>,
    mut known: Known,
    question: Message,
    asked: Asked,
    taking: Taking,
    began: Instant,
) -> Result<Begun, DomainError> {
    let workspace = known.agent.workspace_id;
    let id = question.conversation_id;
    let mut conn = inner.db.read().await?;
    let conversation = conversations::get(&mut conn, workspace, id).await?;
    let conversation = conversation.ok_or_else(|| DomainError::not_found("conversation"))?;
    if let Some(reply) = messages::reply(&mut conn, workspace, question.id).await? {
        let message = reply.id;
        let answer = answer_of(&mut conn, &conversation, reply).await?;
        drop(conn);
        let (agent, record) = (known.agent.id, taking.recorded);
        if let Some(render) = record
            && let Some(follow) =
                joined_from_start(inner, workspace, agent, message, render).await?
        {
            return Ok(Begun::Recorded(follow));
        }
        return Ok(Begun::Turn(told(id, answer, taking.reading)));
    }
    if conversation.handler != Handler::Bot {
        return Ok(Begun::Turn(silent(&conversation, &question, known.model_name())));
    }
    let mut sent = asked.sent;
    if sent.files.is_empty() {
        let names = files::names_of(&mut conn, workspace, &question).await?;
        sent.files = names.into_iter().map(|name| TurnFile { name, seen: false }).collect();
    }
    drop(conn);
    if let Some(render) = taking.recorded
        && let Some(follow) = under_way(inner, workspace, &known, question.id, render).await?
    {
        return Ok(Begun::Recorded(follow));
    }
    let answer = inner.ambient.new_id();
    let agent = known.agent.id;
    let key = TurnKey { workspace, agent, conversation: id, question: question.id, answer };
    let registration = inner.running.register(key, &inner.stop).ok_or_else(still_answering)?;
    let place = inner.queue.enter(id).map_err(|_| busy())?;
    let spending = known.spending(inner, &conversation, asked.api_key, &question.content);
    if !spending.holds.is_empty() || taking.recorded.is_some() {
        let mut tx = inner.db.write().await?;
        hold(inner, &mut tx, workspace, answer, &spending.holds).await?;
        if taking.recorded.is_some() {
            note_stream(inner, &mut tx, workspace, &question, answer).await?;
        }
        tx.commit().await?;
    }
    let (events, receiver) = mpsc::channel(WAITING_EVENTS);
    let work = Work {
        inner: inner.clone(),
        model: known.turn_model(inner, &spending),
        spending,
        agent: known.agent,
        asked_of: known.asked_of,
        datastores: known.datastores,
        said: Said::new(&question.content),
        early: None,
        images: sent.images,
        files: sent.files,
        fresh: false,
        supplied: asked.supplied,
        conversation,
        question,
        answer,
        place,
        registration,
        events,
        reading: taking.reading,
        locked: false,
        repeated: true,
        began,
    };
    start_task(work);
    Ok(hand_over(inner, key, receiver, taking))
}

/// The turn that answers the question already, in this process or another one, when it can be joined.
async fn under_way(
    inner: &Arc<Inner>,
    workspace: WorkspaceId,
    known: &Known,
    question: MessageId,
    render: Render,
) -> Result<Option<Follow>, DomainError> {
    let agent = known.agent.id;
    if let Some(message) = inner.running.answering(question) {
        return joined_from_start(inner, workspace, agent, message, render).await;
    }
    let mut conn = inner.db.read().await?;
    let newest = streams::of_question(&mut conn, workspace, question).await?;
    drop(conn);
    let now = inner.ambient.now();
    let lives = |stream: &TurnStream| stream.state == StreamState::Open && stream.live_until > now;
    match newest.filter(lives) {
        Some(stream) => joined_from_start(inner, workspace, agent, stream.message, render).await,
        None => Ok(None),
    }
}

/// Gives a turn that has begun to who wants it.
fn hand_over(
    inner: &Arc<Inner>,
    key: TurnKey,
    events: mpsc::Receiver<TurnEvent>,
    taking: Taking,
) -> Begun {
    match taking.recorded {
        None => {
            let (conversation, message) = (key.conversation, key.answer);
            Begun::Turn(Turn { conversation, message, events })
        }
        Some(render) => Begun::Recorded(record(inner, key, events, render)),
    }
}

fn start_task(work: Work) {
    let span = tracing::info_span!(
        "agents.turn",
        conversation = %work.conversation.id,
        message = %work.answer,
    );
    let tracker = work.inner.tracker.clone();
    tracker.spawn(run::run(work).instrument(span));
}

/// A turn whose events are known already.
fn told(conversation: ConversationId, answer: Answer, reading: Reading) -> Turn {
    let message = answer.message;
    let all = match reading {
        Reading::Stream => events_of(answer),
        Reading::Whole => vec![TurnEvent::Done(Box::new(answer))],
    };
    let (events, receiver) = mpsc::channel(all.len());
    for event in all {
        // There is room for each of them and the reader is at hand.
        let _ = events.try_send(event);
    }
    Turn { conversation, message, events: receiver }
}

/// A stored answer as it was told when it was new.
pub(crate) async fn answer_of(
    conn: &mut Conn,
    conversation: &Conversation,
    reply: Message,
) -> Result<Answer, StorageError> {
    let workspace = conversation.workspace_id;
    let cited = citations::of_messages(conn, workspace, &[reply.id]).await?;
    let used = messages::tools(conn, workspace, &[reply.id]).await?;
    Ok(Answer {
        conversation: conversation.id,
        message: reply.id,
        text: reply.content,
        citations: cited.into_iter().map(|(_, citation)| citation).collect(),
        tools: used.into_iter().map(|(_, tool)| tool).collect(),
        unsupported: reply.unsupported,
        outcome: reply.outcome,
        handler: conversation.handler,
        state: reply.state,
        status: conversation.status,
        model: reply.model.unwrap_or_default(),
    })
}

/// A person has the conversation: the message is stored and nobody answers here.
fn silent(conversation: &Conversation, question: &Message, model: &str) -> Turn {
    let answer = run::no_answer(conversation, question.id, model);
    told(conversation.id, answer, Reading::Whole)
}

fn title_of(query: &str) -> String {
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TITLE) {
        None => line,
        Some((cut, _)) => {
            let head = &line[..cut];
            let end = head.rfind(' ').unwrap_or(cut);
            format!("{}…", &head[..end])
        }
    }
}

pub(crate) fn busy() -> DomainError {
    DomainError::unavailable(
        "CONVERSATION_BUSY",
        "earlier messages of this conversation are still being answered; try again shortly",
        Duration::from_secs(5),
    )
}

fn still_answering() -> DomainError {
    DomainError::conflict(
        "CONFLICT",
        "this message is being answered already; ask again when that answer is complete",
    )
}
