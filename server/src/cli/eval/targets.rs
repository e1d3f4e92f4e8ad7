//! The target that the arguments name.

use std::path::PathBuf;
use std::sync::Arc;

use agents::AgentsOptions;
use anyhow::Context;
use clap::{Args, ValueEnum};
use domain::settings::Settings;
use domain::{AgentId, Ambient, DatastoreId, Vault};
use evals::Dataset;
use evals::Target;
use evals::target::{
    AgentTarget, ChatTarget, HttpAgent, HttpAgentTarget, SearchTarget, World, WorldOptions,
};
use models::Catalogue;
use models::local::{self, LocalEmbedder};
use retrieval::SearchMode;
use storage::datastores::Tuning;
use url::Url;

use crate::app::{App, cores};
use crate::cli::Run;
use crate::cli::datastores::Mode;
use crate::cli::eval::misuse;
use crate::client::build_http;
use crate::home::{Home, Lock};
use crate::providers;
use crate::setup;

/// What is asked.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// What is asked
    #[arg(long, value_enum, default_value_t = Kind::Agent)]
    pub target: Kind,
    /// An agent of this installation, by its id; else one over the passages of the dataset, in a throw-away workspace
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// Use the built-in answerer, whatever model is configured
    #[arg(long)]
    pub builtin: bool,
    /// The model: of the agent in a throw-away workspace, or behind the configured provider with --target chat
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Instructions: of the agent in a throw-away workspace, or for --target chat
    #[arg(long, value_name = "FILE")]
    pub prompt: Option<PathBuf>,
    /// The evidence below which nothing is answered, 0 to 1 [default: calibrated]
    #[arg(long, value_name = "EVIDENCE")]
    pub min_evidence: Option<f64>,
    /// Which vectors --target search looks at
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    pub mode: Mode,
    /// Embed with a model of this folder; in a throw-away workspace
    #[arg(long, value_name = "local:FOLDER")]
    pub embedding: Option<String>,
    /// The part of the vectors in the fusion where the self-test does not raise it, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    pub dense_weight: f64,
    /// The part of the vectors in searches of an agent of this installation, in the place of its datastores' own.
    #[arg(skip)]
    pub weigh: Option<f64>,
    /// Take words as they stand instead of their stems, in a throw-away workspace: what stemming is worth
    #[arg(long)]
    pub no_stemming: bool,
    /// Passages of a ranking, 1 to 100
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub depth: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// An agent
    Agent,
    /// A datastore: search alone
    Search,
    /// An agent of a server, over HTTP: `VOCERO_URL`, `VOCERO_API_KEY`
    Http,
    /// A model of the configured provider, without an agent
    Chat,
}

/// A target with what it stands on.
pub struct Opened {
    /// The target.
    pub target: Box<dyn Target>,
    ground: Ground,
}

enum Ground {
    Nothing,
    World(Box<World>),
    /// With the datastores that its agent searches.
    Installation(Box<App>, Lock, Vec<DatastoreId>),
}

impl Opened {
    /// Whether it is an agent of this installation whose searches look at dense vectors.
    pub fn embeds(&self) -> bool {
        matches!(&self.ground, Ground::Installation(app, ..) if app.retrieval.embedder().is_some())
    }

