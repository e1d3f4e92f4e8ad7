//! What happens in workspaces, told to whoever listens: the events of the outbox in their order, and passing signals.
//!
//! One task reads what is new, once for all listeners of a workspace in this process, when the database says that there
//! is something; nothing polls. Each listener goes by the sequence numbers: what it has seen it skips, what it missed
//! (it came late, or was slow) it reads from the outbox itself. So an event reaches a listener once and in order, from
//! whichever process it came.

mod line;
mod presence;
mod pump;
mod subscription;

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Ambient, WorkspaceId};
use parking_lot::Mutex;
use serde_json::Value;
use storage::events::{self, Event};
use storage::{Db, StorageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use line::{End, FORBIDDEN, Frame, Line, UNAUTHORIZED, full};
pub(crate) use presence::Attendance;
use presence::Presences;
pub(crate) use subscription::{Heard, Subscription};

/// Entries that a listener may be behind before it reads from the outbox instead.
const KEPT: usize = 256;

/// The hub of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Shared>);

struct Shared {
    db: Db,
    rooms: Mutex<HashMap<WorkspaceId, Room>>,
    ambient: Ambient,
    presences: Mutex<Presences>,
    sockets: Arc<Semaphore>,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// The listeners of a workspace.
struct Room {
    told: broadcast::Sender<Told>,
    /// The number of the newest event that was told.
    last: i64,
}

/// What listeners are told.
#[derive(Debug, Clone)]
enum Told {
    Event(Arc<Event>),
    Signal(Arc<Value>),
}

impl Live {
    /// Begins to listen, until the server stops. `sockets` is how many live connections there may be.
    pub fn start(
        db: &Db,
        ambient: &Ambient,
        sockets: usize,
        tracker: &TaskTracker,
        stopping: &CancellationToken,
    ) -> Self {
        let live = Self(Arc::new(Shared {
            db: db.clone(),
            rooms: Mutex::default(),
            presences: Mutex::new(Presences::new(ambient.new_uuid().simple().to_string())),
            ambient: ambient.clone(),
            sockets: Arc::new(Semaphore::new(sockets.min(Semaphore::MAX_PERMITS))),
            tracker: tracker.clone(),
            stopping: stopping.clone(),
        }));
        tracker.spawn(pump::run(live.clone(), db.news(), stopping.clone()));
        if db.is_postgres() {
            tracker.spawn(presence::beat(live.clone(), stopping.clone()));
        }
        live
    }

    /// Cancelled when live connections are to end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Counts what lives on after its request as work under way.
    pub fn tracker(&self) -> &TaskTracker {
        &self.0.tracker
    }

    /// A place for a live connection; `None` when all are taken.
    pub fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.0.sockets.clone().try_acquire_owned().ok()
    }

    /// Listens to a workspace: to the events after number `after`, or to those from now on. `None` when the workspace is
    /// absent.
    pub async fn subscribe(
        &self,
        workspace: WorkspaceId,
        after: Option<i64>,
    ) -> Result<Option<Subscription>, StorageError> {
        let newest = events::newest(&mut self.0.db.read().await?, workspace).await?;
        let Some(newest) = newest else { return Ok(None) };
        let told = {
            let mut rooms = self.0.rooms.lock();
            let room = rooms.entry(workspace).or_insert_with(|| Room::new(newest));
            room.told.subscribe()
        };
        // An event between the look and the room's making was told to nobody: the first look at the outbox finds it.
        let after = after.unwrap_or(newest);
        Ok(Some(Subscription::new(self.0.db.clone(), workspace, told, after, newest)))
    }

    /// Tells the listeners of a workspace, in every process, something passing.
    pub async fn signal(&self, workspace: WorkspaceId, signal: &Value) -> Result<(), StorageError> {
        self.0.db.signal(workspace, &signal.to_string()).await
    }
}

impl Room {
    fn new(last: i64) -> Self {
        Self { told: broadcast::Sender::new(KEPT), last }
    }
}
