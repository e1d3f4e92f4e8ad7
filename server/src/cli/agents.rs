//! `vocero agent`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::ask::first_agent;
use crate::cli::session::Session;
use crate::cli::{Run, print, print_json, table};
use crate::client::Client;

/// Between two looks at an evaluation.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The agent's id [default: the workspace's first agent]
    #[arg(long, value_name = "ID", global = true)]
    agent: Option<String>,
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// List the published versions
    Versions,
    /// Show what is different between two versions, or the draft
    Diff(DiffArgs),
    /// Show the draft, or change it
    Draft(DraftArgs),
    /// Publish the draft
    Publish(PublishArgs),
    /// Put an old version back, as a new one or into the draft
    Restore(RestoreArgs),
    /// Drop the draft
    Discard,
    /// Show, set or take away what must hold before a version is published
    Gate(GateArgs),
}

#[derive(Debug, Args)]
struct DiffArgs {
    /// A version's number, `published` or `draft` [default: what was published before the other side]
    from: Option<String>,
    /// A version's number, `published` or `draft` [default: the draft, else the published version]
    to: Option<String>,
}

#[derive(Debug, Args)]
struct DraftArgs {
    /// Changes, as JSON: what `PUT /api/v2/agents/{agentId}/draft` takes
    #[arg(value_name = "FILE")]
    changes: Option<PathBuf>,
    /// The published version that you have seen, for a draft that was made from an older one
    #[arg(long, value_name = "NUMBER", requires = "changes")]
    base_version: Option<u64>,
}

#[derive(Debug, Args)]
struct PublishArgs {
    /// What is said about the version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// The version's number
    number: u64,
    /// Into the draft, in place of the one that is there
    #[arg(long)]
    draft: bool,
    /// Without what is not there any more
    #[arg(long)]
    skip_missing: bool,
    /// What is said about the new version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
struct GateArgs {
    /// The evaluation dataset that new versions must answer
    #[arg(long, value_name = "ID")]
    dataset: Option<String>,
    /// What becomes of a version that does not pass
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// The least that a metric must reach (the most, where less is better); they take the place of earlier ones
    #[arg(long, value_name = "METRIC=VALUE", value_parser = metric)]
    floor: Vec<(String, f64)>,
    /// The loss of a metric that is none; they take the place of earlier ones
    #[arg(long, value_name = "METRIC=LOSS", value_parser = metric)]
    tolerance: Vec<(String, f64)>,
    /// Take it away
    #[arg(long, conflicts_with_all = ["dataset", "mode", "floor", "tolerance"])]
    remove: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Off,
    Warn,
    Refuse,
}

/// Reads `METRIC=VALUE`.
fn metric(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("write METRIC=VALUE")?;
    let value = value.parse().map_err(|_| format!("{value} is no number"))?;
    Ok((name.to_owned(), value))
}

/// The versions of an agent, over the API.
struct Agent<'a> {
    client: &'a Client,
    path: String,
    json: bool,
}

pub async fn run(arguments: &AgentArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let session = Session::open(run).await?;
    let done = work(&session.client, arguments, run.json).await;
    session.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn work(client: &Client, arguments: &AgentArgs, json: bool) -> anyhow::Result<()> {
    let id = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => first_agent(client).await?,
    };
    let agent = Agent { client, path: format!("api/v2/agents/{id}"), json };
    match &arguments.command {
        AgentCommand::Versions => agent.versions().await,
        AgentCommand::Diff(arguments) => agent.diff(arguments).await,
        AgentCommand::Draft(arguments) => agent.draft(arguments).await,
        AgentCommand::Publish(arguments) => agent.publish(arguments).await,
        AgentCommand::Restore(arguments) => agent.restore(arguments).await,
        AgentCommand::Discard => agent.discard().await,
        AgentCommand::Gate(arguments) => agent.gate(arguments).await,
    }
}

