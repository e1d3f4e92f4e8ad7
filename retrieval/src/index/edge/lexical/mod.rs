//! Words and grams: an inverted index (tantivy) in a folder.
//!
//! It keeps how often each term stands in each passage and how long the passage is; BM25's weights follow from both when
//! a query is scored. Of what tantivy can do only its segments, postings and columns are used: what a term of a question
//! weighs comes from the statistics of the datastores asked (`stats`), and scoring term by term (`segment.rs`) is
//! several times as fast as a query tree over a hundred terms.

mod fields;
mod merging;
mod segment;
mod top;
mod writer;

use std::path::Path;
use std::sync::Arc;

use domain::ChunkId;
use domain::ids::PrefixedId;
use parking_lot::RwLock;
use tantivy::directory::META_LOCK;
use tantivy::directory::error::LockError;
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Directory, Index, TantivyError};
use uuid::Uuid;

use super::Threads;
use crate::RetrievalError;
use crate::index::{Belonging, Lookup, PAGE, Page, Sparse};
use fields::Fields;
use segment::Segment;
use top::Top;
pub(super) use writer::Writer;

/// What a search sees: the segments of the last commit.
#[derive(Debug, Default)]
struct Snapshot {
    segments: Vec<Arc<Segment>>,
}

/// The index as searches read it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lexical {
    index: Index,
    fields: Arc<Fields>,
    current: Arc<RwLock<Arc<Snapshot>>>,
}

/// Words and grams that were found.
pub(super) type Both = (Vec<(ChunkId, f32)>, Vec<(ChunkId, f32)>);

/// Which of the two vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Words,
    Grams,
}

/// Bytes that passages may take before they are written out; few come together.
const WRITER_MEMORY: usize = 32 << 20;

/// How the error ends of an index that another process has open.
const IN_USE: &str = "is in use by another process";

/// Whether opening failed because another process has it open.
pub(super) fn is_in_use(error: &RetrievalError) -> bool {
    matches!(error, RetrievalError::Index(error) if error.ends_with(IN_USE))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the shape that `map_err` takes")]
fn failed(error: impl ToString) -> RetrievalError {
    RetrievalError::Index(error.to_string())
}

impl Lexical {
    /// Opens the index in `path`, or makes it. What is not readable is an error.
    pub(super) fn open(path: &Path) -> Result<(Self, Writer), RetrievalError> {
        std::fs::create_dir_all(path).map_err(failed)?;
        let directory = tantivy::directory::MmapDirectory::open(path).map_err(failed)?;
        let (schema, fields) = fields::schema();
        let index = Index::open_or_create(directory, schema).map_err(failed)?;
        index.tokenizers().register(fields::TERMS, fields::Terms::default());
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_MEMORY)
            .build();
        let writer = index.writer_with_options(options).map_err(|error| match error {
            TantivyError::LockFailure(LockError::LockBusy, _) => {
                failed(format!("{} {IN_USE}", path.display()))
            }
            error => failed(error),
        })?;
        let lexical = Self { index, fields: Arc::new(fields), current: Arc::default() };
        lexical.publish()?;
        let writer = Writer::new(lexical.clone(), writer);
        Ok((lexical, writer))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// Has searches see what is committed. For the writer, and when it is opened.
    fn publish(&self) -> Result<(), RetrievalError> {
        let before = self.snapshot();
        // Files of segments that are being opened are not removed meanwhile.
        let _lock = self.index.directory().acquire_lock(&META_LOCK).map_err(failed)?;
        let metas = self.index.searchable_segments().map_err(failed)?;
        let segment = |meta: tantivy::Segment| {
            let known = before.segments.iter().find(|segment| segment.is(&meta));
            known.map_or_else(
                || Segment::open(&meta, &self.fields).map(Arc::new).map_err(failed),
                |known| Ok(Arc::clone(known)),
            )
        };
        let segments = metas.into_iter().map(segment).collect::<Result<_, _>>()?;
        *self.current.write() = Arc::new(Snapshot { segments });
        Ok(())
    }

    /// The best passages by words and by grams, best first; those that are equally good by their ids.
    pub(super) fn find(&self, lookup: &Lookup, threads: Threads) -> Result<Both, RetrievalError> {
        let (mut words, mut grams) = (Top::new(lookup.limit), Top::new(lookup.limit));
        let asks = |query: &Option<Sparse>| query.as_ref().is_some_and(|query| !query.is_empty());
        if asks(&lookup.words) || asks(&lookup.grams) {
            for segment in &self.snapshot().segments {
                let eligible = segment.eligible(lookup, &self.fields).map_err(failed)?;
                let score = |side, query: &Option<Sparse>, top: &mut Top| match query {
                    Some(query) => segment.score(side, query, &eligible, top),
                    None => Ok(()),
                };
                let mut words = || score(Side::Words, &lookup.words, &mut words);
                let mut grams = || score(Side::Grams, &lookup.grams, &mut grams);
                let (words, grams) = match threads {
                    Threads::One => (words(), grams()),
                    Threads::Two => rayon::join(words, grams),
                };
                words.and(grams).map_err(failed)?;
            }
        }
        Ok((words.into_sorted(), grams.into_sorted()))
    }

    /// The passages from `from` on, in the order of their ids.
    pub(super) fn page(&self, from: Option<Uuid>) -> Result<Page, RetrievalError> {
        let from = from.unwrap_or_default();
        let mut rows: Vec<(Uuid, Option<Belonging>)> = Vec::new();
        for segment in &self.snapshot().segments {
            rows.extend(segment.from(from, PAGE + 1).map_err(failed)?);
        }
        rows.sort_unstable_by_key(|(id, _)| *id);
        let next = rows.get(PAGE).map(|(id, _)| *id);
        rows.truncate(PAGE);
        let known =
            |(id, belonging): (Uuid, Option<Belonging>)| Some((ChunkId::from_uuid(id), belonging?));
        Ok(Page { points: rows.into_iter().filter_map(known).collect(), next })
    }

    /// Whether a passage is committed.
    fn holds(&self, id: ChunkId) -> Result<bool, RetrievalError> {
        for segment in &self.snapshot().segments {
            if segment.holds(id.uuid(), &self.fields).map_err(failed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
