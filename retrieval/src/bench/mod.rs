//! Measures search and the extractive answerer on a folder of passages and judged questions, through the
//! same code that serves customers: rows in SQLite, points in the index, `Retrieval::search`.

mod dataset;
mod metrics;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use domain::datastore::{Chunk, Datastore, Source, SourceOrigin, SourceStatus};
use domain::settings::IndexSettings;
use domain::{Ambient, ChunkId, DatastoreId, Lang, SourceId, WorkspaceId};
use models::builtin::{self, Passage};
use models::lexical::detect;
use models::{EmbedPurpose, Embedder, ModelError};
use storage::{Db, DbOptions};

use self::dataset::{Dataset, Qrels, Query};
use self::metrics::{auroc, contains_answer, ranking_scores, share_reaching, threshold_keeping};
use crate::{
    IndexPoint, Retrieval, RetrievalError, RetrievalOptions, SearchMode, SearchQuery,
    SearchResults, StatsCounter, embedded_text, passage_heading,
};

pub use report::{Abstention, Report, Row};

/// How to measure.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// Which vectors are searched.
    pub mode: SearchMode,
    /// Where the ranking is written as a TREC run file (`query Q0 passage rank score tag`), so that anyone
    /// can check the figures with `trec_eval`.
    pub run_file: Option<PathBuf>,
    /// A folder whose passages take the place of the set's own, as those of another language with the same ids:
    /// of the questions those are asked whose relevant passages are all there.
    pub passages: Option<PathBuf>,
    /// Embeds passages and questions; `None` searches words and grams only.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// The part of dense vectors in the fusion where they were not found to help, 0 to 1.
    pub dense_weight: f64,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The folder does not hold a set that can be read.
    #[error("the set cannot be read: {0}")]
    Dataset(String),
    /// A file could not be written.
    #[error("the measurement cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// The embedder failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Search failed.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
}

/// Passages of one transaction.
const BATCH: usize = 200;
/// Hits that the figures look at.
const JUDGED: usize = 10;
/// Hits that a run file lists.
const LISTED: usize = 100;

/// Measures the set in `folder`: passages are indexed one to a chunk in a throw-away folder, every question
/// is searched, answers are extracted, and unanswerable questions compared with the answerable.
pub async fn bench(folder: &Path, options: &BenchOptions) -> Result<Report, BenchError> {
    let mut dataset = Dataset::read(folder)?;
    if let Some(other) = &options.passages {
        dataset.over(other)?;
    }
    let place = tempfile::tempdir()?;
    let bench = Bench::fill(&dataset, place.path(), options).await?;
    let outcome = bench.measure(&dataset, options).await;
    bench.retrieval.close().await;
    bench.db.close().await;
    outcome
}

struct Bench {
    db: Db,
    retrieval: Retrieval,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    /// The set's own ids.
    names: HashMap<ChunkId, String>,
    mode: SearchMode,
    embedder: Option<Arc<dyn Embedder>>,
    ingested_per_second: f64,
}

/// What was found for a question.
struct Asked<'a> {
    query: &'a Query,
    ranking: Vec<String>,
    contained: Option<bool>,
    evidence: f64,
    threshold: f64,
}

impl Bench {
    async fn fill(
        dataset: &Dataset,
        place: &Path,
        options: &BenchOptions,
    ) -> Result<Self, BenchError> {
        let (mode, embedder) = (options.mode, options.embedder.clone());
        let ambient = Ambient::system();
        let url = format!("sqlite:{}", place.join("bench.db").display());
        let db = Db::connect(&url, &DbOptions { max_connections: 4 }).await?;
        db.migrate().await?;
        let mut tx = db.write().await?;
        let born = storage::workspaces::create(&mut tx, &ambient, "bench").await?;
        tx.commit().await?;
        let options = RetrievalOptions {
            folder: place.join("index"),
            index: IndexSettings {
                qdrant_url: None,
                qdrant_api_key: None,
                collection_prefix: "bench".to_owned(),
            },
            dense_weight: options.dense_weight,
            reranking: None,
        };
        let retrieval = Retrieval::open(db.clone(), embedder.clone(), options).await?;
        let mut bench = Self {
            db,
            retrieval,
            workspace: born.workspace.id,
            datastore: born.datastore.id,
            names: HashMap::new(),
            mode,
            embedder,
            ingested_per_second: 0.0,
        };
        let started = Instant::now();
        for passages in dataset.corpus.chunks(BATCH) {
            bench.add(&ambient, &born.datastore, passages).await?;
        }
        bench.ingested_per_second = dataset.corpus.len() as f64 / started.elapsed().as_secs_f64();
        bench.retrieval.maintain().await?;
        bench.retrieval.seal().await?;
        Ok(bench)
    }

