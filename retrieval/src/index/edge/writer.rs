//! The thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use domain::WorkspaceId;
use qdrant_edge::EdgeShard;
use tokio::sync::oneshot;

use super::lexical;
use super::pace::Pace;
use super::sealing::Dense;
use crate::RetrievalError;
use crate::background::step_back;
use crate::index::{IndexTarget, Point};

/// Where the outcome of a command goes.
pub(super) type Reply = oneshot::Sender<Result<(), RetrievalError>>;

/// What the writer is asked to do, and told.
pub(super) enum Command {
    Upsert { points: Vec<Point>, reply: Reply },
    Remove { workspace: WorkspaceId, target: IndexTarget, reply: Reply },
    Optimize { reply: Reply },
    Sealed(Result<(), String>),
    Merged(Result<(), String>),
    Close,
}

/// How long nothing must arrive before it counts as quiet.
const QUIET: Duration = Duration::from_secs(2);
/// While points keep coming, how long and for how many a commit waits for company: it costs about the same
/// whatever it writes.
const GATHER: Duration = Duration::from_millis(60);
const GATHERED: usize = 256;
/// How long after so many points were written together more of them are expected.
const BUSY: (Duration, usize) = (Duration::from_millis(500), 32);
/// Points that are made durable together at most, so that the first of them does not wait for long.
const BATCH: usize = 512;

pub(super) fn start(
    lexical: lexical::Writer,
    shard: Option<Arc<EdgeShard>>,
    pace: Arc<Pace>,
    commands: Sender<Command>,
    inbox: Receiver<Command>,
) -> Result<JoinHandle<()>, RetrievalError> {
    let writer = Writer {
        lexical,
        merger: None,
        may_merge: true,
        dense: shard.map(|shard| Dense::new(shard, commands.clone())),
        pace,
        commands,
        last_turn: None,
        appended: Vec::new(),
        removals: Vec::new(),
        wait_for_quiet: Vec::new(),
    };
    std::thread::Builder::new()
        .name("index-writer".to_owned())
        .spawn(move || writer.run(&inbox))
        .map_err(|error| RetrievalError::Index(error.to_string()))
}

