//! One segment: what is eligible in it, and how good that is.

use std::cell::RefCell;
use std::sync::Arc;

use domain::ids::PrefixedId;
use domain::{ChunkId, SourceId, WorkspaceId};
use tantivy::columnar::{BytesColumn, Column};
use tantivy::index::SegmentId;
use tantivy::postings::{Postings, TermInfo};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, InvertedIndexReader, SegmentReader, TERMINATED, Term};
use uuid::Uuid;

use super::fields::{Fields, column, term_text};
use super::merging::Size;
use super::{Side, Top};
use crate::index::point::{AVERAGE_GRAMS, AVERAGE_WORDS, K1, norm, single};
use crate::index::{Belonging, Lookup, Sparse};

/// Passages are scored by whole posting lists where at least this part of a segment is eligible, else one by one.
const MANY: usize = 8;

/// A segment, opened once.
pub(super) struct Segment {
    reader: SegmentReader,
    words: Terms,
    grams: Terms,
    ids: Arc<InvertedIndexReader>,
    id_high: Column<u64>,
    id_low: Column<u64>,
    version: Column<i64>,
    /// Of whom a passage is; `None` when the segment has no such column.
    workspace: Option<BytesColumn>,
    source: Option<BytesColumn>,
}

/// Posting lists of a vector.
struct Terms {
    postings: Arc<InvertedIndexReader>,
    /// Of each passage what BM25 adds to how often a term stands in it: four bytes each.
    norms: Vec<f32>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Passages that may be found.
#[derive(Debug)]
pub(super) enum Eligible {
    /// Every one of the segment.
    All,
    /// These, in their order.
    Some(Vec<DocId>),
}

impl Segment {
    pub(super) fn open(meta: &tantivy::Segment, fields: &Fields) -> tantivy::Result<Self> {
        let reader = SegmentReader::open(meta)?;
        let columns = reader.fast_fields();
        let terms = |field: Field, length: &str, average: f64| -> tantivy::Result<Terms> {
            let lengths = columns.u64(length)?;
            let norm_of = |passage: DocId| {
                single(norm(lengths.first(passage).unwrap_or_default() as f64, average))
            };
            Ok(Terms {
                postings: reader.inverted_index(field)?,
                norms: (0..reader.max_doc()).map(norm_of).collect(),
            })
        };
        Ok(Self {
            words: terms(fields.words, column::WORDS_LENGTH, AVERAGE_WORDS)?,
            grams: terms(fields.grams, column::GRAMS_LENGTH, AVERAGE_GRAMS)?,
            ids: reader.inverted_index(fields.id)?,
            id_high: columns.u64(column::ID_HIGH)?,
            id_low: columns.u64(column::ID_LOW)?,
            version: columns.i64(column::VERSION)?,
            workspace: columns.bytes(column::WORKSPACE)?,
            source: columns.bytes(column::SOURCE)?,
            reader,
        })
    }

    /// Whether this is that segment, with the same passages gone.
    pub(super) fn is(&self, meta: &tantivy::Segment) -> bool {
        self.reader.segment_id() == meta.id()
            && self.reader.delete_opstamp() == meta.meta().delete_opstamp()
    }

    pub(super) fn id(&self) -> SegmentId {
        self.reader.segment_id()
    }

    pub(super) fn size(&self) -> Size {
        Size { passages: self.reader.max_doc(), gone: self.reader.num_deleted_docs() }
    }

    fn passages(&self) -> usize {
        self.words.norms.len()
    }

    fn is_alive(&self, passage: DocId) -> bool {
        !self.reader.is_deleted(passage)
    }

    fn chunk_id(&self, passage: DocId) -> ChunkId {
        let half = |column: &Column<u64>| column.first(passage).unwrap_or_default();
        ChunkId::from_uuid(Uuid::from_u64_pair(half(&self.id_high), half(&self.id_low)))
    }

