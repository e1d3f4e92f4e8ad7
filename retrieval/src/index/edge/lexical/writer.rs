//! Writing: what is appended and removed is seen by searches once it is committed.

use std::collections::HashSet;

use domain::ids::PrefixedId;
use domain::{ChunkId, WorkspaceId};
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{IndexWriter, Term};

use super::fields::Fields;
use super::merging::{Size, due};
use super::{Lexical, failed};
use crate::RetrievalError;
use crate::index::{IndexTarget, Point};

/// The one who writes.
pub(in super::super) struct Writer {
    lexical: Lexical,
    inner: IndexWriter,
    /// Passages appended since the last commit.
    appended: HashSet<ChunkId>,
    /// Whether anything was written since then.
    touched: bool,
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
        // Merges are begun here, so that it is known when one ends.
        inner.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        Self { lexical, inner, appended: HashSet::new(), touched: false }
    }

    pub(in super::super) fn upsert(&mut self, points: &[Point]) -> Result<(), RetrievalError> {
        let fields = std::sync::Arc::clone(&self.lexical.fields);
        for point in points {
            let id = point.passage.id;
            self.touched = true;
            if !self.appended.insert(id) || self.lexical.holds(id)? {
                self.inner.delete_term(Fields::uuid(fields.id, id.uuid()));
            }
            self.inner.add_document(fields.document(point)).map_err(failed)?;
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
        self.inner.delete_query(Box::new(BooleanQuery::new(parts))).map_err(failed)?;
        Ok(())
    }

    /// Makes durable what was written, and has searches see it. When that fails nothing of it is there.
    pub(in super::super) fn commit(&mut self) -> Result<(), RetrievalError> {
        if !self.touched {
            return Ok(());
        }
        self.appended.clear();
        if let Err(error) = self.inner.commit() {
            self.undo();
            return Err(failed(error));
        }
        self.touched = false;
        self.lexical.publish()
    }

    /// Forgets what was written since the last commit, and goes on after an error.
    fn undo(&mut self) {
        match self.inner.rollback() {
            Ok(_) => self.touched = false,
            Err(error) => tracing::error!(%error, "the index cannot be written to"),
        }
    }

    /// Begins to merge what should be; `None` when nothing should, or something is not committed: a merge may let go of
    /// what an uncommitted removal is about (tantivy 0.27 gives the first operation after opening the number of the
    /// commit before it).
    pub(in super::super) fn merge(&mut self, is_quiet: bool) -> Option<Merge> {
        if self.touched {
            return None;
        }
        let ids = self.due(is_quiet);
        (!ids.is_empty()).then(|| Merge(self.inner.merge(&ids)))
    }

    /// Whether there is something to merge in a quiet moment.
    pub(in super::super) fn has_to_merge(&self) -> bool {
        !self.due(true).is_empty()
    }

    fn due(&self, is_quiet: bool) -> Vec<SegmentId> {
        let segments = &self.lexical.snapshot().segments;
        let sizes: Vec<Size> = segments.iter().map(|segment| segment.size()).collect();
        due(&sizes, is_quiet).into_iter().map(|at| segments[at].id()).collect()
    }

    /// Has searches see what was merged.
    pub(in super::super) fn merged(&self) -> Result<(), RetrievalError> {
        self.lexical.publish()
    }
}

fn query(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}