struct Writer {
    lexical: lexical::Writer,
    /// The thread that waits for segments of words and grams to be merged, while they are.
    merger: Option<JoinHandle<()>>,
    /// Not after a merge that failed, until something is written again.
    may_merge: bool,
    /// Dense vectors, where there are any.
    dense: Option<Dense>,
    /// To tell searches when it works.
    pace: Arc<Pace>,
    /// To hear from the merger.
    commands: Sender<Command>,
    /// When points were written last, and how many together.
    last_turn: Option<(Instant, usize)>,
    /// What was appended and is not durable yet.
    appended: Vec<(Reply, Result<(), RetrievalError>)>,
    /// What was removed and is not durable yet: from a segment that is being sealed, only once it is.
    removals: Vec<(Reply, Result<(), RetrievalError>)>,
    /// Who wants to know when nothing is left to be sealed or merged.
    wait_for_quiet: Vec<Reply>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Command>) {
        step_back();
        while let Some(first) = self.next(inbox) {
            self.pace.writes();
            if !self.take_turn(first, inbox) {
                break;
            }
        }
        if let Some(dense) = &mut self.dense {
            dense.join();
        }
        if let Some(merger) = self.merger.take() {
            let _ = merger.join();
        }
        self.answer();
    }

    /// Waits for a command. Tidies up when nothing comes for a while; `None` when nobody is left to command.
    fn next(&mut self, inbox: &Receiver<Command>) -> Option<Command> {
        let is_sealing = self.dense.as_ref().is_some_and(Dense::is_sealing);
        if !is_sealing {
            self.pace.has_written();
        }
        let seals = !is_sealing && self.dense.as_ref().is_some_and(Dense::has_to_seal);
        if seals || self.has_to_merge() {
            match inbox.recv_timeout(QUIET) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => self.tidy_up(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        inbox.recv().ok()
    }

    fn busy(&self) -> bool {
        self.last_turn.is_some_and(|(at, points)| at.elapsed() < BUSY.0 && points >= BUSY.1)
    }

    /// Applies `first` and what waits behind it, makes it durable once, and answers. `false` on close.
    fn take_turn(&mut self, first: Command, inbox: &Receiver<Command>) -> bool {
        let mut written = 0;
        let gather_until = self.busy().then(|| Instant::now() + GATHER);
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Upsert { points, reply } => {
                    written += points.len();
                    self.may_merge = true;
                    let outcome = self.upsert(&points);
                    self.appended.push((reply, outcome));
                }
                Command::Remove { workspace, target, reply } => {
                    written += 1;
                    self.may_merge = true;
                    let outcome = self.remove(workspace, target);
                    self.removals.push((reply, outcome));
                }
                Command::Optimize { reply } => {
                    self.wait_for_quiet.push(reply);
                    self.may_merge = true;
                    self.answer();
                    self.tidy_up();
                    self.tell_when_quiet(&Ok(()));
                }
                Command::Sealed(outcome) => {
                    if let Some(dense) = &mut self.dense {
                        dense.sealed(&outcome);
                    }
                    self.tell_when_quiet(&outcome);
                }
                Command::Merged(outcome) => self.merged(&outcome),
                Command::Close => return false,
            }
            let left = gather_until.map(|until| until.saturating_duration_since(Instant::now()));
            next = match left {
                Some(left) if written > 0 && written < GATHERED => inbox.recv_timeout(left).ok(),
                _ if written < BATCH => inbox.try_recv().ok(),
                _ => None,
            };
        }
        self.answer();
        self.last_turn = Some((Instant::now(), written));
        if let Some(dense) = &mut self.dense {
            dense.seal_when_many();
        }
        self.merge(false);
        true
    }

    /// Vectors first, and words and grams only with them: what is listed (`page`) is there as a whole, and what is not
    /// is gone from both.
    fn upsert(&mut self, points: &[Point]) -> Result<(), RetrievalError> {
        if let Some(dense) = &mut self.dense {
            dense.upsert(points)?;
        }
        guarded("write", || self.lexical.upsert(points)).map_err(RetrievalError::Index)
    }

    fn remove(
        &mut self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        if let Some(dense) = &mut self.dense {
            dense.remove(workspace, target)?;
        }
        guarded("write", || self.lexical.remove(workspace, target)).map_err(RetrievalError::Index)
    }

    /// Makes durable what was applied, and answers for it.
    fn answer(&mut self) {
        let flushed = self.dense.as_mut().map_or(Ok(()), Dense::flush);
        let durable = flushed.and_then(|()| guarded("commit", || self.lexical.commit()));
        if let Err(error) = &durable {
            // Those that are kept back, too: what was not committed is lost.
            for (_, outcome) in self.removals.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
                *outcome = Err(RetrievalError::Index(error.clone()));
            }
        }
        let is_sealing = self.dense.as_ref().is_some_and(Dense::is_sealing);
        let removals = if is_sealing { 0 } else { self.removals.len() };
        for (reply, outcome) in self.appended.drain(..).chain(self.removals.drain(..removals)) {
            let _ = reply.send(outcome.and(durable.clone().map_err(RetrievalError::Index)));
        }
    }

    /// Seals and merges with time for it.
    fn tidy_up(&mut self) {
        if let Some(dense) = &mut self.dense
            && !dense.is_sealing()
            && dense.has_to_seal()
        {
            self.pace.writes();
            dense.seal_in_quiet();
        }
        self.merge(true);
    }

    fn has_to_merge(&self) -> bool {
        self.may_merge && self.merger.is_none() && self.lexical.has_to_merge(true)
    }

    /// Begins to merge segments of words and grams, on a thread of its own, where there are too many.
    fn merge(&mut self, is_quiet: bool) {
        if !self.may_merge || self.merger.is_some() || !self.lexical.has_to_merge(is_quiet) {
            return;
        }
        let commands = self.commands.clone();
        let (hand_over, begun) = std::sync::mpsc::sync_channel::<lexical::Merge>(1);
        let work = move || {
            let Ok(merge) = begun.recv() else { return };
            let started = Instant::now();
            let merged = guarded("merge", || merge.wait());
            metrics::histogram!("vocero_index_merge_seconds")
                .record(started.elapsed().as_secs_f64());
            let _ = commands.send(Command::Merged(merged));
        };
        // The thread first: a merge that nobody waits for would not be noticed.
        match std::thread::Builder::new().name("index-merger".to_owned()).spawn(work) {
            Ok(merger) => {
                if let Some(merge) = self.lexical.merge(is_quiet) {
                    let _ = hand_over.send(merge);
                    self.merger = Some(merger);
                }
            }
            Err(error) => {
                tracing::error!(%error, "no thread to merge the index; it is tried again later");
            }
        }
    }

    fn merged(&mut self, outcome: &Result<(), String>) {
        if let Some(merger) = self.merger.take() {
            let _ = merger.join();
        }
        let seen = guarded("merge", || self.lexical.merged(outcome.is_err()));
        let outcome = outcome.clone().and(seen);
        if let Err(error) = &outcome {
            tracing::error!(%error, "merging the index failed; it is tried again with the next passages");
            self.may_merge = false;
        }
        if !self.wait_for_quiet.is_empty() {
            self.answer();
            self.tidy_up();
        }
        self.tell_when_quiet(&outcome);
    }

    /// Tells those who wait for it that nothing is being sealed or merged.
    fn tell_when_quiet(&mut self, outcome: &Result<(), String>) {
        let is_sealing = self.dense.as_ref().is_some_and(Dense::is_sealing);
        if is_sealing || self.merger.is_some() {
            return;
        }
        for reply in self.wait_for_quiet.drain(..) {
            let _ = reply.send(outcome.clone().map_err(RetrievalError::Index));
        }
    }
}

/// Runs a call into the engine, which panics on some failures of the disk: a panic becomes an error, since
/// the writer must go on for the other callers.
pub(super) fn guarded<E: std::fmt::Display>(
    what: &str,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: the engine broke off")),
    }
}
