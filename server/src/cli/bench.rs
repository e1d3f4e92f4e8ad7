//! `vocero bench-retrieval`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use retrieval::SearchMode;
use retrieval::bench::{BenchOptions, bench};

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
        Mode::Dense => bail!("--mode dense needs an embedder, which this measurement has none of"),
    };
    let mut reports = Vec::new();
    for folder in &arguments.folders {
        let options = BenchOptions {
            mode,
            run_file: arguments.run.clone(),
            passages: arguments.passages.clone(),
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
