//! The parts of the server, put together.

use std::sync::Arc;
use std::thread::available_parallelism;

use agents::{Agents, AgentsOptions, TurnObserver};
use anyhow::Context;
use api::{AppParts, AppState};
use domain::Ambient;
use domain::settings::Settings;
use domain::vault::Vault;
use evals::Evals;
use evals::target::Ground;
use ingest::pages::Fetcher;
use ingest::worker::ParserPool;
use ingest::{Ingest, IngestOptions};
use jobs::{Runner, RunnerOptions};
use models::{Catalogue, ChatModel};
use retrieval::{Billing, Reranking, Retrieval, RetrievalOptions};
use secrecy::ExposeSecret;
use storage::{Blobs, Db, DbOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::home::Home;
use crate::providers::{self, Models};
use crate::spans::Spans;

/// The server without its sockets. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// What is in force.
    pub settings: Arc<Settings>,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
    /// The database.
    pub db: Db,
    /// Search.
    pub retrieval: Retrieval,
    /// Ingestion.
    pub ingest: Ingest,
    /// Turns.
    pub agents: Agents,
    /// Evaluations.
    pub evals: Evals,
    vault: Vault,
    /// The name that jobs are claimed under, when it outlives the process.
    worker: Option<String>,
    signals: Signals,
    /// Who sends turns to a collector.
    spans: Option<Arc<Spans>>,
}

/// What tells the parts to stop, and what waits for them.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Cancelled when the server begins to stop: no new work.
    pub stopping: CancellationToken,
    /// Cancelled when the grace is over: what still runs ends now.
    pub ending: CancellationToken,
    /// Everything that was spawned.
    pub tracker: TaskTracker,
}

/// Opens the database of an installation and brings it up to date.
pub async fn open_database(settings: &Settings, home: &Home) -> anyhow::Result<Db> {
    let options = DbOptions { max_connections: settings.storage.max_connections };
    let url = match &settings.storage.database_url {
        Some(url) => url.expose_secret().to_owned(),
        None => format!("sqlite:{}", home.database().display()),
    };
    // The address is not told: it may hold a password.
    let db = Db::connect(&url, &options)
        .await
        .context("cannot open the database; check DATABASE_URL and the data folder")?;
    db.migrate().await.context("cannot bring the database up to date")?;
    Ok(db)
}

/// Where uploaded files are.
pub fn open_blobs(settings: &Settings, home: &Home) -> anyhow::Result<Blobs> {
    match &settings.storage.blob_url {
        Some(url) => Blobs::s3(url.as_str()).context("cannot open the bucket of storage.blob_url"),
        None => Blobs::local(&home.blobs()).context("cannot open the folder of uploaded files"),
    }
}

/// Opens the index over the database.
pub async fn open_index(
    settings: &Settings,
    home: &Home,
    db: &Db,
    models: Models,
) -> anyhow::Result<Retrieval> {
    let rerank = &settings.models;
    let options = RetrievalOptions {
        folder: home.index(),
        index: settings.index.clone(),
        dense_weight: settings.models.dense_weight,
        reranking: models.reranker.map(|reranker| Reranking {
            reranker,
            top: rerank.rerank_top,
            timeout: rerank.rerank_timeout,
        }),
        billing: Some(Billing {
            ambient: Ambient::system(),
            catalogue: Catalogue::new(&settings.models.catalogue),
        }),
    };
    Retrieval::open(db.clone(), models.embedder, options)
        .await
        .context("cannot open the search index")
}

