//! `vocero datastore`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::session::Session;
use crate::cli::{Run, print, print_json, table};
use crate::client::Client;

/// Sources sent at once.
const CONCURRENCY: usize = 4;
/// How often a source under way is looked at.
const POLL: Duration = Duration::from_millis(150);
/// Endings of the files that a folder is searched for.
const ENDINGS: [&str; 14] = [
    "pdf", "docx", "xlsx", "pptx", "csv", "tsv", "html", "htm", "md", "txt", "json", "jsonl",
    "eml", "epub",
];

#[derive(Debug, Subcommand)]
pub enum DatastoreCommand {
    /// List the datastores
    List,
    /// Add files, folders, addresses or a text, and wait until they can be found
    Add(AddArgs),
    /// Search a datastore
    Search(SearchArgs),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// Files, folders (every document in them) and http(s) addresses
    #[arg(value_name = "FILE|FOLDER|URL", required_unless_present = "text")]
    what: Vec<String>,
    /// A text to add
    #[arg(long)]
    text: Option<String>,
    /// The name of the text
    #[arg(long, default_value = "text", requires = "text")]
    name: String,
    /// The datastore's id [default: the default datastore]
    #[arg(long, value_name = "ID")]
    datastore: Option<String>,
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What to look for
    query: String,
    /// Most results, 1 to 100
    #[arg(long, default_value_t = 5)]
    top_k: u32,
    /// Which vectors are searched
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    mode: Mode,
    /// The datastore's id [default: the default datastore]
    #[arg(long, value_name = "ID")]
    datastore: Option<String>,
}

/// Which vectors are searched.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Mode {
    Hybrid,
    Words,
    Grams,
    Dense,
}

/// What is to be added.
#[derive(Debug, Clone)]
enum Addition {
    File(PathBuf),
    Url(String),
    Text { name: String, content: String },
}

impl Addition {
    fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.clone(),
            Self::Text { name, .. } => name.clone(),
        }
    }
}

pub async fn run(command: DatastoreCommand, run: &Run) -> anyhow::Result<ExitCode> {
    // What cannot be read is told before a server is looked for.
    let additions = match &command {
        DatastoreCommand::Add(arguments) => additions(arguments)?,
        _ => Vec::new(),
    };
    let session = Session::open(run).await?;
    let done = match &command {
        DatastoreCommand::List => list(&session.client, run.json).await,
        DatastoreCommand::Add(arguments) => {
            add(&session.client, arguments, additions, run.json).await
        }
        DatastoreCommand::Search(arguments) => search(&session.client, arguments, run.json).await,
    };
    session.close().await;
    done
}

