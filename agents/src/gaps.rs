//! Gaps: into which group a question goes that was not answered, and asking the questions again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::agent::{Agent, AgentStatus};
use domain::budget::{Payer, Purpose};
use domain::gap::{GapReason, GapStatus};
use domain::job::Job;
use domain::message::{Message, Rating};
use domain::{
    AgentId, ApiKeyId, ConversationId, DatastoreId, DomainError, ErrorKind, GapId, MessageId,
    WorkspaceId,
};
use jobs::{Handler, JobContext, JobError, Outcome};
use models::{lexical, tokens};
use serde::Deserialize;
use serde_json::json;
use storage::audit::Change;
use storage::gaps::{Gap, GapFilter, GapGroup, Recheck};
use storage::{StorageError, Tx, conversations, gaps, messages};

use crate::again::{Asking, try_answer};
use crate::approve;
use crate::begin;
use crate::erase::Keeping;
use crate::inbox::{Wake, Words};
use crate::likeness::most_alike;
use crate::meaning::{self, Meaning, meaning_of, same_meaning};
use crate::reseal::Reseal;
use crate::summary::Summaries;
use crate::turn::{Agents, Inner};

/// Questions that a new one is compared with, newest first.
const COMPARED: i64 = 500;

/// Gaps that one job asks again, newest first.
const RECHECKED: i64 = 100;

/// A question that was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Unanswered {
    pub(crate) workspace: WorkspaceId,
    pub(crate) agent: AgentId,
    pub(crate) conversation: ConversationId,
    /// The answer that did not answer it.
    pub(crate) message: MessageId,
    pub(crate) question: String,
    pub(crate) evidence: f64,
    pub(crate) reason: GapReason,
}

/// The group that a question goes to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Place {
    group: Option<GapId>,
    /// The newest group that it was compared with.
    seen: Option<GapId>,
    /// What it means, if it is like no other in its words.
    meaning: Option<Meaning>,
}

/// Finds the group of questions that ask the same: by their words, else by what they mean to the embedder. Before the
/// transaction: comparing takes a while.
pub(crate) async fn place(
    inner: &Inner,
    workspace: WorkspaceId,
    agent: AgentId,
    question: &str,
) -> Result<Place, StorageError> {
    let mut conn = inner.db.read().await?;
    let known = gaps::questions(&mut conn, workspace, agent, None, COMPARED).await?;
    drop(conn);
    let seen = known.first().map(|(id, _)| *id);
    let mut group = most_alike(&inner.analysed, question, &known);
    if group.is_some() {
        return Ok(Place { group, seen, meaning: None });
    }
    let meaning = meaning_of(inner, question).await;
    if let Some(meaning) = &meaning {
        let mut conn = inner.db.read().await?;
        group = same_meaning(&mut conn, workspace, &inner.vectors, meaning, &known).await?;
    }
    Ok(Place { group, seen, meaning })
}

/// As [`place`], outside of a turn: what the embedder costs is the agent's. Without money words must do.
async fn paid_place(
    inner: &Arc<Inner>,
    workspace: WorkspaceId,
    agent: AgentId,
    question: &str,
) -> Result<Place, DomainError> {
    let who = (Purpose::Recheck, Payer { agent: Some(agent), ..Payer::default() });
    let embedder = inner.retrieval.embedder().filter(|embedder| embedder.is_paid());
    let asked =
        embedder.map(|embedder| (embedder.space().model.clone(), tokens::estimate(question)));
    let placing = Box::pin(place(inner, workspace, agent, question));
    match inner.paid(workspace, who, asked, placing).await {
        Err(error) if error.kind == ErrorKind::UsageLimit => {
            let mut conn = inner.db.read().await?;
            let known = gaps::questions(&mut conn, workspace, agent, None, COMPARED).await?;
            let seen = known.first().map(|(id, _)| *id);
            Ok(Place { group: most_alike(&inner.analysed, question, &known), seen, meaning: None })
        }
        placed => Ok(placed??),
    }
}

/// Records the question in its group, or as the first of a new one. Groups that began since `place` was found
/// count too, so that the same question asked twice at once is one group.
pub(crate) async fn record(
    inner: &Inner,
    tx: &mut Tx,
    place: &Place,
    unanswered: &Unanswered,
) -> Result<(), StorageError> {
    let Unanswered { workspace, agent, question, .. } = unanswered;
    let mut group = place.group;
    if group.is_none() {
        let newer = gaps::questions(tx, *workspace, *agent, place.seen, COMPARED).await?;
        group = most_alike(&inner.analysed, question, &newer);
    }
    let id: GapId = inner.ambient.new_id();
    let gap = Gap {
        id,
        group_id: group.unwrap_or(id),
        agent_id: *agent,
        conversation_id: unanswered.conversation,
        message_id: unanswered.message,
        question: question.clone(),
        reason: unanswered.reason,
        lang: lexical::detect(question),
        evidence: unanswered.evidence,
        created_at: inner.ambient.now(),
    };
    if let Some(meaning) = place.meaning.as_ref().filter(|_| group.is_none()) {
        meaning::keep(tx, *workspace, meaning, gap.created_at).await?;
    }
    gaps::insert(tx, *workspace, &gap).await
}