    async fn add(
        &mut self,
        ambient: &Ambient,
        datastore: &Datastore,
        passages: &[dataset::Passage],
    ) -> Result<(), BenchError> {
        let mut rows = Vec::with_capacity(passages.len());
        for passage in passages {
            let id: SourceId = ambient.new_id();
            let told = passage.lang.as_deref().and_then(|lang| lang.parse().ok());
            let lang = detect(&passage.text).or(told).unwrap_or(Lang::Other);
            let chunk = chunk_of(datastore, id, &passage.text, lang);
            self.names.insert(chunk.id, passage.id.clone());
            rows.push((source_of(datastore, id, &passage.title, ambient), chunk));
        }
        let point = |(source, chunk): &(Source, Chunk)| IndexPoint {
            id: chunk.id,
            workspace: chunk.workspace_id,
            datastore: chunk.datastore_id,
            source: chunk.source_id,
            version: chunk.version,
            lang: chunk.lang,
            heading: passage_heading(&source.name, &chunk.heading),
            text: chunk.text.clone(),
            dense: None,
            metadata: source.metadata.clone(),
        };
        let mut points: Vec<IndexPoint> = rows.iter().map(point).collect();
        if let Some(embedder) = &self.embedder {
            let texts: Vec<String> =
                points.iter().map(|point| embedded_text(&point.heading, &point.text)).collect();
            let vectors = embedder.embed(&texts, EmbedPurpose::Passage).await?;
            for (point, vector) in points.iter_mut().zip(vectors) {
                point.dense = Some(vector);
            }
        }
        let terms = self.retrieval.upsert(points).await?;
        let mut counter = StatsCounter::default();
        counter.add_terms(&terms);
        let change = counter.finish();
        let mut tx = self.db.write().await?;
        let sources: Vec<Source> = rows.iter().map(|(source, _)| source.clone()).collect();
        storage::sources::insert(&mut tx, self.workspace, &sources).await?;
        let chunks: Vec<Chunk> = rows.iter().map(|(_, chunk)| chunk.clone()).collect();
        storage::chunks::insert_many(&mut tx, &chunks).await?;
        let live = rows.iter().map(|(source, chunk)| storage::sources::GoLive {
            source: source.id,
            version: chunk.version,
            content_hash: "",
            chunks: 1,
            language: Some(chunk.lang),
            warning: None,
        });
        let live: Vec<_> = live.collect();
        storage::sources::go_live(&mut tx, self.workspace, &live, ambient.now()).await?;
        let noted = self.retrieval.note_counted(&mut tx, self.workspace, self.datastore, &change);
        noted.await?;
        tx.commit().await?;
        Ok(())
    }

    async fn measure(
        &self,
        dataset: &Dataset,
        options: &BenchOptions,
    ) -> Result<Report, BenchError> {
        let mut milliseconds = Vec::new();
        let depth = if options.run_file.is_some() { LISTED } else { JUDGED };
        let unanswerable = self.ask_all(&dataset.unanswerable, depth, &mut milliseconds).await?;
        let mut rows = Vec::new();
        let mut run = String::new();
        for style in &dataset.styles {
            let asked = self.ask_all(&style.queries, depth, &mut milliseconds).await?;
            let all: Vec<&Asked<'_>> = asked.iter().collect();
            rows.push(row(style.name.clone(), &all, &style.qrels, &unanswerable));
            let mut origins: BTreeMap<&str, Vec<&Asked<'_>>> = BTreeMap::new();
            for asked in &asked {
                let origin = asked.query.origin.as_deref().unwrap_or_default();
                origins.entry(origin).or_default().push(asked);
            }
            if origins.len() > 1 {
                for (origin, asked) in origins {
                    let name = format!("{}/{origin}", style.name);
                    rows.push(row(name, &asked, &style.qrels, &unanswerable));
                }
            }
            write_run(&mut run, &asked);
        }
        if let Some(file) = &options.run_file {
            std::fs::write(file, run)?;
        }
        milliseconds.sort_by(f64::total_cmp);
        let at = |part: usize| milliseconds.get(milliseconds.len() * part / 100).copied();
        Ok(Report {
            dataset: dataset.name.clone(),
            passages: dataset.corpus.len(),
            ingested_per_second: self.ingested_per_second,
            dense: self.retrieval.health(self.workspace, self.datastore).await?.and_then(
                |health| {
                    let dense = health.dense?;
                    Some(report::Dense { ratio: dense.ratio, weight: dense.weight })
                },
            ),
            search_ms_p50: at(50).unwrap_or_default(),
            search_ms_p99: at(99).unwrap_or_default(),
            rows,
        })
    }

    async fn ask_all<'a>(
        &self,
        queries: &'a [Query],
        depth: usize,
        milliseconds: &mut Vec<f64>,
    ) -> Result<Vec<Asked<'a>>, BenchError> {
        let mut all = Vec::with_capacity(queries.len());
        for query in queries {
            let started = Instant::now();
            let results = self.search(&query.text, depth).await?;
            milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
            let name = |id: &ChunkId| self.names.get(id).cloned().unwrap_or_default();
            all.push(Asked {
                query,
                ranking: ranked(&results).iter().map(name).collect(),
                contained: contained(query, &results),
                evidence: results.evidence,
                threshold: results.threshold,
            });
        }
        Ok(all)
    }

    async fn search(&self, text: &str, top_k: usize) -> Result<SearchResults, BenchError> {
        let query = SearchQuery {
            datastores: vec![self.datastore],
            text: text.to_owned(),
            top_k,
            mode: self.mode,
            min_score: None,
            filter: None,
        };
        Ok(self.retrieval.search(self.workspace, &query).await?)
    }
}

