//! The data folder: who may open it, the key that it keeps, and whether a server works on it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use domain::api_key::ApiKeySecret;
use domain::{Ambient, Vault};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

/// The data folder of an installation.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
}

/// Held by the one process that works on the folder; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    notice: PathBuf,
}

/// What a running server says about itself in the data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// Its process.
    pub pid: u32,
    /// Where it is reached from this machine.
    pub url: Url,
}

impl Home {
    /// Makes the folder (mode 0700) when it is not there.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        make_folder(folder)?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot open the data folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where uploaded files are.
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Removes uploads that a process left half received. Right only for whoever holds the folder's lock.
    pub fn clear_uploads(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("uploads");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot empty {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where the in-process index is.
    pub fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// Where the SQLite database is.
    pub fn database(&self) -> PathBuf {
        self.folder.join("vocero.db")
    }

    /// Where this machine's own API key is.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("keys").join("api-key")
    }

    /// This machine's own API key, when there is one.
    pub fn read_key(&self) -> anyhow::Result<Option<ApiKeySecret>> {
        let path = self.key_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(ApiKeySecret::parse(text.trim())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps the key, readable by its owner only. Written beside and moved, so that it is never half there.
    pub fn write_key(&self, key: &ApiKeySecret) -> anyhow::Result<()> {
        make_folder(&self.folder.join("keys"))?;
        write_private(&self.key_file(), format!("{}\n", key.expose()).as_bytes())
    }

    /// The keys that seal secrets in the database: `own` first, then those of the folder. Made at the first start.
    pub fn vault(&self, ambient: &Ambient, own: Option<&SecretString>) -> anyhow::Result<Vault> {
        let mut ring = match self.read_vault()? {
            Some(ring) => ring,
            // Whoever brings a key needs none of the folder's.
            None if own.is_some() => SecretString::default(),
            None => self.make_vault(ambient)?,
        };
        if let Some(own) = own {
            ring = format!("{}\n{}", own.expose_secret(), ring.expose_secret()).into();
        }
        let path = self.vault_file();
        Vault::parse(ring.expose_secret()).with_context(|| {
            format!("cannot use the keys of {} and VOCERO_VAULT_KEY", path.display())
        })
    }

    /// Puts a new key before those of the folder, which still open what they sealed. Right only for whoever holds the
    /// folder's lock: a server that runs knows nothing of the new one.
    pub fn rotate_vault(&self, ambient: &Ambient) -> anyhow::Result<()> {
        let before = self.read_vault()?.unwrap_or_default();
        make_folder(&self.folder.join("keys"))?;
        let key = Vault::new_key(ambient);
        let ring = format!("{}\n{}", key.expose_secret(), before.expose_secret());
        Vault::parse(&ring)
            .with_context(|| format!("cannot use the keys of {}", self.vault_file().display()))?;
        write_private(&self.vault_file(), ring.as_bytes())
    }

    /// Whether the folder has keys that seal secrets.
    pub fn has_vault(&self) -> bool {
        self.vault_file().exists()
    }

    /// Where the keys are that seal secrets.
    pub fn vault_file(&self) -> PathBuf {
        self.folder.join("keys").join("vault")
    }

    fn read_vault(&self) -> anyhow::Result<Option<SecretString>> {
        let path = self.vault_file();
        match fs::read_to_string(&path) {
            Ok(ring) => Ok(Some(ring.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Made once, whoever else starts on the folder at the same moment.
    fn make_vault(&self, ambient: &Ambient) -> anyhow::Result<SecretString> {
        let _one_at_a_time = self.setup_lock()?;
        if let Some(ring) = self.read_vault()? {
            return Ok(ring);
        }
        make_folder(&self.folder.join("keys"))?;
        let key = Vault::new_key(ambient);
        write_private(&self.vault_file(), format!("{}\n", key.expose_secret()).as_bytes())?;
        Ok(key)
    }

    /// The name of the worker of this folder, the same at every start. Made at the first.
    pub fn worker_name(&self, ambient: &Ambient) -> anyhow::Result<String> {
        let path = self.folder.join("worker");
        match fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            _ => {}
        }
        let name = format!("worker-{}", ambient.new_uuid().simple());
        write_private(&path, format!("{name}\n").as_bytes())?;
        Ok(name)
    }

    /// Notes under which name this process holds turns; the name of the last one that worked on the folder.
    pub fn note_turn_owner(&self, owner: &str) -> anyhow::Result<Option<String>> {
        let path = self.folder.join("turns");
        let last = match fs::read_to_string(&path) {
            Ok(name) => Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        write_private(&path, format!("{owner}\n").as_bytes())?;
        Ok(last)
    }

    /// The right to work on the folder; `None` when another process has it.
    pub fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.folder.join("lock");
        let file = open_private(&path, false)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file, notice: self.notice_file() })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// As `try_lock`; an error that names who has it.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        if let Some(lock) = self.try_lock()? {
            return Ok(lock);
        }
        let folder = self.folder.display();
        match self.notice() {
            Some(Notice { pid, url }) => {
                bail!(
                    "the server at {url} (process {pid}) works on the data folder {folder}; stop it first"
                )
            }
            None => {
                bail!("another process works on the data folder {folder}; wait for it or stop it")
            }
        }
    }

    /// Held for a moment by whoever makes the first workspace or this machine's key.
    pub fn setup_lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join("setup.lock");
        let file = open_private(&path, false)
            .with_context(|| format!("cannot open {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// What the running server says about itself.
    pub fn notice(&self) -> Option<Notice> {
        serde_json::from_slice(&fs::read(self.notice_file()).ok()?).ok()
    }

    fn notice_file(&self) -> PathBuf {
        self.folder.join("server.json")
    }
}

impl Lock {
    /// Says where this server is reached, for the command line.
    pub fn announce(&self, url: &Url) -> anyhow::Result<()> {
        let notice = Notice { pid: std::process::id(), url: url.clone() };
        write_private(&self.notice, &serde_json::to_vec(&notice)?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Without the notice the next process only says less about who was here.
        let _ = fs::remove_file(&self.notice);
    }
}

/// Makes a folder, and those above it, that only its owner may enter. One that is there stays as it is.
pub fn make_folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = open_private(&beside, true)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn open_private(path: &Path, truncate: bool) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use domain::SecretPlace;

    use super::*;

    #[test]
    fn folder_and_key_are_their_owners_only() {
        let outer = tempfile::tempdir().unwrap();
        let home = Home::open(&outer.path().join("a/data")).unwrap();
        assert!(home.read_key().unwrap().is_none());
        let key = ApiKeySecret::generate(&Ambient::system());
        home.write_key(&key).unwrap();
        assert_eq!(home.read_key().unwrap(), Some(key));
        let worker = home.worker_name(&Ambient::system()).unwrap();
        assert_eq!(home.worker_name(&Ambient::system()).unwrap(), worker);
        assert_eq!(home.note_turn_owner("a").unwrap(), None);
        assert_eq!(home.note_turn_owner("b").unwrap().as_deref(), Some("a"));
        home.vault(&Ambient::system(), None).unwrap();
        let ring = home.read_vault().unwrap().unwrap();
        home.vault(&Ambient::system(), None).unwrap();
        let again = home.read_vault().unwrap().unwrap();
        assert_eq!(ring.expose_secret(), again.expose_secret(), "made once");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.folder()), 0o700);
        assert_eq!(mode(&home.key_file()), 0o600);
        assert_eq!(mode(&home.vault_file()), 0o600);
    }

    #[test]
    fn a_key_of_ones_own_seals_and_the_folders_still_opens() {
        let folder = tempfile::tempdir().unwrap();
        let (home, ambient) = (Home::open(folder.path()).unwrap(), Ambient::system());
        let workspace = ambient.new_id();
        let place = SecretPlace { workspace, table: "providers", column: "api_key", row: "x" };
        let before = home.vault(&ambient, None).unwrap();
        let sealed = before.seal(&ambient, place, &"planted".into()).unwrap();
        let own = Vault::new_key(&ambient);
        let vault = home.vault(&ambient, Some(&own)).unwrap();
        assert_eq!(vault.open(place, &sealed).unwrap().expose_secret(), "planted");
        assert!(!vault.is_current(&sealed));
        let fresh = tempfile::tempdir().unwrap();
        let home = Home::open(fresh.path()).unwrap();
        home.vault(&ambient, Some(&own)).unwrap();
        assert!(home.read_vault().unwrap().is_none(), "nothing is made that is not needed");
        assert!(home.vault(&ambient, Some(&"short".into())).is_err());
    }

    #[test]
    fn one_process_at_a_time_works_on_a_folder_and_says_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let lock = home.lock().unwrap();
        lock.announce(&"http://127.0.0.1:8080".parse().unwrap()).unwrap();
        assert!(home.try_lock().unwrap().is_none());
        let message = home.lock().unwrap_err().to_string();
        assert!(message.contains("http://127.0.0.1:8080") && message.contains("stop it first"));
        drop(lock);
        assert!(home.try_lock().unwrap().is_some());
        assert!(home.notice().is_none());
    }
}
