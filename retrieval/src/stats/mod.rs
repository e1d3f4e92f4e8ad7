//! Term statistics of datastores: how many passages there are, in which languages, and in how many of them
//! each term stands. They give the inverse document frequency that goes into a query's weights, so that
//! both arms of the index rank alike and one tenant's words never weigh on another's.
//!
//! Storage keeps a base and the changes since, each written in the transaction that changed the live
//! chunks; readers keep what they read last and catch up by the changes they have not seen.

mod cache;
mod codec;
mod term_counts;

use domain::Lang;
use domain::datastore::{Chunk, LiveChunk};
use models::lexical::Terms;

use self::term_counts::TermCounts;
use crate::index::Point;

pub(crate) use cache::{Current, StatsCache};

/// The languages in the order that counts are kept in.
pub(crate) const LANGS: [Lang; 4] = [Lang::Es, Lang::En, Lang::Pt, Lang::Other];

/// Counts over the passages of a datastore; also a change of them, with negative counts for what goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Passages.
    pub(crate) passages: i64,
    /// Passages by language, in the order of [`LANGS`].
    pub(crate) langs: [i64; 4],
    /// In how many passages each word stands.
    pub(crate) words: TermCounts,
    /// In how many passages each gram stands.
    pub(crate) grams: TermCounts,
    /// What was found out about evidence in it; in a change, what takes the place of that.
    pub(crate) calibration: Option<Calibration>,
}

/// A calibration of a datastore's evidence threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calibration {
    /// How many passages there were.
    pub(crate) passages: i64,
    /// In ten thousandths; 0 when nothing could be found out.
    threshold: i64,
    /// What was found out about the dense vectors; `None` without an embedder.
    pub(crate) dense: Option<DenseTest>,
}

/// A test of the dense vectors of a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DenseTest {
    /// The embedding space, hashed.
    pub(crate) space: u32,
    /// In ten thousandths; -1 when nothing could be found out.
    ratio: i64,
}

impl DenseTest {
    /// `None` when nothing could be found out.
    pub(crate) fn new(space: u32, ratio: Option<f64>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1,500,000")]
        let parts = |ratio: f64| (ratio.clamp(0.0, 150.0) * 1e4).round() as i64;
        Self { space, ratio: ratio.map_or(-1, parts) }
    }

    /// How many passages vectors found first for each that words found first.
    pub(crate) fn ratio(self) -> Option<f64> {
        (self.ratio >= 0).then(|| self.ratio as f64 / 1e4)
    }
}

impl Calibration {
    /// A threshold of `None` when nothing could be found out.
    pub(crate) fn new(passages: i64, threshold: Option<f64>, dense: Option<DenseTest>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 10,000")]
        let parts = |threshold: f64| (threshold.clamp(0.0, 1.0) * 1e4).round() as i64;
        Self { passages, threshold: threshold.map_or(0, parts), dense }
    }

    /// The threshold, 0 to 1.
    pub(crate) fn threshold(self) -> Option<f64> {
        (self.threshold > 0).then(|| self.threshold as f64 / 1e4)
    }
}

impl Stats {
    /// Adds (`by` = 1) or takes off (-1) a passage.
    pub(crate) fn count_terms(&mut self, terms: &Terms, lang: Lang, by: i32) {
        let of = |terms: &[(u32, u32)]| terms.iter().map(|&(term, _)| term).collect::<Vec<_>>();
        self.count(&of(&terms.words), &of(&terms.grams), lang, by);
    }

    fn count(&mut self, words: &[u32], grams: &[u32], lang: Lang, by: i32) {
        self.passages += i64::from(by);
        for (count, known) in self.langs.iter_mut().zip(LANGS) {
            *count += if known == lang { i64::from(by) } else { 0 };
        }
        for &term in words {
            self.words.change(term, by);
        }
        for &term in grams {
            self.grams.change(term, by);
        }
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: &Self) {
        self.passages += change.passages;
        for (count, by) in self.langs.iter_mut().zip(change.langs) {
            *count += by;
        }
        self.words.add(&change.words);
        self.grams.add(&change.grams);
        self.calibration = change.calibration.or(self.calibration);
    }

