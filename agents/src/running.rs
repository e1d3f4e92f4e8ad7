//! The turns under way in this process: how they are stopped, and how their leases are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use domain::{AgentId, Ambient, ConversationId, MessageId, Timestamp, WorkspaceId};
use parking_lot::Mutex;
use storage::conversations::TurnLock;
use storage::{Db, StorageError, Wakeup, conversations, streams};
use tokio::sync::Notify;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::streams::Log;
use crate::turn::Inner;

/// How long a turn's lease in the database holds without being prolonged: as long as other processes wait
/// after this one died.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// How often leases are prolonged.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How often it is looked whether other processes want turns of this one stopped, should no wake-up tell.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

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
    agent: AgentId,
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
    /// What the readers of turns that can be rejoined are told, by answer; there until it is stored.
    logs: HashMap<MessageId, (TurnKey, Arc<Log>)>,
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

/// Keeps the log of a turn at hand for readers. Dropping it takes it off the list.
#[derive(Debug)]
pub(crate) struct Recording {
    running: Arc<Running>,
    answer: MessageId,
}

/// What names a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnKey {
    pub(crate) workspace: WorkspaceId,
    pub(crate) agent: AgentId,
    pub(crate) conversation: ConversationId,
    pub(crate) question: MessageId,
    pub(crate) answer: MessageId,
}

impl Entry {
    fn stop(&self) {
        self.reason.store(STOPPED, Ordering::Release);
        self.cancel.cancel();
    }
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
            agent: key.agent,
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

    /// Stops the turn of that agent that writes `answer`; `false` when there is none in this process.
    pub(crate) fn stop(&self, workspace: WorkspaceId, agent: AgentId, answer: MessageId) -> bool {
        let table = self.table.lock();
        let entry = table.by_answer.get(&answer);
        let Some(entry) = entry.filter(|e| e.workspace == workspace && e.agent == agent) else {
            return false;
        };
        entry.stop();
        true
    }

    /// A turn as this process takes it at `now`.
    pub(crate) fn lock(&self, answer: MessageId, now: Timestamp) -> TurnLock<'_> {
        TurnLock { owner: &self.owner, answer, until: now.plus(LEASE) }
    }

    /// Stops a turn that this process began for a job of its own.
    pub(crate) fn stop_own(&self, answer: MessageId) {
        if let Some(entry) = self.table.lock().by_answer.get(&answer) {
            entry.stop();
        }
    }

    /// Keeps what the readers of a turn are told at hand until the recording is dropped. Until the turn is over, other
    /// processes are told from time to time that this one lives.
    pub(crate) fn keep_log(
        self: &Arc<Self>,
        key: TurnKey,
        log: &Arc<Log>,
        inner: &Inner,
    ) -> Recording {
        let mut table = self.table.lock();
        table.logs.insert(key.answer, (key, log.clone()));
        self.start_keeper(&mut table, &inner.db, &inner.ambient, &inner.tracker);
        Recording { running: self.clone(), answer: key.answer }
    }

    /// What the readers of a turn of this process are told, and its conversation.
    pub(crate) fn log(
        &self,
        workspace: WorkspaceId,
        agent: AgentId,
        answer: MessageId,
    ) -> Option<(ConversationId, Arc<Log>)> {
        let table = self.table.lock();
        let (key, log) = table.logs.get(&answer)?;
        let is_theirs = key.workspace == workspace && key.agent == agent;
        is_theirs.then(|| (key.conversation, log.clone()))
    }

    /// The answer that is being written to a question in this process.
    pub(crate) fn answering(&self, question: MessageId) -> Option<MessageId> {
        self.table.lock().by_question.get(&question).copied()
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
        self.start_keeper(&mut table, db, ambient, tracker);
    }

    fn start_keeper(
        self: &Arc<Self>,
        table: &mut Table,
        db: &Db,
        ambient: &Ambient,
        tracker: &TaskTracker,
    ) {
        if !table.keeper {
            table.keeper = true;
            tracker.spawn(self.clone().keep_leases(db.clone(), ambient.clone()));
        }
    }

    async fn keep_leases(self: Arc<Self>, db: Db, ambient: Ambient) {
        let mut wakeups = db.wakeups();
        let mut heartbeat = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(heartbeat) => {
                    heartbeat = Instant::now() + HEARTBEAT;
                    if let Err(error) = self.prolong(&db, &ambient).await {
                        tracing::warn!(%error, "leases of turns could not be prolonged");
                    }
                }
                () = woken(&mut wakeups, Wakeup::Stops, LOOK) => {
                    if let Err(error) = self.stop_wanted(&db).await {
                        tracing::warn!(%error, "requests to stop turns could not be read");
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
        let (leased, records): (Vec<(MessageId, WorkspaceId, ConversationId)>, bool) = {
            let table = self.table.lock();
            let entries = table.by_answer.iter().filter(|(_, entry)| entry.leased);
            let leased =
                entries.map(|(answer, entry)| (*answer, entry.workspace, entry.conversation));
            (leased.collect(), !table.logs.is_empty())
        };
        if records {
            let mut tx = db.write().await?;
            streams::prolong(&mut tx, &self.owner, ambient.now().plus(LEASE)).await?;
            tx.commit().await?;
        }
        for batch in leased.chunks(LEASES_PER_TRANSACTION) {
            let mut lost = Vec::new();
            let mut tx = db.write().await?;
            let now = ambient.now();
            for &(answer, workspace, conversation) in batch {
                let turn = self.lock(answer, now);
                if !conversations::lock_turn(&mut tx, workspace, conversation, &turn, now).await? {
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

    /// Stops the turns whose end other processes want.
    async fn stop_wanted(&self, db: &Db) -> Result<(), StorageError> {
        let mut conn = db.read().await?;
        let mut wanted = conversations::stops_wanted(&mut conn, &self.owner).await?;
        if !self.table.lock().logs.is_empty() {
            wanted.extend(streams::stops_wanted(&mut conn, &self.owner).await?);
        }
        drop(conn);
        let table = self.table.lock();
        for (workspace, answer) in wanted {
            let entry = table.by_answer.get(&answer).filter(|entry| entry.workspace == workspace);
            if let Some(entry) = entry.filter(|entry| !entry.cancel.is_cancelled()) {
                entry.stop();
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

/// Waits for a wake-up of that kind, at most for `patience`: then it is time to look all the same.
pub(crate) async fn woken(wakeups: &mut Receiver<Wakeup>, which: Wakeup, patience: Duration) {
    let woken = async {
        loop {
            match wakeups.recv().await {
                Ok(wakeup) if wakeup == which => return,
                Err(RecvError::Lagged(_)) => return,
                Ok(_) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _ = tokio::time::timeout(patience, woken).await;
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

impl Drop for Recording {
    fn drop(&mut self) {
        self.running.table.lock().logs.remove(&self.answer);
    }
}
