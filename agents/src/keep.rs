//! Storing the answer: one short transaction in which it is checked again that the agent may answer.

use std::time::Duration;

use domain::conversation::{Conversation, Handler, Transition};
use domain::gap::GapReason;
use domain::message::{Author, Message, MessageKind, MessageState, Outcome};
use domain::{DomainError, ErrorKind};
use models::Usage;
use serde_json::Value;
use storage::messages::NewMessage;
use storage::{StorageError, Tx, budgets, conversations, messages, spending};

use crate::approve;
use crate::gaps::{Place, Unanswered, place, record};
use crate::prepare::{Effect, Reply};
use crate::run::{Work, model_of};
use crate::spend::Spending;
use crate::tools::{Note, note_lead};

/// How often storing is tried when the database is busy, and the first pause between two tries.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// What became of an answer.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is stored; the conversation afterwards.
    Stored(Conversation),
    /// A person has taken the conversation: it is not stored.
    TakenOver(Conversation),
    /// Another process has the turn, or the conversation is gone: it is not stored.
    Lost,
}

/// Stores `reply` and gives the turn back. The answer is written whole, partly or not at all together with
/// everything that follows from it.
pub(crate) async fn keep(
    work: &Work,
    reply: &Reply,
    state: MessageState,
    usage: Option<Usage>,
    trace: Option<Value>,
) -> Result<Kept, DomainError> {
    work.spending.meter.take_searches(&work.inner.options.catalogue);
    let message = new_message(work, reply, state, usage, trace);
    let place = gap_place(work, reply).await?;
    let mut pause = PAUSE;
    for attempt in 1.. {
        match Box::pin(try_to_keep(work, reply, (&message, attempt > 1), &place)).await {
            Err(StorageError::Unavailable(error)) if attempt < TRIES => {
                tracing::warn!(%error, attempt, "the answer could not be stored; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => {
                if !matches!(result, Ok(Kept::Stored(_) | Kept::TakenOver(_))) {
                    // Its tokens are spent all the same.
                    Box::pin(write_off(work, false)).await;
                }
                return Ok(result?);
            }
        }
    }
    Err(DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side"))
}

/// Gives the turn back without an answer. A failure only delays other processes until the lease ends.
pub(crate) async fn give_back(work: &Work) {
    work.spending.meter.take_searches(&work.inner.options.catalogue);
    if work.locked || work.spending.has_traces() {
        Box::pin(write_off(work, work.locked)).await;
    }
}

/// Writes down what a turn without an answer used, frees what it held and, if it has it, gives the turn back.
async fn write_off(work: &Work, locked: bool) {
    let writing = async {
        let mut tx = work.inner.db.write().await?;
        if locked {
            unlock(work, &mut tx).await?;
        }
        settle(work, &mut tx, &work.conversation, false).await?;
        tx.commit().await
    };
    let result: Result<(), StorageError> = writing.await;
    if let Err(error) = result {
        tracing::warn!(%error, "the turn could not be given back; its lease will end by itself");
    }
}

/// The turn's line in the ledger, in the transaction that stores its answer.
async fn settle(
    work: &Work,
    tx: &mut Tx,
    conversation: &Conversation,
    answered: bool,
) -> Result<(), StorageError> {
    let Spending { holds, .. } = &work.spending;
    if !answered && !work.spending.was_used() {
        if holds.is_empty() {
            return Ok(());
        }
        return budgets::release(tx, work.workspace(), work.answer).await;
    }
    let now = work.inner.ambient.now();
    let model = model_of(work);
    let charge = work.spending.charge(conversation, work.answer, &model, answered, now);
    spending::settle(tx, work.workspace(), &charge, holds).await
}

fn new_message(
    work: &Work,
    reply: &Reply,
    state: MessageState,
    usage: Option<Usage>,
    trace: Option<Value>,
) -> NewMessage {
    NewMessage {
        message: Message {
            id: work.answer,
            conversation_id: work.conversation.id,
            seq: 0,
            author: Author::Agent,
            operator: None,
            kind: MessageKind::Text,
            content: reply.text.clone(),
            state,
            outcome: Some(reply.outcome),
            model: Some(model_of(work)),
            reply_to: Some(work.question.id),
            prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            completion_tokens: usage.map(|usage| usage.completion_tokens),
            unsupported: reply.unsupported.clone(),
            answered_from: Some(work.asked_of.from),
            created_at: work.inner.ambient.now(),
        },
        images: Vec::new(),
        citations: reply.citations.clone(),
        tools: reply.tools.clone(),
        passages: reply.passages.clone(),
        trace,
        client_id: None,
    }
}

/// Stores the answer; `again` when it was tried before.
async fn try_to_keep(
    work: &Work,
    reply: &Reply,
    (message, again): (&NewMessage, bool),
    place: &Place,
) -> Result<Kept, StorageError> {
    let (workspace, id) = (work.workspace(), work.conversation.id);
    let now = work.inner.ambient.now();
    let turn = work.inner.running.lock(work.answer, now);
    let mut tx = work.inner.db.write().await?;
    // Taking the lease again proves that it is still ours and holds the conversation's row, so that nobody
    // can take the conversation over between this look and the commit.
    let taken = conversations::take_turn(&mut tx, workspace, id, &turn, now).await?;
    let Some(conversation) = taken else { return Ok(Kept::Lost) };
    if again && messages::get(&mut tx, workspace, work.answer).await?.is_some() {
        // The commit of an earlier try arrived although its acknowledgement did not.
        return Ok(Kept::Stored(conversation));
    }
    if approve::is_over(&mut tx, workspace, &reply.effects).await? {
        return Ok(Kept::Lost);
    }
    if conversation.handler != Handler::Bot {
        unlock(work, &mut tx).await?;
        settle(work, &mut tx, &conversation, false).await?;
        tx.commit().await?;
        return Ok(Kept::TakenOver(conversation));
    }
    messages::insert(&mut tx, workspace, message, now).await?;
    let conversation = apply_all(work, &mut tx, conversation, &reply.effects, place).await?;
    unlock(work, &mut tx).await?;
    // A question is answered once: not by the word that a person is asked.
    let answered = reply.outcome != Outcome::AwaitingApproval;
    settle(work, &mut tx, &conversation, answered).await?;
    tx.commit().await?;
    Ok(Kept::Stored(conversation))
}

/// The group that the question goes to when the answer leaves a gap.
async fn gap_place(work: &Work, reply: &Reply) -> Result<Place, DomainError> {
    if work.asked_of.is_trial {
        return Ok(Place::default());
    }
    for effect in &reply.effects {
        if let Effect::Gap { question, .. } = effect {
            let placing = Box::pin(place(&work.inner, work.workspace(), work.agent.id, question));
            let placed = work.spending.meter.tally().over(placing).await?;
            work.spending.meter.take_searches(&work.inner.options.catalogue);
            return Ok(placed);
        }
    }
    Ok(Place::default())
}

async fn unlock(work: &Work, tx: &mut Tx) -> Result<(), StorageError> {
    let owner = &work.inner.running.owner;
    conversations::unlock_turn(tx, work.workspace(), work.conversation.id, owner).await
}

async fn apply_all(
    work: &Work,
    tx: &mut Tx,
    mut conversation: Conversation,
    effects: &[Effect],
    place: &Place,
) -> Result<Conversation, StorageError> {
    for effect in effects {
        conversation = apply(work, tx, conversation, effect, place).await?;
    }
    Ok(conversation)
}

async fn apply(
    work: &Work,
    tx: &mut Tx,
    mut conversation: Conversation,
    effect: &Effect,
    place: &Place,
) -> Result<Conversation, StorageError> {
    let (workspace, now) = (work.workspace(), work.inner.ambient.now());
    match effect {
        Effect::Handoff | Effect::Resolve => {
            let transition = match effect {
                Effect::Resolve => Transition::Close,
                _ => Transition::RequestHuman,
            };
            let after =
                conversations::transition(tx, workspace, conversation.id, transition, now).await?;
            Ok(after.unwrap_or(conversation))
        }
        Effect::Ask(request) => {
            approve::store(work, tx, request).await?;
            Ok(conversation)
        }
        Effect::Approved(id, status) => {
            approve::end(tx, workspace, (*id, *status), work.answer, now).await?;
            Ok(conversation)
        }
        Effect::Job(job) => {
            storage::jobs::enqueue(tx, &work.inner.ambient, workspace, job).await?;
            Ok(conversation)
        }
        Effect::Lead(details, fields) => {
            let note = Note {
                agent: work.agent.id,
                message: work.question.id,
                details,
                fields: fields.clone(),
            };
            note_lead(&work.inner, tx, &mut conversation, note).await?;
            Ok(conversation)
        }
        // What is tried out, or evaluated, was asked by no customer.
        Effect::Gap { .. } if work.asked_of.is_trial => Ok(conversation),
        Effect::Gap { question, evidence } => {
            let unanswered = Unanswered {
                workspace,
                agent: work.agent.id,
                conversation: conversation.id,
                message: work.answer,
                question: question.clone(),
                evidence: *evidence,
                reason: GapReason::Abstained,
            };
            record(&work.inner, tx, place, &unanswered).await?;
            Ok(conversation)
        }
    }
}
