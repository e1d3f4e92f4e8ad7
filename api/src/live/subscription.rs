//! One listener's view of a workspace.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::WorkspaceId;
use serde_json::Value;
use storage::events::{self, Event};
use storage::{Db, StorageError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Told;

/// Events read at once.
const PAGE: i64 = 100;

/// Listens to a workspace. Dropping it ends that.
pub(crate) struct Subscription {
    db: Db,
    workspace: WorkspaceId,
    told: broadcast::Receiver<Told>,
    /// The number of the newest event that was handed out.
    last: i64,
    /// Read from the outbox, not handed out yet.
    backlog: VecDeque<Arc<Event>>,
    /// Whether there may be events after `last` that nobody will tell.
    behind: bool,
    /// Whether the listener asks for events that are gone.
    reset: bool,
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// An event, once and in order.
    Event(Arc<Event>),
    /// Something passing.
    Signal(Arc<Value>),
    /// Events before this number are gone: what is shown is to be read anew.
    Reset(i64),
    /// The server ends.
    Closed,
}

impl Subscription {
    pub(super) fn new(
        db: Db,
        workspace: WorkspaceId,
        told: broadcast::Receiver<Told>,
        after: i64,
        newest: i64,
    ) -> Self {
        // Numbers that were never given: another database than the listener knew, a restored backup.
        let reset = after > newest;
        let last = if reset { newest } else { after };
        Self { db, workspace, told, last, backlog: VecDeque::new(), behind: true, reset }
    }

    /// The number of the newest event that was handed out, or after which there will be some.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// The next thing. May be dropped before it ends: nothing is lost.
    pub async fn next(&mut self) -> Result<Heard, StorageError> {
        loop {
            if self.reset {
                self.reset = false;
                return Ok(Heard::Reset(self.last));
            }
            if let Some(event) = self.backlog.pop_front() {
                if event.seq > self.last + 1 {
                    self.backlog.push_front(event.clone());
                    self.last = event.seq - 1;
                    return Ok(Heard::Reset(self.last));
                }
                self.last = event.seq;
                return Ok(Heard::Event(event));
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            match self.told.recv().await {
                Ok(Told::Signal(signal)) => return Ok(Heard::Signal(signal)),
                Ok(Told::Event(event)) if event.seq <= self.last => {}
                Ok(Told::Event(event)) if event.seq == self.last + 1 => {
                    self.last = event.seq;
                    return Ok(Heard::Event(event));
                }
                Ok(Told::Event(_)) | Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Ok(Heard::Closed),
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StorageError> {
        let mut conn = self.db.read().await?;
        let page = events::list(&mut conn, self.workspace, self.last, PAGE).await?;
        self.behind = i64::try_from(page.len()).is_ok_and(|read| read == PAGE);
        self.backlog.extend(page.into_iter().map(Arc::new));
        Ok(())
    }
}