    /// Sets what searches in the datastores of an agent of this installation go by: the evidence below which they are taken to hold
    /// no answer, and the part of the vectors where it is known.
    pub async fn tune(&self, evidence: f64, dense_weight: Option<f64>) -> anyhow::Result<()> {
        let Ground::Installation(app, _, datastores) = &self.ground else {
            return Err(misuse(
                "there is no agent of this installation to set it for; see --agent",
            ));
        };
        let workspace = setup::first_workspace(&app.db).await?;
        let mut tx = app.db.write().await?;
        for known in storage::datastores::revisions(&mut tx, workspace, datastores).await? {
            let dense_weight = dense_weight.or(known.tuning.dense_weight);
            let tuning = Tuning { threshold: Some(evidence), dense_weight };
            storage::datastores::tune(&mut tx, workspace, known.id, tuning).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Closes what it stands on.
    pub async fn close(self) {
        drop(self.target);
        match self.ground {
            Ground::Nothing => {}
            Ground::World(world) => world.close().await,
            Ground::Installation(app, lock, _) => {
                app.signals().tracker.close();
                app.signals().tracker.wait().await;
                app.close().await;
                drop(lock);
            }
        }
    }
}

/// Opens the target.
pub async fn open(arguments: &TargetArgs, dataset: &Dataset, run: &Run) -> anyhow::Result<Opened> {
    if arguments.min_evidence.is_some_and(|evidence| !(0.0..=1.0).contains(&evidence)) {
        return Err(misuse("--min-evidence is 0 to 1"));
    }
    match arguments.target {
        Kind::Chat => chat(arguments, run),
        Kind::Http => over_http(arguments, run),
        Kind::Agent | Kind::Search if arguments.agent.is_some() => installed(arguments, run).await,
        Kind::Agent | Kind::Search => throw_away(arguments, dataset, run).await,
    }
}

fn prompt(arguments: &TargetArgs) -> anyhow::Result<Option<String>> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    arguments.prompt.as_ref().map(read).transpose()
}

fn chat(arguments: &TargetArgs, run: &Run) -> anyhow::Result<Opened> {
    let settings = &run.loaded.settings.models;
    let model = providers::chat_model(settings, &Ambient::system())?;
    let model = model
        .ok_or_else(|| misuse("--target chat needs a provider: set OPENAI_BASE_URL or a key"))?;
    let name = arguments.model.clone().or_else(|| settings.chat_model.clone());
    let name = name.unwrap_or_else(|| providers::DEFAULT_CHAT_MODEL.to_owned());
    let catalogue = Catalogue::new(&settings.catalogue);
    let target = Box::new(ChatTarget::new(model, name, prompt(arguments)?, catalogue));
    Ok(Opened { target, ground: Ground::Nothing })
}

fn over_http(arguments: &TargetArgs, run: &Run) -> anyhow::Result<Opened> {
    let url = run.environment.get("VOCERO_URL");
    let url = url.ok_or_else(|| misuse("--target http needs VOCERO_URL, the server's address"))?;
    let key = run.environment.get("VOCERO_API_KEY");
    let key = key.ok_or_else(|| misuse("--target http needs VOCERO_API_KEY, a key of it"))?;
    let agent = arguments.agent.clone();
    let agent = agent.ok_or_else(|| misuse("--target http needs --agent, the agent's id"))?;
    let base = Url::parse(url).map_err(|_| misuse("VOCERO_URL is not an address"))?;
    let agent = HttpAgent { client: build_http()?, base, key: key.to_owned(), agent };
    let target = Box::new(HttpAgentTarget::new(agent));
    Ok(Opened { target, ground: Ground::Nothing })
}

/// An agent of this installation, in this process.
async fn installed(arguments: &TargetArgs, run: &Run) -> anyhow::Result<Opened> {
    let id: AgentId = arguments
        .agent
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error: domain::ids::InvalidId| misuse(format!("--agent: {error}")))?;
    let settings = &run.loaded.settings;
    let home = Home::open(&settings.storage.data_dir)?;
    let Some(lock) = home.try_lock()? else {
        let message = "a server works on the data folder; ask it with --target http, VOCERO_URL and VOCERO_API_KEY";
        return Err(misuse(message));
    };
    let app = App::open(Arc::new(settings.clone()), &home).await?;
    let workspace = setup::first_workspace(&app.db).await?;
    let mut conn = app.db.read().await?;
    let agent = storage::agents::get(&mut conn, workspace, id).await?;
    let agent = agent.ok_or_else(|| misuse(format!("there is no agent {id}; see --agent")))?;
    drop(conn);
    let target =
        AgentTarget::installed(app.evals.ground(), agent, usize::from(arguments.depth)).await?;
    let datastores = target.datastores().to_vec();
    let target: Box<dyn Target> = if arguments.target == Kind::Search {
        let search = target.into_search().in_mode(search_mode(arguments)?);
        let search = search.with_dense_weight(arguments.weigh);
        Box::new(search.with_threshold(arguments.min_evidence))
    } else {
        Box::new(target)
    };
    Ok(Opened { target, ground: Ground::Installation(Box::new(app), lock, datastores) })
}

