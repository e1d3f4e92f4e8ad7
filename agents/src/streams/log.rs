//! What the readers of a turn are told, in the memory of the process that runs it. Bounded by what a turn may say.

use std::sync::Arc;

use parking_lot::RwLock;
use storage::streams::StreamEvent;
use tokio::sync::watch;

use super::Rendered;

/// Events handed out at once.
const AT_ONCE: usize = 128;

/// The events of a turn so far.
#[derive(Debug, Default)]
pub(crate) struct Log {
    events: RwLock<Vec<Arc<StreamEvent>>>,
    progress: watch::Sender<Progress>,
}

/// How far a turn is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The id of the newest event; 0 before the first.
    pub(crate) last: i64,
    /// Nothing follows.
    pub(crate) over: bool,
}

impl Log {
    /// Adds an event; `over` with the last one.
    pub(super) fn push(&self, Rendered { kind, data }: Rendered, over: bool) {
        let mut events = self.events.write();
        let last = whole(events.len() + 1);
        events.push(Arc::new(StreamEvent { id: last, kind: kind.to_owned(), data }));
        drop(events);
        self.progress.send_replace(Progress { last, over });
    }

    /// Some of the events after `position`, in order.
    pub(super) fn after(&self, position: i64) -> Vec<Arc<StreamEvent>> {
        let events = self.events.read();
        let from = usize::try_from(position).unwrap_or(0).min(events.len());
        let to = events.len().min(from + AT_ONCE);
        events[from..to].to_vec()
    }

    /// How far the turn is.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Tells how the turn goes on.
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
