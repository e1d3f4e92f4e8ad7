//! What callers may do with sources.

use std::path::PathBuf;
use std::sync::Arc;

use domain::datastore::Source;
use domain::settings::IngestSettings;
use domain::{Ambient, DatastoreId, DomainError, SourceId, WorkspaceId};
use jobs::Handler;
use retrieval::Retrieval;
use serde_json::{Map, Value};
use storage::{Blobs, Db};

use crate::fetch::Fetcher;
use crate::worker::ParserPool;

/// What ingestion needs.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Limits and sizes.
    pub settings: IngestSettings,
    /// Parser processes.
    pub parsers: ParserPool,
    /// The guarded client.
    pub fetcher: Fetcher,
}

/// An uploaded file, on disk already.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// The name as uploaded: data only.
    pub name: String,
    /// The source's name, when the owner gave one; else it is the file's.
    pub title: Option<String>,
    /// Where it was streamed to. The caller removes it after `add_file`.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Given by the owner.
    pub metadata: Map<String, Value>,
}

/// Ingestion. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {}

impl Ingest {
    /// Ingestion over the given parts.
    pub fn new(
        db: Db,
        blobs: Blobs,
        retrieval: Retrieval,
        ambient: Ambient,
        options: IngestOptions,
    ) -> Self {
        let _ = (db, blobs, retrieval, ambient, options);
        todo!()
    }

    /// The job handlers, to be registered with the runner.
    pub fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        todo!()
    }

    /// Takes a file: refuses types that are not taken (415), stores it, wants its ingestion.
    pub async fn add_file(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        file: NewFile,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, file);
        todo!()
    }

    /// Takes an address: refuses private ones (400), wants its ingestion.
    pub async fn add_url(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        url: &str,
        name: Option<&str>,
        metadata: Map<String, Value>,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, url, name, metadata);
        todo!()
    }

    /// Takes a text.
    pub async fn add_text(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        name: &str,
        content: &str,
        metadata: Map<String, Value>,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, name, content, metadata);
        todo!()
    }

    /// Begins again with a failed or cancelled source; 409 in other states.
    pub async fn retry(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, source);
        todo!()
    }

    /// Looks whether the content changed and ingests it again when it did.
    pub async fn sync(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, source);
        todo!()
    }

    /// Stops a pending or running ingestion; 409 in other states.
    pub async fn cancel(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let _ = (workspace, datastore, source);
        todo!()
    }

    /// Removes a source: rows at once, vectors and files by a job. 404 when absent.
    pub async fn delete_source(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<(), DomainError> {
        let _ = (workspace, datastore, source);
        todo!()
    }

    /// Removes a datastore likewise.
    pub async fn delete_datastore(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<(), DomainError> {
        let _ = (workspace, datastore);
        todo!()
    }
}