/// Over the passages of the dataset.
async fn throw_away(
    arguments: &TargetArgs,
    dataset: &Dataset,
    run: &Run,
) -> anyhow::Result<Opened> {
    if dataset.corpus.is_empty() {
        let message =
            "the dataset has no passages; name an agent of this installation with --agent";
        return Err(misuse(message));
    }
    let mode = search_mode(arguments)?;
    let embedder = match &arguments.embedding {
        Some(model) => Some(embedder(model).await?),
        None => None,
    };
    let options = WorldOptions {
        embedder,
        dense_weight: arguments.dense_weight,
        without_stems: arguments.no_stemming,
    };
    let mut world = World::of(&dataset.corpus, &options).await?;
    let depth = usize::from(arguments.depth);
    if arguments.target == Kind::Search {
        let search = SearchTarget::of(&world, depth).in_mode(mode);
        let target = Box::new(search.with_threshold(arguments.min_evidence));
        return Ok(Opened { target, ground: Ground::World(Box::new(world)) });
    }
    if mode != SearchMode::Hybrid {
        return Err(misuse("agents search in mode hybrid; --mode is for --target search"));
    }
    let instructions = prompt(arguments)?;
    let (evidence, model_name) = (arguments.min_evidence, arguments.model.clone());
    world
        .set_agent(|agent| {
            agent.settings.min_evidence = evidence;
            agent.model_name = model_name;
            agent.system_prompt = instructions.unwrap_or_default();
        })
        .await?;
    let settings = &run.loaded.settings;
    let options = agents_options(settings, arguments)?;
    let model = match (&options.chat, &arguments.model) {
        (None, _) => None,
        (Some(_), Some(name)) => Some(name.clone()),
        (Some(_), None) => options.default_model.clone(),
    };
    let catalogue = options.catalogue.clone();
    let agents = world.agents(options);
    let target = Box::new(AgentTarget::of(&world, agents, depth, model, catalogue));
    Ok(Opened { target, ground: Ground::World(Box::new(world)) })
}

/// As the server would run agents, with the built-in answerer when that is wanted.
fn agents_options(settings: &Settings, arguments: &TargetArgs) -> anyhow::Result<AgentsOptions> {
    let ambient = Ambient::system();
    let chat =
        if arguments.builtin { None } else { providers::chat_model(&settings.models, &ambient)? };
    let default_model = settings.models.chat_model.clone();
    let default_model = default_model.unwrap_or_else(|| providers::DEFAULT_CHAT_MODEL.to_owned());
    let mut defaults = settings.agents.clone();
    // What is reported comes from traces.
    defaults.trace_retention_days = defaults.trace_retention_days.max(1);
    let key = ambient.random_bytes::<32>().map(|byte| format!("{byte:02x}")).concat();
    Ok(AgentsOptions {
        defaults,
        default_model: chat.is_some().then_some(default_model),
        chat,
        catalogue: Catalogue::new(&settings.models.catalogue),
        fetch: fetch::Client::new(settings.fetch.clone()),
        vault: Vault::parse(&key).context("cannot make a key for the throw-away workspace")?,
        models: settings.models.clone(),
        observer: None,
    })
}

fn search_mode(arguments: &TargetArgs) -> anyhow::Result<SearchMode> {
    Ok(match arguments.mode {
        Mode::Hybrid => SearchMode::Hybrid,
        Mode::Words => SearchMode::Words,
        Mode::Grams => SearchMode::Grams,
        Mode::Dense if arguments.embedding.is_some() => SearchMode::Dense,
        Mode::Dense => {
            return Err(misuse("--mode dense needs an embedder: give --embedding local:<folder>"));
        }
    })
}

async fn embedder(model: &str) -> anyhow::Result<Arc<dyn models::Embedder>> {
    let Some(folder) = local::folder_of(model) else {
        let message = "--embedding takes local:<folder>, a folder of a sentence-transformers model";
        return Err(misuse(message));
    };
    let folder = folder.to_owned();
    let load = move || LocalEmbedder::load(&folder, cores());
    let loaded = tokio::task::spawn_blocking(load).await?;
    Ok(Arc::new(loaded.with_context(|| format!("cannot load {model}"))?))
}