impl App {
    /// Opens database, files and index and puts the parts over them.
    pub async fn open(settings: Arc<Settings>, home: &Home) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let signals = Signals::default();
        let models = providers::build(&settings.models, &ambient, home).await?;
        // Keys that cannot be read are told now, not when the first secret is to be opened.
        let vault = home.vault(&ambient, settings.storage.vault_key.as_ref())?;
        let db = open_database(&settings, home).await?;
        let retrieval = open_index(&settings, home, &db, models.clone()).await?;
        let ingest = build_ingest(&settings, home, &db, &retrieval, &ambient)?;
        let default_model = default_model(&settings, models.chat.as_ref());
        let spans = Spans::start(&settings)?.map(Arc::new);
        let agents = Agents::new(
            db.clone(),
            retrieval.clone(),
            ambient.clone(),
            AgentsOptions {
                defaults: settings.agents.clone(),
                default_model: models.chat.is_some().then_some(default_model),
                chat: models.chat,
                catalogue: Catalogue::new(&settings.models.catalogue),
                fetch: fetch::Client::new(settings.fetch.clone()),
                vault: vault.clone(),
                models: settings.models.clone(),
                observer: spans.clone().map(|spans| spans as Arc<dyn TurnObserver>),
            },
            signals.tracker.clone(),
            signals.ending.clone(),
        );
        let evals = Evals::new(
            Ground {
                db: db.clone(),
                retrieval: retrieval.clone(),
                agents: agents.clone(),
                catalogue: Catalogue::new(&settings.models.catalogue),
            },
            ambient.clone(),
        );
        Ok(Self {
            settings,
            ambient,
            db,
            retrieval,
            ingest,
            agents,
            evals,
            vault,
            worker: None,
            signals,
            spans,
        })
    }

    /// What tells the parts to stop.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The HTTP service.
    pub fn router(&self) -> anyhow::Result<axum::Router> {
        let state = AppState::new(AppParts {
            db: self.db.clone(),
            ambient: self.ambient.clone(),
            retrieval: self.retrieval.clone(),
            ingest: self.ingest.clone(),
            agents: self.agents.clone(),
            evals: self.evals.clone(),
            settings: (*self.settings).clone(),
            vault: self.vault.clone(),
            tracker: self.signals.tracker.clone(),
            stopping: self.signals.stopping.clone(),
        })?;
        Ok(api::router(state))
    }

    /// Begins to run jobs, until the server begins to stop.
    pub fn start_worker(&self) {
        let configured = self.settings.ingest.workers;
        let workers = if configured == 0 { 2 * cores() } else { configured };
        let owner = self.worker.clone();
        let options = RunnerOptions { owner, workers, ..RunnerOptions::default() };
        let handlers = self.handlers();
        let runner = Runner::new(self.db.clone(), self.ambient.clone(), handlers, options);
        self.signals.tracker.spawn(runner.run(self.signals.stopping.clone()));
        let (ingest, agents) = (self.ingest.clone(), self.agents.clone());
        self.signals.tracker.spawn(async move {
            if let Err(error) = ingest.schedule().await {
                tracing::warn!(%error, "the sweep of sources could not be scheduled");
            }
            if let Err(error) = agents.schedule_retention().await {
                tracing::warn!(%error, "the daily look at what is kept too long could not be scheduled");
            }
            if let Err(error) = agents.want_resealing().await {
                tracing::warn!(%error, "nobody looked whether secrets are sealed with an older key");
            }
        });
    }

    /// Who does which jobs.
    pub fn handlers(&self) -> Vec<Arc<dyn jobs::Handler>> {
        [self.ingest.handlers(), self.agents.handlers(), self.evals.handlers()].concat()
    }

    /// Tidies up after a process that died on the data folder and works under the folder's name from now on.
    /// The jobs that the other one had claimed go on at once instead of after their lease, and so do the conversations
    /// whose turns it held. Right only for whoever holds the folder's lock.
    pub async fn take_over(&mut self, home: &Home) -> anyhow::Result<()> {
        home.clear_uploads()?;
        let worker = home.worker_name(&self.ambient)?;
        let last_owner = home.note_turn_owner(self.agents.owner())?;
        let now = self.ambient.now();
        let mut tx = self.db.write().await?;
        let freed = storage::jobs::expire_leases(&mut tx, &worker, now).await?;
        if let Some(owner) = last_owner {
            storage::conversations::free_turns(&mut tx, &owner).await?;
            storage::streams::abandon(&mut tx, &owner, now).await?;
        }
        tx.commit().await?;
        if freed > 0 {
            tracing::warn!(jobs = freed, "resuming the jobs of a process that did not end well");
        }
        self.worker = Some(worker);
        Ok(())
    }

    /// Sends the traces that are left, writes out the index, closes it and the database. Comes last.
    pub async fn close(&self) {
        if let Some(spans) = &self.spans {
            spans.stop().await;
        }
        self.ingest.close().await;
        self.retrieval.close().await;
        self.db.close().await;
    }
}

fn build_ingest(
    settings: &Settings,
    home: &Home,
    db: &Db,
    retrieval: &Retrieval,
    ambient: &Ambient,
) -> anyhow::Result<Ingest> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let options = IngestOptions {
        settings: settings.ingest.clone(),
        parsers: ParserPool::new(program, settings.ingest.parse_timeout),
        fetcher: Fetcher::new(fetch::Client::new(settings.fetch.clone())),
        catalogue: Catalogue::new(&settings.models.catalogue),
    };
    let blobs = open_blobs(settings, home)?;
    Ok(Ingest::new(db.clone(), blobs, retrieval.clone(), ambient.clone(), options))
}

fn default_model(settings: &Settings, chat: Option<&Arc<dyn ChatModel>>) -> String {
    match (chat, &settings.models.chat_model) {
        (Some(_), Some(model)) => model.clone(),
        (Some(_), None) => providers::DEFAULT_CHAT_MODEL.to_owned(),
        (None, _) => models::builtin::MODEL_NAME.to_owned(),
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}
