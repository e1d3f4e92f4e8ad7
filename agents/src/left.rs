//! Messages that nobody answers now: those for an agent that is paused, and those left while nobody is there.

use domain::conversation::{Conversation, Transition};
use domain::inbox::By;
use domain::message::Message;
use domain::{DomainError, MessageId};
use storage::messages::NewMessage;
use storage::{Tx, conversations, messages};

use crate::begin::{self, Admission, NewTurn};
use crate::files;
use crate::tools::{Note, note_lead};
use crate::turn::{Agents, Inner, TurnRequest};

/// What a customer left.
#[derive(Debug)]
pub struct Left {
    /// Where it is.
    pub conversation: Conversation,
    /// The message itself.
    pub message: Message,
}

/// Whom a message is left for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Whoever reads it.
    ForLater,
    /// People, who are called.
    ForPeople,
}

impl Agents {
    /// Stores a customer's message as [`start`](Self::start) does, without an answer: for an agent that is paused. A
    /// repeated `client_id` is one message. 404 for an agent or conversation that is absent, or another tenant's.
    pub async fn keep(&self, request: TurnRequest) -> Result<Left, DomainError> {
        left(&self.inner, &request, Leaving::ForLater).await
    }

    /// As [`keep`](Self::keep), for what a customer leaves with a form: people are called.
    pub async fn leave(&self, request: TurnRequest) -> Result<Left, DomainError> {
        left(&self.inner, &request, Leaving::ForPeople).await
    }
}

async fn left(inner: &Inner, request: &TurnRequest, leaving: Leaving) -> Result<Left, DomainError> {
    let admission = match (request.conversation, &request.client_id) {
        (Some(conversation), _) => Some(Admission::Conversation(conversation)),
        (None, Some(id)) => Some(Admission::Request(request.workspace, request.agent, id.clone())),
        (None, None) => None,
    };
    let _admitted = match admission {
        Some(key) => Some(inner.admissions.lock(key).await),
        None => None,
    };
    if let Some(message) = begin::asked_before(inner, request).await? {
        return again(inner, request, message).await;
    }
    let now = inner.ambient.now();
    let id = request.conversation.unwrap_or_else(|| inner.ambient.new_id());
    let mut tx = inner.db.write().await?;
    let new = begin::question_of(inner, request, id, now);
    let (mut conversation, message) = open(inner, &mut tx, request, &new).await?;
    if message.id != new.message.id {
        drop(tx);
        return again(inner, request, message).await;
    }
    files::attach(&mut tx, request, &message).await?;
    if leaving == Leaving::ForPeople {
        let calls = (Transition::RequestHuman, By::Customer);
        let (workspace, id) = (request.workspace, conversation.id);
        let called = conversations::transition_by(&mut tx, workspace, id, calls, now).await?;
        conversation = called.unwrap_or(conversation);
    }
    note_form(inner, &mut tx, request, &mut conversation, message.id).await?;
    tx.commit().await?;
    Ok(Left { conversation, message })
}

/// Stores the message in the conversation that is named, or in a new one.
async fn open(
    inner: &Inner,
    tx: &mut Tx,
    request: &TurnRequest,
    new: &NewMessage,
) -> Result<(Conversation, Message), DomainError> {
    if let Some(id) = request.conversation {
        let conversation = begin::continue_conversation(inner, tx, request, id).await?;
        let now = new.message.created_at;
        return Ok((conversation, messages::insert(tx, request.workspace, new, now).await?));
    }
    let conversation = new.message.conversation_id;
    let answer = inner.ambient.new_id();
    let turn = NewTurn { conversation, answer, first: false, recorded: false };
    begin::begin_conversation(inner, tx, request, turn, new).await
}

/// Notes the form that came with a message.
pub(crate) async fn note_form(
    inner: &Inner,
    tx: &mut Tx,
    request: &TurnRequest,
    conversation: &mut Conversation,
    message: MessageId,
) -> Result<(), DomainError> {
    if request.lead.is_empty() {
        return Ok(());
    }
    let fields = request.lead.clone();
    let note = Note { agent: request.agent, message, details: &request.contact, fields };
    note_lead(inner, tx, conversation, note).await?;
    Ok(())
}

async fn again(
    inner: &Inner,
    request: &TurnRequest,
    message: Message,
) -> Result<Left, DomainError> {
    let mut conn = inner.db.read().await?;
    let found = conversations::get(&mut conn, request.workspace, message.conversation_id).await?;
    let conversation = found.ok_or_else(|| DomainError::not_found("conversation"))?;
    Ok(Left { conversation, message })
}
