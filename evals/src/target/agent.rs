//! An agent in this process.

use std::collections::BTreeMap;
use std::time::Instant;

use agents::{Agents, Earlier, TraceStep, Turn, TurnEvent, TurnRequest, TurnTrace};
use async_trait::async_trait;
use domain::agent::{Agent, ToolKind};
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, Handler};
use domain::message::{Author, Citation, MessageState};
use domain::{ApiKeyId, ChunkId, ConversationId, DatastoreId, DomainError, MessageId};
use models::tokens::estimate;
use models::{Catalogue, Usage};
use retrieval::Retrieval;
use serde_json::{Value, json};
use storage::{Conn, Db};

use super::search::{SearchTarget, extracted};
use super::world::World;
use super::{ANSWER_TOKENS, Estimate, Target, TargetInfo, asks_back, ms};
use crate::dataset::{Case, Role};
use crate::observation::{Cited, Failure, Found, Observation, Outcome, Step};

/// Tokens of a passage in a prompt that an estimate assumes, and of the instructions.
const PASSAGE_TOKENS: i64 = 250;
const SYSTEM_TOKENS: i64 = 700;

/// What an agent answers from.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Searches what the agent searches, deeper, for metrics of the ranking.
    pub search: SearchTarget,
    /// Where traces and passages are read.
    pub db: Db,
}

/// Takes turns with an agent in this process. Each case begins a conversation of its own.
#[derive(Debug, Clone)]
pub struct AgentTarget {
    agents: Agents,
    agent: Agent,
    knowledge: Knowledge,
    /// The model that answers; `None` for the built-in answerer.
    model: Option<String>,
    catalogue: Catalogue,
    /// Whether conversations are removed once their case is done.
    forgets: bool,
    /// The key that everything is counted to.
    api_key: Option<ApiKeyId>,
}

/// What agents and datastores of an installation stand on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The database.
    pub db: Db,
    /// The index.
    pub retrieval: Retrieval,
    /// The turns.
    pub agents: Agents,
    /// Prices.
    pub catalogue: Catalogue,
}

impl AgentTarget {
    /// An agent of a workspace. `model` is the name of the model that answers, `None` for the built-in answerer.
    pub fn new(
        agents: Agents,
        agent: Agent,
        knowledge: Knowledge,
        model: Option<String>,
        catalogue: Catalogue,
    ) -> Self {
        Self { agents, agent, knowledge, model, catalogue, forgets: false, api_key: None }
    }

    /// An agent of an installation, as it is configured; `depth` passages of each ranking are looked at.
    pub async fn installed(
        ground: &Ground,
        agent: Agent,
        depth: usize,
    ) -> Result<Self, DomainError> {
        let Ground { db, retrieval, agents, catalogue } = ground;
        let workspace = agent.workspace_id;
        let mut conn = db.read().await?;
        let model = match &agent.model_name {
            Some(name) => name.clone(),
            None => agents.default_model(&mut conn, workspace).await?,
        };
        let datastores = datastores_of(&mut conn, &agent).await?;
        drop(conn);
        let model = (model != models::builtin::MODEL_NAME).then_some(model);
        let search = SearchTarget::new(retrieval.clone(), workspace, datastores, depth);
        let search = search.paid_by(agents.clone(), None);
        let knowledge = Knowledge { search, db: db.clone() };
        Ok(Self::new(agents.clone(), agent, knowledge, model, catalogue.clone()))
    }

    /// Has what it costs counted to a key, too.
    #[must_use]
    pub fn paid_by(mut self, api_key: Option<ApiKeyId>) -> Self {
        self.knowledge.search = self.knowledge.search.paid_by(self.agents.clone(), api_key);
        Self { api_key, ..self }
    }

    /// Where it searches.
    pub fn datastores(&self) -> &[DatastoreId] {
        &self.knowledge.search.datastores
    }

    /// What it searches, as a target of its own.
    pub fn into_search(self) -> SearchTarget {
        self.knowledge.search
    }

    /// Removes the conversation of each case once it is done, so that nobody takes it for a customer's.
    #[must_use]
    pub fn forgetting(self) -> Self {
        Self { forgets: true, ..self }
    }

    /// The agent of a throw-away workspace.
    pub fn of(
        world: &World,
        agents: Agents,
        depth: usize,
        model: Option<String>,
        catalogue: Catalogue,
    ) -> Self {
        let search = SearchTarget::of(world, depth);
        let knowledge = Knowledge { search, db: world.db.clone() };
        Self::new(agents, world.born.agent.clone(), knowledge, model, catalogue)
    }

    fn request(&self, case: &Case) -> TurnRequest {
        let earlier = |said: &crate::dataset::Said| Earlier {
            author: match said.role {
                Role::User => Author::Customer,
                Role::Assistant => Author::Agent,
            },
            text: said.text.clone(),
        };
        TurnRequest {
            workspace: self.agent.workspace_id,
            agent: self.agent.id,
            edition: Edition::Given(Box::new(self.agent.config())),
            query: case.input.clone(),
            files: Vec::new(),
            lead: BTreeMap::new(),
            images: Vec::new(),
            conversation: None,
            history: case.history.iter().map(earlier).collect(),
            visitor: None,
            contact: ContactDetails::default(),
            channel: Channel::Api,
            project: None,
            client_id: None,
            api_key: self.api_key,
        }
    }

