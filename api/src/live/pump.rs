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
use tokio::time::Instant;
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
    let mut owed = Owed::default();
    loop {
        let due = owed.take_due(Instant::now());
        live.tell_events_of(&due, &mut owed).await;
        let heard = tokio::select! {
            heard = news.recv() => heard,
            () = owed.wait() => continue,
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

/// Workspaces whose events could not be read, and when to try again: then, however much is heard meanwhile.
#[derive(Debug, Default)]
struct Owed {
    workspaces: HashSet<WorkspaceId>,
    due: Option<Instant>,
}

impl Owed {
    fn add(&mut self, workspace: WorkspaceId, now: Instant) {
        self.workspaces.insert(workspace);
        self.due = self.due.or(Some(now + PAUSE));
    }

    /// Those whose time has come.
    fn take_due(&mut self, now: Instant) -> Vec<WorkspaceId> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        self.workspaces.drain().collect()
    }

    /// Until their time comes, if there are any.
    async fn wait(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

impl Live {
    async fn tell_events_of(&self, workspaces: &[WorkspaceId], owed: &mut Owed) {
        for &workspace in workspaces {
            if let Err(error) = self.tell_events(workspace).await {
                tracing::warn!(error = source_chain(&error), %workspace, "events could not be read");
                owed.add(workspace, Instant::now());
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

#[cfg(test)]
mod tests {
    use domain::Ambient;

    use super::*;

    #[test]
    fn what_is_owed_is_due_after_a_pause_whatever_else_fails_meanwhile() {
        let ambient = Ambient::system();
        let (first, second): (WorkspaceId, WorkspaceId) = (ambient.new_id(), ambient.new_id());
        let (mut owed, start) = (Owed::default(), Instant::now());
        assert!(owed.take_due(start).is_empty());
        owed.add(first, start);
        assert!(owed.take_due(start + PAUSE / 2).is_empty(), "not at once");
        owed.add(second, start + PAUSE / 2);
        let due: HashSet<_> = owed.take_due(start + PAUSE).into_iter().collect();
        assert_eq!(due, HashSet::from([first, second]), "the second one puts nothing off");
        assert!(owed.take_due(start + PAUSE * 9).is_empty());
    }
}
