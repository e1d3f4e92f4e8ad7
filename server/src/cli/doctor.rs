//! `vocero doctor`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agents::SealedSecrets;
use domain::Ambient;
use models::{EmbedPurpose, Embedder, Reranker, local};
use serde::Serialize;
use storage::Db;

use crate::app::{open_database, open_index};
use crate::cli::{Run, print, print_json, table, vault};
use crate::home::Home;
use crate::providers;
use crate::settings::RESERVED_NAMES;

/// How long a provider may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    detail: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.0.push(Finding { what, verdict, detail: detail.into() });
    }

    fn add_result(&mut self, what: &'static str, result: anyhow::Result<String>) {
        match result {
            Ok(detail) => self.add(what, Verdict::Ok, detail),
            Err(error) => self.add(what, Verdict::Fail, format!("{error:#}")),
        }
    }
}

pub async fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    look_at_settings(run, &mut findings);
    look_at_models(run, &mut findings).await;
    look_at_data(run, &mut findings).await;
    look_at_programs(&mut findings);
    let failed = findings.0.iter().any(|finding| finding.verdict == Verdict::Fail);
    if run.json {
        print_json(&serde_json::json!({ "ok": !failed, "findings": findings.0 }))?;
    } else {
        let mut table = table(["", "what", "finding"]);
        for finding in &findings.0 {
            let mark = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Note => "note",
                Verdict::Fail => "FAIL",
            };
            table.add_row([mark, finding.what, &finding.detail]);
        }
        print(&table.to_string());
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Settings that are set and have no effect.
fn look_at_settings(run: &Run, findings: &mut Findings) {
    let settings = &run.loaded.settings;
    let before = findings.0.len();
    let mut note = |wrong: bool, detail: &str| {
        if wrong {
            findings.add("settings", Verdict::Note, detail);
        }
    };
    let models = &settings.models;
    let has_provider = providers::has_provider(models);
    note(
        models.chat_model.is_some() && !has_provider,
        "VOCERO_CHAT_MODEL is set without OPENAI_API_KEY or OPENAI_BASE_URL: the built-in answerer answers",
    );
    note(
        models.embedding_model.as_deref().is_some_and(needs_provider) && !has_provider,
        "VOCERO_EMBEDDING_MODEL is set without OPENAI_API_KEY or OPENAI_BASE_URL: search is by words alone",
    );
    note(
        providers::lacks_reranker(models),
        "VOCERO_RERANK_MODEL is set without VOCERO_RERANK_URL, OPENAI_API_KEY or OPENAI_BASE_URL: nothing is reranked",
    );
    note(
        models.rerank_url.is_some() && models.rerank_model.is_none(),
        "VOCERO_RERANK_URL is set without VOCERO_RERANK_MODEL: nothing is reranked",
    );
    note(
        models.azure_api_version.is_some() && models.openai_base_url.is_none(),
        "models.azure_api_version is set without OPENAI_BASE_URL, the address of the Azure resource",
    );
    note(
        settings.index.qdrant_api_key.is_some() && settings.index.qdrant_url.is_none(),
        "QDRANT_API_KEY is set without QDRANT_URL: the index is in process",
    );
    for name in RESERVED_NAMES {
        let file = format!("{name}_FILE");
        let is_set = run.environment.get(name).or(run.environment.get(&file)).is_some();
        note(is_set, &format!("{name} is set; this version has nothing that uses it"));
    }
    for name in &run.loaded.unknown_variables {
        note(true, &format!("{name} is set; no setting has this name"));
    }
    if findings.0.len() == before {
        findings.add("settings", Verdict::Ok, "no mistakes, and nothing set without effect");
    }
}

fn needs_provider(model: &str) -> bool {
    local::folder_of(model).is_none()
}

async fn look_at_models(run: &Run, findings: &mut Findings) {
    let settings = &run.loaded.settings.models;
    let chat = match providers::chat_model(settings, &Ambient::system()) {
        Ok(chat) => chat,
        Err(error) => return findings.add("chat model", Verdict::Fail, format!("{error:#}")),
    };
    match chat {
        None => findings.add("chat model", Verdict::Ok, "the built-in answerer"),
        Some(chat) => {
            let model = settings.chat_model.as_deref().unwrap_or(providers::DEFAULT_CHAT_MODEL);
            let known = tokio::time::timeout(PATIENCE, chat.knows(model)).await;
            match known {
                Ok(Ok(true)) => {
                    findings.add("chat model", Verdict::Ok, format!("{model}: reachable"));
                }
                Ok(Ok(false)) => {
                    let detail =
                        format!("the provider does not know {model}; set VOCERO_CHAT_MODEL");
                    findings.add("chat model", Verdict::Fail, detail);
                }
                Ok(Err(error)) => findings.add("chat model", Verdict::Fail, error.to_string()),
                Err(_) => findings.add("chat model", Verdict::Fail, "the provider does not answer"),
            }
        }
    }
}

