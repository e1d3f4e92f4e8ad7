//! Every document of the development set, through the real parser process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::support;

#[derive(Deserialize)]
struct Manifest {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    expect: String,
    snippets: Vec<String>,
    min_hits: Option<usize>,
    #[serde(default)]
    absent: Vec<String>,
}

/// Files may take their 30 seconds of wall clock and what starting and killing costs.
const LIMIT: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn the_development_documents_behave_as_their_manifest_says() {
    check_all(&support::pool(), "with pdftotext when it is installed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_do_so_without_poppler_too() {
    check_all(&support::pool().without_pdftotext(), "without pdftotext").await;
}

async fn check_all(pool: &ingest::worker::ParserPool, how: &str) {
    let Some(folder) = folder() else {
        eprintln!(
            "\n!!! NOT RUN: the development documents are not here; set VOCERO_EVAL_DATA !!!\n"
        );
        return;
    };
    let manifest = std::fs::read(folder.join("manifest.json")).expect("manifest.json");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
    assert!(manifest.files.len() > 100, "the manifest lists {} files", manifest.files.len());
    let mut failures = Vec::new();
    for entry in &manifest.files {
        let start = Instant::now();
        let bytes = std::fs::read(folder.join(&entry.file)).expect("a file of the manifest");
        let name = Path::new(&entry.file).file_name().and_then(|n| n.to_str()).expect("a name");
        let result = support::ingest(pool, name, bytes).await;
        if start.elapsed() > LIMIT {
            failures.push(format!("{}: took {:?}", entry.file, start.elapsed()));
        }
        if let Err(why) = judge(entry, &result) {
            failures.push(format!("{}: {why}", entry.file));
        }
    }
    println!("{how}: {} of {}", manifest.files.len() - failures.len(), manifest.files.len());
    assert!(failures.is_empty(), "{how}:\n{}", failures.join("\n"));
}

fn judge(
    entry: &Entry,
    result: &Result<ingest::extract::Document, ingest::extract::ExtractError>,
) -> Result<(), String> {
    let document = match (entry.expect.as_str(), result) {
        ("reject", Ok(_)) => return Err("was taken".to_owned()),
        ("reject" | "text_or_reject" | "empty_or_reject", Err(error)) => return reasoned(error),
        ("empty_or_reject", Ok(document)) => {
            return match document.warning {
                Some(_) => Ok(()),
                None => Err("was taken without a warning".to_owned()),
            };
        }
        ("text" | "text_or_reject", Ok(document)) => document,
        (_, Err(error)) => return Err(format!("{}: {error}", error.code)),
        (other, _) => return Err(format!("unknown expectation {other}")),
    };
    let text = folded(&document.text);
    let hits = entry.snippets.iter().filter(|s| text.contains(&folded(s))).count();
    let wanted = entry.min_hits.unwrap_or(entry.snippets.len());
    if hits < wanted && entry.expect == "text" {
        let missing: Vec<_> =
            entry.snippets.iter().filter(|s| !text.contains(&folded(s))).collect();
        return Err(format!("{hits} of {wanted} snippets; missing {missing:?}"));
    }
    for absent in &entry.absent {
        if document.text.contains(absent) {
            return Err(format!("holds {absent}"));
        }
    }
    let pages_rise = document.pages.is_sorted();
    let ends = i64::try_from(document.text.chars().count()).unwrap_or(i64::MAX);
    if !pages_rise || document.pages.last().is_some_and(|last| *last > ends) {
        return Err(format!("pages {:?} of {ends} characters", document.pages));
    }
    Ok(())
}

fn reasoned(error: &ingest::extract::ExtractError) -> Result<(), String> {
    if error.retry || error.message.len() < 20 || error.code == "PARSER_UNAVAILABLE" {
        return Err(format!("failed without a reason: {error:?}"));
    }
    Ok(())
}

/// NFKC, lower case, white space collapsed, hyphens at line ends joined.
fn folded(text: &str) -> String {
    let text: String = text.replace("-\n", "").nfkc().collect::<String>().to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("VOCERO_EVAL_DATA").map(PathBuf::from).or_else(|| {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        beside.is_dir().then_some(beside)
    })?;
    let folder = root.join("documents");
    folder.join("manifest.json").is_file().then_some(folder)
}
