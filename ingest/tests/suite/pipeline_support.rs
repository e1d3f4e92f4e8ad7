//! A whole ingestion: database, files, index, job runner, an embedder that counts, a web site of one page.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use domain::datastore::{Datastore, Source, SourceStatus};
use domain::job::{Job, JobState};
use domain::settings::{FetchSettings, IndexSettings, IngestSettings};
use domain::{Ambient, Clock, DatastoreId, JobId, SourceId, Timestamp, WorkspaceId};
use ingest::pages::Fetcher;
use ingest::{Ingest, IngestOptions, NewFile};
use jobs::{Handler, JobContext, JobError, Outcome, Runner, RunnerOptions};
use models::{EmbedPurpose, Embedder, EmbeddingSpace, ModelError};
use parking_lot::Mutex;
use retrieval::{Retrieval, RetrievalOptions};
use serde_json::Map;
use storage::{Blobs, Db, Tx};
use tempfile::TempDir;
use testkit::db::TestDb;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_mins(1);

/// A whole ingestion over one database.
pub struct Bench {
    pub name: &'static str,
    pub db: Db,
    pub blobs: Blobs,
    pub retrieval: Retrieval,
    pub ingest: Ingest,
    pub ambient: Ambient,
    pub workspace: WorkspaceId,
    pub datastore: DatastoreId,
    pub embedder: Arc<CountingEmbedder>,
    clock: Arc<MovableClock>,
    folder: TempDir,
    stop: CancellationToken,
    tasks: TaskTracker,
    ends: Ends,
    _database: testkit::db::Guard,
}

impl Bench {
    /// With the runner at work.
    pub async fn start(test: TestDb) -> Self {
        let bench = Self::idle(test).await;
        bench.run_jobs();
        bench
    }

    /// Without a runner: what is wanted waits.
    pub async fn idle(test: TestDb) -> Self {
        let TestDb { db, name, guard } = test;
        let clock = Arc::new(MovableClock(AtomicI64::new(0)));
        let ambient = Ambient::new(clock.clone(), Arc::new(domain::SystemEntropy));
        let folder = tempfile::tempdir().unwrap();
        let mut tx = db.write().await.unwrap();
        let born = storage::workspaces::create(&mut tx, &ambient, "Prueba").await.unwrap();
        tx.commit().await.unwrap();
        let embedder = Arc::new(CountingEmbedder::new());
        let options = RetrievalOptions {
            folder: folder.path().join("index"),
            index: IndexSettings {
                qdrant_url: None,
                qdrant_api_key: None,
                collection_prefix: "test".into(),
            },
            dense_weight: 0.2,
            reranking: None,
            billing: None,
        };
        let retrieval = Retrieval::open(db.clone(), Some(embedder.clone()), options).await.unwrap();
        let blobs = Blobs::local(&folder.path().join("files")).unwrap();
        let fetcher = Fetcher::new(fetch::Client::new(FetchSettings {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(10),
        }));
        let settings = IngestSettings {
            max_upload_bytes: 1 << 20,
            max_attachment_bytes: 1 << 20,
            max_visitor_attachment_bytes: 1 << 20,
            workers: 4,
            chunk_tokens: 60,
            chunk_overlap: 0,
            parse_timeout: Duration::from_secs(30),
        };
        let parsers = crate::support::pool();
        let ingest = Ingest::new(
            db.clone(),
            blobs.clone(),
            retrieval.clone(),
            ambient.clone(),
            IngestOptions { settings, parsers, fetcher, catalogue: models::Catalogue::default() },
        );
        Self {
            name,
            db,
            blobs,
            retrieval,
            ingest,
            ambient,
            workspace: born.workspace.id,
            datastore: born.datastore.id,
            embedder,
            clock,
            folder,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ends: Ends::default(),
            _database: guard,
        }
    }

