//! `vocero agent`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::ask::first_agent;
use crate::cli::session::Session;
use crate::cli::{Run, print, print_json, table};
use crate::client::Client;

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
        let version = self.client.post(&format!("{}/publish", self.path), &body).await?;
        self.told_published(&version, &version)
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
