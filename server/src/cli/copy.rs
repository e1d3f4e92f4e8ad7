//! `vocero backup` and `vocero restore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use domain::Ambient;
use secrecy::ExposeSecret;
use serde_json::json;
use storage::{Db, DbOptions};
use walkdir::WalkDir;

use crate::app::{open_database, open_index};
use crate::archive::{self, Manifest};
use crate::cli::{Run, print, print_json, reindex};
use crate::home::{Home, make_folder};
use crate::providers;

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The archive to write, for example vocero.tar.zst
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// An archive that `vocero backup` wrote
    #[arg(value_name = "FILE")]
    from: PathBuf,
}

/// Copies an installation while it works.
pub async fn backup(arguments: &BackupArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    if !settings.storage.data_dir.is_dir() {
        bail!("there is no data folder {}", settings.storage.data_dir.display());
    }
    let home = Home::open(&settings.storage.data_dir)?;
    let db = open_database(settings, &home).await?;
    let has_files = settings.storage.blob_url.is_none();
    // On the same file system, so that files can be linked rather than copied.
    let staging = tempfile::Builder::new().prefix(".backup-").tempdir_in(home.folder())?;
    gather(&db, &home, has_files, staging.path()).await?;
    let manifest = Manifest {
        vocero: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: Ambient::system().now().to_rfc3339(),
        database: if db.is_postgres() { "postgres" } else { "sqlite" }.to_owned(),
        has_files,
    };
    let to = arguments.to.clone();
    let described = manifest.clone();
    let bytes = tokio::task::spawn_blocking(move || archive::pack(staging.path(), &described, &to))
        .await??;
    let dump =
        db.is_postgres().then_some("pg_dump --format=custom --file=vocero.dump \"$DATABASE_URL\"");
    db.close().await;

    if run.json {
        print_json(
            &json!({ "file": arguments.to, "bytes": bytes, "dumpCommand": dump, "backup": manifest }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{}: {bytes} bytes", arguments.to.display()));
    if let Some(dump) = dump {
        print(&format!(
            "the database is PostgreSQL and not in the archive; save it with:\n  {dump}"
        ));
    }
    if !has_files {
        print("uploaded files are in the bucket of storage.blob_url and not in the archive");
    }
    Ok(ExitCode::SUCCESS)
}

/// Unpacks an archive into an empty data folder.
pub async fn restore(arguments: &RestoreArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let settings = &run.loaded.settings;
    let folder = &settings.storage.data_dir;
    let is_empty = folder.read_dir().map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        bail!(
            "the data folder {} is not empty; move it away or name another one with --data-dir",
            folder.display()
        );
    }
    let manifest = archive::read_manifest(&arguments.from).with_context(|| {
        format!("{} is no archive of `vocero backup`", arguments.from.display())
    })?;
    let url = settings.storage.database_url.as_ref().map(ExposeSecret::expose_secret);
    match (manifest.database.as_str(), url) {
        ("sqlite", Some(_)) => bail!(
            "the archive holds a SQLite database, which goes into the data folder; take DATABASE_URL away"
        ),
        ("postgres", None) => bail!(
            "the archive is of an installation on PostgreSQL; restore its dump with pg_restore and set \
             DATABASE_URL first"
        ),
        ("postgres", Some(url)) => refuse_empty_database(url, &arguments.from).await?,
        _ => {}
    }
    make_folder(folder)?;
    let (from, to) = (arguments.from.clone(), folder.clone());
    tokio::task::spawn_blocking(move || archive::unpack(&from, &to)).await??;

    let home = Home::open(folder)?;
    let _lock = home.lock()?;
    let models = providers::build(&settings.models, &Ambient::system(), &home).await?;
    let db = open_database(settings, &home).await?;
    let index = open_index(settings, &home, &db, models).await?;
    let chunks = reindex::rebuild(&index).await?;
    index.close().await;
    db.close().await;
    if run.json {
        print_json(&json!({ "dataDir": home.folder(), "chunks": chunks, "backup": manifest }))?;
    } else {
        print(&format!(
            "restored the backup of {} into {}: {chunks} chunks indexed",
            manifest.created_at,
            home.folder().display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The archive of an installation on PostgreSQL is worth nothing without its database.
async fn refuse_empty_database(url: &str, archive: &Path) -> anyhow::Result<()> {
    let db = Db::connect(url, &DbOptions { max_connections: 1 })
        .await
        .context("cannot open the database; check DATABASE_URL")?;
    db.migrate().await.context("cannot bring the database up to date")?;
    let first = storage::workspaces::first(&mut db.read().await?).await?;
    db.close().await;
    if first.is_none() {
        bail!(
            "the database that DATABASE_URL names is empty, and {} does not hold it; restore its dump first: \
             pg_restore --clean --if-exists --dbname=\"$DATABASE_URL\" vocero.dump",
            archive.display()
        );
    }
    Ok(())
}

/// Puts what belongs into an archive into `staging`. Files are gathered before and after the database is
/// copied: each that the copy names was there at one of the two times.
async fn gather(db: &Db, home: &Home, has_files: bool, staging: &Path) -> anyhow::Result<()> {
    let blobs = staging.join("blobs");
    if has_files {
        link_files(&home.blobs(), &blobs)?;
    }
    if !db.is_postgres() {
        db.backup_sqlite(&staging.join("vocero.db")).await.context("cannot copy the database")?;
    }
    if has_files {
        link_files(&home.blobs(), &blobs)?;
    }
    let key = home.key_file();
    if key.exists() {
        make_folder(&staging.join("keys"))?;
        fs::copy(&key, staging.join("keys").join("api-key"))?;
    }
    Ok(())
}

/// Links each file of a tree that the other tree does not have; copies where links do not work. Files that
/// are being written (`name#1`) or are gone by now are left out.
fn link_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    for entry in WalkDir::new(from) {
        let Ok(entry) = entry else {
            continue;
        };
        let target = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            make_folder(&target)?;
            continue;
        }
        let is_partial = entry.file_name().to_string_lossy().contains('#');
        if is_partial || target.exists() || fs::hard_link(entry.path(), &target).is_ok() {
            continue;
        }
        match fs::copy(entry.path(), &target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot copy {}", entry.path().display()));
            }
            _ => {}
        }
    }
    Ok(())
}