    /// Makes what was added as small as can be.
    pub(crate) fn merge(&mut self) {
        self.words.merge();
        self.grams.merge();
    }

    /// The same when enough was added to be worth it: called after each of many changes, it takes time in proportion
    /// to all of them.
    pub(crate) fn merge_when_due(&mut self) {
        self.words.merge_when_due();
        self.grams.merge_when_due();
    }

    /// Bytes that it takes in memory, with what stands around it.
    pub(crate) fn bytes(&self) -> usize {
        self.words.bytes() + self.grams.bytes() + 512
    }
}

/// How chunks that come and go change a datastore's statistics: counted before the transaction is opened,
/// because counting takes time that the database's writer must not wait for.
#[derive(Debug, Clone)]
pub struct StatsChange {
    bytes: Vec<u8>,
}

impl StatsChange {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl StatsChange {
    /// What changes when `added` come and `removed` go, each with the heading given to `upsert`
    /// ([`crate::passage_heading`]). Takes processor time and touches nothing.
    pub fn count(added: &[(&str, &Chunk)], removed: &[(&str, &Chunk)]) -> Self {
        let mut counter = StatsCounter::default();
        for (heading, chunk) in added {
            counter.add(heading, chunk);
        }
        for (heading, chunk) in removed {
            counter.remove(heading, chunk);
        }
        counter.finish()
    }
}

/// Counts a change one passage at a time.
#[derive(Debug, Default)]
pub struct StatsCounter(Stats);

impl StatsCounter {
    /// A chunk comes; `heading` as given to `upsert` ([`crate::passage_heading`]).
    pub fn add(&mut self, heading: &str, chunk: &Chunk) {
        self.count(heading, chunk, 1);
    }

    /// Chunks come whose terms are known.
    pub fn add_terms(&mut self, passages: &[PassageTerms]) {
        for passage in passages {
            self.0.count(&passage.words, &passage.grams, passage.lang, 1);
        }
    }

    /// A chunk goes; `heading` as when it came.
    pub fn remove(&mut self, heading: &str, chunk: &Chunk) {
        self.count(heading, chunk, -1);
    }

    fn count(&mut self, heading: &str, chunk: &Chunk, by: i32) {
        let terms = crate::index::passage_terms(heading, &chunk.text, chunk.lang);
        self.0.count_terms(&terms, chunk.lang, by);
    }

    /// The change, ready to be written.
    pub fn finish(self) -> StatsChange {
        StatsChange { bytes: codec::encode(&self.0) }
    }
}

/// The different terms of a passage, which analysing it for the index has found.
#[derive(Debug, Clone)]
pub struct PassageTerms {
    lang: Lang,
    words: Vec<u32>,
    grams: Vec<u32>,
}

impl PassageTerms {
    pub(crate) fn of(point: &Point) -> Self {
        Self {
            lang: point.passage.lang,
            words: point.terms.words.iter().map(|&(term, _)| term).collect(),
            grams: point.terms.grams.iter().map(|&(term, _)| term).collect(),
        }
    }
}

/// As stored.
pub(crate) fn encode(stats: &Stats) -> Vec<u8> {
    codec::encode(stats)
}

/// From what is stored; `None` when it is not readable.
pub(crate) fn decode(bytes: &[u8]) -> Option<Stats> {
    codec::decode(bytes)
}

/// What a term weighs: BM25's inverse document frequency, never negative (Lucene's form).
pub(crate) fn idf(passages: i64, with_term: i64) -> f64 {
    let passages = passages.max(0) as f64;
    let with_term = (with_term.max(0) as f64).min(passages);
    (1.0 + (passages - with_term + 0.5) / (with_term + 0.5)).ln()
}

/// Statistics of live chunks, each with the heading that it is indexed with.
pub(crate) fn passage_stats(chunks: &[LiveChunk]) -> Stats {
    let mut stats = Stats::default();
    for LiveChunk { chunk, source_name, .. } in chunks {
        let heading = crate::passage_heading(source_name, &chunk.heading);
        let terms = crate::index::passage_terms(&heading, &chunk.text, chunk.lang);
        stats.count_terms(&terms, chunk.lang, 1);
    }
    stats
}
