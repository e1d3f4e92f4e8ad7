//! Hybrid search: words, grams and dense, fused, filtered, and read back from storage.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use domain::datastore::LiveChunk;
use domain::settings::IndexSettings;
use domain::{Ambient, ChunkId, DatastoreId, DomainError, Lang, WorkspaceId};
use models::builtin::{Asked, TermWeights};
use models::lexical::{Lexicon, detect};
use models::{Catalogue, EmbedPurpose, Embedder};
use storage::datastores::{Revisions, Tuning};
use storage::{Conn, Db, Tx};

use crate::background::step_back;
use crate::calibrate::is_due;
use crate::fusion::{Candidate, Compared, Totals, fuse};
use crate::glossaries::{Glossaries, Glossary};
use crate::index::{
    Edge, Format, Found, Index, Lookup, Point, Server, Sparse, collection_name, single,
};
use crate::neighbours::{Around, Neighbours};
use crate::passages::{Kept, Passages, Rows};
use crate::questions::Questions;
use crate::rerank::Reranking;
use crate::stats::{
    Calibration, Current, DenseTest, LANGS, PassageTerms, Stats, StatsCache, StatsChange, idf,
};
use crate::threshold::{CALIBRATED_FROM, ThresholdOrigin, by_size};
use crate::upkeep::Upkeep;
use crate::{Filter, IndexPoint, IndexTarget, RetrievalError};

/// How to open the index.
#[derive(Debug, Clone)]
pub struct RetrievalOptions {
    /// Folder of the in-process index.
    pub folder: PathBuf,
    /// In process or a server.
    pub index: IndexSettings,
    /// Weight of the dense vectors in the fusion, 0 to 1.
    pub dense_weight: f64,
    /// What reads the best candidates of a hybrid search once more; `None` for nothing.
    pub reranking: Option<Reranking>,
    /// How what embedding costs outside of searches is counted; `None` where nobody pays.
    pub billing: Option<Billing>,
}

/// How calls of models are counted.
#[derive(Debug, Clone)]
pub struct Billing {
    /// Tells the time, and makes ids.
    pub ambient: Ambient,
    /// What models cost.
    pub catalogue: Catalogue,
}

/// Search over the knowledge. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Retrieval(pub(crate) Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) db: Db,
    pub(crate) embedder: Option<Arc<dyn Embedder>>,
    pub(crate) index: Index,
    pub(crate) stats: StatsCache,
    passages: Passages,
    pub(crate) neighbours: Neighbours,
    pub(crate) questions: Questions,
    glossaries: Glossaries,
    pub(crate) upkeep: Upkeep,
    dense_weight: f64,
    reranking: Option<Reranking>,
    pub(crate) billing: Option<Billing>,
    /// Threads that analyse passages, apart from those that answer requests and from the index's own.
    analysers: rayon::ThreadPool,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// Where: datastores of the caller's workspace, checked by the caller.
    pub datastores: Vec<DatastoreId>,
    /// The question, standing alone.
    pub text: String,
    /// Most hits, 1 to 100.
    pub top_k: usize,
    /// How.
    pub mode: SearchMode,
    /// Only hits whose score is at least this, 0 to 1.
    pub min_score: Option<f64>,
    /// Only passages of sources with this metadata.
    pub filter: Option<Filter>,
    /// The part of dense vectors in the fusion, 0 to 1, in the place of the datastores' own.
    pub dense_weight: Option<f64>,
}

/// Which vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// All there are, fused.
    #[default]
    Hybrid,
    /// Stemmed words.
    Words,
    /// Character 4-grams.
    Grams,
    /// Dense vectors; an error without an embedder.
    Dense,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct SearchResults {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Whether a reranker decided the order; `false` when it failed, `None` when none was asked.
    pub reranked: Option<bool>,
    /// Those of the datastores asked that the workspace has.
    pub searched: Vec<DatastoreId>,
    /// How well the best passage covers the question, 0 to 1: `tanh` of the mean over words and grams of its
    /// BM25 score ÷ the question's total weight, and in a hybrid search of more that tells (see `fusion.rs`).
    /// What the evidence gate looks at.
    pub evidence: f64,
    /// The evidence from which on the datastores asked can be taken to hold an answer, where nobody set
    /// another, .15 to .65. It judges the evidence of words and grams.
    pub threshold: f64,
    /// Where the threshold comes from.
    pub threshold_from: ThresholdOrigin,
    /// The question as analysed, for the built-in answerer.
    pub question: Question,
}

