//! A reader of a turn that can be rejoined.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, ConversationId, DomainError, MessageId, WorkspaceId};
use storage::streams::{self, StreamEvent, StreamState, TurnStream};
use storage::{StorageError, Wakeup, conversations, messages};
use tokio::sync::{broadcast, watch};

use super::Render;
use super::log::{Log, Progress};
use crate::begin;
use crate::running::woken;
use crate::turn::{Inner, TurnEvent};

/// Between two looks at the database, so that many wake-ups cost one look.
const GAP: Duration = Duration::from_millis(100);
/// A look without a wake-up, which may have been lost.
const LOOK: Duration = Duration::from_secs(1);
/// Batches of events that are read at once.
const BATCHES: i64 = 16;
/// How far behind the events of a lost turn its last one is numbered: its process may have told some that it never
/// stored, and none of its readers is to take the end for one of those.
const UNSTORED: i64 = 1_000_000;

/// A reader of a turn that can be rejoined. It holds neither a connection nor events while it waits; dropping it
/// ends nothing.
#[derive(Debug)]
pub struct Follow {
    /// The conversation.
    pub conversation: ConversationId,
    /// The answer that is written.
    pub message: MessageId,
    /// The id of the event that the reader got last.
    position: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The turn runs in this process.
    Here(Arc<Log>, watch::Receiver<Progress>),
    /// It runs in another one, or did.
    Elsewhere(Box<Tail>),
    /// All is known.
    Known(VecDeque<Arc<StreamEvent>>),
}

/// Follows a turn by way of the database.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) inner: Arc<Inner>,
    pub(super) workspace: WorkspaceId,
    pub(super) agent: AgentId,
    pub(super) message: MessageId,
    pub(super) render: Render,
    pub(super) wakeups: broadcast::Receiver<Wakeup>,
}

/// What a look at the database finds.
enum Found {
    Events(Vec<Arc<StreamEvent>>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Over,
}

impl Follow {
    pub(super) fn here(
        conversation: ConversationId,
        message: MessageId,
        log: Arc<Log>,
        position: i64,
    ) -> Self {
        let progress = log.watch();
        Self { conversation, message, position, source: Source::Here(log, progress) }
    }

    pub(super) fn elsewhere(conversation: ConversationId, tail: Tail, position: i64) -> Self {
        let message = tail.message;
        Self { conversation, message, position, source: Source::Elsewhere(Box::new(tail)) }
    }

    pub(super) fn known(
        conversation: ConversationId,
        message: MessageId,
        events: Vec<StreamEvent>,
    ) -> Self {
        let events = events.into_iter().map(Arc::new).collect();
        Self { conversation, message, position: 0, source: Source::Known(events) }
    }

    /// The next events, at least one, as soon as there are some; `None` after the last one, and when the process stops
    /// or the database fails while another process runs the turn: it can be joined again. Nothing is lost when the
    /// caller gives up waiting.
    pub async fn next(&mut self) -> Option<Vec<Arc<StreamEvent>>> {
        let position = self.position;
        let events = match &mut self.source {
            Source::Here(log, progress) => {
                // The sender lives as long as the log, which is held here.
                let _ = progress.wait_for(|now| now.over || now.last > position).await;
                log.after(position)
            }
            Source::Elsewhere(tail) => tail.next(position).await,
            Source::Known(events) => events.drain(..).collect(),
        };
        self.position = events.last()?.id;
        Some(events)
    }
}

impl Tail {
    /// The next events; none when there will be none.
    async fn next(&mut self, position: i64) -> Vec<Arc<StreamEvent>> {
        let stop = self.inner.stop.clone();
        let next = async {
            loop {
                match self.look(position).await {
                    Ok(Found::Events(events)) => return events,
                    Ok(Found::Nothing) => self.wait().await,
                    Ok(Found::Over) => return Vec::new(),
                    Err(error) => {
                        tracing::warn!(%error, "a turn of another process can not be followed");
                        return Vec::new();
                    }
                }
            }
        };
        stop.run_until_cancelled(next).await.unwrap_or_default()
    }

    async fn wait(&mut self) {
        tokio::time::sleep(GAP).await;
        woken(&mut self.wakeups, Wakeup::Streams, LOOK).await;
    }

    /// The connection goes back before anything is waited for.
    async fn look(&self, position: i64) -> Result<Found, StorageError> {
        let Self { inner, workspace, agent, message, .. } = self;
        let mut conn = inner.db.read().await?;
        let stream = streams::get(&mut conn, *workspace, *agent, *message).await?;
        let Some(stream) = stream else { return Ok(Found::Over) };
        if stream.last_event > position {
            let events =
                streams::events(&mut conn, *workspace, *message, position, BATCHES).await?;
            if !events.is_empty() {
                return Ok(Found::Events(events.into_iter().map(Arc::new).collect()));
            }
        }
        drop(conn);
        if stream.state != StreamState::Open {
            return Ok(Found::Over);
        }
        if stream.live_until > inner.ambient.now() {
            return Ok(Found::Nothing);
        }
        self.lose(&stream).await
    }

    /// The process that ran the turn is gone. Its last event is the answer, if that was stored still.
    async fn lose(&self, stream: &TurnStream) -> Result<Found, StorageError> {
        let Self { inner, workspace, message, .. } = self;
        let mut conn = inner.db.read().await?;
        let conversation = conversations::get(&mut conn, *workspace, stream.conversation).await?;
        let reply = messages::get(&mut conn, *workspace, *message).await?;
        let event = match (conversation, reply) {
            (Some(conversation), Some(reply)) => {
                let answer = begin::answer_of(&mut conn, &conversation, reply).await?;
                TurnEvent::Done(Box::new(answer))
            }
            _ => TurnEvent::Error(turn_lost()),
        };
        drop(conn);
        let rendered = (self.render)(event);
        let id = stream.last_event.saturating_add(UNSTORED);
        let last = StreamEvent { id, kind: rendered.kind.to_owned(), data: rendered.data };
        let mut tx = inner.db.write().await?;
        streams::lose(&mut tx, *workspace, *message, &last, inner.ambient.now()).await?;
        tx.commit().await?;
        // Whoever was first: what is stored now is what everyone is told.
        Ok(Found::Nothing)
    }
}

fn turn_lost() -> DomainError {
    DomainError::unavailable(
        "TURN_LOST",
        "the process that wrote this answer came to an end; ask again",
        Duration::from_secs(1),
    )
}
