//! Calls that wait for a person's word: asked for, decided, carried out, answered.

mod paused;
mod resume;

use std::time::Duration;

use domain::approval::{Approval, ApprovalStatus};
use domain::conversation::Handler;
use domain::job::NewJob;
use domain::{AgentId, ApiKeyId, ApprovalId, DomainError, MessageId, Timestamp, WorkspaceId};
use models::{ChatMessage, ModelError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::approvals::{self, Decided, Ended};
use storage::audit::Change;
use storage::{StorageError, Tx, conversations};

pub(crate) use paused::PausedTurn;
pub(crate) use resume::{Expire, Resume};

use crate::prepare::{Answering, Effect};
use crate::run::Work;
use crate::tools::{Called, Pending, Toolbox};
use crate::turn::Agents;

/// The kinds of the jobs.
const RESUME: &str = "agents.resume";
const EXPIRE: &str = "agents.expire";

/// Which approval.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Payload {
    approval: ApprovalId,
}

fn job(kind: &'static str, id: ApprovalId, at: Timestamp) -> NewJob {
    let mut job = NewJob::now(kind, json!({"approval": id}), at);
    job.dedupe_key = Some(id.to_string());
    job
}

/// What a person says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be made.
    Approve,
    /// It may not.
    Deny,
}

impl Agents {
    /// Decides a call that waits; the turn goes on by itself. Gives the approval as it is then; `None` when it is absent,
    /// 409 `CONFLICT` when it is decided already or its time is over.
    pub async fn decide(
        &self,
        workspace: WorkspaceId,
        id: ApprovalId,
        decision: Decision,
        by: Option<ApiKeyId>,
        note: Option<&str>,
    ) -> Result<Option<Approval>, DomainError> {
        let inner = &*self.inner;
        let status = match decision {
            Decision::Approve => ApprovalStatus::Approved,
            Decision::Deny => ApprovalStatus::Denied,
        };
        let now = inner.ambient.now();
        let mut tx = inner.db.write().await?;
        if approvals::get(&mut tx, workspace, id).await?.is_none() {
            return Ok(None);
        }
        let decided = Decided { status, by, note };
        if !approvals::decide(&mut tx, workspace, id, decided, now).await? {
            return Err(DomainError::conflict(
                "CONFLICT",
                "the call is decided already, or the time for it is over; read the approval again",
            ));
        }
        let wanted = job(RESUME, id, now);
        storage::jobs::enqueue(&mut tx, &inner.ambient, workspace, &wanted).await?;
        let approval = approvals::get(&mut tx, workspace, id).await?;
        let (before, after) = (json!({"status": "waiting"}), json!({"status": status.name()}));
        let change = Change::new("approval.decided", id).from(before).to(after);
        self.note(&mut tx, change).await?;
        tx.commit().await?;
        Ok(approval)
    }
}

/// A call that ended a turn for now.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) pending: Pending,
    /// The id of the call.
    pub(crate) call: String,
    /// The request so far.
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) rounds: u32,
}

/// An approval to be stored together with the message that tells of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    approval: Approval,
    turn: Value,
}

/// What is stored so that the turn can go on.
pub(crate) fn request(
    work: &Work,
    waiting: &Waiting,
    answering: &Answering,
    toolbox: &Toolbox<'_>,
    passages: &[retrieval::Hit],
    lang: domain::Lang,
) -> Request {
    let Waiting { pending, call, messages, rounds } = waiting;
    let now = work.inner.ambient.now();
    let payer = &work.spending.payer;
    let turn = PausedTurn {
        messages: messages.iter().map(Into::into).collect(),
        call: call.clone(),
        passages: passages.iter().map(Into::into).collect(),
        rounds: rounds + 1,
        told: toolbox.told(),
        said: toolbox.said().to_vec(),
        question: answering.question.clone(),
        evidence: answering.evidence,
        // What the model says of a person's word stands, whatever the knowledge holds.
        gated: false,
        outcome: answering.outcome.name().to_owned(),
        lang: lang.code().to_owned(),
        api_key: payer.api_key,
        visitor: payer.visitor.clone(),
        asked: work.question.id,
    };
    let approval = Approval {
        id: work.inner.ambient.new_id(),
        workspace_id: work.workspace(),
        agent_id: work.agent.id,
        conversation_id: work.conversation.id,
        question_id: work.question.id,
        message_id: work.answer,
        kind: pending.kind,
        tool: pending.tool.clone(),
        target: pending.target.clone(),
        arguments: Value::Object(pending.arguments.clone()),
        status: ApprovalStatus::Waiting,
        error: None,
        decided_by: None,
        note: None,
        decided_at: None,
        answer_id: None,
        created_at: now,
        expires_at: now.plus(Duration::from_secs(pending.hours * 3_600)),
    };
    Request { approval, turn: json!(turn) }
}