fn ranked(results: &SearchResults) -> Vec<ChunkId> {
    results.hits.iter().map(|hit| hit.live.chunk.id).collect()
}

/// Whether the extracted sentences hold a short answer; `None` for questions that have none.
fn contained(query: &Query, results: &SearchResults) -> Option<bool> {
    if query.answers.is_empty() || query.form.as_deref() == Some("long") {
        return None;
    }
    let passages: Vec<Passage<'_>> = results
        .hits
        .iter()
        .map(|hit| Passage {
            text: &hit.live.chunk.text,
            heading: &hit.live.source_name,
            lang: hit.live.chunk.lang,
            score: hit.score,
        })
        .collect();
    let extracts = builtin::extract(&results.question.asked, &passages);
    let said: Vec<String> = extracts.into_iter().map(|extract| extract.sentence).collect();
    Some(contains_answer(&said.join(" "), &query.answers))
}

fn row(name: String, asked: &[&Asked<'_>], qrels: &Qrels, unanswerable: &[Asked<'_>]) -> Row {
    let mut sums = (0.0, 0.0, 0.0);
    let mut count = 0;
    let mut evidence = Vec::new();
    // The same for every question of a set: it depends on the passages alone.
    let mut threshold = 0.0;
    for asked in asked {
        let Some(relevant) = qrels.get(&asked.query.id) else { continue };
        let ten = &asked.ranking[..asked.ranking.len().min(JUDGED)];
        let scores = ranking_scores(ten, relevant);
        sums.0 += scores.ndcg10;
        sums.1 += scores.recall5;
        sums.2 += scores.reciprocal_rank;
        count += 1;
        evidence.push(asked.evidence);
        threshold = asked.threshold;
    }
    let answers: Vec<bool> = asked.iter().filter_map(|asked| asked.contained).collect();
    let held = answers.iter().filter(|&&held| held).count();
    let threshold88 = threshold_keeping(&evidence, 0.88);
    let mut kinds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for asked in unanswerable {
        let kind = asked.query.kind.clone().unwrap_or_else(|| "unanswerable".to_owned());
        kinds.entry(kind).or_default().push(asked.evidence);
    }
    let abstention = |none: &Vec<f64>| Abstention {
        count: none.len(),
        abstained: 1.0 - share_reaching(none, threshold),
        abstained88: 1.0 - share_reaching(none, threshold88),
        auroc: auroc(&evidence, none),
    };
    let mean = |sum: f64| if count > 0 { sum / f64::from(count) } else { 0.0 };
    Row {
        questions: name,
        count: evidence.len(),
        ndcg10: mean(sums.0),
        recall5: mean(sums.1),
        mrr10: mean(sums.2),
        containment: (!answers.is_empty()).then(|| held as f64 / answers.len() as f64),
        threshold,
        answered: share_reaching(&evidence, threshold),
        threshold88,
        unanswerable: kinds.iter().map(|(kind, none)| (kind.clone(), abstention(none))).collect(),
    }
}

fn write_run(run: &mut String, asked: &[Asked<'_>]) {
    for asked in asked {
        for (rank, passage) in asked.ranking.iter().enumerate() {
            // Scores only order here: `trec_eval` sorts by them, and ties in ours are broken by id already.
            let score = LISTED - rank;
            let query = &asked.query.id;
            let _ = writeln!(run, "{query} Q0 {passage} {} {score} vocero", rank + 1);
        }
    }
}

fn source_of(datastore: &Datastore, id: SourceId, title: &str, ambient: &Ambient) -> Source {
    let now = ambient.now();
    Source {
        id,
        workspace_id: datastore.workspace_id,
        datastore_id: datastore.id,
        name: title.replace('_', " "),
        origin: SourceOrigin::Text,
        status: SourceStatus::Pending,
        stage: None,
        percent: None,
        failure: None,
        warning: None,
        mime: None,
        bytes: 0,
        language: None,
        content_hash: None,
        live_version: 0,
        version: 1,
        chunks: 0,
        metadata: serde_json::Map::new(),
        created_at: now,
        updated_at: now,
    }
}

fn chunk_of(datastore: &Datastore, source: SourceId, text: &str, lang: Lang) -> Chunk {
    let characters = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    Chunk {
        id: ChunkId::of(source, 1, 0),
        workspace_id: datastore.workspace_id,
        datastore_id: datastore.id,
        source_id: source,
        version: 1,
        ordinal: 0,
        text: text.to_owned(),
        heading: String::new(),
        page: None,
        start: 0,
        end: characters,
        tokens: characters / 4,
        lang,
    }
}
