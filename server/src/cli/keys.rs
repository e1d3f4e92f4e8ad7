//! `vocero init` and `vocero key`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use domain::api_key::ApiKey;
use domain::principal::Scopes;
use domain::{Ambient, ApiKeyId, Scope, Timestamp};
use serde_json::{Value, json};

use crate::app::open_database;
use crate::cli::{Run, print, print_json, table};
use crate::home::Home;
use crate::setup;

/// Keys read at a time.
const PAGE: i64 = 100;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown this once
    Create {
        /// Tells keys apart
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it may be used for: read, chat, manage (which includes the others)
        #[arg(long, value_delimiter = ',', default_value = "read,chat,manage")]
        scopes: Vec<Scope>,
        /// When it stops working, as in 2027-01-31T00:00:00Z
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
    },
    /// List the keys
    List,
    /// Revoke a key
    Revoke {
        /// Its id, as `key list` prints it
        id: ApiKeyId,
    },
}

/// Prints the ids of the first workspace, made now when there is none.
pub async fn init(run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    let home = Home::open(&settings.storage.data_dir)?;
    let db = open_database(settings, &home).await?;
    let setup = setup::ensure(&db, &Ambient::system(), &home).await?;
    db.close().await;
    if run.json {
        print_json(&setup)?;
        return Ok(ExitCode::SUCCESS);
    }
    let made = if setup.is_new { "made" } else { "was there already" };
    print(&format!("workspace  {} ({made})", setup.workspace_id));
    print(&format!("agent      {}", setup.agent_id));
    print(&format!("datastore  {}", setup.datastore_id));
    print(&format!("project    {} (site key {})", setup.project_id, setup.site_key));
    print(&format!("API key    {} (kept in {})", setup.api_key, home.key_file().display()));
    Ok(ExitCode::SUCCESS)
}

/// Creates, lists and revokes keys of the first workspace, directly in the database.
pub async fn run(command: KeyCommand, run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    let home = Home::open(&settings.storage.data_dir)?;
    let db = open_database(settings, &home).await?;
    let ambient = Ambient::system();
    let workspace = setup::first_workspace(&db).await?;
    match command {
        KeyCommand::Create { name, scopes, expires_at } => {
            let name = domain::text::required("name", &name, 100)?;
            let expires_at =
                expires_at.as_deref().map(|text| expiry(text, &ambient)).transpose()?;
            let scopes: Scopes = scopes.into_iter().collect();
            let new =
                setup::create_key(&db, &ambient, workspace, &name, scopes, expires_at).await?;
            if run.json {
                let mut shown = view(&new.key);
                shown["key"] = new.secret.expose().into();
                print_json(&shown)?;
            } else {
                print(&format!("{}  ({}; shown this once)", new.secret.expose(), new.key.id));
            }
        }
        KeyCommand::List => {
            let mut keys = Vec::new();
            let mut conn = db.read().await?;
            loop {
                let before = keys.last().map(|key: &ApiKey| key.id);
                let page = storage::api_keys::list(&mut conn, workspace, before, PAGE).await?;
                if page.is_empty() {
                    break;
                }
                keys.extend(page);
            }
            print_keys(&keys, ambient.now(), run.json)?;
        }
        KeyCommand::Revoke { id } => {
            if !setup::revoke_key(&db, &ambient, workspace, id).await? {
                bail!("there is no active key {id}; see `vocero key list`");
            }
            if run.json {
                print_json(&json!({ "id": id, "revoked": true }))?;
            } else {
                print(&format!("{id} is revoked"));
            }
        }
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

fn expiry(text: &str, ambient: &Ambient) -> anyhow::Result<Timestamp> {
    let instant = Timestamp::parse_rfc3339(text)
        .context("--expires-at is not an instant; write it like 2027-01-31T00:00:00Z")?;
    if instant <= ambient.now() {
        bail!("--expires-at is in the past");
    }
    Ok(instant)
}

fn view(key: &ApiKey) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::name).collect();
    json!({
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": scopes,
        "createdAt": key.created_at.to_rfc3339(),
        "expiresAt": key.expires_at.map(Timestamp::to_rfc3339),
        "lastUsedAt": key.last_used_at.map(Timestamp::to_rfc3339),
        "revokedAt": key.revoked_at.map(Timestamp::to_rfc3339),
    })
}

fn print_keys(keys: &[ApiKey], now: Timestamp, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&json!({ "data": keys.iter().map(view).collect::<Vec<_>>() }));
    }
    let mut table = table(["id", "name", "key", "scopes", "state", "last used"]);
    for key in keys {
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::name).collect();
        let state = match (key.revoked_at, key.is_active(now)) {
            (Some(_), _) => "revoked",
            (None, false) => "expired",
            (None, true) => "active",
        };
        let used = key.last_used_at.map_or_else(|| "never".to_owned(), Timestamp::to_rfc3339);
        let prefix = format!("{}…", key.prefix);
        table.add_row([
            key.id.to_string(),
            key.name.clone(),
            prefix,
            scopes.join(" "),
            state.to_owned(),
            used,
        ]);
    }
    print(&table.to_string());
    Ok(())
}
