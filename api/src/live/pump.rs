//! Reads what is new and tells the listeners.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::WorkspaceId;
use serde_json::Value;
use storage::events::{self, Event};
use storage::{News, StorageError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Live, Told};
use crate::error::source_chain;

/// Events read at once.
const PAGE: i64 = 200;
/// Before another try to read what could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stopping`.
pub(super) async fn run(live: Live, news: broadcast::Receiver<News>, stopping: CancellationToken) {
    stopping.run_until_cancelled(listen(live, news)).await;
}

async fn listen(live: Live, mut news: broadcast::Receiver<News>) {
    // Workspaces whose events could not be read.
    let mut owed = HashSet::new();
    loop {
        let heard = if owed.is_empty() {
            news.recv().await
        } else {
            let Ok(heard) = tokio::time::timeout(PAUSE, news.recv()).await else {
                let workspaces: Vec<_> = owed.drain().collect();
                live.tell_events_of(&workspaces, &mut owed).await;
                continue;
            };
            heard
        };
        match heard {
            Ok(News::Events(workspace)) => live.tell_events_of(&[workspace], &mut owed).await,
            Ok(News::Signal(workspace, text)) => live.tell_signal(workspace, &text),
            Ok(News::Missed) | Err(RecvError::Lagged(_)) => {
                let workspaces: Vec<_> = live.0.rooms.lock().keys().copied().collect();
                live.tell_events_of(&workspaces, &mut owed).await;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

impl Live {
    async fn tell_events_of(&self, workspaces: &[WorkspaceId], owed: &mut HashSet<WorkspaceId>) {
        for &workspace in workspaces {
            if let Err(error) = self.tell_events(workspace).await {
                tracing::warn!(error = source_chain(&error), %workspace, "events could not be read");
                owed.insert(workspace);
            }
        }
    }

    async fn tell_events(&self, workspace: WorkspaceId) -> Result<(), StorageError> {
        while let Some(last) = self.last_told(workspace) {
            let page = events::list(&mut self.0.db.read().await?, workspace, last, PAGE).await?;
            if page.is_empty() {
                break;
            }
            self.tell(workspace, page);
        }
        Ok(())
    }

    /// The number of the newest event that was told; `None` where nobody listens any more.
    fn last_told(&self, workspace: WorkspaceId) -> Option<i64> {
        let mut rooms = self.0.rooms.lock();
        let room = rooms.get(&workspace)?;
        if room.told.receiver_count() == 0 {
            rooms.remove(&workspace);
            return None;
        }
        Some(room.last)
    }

    fn tell(&self, workspace: WorkspaceId, page: Vec<Event>) {
        let mut rooms = self.0.rooms.lock();
        let Some(room) = rooms.get_mut(&workspace) else { return };
        for event in page {
            room.last = room.last.max(event.seq);
            // Whoever listened may have gone.
            let _ = room.told.send(Told::Event(Arc::new(event)));
        }
    }

    fn tell_signal(&self, workspace: WorkspaceId, text: &str) {
        let Ok(signal) = serde_json::from_str(text) else {
            tracing::debug!(%workspace, "a signal that is no JSON");
            return;
        };
        if !self.hear_presence(workspace, &signal) {
            self.tell_here(workspace, signal);
        }
    }

    /// Tells the listeners of this process something passing.
    pub(super) fn tell_here(&self, workspace: WorkspaceId, signal: Value) {
        if let Some(room) = self.0.rooms.lock().get(&workspace) {
            // Whoever listened may have gone.
            let _ = room.told.send(Told::Signal(Arc::new(signal)));
        }
    }
}