    /// The passages of the datastores asked that have the metadata asked for.
    pub(super) fn eligible(&self, lookup: &Lookup, fields: &Fields) -> tantivy::Result<Eligible> {
        let datastores =
            lookup.datastores.iter().map(|id| Fields::uuid(fields.datastore, id.uuid()));
        let datastores: Vec<TermInfo> = self.infos(fields.datastore, datastores)?;
        let whole = |info: &TermInfo| info.doc_freq as usize == self.passages();
        if lookup.metadata.is_empty() && !self.reader.has_deletes() && datastores.iter().any(whole)
        {
            return Ok(Eligible::All);
        }
        let mut eligible = self.passages_of(fields.datastore, &datastores)?;
        for tokens in &lookup.metadata {
            if eligible.is_empty() {
                break;
            }
            let tokens = tokens.iter().map(|token| Term::from_field_text(fields.metadata, token));
            let tokens = self.infos(fields.metadata, tokens)?;
            let with = self.passages_of(fields.metadata, &tokens)?;
            eligible.retain(|passage| with.binary_search(passage).is_ok());
        }
        if self.reader.has_deletes() {
            eligible.retain(|&passage| self.is_alive(passage));
        }
        Ok(Eligible::Some(eligible))
    }

    fn infos(
        &self,
        field: Field,
        terms: impl Iterator<Item = Term>,
    ) -> tantivy::Result<Vec<TermInfo>> {
        let postings = self.reader.inverted_index(field)?;
        let mut infos = Vec::new();
        for term in terms {
            infos.extend(postings.get_term_info(&term)?);
        }
        Ok(infos)
    }

    /// The passages that have one of the terms, in order.
    fn passages_of(&self, field: Field, infos: &[TermInfo]) -> tantivy::Result<Vec<DocId>> {
        let postings = self.reader.inverted_index(field)?;
        let mut passages = Vec::new();
        for info in infos {
            let mut blocks =
                postings.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            while !blocks.docs().is_empty() {
                passages.extend_from_slice(blocks.docs());
                blocks.advance();
            }
        }
        if infos.len() > 1 {
            passages.sort_unstable();
            passages.dedup();
        }
        Ok(passages)
    }

    /// Offers the eligible passages that have terms of the query.
    pub(super) fn score(
        &self,
        side: Side,
        query: &Sparse,
        eligible: &Eligible,
        top: &mut Top,
    ) -> tantivy::Result<()> {
        let terms = match side {
            Side::Words => &self.words,
            Side::Grams => &self.grams,
        };
        SCORES.with_borrow_mut(|scores| {
            scores.clear();
            match eligible {
                Eligible::Some(some) if some.len() * MANY < self.passages() => {
                    scores.resize(some.len(), 0.0);
                    terms.score_each(query, some, scores)?;
                    self.offer(scores.iter().zip(some.iter().copied()), top);
                }
                Eligible::Some(some) => {
                    scores.resize(self.passages(), 0.0);
                    terms.score_all(query, scores)?;
                    let scored = some
                        .iter()
                        .filter_map(|&passage| Some((scores.get(passage as usize)?, passage)));
                    self.offer(scored, top);
                }
                Eligible::All => {
                    scores.resize(self.passages(), 0.0);
                    terms.score_all(query, scores)?;
                    self.offer(scores.iter().zip(0..), top);
                }
            }
            Ok(())
        })
    }

