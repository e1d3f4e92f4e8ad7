//! `vocero serve`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use domain::settings::{ProcessRole, Settings};
use url::Url;

use crate::app::App;
use crate::cli::{Run, print};
use crate::home::Home;
use crate::lifecycle::{Server, StopSignals};
use crate::providers;
use crate::setup::{self, Setup};
use crate::telemetry;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

pub async fn run(run: Run) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let metrics = telemetry::start_metrics()?;
    let settings = Arc::new(run.loaded.settings.clone());
    for name in &run.loaded.unknown_variables {
        tracing::warn!(name, "no setting has this name");
    }
    let home = Home::open(&settings.storage.data_dir)?;
    let is_first_start = home.read_key()?.is_none();
    // Several processes may work on one database when the index is a server of its own.
    let lock = if settings.index.qdrant_url.is_some() { None } else { Some(home.lock()?) };

    let mut app = App::open(settings.clone(), &home).await?;
    let setup = setup::ensure(&app.db, &app.ambient, &home).await?;
    if lock.is_some() {
        app.take_over(&home).await?;
    }
    let server = Server::start(app, settings.server.listen).await?;
    if let Some(listen) = settings.server.metrics_listen
        && let Err(error) = server.serve_metrics(listen, metrics).await
    {
        // The default port may be another instance's; one that somebody asked for must be had.
        if run.loaded.is_set("server.metrics_listen") {
            return Err(error);
        }
        tracing::warn!("{error:#}; going on without them");
    }
    let local = server.local_url()?;
    if let Some(lock) = &lock {
        lock.announce(&local)?;
    }
    greet(&settings, &home, &setup, &local, is_first_start);

    signals.next().await;
    tracing::info!("stopping");
    signals.guard(server.stop()).await;
    drop(lock);
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Says where the server is and how to begin. The key is shown on the first start only; later it is read
/// from its file, so that it does not come to rest in the logs of every start.
fn greet(settings: &Settings, home: &Home, setup: &Setup, local: &Url, is_first_start: bool) {
    let url = settings.server.public_url.as_ref().unwrap_or(local).as_str().trim_end_matches('/');
    let key_file = home.key_file();
    let (shown_key, key) = if is_first_start {
        (setup.api_key.clone(), setup.api_key.clone())
    } else {
        (format!("in {}", key_file.display()), format!("$(cat '{}')", key_file.display()))
    };
    let answers = if providers::has_provider(&settings.models) {
        "the configured provider"
    } else {
        "the built-in answerer (set OPENAI_API_KEY or OPENAI_BASE_URL for a model)"
    };
    print(&format!("Vocero {} listens on {url}", env!("CARGO_PKG_VERSION")));
    print(&format!("  data     {}", home.folder().display()));
    print(&format!("  answers  {answers}"));
    print(&format!("  API key  {shown_key}"));
    if !settings.server.roles.contains(&ProcessRole::Api) {
        return;
    }
    print(&format!("  API      {url}/docs"));
    print("\nGive it a text, search it, and ask the agent:\n");
    for line in curl_lines(url, &key, setup) {
        print(&format!("{line}\n"));
    }
}

/// Three commands that work when pasted one after the other.
fn curl_lines(url: &str, key: &str, setup: &Setup) -> [String; 3] {
    let Setup { datastore_id, agent_id, .. } = setup;
    let head = format!("-H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json'");
    [
        // `Prefer: wait` (RFC 7240) answers once the text can be found.
        format!(
            "curl -sS '{url}/api/v2/datastores/{datastore_id}/sources/text' {head} \
             -H 'Prefer: wait=10' -d '{{\"name\": \"Horarios\", \"content\": \"Nuestros horarios de \
             atención son de lunes a viernes de 9 a 18 hs. y los sábados de 10 a 13 hs.\"}}'"
        ),
        format!(
            "curl -sS '{url}/api/v2/datastores/{datastore_id}/query' {head} \
             -d '{{\"query\": \"¿Cuáles son los horarios?\", \"topK\": 3}}'"
        ),
        format!(
            "curl -sSN '{url}/api/v2/agent/{agent_id}/chat' {head} \
             -d '{{\"query\": \"¿Cuáles son los horarios?\", \"streaming\": true}}'"
        ),
    ]
}
