//! Runs the binary.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use testkit::db::Guard;

/// Far more than anything takes; only a defect waits this long.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// An installation in a folder of its own. Everything started in it is killed with it.
pub struct Installation {
    folder: TempDir,
    variables: Vec<(String, String)>,
    /// `sqlite` or `postgres`, for messages.
    pub database: &'static str,
    /// Keeps its PostgreSQL database there.
    guard: Option<Arc<Guard>>,
}

impl Installation {
    /// On SQLite and, where there is a cluster, on PostgreSQL: both empty. `test` names the PostgreSQL arm in
    /// the message that says that it did not run.
    pub fn on_each_database(test: &str) -> Vec<Self> {
        let mut installations = vec![Self::new()];
        installations.extend(Self::on_postgres(test));
        installations
    }

    /// On a PostgreSQL database of its own; `None`, which is said, where there is no cluster.
    pub fn on_postgres(test: &str) -> Option<Self> {
        let guard = block_on(testkit::db::empty_postgres(test))?;
        Some(Self::new().over(Arc::new(guard)))
    }

    /// Another installation over the same PostgreSQL database, in a folder of its own.
    pub fn beside(&self) -> Self {
        Self::new().over(self.guard.clone().expect("a PostgreSQL database"))
    }

    /// An empty installation over a copy of the PostgreSQL database, as restoring its dump makes one.
    pub fn over_a_copy(&self) -> Self {
        let guard = self.guard.as_ref().expect("a PostgreSQL database");
        Self::new().over(Arc::new(block_on(guard.copy())))
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(set, _)| set == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What no log may hold: the values of the variables that are secrets, and this machine's key.
    pub fn secrets(&self) -> Secrets {
        let is_secret = |name: &str| {
            ["API_KEY", "SECRET", "PASSWORD", "TOKEN"].iter().any(|word| name.contains(word))
        };
        let set = self.variables.iter().filter(|(name, _)| is_secret(name));
        Secrets {
            values: set.map(|(_, value)| value.clone()).collect(),
            key_file: self.data().join("keys/api-key"),
        }
    }

    fn over(self, guard: Arc<Guard>) -> Self {
        let mut installation = self.with("DATABASE_URL", &guard.url());
        installation.database = "postgres";
        installation.guard = Some(guard);
        installation
    }

    /// On SQLite.
    pub fn new() -> Self {
        let variables = [
            ("VOCERO_LISTEN", "127.0.0.1:0"),
            ("VOCERO_SERVER__METRICS_LISTEN", "off"),
            ("VOCERO_LOG", "warn,qdrant_edge=error"),
            // Tests ask as fast as they can.
            ("VOCERO_RATE_LIMIT", "0"),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let installation = Self { folder, variables: Vec::new(), database: "sqlite", guard: None };
        variables
            .iter()
            .fold(installation, |installation, (name, value)| installation.with(name, value))
    }

    /// Sets a variable for every command.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(set, _)| set != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(set, _)| set != name);
        self
    }

    /// The working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// A command in this installation, with its variables and no others but `PATH`.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vocero"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Runs a command that succeeds; what it printed.
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command with `--json` that succeeds; the object that it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.text(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{text}"))
    }

    /// Runs a command that fails; what it said.
    pub fn failure(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts the server and waits until it says that it is there.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// As `serve`, with more variables.
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = self.command(&["serve"]);
        command.envs(variables.iter().copied());
        Server::start(command, 3, self.secrets())
    }

    /// As `serve`, in the role of a worker alone, which has no commands to greet with.
    pub fn serve_as_worker(&self) -> Server {
        let mut command = self.command(&["serve"]);
        command.env("VOCERO_ROLES", "worker");
        Server::start(command, 0, self.secrets())
    }
}

/// Waits for `work` on a thread of its own, wherever the caller is.
fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("it ends well"))
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    secrets: Secrets,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// What it printed until it was ready.
    pub greeting: Vec<String>,
    /// Where it is.
    pub url: String,
}

impl Server {
    fn start(mut command: Command, curl_lines: usize, secrets: Secrets) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let url = String::new();
        let mut server =
            Self { child, secrets, lines, errors: Some(errors), greeting: Vec::new(), url };
        server.read_greeting(curl_lines);
        server
    }

    fn read_greeting(&mut self, curl_lines: usize) {
        while self.greeting.is_empty() || self.curl_lines().len() < curl_lines {
            if let Ok(line) = self.lines.recv_timeout(PATIENCE) {
                self.greeting.push(line);
                continue;
            }
            let _ = self.child.kill();
            let (status, log) = (self.child.wait(), self.take_log());
            panic!("no greeting ({status:?}): {:?}\n{log}", self.greeting);
        }
        let first = &self.greeting[0];
        let (_, url) = first.split_once("listens on ").expect("the address");
        url.clone_into(&mut self.url);
    }

    /// The ready commands of the greeting.
    pub fn curl_lines(&self) -> Vec<&str> {
        let lines = self.greeting.iter().map(|line| line.trim());
        lines.filter(|line| line.starts_with("curl ")).collect()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop.
    pub fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("the process is there");
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("its end");
        self.take_log();
    }

    /// Waits for its end; how it ended and what it logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        // Standard output closes when the process ends; no need to look again and again.
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if self.lines.recv_timeout(left).is_err() {
                break;
            }
        }
        let status = match self.child.try_wait().expect("its state") {
            Some(status) => status,
            None if Instant::now() < deadline => self.child.wait().expect("its end"),
            None => panic!("it does not end"),
        };
        (status, self.take_log())
    }

    /// Stops it in order.
    pub fn stop(self) {
        self.send(Signal::TERM);
        let (status, log) = self.wait();
        assert!(status.success(), "{status}\n{log}");
    }

    /// What it logged, once it has ended. No secret may be in it.
    fn take_log(&mut self) -> String {
        let log = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        self.secrets.assert_absent("the log", &log);
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            self.take_log();
        }
    }
}

/// Texts that must come out nowhere.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    pub values: Vec<String>,
    /// Holds one more, as soon as it is there.
    pub key_file: PathBuf,
}

impl Secrets {
    /// Neither a secret nor its Base64 form, as `Authorization: Basic` has it, is in `text`.
    pub fn assert_absent(&self, place: &str, text: &str) {
        let key = std::fs::read_to_string(&self.key_file).unwrap_or_default();
        for secret in self.values.iter().map(String::as_str).chain([key.trim()]) {
            if secret.is_empty() {
                continue;
            }
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "a secret is in {place}: {}", line.unwrap_or_default());
        }
    }
}

/// Runs a line as a shell does when it is pasted; what it printed.
pub fn paste(line: &str) -> String {
    let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    curl.expect("this test needs curl; install it with: sudo apt-get install -y curl");
    let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Asks again until it is so.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: never");
    }
}

/// The events of a stream: name and data.
pub fn events(stream: &str) -> Vec<(String, Value)> {
    let blocks = stream.split("\n\n").filter(|block| !block.trim().is_empty());
    let events = blocks.filter_map(|block| {
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let data = serde_json::from_str(field("data")?.trim()).expect("JSON");
        Some((field("event")?.trim().to_owned(), data))
    });
    events.collect()
}

/// The same object with its scores to four digits: sums of 32-bit floats depend on the order of the points.
pub fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            Value::String(format!("{number:.4}"))
        }
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), rounded(field)));
            Value::Object(fields.collect())
        }
        _ => value.clone(),
    }
}

/// A client of the HTTP API.
#[expect(clippy::disallowed_methods, reason = "a test's own client of the server under test")]
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}
