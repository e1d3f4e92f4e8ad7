//! What is measured, one file a scenario.

mod first_token;
mod inbox;
mod ingest;
mod memory;
mod pdf;
mod query;
mod scale;
mod streams;
mod workspaces;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use serde_json::json;

use crate::RunArgs;
use crate::corpus::Corpus;
use crate::http::{Api, concurrently};
use crate::measure::{Figure, cpu_time, medians};
use crate::server::Server;

type Scenario = fn(&Path) -> BoxFuture<'_, anyhow::Result<Vec<Figure>>>;

const SCENARIOS: [(&str, Scenario); 11] = [
    ("first-token", |binary| Box::pin(first_token::measure(binary))),
    ("query", |binary| Box::pin(query::measure(binary))),
    ("ingest", |binary| Box::pin(ingest::measure(binary))),
    ("ingest-and-query", |binary| Box::pin(ingest::measure_queries_meanwhile(binary))),
    ("streams", |binary| Box::pin(streams::measure(binary))),
    ("idle-streams", |binary| Box::pin(streams::measure_idle(binary))),
    ("memory", |binary| Box::pin(memory::measure(binary))),
    ("scale", |binary| Box::pin(scale::measure(binary))),
    ("workspaces", |binary| Box::pin(workspaces::measure(binary))),
    ("inbox", |binary| Box::pin(inbox::measure(binary))),
    ("pdf", |binary| Box::pin(pdf::measure(binary))),
];

/// Runs the named scenarios, prints their medians and writes them to files.
pub async fn run(args: &RunArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.out)?;
    for name in &args.scenarios {
        if !SCENARIOS.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = SCENARIOS.iter().map(|(known, _)| *known).collect();
            bail!("unknown scenario {name}; known: {}", known.join(", "));
        }
    }
    for (name, scenario) in SCENARIOS {
        if !args.scenarios.is_empty() && !args.scenarios.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut repetitions = Vec::new();
        for repetition in 1..=args.repeat.max(1) {
            eprintln!("{name} ({repetition} of {})", args.repeat.max(1));
            repetitions.push(scenario(&args.vocero).await.with_context(|| name.to_owned())?);
        }
        let figures = medians(&repetitions);
        println!("\n{name}");
        for figure in &figures {
            println!("  {:<58} {:>12.3} {}", figure.name, figure.value, figure.unit);
        }
        let report = json!({"scenario": name, "median": figures, "repetitions": repetitions});
        std::fs::write(args.out.join(format!("{name}.json")), serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

/// Size of the texts of a corpus: about 1.4 kB, one chunk each.
pub const TEXT_BYTES: usize = 1_400;

/// Adds texts `from..to` and waits until each is ready; questions about some of them.
pub async fn fill(
    api: &Api,
    datastore: &str,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Vec<String>> {
    let mut corpus = Corpus::new(numbers.start as u64);
    let texts: Vec<(usize, String)> =
        numbers.map(|number| (number, corpus.text(number, TEXT_BYTES))).collect();
    let questions = texts
        .iter()
        .step_by((texts.len() / 500).max(1))
        .map(|(_, text)| corpus.question(text))
        .collect();
    let texts = &texts;
    concurrently(16, texts.len(), |index| async move {
        let (number, text) = &texts[index];
        api.add_text(datastore, &format!("Ficha {number}"), text).await
    })
    .await?;
    wait_until_searchable(api, datastore).await?;
    Ok(questions)
}

/// Waits until nothing of what filling set off goes on: the index seals and merges after two quiet seconds and builds the
/// graph of dense vectors, and datastores are calibrated. It counts as over when the server has used next to no processor
/// for three seconds on end; an error after five minutes.
pub async fn settle(server: &Server) -> anyhow::Result<()> {
    const STEP: Duration = Duration::from_millis(500);
    const QUIET_STEPS: usize = 6;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (pid, started) = (server.pid()?, Instant::now());
    let (mut quiet, mut used) = (0, cpu_time(pid)?);
    while quiet < QUIET_STEPS {
        if started.elapsed() > Duration::from_mins(5) {
            bail!("the server is still busy five minutes after it was filled");
        }
        tokio::time::sleep(STEP).await;
        let now = cpu_time(pid)?;
        quiet = if now.saturating_sub(used) <= STEP / 20 { quiet + 1 } else { 0 };
        used = now;
    }
    Ok(())
}

/// Waits until every source of a datastore is ready; an error when one failed.
pub async fn wait_until_searchable(api: &Api, datastore: &str) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let page = api.sources(datastore, cursor.as_deref()).await?;
        let sources = page["data"].as_array().context("no data")?;
        if let Some(failed) = sources.iter().find(|source| source["status"] == "failed") {
            bail!("a source failed: {failed}");
        }
        if let Some(pending) = sources.iter().find(|source| source["status"] != "ready") {
            // One source at a time, so that looking costs next to nothing; then the same page again: those
            // on earlier pages are ready and stay so.
            let id = pending["id"].as_str().context("no id")?;
            while matches!(api.status(datastore, id).await?.as_str(), "pending" | "running") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            continue;
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}