/// One result.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The passage; shared with those that are kept in memory.
    pub live: Arc<LiveChunk>,
    /// 0 to 1, higher is better: the number that `min_score` filters on.
    pub score: f64,
    /// What it is made of.
    pub scores: ComponentScores,
    /// What stands around it, where that was asked for.
    pub around: Around,
}

/// The scores that a hit's score is made of; `None` where that search did not find it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ComponentScores {
    /// BM25 over words.
    pub words: Option<f64>,
    /// BM25 over 4-grams.
    pub grams: Option<f64>,
    /// Cosine.
    pub dense: Option<f64>,
    /// How well it answers the question by the reranker, 0 to 1.
    pub rerank: Option<f64>,
}

/// What searches in a datastore go by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Its passages.
    pub passages: i64,
    /// The evidence from which on it can be taken to hold an answer, 0 to 1.
    pub threshold: f64,
    /// Where that comes from.
    pub threshold_from: ThresholdOrigin,
    /// Of its dense vectors; `None` without an embedder.
    pub dense: Option<DenseHealth>,
    /// What was set for it.
    pub tuning: Tuning,
}

/// What dense vectors do in a datastore.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenseHealth {
    /// Passages that vectors found first for each that words found first, when halves of their sentences were asked;
    /// `None` before there are fifty passages, or when nothing could be found out.
    pub ratio: Option<f64>,
    /// Their part in the fusion, 0 to 1.
    pub weight: f64,
}

/// The ratio from which on vectors help, and the part that they get then.
const HELPFUL: f64 = 0.6;
const RAISED_WEIGHT: f64 = 0.5;

impl DenseHealth {
    fn of(stats: &Stats, low: f64, space: Option<u32>) -> Self {
        let test = stats.calibration.and_then(|calibration| calibration.dense);
        let test = test.filter(|test| Some(test.space) == space);
        let ratio = test.and_then(DenseTest::ratio);
        // Whoever sets the weight to 0 wants none.
        let helps = low > 0.0 && ratio.is_some_and(|ratio| ratio >= HELPFUL);
        Self { ratio, weight: if helps { low.max(RAISED_WEIGHT) } else { low } }
    }
}

/// The question as analysed.
#[derive(Debug, Clone)]
pub struct Question {
    /// The language it was found to be in.
    pub lang: Lang,
    /// Its words and grams, weighed by how rare they are in the datastores asked.
    pub asked: Arc<Asked>,
}

/// The statistics of one datastore, and the revision of its row.
#[derive(Clone)]
pub(crate) struct DatastoreStats {
    id: DatastoreId,
    revision: i64,
    current: Arc<Current>,
    /// What was set for it; unknown, and so nothing, before the database was asked.
    tuning: Tuning,
}

/// What terms weigh in the datastores asked, their statistics taken together, and the workspace's own names for things.
#[derive(Clone)]
pub(crate) struct Weights {
    stats: Vec<DatastoreStats>,
    /// What the workspace's customers also call things.
    glossary: Arc<Glossary>,
}

/// What the index found, and what it was asked with.
pub(crate) struct LookedUp {
    weights: Weights,
    lang: Lang,
    asked: Arc<Asked>,
    pub(crate) found: Found,
    totals: Totals,
}

impl Weights {
    fn datastores(&self) -> Vec<DatastoreId> {
        self.stats.iter().map(|stats| stats.id).collect()
    }

    /// Whether these are the statistics of just the datastores in `now`, and were all the while, and the glossary is
    /// the same.
    fn is_still(&self, now: &Self) -> bool {
        self.glossary.revision() == now.glossary.revision()
            && self.stats.len() == now.stats.len()
            && self.stats.iter().all(|stats| {
                let same = now.stats.iter().find(|other| other.id == stats.id);
                same.is_some_and(|other| other.revision == stats.revision)
                    && stats.current.revision() == stats.revision
            })
    }

