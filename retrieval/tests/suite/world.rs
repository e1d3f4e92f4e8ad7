//! A database, an index and shorthand for filling both.

use std::sync::Arc;

use domain::datastore::{Chunk, Datastore, Source, SourceOrigin};
use domain::settings::IndexSettings;
use domain::{Ambient, ChunkId, DatastoreId, Lang, SourceId, WorkspaceId};
use models::Embedder;
use retrieval::{
    IndexPoint, Reranking, Retrieval, RetrievalOptions, SearchMode, SearchQuery, SearchResults,
    StatsChange, passage_heading,
};
use serde_json::{Map, Value};
use storage::Db;
use tempfile::TempDir;
use testkit::db::TestDb;

/// The kinds of index.
#[derive(Debug, Clone)]
pub enum Arm {
    Edge,
    Server(String),
}

/// The index in process, and the server where there is one. `test` names what does not run.
pub fn arms(test: &str) -> Vec<Arm> {
    let mut arms = vec![Arm::Edge];
    match std::env::var("VOCERO_TEST_QDRANT_URL") {
        Ok(url) => arms.push(Arm::Server(url)),
        Err(_) => eprintln!("NOT RUN on a Qdrant server: {test} (set VOCERO_TEST_QDRANT_URL)"),
    }
    arms
}

pub struct World {
    pub retrieval: Retrieval,
    pub db: Db,
    pub ambient: Ambient,
    pub workspace: WorkspaceId,
    pub datastore: Datastore,
    pub folder: TempDir,
    arm: Arm,
    prefix: String,
    _guard: TestDb,
}

impl World {
    pub async fn new(arm: &Arm) -> Self {
        Self::with_embedder(arm, None).await
    }

    pub async fn with_embedder(arm: &Arm, embedder: Option<Arc<dyn Embedder>>) -> Self {
        let guard = testkit::db::sqlite().await;
        let db = guard.db.clone();
        let ambient = Ambient::system();
        let (workspace, datastore) = new_workspace(&db, &ambient).await;
        let folder = tempfile::tempdir().unwrap();
        let prefix = format!("test-{}", ambient.new_uuid().simple());
        let options = options(arm, &folder, &prefix);
        let retrieval = Retrieval::open(db.clone(), embedder, options).await.unwrap();
        Self {
            retrieval,
            db,
            ambient,
            workspace,
            datastore,
            folder,
            arm: arm.clone(),
            prefix,
            _guard: guard,
        }
    }

    /// Closes the index and opens it again.
    pub async fn reopen(&mut self) {
        self.retrieval.close().await;
        let options = options(&self.arm, &self.folder, &self.prefix);
        self.retrieval = Retrieval::open(self.db.clone(), None, options).await.unwrap();
    }

    /// Closes the index and opens it again with another embedder.
    pub async fn reopen_embedding(&mut self, embedder: Option<Arc<dyn Embedder>>) {
        self.retrieval.close().await;
        let options = options(&self.arm, &self.folder, &self.prefix);
        self.retrieval = Retrieval::open(self.db.clone(), embedder, options).await.unwrap();
    }

    /// Closes the index and opens it again with a reranker, or without.
    pub async fn reopen_with(&mut self, reranking: Option<Reranking>) {
        self.retrieval.close().await;
        let options = options(&self.arm, &self.folder, &self.prefix);
        let options = RetrievalOptions { reranking, ..options };
        self.retrieval = Retrieval::open(self.db.clone(), None, options).await.unwrap();
    }

    /// Adds a live source of one passage to the default datastore.
    pub async fn add(&self, name: &str, text: &str) -> SourceId {
        self.add_to(&self.datastore, name, &[text], Map::new()).await
    }

    /// Adds a live source with these passages.
    pub async fn add_to(
        &self,
        datastore: &Datastore,
        name: &str,
        texts: &[&str],
        metadata: Map<String, Value>,
    ) -> SourceId {
        let source = source(datastore, name, metadata, &self.ambient);
        let mut tx = self.db.write().await.unwrap();
        storage::sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.publish(&source, 1, texts, &[]).await;
        source.id
    }

    /// Adds a live source whose passages stand under headings: heading path and text of each.
    pub async fn add_headed(&self, name: &str, passages: &[(&str, &str)]) -> SourceId {
        let source = source(&self.datastore, name, Map::new(), &self.ambient);
        let mut tx = self.db.write().await.unwrap();
        storage::sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let headed = |(ordinal, (heading, text)): (i64, &(&str, &str))| Chunk {
            heading: (*heading).to_owned(),
            ..chunk(&source, 1, ordinal, text)
        };
        let chunks: Vec<Chunk> = (0..).zip(passages).map(headed).collect();
        self.stage_chunks(&source, &chunks).await;
        self.go_live(&source, 1, &chunks, &[]).await;
        source.id
    }

    /// Makes a version of a source live, the way ingestion does: rows, points, then the switch.
    pub async fn publish(&self, source: &Source, version: i64, texts: &[&str], old: &[Chunk]) {
        let chunks = self.stage(source, version, texts).await;
        self.go_live(source, version, &chunks, old).await;
    }