/// What asking a gap's question again came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Rechecked {
    /// Whether it is answered now.
    pub answered: bool,
    /// The answer.
    pub answer: Option<String>,
    /// The evidence found, 0 to 1.
    pub evidence: f64,
    /// The group afterwards.
    pub group: GapGroup,
}

impl Agents {
    /// Sets or (with `None`) takes back the rating of an answer; a thumbs-down makes a gap of its question, once,
    /// and taking it back removes that. `false` when the message is absent; 409 when it is no answer.
    pub async fn rate(
        &self,
        workspace: WorkspaceId,
        message: MessageId,
        rating: Option<Rating>,
        comment: Option<&str>,
    ) -> Result<bool, DomainError> {
        let inner = &self.inner;
        let mut conn = inner.db.read().await?;
        let Some(answer) = messages::get(&mut conn, workspace, message).await? else {
            return Ok(false);
        };
        if answer.author == domain::message::Author::Customer {
            return Err(DomainError::conflict(
                "CONFLICT",
                "only answers are rated; this message is the customer's",
            ));
        }
        let disliked = match rating {
            Some(Rating::Down) => disliked(&mut conn, workspace, &answer).await?,
            _ => None,
        };
        drop(conn);
        let place = match &disliked {
            Some(gap) => paid_place(inner, workspace, gap.agent, &gap.question).await?,
            None => Place::default(),
        };
        let now = inner.ambient.now();
        let mut tx = inner.db.write().await?;
        let set = messages::set_feedback(&mut tx, workspace, message, rating, comment, now).await?;
        let known = gaps::of_message(&mut tx, workspace, message).await?;
        match (known, disliked) {
            (None, Some(gap)) => record(inner, &mut tx, &place, &gap).await?,
            (Some(known), None) if known.reason == GapReason::Disliked => {
                gaps::delete(&mut tx, workspace, known.id).await?;
            }
            _ => {}
        }
        let rating = rating.map(Rating::name);
        let change = Change::new("message.rated", message).to(json!({"rating": rating}));
        self.note(&mut tx, change).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// Asks a gap's question again, storing no conversation; an answer closes the gap. `None` when it is absent.
    /// 409 `AGENT_PAUSED` when its agent does not answer, 402 `USAGE_LIMIT` when a model is to be asked and a budget is used
    /// up. What it costs is counted to the agent and to `api_key`.
    pub async fn recheck(
        &self,
        workspace: WorkspaceId,
        id: GapId,
        api_key: Option<ApiKeyId>,
    ) -> Result<Option<Rechecked>, DomainError> {
        recheck(self, workspace, id, Asking { api_key, better_than: None }).await
    }

    /// The jobs of this crate.
    pub fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        vec![
            Arc::new(RecheckGaps(self.signed_by(None))),
            Arc::new(Summaries(self.inner.clone())),
            Arc::new(approve::Resume(self.inner.clone())),
            Arc::new(approve::Expire(self.inner.clone())),
            Arc::new(Reseal(self.inner.clone())),
            Arc::new(Wake(self.inner.clone())),
            Arc::new(Words(self.inner.clone())),
            Arc::new(Keeping(self.inner.clone())),
        ]
    }
}

/// The question that a disliked answer was to answer.
async fn disliked(
    conn: &mut storage::Conn,
    workspace: WorkspaceId,
    answer: &Message,
) -> Result<Option<Unanswered>, StorageError> {
    let Some(asked) = answer.reply_to else { return Ok(None) };
    let Some(asked) = messages::get(conn, workspace, asked).await? else { return Ok(None) };
    let found = conversations::get(conn, workspace, answer.conversation_id).await?;
    let Some(conversation) = found else { return Ok(None) };
    let trace = messages::trace(conn, workspace, answer.id).await?.unwrap_or_default();
    // A follow-up says little without what was said before; the turn made it stand alone.
    let question = trace["question"].as_str().unwrap_or(&asked.content).to_owned();
    if question.is_empty() {
        // Files alone ask nothing.
        return Ok(None);
    }
    Ok(Some(Unanswered {
        workspace,
        agent: conversation.agent_id,
        conversation: conversation.id,
        message: answer.id,
        question,
        evidence: trace["evidence"].as_f64().unwrap_or(0.0),
        reason: GapReason::Disliked,
    }))
}