    fn total(&self, count: impl Fn(&Stats) -> i64) -> i64 {
        self.stats.iter().map(|stats| stats.current.with(&count)).sum()
    }

    fn passages(&self) -> i64 {
        self.total(|stats| stats.passages)
    }

    /// The revision of one of the datastores asked.
    fn revision_of(&self, datastore: DatastoreId) -> Option<i64> {
        let found = self.stats.iter().find(|stats| stats.id == datastore);
        found.map(|stats| stats.revision)
    }

    /// The one datastore asked; `None` when there is none or there are more.
    pub(crate) fn only(&self) -> Option<&Arc<Current>> {
        let [stats] = self.stats.as_slice() else { return None };
        Some(&stats.current)
    }

    /// The mean of the datastores' thresholds by their passages; those that have none count with the one
    /// that all passages together have by their number.
    fn threshold(&self) -> (f64, ThresholdOrigin) {
        let all = by_size(self.passages());
        let (mut sum, mut passages) = (0.0, 0.0);
        let mut origin = ThresholdOrigin::Size;
        for stats in &self.stats {
            let (count, calibration) =
                stats.current.with(|stats| (stats.passages, stats.calibration));
            let own = calibration.and_then(Calibration::threshold);
            let own = own.filter(|_| count >= CALIBRATED_FROM);
            if stats.tuning.threshold.is_some() {
                origin = ThresholdOrigin::Set;
            } else if own.is_some() && origin == ThresholdOrigin::Size {
                origin = ThresholdOrigin::Calibration;
            }
            sum += stats.tuning.threshold.or(own).unwrap_or(all) * count as f64;
            passages += count as f64;
        }
        (if passages > 0.0 { sum / passages } else { all }, origin)
    }

    /// The part of dense vectors in the fusion: the mean over the datastores by their passages, of which those have more
    /// than `low` in which they were found to help.
    fn dense_weight(&self, low: f64, space: Option<u32>) -> f64 {
        let (mut sum, mut passages) = (0.0, 0.0);
        for stats in &self.stats {
            let (count, weight) = stats
                .current
                .with(|stats| (stats.passages as f64, DenseHealth::of(stats, low, space).weight));
            sum += stats.tuning.dense_weight.unwrap_or(weight) * count;
            passages += count;
        }
        if passages > 0.0 { sum / passages } else { low }
    }

    fn weight(&self, count: impl Fn(&Stats) -> i64) -> f64 {
        idf(self.passages(), self.total(count))
    }

    /// The languages of the passages, the most common first; those of less than one passage in fifty are
    /// left to the grams.
    fn langs(&self) -> Vec<Lang> {
        let all = self.passages();
        let counts = [0, 1, 2, 3].map(|i| (self.total(|stats| stats.langs[i]), LANGS[i]));
        let mut known: Vec<(i64, Lang)> =
            counts.into_iter().filter(|(count, _)| *count > 0 && count * 50 >= all).collect();
        known.sort_by_key(|(count, _)| -count);
        known.into_iter().map(|(_, lang)| lang).collect()
    }
}

impl TermWeights for Weights {
    fn word(&self, term: u32) -> f64 {
        self.weight(|stats| stats.words.passages_with(term))
    }

    fn gram(&self, term: u32) -> f64 {
        self.weight(|stats| stats.grams.passages_with(term))
    }

    fn has_word(&self, term: u32) -> bool {
        self.total(|stats| stats.words.passages_with(term)) > 0
    }
}

/// Points that each vector proposes. With 30 or 100 nDCG@10 is the same to .001; with 100
/// a query takes a tenth longer.
const CANDIDATES: usize = 40;
/// Candidates of a hybrid search that are compared with the question, text by text. With 10 nDCG@10 is lower
/// by .002, with 20 no higher.
const COMPARED: usize = 15;
/// The best by words alone are among those. A code whose grams stand in many passages (one running number after the
/// other) is found by its word, and by its grams those are that do not have it.
const COMPARED_BY_WORDS: usize = 3;

