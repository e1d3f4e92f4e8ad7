//! The jobs that go on with a turn once a person has decided, or when nobody did in time.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use domain::agent::AgentStatus;
use domain::agent_version::Edition;
use domain::approval::{Approval, ApprovalStatus};
use domain::budget::Payer;
use domain::conversation::Handler as Answerer;
use domain::job::Job;
use domain::{ApprovalId, DomainError, MessageId, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use storage::approvals::{self, Decided, Ended};
use storage::{
    Conn, StorageError, Wakeup, agents, budgets, conversations, messages, spending, versions,
};
use tokio::sync::broadcast::Receiver;
use tokio::sync::mpsc;

use super::{EXPIRE, PausedTurn, Payload, RESUME, Resumed};
use crate::begin::{self, Reading};
use crate::model::TurnModel;
use crate::prepare::{self, Asking, Said};
use crate::run::{self, Work};
use crate::running::{LOOK, TurnKey, woken};
use crate::spend::{Spending, expected};
use crate::turn::{Inner, TurnEvent};

/// Goes on with turns that were decided.
pub(crate) struct Resume(pub(crate) Arc<Inner>);

/// Ends the time of those that were not.
pub(crate) struct Expire(pub(crate) Arc<Inner>);

#[async_trait]
impl Handler for Resume {
    fn kind(&self) -> &'static str {
        RESUME
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        all(&self.0, context, jobs).await
    }
}

#[async_trait]
impl Handler for Expire {
    fn kind(&self) -> &'static str {
        EXPIRE
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        all(&self.0, context, jobs).await
    }
}

async fn all(inner: &Arc<Inner>, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        outcomes.push(one(inner, context, job).await);
    }
    outcomes
}

async fn one(inner: &Arc<Inner>, context: &JobContext, job: &Job) -> Outcome {
    let payload: Payload = serde_json::from_value(job.payload.clone())
        .map_err(|error| JobError::retry(format!("the payload does not read: {error}")))?;
    let cancel = context.cancel_of(job.id);
    let answer: MessageId = inner.ambient.new_id();
    let workspace = job.workspace_id;
    let going_on = go_on(inner, workspace, payload.approval, answer);
    tokio::pin!(going_on);
    let mut wakeups = inner.db.wakeups();
    let came = loop {
        tokio::select! {
            biased;
            came = &mut going_on => break came,
            () = cancel.cancelled() => {
                // The turn gives back what it holds.
                inner.running.stop_own(answer);
                let _ = going_on.await;
                return Err(context.interruption(job.id).unwrap_or(JobError::Released));
            }
            () = stopped(inner, workspace, payload.approval, &mut wakeups) => {
                inner.running.stop_own(answer);
            }
        }
    };
    match came {
        Ok(()) => Ok(()),
        Err(Trouble::Over(why)) => fail(inner, workspace, payload.approval, &why).await,
        Err(Trouble::Again(error)) if error.code == "SHUTTING_DOWN" => Err(JobError::Released),
        Err(Trouble::Again(error)) if job.is_at_last_attempt() => {
            tracing::warn!(%error, approval = %payload.approval, "a turn could not go on");
            fail(inner, workspace, payload.approval, &error.message).await
        }
        Err(Trouble::Again(error)) => Err(JobError::retry(error.message)),
    }
}

/// Waits until the turn was stopped, by whichever process.
async fn stopped(
    inner: &Inner,
    workspace: WorkspaceId,
    id: ApprovalId,
    wakeups: &mut Receiver<Wakeup>,
) {
    loop {
        woken(wakeups, Wakeup::Stops, LOOK).await;
        let looking = async {
            let mut conn = inner.db.read().await?;
            approvals::get(&mut conn, workspace, id).await
        };
        match looking.await {
            Ok(Some(approval)) if approval.status == ApprovalStatus::Failed => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "whether a turn was stopped could not be read"),
        }
    }
}

/// Why a turn does not go on.
enum Trouble {
    /// It may later.
    Again(DomainError),
    /// It never will.
    Over(String),
}

impl From<DomainError> for Trouble {
    fn from(error: DomainError) -> Self {
        Self::Again(error)
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Again(error.into())
    }
}

