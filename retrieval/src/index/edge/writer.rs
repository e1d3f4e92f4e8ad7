//! The thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use qdrant_edge::{
    EdgeShard, Filter, PointInsertOperations, PointOperations, PointStructPersisted,
    UpdateOperation,
};
use tokio::sync::oneshot;

use super::shard;
use crate::RetrievalError;
use crate::index::Point;

/// Where the outcome of a command goes.
pub(super) type Reply = oneshot::Sender<Result<(), RetrievalError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Upsert { points: Vec<Point>, reply: Reply },
    Remove { filter: Box<Filter>, reply: Reply },
    Optimize { reply: Reply },
    Close,
}

/// Points that may wait in an unsealed segment: appending to one costs time in the square of its size.
const SEAL_AT: usize = 2_000;
/// Points worth sealing when nothing else is to be done.
const SEAL_WHEN_QUIET: usize = 200;
/// How long nothing must arrive before it counts as quiet.
const QUIET: Duration = Duration::from_secs(2);
/// Points of one operation; larger ones make the log's segments grow.
const OPERATION: usize = 64;
/// Points that are made durable together at most, so that the first of them does not wait for long.
const BATCH: usize = 512;

pub(super) fn start(
    shard: Arc<EdgeShard>,
    inbox: Receiver<Command>,
) -> Result<JoinHandle<()>, RetrievalError> {
    let writer = Writer { unsealed: shard::unsealed(&shard), shard, touched: false };
    std::thread::Builder::new()
        .name("index-writer".to_owned())
        .spawn(move || writer.run(&inbox))
        .map_err(|error| RetrievalError::Index(error.to_string()))
}

struct Writer {
    shard: Arc<EdgeShard>,
    /// Points appended since segments were sealed last.
    unsealed: usize,
    /// Whether anything was written since the log was trimmed last.
    touched: bool,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            let first = match inbox.recv_timeout(QUIET) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    if self.unsealed >= SEAL_WHEN_QUIET {
                        self.tidy();
                    }
                    // Nothing to do until something comes: no reason to wake up again before.
                    match inbox.recv() {
                        Ok(command) => command,
                        Err(_) => return,
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !self.take_turn(first, inbox) {
                return;
            }
            if self.unsealed >= SEAL_AT {
                self.tidy();
            }
        }
    }

    /// Applies `first` and what waits behind it, makes it durable once, and answers. `false` on close.
    fn take_turn(&mut self, first: Command, inbox: &Receiver<Command>) -> bool {
        let mut done: Vec<(Reply, Result<(), RetrievalError>)> = Vec::new();
        let mut open = true;
        let mut written = 0;
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Upsert { points, reply } => {
                    written += points.len();
                    let outcome = self.upsert(points);
                    done.push((reply, outcome));
                }
                Command::Remove { filter, reply } => {
                    written += 1;
                    let outcome = self.apply(UpdateOperation::PointOperation(
                        PointOperations::DeletePointsByFilter(*filter),
                    ));
                    done.push((reply, outcome));
                }
                Command::Optimize { reply } => {
                    let due = self.unsealed >= SEAL_WHEN_QUIET;
                    let outcome = if due { self.seal() } else { Ok(()) };
                    done.push((reply, outcome));
                }
                Command::Close => {
                    open = false;
                    break;
                }
            }
            if written < BATCH {
                next = inbox.try_recv().ok();
            }
        }
        let durable = self.flush();
        for (reply, outcome) in done {
            let _ = reply.send(outcome.and(durable.clone().map_err(RetrievalError::Index)));
        }
        open
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

    fn flush(&mut self) -> Result<(), String> {
        if !self.touched {
            return Ok(());
        }
        let flushed = guarded("flush", || {
            self.shard.flush();
            Ok::<(), String>(())
        });
        if flushed.is_ok() {
            self.touched = false;
        }
        flushed
    }

    /// Seals what was appended. Durability first: sealing writes segments of its own.
    fn seal(&mut self) -> Result<(), RetrievalError> {
        let started = std::time::Instant::now();
        self.flush().map_err(RetrievalError::Index)?;
        let sealed = guarded("optimize", || self.shard.optimize().map(|_| ()));
        if let Err(error) = &sealed {
            tracing::error!(%error, "sealing the index failed; it is tried again later");
        }
        // What failed now would fail on every append: it gets its next chance with the next batch.
        self.unsealed = 0;
        shard::trim_log(self.shard.path());
        metrics::histogram!("vocero_index_seal_seconds").record(started.elapsed().as_secs_f64());
        sealed.map_err(RetrievalError::Index)
    }

    /// Seals on its own account: nobody waits for the outcome, and `seal` has logged a failure.
    fn tidy(&mut self) {
        let _ = self.seal();
    }
}

/// Runs a call into the engine, which panics on some failures of the disk: a panic becomes an error, since
/// the writer must go on for the other callers.
fn guarded<E: std::fmt::Display>(
    what: &str,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: the engine broke off")),
    }
}