impl Retrieval {
    /// Opens the index, making its collection when absent. Blocks a blocking thread while it reads.
    pub async fn open(
        db: Db,
        embedder: Option<Arc<dyn Embedder>>,
        options: RetrievalOptions,
    ) -> Result<Self, RetrievalError> {
        let space = embedder.as_ref().map(|embedder| embedder.space().clone());
        let name = space.as_ref().map(ToString::to_string);
        let collection =
            |format| collection_name(&options.index.collection_prefix, name.as_deref(), format);
        let dimension = space.map(|space| space.dimension);
        let index = if let Some(url) = &options.index.qdrant_url {
            let key = options.index.qdrant_api_key.as_ref();
            Index::Server(Server::open(url, key, collection(Format::Server), dimension).await?)
        } else {
            let (folder, collection) = (options.folder.clone(), collection(Format::Edge));
            let open = move || Edge::open(&folder, &collection, dimension);
            let opened = tokio::task::spawn_blocking(open).await;
            Index::Edge(opened.map_err(|error| RetrievalError::Index(error.to_string()))??)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
        let analysers = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("analyser-{n}"))
            .start_handler(|_| step_back())
            // Who waits for the passages is told by the reply that is dropped.
            .panic_handler(|_| tracing::error!("analysing passages broke off"))
            .build()
            .map_err(|error| RetrievalError::Index(error.to_string()))?;
        Ok(Self(Arc::new(Parts {
            db,
            embedder,
            index,
            stats: StatsCache::new(),
            passages: Passages::new(),
            neighbours: Neighbours::new(),
            questions: Questions::new(),
            glossaries: Glossaries::new(),
            upkeep: Upkeep::default(),
            dense_weight: options.dense_weight,
            reranking: options.reranking,
            billing: options.billing,
            analysers,
        })))
    }

    /// The model that costs something when a search asks it: the reranker, else the embedder; `None` when neither does.
    pub fn paid_model(&self) -> Option<String> {
        let reranker = self.0.reranking.as_ref().map(|reranking| &reranking.reranker);
        let reranker = reranker.filter(|reranker| reranker.is_paid());
        let embedder = self.0.embedder.as_ref().filter(|embedder| embedder.is_paid());
        let reranker = reranker.map(|reranker| reranker.model().to_owned());
        reranker.or_else(|| embedder.map(|embedder| embedder.space().model.clone()))
    }

    /// The embedder that passages are embedded with, when one is configured.
    pub fn embedder(&self) -> Option<&Arc<dyn Embedder>> {
        self.0.embedder.as_ref()
    }

    /// Searches. Only live chunks of `query.datastores` in `workspace` come back.
    pub async fn search(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
    ) -> Result<SearchResults, RetrievalError> {
        self.search_knowing(workspace, query, None).await
    }

    /// As [`search`](Self::search), which does not ask what the datastores are at where that was read just now: `known`
    /// has it of each of them that the workspace has.
    pub async fn search_knowing(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
        known: Option<Vec<Revisions>>,
    ) -> Result<SearchResults, RetrievalError> {
        check(query)?;
        let weighing = async {
            match &known {
                Some(rows) => self.weights_at(workspace, rows).await,
                None => self.weights(workspace, &query.datastores).await,
            }
        };
        // Nothing of this needs the others: while the embedder is waited for, words and grams are looked up.
        let (current, dense, early) = tokio::try_join!(
            weighing,
            self.look_up_dense(query),
            self.look_up_early(workspace, query),
        )?;
        let mut looked_up = match early {
            Some(early) if early.weights.is_still(&current) => self.settle(early, current, query),
            _ => self.look_up(query, current).await?,
        };
        // A datastore of another workspace has no row and so no languages; nothing of it is found.
        if looked_up.weights.passages() > 0 {
            looked_up.found.dense = dense;
        }
        let reranking = self.0.reranking.as_ref().filter(|_| query.mode == SearchMode::Hybrid);
        // Those read for their words alone must not take the places of those that are reranked.
        let more = reranking.map_or(0, |reranking| reranking.top + COMPARED_BY_WORDS);
        let mut judged = self.judge(workspace, query, &looked_up, more).await?;
        let reranked = match reranking {
            Some(reranking) => {
                let Judged { candidates, rows, .. } = &mut judged;
                Some(reranking.apply(&query.text, candidates, rows).await)
            }
            None => None,
        };
        let LookedUp { weights, lang, asked, .. } = looked_up;
        let hits = self.hits(workspace, query, &weights, &mut judged).await?;
        let (threshold, threshold_from) = weights.threshold();
        Ok(SearchResults {
            hits,
            reranked,
            searched: weights.datastores(),
            evidence: judged.evidence,
            threshold,
            threshold_from,
            question: Question { lang, asked },
        })
    }