impl Agent<'_> {
    async fn versions(&self) -> anyhow::Result<()> {
        let versions = self.client.list(&format!("{}/versions", self.path)).await?;
        if self.json {
            return print_json(&json!({ "data": versions }));
        }
        let mut table = table(["version", "published", "by", "note"]);
        for version in &versions {
            let is_live = version["published"] == true;
            table.add_row([
                format!("{}{}", version["number"], if is_live { " ← answers" } else { "" }),
                text(&version["publishedAt"]).to_owned(),
                text(&version["publishedBy"]).to_owned(),
                noted(version),
            ]);
        }
        print(&table.to_string());
        Ok(())
    }

    async fn diff(&self, arguments: &DiffArgs) -> anyhow::Result<()> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, side) in [("from", &arguments.from), ("to", &arguments.to)] {
            if let Some(side) = side {
                query.append_pair(name, side);
            }
        }
        let diff = self.client.get(&format!("{}/diff?{}", self.path, query.finish())).await?;
        if self.json {
            return print_json(&diff);
        }
        print(&format!("{} → {}", side(&diff["from"]), side(&diff["to"])));
        let changes = diff["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if changes.is_empty() {
            print("nothing is different");
        }
        for change in changes {
            print(text(&change["field"]));
            print(&lines("- ", &change["before"]));
            print(&lines("+ ", &change["after"]));
        }
        Ok(())
    }

    async fn draft(&self, arguments: &DraftArgs) -> anyhow::Result<()> {
        let path = format!("{}/draft", self.path);
        let draft = match &arguments.changes {
            None => self.client.get(&path).await?,
            Some(file) => {
                let content = tokio::fs::read(file).await;
                let content = content.with_context(|| format!("cannot read {}", file.display()))?;
                let changes: Value = serde_json::from_slice(&content)
                    .with_context(|| format!("{} is not JSON", file.display()))?;
                let seen = arguments.base_version;
                let query = seen.map_or_else(String::new, |seen| format!("?baseVersion={seen}"));
                self.client.put(&format!("{path}{query}"), &changes).await?
            }
        };
        print_json(&draft)
    }

    async fn publish(&self, arguments: &PublishArgs) -> anyhow::Result<()> {
        let mut body = json!({});
        if let Some(note) = &arguments.note {
            body["note"] = note.as_str().into();
        }
        let mut answer = self.client.post(&format!("{}/publish", self.path), &body).await?;
        if answer["status"].is_string() {
            let publication = self.evaluated(answer).await?;
            let number = &publication["version"];
            answer = self.client.get(&format!("{}/versions/{number}", self.path)).await?;
        }
        if !self.json {
            for finding in answer["verdict"]["findings"].as_array().into_iter().flatten() {
                print(&format!("warning: {}", text(&finding["message"])));
            }
        }
        self.told_published(&answer, &answer)
    }

    /// Waits for the evaluation that a gate wants; the publication, when it was published.
    async fn evaluated(&self, publication: Value) -> anyhow::Result<Value> {
        let path = format!("{}/publications/{}", self.path, text(&publication["id"]));
        let mut publication = publication;
        while matches!(text(&publication["status"]), "pending" | "running") {
            tokio::time::sleep(LOOK).await;
            publication = self.client.get(&path).await?;
        }
        if publication["status"] == "published" {
            return Ok(publication);
        }
        let findings = publication["verdict"]["findings"].as_array();
        let messages: Vec<&str> =
            findings.into_iter().flatten().map(|finding| text(&finding["message"])).collect();
        let why =
            publication["error"].as_str().map_or_else(|| messages.join("; "), ToOwned::to_owned);
        bail!("nothing is published ({}): {why}", text(&publication["status"]))
    }

    async fn gate(&self, arguments: &GateArgs) -> anyhow::Result<()> {
        let path = format!("{}/gate", self.path);
        if arguments.remove {
            self.client.delete(&path).await?;
            if self.json {
                return print_json(&json!({}));
            }
            print("the gate is gone");
            return Ok(());
        }
        let mut body = json!({});
        if let Some(dataset) = &arguments.dataset {
            body["dataset"] = dataset.as_str().into();
        }
        if let Some(mode) = arguments.mode.and_then(|mode| mode.to_possible_value()) {
            body["mode"] = mode.get_name().into();
        }
        for (name, given) in [("floors", &arguments.floor), ("tolerances", &arguments.tolerance)] {
            if !given.is_empty() {
                body[name] = given
                    .iter()
                    .map(|(metric, value)| (metric.clone(), json!(value)))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
        }
        let is_change = body.as_object().is_some_and(|body| !body.is_empty());
        let gate = if is_change {
            self.client.put(&path, &body).await?
        } else {
            self.client.get(&path).await?
        };
        print_json(&gate)
    }

    async fn restore(&self, arguments: &RestoreArgs) -> anyhow::Result<()> {
        let mut body = json!({ "skipMissing": arguments.skip_missing });
        if let Some(note) = &arguments.note {
            body["note"] = note.as_str().into();
        }
        if arguments.draft {
            body["into"] = "draft".into();
            // Who says so on the command line has the draft in mind that is there.
            if let Ok(draft) = self.client.get(&format!("{}/draft", self.path)).await {
                body["revision"] = draft["revision"].clone();
            }
        }
        let path = format!("{}/versions/{}/restore", self.path, arguments.number);
        let restored = self.client.post(&path, &body).await?;
        if self.json {
            return print_json(&restored);
        }
        for missing in restored["missing"].as_array().into_iter().flatten() {
            let name =
                missing["name"].as_str().map_or_else(String::new, |name| format!(" ({name})"));
            print(&format!("left out: {} {}{name}", text(&missing["type"]), text(&missing["id"])));
        }
        if arguments.draft {
            print(&format!("version {} is the draft", arguments.number));
            return Ok(());
        }
        self.told_published(&restored, &restored["version"])
    }

    async fn discard(&self) -> anyhow::Result<()> {
        self.client.delete(&format!("{}/draft", self.path)).await?;
        if self.json {
            return print_json(&json!({}));
        }
        print("the draft is gone");
        Ok(())
    }

    fn told_published(&self, answer: &Value, version: &Value) -> anyhow::Result<()> {
        if self.json {
            return print_json(answer);
        }
        print(&format!("version {} answers from now on", version["number"]));
        Ok(())
    }
}

/// What is said about a version.
fn noted(version: &Value) -> String {
    let restored = version["restoredFrom"].as_i64().map(|number| format!("version {number} again"));
    let note = version["note"].as_str().map(ToOwned::to_owned);
    restored.into_iter().chain(note).collect::<Vec<_>>().join(": ")
}

fn side(side: &Value) -> String {
    match side["draft"].as_i64() {
        Some(revision) => format!("draft (revision {revision}, of version {})", side["version"]),
        None => format!("version {}", side["version"]),
    }
}

/// The lines of a value, each after a sign.
fn lines(sign: &str, value: &Value) -> String {
    let value = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    value.split('\n').map(|line| format!("  {sign}{line}")).collect::<Vec<_>>().join("\n")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
