//! Stored files, named by generated ids only.

use bytes::Bytes;
use domain::{BlobId, WorkspaceId};

use crate::Result;

/// The blob store: a folder, or S3-compatible.
#[derive(Debug, Clone)]
pub struct Blobs {}

impl Blobs {
    /// Files in a local folder, which is made when absent.
    pub fn local(folder: &std::path::Path) -> Result<Self> {
        let _ = folder;
        todo!()
    }

    /// Files behind an `s3://bucket/prefix` address; credentials from the usual `AWS_…` variables.
    pub fn s3(url: &str) -> Result<Self> {
        let _ = url;
        todo!()
    }

    /// Stores a file from disk, streamed.
    pub async fn put_file(
        &self,
        workspace: WorkspaceId,
        id: BlobId,
        path: &std::path::Path,
    ) -> Result<()> {
        let _ = (workspace, id, path);
        todo!()
    }

    /// Stores bytes.
    pub async fn put(&self, workspace: WorkspaceId, id: BlobId, bytes: Bytes) -> Result<()> {
        let _ = (workspace, id, bytes);
        todo!()
    }

    /// The bytes; `None` when absent.
    pub async fn get(&self, workspace: WorkspaceId, id: BlobId) -> Result<Option<Bytes>> {
        let _ = (workspace, id);
        todo!()
    }

    /// Removes a file; absent ones are fine.
    pub async fn delete(&self, workspace: WorkspaceId, id: BlobId) -> Result<()> {
        let _ = (workspace, id);
        todo!()
    }

    /// Removes every file of a workspace.
    pub async fn delete_workspace(&self, workspace: WorkspaceId) -> Result<()> {
        let _ = workspace;
        todo!()
    }
}