    /// Adds what the trace tells, and what search finds beyond what the agent looked at.
    async fn complete(
        &self,
        case: &Case,
        message: MessageId,
        citations: &[Citation],
        observation: &mut Observation,
    ) -> Result<(), Failure> {
        let trace = self.trace(message).await?.unwrap_or_default();
        let question = trace.question.as_deref().unwrap_or(&case.input);
        let results = self.knowledge.search.search(question).await?;
        let mut retrieved = self.knowledge.search.found(&results);
        // What a tool found, or what was cited, may lie deeper than was looked.
        for hit in &trace.hits {
            if let Ok(id) = hit.chunk_id.parse::<ChunkId>() {
                self.add(&mut retrieved, id, hit.score).await?;
            }
        }
        for citation in citations {
            self.add(&mut retrieved, citation.chunk_id, citation.score).await?;
        }
        observation.retrieved = Some(retrieved);
        observation.extract = Some(extracted(&results)).filter(|_| self.model.is_none());
        observation.evidence = trace.evidence.or(Some(results.evidence));
        observation.threshold = trace.threshold.or(Some(results.threshold));
        observation.removed_markers.clone_from(&trace.removed_markers);
        observation.prompt_tokens = trace.prompt_tokens;
        observation.completion_tokens = trace.completion_tokens;
        observation.cost = trace.cost;
        observation.steps = steps(&trace);
        Ok(())
    }

    async fn add(
        &self,
        retrieved: &mut Vec<Found>,
        id: ChunkId,
        score: f64,
    ) -> Result<(), Failure> {
        let search = &self.knowledge.search;
        let name = search.name_of(id);
        if retrieved.iter().any(|found| found.id == name) {
            return Ok(());
        }
        let failed = |error: storage::StorageError| Failure::new("STORAGE", error.to_string());
        let mut conn = self.knowledge.db.read().await.map_err(failed)?;
        let live =
            storage::chunks::live(&mut conn, search.workspace, &search.datastores, &[id]).await;
        for live in live.map_err(failed)? {
            retrieved.push(Found {
                id: name.clone(),
                document: Some(live.chunk.source_id.to_string()),
                title: retrieval::passage_heading(&live.source_name, &live.chunk.heading),
                text: live.chunk.text,
                score,
            });
        }
        Ok(())
    }

    async fn trace(&self, message: MessageId) -> Result<Option<TurnTrace>, Failure> {
        let failed = |error: storage::StorageError| Failure::new("STORAGE", error.to_string());
        let mut conn = self.knowledge.db.read().await.map_err(failed)?;
        let workspace = self.agent.workspace_id;
        let stored = storage::messages::trace(&mut conn, workspace, message).await;
        let stored = stored.map_err(failed)?;
        let trace = stored.map(TurnTrace::read).transpose();
        trace.map_err(|error| Failure::new("TRACE", error.to_string()))
    }
}

/// The datastores that an agent searches.
async fn datastores_of(conn: &mut Conn, agent: &Agent) -> Result<Vec<DatastoreId>, DomainError> {
    let mut datastores = Vec::new();
    for tool in agent.tools.iter().filter(|tool| tool.kind == ToolKind::Datastore) {
        if let Some(id) = &tool.id {
            datastores.extend(id.parse::<DatastoreId>());
            continue;
        }
        let own = storage::datastores::defaults(conn, agent.workspace_id).await?;
        datastores.extend(own.into_iter().map(|datastore| datastore.id));
    }
    Ok(datastores)
}

fn steps(trace: &TurnTrace) -> Vec<Step> {
    let step = |step: TraceStep<'_>| match step {
        TraceStep::Phase(phase) => {
            Step { name: phase.name.clone(), start_ms: phase.start_ms, ms: phase.ms }
        }
        TraceStep::Call(call) => Step {
            name: format!("{} · {}", call.purpose, call.model),
            start_ms: call.start_ms,
            ms: call.ms,
        },
        TraceStep::Tool(tool) => {
            Step { name: format!("tool · {}", tool.name), start_ms: tool.start_ms, ms: tool.ms }
        }
    };
    trace.steps().into_iter().map(step).collect()
}

#[async_trait]
impl Target for AgentTarget {
    fn info(&self) -> TargetInfo {
        let agent = &self.agent;
        let config = json!({
            "model": self.model.as_deref().unwrap_or(models::builtin::MODEL_NAME),
            "prompt": [agent.description, agent.purpose, agent.tone, agent.system_prompt],
            "tools": without_sealed(json!(agent.tools)),
            "settings": agent.settings,
            "search": self.knowledge.search.info().config,
        });
        TargetInfo { kind: "agent".to_owned(), name: agent.name.clone(), config }
    }

