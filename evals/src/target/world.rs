//! A throw-away workspace over the passages of a dataset: rows in SQLite, points in the in-process index, through the
//! same code that serves customers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use agents::{Agents, AgentsOptions};
use domain::agent::Agent;
use domain::ambient::{ManualClock, SeededEntropy};
use domain::datastore::{Chunk, Datastore, Source, SourceOrigin};
use domain::settings::IndexSettings;
use domain::{Ambient, ChunkId, Lang, SourceId, Timestamp};
use models::lexical::detect;
use models::{EmbedPurpose, Embedder};
use retrieval::{
    IndexPoint, Retrieval, RetrievalOptions, StatsCounter, embedded_text, passage_heading,
};
use storage::sources::GoLive;
use storage::workspaces::Born;
use storage::{Db, DbOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::EvalError;
use crate::dataset::Passage;

/// Passages of one transaction.
const BATCH: usize = 200;
/// When the passages are said to have come, and the seed of their ids: equal scores are ordered by ids, so that the same
/// passages are ranked alike in every run.
const CAME_AT: i64 = 1_700_000_000_000_000;
const SEED: u64 = 4;

/// How to fill a workspace.
#[derive(Debug, Clone, Default)]
pub struct WorldOptions {
    /// Embeds passages and questions; `None` searches words and 4-grams only.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// The part of dense vectors in the fusion where they were not found to help, 0 to 1.
    pub dense_weight: f64,
    /// Takes words as they stand instead of their stems: what stemming is worth is seen without it.
    pub without_stems: bool,
}

/// A throw-away workspace; what it kept on disk is removed when it is dropped.
#[derive(Debug)]
pub struct World {
    /// Its database.
    pub db: Db,
    /// Its index.
    pub retrieval: Retrieval,
    /// What it was born with.
    pub born: Born,
    /// The dataset's own ids.
    pub(crate) names: Arc<HashMap<ChunkId, String>>,
    /// Passages written and indexed a second, from rows to durable points.
    pub ingested_per_second: f64,
    tracker: TaskTracker,
    stop: CancellationToken,
    _folder: TempDir,
}

impl World {
    /// Indexes the passages, one to a chunk, and calibrates as the product does.
    pub async fn of(corpus: &[Passage], options: &WorldOptions) -> Result<Self, EvalError> {
        let folder = tempfile::Builder::new().prefix("vocero-eval-").tempdir();
        let folder = folder.map_err(EvalError::file(Path::new("the temporary folder")))?;
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(CAME_AT)));
        let ambient = Ambient::new(clock, Arc::new(SeededEntropy::new(SEED)));
        let url = format!("sqlite:{}", folder.path().join("eval.db").display());
        let db = Db::connect(&url, &DbOptions { max_connections: 4 }).await?;
        db.migrate().await?;
        let mut tx = db.write().await?;
        let born = storage::workspaces::create(&mut tx, &ambient, "eval").await?;
        tx.commit().await?;
        let opening = RetrievalOptions {
            folder: folder.path().join("index"),
            index: IndexSettings {
                qdrant_url: None,
                qdrant_api_key: None,
                collection_prefix: "eval".to_owned(),
            },
            dense_weight: options.dense_weight,
            reranking: None,
            billing: None,
        };
        let retrieval = Retrieval::open(db.clone(), options.embedder.clone(), opening).await?;
        // As a start of the product does: an empty index counts as filled from now on. Later it would be filled anew from
        // rows that have no vectors here.
        retrieval.maintain().await?;
        let mut filling = Filling {
            db: &db,
            retrieval: &retrieval,
            datastore: &born.datastore,
            ambient: &ambient,
            embedder: options.embedder.as_deref(),
            without_stems: options.without_stems,
            names: HashMap::with_capacity(corpus.len()),
        };
        let started = Instant::now();
        for passages in corpus.chunks(BATCH) {
            filling.add(passages).await?;
        }
        let names = Arc::new(filling.names);
        let ingested_per_second = corpus.len() as f64 / started.elapsed().as_secs_f64();
        retrieval.maintain().await?;
        retrieval.seal().await?;
        Ok(Self {
            db,
            retrieval,
            born,
            names,
            ingested_per_second,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            _folder: folder,
        })
    }

    /// The turns of its workspace.
    pub fn agents(&self, options: AgentsOptions) -> Agents {
        Agents::new(
            self.db.clone(),
            self.retrieval.clone(),
            Ambient::system(),
            options,
            self.tracker.clone(),
            self.stop.clone(),
        )
    }

    /// Changes its agent.
    pub async fn set_agent(&mut self, change: impl FnOnce(&mut Agent)) -> Result<(), EvalError> {
        change(&mut self.born.agent);
        let mut tx = self.db.write().await?;
        storage::agents::update(&mut tx, &self.born.agent).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Waits for turns under way, closes index and database.
    pub async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.retrieval.close().await;
        self.db.close().await;
    }
}

struct Filling<'a> {
    db: &'a Db,
    retrieval: &'a Retrieval,
    datastore: &'a Datastore,
    ambient: &'a Ambient,
    embedder: Option<&'a dyn Embedder>,
    without_stems: bool,
    names: HashMap<ChunkId, String>,
}

impl Filling<'_> {
    async fn add(&mut self, passages: &[Passage]) -> Result<(), EvalError> {
        let workspace = self.datastore.workspace_id;
        let rows: Vec<(Source, Chunk)> =
            passages.iter().map(|passage| self.rows(passage)).collect();
        let mut points: Vec<IndexPoint> = rows.iter().map(point).collect();
        if let Some(embedder) = self.embedder {
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
        let (sources, chunks): (Vec<Source>, Vec<Chunk>) = rows.into_iter().unzip();
        let live: Vec<GoLive<'_>> = chunks
            .iter()
            .map(|chunk| GoLive {
                source: chunk.source_id,
                version: chunk.version,
                content_hash: "",
                chunks: 1,
                language: Some(chunk.lang),
                warning: None,
            })
            .collect();
        let mut tx = self.db.write().await?;
        storage::sources::insert(&mut tx, workspace, &sources).await?;
        storage::chunks::insert_many(&mut tx, &chunks).await?;
        storage::sources::go_live(&mut tx, workspace, &live, self.ambient.now()).await?;
        self.retrieval.note_counted(&mut tx, workspace, self.datastore.id, &change).await?;
        tx.commit().await?;
        Ok(())
    }

    fn rows(&mut self, passage: &Passage) -> (Source, Chunk) {
        let source: SourceId = self.ambient.new_id();
        let told = passage.lang.as_deref().and_then(|lang| lang.parse().ok());
        // Words of no language in particular have no stems, neither in passages nor in questions about them.
        let lang = detect(&passage.text).or(told).filter(|_| !self.without_stems);
        let lang = lang.unwrap_or(Lang::Other);
        let chunk = chunk_of(self.datastore, source, &passage.text, lang);
        self.names.insert(chunk.id, passage.id.clone());
        (source_of(self.datastore, source, &passage.title, self.ambient.now()), chunk)
    }
}

fn point((source, chunk): &(Source, Chunk)) -> IndexPoint {
    IndexPoint {
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
    }
}

fn source_of(datastore: &Datastore, id: SourceId, title: &str, now: Timestamp) -> Source {
    let place = (datastore.workspace_id, datastore.id);
    Source::pending(id, place, (title.replace('_', " "), SourceOrigin::Text), now)
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
