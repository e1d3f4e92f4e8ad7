//! `vocero reindex`.

use std::process::ExitCode;

use domain::Ambient;
use indicatif::{ProgressBar, ProgressStyle};
use retrieval::Retrieval;
use serde_json::json;

use crate::app::{open_database, open_index};
use crate::cli::{Run, print, print_json};
use crate::home::Home;
use crate::providers;

pub async fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    let home = Home::open(&settings.storage.data_dir)?;
    let _lock = if settings.index.qdrant_url.is_some() { None } else { Some(home.lock()?) };
    let models = providers::build(&settings.models, &Ambient::system(), &home).await?;
    let db = open_database(settings, &home).await?;
    let index = open_index(settings, &home, &db, models).await?;
    let chunks = rebuild(&index).await?;
    index.close().await;
    db.close().await;
    if run.json {
        print_json(&json!({ "chunks": chunks }))?;
    } else {
        print(&format!("the index is built: {chunks} chunks"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the index again under a progress bar; how many chunks it has.
pub async fn rebuild(index: &Retrieval) -> anyhow::Result<u64> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} chunks {elapsed}") {
        bar.set_style(style);
    }
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    index.rebuild(&progress).await?;
    let chunks = bar.length().unwrap_or_default();
    bar.finish_and_clear();
    Ok(chunks)
}
