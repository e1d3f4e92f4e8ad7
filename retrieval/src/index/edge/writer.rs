//! The thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qdrant_edge::{
    EdgeShard, Filter, PointInsertOperations, PointOperations, PointStructPersisted,
    UpdateOperation,
};
use tokio::sync::oneshot;

use super::pace::Pace;
use super::shard;
use crate::RetrievalError;
use crate::index::Point;

/// Where the outcome of a command goes.
pub(super) type Reply = oneshot::Sender<Result<(), RetrievalError>>;

/// What the writer is asked to do, and told.
pub(super) enum Command {
    Upsert { points: Vec<Point>, reply: Reply },
    Remove { filter: Box<Filter>, reply: Reply },
    Optimize { reply: Reply },
    Sealed(Result<(), String>),
    Close,
}

/// Points that may wait in an unsealed segment: appending to one costs time in the square of its size.
const SEAL_AT: usize = 1_000;
/// Points worth sealing when nothing else is to be done.
const SEAL_WHEN_QUIET: usize = 200;
/// How long nothing must arrive before it counts as quiet.
const QUIET: Duration = Duration::from_secs(2);
/// Segments that are left unmerged while many points come: merging rewrites them.
const SEGMENTS_WHEN_BUSY: usize = 8;
/// The same after many points came: a query looks at each segment by itself, which costs it some 0.1 ms.
const SEGMENTS_AFTERWARDS: usize = 1;
/// Points of one operation: queries wait for it to end where they meet it in the unsealed segment.
const OPERATION: usize = 16;
/// Tries to flush while segments are being sealed.
const FLUSHES: usize = 5;
/// While points keep coming, how long and for how many a flush waits for company: it costs about the same
/// whatever it writes, and a segment that is being exchanged meanwhile has queries wait for it.
const GATHER: Duration = Duration::from_millis(60);
const GATHERED: usize = 256;
/// How long after so many points were written together more of them are expected.
const BUSY: (Duration, usize) = (Duration::from_millis(500), 32);
/// Points that are made durable together at most, so that the first of them does not wait for long.
const BATCH: usize = 512;

pub(super) fn start(
    shard: Arc<EdgeShard>,
    pace: Arc<Pace>,
    commands: Sender<Command>,
    inbox: Receiver<Command>,
) -> Result<JoinHandle<()>, RetrievalError> {
    let unsealed = shard::unsealed(&shard);
    let scattered = shard.info().segments_count > shard::SEGMENTS + 1;
    let writer = Writer {
        shard,
        pace,
        commands,
        unsealed,
        scattered,
        touched: false,
        last_turn: None,
        appended: Vec::new(),
        removals: Vec::new(),
        sealer: None,
        wait_for_seal: Vec::new(),
    };
    std::thread::Builder::new()
        .name("index-writer".to_owned())
        .spawn(move || writer.run(&inbox))
        .map_err(|error| RetrievalError::Index(error.to_string()))
}