    async fn ask(&self, case: &Case) -> Result<Observation, Failure> {
        let started = Instant::now();
        let turn = self.agents.start(self.request(case)).await;
        let turn = turn.map_err(|error| Failure::new(error.code, error.message))?;
        let mut taken = Taken { target: self, turn: Some(turn) };
        let observed = self.observe(case, &mut taken, started).await;
        if let Some(turn) = taken.turn.take().filter(|_| self.forgets) {
            self.forget(turn.conversation).await?;
        }
        observed
    }

    fn estimate(&self, case: &Case) -> Estimate {
        let Some(model) = &self.model else { return Estimate::FREE };
        let tokens = |text: &str| i64::try_from(estimate(text)).unwrap_or(i64::MAX);
        let history: i64 = case.history.iter().map(|said| tokens(&said.text)).sum();
        let prompt_tokens = SYSTEM_TOKENS
            + tokens(&self.agent.system_prompt)
            + i64::from(self.agent.settings.top_k) * PASSAGE_TOKENS
            + history
            + tokens(&case.input);
        let usage = Usage { prompt_tokens, completion_tokens: ANSWER_TOKENS, cached_tokens: 0 };
        let cost = self.catalogue.cost(model, usage);
        Estimate { prompt_tokens, completion_tokens: ANSWER_TOKENS, cost }
    }
}

impl AgentTarget {
    async fn observe(
        &self,
        case: &Case,
        taken: &mut Taken<'_>,
        started: Instant,
    ) -> Result<Observation, Failure> {
        let mut first_token = None;
        let answer = loop {
            match taken.next().await {
                Some(TurnEvent::Token(_)) => {
                    first_token.get_or_insert_with(|| ms(started.elapsed()));
                }
                Some(TurnEvent::Done(answer)) => break answer,
                Some(TurnEvent::Error(error)) => {
                    return Err(Failure::new(error.code, error.message));
                }
                Some(TurnEvent::Tool(_) | TurnEvent::Source(_)) => {}
                None => return Err(Failure::new("BROKE_OFF", "the turn ended without an answer")),
            }
        };
        let total_ms = ms(started.elapsed());
        if answer.state != MessageState::Complete {
            return Err(Failure::new("INTERRUPTED", "the answer broke off"));
        }
        let cited = |citation: &Citation| Cited {
            marker: citation.marker,
            id: self.knowledge.search.name_of(citation.chunk_id),
            quote: citation.quote.clone(),
        };
        let mut observation = Observation {
            outcome: outcome(answer.outcome, answer.handler, &answer.text, &answer.citations),
            citations: Some(answer.citations.iter().map(cited).collect()),
            model: Some(answer.model.clone()),
            first_token_ms: first_token,
            total_ms: Some(total_ms),
            answer: answer.text,
            ..Observation::default()
        };
        self.complete(case, answer.message, &answer.citations, &mut observation).await?;
        Ok(observation)
    }

    async fn forget(&self, conversation: ConversationId) -> Result<(), Failure> {
        let failed = |error: storage::StorageError| Failure::new("STORAGE", error.to_string());
        let mut tx = self.knowledge.db.write().await.map_err(failed)?;
        let workspace = self.agent.workspace_id;
        storage::conversations::delete(&mut tx, workspace, conversation).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}

/// Settings without the secrets in them, which are sealed: reports are for more people than agents.
fn without_sealed(settings: Value) -> Value {
    match settings {
        Value::Array(items) => items.into_iter().map(without_sealed).collect(),
        Value::Object(fields) => {
            let shown = fields.into_iter().filter(|(name, _)| name != "sealed");
            shown.map(|(name, value)| (name, without_sealed(value))).collect()
        }
        other => other,
    }
}

/// A turn under way. Dropped before its end, as when a case takes too long, it leaves nothing behind either.
struct Taken<'a> {
    target: &'a AgentTarget,
    turn: Option<Turn>,
}

impl Taken<'_> {
    async fn next(&mut self) -> Option<TurnEvent> {
        self.turn.as_mut()?.events.recv().await
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let AgentTarget { agents, agent, forgets, .. } = self.target;
        if let Some(turn) = self.turn.take().filter(|_| *forgets) {
            agents.forget(agent.workspace_id, agent.id, turn);
        }
    }
}

/// How a turn ended. Agents have no outcome for asking back: an answer without citations that ends with a question does.
fn outcome(
    outcome: Option<domain::message::Outcome>,
    handler: Handler,
    text: &str,
    citations: &[Citation],
) -> Outcome {
    use domain::message::Outcome as Ended;
    match outcome {
        Some(Ended::Answered | Ended::Smalltalk) if citations.is_empty() && asks_back(text) => {
            // A greeting that offers help is none.
            if outcome == Some(Ended::Smalltalk) { Outcome::Smalltalk } else { Outcome::Clarified }
        }
        Some(Ended::Answered) => Outcome::Answered,
        Some(Ended::Abstained) => Outcome::Abstained,
        Some(Ended::HandedOff | Ended::AwaitingApproval) => Outcome::HandedOff,
        Some(Ended::Smalltalk | Ended::LeadCaptured) => Outcome::Smalltalk,
        None if handler != Handler::Bot => Outcome::HandedOff,
        None => Outcome::Silent,
    }
}