/// Stores a request, and the job that ends it when nobody decides.
pub(crate) async fn store(work: &Work, tx: &mut Tx, request: &Request) -> Result<(), StorageError> {
    let Request { approval, turn } = request;
    approvals::insert(tx, work.workspace(), approval, turn).await?;
    let wanted = job(EXPIRE, approval.id, approval.expires_at);
    storage::jobs::enqueue(tx, &work.inner.ambient, work.workspace(), &wanted).await?;
    Ok(())
}

/// Ends an approval together with the answer that it led to.
pub(crate) async fn end(
    tx: &mut Tx,
    workspace: WorkspaceId,
    (id, status): (ApprovalId, ApprovalStatus),
    answer: MessageId,
    now: Timestamp,
) -> Result<(), StorageError> {
    let ended = Ended { status, answer: Some(answer), error: None };
    approvals::finish(tx, workspace, id, ended, now).await?;
    Ok(())
}

/// Ends the approval that `message` of `agent` told of, unless it is over: its turn does not go on. Gives the customer's
/// message.
pub(crate) async fn stop(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
    now: Timestamp,
) -> Result<Option<MessageId>, StorageError> {
    let Some((id, question)) = approvals::unfinished(tx, workspace, agent, message).await? else {
        return Ok(None);
    };
    let error = Some("the turn was stopped");
    let ended = Ended { status: ApprovalStatus::Failed, answer: None, error };
    let stopped = approvals::finish(tx, workspace, id, ended, now).await?;
    Ok(stopped.then_some(question))
}

/// Whether the approval that an answer ends is over already: another worker was faster.
pub(crate) async fn is_over(
    tx: &mut Tx,
    workspace: WorkspaceId,
    effects: &[Effect],
) -> Result<bool, StorageError> {
    for effect in effects {
        if let Effect::Approved(id, _) = effect {
            return Ok(approvals::paused_turn(tx, workspace, *id).await?.is_none());
        }
    }
    Ok(false)
}

/// A turn that goes on.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) approval: Approval,
    pub(crate) call: String,
    pub(crate) rounds: u32,
    pub(crate) told: Vec<String>,
    /// When the call was about to be sent by an earlier attempt, and what came of it.
    pub(crate) sent: bool,
    pub(crate) result: Option<Value>,
}

/// Notes that the call is about to be made, in a transaction that checks once more that the conversation is the agent's.
pub(crate) async fn about_to_send(
    work: &Work,
    approval: &Approval,
    sent: bool,
) -> Result<(), ModelError> {
    let (workspace, now) = (work.workspace(), work.inner.ambient.now());
    let noting = async {
        let mut tx = work.inner.db.write().await?;
        let conversation = conversations::get(&mut tx, workspace, work.conversation.id).await?;
        let mine = conversation.is_some_and(|conversation| conversation.handler == Handler::Bot);
        let noted =
            mine && (sent || approvals::mark_sent(&mut tx, workspace, approval.id, now).await?);
        tx.commit().await?;
        Ok(noted)
    };
    let noted: Result<bool, StorageError> = noting.await;
    match noted {
        Ok(true) => Ok(()),
        Ok(false) => Err(ModelError::Unavailable("the call may not be made now".to_owned())),
        Err(error) => Err(ModelError::Unavailable(error.to_string())),
    }
}

/// Keeps what came of the call.
pub(crate) async fn keep_result(
    work: &Work,
    approval: &Approval,
    called: &Called,
) -> Result<(), ModelError> {
    let keeping = async {
        let mut tx = work.inner.db.write().await?;
        approvals::keep_result(&mut tx, work.workspace(), approval.id, &to_json(called)).await?;
        tx.commit().await
    };
    let kept: Result<(), StorageError> = keeping.await;
    kept.map_err(|error| ModelError::Unavailable(error.to_string()))
}

/// What came of a call, as it is kept.
fn to_json(called: &Called) -> Value {
    match called {
        Called::Told(text) => json!({"told": text}),
        Called::Failed(reason) => json!({"failed": reason}),
        Called::HandOff | Called::Waiting(_) => Value::Null,
    }
}

/// What is kept of a call.
pub(crate) fn from_json(kept: &Value) -> Called {
    match (kept["told"].as_str(), kept["failed"].as_str()) {
        (Some(text), _) => Called::Told(text.to_owned()),
        (None, reason) => Called::Failed(reason.unwrap_or("nothing is known of it").to_owned()),
    }
}
