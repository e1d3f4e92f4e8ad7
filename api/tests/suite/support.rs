//! The whole product behind its HTTP surface, in one process, on a free port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accounts::Accounts;
use agents::{Agents, AgentsOptions};
use api::{AppParts, AppState};
use axum::Extension;
use base64::Engine;
use domain::api_key::{ApiKey, ApiKeySecret};
use domain::settings::{ProcessRole, Settings};
use domain::vault::Vault;
use domain::{Ambient, Scope, Timestamp, UserId, WorkspaceId};
use evals::Evals;
use evals::target::Ground;
use http::{HeaderMap, Method, StatusCode};
use ingest::pages::Fetcher;
use ingest::worker::ParserPool;
use ingest::{Ingest, IngestOptions};
use jobs::{Runner, RunnerOptions};
use models::openai::{OpenAi, OpenAiOptions};
use models::{Catalogue, ChatModel, Embedder};
use retrieval::{Billing, Retrieval, RetrievalOptions};
use serde_json::{Value, json};
use storage::{Blobs, Db, Wakeup};
use tempfile::TempDir;
use testkit::db::TestDb;
use tokio::net::TcpListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Generous: what is waited for arrives in milliseconds.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something has happened; who was too slow for all that did looks again, too.
pub async fn woken(wakeups: &mut Receiver<Wakeup>) {
    match wakeups.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {}
        Err(RecvError::Closed) => panic!("the database was closed"),
    }
}

/// The product, serving.
pub struct TestApp {
    pub base: String,
    pub client: reqwest::Client,
    pub db: Db,
    pub ambient: Ambient,
    pub retrieval: Retrieval,
    /// The first workspace.
    pub tenant: Tenant,
    /// Cancelled, the server is stopping.
    pub stopping: CancellationToken,
    stop: CancellationToken,
    settings: Settings,
    folder: Arc<TempDir>,
    database: Arc<TestDb>,
}

/// A workspace with what it was born with and a key that may do everything.
#[derive(Clone)]
pub struct Tenant {
    pub workspace: WorkspaceId,
    pub agent: String,
    pub datastore: String,
    pub key: String,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A response, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body, after checking the status.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Checks the error envelope; its message.
    pub fn expect_error(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(body["error"]["code"], code, "{}", self.text);
        assert_eq!(body["error"]["requestId"], self.header("x-request-id"), "{}", self.text);
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{}", self.text);
        message.to_owned()
    }

    /// Checks that the error names a field.
    pub fn expect_field(&self, field: &str) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{field}: {}", self.text);
        assert_eq!(self.json()["error"]["details"][0]["field"], field, "{}", self.text);
        let message = self.json()["error"]["message"].to_string();
        assert!(message.contains(field), "{message} does not name {field}");
    }
}

/// The product's own defaults, without a limit of requests.
fn settings() -> Settings {
    let defaults = include_str!("../../../server/src/default.toml");
    let mut settings: Settings = toml::from_str(defaults).unwrap();
    settings.server.rate_limit = 0;
    settings
}

impl TestApp {
    /// Over SQLite, with the built-in answerer.
    pub async fn start() -> Self {
        Self::with(testkit::db::sqlite().await, |_| {}).await
    }

