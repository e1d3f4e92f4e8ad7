//! The turns under way in this process: how they are stopped, and how their leases are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use domain::{Ambient, ConversationId, MessageId, WorkspaceId};
use parking_lot::Mutex;
use storage::{Db, StorageError, conversations};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a turn's lease in the database holds without being prolonged: as long as other processes wait
/// after this one died.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// How often leases are prolonged.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Leases prolonged in one transaction.
const LEASES_PER_TRANSACTION: usize = 100;

/// Why a turn ends before its answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// `Agents::stop`.
    Stopped,
    /// The process stops.
    Shutdown,
    /// Nobody reads the answer any more.
    ClientGone,
    /// The turn took too long.
    TimedOut,
    /// Another process took the turn over.
    LeaseLost,
}

const NOT_STOPPED: u8 = 0;
const STOPPED: u8 = 1;
const LEASE_LOST: u8 = 2;

#[derive(Debug)]
struct Entry {
    workspace: WorkspaceId,
    conversation: ConversationId,
    question: MessageId,
    leased: bool,
    cancel: CancellationToken,
    reason: Arc<AtomicU8>,
}

#[derive(Debug, Default)]
struct Table {
    by_answer: HashMap<MessageId, Entry>,
    by_question: HashMap<MessageId, MessageId>,
    keeper: bool,
}

/// The turns under way in this process.
#[derive(Debug)]
pub(crate) struct Running {
    /// Names this process in leases.
    pub(crate) owner: String,
    table: Mutex<Table>,
    emptied: Notify,
}

/// A turn under way. Dropping it takes it off the list.
#[derive(Debug)]
pub(crate) struct Registration {
    running: Arc<Running>,
    answer: MessageId,
    question: MessageId,
    cancel: CancellationToken,
    reason: Arc<AtomicU8>,
}

/// What names a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnKey {
    pub(crate) workspace: WorkspaceId,
    pub(crate) conversation: ConversationId,
    pub(crate) question: MessageId,
    pub(crate) answer: MessageId,
}

impl Running {
    pub(crate) fn new(ambient: &Ambient) -> Self {
        Self {
            owner: ambient.new_uuid().simple().to_string(),
            table: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    /// Puts a turn on the list; `None` when the question is being answered already.
    pub(crate) fn register(
        self: &Arc<Self>,
        key: TurnKey,
        stop: &CancellationToken,
    ) -> Option<Registration> {
        let mut table = self.table.lock();
        if table.by_question.contains_key(&key.question) {
            return None;
        }
        let (cancel, reason) = (stop.child_token(), Arc::new(AtomicU8::new(NOT_STOPPED)));
        let entry = Entry {
            workspace: key.workspace,
            conversation: key.conversation,
            question: key.question,
            leased: false,
            cancel: cancel.clone(),
            reason: reason.clone(),
        };
        table.by_question.insert(key.question, key.answer);
        table.by_answer.insert(key.answer, entry);
        let (answer, question) = (key.answer, key.question);
        Some(Registration { running: self.clone(), answer, question, cancel, reason })
    }

    /// Stops the turn that writes `answer`; `false` when there is none in this workspace.
    pub(crate) fn stop(&self, workspace: WorkspaceId, answer: MessageId) -> bool {
        let table = self.table.lock();
        let Some(entry) = table.by_answer.get(&answer).filter(|e| e.workspace == workspace) else {
            return false;
        };
        entry.reason.store(STOPPED, Ordering::Release);
        entry.cancel.cancel();
        true
    }

    /// From now on the turn's lease is prolonged until the turn is over. One task does it for all turns,
    /// so that a turn that waits for its model costs neither a timer nor a transaction of its own.
    pub(crate) fn keep_lease(
        self: &Arc<Self>,
        turn: &Registration,
        db: &Db,
        ambient: &Ambient,
        tracker: &TaskTracker,
    ) {
        let mut table = self.table.lock();
        if let Some(entry) = table.by_answer.get_mut(&turn.answer) {
            entry.leased = true;
        }
        if !table.keeper {
            table.keeper = true;
            tracker.spawn(self.clone().keep_leases(db.clone(), ambient.clone()));
        }
    }

    async fn keep_leases(self: Arc<Self>, db: Db, ambient: Ambient) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEARTBEAT) => {
                    if let Err(error) = self.prolong(&db, &ambient).await {
                        tracing::warn!(%error, "leases of turns could not be prolonged");
                    }
                }
                () = self.emptied.notified() => {}
            }
            let mut table = self.table.lock();
            if table.by_answer.is_empty() {
                table.keeper = false;
                return;
            }
        }
    }

    async fn prolong(&self, db: &Db, ambient: &Ambient) -> Result<(), StorageError> {
        let leased: Vec<(MessageId, WorkspaceId, ConversationId)> = {
            let table = self.table.lock();
            let entries = table.by_answer.iter().filter(|(_, entry)| entry.leased);
            entries.map(|(answer, entry)| (*answer, entry.workspace, entry.conversation)).collect()
        };
        for batch in leased.chunks(LEASES_PER_TRANSACTION) {
            let mut lost = Vec::new();
            let mut tx = db.write().await?;
            let now = ambient.now();
            for &(answer, workspace, conversation) in batch {
                let (owner, until) = (&self.owner, now.plus(LEASE));
                if !conversations::lock_turn(&mut tx, workspace, conversation, owner, now, until)
                    .await?
                {
                    lost.push(answer);
                }
            }
            tx.commit().await?;
            for answer in lost {
                self.lose(answer);
            }
        }
        Ok(())
    }

    fn lose(&self, answer: MessageId) {
        if let Some(entry) = self.table.lock().by_answer.get(&answer) {
            tracing::warn!(question = %entry.question, "another process took the turn over");
            entry.reason.store(LEASE_LOST, Ordering::Release);
            entry.cancel.cancel();
        }
    }
}

impl Registration {
    /// Cancelled when the turn is to end early.
    pub(crate) fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Waits until the turn is to end early.
    pub(crate) async fn cancelled(&self) -> Cut {
        self.cancel.cancelled().await;
        self.reason()
    }

    /// Why the turn was to end early.
    pub(crate) fn reason(&self) -> Cut {
        match self.reason.load(Ordering::Acquire) {
            STOPPED => Cut::Stopped,
            LEASE_LOST => Cut::LeaseLost,
            _ => Cut::Shutdown,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.running.table.lock();
        table.by_answer.remove(&self.answer);
        table.by_question.remove(&self.question);
        if table.by_answer.is_empty() {
            self.running.emptied.notify_one();
        }
    }
}
