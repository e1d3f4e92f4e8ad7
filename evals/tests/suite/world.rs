//! A dataset and targets over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agents::AgentsOptions;
use domain::settings::{FetchSettings, Settings};
use domain::vault::Vault;
use evals::target::{AgentTarget, World, WorldOptions};
use evals::{Dataset, ReadOptions, Report, RunOptions, Target};
use models::{Catalogue, ChatModel};
use tokio_util::sync::CancellationToken;

/// Five passages of a shop, five questions and some without an answer.
pub fn tienda() -> Dataset {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tienda");
    Dataset::read(&folder, &ReadOptions::default()).unwrap()
}

pub async fn world(dataset: &Dataset) -> World {
    World::of(&dataset.corpus, &WorldOptions::default()).await.unwrap()
}

/// As shipped, with the built-in answerer or a model.
pub fn agents_options(chat: Option<Arc<dyn ChatModel>>) -> AgentsOptions {
    let settings: Settings =
        toml::from_str(include_str!("../../../server/src/default.toml")).unwrap();
    let fetching =
        FetchSettings { allow: Vec::new(), max_bytes: 1 << 20, timeout: Duration::from_mins(1) };
    AgentsOptions {
        defaults: settings.agents,
        default_model: chat.is_some().then(|| "gpt-test".to_owned()),
        chat,
        catalogue: Catalogue::default(),
        fetch: fetch::Client::new(fetching),
        vault: Vault::parse(&"7".repeat(64)).unwrap(),
        models: settings.models,
        observer: None,
    }
}

/// The built-in agent of a throw-away workspace.
pub fn builtin(world: &World) -> AgentTarget {
    let agents = world.agents(agents_options(None));
    AgentTarget::of(world, agents, 20, None, Catalogue::default())
}

pub async fn report(dataset: &Dataset, target: &dyn Target) -> Report {
    report_with(dataset, target, &RunOptions::default()).await
}

pub async fn report_with(dataset: &Dataset, target: &dyn Target, options: &RunOptions) -> Report {
    let cancel = CancellationToken::new();
    let outcome = evals::run(dataset, target, options, &|_| (), &cancel).await.unwrap();
    Report::of(dataset, &outcome, "2026-11-21T00:00:00Z".to_owned())
}

#[track_caller]
pub fn value(report: &Report, metric: &str) -> f64 {
    let found = report.metric(metric);
    found.unwrap_or_else(|| panic!("{metric} in {:?}", report.metrics)).value
}
