//! `vocero trace`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::session::Session;
use crate::cli::{Run, print, print_json, table};
use crate::client::Client;

/// Longest text of a cell, in characters.
const MAX_CELL: usize = 160;

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The answer's id, as `ask --json` and the API give it
    #[arg(value_name = "MESSAGE_ID")]
    message: String,
}

pub async fn run(arguments: &TraceArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let session = Session::open(run).await?;
    let done = show(&session.client, &arguments.message, run.json).await;
    session.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn show(client: &Client, message: &str, json: bool) -> anyhow::Result<()> {
    let trace = client.get(&format!("api/v2/messages/{message}/trace")).await?;
    if json {
        return print_json(&trace);
    }
    for (name, value) in head(&trace) {
        if !value.is_empty() {
            print(&format!("{name:<13} {value}"));
        }
    }
    print(&steps(&trace).to_string());
    let hits = list(&trace["retrieval"]["hits"]);
    if !hits.is_empty() {
        print(&found(hits).to_string());
    }
    Ok(())
}

/// Name and value of what is told above the tables; empty ones are left out.
fn head(trace: &Value) -> Vec<(&'static str, String)> {
    let (question, retrieval) = (&trace["question"], &trace["retrieval"]);
    let searched = text(&question["searched"]);
    let searched = match question["rewrittenBy"].as_str() {
        Some(by) => format!("{searched} (rewritten by {by})"),
        None => String::new(),
    };
    let evidence = retrieval["evidence"].as_f64().map_or_else(String::new, |evidence| {
        let threshold = retrieval["threshold"].as_f64().unwrap_or_default();
        let (from, gate) = (text(&retrieval["thresholdFrom"]), text(&retrieval["gate"]));
        format!("{evidence:.3}, threshold {threshold:.3} by {from}: {gate}")
    });
    let fallbacks: Vec<String> = list(&trace["fallbacks"])
        .iter()
        .map(|failed| format!("{}: {}", text(&failed["model"]), text(&failed["error"])))
        .collect();
    let checks = &trace["checks"];
    vec![
        ("message", text(&trace["messageId"])),
        ("conversation", text(&trace["conversationId"])),
        ("agent", format!("{} {}", text(&trace["agentName"]), text(&trace["agentId"]))),
        ("began", text(&trace["beganAt"])),
        ("asked", text(&question["asked"])),
        ("searched", searched),
        ("model", text(&trace["model"])),
        ("fallbacks", fallbacks.join("; ")),
        ("outcome", format!("{} ({})", text(&trace["outcome"]), text(&trace["state"]))),
        ("evidence", evidence),
        ("tokens", tokens(&trace["tokens"])),
        ("cost", trace["cost"].as_i64().map_or_else(String::new, dollars)),
        ("tool limit", text(&trace["toolLimit"])),
        ("unsupported", words(&checks["unsupported"])),
        ("asked again", words(&checks["retriedFor"])),
        ("withheld", cell(&text(&checks["withheld"]))),
        ("error", text(&trace["error"])),
        ("first token", millis(&trace["firstTokenMs"])),
        ("total", millis(&trace["totalMs"])),
    ]
}

fn steps(trace: &Value) -> comfy_table::Table {
    let mut table = table(["start ms", "ms", "step", "what"]);
    for step in list(&trace["steps"]) {
        let number =
            |value: &Value| value.as_f64().map_or_else(String::new, |ms| format!("{ms:.1}"));
        table.add_row([
            number(&step["startMs"]),
            number(&step["ms"]),
            text(&step["kind"]),
            what(step),
        ]);
    }
    table
}

fn what(step: &Value) -> String {
    if let Some(model) = step["model"].as_object() {
        let mut said = text(&model["name"]);
        if model["purpose"] == "rewrite" {
            said.push_str(" rewrites");
        }
        if let (Some(prompt), Some(answer)) =
            (model["promptTokens"].as_i64(), model["completionTokens"].as_i64())
        {
            said.push_str(&format!(", {prompt} + {answer} tokens"));
        }
        for detail in [&model["finishReason"], &model["error"]] {
            if let Some(detail) = detail.as_str() {
                said.push_str(&format!(", {detail}"));
            }
        }
        return said;
    }
    if let Some(tool) = step["tool"].as_object() {
        let arguments = cell(&tool["arguments"].to_string());
        let (name, status) = (text(&tool["name"]), text(&tool["status"]));
        return format!("{name} {arguments}\n{status}: {}", cell(&text(&tool["result"])));
    }
    String::new()
}

fn found(hits: &[Value]) -> comfy_table::Table {
    let mut table = table(["score", "words", "grams", "dense", "cited", "source", "passage"]);
    for hit in hits {
        let score = |name: &str| hit[name].as_f64().map_or_else(String::new, |s| format!("{s:.3}"));
        table.add_row([
            score("score"),
            score("words"),
            score("grams"),
            score("dense"),
            if hit["cited"] == true { "yes".to_owned() } else { String::new() },
            text(&hit["source"]),
            passage(hit),
        ]);
    }
    table
}

/// The passage's id, and under it those of its neighbours that were told with it.
fn passage(hit: &Value) -> String {
    let mut said = text(&hit["chunkId"]);
    for neighbour in list(&hit["neighbours"]) {
        let (place, id) = (text(&neighbour["place"]), text(&neighbour["chunkId"]));
        said.push_str(&format!("\n{place}: {id}"));
    }
    said
}

fn tokens(tokens: &Value) -> String {
    let (Some(prompt), Some(answer)) = (tokens["prompt"].as_i64(), tokens["completion"].as_i64())
    else {
        return String::new();
    };
    let nearly = if tokens["estimated"] == true { ", nearly" } else { "" };
    format!("{prompt} + {answer}{nearly}")
}

/// Micro-dollars as dollars.
fn dollars(micros: i64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn millis(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |ms| format!("{ms:.1} ms"))
}

fn words(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CELL) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