    pub fn run_jobs(&self) {
        self.run_jobs_with(RunnerOptions { workers: 4, ..RunnerOptions::default() });
    }

    pub fn run_jobs_with(&self, options: RunnerOptions) {
        // Looks often, because tests move the clock.
        let options = RunnerOptions { idle_poll: Duration::from_millis(20), ..options };
        let watched =
            |inner| Arc::new(Watched { inner, ends: self.ends.clone() }) as Arc<dyn Handler>;
        let handlers = self.ingest.handlers().into_iter().map(watched).collect();
        let runner = Runner::new(self.db.clone(), self.ambient.clone(), handlers, options);
        self.tasks.spawn(runner.run(self.stop.clone()));
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.clock.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Lets the first wait of a failed job pass.
    pub fn hurry(&self) {
        self.advance(Duration::from_secs(6));
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.unwrap();
        self.ingest.close().await;
        self.retrieval.close().await;
    }

    pub async fn add_text(&self, name: &str, content: &str) -> Source {
        let added =
            self.ingest.add_text(self.workspace, self.datastore, name, content, Map::new()).await;
        added.unwrap()
    }

    pub fn file(&self, name: &str, content: &[u8]) -> NewFile {
        let path = self.folder.path().join(self.ambient.new_uuid().to_string());
        std::fs::write(&path, content).unwrap();
        NewFile {
            name: name.to_owned(),
            title: None,
            path,
            bytes: content.len() as u64,
            metadata: Map::new(),
        }
    }

    pub async fn add_file(&self, name: &str, content: &[u8]) -> Source {
        let file = self.file(name, content);
        self.ingest.add_file(self.workspace, self.datastore, file).await.unwrap()
    }

    pub async fn source(&self, id: SourceId) -> Option<Source> {
        let mut conn = self.db.read().await.unwrap();
        storage::sources::get_any(&mut conn, self.workspace, id).await.unwrap()
    }

    /// Jobs of the workspace in a state, newest first.
    pub async fn jobs(&self, state: JobState) -> Vec<Job> {
        let mut conn = self.db.read().await.unwrap();
        storage::jobs::list(&mut conn, self.workspace, state, 10_000).await.unwrap()
    }

    /// Waits until so many sweeps have ended.
    pub async fn swept(&self, sweeps: usize) {
        let have_ended = async || {
            let ended = self.ends.0.borrow().clone();
            // In this order: one that goes from running to done meanwhile is seen at least once.
            let mut jobs = self.jobs(JobState::Running).await;
            jobs.extend(self.jobs(JobState::Done).await);
            let of_sweeps = jobs
                .iter()
                .filter(|job| job.kind == "ingest.sweep" && ended.contains(&(job.id, job.attempt)));
            let of_sweeps: HashSet<JobId> = of_sweeps.map(|job| job.id).collect();
            (of_sweeps.len() >= sweeps).then_some(())
        };
        self.look("the sweep ends", have_ended).await;
    }

    /// Where a stored file of a workspace is.
    pub fn blob_path(&self, workspace: WorkspaceId, name: &str) -> std::path::PathBuf {
        self.folder.path().join("files").join(workspace.to_string()).join(name)
    }

    pub async fn datastore(&self) -> Datastore {
        let mut conn = self.db.read().await.unwrap();
        let found = storage::datastores::get(&mut conn, self.workspace, self.datastore).await;
        found.unwrap().unwrap()
    }

    /// Looks after each commit that wakes somebody up, each job that ends and each request to the embedder, until
    /// there is something to see.
    pub async fn look<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut wakeups = self.db.wakeups();
        let mut ends = self.ends.0.subscribe();
        let mut asked = self.embedder.asked.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::select! {
                    // One that lagged behind has something to look at as well.
                    _ = wakeups.recv() => {}
                    changed = ends.changed() => changed.unwrap(),
                    changed = asked.changed() => changed.unwrap(),
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|late| panic!("{}: {what}: {late}", self.name))
    }