    /// The evidence for a question when some passages are left out.
    pub(crate) async fn evidence_without(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        question: &str,
        weights: Weights,
        except: &[ChunkId],
    ) -> Result<f64, RetrievalError> {
        let query = SearchQuery {
            datastores: vec![datastore],
            text: question.to_owned(),
            top_k: 1,
            mode: SearchMode::Hybrid,
            min_score: None,
            filter: None,
            dense_weight: None,
        };
        let mut looked_up = self.look_up(&query, weights).await?;
        looked_up.found.forget(except);
        Ok(self.judge(workspace, &query, &looked_up, 0).await?.evidence)
    }

    /// Ranks what was found, the best by their texts; the rows of so many at least are read.
    async fn judge(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
        looked_up: &LookedUp,
        more: usize,
    ) -> Result<Judged, RetrievalError> {
        let LookedUp { weights, asked, found, totals, .. } = looked_up;
        let (mut candidates, mut evidence) = fuse(found, *totals, &Compared::new());
        let hybrid = query.mode == SearchMode::Hybrid;
        let read = if hybrid { query.top_k.max(COMPARED).max(more) } else { query.top_k };
        let best = if hybrid { found.words.as_slice() } else { &[] };
        let best = best.iter().take(COMPARED_BY_WORDS.min(read)).map(|&(id, _)| id);
        let mut chosen: HashSet<ChunkId> = best.collect();
        for candidate in &candidates {
            if chosen.len() == read {
                break;
            }
            chosen.insert(candidate.id);
        }
        let read = candidates.iter().filter(|candidate| chosen.contains(&candidate.id));
        let read: Vec<Candidate> = read.copied().collect();
        let rows = self.live(workspace, query, weights, &read).await?;
        if hybrid {
            let closeness = |(&id, kept): (&ChunkId, &Arc<Kept>)| (id, kept.closeness(asked));
            (candidates, evidence) = fuse(found, *totals, &rows.iter().map(closeness).collect());
        }
        Ok(Judged { candidates, evidence, rows, read: chosen })
    }

    pub(crate) async fn weights(
        &self,
        workspace: WorkspaceId,
        datastores: &[DatastoreId],
    ) -> Result<Weights, RetrievalError> {
        let mut conn = self.0.db.read().await?;
        let rows = storage::datastores::revisions(&mut conn, workspace, datastores).await?;
        self.read_weights(&mut conn, workspace, &rows).await
    }

    /// What terms weigh in datastores that are at these revisions: from memory where that is held.
    async fn weights_at(
        &self,
        workspace: WorkspaceId,
        rows: &[Revisions],
    ) -> Result<Weights, RetrievalError> {
        if let Some(held) = self.held_weights(workspace, rows) {
            return Ok(held);
        }
        let mut conn = self.0.db.read().await?;
        self.read_weights(&mut conn, workspace, rows).await
    }

    fn held_weights(&self, workspace: WorkspaceId, rows: &[Revisions]) -> Option<Weights> {
        let revision = rows.first().map_or(0, |row| row.glossary);
        let glossary = self.0.glossaries.held(workspace);
        let glossary = glossary.filter(|held| held.revision() == revision)?;
        let mut stats = Vec::with_capacity(rows.len());
        for row in rows {
            let current = self.0.stats.held(row.id);
            let current = current.filter(|held| held.revision() >= row.revision)?;
            stats.push(self.stats_at(workspace, row, current));
        }
        Some(Weights { stats, glossary })
    }

