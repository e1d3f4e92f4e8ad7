//! The index in this process (qdrant-edge), in a folder.
//!
//! One thread writes: it takes what concurrent callers bring as one batch, applies it, makes it durable and
//! only then answers them all. Sealing segments happens on a thread of its own, beside appending but never
//! beside a flush. Queries run on a small pool of their own threads; those that take less time than the way there and
//! back run where they are asked (`pace.rs`). The folder is derived data:
//! one that is missing or cannot be read is begun anew and filled again from the rows.

mod pace;
mod shard;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use qdrant_edge::EdgeShard;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Found, IndexTarget, Lookup, Page, Point};
use crate::RetrievalError;
use domain::WorkspaceId;
use pace::{Kind, Pace};
use shard::Threads;
use writer::Command;

/// The index in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Edge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` once closed, so that the folder can be opened again.
    shard: RwLock<Option<Arc<EdgeShard>>>,
    commands: mpsc::Sender<Command>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: rayon::ThreadPool,
    pace: Arc<Pace>,
    filled_mark: PathBuf,
    unfilled: AtomicBool,
}

/// The file whose presence says that every row has its point.
const FILLED: &str = "filled";

impl Edge {
    /// Opens the collection in `folder`, or makes it. Blocks: call it on a blocking thread.
    pub(crate) fn open(
        folder: &Path,
        collection: &str,
        dimension: Option<usize>,
    ) -> Result<Self, RetrievalError> {
        let path = folder.join(collection);
        let shard = Arc::new(shard::open(&path, dimension)?);
        forget_earlier(folder, collection);
        let filled_mark = path.join(FILLED);
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        let readers = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("index-reader-{n}"))
            // The engine panics on some failures of the disk. Without this the process would end.
            .panic_handler(|_| tracing::error!("a search in the index broke off"))
            .build()
            .map_err(|error| RetrievalError::Index(error.to_string()))?;
        let (commands, inbox) = mpsc::channel();
        let pace = Arc::new(Pace::new());
        let writer = writer::start(Arc::clone(&shard), Arc::clone(&pace), commands.clone(), inbox)?;
        Ok(Self(Arc::new(Inner {
            shard: RwLock::new(Some(shard)),
            commands,
            writer: Mutex::new(Some(writer)),
            readers,
            pace,
            unfilled: AtomicBool::new(!filled_mark.exists()),
            filled_mark,
        })))
    }

    pub(crate) async fn upsert(&self, points: Vec<Point>) -> Result<(), RetrievalError> {
        if points.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Command::Upsert { points, reply }).await
    }

    pub(crate) async fn remove(
        &self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        let filter = shard::target_filter(workspace, target);
        self.ask(|reply| Command::Remove { filter: Box::new(filter), reply }).await
    }

    pub(crate) async fn optimize(&self) -> Result<(), RetrievalError> {
        self.ask(|reply| Command::Optimize { reply }).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(writer::Reply) -> Command,
    ) -> Result<(), RetrievalError> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn find(&self, lookup: Lookup) -> Result<Found, RetrievalError> {
        let kind = if lookup.dense.is_some() { Kind::Dense } else { Kind::Sparse };
        if self.0.pace.is_short(kind) {
            return self.find_here(kind, &lookup);
        }
        let pace = Arc::clone(&self.0.pace);
        self.read(move |shard| pace.timed(kind, || shard::find(shard, &lookup, Threads::Two))).await
    }

    /// Looks up on the thread that asks.
    fn find_here(&self, kind: Kind, lookup: &Lookup) -> Result<Found, RetrievalError> {
        // Held meanwhile, so that closing waits for it.
        let shard = self.0.shard.read();
        let shard = shard.as_ref().ok_or_else(closed)?;
        let find = || self.0.pace.timed(kind, || shard::find(shard, lookup, Threads::One));
        let broke_off = |_| RetrievalError::Index("a search in it broke off".to_owned());
        catch_unwind(AssertUnwindSafe(find)).map_err(broke_off)?
    }

    pub(crate) async fn page(&self, from: Option<Uuid>) -> Result<Page, RetrievalError> {
        self.read(move |shard| shard::page(shard, from)).await
    }

    /// Runs `work` on a reader thread.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EdgeShard) -> Result<T, RetrievalError> + Send + 'static,
    ) -> Result<T, RetrievalError> {
        let shard = self.0.shard.read().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        self.0.readers.spawn(move || {
            // Who asked may be gone; then nobody wants the answer.
            if !reply.is_closed() {
                let outcome = work(&shard);
                drop(shard);
                let _ = reply.send(outcome);
            }
        });
        answer.await.map_err(|_| closed())?
    }

    pub(crate) fn ping(&self) -> Result<(), RetrievalError> {
        if self.0.shard.read().is_none() { Err(closed()) } else { Ok(()) }
    }

    /// Ends the writer after what it was given and lets go of the folder; everything acknowledged is on
    /// disk already.
    pub(crate) async fn close(&self) {
        let inner = Arc::clone(&self.0);
        let _ = tokio::task::spawn_blocking(move || inner.end()).await;
    }

    pub(crate) fn is_unfilled(&self) -> bool {
        self.0.unfilled.load(Ordering::Acquire)
    }

    pub(crate) fn mark_filled(&self) -> Result<(), RetrievalError> {
        std::fs::write(&self.0.filled_mark, b"")
            .map_err(|error| RetrievalError::Index(error.to_string()))?;
        self.0.unfilled.store(false, Ordering::Release);
        Ok(())
    }
}

