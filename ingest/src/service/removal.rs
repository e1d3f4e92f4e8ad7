//! Removal: rows at once, vectors and files by jobs that are wanted in the same transaction.

use domain::datastore::{Source, SourceOrigin};
use domain::{BlobId, DatastoreId, DomainError, SourceId, WorkspaceId};
use retrieval::StatsChange;
use serde_json::json;
use storage::Tx;
use storage::audit::Change;

use super::audit::told;
use super::{Ingest, find};
use crate::pipeline::{PurgeJob, VersionJob, live_chunks, want_closing};

/// Files that one job removes.
const BLOBS: usize = 500;
/// Sources read at once.
const PAGE: i64 = 500;
/// Tries to remove a source whose live version changes meanwhile.
const TRIES: usize = 5;

impl Ingest {
    /// Removes a source: rows at once, vectors and files by a job. 404 when absent.
    pub async fn delete_source(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        source: SourceId,
    ) -> Result<(), DomainError> {
        for _ in 0..TRIES {
            let mut conn = self.core.db.read().await?;
            let found = storage::sources::get(&mut conn, workspace, datastore, source).await?;
            drop(conn);
            let found = found.ok_or_else(|| DomainError::not_found("source"))?;
            let change = self.count_removal(workspace, &found).await?;
            if self.delete_version(&found, &change).await? {
                return Ok(());
            }
        }
        Err(DomainError::conflict(
            "CONFLICT",
            "the source changes while it is being removed; try again shortly",
        ))
    }

    /// How the statistics change when the source's passages go; counted before the transaction.
    async fn count_removal(
        &self,
        workspace: WorkspaceId,
        source: &Source,
    ) -> Result<StatsChange, DomainError> {
        let removed = live_chunks(&self.core, workspace, source).await?;
        let counting = tokio::task::spawn_blocking(move || {
            let removed: Vec<_> =
                removed.iter().map(|(_, heading, chunk)| (heading.as_str(), chunk)).collect();
            StatsChange::count(&[], &removed)
        });
        counting.await.map_err(|_| {
            DomainError::new(
                domain::ErrorKind::Internal,
                "INTERNAL",
                "something went wrong on our side",
            )
        })
    }

    /// The transaction; `false` when another version went live after the count.
    async fn delete_version(
        &self,
        counted: &Source,
        change: &StatsChange,
    ) -> Result<bool, DomainError> {
        let (workspace, datastore, source) =
            (counted.workspace_id, counted.datastore_id, counted.id);
        let mut tx = self.core.db.write().await?;
        // First, because it locks the datastore, as every version that goes live does.
        let noted = self.core.retrieval.note_counted(&mut tx, workspace, datastore, change).await?;
        noted.ok_or_else(|| DomainError::not_found("source"))?;
        let found = find(&mut tx, workspace, datastore, source).await?;
        if found.live_version != counted.live_version {
            return Ok(false);
        }
        let version = VersionJob { source, version: found.version };
        self.cancel_jobs(&mut tx, workspace, version).await?;
        storage::sources::delete(&mut tx, workspace, source).await?;
        let purge = PurgeJob {
            source: Some(source),
            datastore: None,
            blobs: blob_of(&found).into_iter().collect(),
        };
        self.want_purge(&mut tx, workspace, &purge).await?;
        self.note(&mut tx, Change::new("source.deleted", source).from(told(&found))).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Removes a datastore likewise. 404 when absent.
    pub async fn delete_datastore(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<(), DomainError> {
        let mut tx = self.core.db.write().await?;
        let found = storage::datastores::get(&mut tx, workspace, datastore).await?;
        let found = found.ok_or_else(|| DomainError::not_found("datastore"))?;
        let mut blobs = Vec::new();
        let mut before = None;
        loop {
            let page = storage::sources::list(&mut tx, workspace, datastore, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for source in &page {
                blobs.extend(blob_of(source));
                let version = VersionJob { source: source.id, version: source.version };
                self.cancel_jobs(&mut tx, workspace, version).await?;
            }
        }
        if !storage::datastores::delete(&mut tx, workspace, datastore).await? {
            return Err(DomainError::not_found("datastore"));
        }
        let vectors = PurgeJob { source: None, datastore: Some(datastore), blobs: Vec::new() };
        self.want_purge(&mut tx, workspace, &vectors).await?;
        for some in blobs.chunks(BLOBS) {
            let files = PurgeJob { source: None, datastore: None, blobs: some.to_vec() };
            self.want_purge(&mut tx, workspace, &files).await?;
        }
        let change = Change::new("datastore.deleted", datastore);
        self.note(&mut tx, change.from(json!({"name": found.name}))).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes a workspace: it is absent for everybody once the transaction commits; vectors, files and rows go by a job. `false` when
    /// it is absent.
    pub async fn close_workspace(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
    ) -> Result<bool, DomainError> {
        let now = self.core.ambient.now();
        if !storage::workspaces::close(tx, workspace, now).await? {
            return Ok(false);
        }
        want_closing(&self.core, tx, workspace).await?;
        Ok(true)
    }

    async fn want_purge(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        purge: &PurgeJob,
    ) -> storage::Result<()> {
        let job = purge.job(self.core.ambient.now());
        storage::jobs::enqueue(tx, &self.core.ambient, workspace, &job).await?;
        Ok(())
    }
}

fn blob_of(source: &Source) -> Option<BlobId> {
    match source.origin {
        SourceOrigin::File { blob } => Some(blob),
        SourceOrigin::Url { .. } | SourceOrigin::Text => None,
    }
}
