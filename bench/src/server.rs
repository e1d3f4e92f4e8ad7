//! The processes of a measurement: the server itself, the model server, the relay.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;
use testkit::model_server::{Behaviour, ModelServer, Reply};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::http::Api;

/// A data folder that `vocero init` has filled.
#[derive(Debug)]
pub struct Installation {
    binary: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// What `vocero init` printed.
    pub ids: Ids,
}

/// What `vocero init --json` prints.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ids {
    /// The default agent.
    pub agent_id: String,
    /// The default datastore.
    pub datastore_id: String,
    /// A key with every scope.
    pub api_key: String,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// A client with the installation's key.
    pub api: Api,
    /// From start to the first successful `/readyz`.
    pub start: Duration,
}

impl Installation {
    /// Makes one in a temporary folder. `settings` are environment variables.
    pub async fn create(binary: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("vocero-bench-").tempdir()?;
        let mut settings: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        settings.push(("VOCERO_RATE_LIMIT".to_owned(), "0".to_owned()));
        settings.push(("VOCERO_LOG".to_owned(), "warn".to_owned()));
        let binary =
            binary.canonicalize().with_context(|| format!("{} is not built", binary.display()))?;
        let mut command = command(&binary, folder.path(), &settings);
        let output = command.args(["init", "--json"]).output().await?;
        if !output.status.success() {
            bail!("vocero init failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let ids = serde_json::from_slice(&output.stdout).context("vocero init printed no JSON")?;
        Ok(Self { binary, folder, settings, ids })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = command(&self.binary, self.folder.path(), &self.settings);
        command.arg("serve").env("VOCERO_LISTEN", format!("127.0.0.1:{port}"));
        let started = Instant::now();
        let child = command.stdout(Stdio::null()).spawn()?;
        let base = format!("http://127.0.0.1:{port}");
        wait_until_ready(&format!("{base}/readyz")).await?;
        let start = started.elapsed();
        let api = Api::new(&base, &self.ids.api_key)?;
        Ok(Server { child, api, start })
    }
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Asks it to end (SIGTERM) and waits.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = tokio::time::timeout(Duration::from_mins(1), self.child.wait()).await??;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

/// A helper process of this very binary, ended when dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    /// Its OpenAI-style base URL, up to and including `/v1`.
    pub base_url: String,
}

impl Helper {
    /// The scripted model server.
    pub async fn model(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start("model", arguments, "/v1/models").await
    }

    /// The relay in front of a model server.
    pub async fn relay(upstream: &str) -> anyhow::Result<Self> {
        Self::start("relay", &["--upstream", upstream], "").await
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the helper has ended")
    }

    async fn start(name: &str, arguments: &[&str], ready: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(std::env::current_exe()?)
            .args([name, "--listen", &address])
            .args(arguments)
            .kill_on_drop(true)
            .spawn()?;
        wait_until_ready(&format!("http://{address}{ready}")).await?;
        Ok(Self { child, base_url: format!("http://{address}/v1") })
    }
}

/// Serves scripted answers: `tokens` numbered tokens at `rate` a second, or the head of an answer and then
/// silence.
pub async fn serve_model(
    listen: SocketAddr,
    tokens: usize,
    rate: u32,
    silent: bool,
) -> anyhow::Result<()> {
    let behaviour = Behaviour { record: false, ..Behaviour::default() };
    let server = ModelServer::start_with(listen.port(), behaviour).await?;
    let words: Vec<String> = (0..tokens).map(|number| format!("t{number} ")).collect();
    let pace = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
    server.respond_with(move |request| {
        if request.endpoint != testkit::model_server::Endpoint::Chat {
            return None;
        }
        Some(if silent { Reply::text("").then_hang() } else { Reply::tokens(&words).pace(pace) })
    });
    tokio::signal::ctrl_c().await?;
    tokio::io::stdout().flush().await?;
    Ok(())
}

fn command(binary: &Path, folder: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("VOCERO_DATA_DIR", folder.join("data"))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true);
    command
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks until something answers with success (or, for the relay, at all): every 2 ms, at most 120 s.
async fn wait_until_ready(url: &str) -> anyhow::Result<()> {
    let client = crate::http::client()?;
    let deadline = Instant::now() + Duration::from_mins(2);
    while Instant::now() < deadline {
        if let Ok(response) = client.get(url).send().await
            && (response.status().is_success() || response.status().as_u16() == 404)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("{url} did not answer within 120 s")
}
