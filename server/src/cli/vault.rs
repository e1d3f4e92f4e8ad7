//! `vocero vault`.

use std::process::ExitCode;

use agents::{SealedSecrets, count_secrets, reseal_secrets};
use anyhow::bail;
use clap::Subcommand;
use domain::Ambient;
use serde_json::json;

use crate::app::open_database;
use crate::cli::{Run, print, print_json};
use crate::home::Home;

#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Say which keys the stored secrets are sealed with
    Status,
    /// Make a new key for the data folder and seal every secret with it; the old one stays to open what is left
    Rotate,
    /// Seal every secret with the first key, for keys changed by hand or a rotation that was interrupted
    Reseal,
}

pub async fn run(command: &VaultCommand, run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    let (home, ambient) = (Home::open(&settings.storage.data_dir)?, Ambient::system());
    let own = settings.storage.vault_key.as_ref();
    // A server that runs would be given secrets that its keys do not open.
    let _lock = match command {
        VaultCommand::Status => None,
        VaultCommand::Rotate | VaultCommand::Reseal => Some(home.lock()?),
    };
    if matches!(command, VaultCommand::Rotate) {
        if own.is_some() {
            bail!(
                "the key that seals comes from VOCERO_VAULT_KEY: put a new one on a line before it (`openssl rand -hex 32`), \
                 keep the old one, and run `vocero vault reseal`"
            );
        }
        home.rotate_vault(&ambient)?;
    }
    let vault = home.vault(&ambient, own)?;
    let db = open_database(settings, &home).await?;
    let found = match command {
        VaultCommand::Status => count_secrets(&db, &vault).await,
        VaultCommand::Rotate | VaultCommand::Reseal => reseal_secrets(&db, &ambient, &vault).await,
    };
    db.close().await;
    let found = found?;
    if run.json {
        let SealedSecrets { current, older, lost } = found;
        print_json(&json!({ "current": current, "older": older, "lost": lost }))?;
    } else {
        print(&words(found));
    }
    Ok(if found.lost > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How the secrets are sealed, for people.
pub fn words(found: SealedSecrets) -> String {
    let SealedSecrets { older, lost, .. } = found;
    let all = found.all();
    match (all, older, lost) {
        (0, ..) => "no secrets are stored".to_owned(),
        (_, 0, 0) => format!("secrets: {all}, all sealed with the current key"),
        (_, _, 0) => format!(
            "secrets: {all}, {older} of them sealed with an older key; a server seals them anew when it starts, or run \
             `vocero vault reseal`"
        ),
        (..) => format!(
            "secrets: {all}, {lost} of them open with no key that is here; add their key back to keys/vault or \
             VOCERO_VAULT_KEY, or set them again"
        ),
    }
}
