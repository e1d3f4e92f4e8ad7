//! Stored files, named by generated ids only.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use domain::{BlobId, Timestamp, WorkspaceId};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::io::AsyncWriteExt;

use crate::{Result, StorageError};

/// The blob store: a folder, or S3-compatible.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The folder, where it is one.
    folder: Option<Arc<Path>>,
}

/// How often a request to the bucket is tried again, and for how long: somebody waits for the upload.
const TRIES_AGAIN: usize = 3;
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes sent at once while a file is stored.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Bytes read from disk at once.
const READ_BYTES: usize = 64 * 1024;

impl Blobs {
    /// Files in a local folder, which is made when absent, for its owner only.
    pub fn local(folder: &Path) -> Result<Self> {
        make_private_folder(folder).map_err(|error| blob_error("local folder", error))?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), folder: Some(folder.into()) })
    }

    /// Files behind an `s3://bucket/prefix` address; credentials from the usual `AWS_…` variables.
    pub fn s3(url: &str) -> Result<Self> {
        let retry = RetryConfig {
            max_retries: TRIES_AGAIN,
            retry_timeout: PATIENCE,
            ..RetryConfig::default()
        };
        let store = AmazonS3Builder::from_env().with_url(url).with_retry(retry).build()?;
        let prefix = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let store: Arc<dyn ObjectStore> = match prefix {
            Some((_, prefix)) if !prefix.trim_matches('/').is_empty() => {
                Arc::new(PrefixStore::new(store, Key::parse(prefix)?))
            }
            _ => Arc::new(store),
        };
        Ok(Self { store, folder: None })
    }

    /// Stores a file from disk, streamed. It is there whole or not at all.
    pub async fn put_file(&self, workspace: WorkspaceId, id: BlobId, path: &Path) -> Result<()> {
        let file = tokio::fs::File::open(path).await;
        let file = file.map_err(|error| blob_error("file to store", error))?;
        let mut reader = tokio::io::BufReader::with_capacity(READ_BYTES, file);
        let mut writer =
            BufWriter::with_capacity(self.store.clone(), key(workspace, id), PART_BYTES);
        if let Err(error) = tokio::io::copy_buf(&mut reader, &mut writer).await {
            // What was sent so far is dropped; if that fails too, the first error says more.
            let _ = writer.abort().await;
            return Err(blob_error("blob", error));
        }
        writer.shutdown().await.map_err(|error| blob_error("blob", error))
    }

    /// Stores bytes. They are there whole or not at all.
    pub async fn put(&self, workspace: WorkspaceId, id: BlobId, bytes: Bytes) -> Result<()> {
        self.store.put(&key(workspace, id), bytes.into()).await?;
        Ok(())
    }

    /// The bytes; `None` when absent.
    pub async fn get(&self, workspace: WorkspaceId, id: BlobId) -> Result<Option<Bytes>> {
        match self.store.get(&key(workspace, id)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file; absent ones are fine.
    pub async fn delete(&self, workspace: WorkspaceId, id: BlobId) -> Result<()> {
        match self.store.delete(&key(workspace, id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The files of a workspace that were stored before an instant, in no order.
    pub async fn older_than(
        &self,
        workspace: WorkspaceId,
        before: Timestamp,
    ) -> Result<Vec<BlobId>> {
        let prefix = Key::from(workspace.to_string());
        let mut files = self.store.list(Some(&prefix));
        let mut old = Vec::new();
        while let Some(file) = files.try_next().await? {
            let id = file.location.filename().and_then(|name| name.parse::<BlobId>().ok());
            if let Some(id) = id
                && file.last_modified.timestamp_micros() < before.micros()
            {
                old.push(id);
            }
        }
        Ok(old)
    }

    /// Removes what writes that broke off before an instant left in the folder; how many there were. A bucket
    /// tidies up by itself, by a rule for incomplete uploads.
    pub async fn delete_partial(&self, before: Timestamp) -> Result<usize> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let removing = tokio::task::spawn_blocking(move || remove_partial(&folder, before));
        let removed = removing.await.map_err(|error| blob_error("local folder", error))?;
        removed.map_err(|error| blob_error("local folder", error))
    }

    /// Removes every file of a workspace.
    pub async fn delete_workspace(&self, workspace: WorkspaceId) -> Result<()> {
        let prefix = Key::from(workspace.to_string());
        let mut files = self.store.list(Some(&prefix));
        while let Some(file) = files.try_next().await? {
            match self.store.delete(&file.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        Self::Blob(error)
    }
}

impl From<object_store::path::Error> for StorageError {
    fn from(error: object_store::path::Error) -> Self {
        Self::Blob(error.into())
    }
}

/// Files are written as `<id>#<number>` and renamed when they are whole.
fn remove_partial(folder: &Path, before: Timestamp) -> std::io::Result<usize> {
    let mut removed = 0;
    for workspace in std::fs::read_dir(folder)? {
        let workspace = workspace?.path();
        if !workspace.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(workspace)? {
            let file = file?;
            let is_partial = file.file_name().to_string_lossy().contains('#');
            let age = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            if is_partial && micros < before.micros() {
                std::fs::remove_file(file.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn key(workspace: WorkspaceId, id: BlobId) -> Key {
    Key::from_iter([workspace.to_string(), id.to_string()])
}

fn blob_error(
    store: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StorageError {
    StorageError::Blob(object_store::Error::Generic { store, source: Box::new(error) })
}

#[cfg(unix)]
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}
