//! What callers may do with sources.

mod articles;
mod audit;
mod intake;
mod removal;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;

use domain::datastore::{Source, SourceOrigin, SourceStatus};
use domain::settings::IngestSettings;
use domain::{Ambient, BlobId, DatastoreId, DomainError, ErrorKind, SourceId, WorkspaceId};
use jobs::Handler;
use models::Catalogue;
use retrieval::Retrieval;
use serde_json::{Map, Value};
use storage::audit::{Author, Change};
use storage::sources::VersionText;
use storage::{Blobs, Db, Tx};

use self::audit::{added, told_state};
use self::intake::{Intake, NewText, explained};
pub use self::validate::MAX_NAME_CHARS;
pub(crate) use self::validate::{file_name, too_large};
use tokio_util::task::TaskTracker;

use crate::extract::{self, ExtractError, Format, MAX_TEXT_BYTES};
use crate::pages::Fetcher;
use crate::pipeline::{self, Core, VersionJob, ingest_kind};
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
    /// What is known of models: prices.
    pub catalogue: Catalogue,
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
pub struct Ingest {
    core: Arc<Core>,
    intake: Intake,
    /// Whom the audit log names; the server's own doings are not in it.
    author: Option<Arc<Author>>,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").finish_non_exhaustive()
    }
}

impl Ingest {
    /// Ingestion over the given parts.
    pub fn new(
        db: Db,
        blobs: Blobs,
        retrieval: Retrieval,
        ambient: Ambient,
        options: IngestOptions,
    ) -> Self {
        let intake = Intake::new(db.clone(), ambient.clone());
        let IngestOptions { settings, parsers, fetcher, catalogue } = options;
        let settling = TaskTracker::new();
        let core =
            Core { db, blobs, retrieval, ambient, settings, parsers, fetcher, catalogue, settling };
        Self { core: Arc::new(core), intake, author: None }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The job handlers, to be registered with the runner.
    pub fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        let mut handlers = pipeline::handlers(&self.core);
        handlers.push(self.article_handler());
        handlers
    }

    /// Wants the daily sweep, starting now, and the end of removals that were begun. Called once at every start of a worker.
    pub async fn schedule(&self) -> Result<(), DomainError> {
        pipeline::want_closings(&self.core).await?;
        Ok(pipeline::schedule(&self.core).await?)
    }

    /// Waits for the texts that are being stored, and for what calls that were cut off are written down with. After the
    /// last request was answered and the last job has ended.
    pub async fn close(&self) {
        self.intake.close().await;
        self.core.settling.close();
        self.core.settling.wait().await;
    }

    /// Takes a file: stores it and wants its ingestion. What only parsing finds out (a password, damage) fails
    /// the source later.
    ///
    /// Errors: 404 `datastore not found`; 400 naming `file`, `name` or `metadata`; 413 over the upload limit;
    /// 415 naming the types that are taken.
    pub async fn add_file(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        file: NewFile,
    ) -> Result<Source, DomainError> {
        let file_name = file_name(&file.name)?;
        let name = match &file.title {
            Some(title) => validate::name(title)?,
            None => file_name.clone(),
        };
        validate::metadata(&file.metadata)?;
        let most = self.core.settings.max_upload_bytes;
        if file.bytes > most as u64 {
            return Err(too_large("file", file.bytes, most));
        }
        self.check_datastore(workspace, datastore).await?;
        let bytes = tokio::fs::read(&file.path).await.map_err(|error| {
            tracing::error!(%error, "an uploaded file cannot be read back");
            DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
        })?;
        let format = taken_format(&file_name, &bytes)?;
        drop(bytes);

        let blob: BlobId = self.core.ambient.new_id();
        self.core.blobs.put_file(workspace, blob, &file.path).await?;
        let source = Source {
            mime: format.map(|format| format.mime().to_owned()),
            bytes: i64::try_from(file.bytes).unwrap_or(i64::MAX),
            metadata: file.metadata,
            ..self.new_source(workspace, datastore, name, SourceOrigin::File { blob })
        };
        if let Err(error) = self.store(&source).await {
            // Nothing names the file any more.
            if let Err(error) = self.core.blobs.delete(workspace, blob).await {
                tracing::warn!(%error, %blob, "a file that no source names stays behind");
            }
            return Err(error);
        }
        Ok(source)
    }