async fn fail(inner: &Inner, workspace: WorkspaceId, id: ApprovalId, why: &str) -> Outcome {
    let failing = async {
        let mut tx = inner.db.write().await?;
        let ended = Ended { status: ApprovalStatus::Failed, answer: None, error: Some(why) };
        approvals::finish(&mut tx, workspace, id, ended, inner.ambient.now()).await?;
        tx.commit().await
    };
    let failed: Result<(), StorageError> = failing.await;
    failed.map_err(|error| JobError::retry(error.to_string()))
}

/// Goes on with the turn, if it is decided or its time is over.
async fn go_on(
    inner: &Arc<Inner>,
    workspace: WorkspaceId,
    id: ApprovalId,
    answer: MessageId,
) -> Result<(), Trouble> {
    let Some((approval, paused)) = decided(inner, workspace, id).await? else { return Ok(()) };
    let approvals::PausedTurn { turn, sent_at, result } = paused;
    let turn: PausedTurn = serde_json::from_value(turn)
        .map_err(|error| Trouble::Over(format!("the stored turn does not read: {error}")))?;
    let resumed = Resumed {
        call: turn.call.clone(),
        rounds: turn.rounds,
        told: turn.told.clone(),
        sent: sent_at.is_some(),
        result,
        approval,
    };
    let (events, _reader) = mpsc::channel(1);
    let (work, asking) = Box::pin(work(inner, resumed, turn, answer, events)).await?;
    let last = Box::pin(run::go_on(work, asking)).await;
    came_to(inner, workspace, id, last).await
}

/// The approval and the turn so far, once it is decided; `None` while it is not, and when it is over.
async fn decided(
    inner: &Inner,
    workspace: WorkspaceId,
    id: ApprovalId,
) -> Result<Option<(Approval, approvals::PausedTurn)>, StorageError> {
    let now = inner.ambient.now();
    let mut conn = inner.db.read().await?;
    let Some(approval) = approvals::get(&mut conn, workspace, id).await? else { return Ok(None) };
    if approval.status == ApprovalStatus::Waiting {
        drop(conn);
        if now < approval.expires_at {
            return Ok(None);
        }
        let mut tx = inner.db.write().await?;
        let decided = Decided { status: ApprovalStatus::Expired, by: None, note: None };
        approvals::decide(&mut tx, workspace, id, decided, now).await?;
        tx.commit().await?;
        conn = inner.db.read().await?;
    }
    let Some(approval) = approvals::get(&mut conn, workspace, id).await? else { return Ok(None) };
    let paused = approvals::paused_turn(&mut conn, workspace, id).await?;
    Ok(paused.map(|paused| (approval, paused)))
}

