//! Waiting for a turn's time: first within this process, then for the lease in the database.

use std::time::Duration;

use domain::DomainError;
use domain::conversation::{Conversation, Handler};
use domain::message::Message;
use storage::{conversations, messages};

use crate::run::Work;

/// First and longest wait between two looks at a lease that another process holds.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What a turn finds when its time has come.
pub(crate) enum Claimed {
    /// It may answer.
    Free,
    /// A person has taken the conversation meanwhile.
    Person(Conversation),
    /// Another process has answered the question meanwhile.
    Answered(Box<Message>),
}

/// Waits for the turn. At once when it was taken together with the storing of the message.
pub(crate) async fn claim(work: &mut Work) -> Result<Claimed, DomainError> {
    if work.locked {
        return Ok(Claimed::Free);
    }
    work.place.first().await;
    let mut pause = LOOKS.0;
    while !lock(work).await? {
        tokio::time::sleep(pause).await;
        pause = LOOKS.1.min(pause * 2);
    }
    if work.conversation.handler != Handler::Bot {
        return Ok(Claimed::Person(work.conversation.clone()));
    }
    if work.repeated {
        let mut conn = work.inner.db.read().await?;
        let reply = messages::reply(&mut conn, work.workspace(), work.question.id).await?;
        if let Some(reply) = reply {
            return Ok(Claimed::Answered(Box::new(reply)));
        }
    }
    Ok(Claimed::Free)
}

/// Takes the lease and reads the conversation as it is now.
async fn lock(work: &mut Work) -> Result<bool, DomainError> {
    let (workspace, id) = (work.workspace(), work.conversation.id);
    let now = work.inner.ambient.now();
    let turn = work.inner.running.lock(work.answer, now);
    let mut tx = work.inner.db.write().await?;
    let taken = conversations::take_turn(&mut tx, workspace, id, &turn, now).await?;
    let locked = taken.is_some();
    let conversation = match taken {
        Some(conversation) => Some(conversation),
        None => conversations::get(&mut tx, workspace, id).await?,
    };
    let conversation = conversation.ok_or_else(|| DomainError::not_found("conversation"))?;
    tx.commit().await?;
    work.locked = locked;
    work.conversation = conversation;
    Ok(locked)
}