    /// Takes an address and wants its ingestion. Without a name the source is named by the page's title once
    /// it is read, until then by its address.
    ///
    /// Errors: 404 `datastore not found`; 400 naming `url` (also for addresses that may not be fetched), `name`
    /// or `metadata`.
    pub async fn add_url(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        url: &str,
        name: Option<&str>,
        metadata: Map<String, Value>,
    ) -> Result<Source, DomainError> {
        let url = domain::text::required("url", url, 2_000)?;
        let url = fetch::check_url(&url, self.core.fetcher.client().settings())
            .map_err(|error| DomainError::invalid("url", error.message))?;
        let name = match name {
            Some(name) => validate::name(name)?,
            None => url.to_string(),
        };
        validate::metadata(&metadata)?;
        let origin = SourceOrigin::Url { url: url.to_string() };
        let source = Source { metadata, ..self.new_source(workspace, datastore, name, origin) };
        self.store(&source).await?;
        Ok(source)
    }

    /// Takes a text; durable when it returns. Texts that arrive at the same time share a transaction.
    ///
    /// Errors: 404 `datastore not found`; 400 naming `name`, `content` or `metadata`; 413 over the upload limit.
    pub async fn add_text(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        name: &str,
        content: &str,
        metadata: Map<String, Value>,
    ) -> Result<Source, DomainError> {
        let name = validate::name(name)?;
        validate::content(content, self.core.settings.max_upload_bytes.min(MAX_TEXT_BYTES))?;
        validate::metadata(&metadata)?;
        let source = Source {
            mime: Some(Format::Text.mime().to_owned()),
            bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            metadata,
            ..self.new_source(workspace, datastore, name, SourceOrigin::Text)
        };
        let job = self.job_for(&source);
        let content = content.as_bytes().to_vec();
        let text = NewText { source: source.clone(), content, job, author: self.author.clone() };
        self.intake.add(text).await?;
        Ok(source)
    }

    /// Begins again with a failed or cancelled source; 409 in other states.
    pub async fn retry(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let mut tx = self.core.db.write().await?;
        let found = find(&mut tx, workspace, datastore, source).await?;
        if !matches!(found.status, SourceStatus::Failed | SourceStatus::Cancelled) {
            let message = format!(
                "the source is {}; only failed and cancelled ones can be retried",
                found.status.name()
            );
            return Err(DomainError::conflict("CONFLICT", message));
        }
        self.begin_again(tx, found, "source.retried").await
    }

    /// Looks whether the content changed and ingests it again when it did. Files and texts cannot change by
    /// themselves: a ready one is given back as it is. 409 while its ingestion is under way.
    pub async fn sync(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let mut tx = self.core.db.write().await?;
        let found = find(&mut tx, workspace, datastore, source).await?;
        match (found.status, &found.origin) {
            (SourceStatus::Pending | SourceStatus::Running, _) => Err(DomainError::conflict(
                "CONFLICT",
                "the source is being ingested already; wait until it is ready",
            )),
            (SourceStatus::Ready, SourceOrigin::File { .. } | SourceOrigin::Text) => Ok(found),
            _ => self.begin_again(tx, found, "source.synced").await,
        }
    }