    /// Waits until `wanted` holds of the source.
    pub async fn wait(&self, id: SourceId, wanted: impl Fn(&Source) -> bool) -> Source {
        let look = async || self.source(id).await.filter(&wanted);
        self.look("the source", look).await
    }

    pub async fn wait_status(&self, id: SourceId, status: SourceStatus) -> Source {
        self.wait(id, |source| source.status == status).await
    }

    /// Waits until no job of ingestion waits or is at work but the ones that are wanted for later.
    pub async fn settle(&self) {
        let has_settled = async || {
            let mut open = Vec::new();
            for state in [JobState::Waiting, JobState::Running] {
                open.extend(self.jobs(state).await);
            }
            let ends = self.ends.0.borrow();
            let is_over = |job: &Job| {
                matches!(job.kind.as_str(), "ingest.maintain" | "ingest.sweep")
                    || ends.contains(&(job.id, job.attempt))
            };
            open.iter().all(is_over).then_some(())
        };
        self.look("the jobs end", has_settled).await;
    }

    /// Rows of chunks by version.
    pub async fn rows(&self, id: SourceId) -> BTreeMap<i64, i64> {
        let mut conn = self.db.read().await.unwrap();
        let mut rows = BTreeMap::new();
        for version in 1..10 {
            let found =
                storage::chunks::of_version(&mut conn, self.workspace, id, version, -1, 10_000)
                    .await
                    .unwrap();
            let ordinals: HashSet<i64> = found.iter().map(|chunk| chunk.ordinal).collect();
            assert_eq!(ordinals.len(), found.len(), "a chunk is doubled");
            if !found.is_empty() {
                rows.insert(version, i64::try_from(found.len()).unwrap());
            }
        }
        rows
    }

    /// Points in the index by version.
    pub async fn points(&self, id: SourceId) -> BTreeMap<i64, i64> {
        self.retrieval.count_points(self.workspace, id).await.unwrap()
    }

    /// What stands in the index and in the rows is the live version, whole and alone.
    pub async fn assert_whole(&self, source: &Source) {
        assert!(source.chunks > 0, "{}: {source:?}", self.name);
        let expected = BTreeMap::from([(source.live_version, source.chunks)]);
        assert_eq!(self.rows(source.id).await, expected, "{}: rows", self.name);
        assert_eq!(self.points(source.id).await, expected, "{}: points", self.name);
    }
}

/// The attempts of jobs that ended well. Their rows say so a moment later, which wakes nobody up.
#[derive(Clone)]
struct Ends(watch::Sender<HashSet<(JobId, i64)>>);

impl Default for Ends {
    fn default() -> Self {
        Self(watch::Sender::new(HashSet::new()))
    }
}

/// A handler whose ends are told.
struct Watched {
    inner: Arc<dyn Handler>,
    ends: Ends,
}

#[async_trait]
impl Handler for Watched {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn batch(&self) -> usize {
        self.inner.batch()
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let outcomes = self.inner.run(context, jobs).await;
        self.ends.0.send_modify(|ends| {
            let ended = jobs.iter().zip(&outcomes).filter(|(_, outcome)| {
                !matches!(outcome, Err(JobError::Retry { .. } | JobError::Released))
            });
            ends.extend(ended.map(|(job, _)| (job.id, job.attempt)));
        });
        outcomes
    }

    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        self.inner.on_dead(tx, job, error).await
    }
}

/// The system's clock, moved forward by some microseconds.
#[derive(Debug)]
struct MovableClock(AtomicI64);

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        let now = domain::SystemClock.now().micros();
        Timestamp::from_micros(now + self.0.load(Ordering::SeqCst))
    }
}

/// Vectors that follow from the text's length; counts what it is asked, and can be held up.
#[derive(Debug)]
pub struct CountingEmbedder {
    space: EmbeddingSpace,
    pub texts: AtomicUsize,
    /// Requests so far.
    asked: watch::Sender<usize>,
    /// Closed: waits for a permit before each answer.
    pub gate: Mutex<Option<Arc<Semaphore>>>,
}

