//! The index in this process, in a folder: words and grams in an inverted index (tantivy, `lexical`), dense vectors
//! in an engine (qdrant-edge, `dense`), which is there only where an embedder is.
//!
//! One thread writes: it takes what concurrent callers bring as one batch, applies it, makes it durable and
//! only then answers them all. Merging and sealing segments happen on threads of their own, beside appending; sealing
//! never beside a flush of the engine. Queries run on a small pool of their own threads; those that take less time than
//! the way there and back run where they are asked (`pace.rs`). The folder is derived data:
//! one that is missing or cannot be read is begun anew and filled again from the rows.

mod dense;
mod lexical;
mod pace;
mod sealing;
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
use lexical::Lexical;
use pace::{Kind, Pace};
use writer::Command;

/// The index in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Edge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` once closed, so that the folder can be opened again.
    open: RwLock<Option<Arc<Open>>>,
    commands: mpsc::Sender<Command>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: rayon::ThreadPool,
    pace: Arc<Pace>,
    filled_mark: PathBuf,
    unfilled: AtomicBool,
}

/// What searches read.
#[derive(Debug)]
struct Open {
    lexical: Lexical,
    dense: Option<Arc<EdgeShard>>,
}

/// How many threads a look-up may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// The one that asks.
    One,
    /// Two of the readers', where one of them has nothing else to do. For readers only.
    Two,
}

impl Open {
    fn find(&self, lookup: &Lookup, threads: Threads) -> Result<Found, RetrievalError> {
        let dense = match (&lookup.dense, &self.dense) {
            (Some(query), Some(shard)) => dense::find(shard, query, lookup)?,
            _ => Vec::new(),
        };
        let (words, grams) = self.lexical.find(lookup, threads)?;
        Ok(Found { words, grams, dense })
    }
}

/// Opens what is in `path`, or makes it. What cannot be read is begun anew.
fn open(path: &Path, dimension: Option<usize>) -> Result<(Open, lexical::Writer), RetrievalError> {
    let attempt = || {
        let (lexical, writer) = Lexical::open(&path.join(LEXICAL))?;
        let dense = dimension.map(|dimension| dense::open(&path.join(DENSE), dimension));
        Ok((Open { lexical, dense: dense.transpose()?.map(Arc::new) }, writer))
    };
    let is_new = !path.exists();
    // A part that is not there would be made empty, and the others say that it is filled.
    let has_lost = !path.join(LEXICAL).join("meta.json").exists()
        || (dimension.is_some() && !path.join(DENSE).join("edge_config.json").exists());
    if has_lost {
        forget_filled(path)?;
    }
    match attempt() {
        Err(error) if is_new || lexical::is_in_use(&error) => Err(error),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the index cannot be read; it is filled again from the database");
            forget_filled(path)?;
            std::fs::remove_dir_all(path)
                .map_err(|error| RetrievalError::Index(error.to_string()))?;
            attempt()
        }
        opened => opened,
    }
}

/// Takes back that every row has its point: before anything is removed, so that what is left after a sudden end is filled.
fn forget_filled(path: &Path) -> Result<(), RetrievalError> {
    match std::fs::remove_file(path.join(FILLED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RetrievalError::Index(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Folders of the parts.
const LEXICAL: &str = "lexical";
const DENSE: &str = "dense";

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
        let (open, lexical) = open(&path, dimension)?;
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
        let dense = open.dense.clone();
        let writer = writer::start(lexical, dense, Arc::clone(&pace), commands.clone(), inbox)?;
        Ok(Self(Arc::new(Inner {
            open: RwLock::new(Some(Arc::new(open))),
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
        self.ask(|reply| Command::Remove { workspace, target, reply }).await
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
        self.read(move |open| pace.timed(kind, || open.find(&lookup, Threads::Two))).await
    }

    /// Looks up on the thread that asks.
    fn find_here(&self, kind: Kind, lookup: &Lookup) -> Result<Found, RetrievalError> {
        // Held meanwhile, so that closing waits for it.
        let open = self.0.open.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let find = || self.0.pace.timed(kind, || open.find(lookup, Threads::One));
        let broke_off = |_| RetrievalError::Index("a search in it broke off".to_owned());
        catch_unwind(AssertUnwindSafe(find)).map_err(broke_off)?
    }

    pub(crate) async fn page(&self, from: Option<Uuid>) -> Result<Page, RetrievalError> {
        self.read(move |open| open.lexical.page(from)).await
    }

    /// Runs `work` on a reader thread.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Open) -> Result<T, RetrievalError> + Send + 'static,
    ) -> Result<T, RetrievalError> {
        let open = self.0.open.read().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        self.0.readers.spawn(move || {
            // Who asked may be gone; then nobody wants the answer.
            if !reply.is_closed() {
                let outcome = work(&open);
                drop(open);
                let _ = reply.send(outcome);
            }
        });
        answer.await.map_err(|_| closed())?
    }

    pub(crate) fn ping(&self) -> Result<(), RetrievalError> {
        if self.0.open.read().is_none() { Err(closed()) } else { Ok(()) }
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
    /// Waits for the writer and for searches under way to end, then lets go of what is open: here, since the last to do
    /// so writes to its folder, which may be gone by the time that a search nobody waits for comes to its end.
    fn end(&self) {
        let open = self.open.write().take();
        let _ = self.commands.send(Command::Close);
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
        let Some(open) = open else { return };
        self.readers.broadcast(|_| ());
        let closed = writer::guarded("close", || {
            drop(open);
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
        let (words, grams) = (points[0].words(), points[0].grams());
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
                edge.read(move |open| open.find(&lookup, Threads::Two)).await.unwrap()
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