impl Inner {
    /// Waits for the writer and for searches under way to end, then lets go of the shard: here, since the last to do
    /// so writes to its folder, which may be gone by the time that a search nobody waits for comes to its end.
    fn end(&self) {
        let shard = self.shard.write().take();
        let _ = self.commands.send(Command::Close);
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
        let Some(shard) = shard else { return };
        self.readers.broadcast(|_| ());
        let closed = writer::guarded("close", || {
            drop(shard);
            Ok::<(), String>(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the index could not be written out at its end; what was acknowledged is on disk");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes what an earlier version left of the collection, in a format that nobody reads any more. The index is filled
/// from the rows.
fn forget_earlier(folder: &Path, collection: &str) {
    let numbered = |name: &str| {
        let (of, format) = name.rsplit_once("-f")?;
        Some((of.to_owned(), format.parse::<u32>().ok()?))
    };
    let (Some((of, current)), Ok(entries)) = (numbered(collection), std::fs::read_dir(folder))
    else {
        return;
    };
    for entry in entries.flatten() {
        let found = entry.file_name().to_str().and_then(numbered);
        if found.is_some_and(|(name, format)| name == of && format < current)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            let path = entry.path();
            tracing::warn!(%error, path = %path.display(), "an index of an earlier version cannot be removed");
        }
    }
}

fn closed() -> RetrievalError {
    RetrievalError::Index("it is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use domain::{Ambient, ChunkId, Lang};
    use serde_json::Map;

    use super::*;
    use crate::index::{IndexPoint, Sparse};

    const DIMENSION: usize = 4;

    #[tokio::test]
    async fn what_an_earlier_version_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["vocero-a-f2", "vocero-a-f3", "vocero-a-f4", "vocero-b-f2", "vocero-a-fx"];
        for name in names {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("vocero-a-f2/kept"), "old").unwrap();
        let edge = Edge::open(folder.path(), "vocero-a-f3", None).unwrap();
        let there = names.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true, true, true]);
        edge.close().await;
    }

    /// What was asked on the thread that asks, as on those of the readers; and after the end, an error.
    #[tokio::test]
    async fn it_is_found_the_same_wherever_it_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let edge = Edge::open(folder.path(), "here", Some(DIMENSION)).unwrap();
        let ambient = Ambient::system();
        let (workspace, datastore, source) = (ambient.new_id(), ambient.new_id(), ambient.new_id());
        let point = |(ordinal, text): (i64, &str)| {
            let at = usize::try_from(ordinal).unwrap();
            let mut dense = vec![0.1; DIMENSION];
            dense[at] = 1.0;
            Point::of(IndexPoint {
                id: ChunkId::of(source, 1, ordinal),
                workspace,
                datastore,
                source,
                version: 1,
                lang: Lang::Es,
                heading: String::new(),
                text: text.to_owned(),
                dense: Some(dense),
                metadata: Map::new(),
            })
        };
        let texts = ["La garantía dura un año.", "Enviamos a todo el país.", "La mochila es roja."];
        let points: Vec<Point> = (0..).zip(texts).map(point).collect();
        let (words, grams) = (points[0].words.clone(), points[0].grams.clone());
        edge.upsert(points).await.unwrap();

        let none = Lookup {
            datastores: vec![datastore],
            metadata: Vec::new(),
            words: None,
            grams: None,
            dense: None,
            limit: 10,
        };
        let sparse = Lookup { words: Some(words), grams: Some(grams), ..none.clone() };
        let dense = Lookup { dense: Some(vec![0.0, 1.0, 0.0, 0.0]), ..none.clone() };
        let empty = Lookup { words: Some(Sparse::default()), ..none };
        for (kind, lookup) in
            [(Kind::Sparse, sparse.clone()), (Kind::Dense, dense), (Kind::Sparse, empty)]
        {
            let here = edge.find_here(kind, &lookup).unwrap();
            let there = {
                let lookup = lookup.clone();
                edge.read(move |shard| shard::find(shard, &lookup, Threads::Two)).await.unwrap()
            };
            assert_eq!((&here.words, &here.grams), (&there.words, &there.grams));
            assert_eq!(here.dense, there.dense);
            let expected = |vector: Option<&Sparse>| vector.is_some_and(|one| !one.is_empty());
            assert_eq!(!here.words.is_empty(), expected(lookup.words.as_ref()));
            assert_eq!(!here.grams.is_empty(), expected(lookup.grams.as_ref()));
            assert_eq!(here.dense.len(), if lookup.dense.is_some() { 3 } else { 0 });
        }
        edge.close().await;
        edge.find_here(Kind::Sparse, &sparse).unwrap_err();
        edge.find(sparse).await.unwrap_err();
    }
}