    async fn go_live(&self, source: &Source, version: i64, chunks: &[Chunk], old: &[Chunk]) {
        let headed = |chunks: &[Chunk]| -> Vec<(String, Chunk)> {
            let heading = |chunk: &Chunk| passage_heading(&source.name, &chunk.heading);
            chunks.iter().map(|chunk| (heading(chunk), chunk.clone())).collect()
        };
        let (added, removed) = (headed(chunks), headed(old));
        let (added, removed) = (borrowed(&added), borrowed(&removed));
        let change = StatsChange::count(&added, &removed);
        let mut tx = self.db.write().await.unwrap();
        let live = storage::sources::GoLive {
            source: source.id,
            version,
            content_hash: "hash",
            chunks: i64::try_from(chunks.len()).unwrap(),
            language: None,
            warning: None,
        };
        let now = self.ambient.now();
        let (workspace, datastore) = (source.workspace_id, source.datastore_id);
        let live = storage::sources::go_live(&mut tx, workspace, &[live], now).await.unwrap();
        assert_eq!(live, [source.id]);
        self.retrieval.note_counted(&mut tx, workspace, datastore, &change).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Stores and indexes the passages of a version without making it live.
    pub async fn stage(&self, source: &Source, version: i64, texts: &[&str]) -> Vec<Chunk> {
        let chunks: Vec<Chunk> =
            (0..).zip(texts).map(|(n, text)| chunk(source, version, n, text)).collect();
        self.stage_chunks(source, &chunks).await;
        chunks
    }

    async fn stage_chunks(&self, source: &Source, chunks: &[Chunk]) {
        let mut tx = self.db.write().await.unwrap();
        storage::chunks::insert_many(&mut tx, chunks).await.unwrap();
        tx.commit().await.unwrap();
        let points = chunks.iter().map(|chunk| point(source, chunk)).collect();
        self.retrieval.upsert(points).await.unwrap();
    }

    pub async fn source(&self, id: SourceId) -> Source {
        let mut conn = self.db.read().await.unwrap();
        storage::sources::get_any(&mut conn, self.workspace, id).await.unwrap().unwrap()
    }

    pub fn query(&self, text: &str) -> SearchQuery {
        SearchQuery {
            datastores: vec![self.datastore.id],
            text: text.to_owned(),
            top_k: 5,
            mode: SearchMode::Hybrid,
            min_score: None,
            filter: None,
            dense_weight: None,
        }
    }

    pub async fn search(&self, text: &str) -> SearchResults {
        self.retrieval.search(self.workspace, &self.query(text)).await.unwrap()
    }

    /// What reaches a score.
    pub async fn search_from(&self, text: &str, least: f64) -> SearchResults {
        let query = SearchQuery { min_score: Some(least), ..self.query(text) };
        self.retrieval.search(self.workspace, &query).await.unwrap()
    }

    /// Names of the sources found, best first.
    pub async fn found(&self, text: &str) -> Vec<String> {
        names(&self.search(text).await)
    }
}

fn borrowed(headed: &[(String, Chunk)]) -> Vec<(&str, &Chunk)> {
    headed.iter().map(|(heading, chunk)| (heading.as_str(), chunk)).collect()
}

pub fn names(results: &SearchResults) -> Vec<String> {
    results.hits.iter().map(|hit| hit.live.source_name.clone()).collect()
}

pub async fn new_workspace(db: &Db, ambient: &Ambient) -> (WorkspaceId, Datastore) {
    let mut tx = db.write().await.unwrap();
    let born = storage::workspaces::create(&mut tx, ambient, "test").await.unwrap();
    tx.commit().await.unwrap();
    (born.workspace.id, born.datastore)
}

pub async fn new_datastore(world: &World, name: &str) -> Datastore {
    let datastore = Datastore {
        id: world.ambient.new_id::<DatastoreId>(),
        name: name.to_owned(),
        is_default: false,
        is_system: false,
        revision: 0,
        ..world.datastore.clone()
    };
    let mut tx = world.db.write().await.unwrap();
    storage::datastores::insert(&mut tx, &datastore).await.unwrap();
    tx.commit().await.unwrap();
    datastore
}

pub fn options(arm: &Arm, folder: &TempDir, prefix: &str) -> RetrievalOptions {
    let url = match arm {
        Arm::Edge => None,
        Arm::Server(url) => Some(url.parse().unwrap()),
    };
    RetrievalOptions {
        folder: folder.path().to_owned(),
        index: IndexSettings {
            qdrant_url: url,
            qdrant_api_key: None,
            collection_prefix: prefix.to_owned(),
        },
        dense_weight: 0.2,
        reranking: None,
        billing: None,
    }
}

pub fn source(
    datastore: &Datastore,
    name: &str,
    metadata: Map<String, Value>,
    ambient: &Ambient,
) -> Source {
    let place = (datastore.workspace_id, datastore.id);
    let called = (name.to_owned(), SourceOrigin::Text);
    Source { metadata, ..Source::pending(ambient.new_id(), place, called, ambient.now()) }
}

pub fn chunk(source: &Source, version: i64, ordinal: i64, text: &str) -> Chunk {
    Chunk {
        id: ChunkId::of(source.id, version, ordinal),
        workspace_id: source.workspace_id,
        datastore_id: source.datastore_id,
        source_id: source.id,
        version,
        ordinal,
        text: text.to_owned(),
        heading: String::new(),
        page: None,
        start: 0,
        end: 0,
        tokens: 0,
        lang: models::lexical::detect(text).unwrap_or(Lang::Es),
    }
}

pub fn point(source: &Source, chunk: &Chunk) -> IndexPoint {
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

/// Passages of a small shop.
pub const SHOP: &[(&str, &str)] = &[
    (
        "Horarios",
        "La tienda abre de lunes a viernes de 10:00 a 19:00 y los sábados de 10:00 a 14:00.",
    ),
    ("Envíos", "El envío a regiones cuesta 5.490 pesos y demora entre 3 y 6 días hábiles."),
    ("Devoluciones", "Tienes 30 días corridos para devolver un producto sin uso con su boleta."),
    ("Pagos", "Aceptamos tarjetas de crédito, débito y transferencia. No recibimos criptomonedas."),
    (
        "Carpa Nevado 3",
        "Código AN-4471. Carpa para tres personas, columna de agua de 3.000 mm, pesa 4,2 kg.",
    ),
];
