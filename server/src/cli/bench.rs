//! `vocero bench-retrieval`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use models::Embedder;
use models::local::{self, LocalEmbedder};
use retrieval::SearchMode;
use retrieval::bench::{BenchOptions, bench};

use crate::app::cores;
use crate::cli::datastores::Mode;
use crate::cli::{print, print_json};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Folders with passages, questions and judgements
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Write the ranking as a TREC run file; for one folder
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// Search the passages of this folder instead, such as those of another language with the same ids
    #[arg(long, value_name = "FOLDER")]
    passages: Option<PathBuf>,
    /// Embed passages and questions with a model of this folder
    #[arg(long, value_name = "local:FOLDER")]
    embedding: Option<String>,
    /// The part of the vectors in the fusion where the self-test does not raise it, 0 to 1
    #[arg(long, default_value_t = 0.2)]
    dense_weight: f64,
    /// Which vectors are searched
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    mode: Mode,
}

pub async fn run(arguments: &BenchArgs, json: bool) -> anyhow::Result<ExitCode> {
    if arguments.run.is_some() && arguments.folders.len() > 1 {
        bail!("--run takes the ranking of one folder; name one folder at a time");
    }
    let mode = match arguments.mode {
        Mode::Hybrid => SearchMode::Hybrid,
        Mode::Words => SearchMode::Words,
        Mode::Grams => SearchMode::Grams,
        Mode::Dense if arguments.embedding.is_some() => SearchMode::Dense,
        Mode::Dense => bail!("--mode dense needs an embedder: give --embedding local:<folder>"),
    };
    let embedder = match &arguments.embedding {
        Some(model) => Some(embedder(model).await?),
        None => None,
    };
    let mut reports = Vec::new();
    for folder in &arguments.folders {
        let options = BenchOptions {
            mode,
            run_file: arguments.run.clone(),
            passages: arguments.passages.clone(),
            embedder: embedder.clone(),
            dense_weight: arguments.dense_weight,
        };
        let report = bench(folder, &options)
            .await
            .with_context(|| format!("cannot measure {}", folder.display()))?;
        if !json {
            print(&report.to_string());
        }
        reports.push(report);
    }
    if json {
        print_json(&reports)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn embedder(model: &str) -> anyhow::Result<Arc<dyn Embedder>> {
    let Some(folder) = local::folder_of(model) else {
        bail!("--embedding takes local:<folder>, a folder of a sentence-transformers model");
    };
    let folder = folder.to_owned();
    let load = move || LocalEmbedder::load(&folder, cores());
    let loaded = tokio::task::spawn_blocking(load).await?;
    Ok(Arc::new(loaded.with_context(|| format!("cannot load {model}"))?))
}