struct Writer {
    shard: Arc<EdgeShard>,
    /// To tell searches when it works.
    pace: Arc<Pace>,
    /// To hear from the sealer.
    commands: Sender<Command>,
    /// Points appended since segments were sealed last.
    unsealed: usize,
    /// Whether points came so fast that segments were left unmerged.
    scattered: bool,
    /// Whether anything was written since the last flush.
    touched: bool,
    /// When points were written last, and how many together.
    last_turn: Option<(Instant, usize)>,
    /// What was appended and is not durable yet.
    appended: Vec<(Reply, Result<(), RetrievalError>)>,
    /// What was removed and is not durable yet: from a segment that is being sealed, only once it is.
    removals: Vec<(Reply, Result<(), RetrievalError>)>,
    /// The thread that seals, while it does.
    sealer: Option<JoinHandle<()>>,
    /// Who wants to know when it has.
    wait_for_seal: Vec<Reply>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Command>) {
        while let Some(first) = self.next(inbox) {
            self.pace.writes();
            if !self.take_turn(first, inbox) {
                break;
            }
        }
        if let Some(sealer) = self.sealer.take() {
            let _ = sealer.join();
        }
        self.answer();
    }

    /// Waits for a command. Seals when nothing comes for a while; `None` when nobody is left to command.
    fn next(&mut self, inbox: &Receiver<Command>) -> Option<Command> {
        if self.sealer.is_none() {
            self.pace.has_written();
        }
        if self.sealer.is_none() && (self.scattered || self.unsealed >= SEAL_WHEN_QUIET) {
            match inbox.recv_timeout(QUIET) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => {
                    self.pace.writes();
                    self.seal_in_quiet();
                }
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
                    let outcome = self.upsert(points);
                    self.appended.push((reply, outcome));
                }
                Command::Remove { filter, reply } => {
                    written += 1;
                    let outcome = self.apply(UpdateOperation::PointOperation(
                        PointOperations::DeletePointsByFilter(*filter),
                    ));
                    self.removals.push((reply, outcome));
                }
                Command::Optimize { reply } => self.optimize(reply),
                Command::Sealed(outcome) => self.sealed(&outcome),
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
        if self.sealer.is_none() && self.unsealed >= SEAL_AT {
            self.scattered = true;
            self.seal(SEGMENTS_WHEN_BUSY);
        }
        true
    }

    fn upsert(&mut self, points: Vec<Point>) -> Result<(), RetrievalError> {
        let mut points: Vec<PointStructPersisted> =
            points.into_iter().map(shard::point).collect::<Result<_, _>>()?;
        while !points.is_empty() {
            let rest = points.split_off(points.len().min(OPERATION));
            self.unsealed += points.len();
            let list = PointInsertOperations::PointsList(std::mem::replace(&mut points, rest));
            self.apply(UpdateOperation::PointOperation(PointOperations::UpsertPoints(list)))?;
        }
        Ok(())
    }

    fn apply(&mut self, operation: UpdateOperation) -> Result<(), RetrievalError> {
        self.touched = true;
        guarded("write", || self.shard.update(operation)).map_err(RetrievalError::Index)
    }

    /// Makes durable what was applied, and answers for it.
    fn answer(&mut self) {
        let durable = self.flush();
        let removals = if self.sealer.is_none() { self.removals.len() } else { 0 };
        for (reply, outcome) in self.appended.drain(..).chain(self.removals.drain(..removals)) {
            let _ = reply.send(outcome.and(durable.clone().map_err(RetrievalError::Index)));
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        if !self.touched {
            return Ok(());
        }
        // The engine breaks off a flush where it finds its list of segments locked, which the sealer does for
        // moments: asking for the list first waits for them.
        let mut flushed = Ok(());
        for _ in 0..FLUSHES {
            self.shard.info();
            flushed = guarded("flush", || {
                self.shard.flush();
                Ok::<(), String>(())
            });
            if flushed.is_ok() || self.sealer.is_none() {
                break;
            }
        }
        if flushed.is_ok() {
            self.touched = false;
        }
        flushed
    }

    fn optimize(&mut self, reply: Reply) {
        if self.sealer.is_none() && (self.scattered || self.unsealed >= SEAL_WHEN_QUIET) {
            self.seal_in_quiet();
        }
        if self.sealer.is_none() {
            let _ = reply.send(Ok(()));
        } else {
            self.wait_for_seal.push(reply);
        }
    }

    /// Seals with time for it: segments that were left unmerged are merged.
    fn seal_in_quiet(&mut self) {
        let segments = if self.scattered { SEGMENTS_AFTERWARDS } else { shard::SEGMENTS };
        self.scattered = false;
        self.seal(segments);
    }

    /// Begins to seal what was appended, on a thread of its own: it takes a while, most of it waiting for the
    /// disk, and points are appended to a new segment meanwhile. Durability first.
    fn seal(&mut self, segments: usize) {
        self.answer();
        if let Err(error) = shard::leave_unmerged(&self.shard, segments) {
            tracing::error!(%error, "the index keeps its number of segments");
        }
        // What cannot be sealed now would fail on every append: it gets its next chance with the next ones.
        self.unsealed = 0;
        let (shard, commands) = (Arc::clone(&self.shard), self.commands.clone());
        let work = move || {
            let started = Instant::now();
            let sealed = guarded("optimize", || shard.optimize().map(|_| ()));
            metrics::histogram!("vocero_index_seal_seconds")
                .record(started.elapsed().as_secs_f64());
            drop(shard);
            let _ = commands.send(Command::Sealed(sealed));
        };
        match std::thread::Builder::new().name("index-sealer".to_owned()).spawn(work) {
            Ok(sealer) => self.sealer = Some(sealer),
            Err(error) => {
                tracing::error!(%error, "no thread to seal the index; it is tried again later");
            }
        }
    }

    fn sealed(&mut self, outcome: &Result<(), String>) {
        if let Some(sealer) = self.sealer.take() {
            let _ = sealer.join();
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "sealing the index failed; it is tried again later");
        }
        shard::trim_log(self.shard.path());
        for reply in std::mem::take(&mut self.wait_for_seal) {
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
