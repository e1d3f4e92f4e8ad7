//! Joining a turn that was begun before.

use std::sync::Arc;

use domain::{AgentId, DomainError, MessageId, WorkspaceId};
use storage::streams::{self, StreamEvent, StreamState, TurnStream};
use storage::{Conn, conversations, messages};

use super::follow::{Follow, Tail};
use super::{Render, Rendered};
use crate::begin;
use crate::turn::{Answer, Inner, ToolStep, TurnEvent, TurnSource};

/// A turn that was begun before.
#[derive(Debug)]
pub enum Joined {
    /// What follows the given event.
    Following(Follow),
    /// The turn is over, and nothing follows the given event.
    Over,
}

/// Joins the turn of that agent that writes, or wrote, `message` after the event `after`; `None` when there was no such
/// turn that can be rejoined.
pub(crate) async fn join(
    inner: &Arc<Inner>,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
    after: i64,
    render: Render,
) -> Result<Option<Joined>, DomainError> {
    if let Some((conversation, log)) = inner.running.log(workspace, agent, message) {
        let progress = log.progress();
        if progress.over && after >= progress.last {
            return Ok(Some(Joined::Over));
        }
        return Ok(Some(Joined::Following(Follow::here(conversation, message, log, after))));
    }
    let wakeups = inner.db.wakeups();
    let mut conn = inner.db.read().await?;
    let Some(stream) = streams::get(&mut conn, workspace, agent, message).await? else {
        return Ok(None);
    };
    match stream.state {
        StreamState::Swept => from_storage(&mut conn, workspace, &stream, after, render).await,
        StreamState::Ended if after >= stream.last_event => Ok(Some(Joined::Over)),
        StreamState::Open | StreamState::Ended => {
            let inner = inner.clone();
            let tail = Tail { inner, workspace, agent, message, render, wakeups };
            Ok(Some(Joined::Following(Follow::elsewhere(stream.conversation, tail, after))))
        }
    }
}

/// As [`join`], from the first event on, for a turn that is known to have begun.
pub(crate) async fn joined_from_start(
    inner: &Arc<Inner>,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
    render: Render,
) -> Result<Option<Follow>, DomainError> {
    match join(inner, workspace, agent, message, 0, render).await? {
        Some(Joined::Following(follow)) => Ok(Some(follow)),
        Some(Joined::Over) | None => Ok(None),
    }
}

/// The stored answer, told once more. Who has seen a part of it gets the end only, which holds the whole.
async fn from_storage(
    conn: &mut Conn,
    workspace: WorkspaceId,
    stream: &TurnStream,
    after: i64,
    render: Render,
) -> Result<Option<Joined>, DomainError> {
    let conversation = conversations::get(conn, workspace, stream.conversation).await?;
    let reply = messages::get(conn, workspace, stream.message).await?;
    let (Some(conversation), Some(reply)) = (conversation, reply) else { return Ok(None) };
    let answer = begin::answer_of(conn, &conversation, reply).await?;
    let mut told: Vec<Rendered> = events_of(answer).into_iter().map(render).collect();
    let count = i64::try_from(told.len()).unwrap_or(i64::MAX);
    let last = stream.last_event.max(count);
    if after >= last {
        return Ok(Some(Joined::Over));
    }
    if after > 0 {
        told.drain(..told.len().saturating_sub(1));
    }
    let count = told.len();
    let numbered = (1..).zip(told).map(|(number, Rendered { kind, data })| {
        // The end has the number that it had.
        let id = if usize::try_from(number) == Ok(count) { last } else { number };
        StreamEvent { id, kind: kind.to_owned(), data }
    });
    let events: Vec<StreamEvent> = numbered.collect();
    let follow = Follow::known(stream.conversation, stream.message, events);
    Ok(Some(Joined::Following(follow)))
}

/// An answer as a stream tells it.
pub(crate) fn events_of(answer: Answer) -> Vec<TurnEvent> {
    let mut all: Vec<TurnEvent> = Vec::new();
    all.extend(answer.tools.iter().cloned().map(ToolStep::of).map(TurnEvent::Tool));
    let sources = answer.citations.iter().cloned();
    all.extend(sources.map(|citation| TurnEvent::Source(Box::new(TurnSource { citation }))));
    all.extend((!answer.text.is_empty()).then(|| TurnEvent::Token(answer.text.clone())));
    all.push(TurnEvent::Done(Box::new(answer)));
    all
}