impl CountingEmbedder {
    fn new() -> Self {
        let space = EmbeddingSpace { model: "counting".into(), dimension: 4 };
        let asked = watch::Sender::new(0);
        Self { space, texts: AtomicUsize::new(0), asked, gate: Mutex::new(None) }
    }

    pub fn count(&self) -> usize {
        self.texts.load(Ordering::SeqCst)
    }

    /// From now on each request waits for a permit.
    pub fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(gate.clone());
        gate
    }
}

#[async_trait]
impl Embedder for CountingEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    async fn embed(
        &self,
        texts: &[String],
        _purpose: EmbedPurpose,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        self.asked.send_modify(|asked| *asked += 1);
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            let permit = gate.acquire().await.map_err(|_| ModelError::Broken("closed".into()))?;
            permit.forget();
        }
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        let vector = |text: &String| {
            let angle = text.len() as f32;
            vec![angle.cos(), angle.sin(), 0.0, 0.0]
        };
        Ok(texts.iter().map(vector).collect())
    }
}

/// A site with one page, `/`, that tests change.
#[derive(Clone)]
pub struct Site {
    pub page: Arc<Mutex<Page>>,
    pub url: String,
}

#[derive(Debug, Clone, Default)]
pub struct Page {
    pub body: String,
    pub etag: Option<String>,
    pub status: Option<u16>,
    pub hits: usize,
    pub not_modified: usize,
}

impl Site {
    pub async fn start(body: &str) -> Self {
        let page = Arc::new(Mutex::new(Page { body: body.to_owned(), ..Page::default() }));
        let shared = page.clone();
        let app = axum::Router::new().route(
            "/pagina",
            axum::routing::get(move |headers: HeaderMap| {
                let shared = shared.clone();
                async move { answer(&mut shared.lock(), &headers) }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pagina", listener.local_addr().unwrap());
        TaskTracker::new().spawn(async move { axum::serve(listener, app).await });
        Self { page, url }
    }

    pub fn set(&self, body: &str) {
        body.clone_into(&mut self.page.lock().body);
    }
}

fn answer(page: &mut Page, headers: &HeaderMap) -> axum::response::Response {
    page.hits += 1;
    if let Some(status) = page.status {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let etag = page.etag.clone().unwrap_or_default();
    if !etag.is_empty() && headers.get(header::IF_NONE_MATCH).is_some_and(|v| v == etag.as_str()) {
        page.not_modified += 1;
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let mut response =
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.body.clone()).into_response();
    if !etag.is_empty() {
        response.headers_mut().insert(header::ETAG, etag.parse().unwrap());
    }
    response
}

/// A page of `paragraphs` paragraphs about `subject`.
pub fn html(title: &str, subject: &str, paragraphs: usize) -> String {
    let mut body = String::new();
    for number in 0..paragraphs {
        let _ = write!(
            body,
            "<h2>Punto {number}</h2><p>Sobre {subject}: el plazo número {number} de la garantía se \
             cuenta desde el día en que la persona recibe el producto en su domicilio, y puede pedir \
             el cambio o la devolución del dinero sin dar explicaciones.</p>"
        );
    }
    format!(
        "<!doctype html><html lang=es><head><title>{title}</title></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    )
}

/// A Markdown text of several chunks about `subject`.
pub fn markdown(subject: &str, sections: usize) -> String {
    let mut text = String::new();
    for number in 0..sections {
        let _ = write!(
            text,
            "## Punto {number}\n\nSobre {subject}: el plazo número {number} de la garantía se cuenta \
             desde el día en que la persona recibe el producto en su domicilio, y puede pedir el \
             cambio o la devolución del dinero sin dar explicaciones.\n\n"
        );
    }
    text
}