    /// Over SQLite, with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(testkit::db::sqlite().await, change).await
    }

    /// One after the other over SQLite and, where there is a cluster, PostgreSQL.
    pub async fn on_each_database(test: &str) -> Vec<Self> {
        let mut apps = Vec::new();
        for database in testkit::db::databases(test).await {
            apps.push(Self::with(database, |_| {}).await);
        }
        apps
    }

    /// Over a database, with changed settings; a provider in them answers instead of the built-in one.
    pub async fn with(database: TestDb, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_ambient(database, Ambient::system(), change).await
    }

    /// Stops serving, and what another process makes of the same database; the first tenant stays.
    pub async fn succeeded_by(&self, start: impl AsyncFnOnce(TestDb) -> Self) -> Self {
        self.stop.cancel();
        let db = self.database.guard.connect(testkit::db::MAX_CONNECTIONS).await;
        // This one keeps the database; the guard of the next one is for nothing.
        let guard = testkit::db::sqlite().await.guard;
        let mut next = start(TestDb { db, name: self.database.name, guard }).await;
        next.tenant = self.tenant.clone();
        next
    }

    /// As [`with`](Self::with), by a clock of the test's.
    pub async fn with_ambient(
        database: TestDb,
        ambient: Ambient,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.storage.data_dir = folder.path().to_owned();
        change(&mut settings);
        let retrieval = open_index(&settings, &database.db, &ambient).await;
        let (db, folder) = (database.db.clone(), Arc::new(folder));
        let tenant = new_tenant(&db, &ambient, "Ferretería Sol").await;
        Self::assemble(Arc::new(database), db, settings, folder, ambient, retrieval, tenant).await
    }

    /// A further process on the same database. It shares the index, which only one process can open.
    pub async fn beside(&self) -> Self {
        self.beside_with(|_| {}).await
    }

    /// As [`beside`](Self::beside), with changed settings.
    pub async fn beside_with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let db = self.database.guard.connect(testkit::db::MAX_CONNECTIONS).await;
        let (database, mut settings) = (self.database.clone(), self.settings.clone());
        change(&mut settings);
        let (ambient, retrieval) = (self.ambient.clone(), self.retrieval.clone());
        let (folder, tenant) = (self.folder.clone(), self.tenant.clone());
        Self::assemble(database, db, settings, folder, ambient, retrieval, tenant).await
    }

    async fn assemble(
        database: Arc<TestDb>,
        db: Db,
        settings: Settings,
        folder: Arc<TempDir>,
        ambient: Ambient,
        retrieval: Retrieval,
        tenant: Tenant,
    ) -> Self {
        let (stop, stopping) = (CancellationToken::new(), CancellationToken::new());
        let tracker = TaskTracker::new();
        let ingest = open_ingest(&settings, &db, &retrieval, &ambient);
        let agents = open_agents(&settings, &db, &retrieval, &ambient, &tracker, &stop);
        let ground = Ground {
            db: db.clone(),
            retrieval: retrieval.clone(),
            agents: agents.clone(),
            catalogue: Catalogue::new(&settings.models.catalogue),
        };
        let evals = Evals::new(ground, ambient.clone());
        let accounts = Accounts::new(db.clone(), ambient.clone(), &vault(), &settings).unwrap();
        let handlers =
            [ingest.handlers(), agents.handlers(), evals.handlers(), accounts.handlers()].concat();
        let options = RunnerOptions::default();
        let runner = Runner::new(db.clone(), ambient.clone(), handlers, options);
        if settings.server.roles.contains(&ProcessRole::Worker) {
            // The index is written out when its last user goes, so each of them keeps the folder.
            let (kept, stopped) = (folder.clone(), stop.clone());
            tracker.spawn(async move {
                let _kept = kept;
                runner.run(stopped).await;
            });
        }
        let state = AppState::new(AppParts {
            db: db.clone(),
            ambient: ambient.clone(),
            retrieval: retrieval.clone(),
            ingest,
            agents,
            evals,
            accounts,
            settings: settings.clone(),
            vault: vault(),
            tracker: tracker.clone(),
            stopping: stopping.clone(),
        });
        let router = api::router(state.unwrap()).layer(Extension(folder.clone()));
        let base = serve(router, &tracker, &stop).await;
        Self {
            base,
            client: client(),
            db,
            ambient,
            retrieval,
            tenant,
            stopping,
            stop,
            settings,
            folder,
            database,
        }
    }

    /// All that the database holds, as text; what is compressed is not read.
    pub async fn dump(&self) -> String {
        let url = self.database.guard.url();
        if self.db.is_postgres() {
            // What stands behind the address is for sqlx.
            let url = url.split('?').next().unwrap_or_default();
            let dumped = tokio::process::Command::new("pg_dump").arg(url).output().await.unwrap();
            assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
            return String::from_utf8_lossy(&dumped.stdout).into_owned();
        }
        // A copy has nothing of rows that are gone.
        let copy = self.folder.path().join(format!("{}.db", self.ambient.new_uuid()));
        self.db.backup_sqlite(&copy).await.unwrap();
        String::from_utf8_lossy(&std::fs::read(&copy).unwrap()).into_owned()
    }

    /// Closes the database and reads the files that it is made of, the log as well, as somebody would who has the disk; empty
    /// on PostgreSQL, whose files are its own.
    pub async fn raw_database(&self) -> String {
        self.stop.cancel();
        self.db.close().await;
        if self.db.is_postgres() {
            return String::new();
        }
        let url = self.database.guard.url();
        let path = url.trim_start_matches("sqlite:");
        let files = [path.to_owned(), format!("{path}-wal")].map(std::fs::read);
        let bytes: Vec<u8> = files.into_iter().flatten().flatten().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a stored file, or its name, holds a text.
    pub fn is_among_files(&self, text: &str) -> bool {
        let mut folders = vec![self.folder().join("blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let content = std::fs::read(&path).unwrap_or_default();
                let is_named = path.to_string_lossy().contains(text);
                if is_named || String::from_utf8_lossy(&content).contains(text) {
                    return true;
                }
            }
        }
        false
    }

    /// Waits until no stored file holds a text.
    pub async fn without_file(&self, text: &str) {
        let waiting = async {
            // Nobody is told when a job has ended well.
            while self.is_among_files(text) {
                self.db.ping().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the files go");
    }

    /// A client that goes where it is sent only when it is told to.
    #[expect(clippy::unused_self, reason = "beside the client that the product is asked with")]
    pub fn stay(&self) -> reqwest::Client {
        #[expect(clippy::disallowed_methods, reason = "a test's client, for a server of its own")]
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        client.redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    /// The folder of the data.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What a process does at its start.
    pub async fn start_again(&self) {
        let (settings, db) = (&self.settings, &self.db);
        open_ingest(settings, db, &self.retrieval, &self.ambient).schedule().await.unwrap();
    }

    /// A further workspace.
    pub async fn other_tenant(&self) -> Tenant {
        new_tenant(&self.db, &self.ambient, "Otra empresa").await
    }

    /// A further key of the first workspace.
    pub async fn key(&self, scopes: &[Scope], expires_at: Option<Timestamp>) -> String {
        let workspace = (self.tenant.workspace, None);
        store_key(&self.db, &self.ambient, workspace, scopes, expires_at).await
    }

    /// A key of any workspace that may do everything.
    pub async fn key_of(&self, workspace: WorkspaceId) -> String {
        store_key(&self.db, &self.ambient, (workspace, None), &Scope::ALL, None).await
    }

    /// A key of the first workspace that a member made: it may do what they may, within its scopes.
    pub async fn key_by(&self, maker: UserId, scopes: &[Scope]) -> String {
        let workspace = (self.tenant.workspace, Some(maker));
        store_key(&self.db, &self.ambient, workspace, scopes, None).await
    }

    /// A request with the first workspace's key.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request_as(&self.tenant.key, method, path)
    }

    /// A request with a key.
    pub fn request_as(&self, key: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(key)
    }

    pub async fn get(&self, path: &str) -> Reply {
        read(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        read(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        read(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        read(self.request(Method::PUT, path).json(body)).await
    }

    /// A path under the first workspace's datastore.
    pub fn in_datastore(&self, rest: &str) -> String {
        format!("/api/v2/datastores/{}{rest}", self.tenant.datastore)
    }

    /// The chat of the first workspace's agent.
    pub fn chat_path(&self) -> String {
        format!("/api/v2/agent/{}/chat", self.tenant.agent)
    }

    /// Adds a text and waits until questions are answered from it; its id.
    pub async fn learn(&self, name: &str, content: &str) -> String {
        let body = json!({"name": name, "content": content});
        let accepted = self.post(&self.in_datastore("/sources/text"), &body).await.expect(202);
        let id = accepted["id"].as_str().unwrap().to_owned();
        let source = self.ingested(&id).await;
        assert_eq!(source["status"], "ready", "{source}");
        id
    }

    /// Waits until the ingestion of a source has ended; the source.
    pub async fn ingested(&self, id: &str) -> Value {
        let mut wakeups = self.db.wakeups();
        let waiting = async {
            loop {
                let source =
                    self.get(&self.in_datastore(&format!("/sources/{id}"))).await.expect(200);
                if !["pending", "running"].contains(&source["status"].as_str().unwrap()) {
                    return source;
                }
                woken(&mut wakeups).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the ingestion ends")
    }
}

/// Sends a request and reads its response whole.
pub async fn read(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

#[expect(clippy::disallowed_methods, reason = "a test's client, for a server of its own")]
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn open_index(settings: &Settings, db: &Db, ambient: &Ambient) -> Retrieval {
    let embedder = settings.models.embedding_model.as_ref().map(|model| {
        let options = OpenAiOptions::from_settings(&settings.models).unwrap();
        let provider = OpenAi::new(&options, ambient).unwrap();
        Arc::new(provider.embedder_of_dimension(model, 64)) as Arc<dyn Embedder>
    });
    let options = RetrievalOptions {
        folder: settings.storage.data_dir.join("index"),
        index: settings.index.clone(),
        dense_weight: settings.models.dense_weight,
        reranking: None,
        billing: Some(Billing {
            ambient: ambient.clone(),
            catalogue: Catalogue::new(&settings.models.catalogue),
        }),
    };
    Retrieval::open(db.clone(), embedder, options).await.unwrap()
}

/// A ring of one key.
fn vault() -> Vault {
    Vault::parse(&"7".repeat(64)).unwrap()
}

fn open_ingest(settings: &Settings, db: &Db, retrieval: &Retrieval, ambient: &Ambient) -> Ingest {
    let options = IngestOptions {
        settings: settings.ingest.clone(),
        parsers: ParserPool::new(parser_program(), settings.ingest.parse_timeout),
        fetcher: Fetcher::new(fetch::Client::new(settings.fetch.clone())),
        catalogue: Catalogue::new(&settings.models.catalogue),
    };
    let blobs = Blobs::local(&settings.storage.data_dir.join("blobs")).unwrap();
    Ingest::new(db.clone(), blobs, retrieval.clone(), ambient.clone(), options)
}

/// An example of this crate, which cargo builds along with the tests.
fn parser_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join("api_test_parser")
}

fn open_agents(
    settings: &Settings,
    db: &Db,
    retrieval: &Retrieval,
    ambient: &Ambient,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Agents {
    let provider = OpenAiOptions::from_settings(&settings.models);
    let chat = provider
        .map(|options| Arc::new(OpenAi::new(&options, ambient).unwrap()) as Arc<dyn ChatModel>);
    let default_model = match &chat {
        Some(_) => settings.models.chat_model.clone(),
        None => None,
    };
    let catalogue = Catalogue::new(&settings.models.catalogue);
    let options = AgentsOptions {
        defaults: settings.agents.clone(),
        chat,
        default_model,
        catalogue,
        fetch: fetch::Client::new(settings.fetch.clone()),
        vault: vault(),
        models: settings.models.clone(),
        observer: None,
    };
    let (db, retrieval, ambient) = (db.clone(), retrieval.clone(), ambient.clone());
    Agents::new(db, retrieval, ambient, options, tracker.clone(), stop.clone())
}

/// The address of a web site that has one file, given as a `data:` address.
pub async fn site(path: &str, content_type: &'static str, content: &str) -> String {
    let content = content.split_once(',').unwrap().1;
    let content = base64::engine::general_purpose::STANDARD.decode(content).unwrap();
    let answer = move || async move { ([(http::header::CONTENT_TYPE, content_type)], content) };
    let router = axum::Router::new().route(path, axum::routing::get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's runtime.
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

async fn serve(router: axum::Router, tracker: &TaskTracker, stop: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service);
    let stop = stop.clone();
    tracker.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            result = serving => result.unwrap(),
        }
    });
    format!("http://{address}")
}

async fn new_tenant(db: &Db, ambient: &Ambient, name: &str) -> Tenant {
    let mut tx = db.write().await.unwrap();
    let born = storage::workspaces::create(&mut tx, ambient, name).await.unwrap();
    tx.commit().await.unwrap();
    let workspace = born.workspace.id;
    Tenant {
        workspace,
        agent: born.agent.id.to_string(),
        datastore: born.datastore.id.to_string(),
        key: store_key(db, ambient, (workspace, None), &Scope::ALL, None).await,
    }
}

async fn store_key(
    db: &Db,
    ambient: &Ambient,
    (workspace, maker): (WorkspaceId, Option<UserId>),
    scopes: &[Scope],
    expires_at: Option<Timestamp>,
) -> String {
    let secret = ApiKeySecret::generate(ambient);
    let key = ApiKey {
        id: ambient.new_id(),
        workspace_id: workspace,
        name: "test".to_owned(),
        prefix: secret.prefix().to_owned(),
        scopes: scopes.iter().copied().collect(),
        created_by: maker,
        created_at: ambient.now(),
        expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = db.write().await.unwrap();
    storage::api_keys::insert(&mut tx, &key, &secret.hash()).await.unwrap();
    tx.commit().await.unwrap();
    secret.expose().to_owned()
}