    async fn read_weights(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
        rows: &[Revisions],
    ) -> Result<Weights, RetrievalError> {
        let revision = rows.first().map_or(0, |row| row.glossary);
        let glossary = self.0.glossaries.current(conn, workspace, revision).await?;
        let mut stats = Vec::with_capacity(rows.len());
        for row in rows {
            let current = self.0.stats.current(conn, workspace, row.id, row.revision).await?;
            stats.push(self.stats_at(workspace, row, current));
        }
        Ok(Weights { stats, glossary })
    }

    /// The statistics of a datastore; notes when its threshold is to be found anew.
    fn stats_at(
        &self,
        workspace: WorkspaceId,
        row: &Revisions,
        current: Arc<Current>,
    ) -> DatastoreStats {
        if is_due(&current, self.embedding_space()) {
            self.0.upkeep.uncalibrated(workspace, row.id);
        }
        let Revisions { id, revision, tuning, .. } = *row;
        DatastoreStats { id, revision, current, tuning }
    }

    /// Looks up with the statistics that are held in memory, while the database is asked whether they are
    /// the current ones: they nearly always are. `None` when there are none.
    async fn look_up_early(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
    ) -> Result<Option<LookedUp>, RetrievalError> {
        let Some(glossary) = self.0.glossaries.held(workspace) else { return Ok(None) };
        let held = query.datastores.iter().map(|&id| {
            let current = self.0.stats.held(id)?;
            let tuning = Tuning::default();
            Some(DatastoreStats { id, revision: current.revision(), current, tuning })
        });
        let held: Option<Vec<DatastoreStats>> = held.collect();
        let Some(stats) = held else { return Ok(None) };
        if self.wants_dense(query) {
            // What follows keeps this thread busy: first it sends what the embedder is asked.
            tokio::task::yield_now().await;
        }
        Ok(Some(self.look_up(query, Weights { stats, glossary }).await?))
    }

    /// What was looked up early, with what the database says was set for the datastores.
    fn settle(&self, early: LookedUp, current: Weights, query: &SearchQuery) -> LookedUp {
        let dense_weight = self.dense_weight(&current, query);
        let totals = Totals { dense_weight, ..early.totals };
        LookedUp { weights: current, totals, ..early }
    }

    /// What searches in a datastore go by; `None` for one that is not there.
    pub async fn health(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<Option<Health>, RetrievalError> {
        let weights = self.weights(workspace, &[datastore]).await?;
        let Some(current) = weights.only() else { return Ok(None) };
        let (threshold, threshold_from) = weights.threshold();
        let (low, space) = (self.0.dense_weight, self.embedding_space());
        let mut dense = space.map(|_| current.with(|stats| DenseHealth::of(stats, low, space)));
        if let Some(dense) = &mut dense {
            dense.weight = weights.dense_weight(low, space);
        }
        let tuning = weights.stats.first().map(|stats| stats.tuning).unwrap_or_default();
        Ok(Some(Health { passages: weights.passages(), threshold, threshold_from, dense, tuning }))
    }

    fn dense_weight(&self, weights: &Weights, query: &SearchQuery) -> f64 {
        let own = || weights.dense_weight(self.0.dense_weight, self.embedding_space());
        query.dense_weight.unwrap_or_else(own)
    }

    fn wants_dense(&self, query: &SearchQuery) -> bool {
        let blended = query.mode == SearchMode::Hybrid && self.0.dense_weight > 0.0;
        query.mode == SearchMode::Dense || (blended && self.0.embedder.is_some())
    }

    /// The question's vector, where dense vectors are searched. An embedder that fails takes its part out
    /// of a hybrid search, which goes on by words and grams.
    async fn embed_question(
        &self,
        query: &SearchQuery,
    ) -> Result<Option<Vec<f32>>, RetrievalError> {
        let dense_only = query.mode == SearchMode::Dense;
        let Some(embedder) = &self.0.embedder else {
            let message = "`mode` dense needs an embedding model; set VOCERO_EMBEDDING_MODEL";
            let refused = RetrievalError::Invalid(DomainError::invalid("mode", message));
            return if dense_only { Err(refused) } else { Ok(None) };
        };
        if !self.wants_dense(query) {
            return Ok(None);
        }
        match embedder.embed(std::slice::from_ref(&query.text), EmbedPurpose::Query).await {
            Ok(vectors) => {
                let vector = vectors.into_iter().next();
                if let Some(vector) = &vector {
                    self.0.questions.keep(&query.text, vector);
                }
                Ok(vector)
            }
            Err(error) if dense_only => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the question could not be embedded; searched without");
                metrics::counter!("vocero_search_without_dense_total").increment(1);
                Ok(None)
            }
        }
    }

