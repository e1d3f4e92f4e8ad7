//! Writing: what is appended and removed is seen by searches once it is committed.

use std::collections::HashSet;

use domain::ids::PrefixedId;
use domain::{ChunkId, WorkspaceId};
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::indexer::{IndexWriterOptions, UserOperation};
use tantivy::merge_policy::NoMergePolicy;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Directory, Index, IndexWriter, TantivyError, Term};

use super::fields::Fields;
use super::merging::{Size, due};
use super::{Lexical, failed};
use crate::RetrievalError;
use crate::background::step_back;
use crate::index::{IndexTarget, Point};

/// The one who writes.
pub(in super::super) struct Writer {
    lexical: Lexical,
    /// `None` after a failure that it did not come back from: it is started again with what is written next.
    inner: Option<IndexWriter>,
    /// Passages appended since the last commit.
    appended: HashSet<ChunkId>,
    /// Whether anything was written since then.
    touched: bool,
    /// Whether searches may not see what is committed: then nobody knows what is there.
    unseen: bool,
}

/// A merge under way: waiting for it blocks.
pub(in super::super) struct Merge(tantivy::FutureResult<Option<SegmentMeta>>);

impl Merge {
    pub(in super::super) fn wait(self) -> Result<(), String> {
        self.0.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Writer {
    pub(super) fn new(lexical: Lexical, inner: IndexWriter) -> Self {
        Self {
            lexical,
            inner: Some(inner),
            appended: HashSet::new(),
            touched: false,
            unseen: false,
        }
    }

    fn inner(&mut self) -> Result<&mut IndexWriter, RetrievalError> {
        let inner = match self.inner.take() {
            Some(inner) => inner,
            None => start(&self.lexical.index).map_err(failed)?,
        };
        Ok(self.inner.insert(inner))
    }

    pub(in super::super) fn upsert(&mut self, points: &[Point]) -> Result<(), RetrievalError> {
        let fields = std::sync::Arc::clone(&self.lexical.fields);
        for point in points {
            let id = point.passage.id;
            self.touched = true;
            let is_there = !self.appended.insert(id) || self.unseen || self.lexical.holds(id)?;
            let inner = self.inner()?;
            if is_there {
                inner.delete_term(Fields::uuid(fields.id, id.uuid()));
            }
            inner.add_document(fields.document(point)).map_err(failed)?;
        }
        Ok(())
    }

    pub(in super::super) fn remove(
        &mut self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        self.touched = true;
        let fields = &self.lexical.fields;
        let uuid = |field, uuid| query(Fields::uuid(field, uuid));
        let version = |version| query(Term::from_field_i64(fields.version, version));
        let mut parts = vec![(Occur::Must, uuid(fields.workspace, workspace.uuid()))];
        match target {
            IndexTarget::OtherVersions { source, keep } => {
                parts.push((Occur::Must, uuid(fields.source, source.uuid())));
                parts.push((Occur::MustNot, version(keep)));
            }
            IndexTarget::Version { source, version: gone } => {
                parts.push((Occur::Must, uuid(fields.source, source.uuid())));
                parts.push((Occur::Must, version(gone)));
            }
            IndexTarget::Source(source) => {
                parts.push((Occur::Must, uuid(fields.source, source.uuid())));
            }
            IndexTarget::Datastore(datastore) => {
                parts.push((Occur::Must, uuid(fields.datastore, datastore.uuid())));
            }
            IndexTarget::Workspace => {}
        }
        self.inner()?.delete_query(Box::new(BooleanQuery::new(parts))).map_err(failed)?;
        Ok(())
    }

    /// Makes durable what was written, and has searches see it. When that fails nothing of it is there.
    pub(in super::super) fn commit(&mut self) -> Result<(), RetrievalError> {
        if !self.touched {
            return self.publish_if_unseen();
        }
        self.appended.clear();
        self.touched = false;
        if let Some(mut inner) = self.inner.take() {
            self.unseen = true;
            match inner.commit() {
                Ok(_) => self.inner = Some(inner),
                Err(error) => {
                    // With it goes what was not committed. What it says of itself after a failure is not to be relied on:
                    // another one goes on from the last commit.
                    drop(inner);
                    self.inner = start(&self.lexical.index).ok();
                    return Err(failed(error));
                }
            }
            // Not before it is known on disk by its name.
            self.lexical.index.directory().sync_directory().map_err(failed)?;
        }
        self.publish_if_unseen()
    }

    fn publish_if_unseen(&mut self) -> Result<(), RetrievalError> {
        if self.unseen {
            self.lexical.publish()?;
            self.unseen = false;
        }
        Ok(())
    }

    /// Begins to merge what should be; `None` when nothing should, or something is not committed, or not known.
    pub(in super::super) fn merge(&mut self, is_quiet: bool) -> Option<Merge> {
        if self.touched || self.unseen {
            return None;
        }
        let ids = self.due(is_quiet);
        let inner = self.inner.as_mut().filter(|_| !ids.is_empty())?;
        Some(Merge(inner.merge(&ids)))
    }

    /// Whether there is something to merge, in a quiet moment or while passages keep coming.
    pub(in super::super) fn has_to_merge(&self, is_quiet: bool) -> bool {
        !self.due(is_quiet).is_empty()
    }

    fn due(&self, is_quiet: bool) -> Vec<SegmentId> {
        let segments = &self.lexical.snapshot().segments;
        let sizes: Vec<Size> = segments.iter().map(|segment| segment.size()).collect();
        due(&sizes, is_quiet).into_iter().map(|at| segments[at].id()).collect()
    }

    /// Has searches see what was merged. What a merge that failed has left is removed.
    pub(in super::super) fn merged(&mut self, has_failed: bool) -> Result<(), RetrievalError> {
        if has_failed && let Some(inner) = &self.inner {
            tidy(inner);
        }
        self.unseen = true;
        self.publish_if_unseen()
    }
}

/// Bytes that passages may take before they are written out; few come together.
const MEMORY: usize = 32 << 20;

/// The writer of an index, the only one: it goes on from the last commit.
pub(super) fn start(index: &Index) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(MEMORY)
        .build();
    // Its threads, too, are as far back as the one that starts them.
    let start = || {
        step_back();
        index.writer_with_options(options)
    };
    let started = std::thread::scope(|scope| scope.spawn(start).join());
    let writer = started.map_err(|_| TantivyError::ErrorInThread("it broke off".to_owned()))??;
    // Merges are begun by `Writer::merge` alone, so that it is known when one ends.
    writer.set_merge_policy(Box::new(NoMergePolicy));
    // The first operation would get the number of the last commit (tantivy 0.27), and a merge that is about that commit
    // would let go of what a removal with this number names.
    writer.run(std::iter::empty::<UserOperation>())?;
    tidy(&writer);
    Ok(writer)
}

/// Removes files of segments that never came to be. That happens by itself after commits and merges, but not after those
/// that failed: they would fill the disk, and stand in the way of the next with the same name.
fn tidy(writer: &IndexWriter) {
    if let Err(error) = writer.garbage_collect_files().wait() {
        tracing::warn!(%error, "files that the index does not need any more were not removed");
    }
}

fn query(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}
