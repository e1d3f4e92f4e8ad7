//! `vocero ask`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::cli::session::Session;
use crate::cli::{Run, print, print_json};
use crate::client::Client;

#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question
    question: String,
    /// The agent's id [default: the workspace's first agent]
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// The conversation to go on with
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Ask the agent's draft instead of what is published
    #[arg(long)]
    draft: bool,
}

pub async fn run(arguments: &AskArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let session = Session::open(run).await?;
    let done = ask(&session.client, arguments, run.json).await;
    session.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn ask(client: &Client, arguments: &AskArgs, json: bool) -> anyhow::Result<()> {
    let agent = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => first_agent(client).await?,
    };
    let path = format!("api/v2/agent/{agent}/chat");
    let mut body = json!({ "query": arguments.question, "streaming": !json });
    if let Some(conversation) = &arguments.conversation {
        body["conversationId"] = conversation.as_str().into();
    }
    if arguments.draft {
        body["version"] = "draft".into();
    }
    if json {
        return print_json(&client.post(&path, &body).await?);
    }
    let answer = stream_answer(client, &path, &body).await?;
    let sources = answer["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    print("\n");
    for source in sources {
        print(&describe_source(source));
    }
    print(&format!("conversation {}", answer["conversationId"].as_str().unwrap_or_default()));
    Ok(())
}

/// Prints tokens as they come; the whole answer at the end.
async fn stream_answer(client: &Client, path: &str, body: &Value) -> anyhow::Result<Value> {
    let response = client.stream(path, body).await?;
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = event.context("the answer broke off")?;
        let data: Value = serde_json::from_str(&event.data).context("an event is not JSON")?;
        match event.event.as_str() {
            "token" => {
                let mut out = std::io::stdout();
                let _ = out.write_all(data["text"].as_str().unwrap_or_default().as_bytes());
                let _ = out.flush();
            }
            "done" => return Ok(data),
            "error" => bail!("{}", data["message"].as_str().unwrap_or("the turn failed")),
            _ => {}
        }
    }
    bail!("the answer broke off")
}

fn describe_source(source: &Value) -> String {
    let text = |key: &str| source[key].as_str().unwrap_or_default();
    let score = source["score"].as_f64().unwrap_or_default();
    let place = match (source["page"].as_i64(), source["url"].as_str()) {
        (Some(page), _) => format!(", page {page}"),
        (None, Some(url)) => format!(", {url}"),
        (None, None) => String::new(),
    };
    let index = source["index"].as_i64().unwrap_or_default();
    format!("[{index}] {}{place} ({score:.2}): «{}»", text("source"), text("quote"))
}

/// The agent that the workspace was born with.
pub async fn first_agent(client: &Client) -> anyhow::Result<String> {
    let agents = client.list("api/v2/agents").await?;
    // Lists begin with the newest; the first one made is the one that the workspace was born with.
    let oldest = agents.iter().rev().find(|agent| agent["status"] == "active");
    let oldest = oldest.context("there is no active agent; name one with --agent")?;
    Ok(oldest["id"].as_str().unwrap_or_default().to_owned())
}
