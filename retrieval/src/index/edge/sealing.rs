//! Writing dense vectors: appended to the engine, flushed, and sealed on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Instant;

use domain::WorkspaceId;
use qdrant_edge::{
    EdgeShard, PointInsertOperations, PointOperations, PointStructPersisted, UpdateOperation,
};

use super::dense;
use super::writer::{Command, guarded};
use crate::RetrievalError;
use crate::index::{IndexTarget, Point};

/// Points that may wait in an unsealed segment.
const SEAL_AT: usize = 1_000;
/// Points worth sealing when nothing else is to be done.
const SEAL_WHEN_QUIET: usize = 200;
/// Segments that are left unmerged while many points come: merging rewrites them.
const SEGMENTS_WHEN_BUSY: usize = 8;
/// The same after many points came: a query looks at each segment by itself, which costs it some 0.1 ms.
const SEGMENTS_AFTERWARDS: usize = 1;
/// Points of one operation: queries wait for it to end where they meet it in the unsealed segment.
const OPERATION: usize = 16;
/// Tries to flush while segments are being sealed.
const FLUSHES: usize = 5;

/// What the writer does with dense vectors.
pub(super) struct Dense {
    shard: Arc<EdgeShard>,
    /// To tell the writer when they are sealed.
    commands: Sender<Command>,
    /// Points appended since segments were sealed last.
    unsealed: usize,
    /// Whether points came so fast that segments were left unmerged.
    scattered: bool,
    /// Whether anything was written since the last flush.
    touched: bool,
    /// The thread that seals, while it does.
    sealer: Option<JoinHandle<()>>,
}

impl Dense {
    pub(super) fn new(shard: Arc<EdgeShard>, commands: Sender<Command>) -> Self {
        let unsealed = dense::unsealed(&shard);
        let scattered = shard.info().segments_count > dense::SEGMENTS + 1;
        Self { shard, commands, unsealed, scattered, touched: false, sealer: None }
    }

    pub(super) fn is_sealing(&self) -> bool {
        self.sealer.is_some()
    }

    pub(super) fn has_to_seal(&self) -> bool {
        self.scattered || self.unsealed >= SEAL_WHEN_QUIET
    }

    pub(super) fn join(&mut self) {
        if let Some(sealer) = self.sealer.take() {
            let _ = sealer.join();
        }
    }

    pub(super) fn upsert(&mut self, points: &[Point]) -> Result<(), RetrievalError> {
        let mut points: Vec<PointStructPersisted> =
            points.iter().filter_map(dense::point).collect();
        while !points.is_empty() {
            let rest = points.split_off(points.len().min(OPERATION));
            self.unsealed += points.len();
            let list = PointInsertOperations::PointsList(std::mem::replace(&mut points, rest));
            self.apply(UpdateOperation::PointOperation(PointOperations::UpsertPoints(list)))?;
        }
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        let filter = dense::target_filter(workspace, target);
        let remove = PointOperations::DeletePointsByFilter(filter);
        self.apply(UpdateOperation::PointOperation(remove))
    }

    fn apply(&mut self, operation: UpdateOperation) -> Result<(), RetrievalError> {
        self.touched = true;
        guarded("write", || self.shard.update(operation)).map_err(RetrievalError::Index)
    }

    /// Makes durable what was applied.
    pub(super) fn flush(&mut self) -> Result<(), String> {
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

    /// Seals while points keep coming, once there are many.
    pub(super) fn seal_when_many(&mut self) {
        if self.sealer.is_none() && self.unsealed >= SEAL_AT {
            self.scattered = true;
            self.seal(SEGMENTS_WHEN_BUSY);
        }
    }

    /// Seals with time for it: segments that were left unmerged are merged.
    pub(super) fn seal_in_quiet(&mut self) {
        let segments = if self.scattered { SEGMENTS_AFTERWARDS } else { dense::SEGMENTS };
        self.scattered = false;
        self.seal(segments);
    }

    /// Begins to seal what was appended, on a thread of its own: it takes a while, most of it waiting for the
    /// disk, and points are appended to a new segment meanwhile. For what is flushed.
    fn seal(&mut self, segments: usize) {
        if let Err(error) = dense::leave_unmerged(&self.shard, segments) {
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

    pub(super) fn sealed(&mut self, outcome: &Result<(), String>) {
        self.join();
        if let Err(error) = outcome {
            tracing::error!(%error, "sealing the index failed; it is tried again later");
        }
        dense::trim_log(self.shard.path());
    }
}