    /// What is nearest to the question's vector, where dense vectors are searched.
    async fn look_up_dense(
        &self,
        query: &SearchQuery,
    ) -> Result<Vec<(ChunkId, f32)>, RetrievalError> {
        let Some(vector) = self.embed_question(query).await? else { return Ok(Vec::new()) };
        let lookup = Lookup { dense: Some(vector), ..lookup(query) };
        Ok(self.0.index.find(lookup).await?.dense)
    }

    /// Looks up words and grams.
    pub(crate) async fn look_up(
        &self,
        query: &SearchQuery,
        weights: Weights,
    ) -> Result<LookedUp, RetrievalError> {
        let langs = weights.langs();
        let main = langs.first().copied().unwrap_or_default();
        let lexicon = Lexicon::builtin();
        let lang = detect(&query.text).unwrap_or_else(|| lexicon.language_of(&query.text, main));
        let asked =
            Asked::new(&query.text, lang, &langs, &[&weights.glossary.lexicon, lexicon], &weights);
        let dense_weight = self.dense_weight(&weights, query);
        let mut totals = Totals { dense_weight, ..Totals::default() };
        let mut lookup = lookup(query);
        let hybrid = query.mode == SearchMode::Hybrid;
        if hybrid || query.mode == SearchMode::Words {
            lookup.words = Some(sparse(&asked.vectors().words));
            totals.words = Some(asked.vectors().words_total);
        }
        if hybrid || query.mode == SearchMode::Grams {
            lookup.grams = Some(sparse(&asked.vectors().grams));
            totals.grams = Some(asked.vectors().grams_total);
        }
        let nothing = langs.is_empty() || (lookup.words.is_none() && lookup.grams.is_none());
        let found = if nothing { Found::default() } else { self.0.index.find(lookup).await? };
        Ok(LookedUp { weights, lang, asked: Arc::new(asked), found, totals })
    }

    /// The rows of those candidates that are live: from memory where they are current there.
    async fn live(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
        weights: &Weights,
        candidates: &[Candidate],
    ) -> Result<Rows, RetrievalError> {
        let revision = |live: &LiveChunk| weights.revision_of(live.chunk.datastore_id);
        let mut rows = Rows::with_capacity(candidates.len());
        let mut unknown = Vec::new();
        for candidate in candidates {
            if let Some(kept) = self.0.passages.get(candidate.id, revision) {
                rows.insert(candidate.id, kept);
            } else {
                unknown.push(candidate.id);
            }
        }
        if unknown.is_empty() {
            return Ok(rows);
        }
        let mut conn = self.0.db.read().await?;
        let datastores = &query.datastores;
        for live in storage::chunks::live(&mut conn, workspace, datastores, &unknown).await? {
            if let Some(revision) = revision(&live) {
                rows.insert(live.chunk.id, self.0.passages.keep(live, revision));
            }
        }
        Ok(rows)
    }

    /// The hits asked for, best first.
    async fn hits(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
        weights: &Weights,
        judged: &mut Judged,
    ) -> Result<Vec<Hit>, RetrievalError> {
        let Judged { candidates, rows, read, .. } = judged;
        let least = query.min_score.unwrap_or(0.0);
        let enough = candidates.partition_point(|candidate| candidate.score >= least);
        let mut rest = &candidates[..enough];
        let mut hits: Vec<Hit> = Vec::with_capacity(query.top_k);
        while hits.len() < query.top_k && !rest.is_empty() {
            let known = rest.iter().take_while(|candidate| read.contains(&candidate.id)).count();
            let (page, later) = rest.split_at(known);
            take(query.top_k, page, rows, &mut hits);
            rest = later;
            // The index may propose chunks that are not live any more: then there is another round.
            let unread = rest.iter().filter(|candidate| !read.contains(&candidate.id));
            let page: Vec<Candidate> = unread.take(query.top_k - hits.len()).copied().collect();
            if !page.is_empty() {
                rows.extend(self.live(workspace, query, weights, &page).await?);
                read.extend(page.iter().map(|candidate| candidate.id));
            }
        }
        Ok(hits)
    }