    fn offer<'a>(&self, scored: impl Iterator<Item = (&'a f32, DocId)>, top: &mut Top) {
        let mut least = top.least();
        for (&score, passage) in scored {
            if score >= least {
                top.offer(self.chunk_id(passage), score);
                least = top.least();
            }
        }
    }

    /// The passages from `from` on, in the order of their ids, and to whom they belong: `limit` of them at most.
    pub(super) fn from(
        &self,
        from: Uuid,
        limit: usize,
    ) -> tantivy::Result<Vec<(Uuid, Option<Belonging>)>> {
        let mut found = Vec::new();
        let mut terms = self.ids.terms().range().ge(from.as_bytes()).into_stream()?;
        while found.len() < limit && terms.advance() {
            let Ok(id) = Uuid::from_slice(terms.key()) else { continue };
            if let Some(passage) = self.alive_with(terms.value())? {
                found.push((id, self.belonging(passage)?));
            }
        }
        Ok(found)
    }

    pub(super) fn holds(&self, id: Uuid, fields: &Fields) -> tantivy::Result<bool> {
        let Some(info) = self.ids.get_term_info(&Fields::uuid(fields.id, id))? else {
            return Ok(false);
        };
        Ok(self.alive_with(&info)?.is_some())
    }

    /// The passage of an id that is not gone.
    fn alive_with(&self, info: &TermInfo) -> tantivy::Result<Option<DocId>> {
        let mut postings = self.ids.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut passage = postings.doc();
        while passage != TERMINATED {
            if self.is_alive(passage) {
                return Ok(Some(passage));
            }
            passage = postings.advance();
        }
        Ok(None)
    }

    fn belonging(&self, passage: DocId) -> tantivy::Result<Option<Belonging>> {
        let read = |column: Option<&BytesColumn>| -> tantivy::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if let Some(column) = column
                && let Some(ordinal) = column.ords().first(passage)
            {
                column.ord_to_bytes(ordinal, &mut bytes)?;
            }
            Ok(bytes)
        };
        let workspace = read(self.workspace.as_ref())?;
        let source = read(self.source.as_ref())?;
        let belonging = || {
            Some(Belonging {
                workspace: WorkspaceId::from_uuid(Uuid::from_slice(&workspace).ok()?),
                source: SourceId::from_uuid(Uuid::from_slice(&source).ok()?),
                version: self.version.first(passage)?,
            })
        };
        Ok(belonging())
    }
}

thread_local! {
    /// Scores of the passages of a segment: kept, since there are many of them.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Terms {
    /// Adds what each passage has of the query's terms: list by list, in a row of all passages.
    fn score_all(&self, query: &Sparse, scores: &mut [f32]) -> tantivy::Result<()> {
        for (info, weight) in self.known(query) {
            let info = info?;
            let mut blocks = self
                .postings
                .read_block_postings_from_terminfo(&info, IndexRecordOption::WithFreqs)?;
            while !blocks.docs().is_empty() {
                for (&passage, &count) in blocks.docs().iter().zip(blocks.freqs()) {
                    let passage = passage as usize;
                    if let (Some(score), Some(norm)) =
                        (scores.get_mut(passage), self.norms.get(passage))
                    {
                        *score += part(weight, count, *norm);
                    }
                }
                blocks.advance();
            }
        }
        Ok(())
    }

    /// The same for a few passages of many: each list is read where they may be.
    fn score_each(
        &self,
        query: &Sparse,
        passages: &[DocId],
        scores: &mut [f32],
    ) -> tantivy::Result<()> {
        for (info, weight) in self.known(query) {
            let info = info?;
            let mut postings =
                self.postings.read_postings_from_terminfo(&info, IndexRecordOption::WithFreqs)?;
            let mut at = 0;
            while let Some(&wanted) = passages.get(at) {
                let there =
                    if postings.doc() < wanted { postings.seek(wanted) } else { postings.doc() };
                if there == TERMINATED {
                    break;
                }
                if there > wanted {
                    at += passages[at..].partition_point(|&passage| passage < there);
                    continue;
                }
                if let (Some(score), Some(norm)) =
                    (scores.get_mut(at), self.norms.get(wanted as usize))
                {
                    *score += part(weight, postings.term_freq(), *norm);
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// The query's terms that stand in the segment, with their weights.
    fn known<'a>(
        &'a self,
        query: &'a Sparse,
    ) -> impl Iterator<Item = (std::io::Result<TermInfo>, f32)> + 'a {
        query.indices.iter().zip(&query.values).filter_map(|(&index, &weight)| {
            Some((self.postings.terms().get(term_text(index)).transpose()?, weight))
        })
    }
}

/// What a term that stands in a passage so often adds to its score (`weigh` in `point.rs`).
fn part(weight: f32, count: u32, norm: f32) -> f32 {
    let count = count as f32;
    weight * (K1_AND_ONE * count) / (count + norm)
}

#[expect(clippy::cast_possible_truncation, reason = "a constant of two digits")]
const K1_AND_ONE: f32 = (K1 + 1.0) as f32;
