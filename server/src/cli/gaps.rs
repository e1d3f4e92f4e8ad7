//! `vocero gaps`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::session::Session;
use crate::cli::{Run, print, print_json, table};
use crate::client::Client;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GapsArgs {
    #[command(subcommand)]
    command: Option<GapsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum GapsCommand {
    /// Ask a question again; an answer closes it
    Recheck(GapArgs),
    /// Say that a question need not be answered
    Dismiss(GapArgs),
    /// Take a dismissal back
    Reopen(GapArgs),
}

#[derive(Debug, Args)]
struct GapArgs {
    /// Its id, as `gaps` prints it
    #[arg(value_name = "GAP_ID")]
    id: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those that stand so
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Print all of them as CSV
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Open,
    Closed,
    Dismissed,
}

pub async fn run(arguments: &GapsArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let session = Session::open(run).await?;
    let client = &session.client;
    let done = match &arguments.command {
        None => list(client, &arguments.list, run.json).await,
        Some(GapsCommand::Recheck(gap)) => recheck(client, &gap.id, run.json).await,
        Some(GapsCommand::Dismiss(gap)) => change(client, &gap.id, "dismissed", run.json).await,
        Some(GapsCommand::Reopen(gap)) => change(client, &gap.id, "open", run.json).await,
    };
    session.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(client: &Client, arguments: &ListArgs, json: bool) -> anyhow::Result<()> {
    let path = arguments.path();
    if arguments.csv {
        let table = client.text(&path).await?;
        // A reader that went away is no error.
        let _ = std::io::stdout().write_all(table.as_bytes());
        return Ok(());
    }
    let gaps = client.list(&path).await?;
    if json {
        return print_json(&json!({ "data": gaps }));
    }
    if gaps.is_empty() {
        print("no gaps");
        return Ok(());
    }
    let mut table = table(["id", "status", "count", "last asked", "question"]);
    for gap in &gaps {
        table.add_row([
            text(&gap["id"]).to_owned(),
            text(&gap["status"]).to_owned(),
            gap["count"].to_string(),
            text(&gap["lastAskedAt"]).to_owned(),
            text(&gap["question"]).to_owned(),
        ]);
    }
    print(&table.to_string());
    Ok(())
}

impl ListArgs {
    fn path(&self) -> String {
        let status = self.status.and_then(|status| status.to_possible_value());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(status) = status {
            query.append_pair("status", status.get_name());
        }
        if let Some(agent) = &self.agent {
            query.append_pair("agentId", agent);
        }
        if self.csv {
            query.append_pair("format", "csv");
        }
        let query = query.finish();
        let sign = if query.is_empty() { "" } else { "?" };
        format!("api/v2/gaps{sign}{query}")
    }
}

async fn recheck(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let found = client.post(&format!("api/v2/gaps/{id}/recheck"), &json!({})).await?;
    if json {
        return print_json(&found);
    }
    let evidence = found["evidence"].as_f64().unwrap_or_default();
    match found["answer"].as_str() {
        Some(answer) => print(&format!("answered now (evidence {evidence:.2}):\n{answer}")),
        None => print(&format!("not answered yet (evidence {evidence:.2})")),
    }
    Ok(())
}

async fn change(client: &Client, id: &str, status: &str, json: bool) -> anyhow::Result<()> {
    let gap = client.put(&format!("api/v2/gaps/{id}"), &json!({ "status": status })).await?;
    if json {
        return print_json(&gap);
    }
    print(&format!("{} is {}: {}", text(&gap["id"]), text(&gap["status"]), text(&gap["question"])));
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