async fn list(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let datastores = client.list("api/v2/datastores").await?;
    if json {
        print_json(&json!({ "data": datastores }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["id", "name", "default", "created"]);
    for datastore in &datastores {
        let is_default = datastore["isDefault"].as_bool().unwrap_or_default();
        table.add_row([
            text(&datastore["id"]),
            text(&datastore["name"]),
            if is_default { "yes" } else { "" },
            text(&datastore["createdAt"]),
        ]);
    }
    print(&table.to_string());
    Ok(ExitCode::SUCCESS)
}

async fn add(
    client: &Client,
    arguments: &AddArgs,
    additions: Vec<Addition>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let datastore = datastore(client, arguments.datastore.as_deref()).await?;
    let bar = progress_bar(additions.len());
    let results: Vec<Value> = stream::iter(additions)
        .map(|addition| add_one(client, &datastore, addition, &bar))
        .buffered(CONCURRENCY)
        .collect()
        .await;
    bar.finish_and_clear();
    let failed = results.iter().filter(|source| source["status"] != "ready").count();
    if json {
        print_json(&json!({ "datastoreId": datastore, "data": results }))?;
    } else {
        for source in &results {
            print(&describe(source));
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds one and waits for it; what came of it, also when it could not be added.
async fn add_one(client: &Client, datastore: &str, addition: Addition, bar: &ProgressBar) -> Value {
    let label = addition.label();
    bar.set_message(label.clone());
    let added = send(client, datastore, &addition).await;
    let done = match added {
        Ok(source) => wait(client, datastore, text(&source["id"])).await,
        Err(error) => Err(error),
    };
    bar.inc(1);
    done.unwrap_or_else(|error| {
        json!({
            "name": label,
            "status": "failed",
            "error": { "code": "NOT_ADDED", "message": format!("{error:#}") },
        })
    })
}

async fn send(client: &Client, datastore: &str, addition: &Addition) -> anyhow::Result<Value> {
    let sources = format!("api/v2/datastores/{datastore}/sources");
    match addition {
        Addition::File(path) => client.upload(&format!("{sources}/file"), path).await,
        Addition::Url(url) => client.post(&format!("{sources}/url"), &json!({ "url": url })).await,
        Addition::Text { name, content } => {
            let body = json!({ "name": name, "content": content });
            client.post(&format!("{sources}/text"), &body).await
        }
    }
}

async fn wait(client: &Client, datastore: &str, source: &str) -> anyhow::Result<Value> {
    let path = format!("api/v2/datastores/{datastore}/sources/{source}");
    loop {
        let source = client.get(&path).await?;
        if !matches!(text(&source["status"]), "pending" | "running") {
            return Ok(source);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn search(client: &Client, arguments: &SearchArgs, json: bool) -> anyhow::Result<ExitCode> {
    let datastore = datastore(client, arguments.datastore.as_deref()).await?;
    let mode = match arguments.mode {
        Mode::Hybrid => "hybrid",
        Mode::Words => "words",
        Mode::Grams => "grams",
        Mode::Dense => "dense",
    };
    let body = json!({ "query": arguments.query, "topK": arguments.top_k, "mode": mode });
    let found = client.post(&format!("api/v2/datastores/{datastore}/query"), &body).await?;
    if json {
        print_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let results = found["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    if results.is_empty() {
        print("nothing found");
    }
    for (place, result) in results.iter().enumerate() {
        let score = result["score"].as_f64().unwrap_or_default();
        let page =
            result["page"].as_i64().map_or_else(String::new, |page| format!(", page {page}"));
        print(&format!("{}. {} ({score:.2}{page})", place + 1, text(&result["source"]["name"])));
        print(&format!("   {}\n", text(&result["content"]).replace('\n', "\n   ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The datastore that was named, or the default one.
async fn datastore(client: &Client, given: Option<&str>) -> anyhow::Result<String> {
    if let Some(id) = given {
        return Ok(id.to_owned());
    }
    let datastores = client.list("api/v2/datastores").await?;
    let default = datastores.iter().find(|datastore| datastore["isDefault"] == true);
    let default = default.context("there is no default datastore; name one with --datastore")?;
    Ok(text(&default["id"]).to_owned())
}

fn additions(arguments: &AddArgs) -> anyhow::Result<Vec<Addition>> {
    let mut additions = Vec::new();
    for what in &arguments.what {
        if what.starts_with("http://") || what.starts_with("https://") {
            additions.push(Addition::Url(what.clone()));
            continue;
        }
        let path = Path::new(what);
        let kind = path.metadata().with_context(|| format!("cannot read {what}"))?;
        if kind.is_dir() {
            let mut files = Vec::new();
            collect_documents(path, &mut files)?;
            if files.is_empty() {
                bail!("the folder {what} has no documents ({})", ENDINGS.join(", "));
            }
            files.sort();
            additions.extend(files.into_iter().map(Addition::File));
        } else {
            additions.push(Addition::File(path.to_owned()));
        }
    }
    if let Some(content) = &arguments.text {
        additions.push(Addition::Text { name: arguments.name.clone(), content: content.clone() });
    }
    Ok(additions)
}

/// Documents below a folder; hidden files and folders are left out, symbolic links are not followed.
fn collect_documents(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            collect_documents(&path, files)?;
        } else if kind.is_file() && has_known_ending(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_known_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn progress_bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn describe(source: &Value) -> String {
    let name = text(&source["name"]);
    match text(&source["status"]) {
        "ready" => {
            let warning = source["warning"].as_str();
            let warning = warning.map_or_else(String::new, |warning| format!(", {warning}"));
            let chunks = source["chunks"].as_i64().unwrap_or_default();
            format!("{name}: ready, {chunks} chunks{warning}")
        }
        status => format!("{name}: {status}: {}", text(&source["error"]["message"])),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