async fn recheck(
    agents: &Agents,
    workspace: WorkspaceId,
    id: GapId,
    asking: Asking,
) -> Result<Option<Rechecked>, DomainError> {
    let inner = &agents.inner;
    let mut conn = inner.db.read().await?;
    let Some(group) = gaps::group(&mut conn, workspace, id).await? else { return Ok(None) };
    let agent = storage::agents::get(&mut conn, workspace, group.agent_id).await?;
    let agent = agent.ok_or_else(|| DomainError::not_found("agent"))?;
    if agent.status != AgentStatus::Active {
        return Err(begin::paused(agent.status));
    }
    let datastores = begin::datastores_of(&mut conn, &agent).await?.unwrap_or_default();
    let datastores: Vec<DatastoreId> = datastores.iter().map(|datastore| datastore.id).collect();
    drop(conn);
    let tried = try_answer(inner, &agent, &datastores, &group.question, asking);
    let (evidence, answer) = tried.await?;
    let mut tx = inner.db.write().await?;
    let found = Recheck { evidence, answer: answer.as_deref() };
    gaps::note_recheck(&mut tx, workspace, id, found, inner.ambient.now()).await?;
    let before = json!({"status": group.status.name()});
    let group = gaps::group(&mut tx, workspace, id).await?;
    if let Some(group) = &group {
        let after = json!({"status": group.status.name()});
        let change = Change::new("gap.rechecked", id).from(before).to(after);
        agents.note(&mut tx, change).await?;
    }
    tx.commit().await?;
    Ok(group.map(|group| Rechecked { answered: answer.is_some(), answer, evidence, group }))
}

/// Asks open gaps again that new knowledge may answer.
struct RecheckGaps(Agents);

#[derive(Debug, Deserialize)]
struct RecheckJob {
    datastore: DatastoreId,
}

#[async_trait]
impl Handler for RecheckGaps {
    fn kind(&self) -> &'static str {
        gaps::RECHECK
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.recheck_all(context, job).await);
        }
        outcomes
    }
}

impl RecheckGaps {
    async fn recheck_all(&self, context: &JobContext, job: &Job) -> Outcome {
        let payload: RecheckJob = serde_json::from_value(job.payload.clone()).map_err(|error| {
            JobError::Permanent(format!("the payload is not readable: {error}"))
        })?;
        let open = self.open_gaps(job.workspace_id, payload.datastore).await;
        let open = open.map_err(|error| JobError::retry(error.to_string()))?;
        for group in open {
            if let Some(interruption) = context.interruption(job.id) {
                return Err(interruption);
            }
            let asking = Asking { better_than: Some(group.evidence), api_key: None };
            match recheck(&self.0, job.workspace_id, group.id, asking).await {
                Ok(_) => {}
                // What is left waits until there is money again.
                Err(DomainError {
                    retry_after: Some(wait), kind: ErrorKind::UsageLimit, ..
                }) => {
                    let again = self.go_on_later(job.workspace_id, payload.datastore, wait).await;
                    return again.map_err(|error| JobError::retry(error.to_string()));
                }
                // Tried again as a whole: what was closed is not open any more.
                Err(error) => return Err(JobError::retry(error.to_string())),
            }
        }
        Ok(())
    }

    /// Wants the job again once the budget that is used up begins anew.
    async fn go_on_later(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        wait: Duration,
    ) -> Result<(), StorageError> {
        let Inner { db, ambient, .. } = &*self.0.inner;
        let at = ambient.now().plus(wait);
        let mut tx = db.write().await?;
        gaps::want_recheck_at(&mut tx, ambient, workspace, datastore, at).await?;
        tx.commit().await
    }

    /// Open gaps of the agents that answer from a datastore.
    async fn open_gaps(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<Vec<GapGroup>, DomainError> {
        let mut conn = self.0.inner.db.read().await?;
        let filter = GapFilter { status: Some(GapStatus::Open), agent: None };
        let groups = gaps::groups(&mut conn, workspace, filter, None, RECHECKED).await?;
        let mut answering: Vec<(AgentId, bool)> = Vec::new();
        let mut open = Vec::new();
        for group in groups {
            let known = answering.iter().find(|(agent, _)| *agent == group.agent_id);
            let answers = if let Some((_, answers)) = known {
                *answers
            } else {
                let agent = storage::agents::get(&mut conn, workspace, group.agent_id).await?;
                let answers = answers_from(&mut conn, agent.as_ref(), datastore).await?;
                answering.push((group.agent_id, answers));
                answers
            };
            if answers {
                open.push(group);
            }
        }
        Ok(open)
    }
}

async fn answers_from(
    conn: &mut storage::Conn,
    agent: Option<&Agent>,
    datastore: DatastoreId,
) -> Result<bool, DomainError> {
    let Some(agent) = agent.filter(|agent| agent.status == AgentStatus::Active) else {
        return Ok(false);
    };
    let datastores = begin::datastores_of(conn, agent).await?;
    Ok(datastores.is_some_and(|known| known.iter().any(|known| known.id == datastore)))
}