    /// Puts passages into the index, durably when it returns; the terms of each, in order, for the
    /// statistics. Repeating it changes nothing. Calls of concurrent jobs are written together.
    pub async fn upsert(
        &self,
        points: Vec<IndexPoint>,
    ) -> Result<Vec<PassageTerms>, RetrievalError> {
        if points.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, analysed) = tokio::sync::oneshot::channel();
        self.0.analysers.spawn(move || {
            let points: Vec<Point> = points.into_iter().map(Point::of).collect();
            let terms: Vec<PassageTerms> = points.iter().map(PassageTerms::of).collect();
            let _ = reply.send((points, terms));
        });
        let broke_off = |_| RetrievalError::Index("analysing the passages broke off".to_owned());
        let (points, terms) = analysed.await.map_err(broke_off)?;
        self.0.index.upsert(points).await?;
        Ok(terms)
    }

    /// Seals what was appended, and waits for it. The in-process index does so by itself as points come and
    /// once it is quiet; on a server nothing is to be done.
    pub async fn seal(&self) -> Result<(), RetrievalError> {
        self.0.index.optimize().await
    }

    /// Removes passages from the index, durably when it returns.
    pub async fn remove(
        &self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        if let IndexTarget::Datastore(datastore) = target {
            self.0.stats.forget(datastore);
        }
        self.0.index.remove(workspace, target).await
    }

    /// Notes a counted change in the transaction that makes chunks live or removes them; the new revision,
    /// `None` when the datastore is gone.
    pub async fn note_counted(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        change: &StatsChange,
    ) -> Result<Option<i64>, RetrievalError> {
        let revision = storage::stats::append(tx, workspace, datastore, change.as_bytes()).await?;
        self.0.upkeep.noted(workspace, datastore);
        Ok(revision)
    }

    /// Whether the index answers.
    pub async fn ping(&self) -> Result<(), RetrievalError> {
        self.0.index.ping().await
    }

    /// Writes everything to disk and closes.
    pub async fn close(&self) {
        self.0.index.close().await;
    }
}

/// Candidates in their final order.
struct Judged {
    candidates: Vec<Candidate>,
    evidence: f64,
    /// The live rows of those candidates that were read, whose order among themselves they decided.
    rows: Rows,
    read: HashSet<ChunkId>,
}

/// Moves rows to the hits in the order of the candidates, until there are `top_k`.
fn take(top_k: usize, candidates: &[Candidate], rows: &mut Rows, hits: &mut Vec<Hit>) {
    for candidate in candidates {
        if hits.len() == top_k {
            return;
        }
        if let Some(kept) = rows.remove(&candidate.id) {
            let live = Arc::clone(&kept.live);
            let around = Around::default();
            hits.push(Hit { live, score: candidate.score, scores: candidate.scores, around });
        }
    }
}

/// A look-up of no vector yet.
fn lookup(query: &SearchQuery) -> Lookup {
    Lookup {
        datastores: query.datastores.clone(),
        metadata: query.filter.as_ref().map(Filter::tokens).unwrap_or_default(),
        words: None,
        grams: None,
        dense: None,
        limit: CANDIDATES.max(2 * query.top_k),
    }
}

/// A query vector.
fn sparse(terms: &[(u32, f64)]) -> Sparse {
    Sparse {
        indices: terms.iter().map(|&(term, _)| term).collect(),
        values: terms.iter().map(|&(_, weight)| single(weight)).collect(),
    }
}

fn check(query: &SearchQuery) -> Result<(), RetrievalError> {
    let refused = |field: &str, message: &str| {
        Err(RetrievalError::Invalid(DomainError::invalid(field, message)))
    };
    if !(1..=100).contains(&query.top_k) {
        return refused("topK", "`topK` must be 1 to 100");
    }
    if query.min_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
        return refused("minScore", "`minScore` must be 0 to 1");
    }
    Ok(())
}
