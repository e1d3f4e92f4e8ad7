//! One file that holds an installation: a tar archive, compressed with Zstandard.
//!
//! In it are `backup.json`, `vocero.db` (SQLite only), `blobs/` (where files are kept in the data folder)
//! and `keys/`. The search index is derived and left out.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType};
use walkdir::WalkDir;

use crate::home::make_folder;

/// The name of the archive's description, its first entry.
const MANIFEST: &str = "backup.json";
/// Zstandard's own default: the texts inside the database shrink well, uploaded files hardly at all.
const LEVEL: i32 = 3;

/// What an archive says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of Vocero that made it.
    pub vocero: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// `sqlite`, or `postgres`: then the database is not in it.
    pub database: String,
    /// Whether uploaded files are in it; not when they are in a bucket.
    pub has_files: bool,
}

/// Packs a folder into a new file that only its owner may read; whole or not at all. Its size in bytes.
pub fn pack(folder: &Path, manifest: &Manifest, to: &Path) -> anyhow::Result<u64> {
    if to.exists() {
        bail!("{} is there already; choose another name", to.display());
    }
    let beside = beside(to)?;
    let packed = pack_into(folder, manifest, &beside)
        .and_then(|()| Ok(fs::rename(&beside, to)?))
        .with_context(|| format!("cannot write {}", to.display()));
    if packed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    packed?;
    Ok(to.metadata()?.len())
}

fn beside(path: &Path) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().context("give the name of a file")?.to_owned();
    name.push(".partial");
    Ok(path.with_file_name(name))
}

fn pack_into(folder: &Path, manifest: &Manifest, to: &Path) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
    let mut archive = Builder::new(encoder);
    let text = serde_json::to_vec_pretty(manifest)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(text.len())?);
    header.set_mode(0o600);
    archive.append_data(&mut header, MANIFEST, text.as_slice())?;
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder)?;
            archive.append_file(name, &mut File::open(entry.path())?)?;
        }
    }
    let file = archive.into_inner()?.finish()?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Unpacks an archive into an empty folder. When that fails the folder is empty again.
pub fn unpack(from: &Path, folder: &Path) -> anyhow::Result<Manifest> {
    let unpacked =
        unpack_into(from, folder).with_context(|| format!("cannot unpack {}", from.display()));
    if unpacked.is_err() {
        empty(folder);
    }
    unpacked
}

/// What an archive says about itself, without unpacking the rest.
pub fn read_manifest(from: &Path) -> anyhow::Result<Manifest> {
    let mut archive = open(from)?;
    let entry = archive.entries()?.next();
    let mut entry = entry.context("the archive is empty")??;
    parse_manifest(&mut entry)
}

fn open(from: &Path) -> anyhow::Result<Archive<impl Read + use<>>> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let decoder = zstd::Decoder::new(BufReader::new(file)).context("not a Zstandard file")?;
    Ok(Archive::new(decoder))
}

fn parse_manifest(entry: &mut tar::Entry<'_, impl Read>) -> anyhow::Result<Manifest> {
    if entry.path()? != Path::new(MANIFEST) {
        bail!("it is no archive of `vocero backup`");
    }
    let mut text = Vec::new();
    entry.take(65_536).read_to_end(&mut text)?;
    serde_json::from_slice(&text).context("its description cannot be read")
}

fn unpack_into(from: &Path, folder: &Path) -> anyhow::Result<Manifest> {
    let mut archive = open(from)?;
    let mut manifest = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if manifest.is_none() {
            manifest = Some(parse_manifest(&mut entry)?);
            continue;
        }
        let name = entry.path()?.into_owned();
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || entry.header().entry_type() != EntryType::Regular {
            bail!("it holds {}, which no backup does", name.display());
        }
        let to = folder.join(&name);
        if let Some(parent) = to.parent() {
            make_folder(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        std::io::copy(&mut entry, &mut file)?;
        file.flush()?;
        file.sync_all()?;
    }
    manifest.context("the archive is empty")
}

fn empty(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}