    /// Stops a pending or running ingestion; 409 in other states. An older version goes on answering.
    pub async fn cancel(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<Source, DomainError> {
        let now = self.core.ambient.now();
        let mut tx = self.core.db.write().await?;
        let found = find(&mut tx, workspace, datastore, source).await?;
        if !storage::sources::cancel(&mut tx, workspace, source, now).await? {
            let message = format!(
                "the source is {}; only a pending or running one can be cancelled",
                found.status.name()
            );
            return Err(DomainError::conflict("CONFLICT", message));
        }
        let version = VersionJob { source, version: found.version };
        self.cancel_jobs(&mut tx, workspace, version).await?;
        storage::chunks::delete_other_versions(&mut tx, workspace, source, found.live_version)
            .await?;
        storage::jobs::enqueue(&mut tx, &self.core.ambient, workspace, &version.cleanup(now))
            .await?;
        let cancelled = find(&mut tx, workspace, datastore, source).await?;
        let change = Change::new("source.cancelled", source);
        let change = change.from(told_state(&found)).to(told_state(&cancelled));
        self.note(&mut tx, change).await?;
        tx.commit().await?;
        Ok(cancelled)
    }

    async fn begin_again(
        &self,
        mut tx: Tx,
        found: Source,
        action: &'static str,
    ) -> Result<Source, DomainError> {
        let before = told_state(&found);
        let (workspace, source) = (found.workspace_id, found.id);
        let now = self.core.ambient.now();
        let content = match found.origin {
            SourceOrigin::Text => {
                let versions = [(source, found.version)];
                storage::sources::contents(&mut tx, workspace, &versions).await?.pop()
            }
            SourceOrigin::File { .. } | SourceOrigin::Url { .. } => None,
        };
        let version = storage::sources::begin_version(&mut tx, workspace, source, now)
            .await?
            .ok_or_else(|| DomainError::not_found("source"))?;
        if let Some((_, text)) = content {
            let content = [VersionText { source, version, text: &text }];
            storage::sources::put_contents(&mut tx, workspace, &content).await?;
        }
        let kind = ingest_kind(&found.origin, found.bytes);
        let job = VersionJob { source, version }.ingest(kind, now);
        storage::jobs::enqueue(&mut tx, &self.core.ambient, workspace, &job).await?;
        let begun = find(&mut tx, workspace, found.datastore_id, source).await?;
        let change = Change::new(action, source).from(before).to(told_state(&begun));
        self.note(&mut tx, change).await?;
        tx.commit().await?;
        Ok(begun)
    }

    async fn cancel_jobs(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        version: VersionJob,
    ) -> storage::Result<()> {
        let (key, now) = (version.dedupe_key(), self.core.ambient.now());
        for kind in [pipeline::kinds::TEXT, pipeline::kinds::SOURCE] {
            storage::jobs::cancel(tx, workspace, kind, &key, now).await?;
        }
        Ok(())
    }

    async fn check_datastore(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<(), DomainError> {
        let mut conn = self.core.db.read().await?;
        let found = storage::datastores::get(&mut conn, workspace, datastore).await?;
        found.map(drop).ok_or_else(|| DomainError::not_found("datastore"))
    }

    fn new_source(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        name: String,
        origin: SourceOrigin,
    ) -> Source {
        let ambient = &self.core.ambient;
        Source::pending(ambient.new_id(), (workspace, datastore), (name, origin), ambient.now())
    }

    fn job_for(&self, source: &Source) -> domain::job::NewJob {
        let version = VersionJob { source: source.id, version: source.version };
        version.ingest(ingest_kind(&source.origin, source.bytes), self.core.ambient.now())
    }

    async fn store(&self, source: &Source) -> Result<(), DomainError> {
        let mut tx = self.core.db.write().await?;
        let sources = std::slice::from_ref(source);
        storage::sources::insert(&mut tx, source.workspace_id, sources).await.map_err(explained)?;
        let job = self.job_for(source);
        storage::jobs::enqueue(&mut tx, &self.core.ambient, source.workspace_id, &job).await?;
        self.note(&mut tx, added(source)).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn find(
    tx: &mut Tx,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    source: SourceId,
) -> Result<Source, DomainError> {
    let found = storage::sources::get(tx, workspace, datastore, source).await?;
    found.ok_or_else(|| DomainError::not_found("source"))
}

/// The format of an upload; `None` where only parsing will tell what is wrong with it.
fn taken_format(file_name: &str, bytes: &[u8]) -> Result<Option<Format>, DomainError> {
    match extract::detect(file_name, bytes) {
        Ok(format) => Ok(Some(format)),
        Err(ExtractError { code, message, .. }) => match code.as_str() {
            "UNSUPPORTED_TYPE" => {
                Err(DomainError::new(ErrorKind::UnsupportedType, "UNSUPPORTED_MEDIA_TYPE", message)
                    .at("file"))
            }
            "EMPTY" => Err(DomainError::invalid("file", message)),
            _ => Ok(None),
        },
    }
}
