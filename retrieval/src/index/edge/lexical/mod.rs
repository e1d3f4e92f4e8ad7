//! Words and grams: an inverted index (tantivy) in a folder.
//!
//! It keeps how often each term stands in each passage and how long the passage is; BM25's weights follow from both when
//! a query is scored. Of what tantivy can do only its segments, postings and columns are used: what a term of a question
//! weighs comes from the statistics of the datastores asked (`stats`), so scores are reckoned here (`segment.rs`), list
//! by list for the hundred terms that a question has.

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
use tantivy::{Directory, Index, TantivyError};
use uuid::Uuid;

use super::Threads;
use crate::RetrievalError;
use crate::index::{Belonging, Lookup, PAGE, Page, Sparse};
use fields::Fields;
use segment::Segment;
use top::Top;
pub(super) use writer::{Merge, Writer};

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
        let writer = writer::start(&index).map_err(|error| match error {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::{DatastoreId, Lang, SourceId, WorkspaceId};
    use models::lexical::Terms;
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::index::{IndexPoint, IndexTarget, Point};

    /// A passage by small numbers.
    #[derive(Debug, Clone)]
    struct Passage {
        datastore: u128,
        source: u128,
        version: i64,
        words: Vec<(u32, u32)>,
        token: u8,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Upsert(Vec<(u128, Passage)>),
        Remove(u8, u128, i64),
        Commit,
        Merge(bool),
    }

    fn workspace() -> WorkspaceId {
        WorkspaceId::from_uuid(Uuid::from_u128(1))
    }

    fn datastore(number: u128) -> DatastoreId {
        DatastoreId::from_uuid(Uuid::from_u128(100 + number))
    }

    fn source(number: u128) -> SourceId {
        SourceId::from_uuid(Uuid::from_u128(200 + number))
    }

    /// Ids whose order is not that of their coming.
    fn chunk(number: u128) -> ChunkId {
        ChunkId::from_uuid(Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 40))
    }

    fn point(id: u128, passage: &Passage) -> Point {
        let Passage { datastore: of, source: from, version, words, token } = passage;
        let terms = Terms { words: words.clone(), grams: words.clone() };
        let passage = IndexPoint {
            id: chunk(id),
            workspace: workspace(),
            datastore: datastore(*of),
            source: source(*from),
            version: *version,
            lang: Lang::Es,
            heading: String::new(),
            text: String::new(),
            dense: None,
            metadata: Map::new(),
        };
        Point { passage, terms, metadata: vec![format!("token {token}")] }
    }

    fn passages() -> impl Strategy<Value = Passage> {
        let words = proptest::collection::btree_map(0_u32..12, 1_u32..5, 0..6);
        (0_u128..10, 0_u128..4, 1_i64..3, words, 0_u8..3).prop_map(
            |(datastore, source, version, words, token)| Passage {
                // Most of them are in one datastore.
                datastore: u128::from(datastore == 0),
                source,
                version,
                words: words.into_iter().collect(),
                token,
            },
        )
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let some = proptest::collection::vec((0_u128..40, passages()), 1..25);
        let step = prop_oneof![
            4 => some.prop_map(Step::Upsert),
            1 => (0_u8..4, 0_u128..4, 1_i64..3).prop_map(|(how, source, version)| Step::Remove(how, source, version)),
            4 => Just(Step::Commit),
            1 => any::<bool>().prop_map(Step::Merge),
        ];
        proptest::collection::vec(step, 1..25)
    }

    fn target(how: u8, from: u128, version: i64) -> IndexTarget {
        match how {
            0 => IndexTarget::OtherVersions { source: source(from), keep: version },
            1 => IndexTarget::Version { source: source(from), version },
            2 => IndexTarget::Source(source(from)),
            _ => IndexTarget::Datastore(datastore(1)),
        }
    }

    fn is_hit(how: u8, from: u128, version: i64, passage: &Passage) -> bool {
        match how {
            0 => passage.source == from && passage.version != version,
            1 => passage.source == from && passage.version == version,
            2 => passage.source == from,
            _ => passage.datastore == 1,
        }
    }

    /// What should be found, reckoned passage by passage.
    fn expected(rows: &BTreeMap<u128, Passage>, lookup: &Lookup) -> Vec<(ChunkId, f32)> {
        let query = lookup.words.clone().unwrap_or_default();
        let mut all = Vec::new();
        for (&id, passage) in rows {
            let point = point(id, passage);
            let has = |tokens: &Vec<String>| tokens.contains(&point.metadata[0]);
            if !lookup.datastores.contains(&point.passage.datastore)
                || !lookup.metadata.iter().all(has)
            {
                continue;
            }
            let words = point.words();
            let weight = |term: &u32| {
                let at = words.indices.iter().position(|other| other == term)?;
                Some(words.values[at])
            };
            let terms = query.indices.iter().zip(&query.values);
            let score: f32 = terms.filter_map(|(term, asked)| Some(asked * weight(term)?)).sum();
            if score > 0.0 {
                all.push((chunk(id), score));
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(lookup.limit);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn what_is_committed_is_found_with_its_score(
            steps in steps(),
            terms in proptest::collection::btree_map(0_u32..12, 1_u8..9, 1..6),
            few in any::<bool>(),
            token in proptest::option::of(0_u8..3),
            limit in 1_usize..50,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut lexical, mut writer) = Lexical::open(folder.path()).unwrap();
            let (mut staged, mut rows) = (BTreeMap::new(), BTreeMap::new());
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Upsert(passages) => {
                        let points: Vec<Point> =
                            passages.iter().map(|(id, passage)| point(*id, passage)).collect();
                        writer.upsert(&points).unwrap();
                        staged.extend(passages);
                    }
                    Step::Remove(how, from, version) => {
                        writer.remove(workspace(), target(how, from, version)).unwrap();
                        staged.retain(|_, passage| !is_hit(how, from, version, passage));
                    }
                    Step::Commit => {
                        writer.commit().unwrap();
                        rows.clone_from(&staged);
                    }
                    Step::Merge(is_quiet) => {
                        if let Some(merge) = writer.merge(is_quiet) {
                            merge.wait().unwrap();
                            writer.merged(false).unwrap();
                        }
                    }
                }
                if at == 12 {
                    // What is not committed is not there after opening again.
                    drop((lexical, writer));
                    (lexical, writer) = Lexical::open(folder.path()).unwrap();
                    staged.clone_from(&rows);
                }
            }
            let query = Sparse {
                indices: terms.keys().copied().collect(),
                values: terms.values().map(|&weight| f32::from(weight)).collect(),
            };
            let lookup = Lookup {
                datastores: vec![datastore(u128::from(few)), datastore(7)],
                metadata: token.iter().map(|token| vec![format!("token {token}"), "other".to_owned()]).collect(),
                words: Some(query.clone()),
                grams: Some(query),
                dense: None,
                limit,
            };
            for threads in [Threads::One, Threads::Two] {
                let (words, grams) = lexical.find(&lookup, threads).unwrap();
                let expected = expected(&rows, &lookup);
                prop_assert_eq!(words.len(), expected.len());
                for ((_, found), (_, expected)) in words.iter().zip(&expected) {
                    prop_assert!((found - expected).abs() < 1e-4, "{found} {expected}");
                }
                prop_assert_eq!(grams.len(), expected.len());
            }
            let page = lexical.page(None).unwrap();
            let mut listed: Vec<ChunkId> = rows.keys().map(|&id| chunk(id)).collect();
            listed.sort_unstable();
            prop_assert_eq!(page.points.iter().map(|(id, _)| *id).collect::<Vec<_>>(), listed);
            for (id, belonging) in page.points {
                let (_, passage) = rows.iter().find(|(number, _)| chunk(**number) == id).unwrap();
                prop_assert_eq!(belonging.source, source(passage.source));
                prop_assert_eq!((belonging.workspace, belonging.version), (workspace(), passage.version));
            }
        }
    }

    fn listed(lexical: &Lexical) -> Vec<ChunkId> {
        lexical.page(None).unwrap().points.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn after_a_commit_that_failed_writing_goes_on_from_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (here, away) = (folder.path().join("here"), folder.path().join("away"));
        let (lexical, mut writer) = Lexical::open(&here).unwrap();
        let words = vec![(7, 1)];
        let passage = Passage { datastore: 0, source: 0, version: 1, words, token: 0 };
        writer.upsert(&[point(1, &passage)]).unwrap();
        writer.commit().unwrap();

        std::fs::rename(&here, &away).unwrap();
        for _ in 0..2 {
            let written = writer.upsert(&[point(2, &passage)]);
            assert!(written.is_err() | writer.commit().is_err());
            assert_eq!(listed(&lexical), [chunk(1)], "what is there can still be searched");
        }
        std::fs::rename(&away, &here).unwrap();

        writer.upsert(&[point(3, &passage)]).unwrap();
        writer.commit().unwrap();
        let mut expected = [chunk(1), chunk(3)];
        expected.sort_unstable();
        assert_eq!(listed(&lexical), expected);
        writer.merge(true).unwrap().wait().unwrap();
        writer.merged(false).unwrap();
        assert_eq!(listed(&lexical), expected);
        drop((lexical, writer));
        let (lexical, _writer) = Lexical::open(&here).unwrap();
        assert_eq!(listed(&lexical), expected);
    }

    #[test]
    fn a_folder_that_is_open_is_not_opened_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (_lexical, _writer) = Lexical::open(folder.path()).unwrap();
        let error = Lexical::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(is_in_use(&error), "{error}");
    }
}