async fn look_at_embeddings(embedder: Option<&Arc<dyn Embedder>>, findings: &mut Findings) {
    let Some(embedder) = embedder else {
        let detail = "none: search is by words and their parts";
        return findings.add("embeddings", Verdict::Ok, detail);
    };
    let texts = ["vocero".to_owned()];
    match tokio::time::timeout(PATIENCE, embedder.embed(&texts, EmbedPurpose::Query)).await {
        Ok(Ok(_)) => {
            findings.add("embeddings", Verdict::Ok, format!("{}: reachable", embedder.space()));
        }
        Ok(Err(error)) => findings.add("embeddings", Verdict::Fail, error.to_string()),
        Err(_) => findings.add("embeddings", Verdict::Fail, "the provider does not answer"),
    }
}

async fn look_at_reranker(reranker: Option<&Arc<dyn Reranker>>, findings: &mut Findings) {
    let Some(reranker) = reranker else { return };
    let passages = ["vocero".to_owned()];
    match tokio::time::timeout(PATIENCE, reranker.rerank("vocero", &passages)).await {
        Ok(Ok(_)) => {
            findings.add("reranker", Verdict::Ok, format!("{}: reachable", reranker.model()));
        }
        Ok(Err(error)) => findings.add("reranker", Verdict::Fail, error.to_string()),
        Err(_) => findings.add("reranker", Verdict::Fail, "the reranker does not answer"),
    }
}

async fn look_at_data(run: &Run, findings: &mut Findings) {
    let settings = &run.loaded.settings;
    let folder = &settings.storage.data_dir;
    if !folder.is_dir() {
        let detail = format!("{} is not there yet; `vocero serve` makes it", folder.display());
        return findings.add("data folder", Verdict::Note, detail);
    }
    let home = match Home::open(folder) {
        Ok(home) => home,
        Err(error) => return findings.add("data folder", Verdict::Fail, format!("{error:#}")),
    };
    look_at_rights(&home, findings);
    let db = match open_database(settings, &home).await {
        Ok(db) => db,
        Err(error) => return findings.add("database", Verdict::Fail, format!("{error:#}")),
    };
    let models = providers::build(&settings.models, &Ambient::system(), &home).await;
    let models = match models {
        Ok(models) => models,
        Err(error) => return findings.add("embeddings", Verdict::Fail, format!("{error:#}")),
    };
    look_at_embeddings(models.embedder.as_ref(), findings).await;
    look_at_reranker(models.reranker.as_ref(), findings).await;
    let kind = if db.is_postgres() { "PostgreSQL" } else { "SQLite" };
    findings.add("database", Verdict::Ok, format!("{kind} answers"));
    look_at_secrets(run, &home, &db, findings).await;
    let in_process = settings.index.qdrant_url.is_none();
    let lock = match home.try_lock() {
        Ok(lock) => lock,
        Err(error) => return findings.add("index", Verdict::Fail, format!("{error:#}")),
    };
    if in_process && lock.is_none() {
        let detail = match home.notice() {
            Some(notice) => format!("in use by the server at {}", notice.url),
            None => "in use by another process".to_owned(),
        };
        findings.add("index", Verdict::Ok, detail);
    } else {
        let looked = async {
            let index = open_index(settings, &home, &db, models).await?;
            index.ping().await?;
            index.close().await;
            Ok(if in_process { "in process, opens" } else { "the Qdrant server answers" }
                .to_owned())
        };
        findings.add_result("index", looked.await);
    }
    db.close().await;
}

/// Whether every stored secret opens, and with which key.
async fn look_at_secrets(run: &Run, home: &Home, db: &Db, findings: &mut Findings) {
    let own = run.loaded.settings.storage.vault_key.as_ref();
    if own.is_none() && !home.has_vault() {
        return findings.add("secrets", Verdict::Ok, "no key yet; the first start makes one");
    }
    let looked = async {
        let vault = home.vault(&Ambient::system(), own)?;
        anyhow::Ok(agents::count_secrets(db, &vault).await?)
    };
    match looked.await {
        Ok(found) => {
            let verdict = match found {
                SealedSecrets { lost: 1.., .. } => Verdict::Fail,
                SealedSecrets { older: 1.., .. } => Verdict::Note,
                _ => Verdict::Ok,
            };
            findings.add("secrets", verdict, vault::words(found));
        }
        Err(error) => findings.add("secrets", Verdict::Fail, format!("{error:#}")),
    }
}

fn look_at_rights(home: &Home, findings: &mut Findings) {
    let is_open = |path: &Path| {
        path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    };
    for path in [home.folder().to_owned(), home.key_file(), home.vault_file()] {
        if is_open(&path) {
            let mode = if path.is_dir() { "700" } else { "600" };
            let path = path.display();
            let detail =
                format!("others on this machine may read {path}; run: chmod {mode} '{path}'");
            findings.add("data folder", Verdict::Note, detail);
        }
    }
    findings.add("data folder", Verdict::Ok, home.folder().display().to_string());
}

/// Programs that help with some documents when they are installed.
fn look_at_programs(findings: &mut Findings) {
    for (program, use_of_it, remedy) in [
        (
            "pdftotext",
            "reads PDFs that the built-in reader cannot",
            "apt-get install poppler-utils",
        ),
        ("tesseract", "reads scanned documents", "apt-get install tesseract-ocr tesseract-ocr-spa"),
    ] {
        let mut command = Command::new(program);
        command.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok() {
            findings.add(program, Verdict::Ok, "installed");
        } else {
            let detail = format!("not installed; it {use_of_it}: {remedy}");
            findings.add(program, Verdict::Note, detail);
        }
    }
}
