//! Storing the answer: one short transaction in which it is checked again that the agent may answer.

use std::time::Duration;

use domain::contact::ContactDetails;
use domain::conversation::{Conversation, Handler, Transition};
use domain::message::{Author, Message, MessageState};
use domain::{DomainError, ErrorKind};
use models::Usage;
use serde_json::{Value, json};
use storage::gaps::Gap;
use storage::messages::NewMessage;
use storage::{StorageError, Tx, contacts, conversations, events, gaps, messages};

use crate::prepare::{Effect, Reply};
use crate::run::Work;
use crate::running::LEASE;

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
    trace: Value,
) -> Result<Kept, DomainError> {
    let message = new_message(work, reply, state, usage, trace);
    let mut pause = PAUSE;
    for attempt in 1.. {
        match Box::pin(try_to_keep(work, reply, &message)).await {
            Err(StorageError::Unavailable(error)) if attempt < TRIES => {
                tracing::warn!(%error, attempt, "the answer could not be stored; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return Ok(result?),
        }
    }
    Err(DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side"))
}

/// Gives the turn back without an answer. A failure only delays other processes until the lease ends.
pub(crate) async fn give_back(work: &Work) {
    if !work.locked {
        return;
    }
    let unlocking = async {
        let mut tx = work.inner.db.write().await?;
        unlock(work, &mut tx).await?;
        tx.commit().await
    };
    let result: Result<(), StorageError> = Box::pin(unlocking).await;
    if let Err(error) = result {
        tracing::warn!(%error, "the turn could not be given back; its lease will end by itself");
    }
}

fn new_message(
    work: &Work,
    reply: &Reply,
    state: MessageState,
    usage: Option<Usage>,
    trace: Value,
) -> NewMessage {
    NewMessage {
        message: Message {
            id: work.answer,
            conversation_id: work.conversation.id,
            seq: 0,
            author: Author::Agent,
            content: reply.text.clone(),
            state,
            outcome: Some(reply.outcome),
            model: Some(work.inner.model_name(&work.agent).to_owned()),
            reply_to: Some(work.question.id),
            prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            completion_tokens: usage.map(|usage| usage.completion_tokens),
            created_at: work.inner.ambient.now(),
        },
        citations: reply.citations.clone(),
        trace: Some(trace),
        client_id: None,
    }
}

async fn try_to_keep(
    work: &Work,
    reply: &Reply,
    message: &NewMessage,
) -> Result<Kept, StorageError> {
    let (workspace, id) = (work.workspace(), work.conversation.id);
    let now = work.inner.ambient.now();
    let owner = &work.inner.running.owner;
    let mut tx = work.inner.db.write().await?;
    // Taking the lease again proves that it is still ours and holds the conversation's row, so that nobody
    // can take the conversation over between this look and the commit.
    if !conversations::lock_turn(&mut tx, workspace, id, owner, now, now.plus(LEASE)).await? {
        return Ok(Kept::Lost);
    }
    let Some(conversation) = conversations::get(&mut tx, workspace, id).await? else {
        return Ok(Kept::Lost);
    };
    if messages::get(&mut tx, workspace, work.answer).await?.is_some() {
        // The commit of an earlier try arrived although its acknowledgement did not.
        return Ok(Kept::Stored(conversation));
    }
    if conversation.handler != Handler::Bot {
        unlock(work, &mut tx).await?;
        tx.commit().await?;
        return Ok(Kept::TakenOver(conversation));
    }
    messages::insert(&mut tx, workspace, message, now).await?;
    let conversation = apply(work, &mut tx, conversation, &reply.effect).await?;
    unlock(work, &mut tx).await?;
    tx.commit().await?;
    Ok(Kept::Stored(conversation))
}

async fn unlock(work: &Work, tx: &mut Tx) -> Result<(), StorageError> {
    let owner = &work.inner.running.owner;
    conversations::unlock_turn(tx, work.workspace(), work.conversation.id, owner).await
}

async fn apply(
    work: &Work,
    tx: &mut Tx,
    conversation: Conversation,
    effect: &Effect,
) -> Result<Conversation, StorageError> {
    let (workspace, now) = (work.workspace(), work.inner.ambient.now());
    match effect {
        Effect::None => Ok(conversation),
        Effect::Handoff => {
            let transition = Transition::RequestHuman;
            let after =
                conversations::transition(tx, workspace, conversation.id, transition, now).await?;
            Ok(after.unwrap_or(conversation))
        }
        Effect::Lead(details) => note_lead(work, tx, conversation, details).await,
        Effect::Gap { question, evidence } => {
            let gap = Gap {
                id: work.inner.ambient.new_id(),
                agent_id: work.agent.id,
                conversation_id: conversation.id,
                message_id: work.answer,
                question: question.clone(),
                evidence: *evidence,
                created_at: now,
            };
            gaps::insert(tx, workspace, &gap).await?;
            Ok(conversation)
        }
    }
}

/// Puts the details on the conversation's contact, or on the one that they name.
async fn note_lead(
    work: &Work,
    tx: &mut Tx,
    mut conversation: Conversation,
    details: &ContactDetails,
) -> Result<Conversation, StorageError> {
    let (workspace, now) = (work.workspace(), work.inner.ambient.now());
    let mut details = details.clone();
    if let Some(id) = conversation.contact_id
        && let Some(known) = contacts::get(tx, workspace, id).await?
    {
        // What is known already leads to the contact that the conversation has.
        details.email = details.email.or(known.email);
        details.phone = details.phone.or(known.phone);
    }
    let visitor = conversation.visitor_id.clone();
    let ambient = &work.inner.ambient;
    let contact = contacts::resolve(tx, ambient, workspace, visitor.as_ref(), &details).await?;
    let Some(contact) = contact else { return Ok(conversation) };
    if conversation.contact_id != Some(contact.id) {
        conversations::set_contact(tx, workspace, conversation.id, contact.id).await?;
        conversation.contact_id = Some(contact.id);
    }
    let payload = json!({
        "contactId": contact.id,
        "conversationId": conversation.id,
        "agentId": work.agent.id,
        "messageId": work.question.id,
    });
    let subject = contact.id.to_string();
    events::insert(tx, workspace, "lead.captured", &subject, &payload, now).await?;
    Ok(conversation)
}