/// Everything that a turn needs, read anew.
async fn work(
    inner: &Arc<Inner>,
    resumed: Resumed,
    turn: PausedTurn,
    answer: MessageId,
    events: mpsc::Sender<TurnEvent>,
) -> Result<(Work, Asking), Trouble> {
    let gone = |what: &str| Trouble::Over(format!("the {what} is not there any more"));
    let (workspace, id) = (resumed.approval.workspace_id, resumed.approval.conversation_id);
    let mut conn = inner.db.read().await?;
    let agent = agents::get(&mut conn, workspace, resumed.approval.agent_id).await?;
    let agent = agent.ok_or_else(|| gone("agent"))?;
    let edition = edition(&mut conn, &resumed.approval).await?;
    let conversation = conversations::get(&mut conn, workspace, id).await?;
    let conversation = conversation.ok_or_else(|| gone("conversation"))?;
    let question = messages::get(&mut conn, workspace, turn.asked).await?;
    let question = question.ok_or_else(|| gone("message"))?;
    if agent.status != AgentStatus::Active {
        return Err(Trouble::Over(begin::paused(agent.status).message));
    }
    if conversation.handler != Answerer::Bot {
        return Err(Trouble::Over(taken_over()));
    }
    let (agent, asked_of) = begin::as_edition(&mut conn, agent, &edition).await?;
    let datastores = begin::datastores_of(&mut conn, &agent).await?;
    let budgets = budgets::list(&mut conn, workspace).await?;
    let candidates = inner.candidates(&mut conn, &agent).await?;
    drop(conn);
    let payer =
        Payer { agent: Some(agent.id), api_key: turn.api_key, visitor: turn.visitor.clone() };
    let first = candidates.first().map(|first| first.name.as_str());
    let catalogue = inner.options.catalogue.clone();
    let expected = expected(&catalogue, first, &agent.settings, &question.content);
    let holds = spending::plan(&budgets, &payer, expected, inner.ambient.now());
    let spending = Spending { payer, holds, meter: Arc::default() };
    let model = TurnModel::new(candidates, catalogue, spending.meter.clone());
    let model = model.ok_or_else(|| gone("model"))?;
    let key =
        TurnKey { workspace, agent: agent.id, conversation: id, question: question.id, answer };
    let registration = inner.running.register(key, &inner.stop).ok_or_else(begin::busy)?;
    let place = inner.queue.enter(id).map_err(|_| begin::busy())?;
    begin::hold_for(inner, workspace, answer, &spending.holds).await.map_err(
        |error| match error.code {
            "USAGE_LIMIT" | "RATE_LIMITED" => Trouble::Over(error.message),
            _ => Trouble::Again(error),
        },
    )?;
    let work = Work {
        inner: inner.clone(),
        model: Some(model),
        spending,
        agent,
        asked_of,
        datastores,
        said: Said::new(&question.content),
        early: None,
        fresh: false,
        images: Vec::new(),
        files: Vec::new(),
        supplied: Vec::new(),
        conversation,
        question,
        answer,
        place,
        registration,
        events,
        reading: Reading::Whole,
        locked: false,
        repeated: false,
        began: Instant::now(),
    };
    let asking = asking(&work, resumed, turn);
    Ok((work, asking))
}

/// A turn that was asked of the draft goes on with the draft, while there is one.
async fn edition(conn: &mut Conn, approval: &Approval) -> Result<Edition, StorageError> {
    let (workspace, agent) = (approval.workspace_id, approval.agent_id);
    let asking = messages::get(conn, workspace, approval.message_id).await?;
    let of_draft =
        asking.and_then(|message| message.answered_from).is_some_and(|from| from.draft.is_some());
    if of_draft && versions::draft(conn, workspace, agent).await?.is_some() {
        return Ok(Edition::Draft);
    }
    Ok(Edition::Published)
}

fn asking(work: &Work, resumed: Resumed, turn: PausedTurn) -> Asking {
    let (answering, lang) = (turn.answering(), turn.lang());
    let name = work.provider().map(|(_, name)| name.to_owned()).unwrap_or_default();
    let workspace = work.workspace();
    Asking {
        request: prepare::request(work, &name, turn.messages.into_iter().map(Into::into).collect()),
        passages: turn.passages.into_iter().map(|hit| hit.into_hit(workspace)).collect(),
        answering,
        spent: None,
        follow_up: None,
        lang,
        said: turn.said,
        resumed: Some(Box::new(resumed)),
    }
}

/// What became of it: an answer was stored, a person has the conversation, or it must be tried again.
async fn came_to(
    inner: &Inner,
    workspace: WorkspaceId,
    id: ApprovalId,
    last: Option<TurnEvent>,
) -> Result<(), Trouble> {
    let mut conn = inner.db.read().await?;
    if approvals::paused_turn(&mut conn, workspace, id).await?.is_none() {
        return Ok(());
    }
    let Some(approval) = approvals::get(&mut conn, workspace, id).await? else { return Ok(()) };
    let conversation = conversations::get(&mut conn, workspace, approval.conversation_id).await?;
    if conversation.is_some_and(|conversation| conversation.handler != Answerer::Bot) {
        return Err(Trouble::Over(taken_over()));
    }
    match last {
        Some(TurnEvent::Error(error)) => Err(error.into()),
        _ => Err(begin::busy().into()),
    }
}

fn taken_over() -> String {
    "a person has the conversation; nothing was sent or said after they took it".to_owned()
}
