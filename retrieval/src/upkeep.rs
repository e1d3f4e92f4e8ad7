//! Work on what is derived: folding statistics, calibrating, filling an index that was lost, and
//! comparing index and rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::datastore::{Datastore, Source};
use domain::{DatastoreId, SourceId, WorkspaceId};
use parking_lot::Mutex;
use storage::StorageError;
use uuid::Uuid;

use crate::calibrate::Calibrated;
use crate::index::Belonging;
use crate::stats::{Stats, decode, encode, passage_stats};
use crate::{
    IndexPoint, IndexTarget, Retrieval, RetrievalError, embedded_text, passage_heading, text_hash,
};

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Changes of statistics noted since they were folded last.
    noted: Mutex<HashMap<(WorkspaceId, DatastoreId), usize>>,
    /// Datastores whose threshold may have to be calibrated: they changed, or were searched without one.
    uncalibrated: Mutex<HashSet<(WorkspaceId, DatastoreId)>>,
    /// The revisions that those had whose calibration was put off until nothing comes any more.
    put_off: Mutex<HashMap<DatastoreId, i64>>,
    /// Held by who is at it, so that two calls do not do the same work.
    turn: tokio::sync::Mutex<()>,
}

impl Upkeep {
    pub(crate) fn noted(&self, workspace: WorkspaceId, datastore: DatastoreId) {
        *self.noted.lock().entry((workspace, datastore)).or_default() += 1;
        self.uncalibrated(workspace, datastore);
    }

    pub(crate) fn uncalibrated(&self, workspace: WorkspaceId, datastore: DatastoreId) {
        self.uncalibrated.lock().insert((workspace, datastore));
    }

    /// Whether a datastore at this revision has changed since it was put off; puts it off then.
    pub(crate) fn puts_off(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        revision: i64,
    ) -> bool {
        let mut put_off = self.put_off.lock();
        if put_off.remove(&datastore) == Some(revision) {
            return false;
        }
        put_off.insert(datastore, revision);
        drop(put_off);
        self.uncalibrated(workspace, datastore);
        true
    }
}

/// Changes that readers may have to catch up with before they are folded into the base.
const FOLD_AT: usize = 64;
/// Rows read at a time.
const ROWS: i64 = 200;
/// Points put into the index together when it is filled.
const TOGETHER: usize = 512;
/// Sources looked up at a time.
const LOOK_UPS: usize = 200;

impl Retrieval {
    /// Fills the index when it was lost, calibrates evidence thresholds and folds statistics where it is due. Off the
    /// request path: call it at start-up, from a schedule, or after ingesting. Cheap when nothing is due;
    /// returns at once when another call is at it. `true` when something was put off until datastores have
    /// stopped changing: call it again in some seconds.
    pub async fn maintain(&self) -> Result<bool, RetrievalError> {
        let Ok(_turn) = self.0.upkeep.turn.try_lock() else { return Ok(false) };
        if self.0.index.is_unfilled().await? {
            self.fill(&|_, _| {}).await?;
        }
        let due = std::mem::take(&mut *self.0.upkeep.uncalibrated.lock());
        let mut put_off = false;
        for (workspace, datastore) in due {
            put_off |= self.calibrate(workspace, datastore).await? == Calibrated::Later;
        }
        let due: Vec<(WorkspaceId, DatastoreId)> = {
            let mut noted = self.0.upkeep.noted.lock();
            let due = noted.iter().filter(|(_, changes)| **changes >= FOLD_AT);
            let due: Vec<_> = due.map(|(&key, _)| key).collect();
            for key in &due {
                noted.remove(key);
            }
            due
        };
        for (workspace, datastore) in due {
            self.fold(workspace, datastore).await?;
        }
        Ok(put_off)
    }

    /// Whether the index was found empty or half filled and `maintain` or `rebuild` is to fill it.
    pub async fn is_unfilled(&self) -> Result<bool, RetrievalError> {
        self.0.index.is_unfilled().await
    }

    /// Puts base and changes of a datastore's statistics together.
    async fn fold(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<(), RetrievalError> {
        let stored = {
            let mut conn = self.0.db.read().await?;
            storage::stats::load(&mut conn, workspace, datastore, -1).await?
        };
        let Some(&(revision, _)) = stored.deltas.last() else { return Ok(()) };
        let folded = tokio::task::spawn_blocking(move || {
            let mut stats = match &stored.base {
                Some((_, bytes)) => decode(bytes)?,
                None => Stats::default(),
            };
            for (_, bytes) in &stored.deltas {
                stats.add(&decode(bytes)?);
            }
            Some(encode(&stats))
        });
        let folded = folded.await.map_err(|error| RetrievalError::Index(error.to_string()))?;
        let unreadable =
            || RetrievalError::Index("stored statistics cannot be read; reindex".to_owned());
        self.store_base(workspace, datastore, revision, &folded.ok_or_else(unreadable)?).await
    }

    async fn store_base(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        revision: i64,
        base: &[u8],
    ) -> Result<(), RetrievalError> {
        let mut tx = self.0.db.write().await?;
        match storage::stats::replace_base(&mut tx, workspace, datastore, revision, base).await {
            Ok(()) => Ok(tx.commit().await?),
            // The datastore went away meanwhile.
            Err(StorageError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Fills the index again from the rows and the stored dense vectors, counts the statistics anew and
    /// removes points that no row stands for; `progress` gets chunks done and chunks in all. Questions are
    /// answered meanwhile.
    pub async fn rebuild(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), RetrievalError> {
        let _turn = self.0.upkeep.turn.lock().await;
        self.fill(progress).await?;
        self.seal().await?;
        self.recount().await?;
        self.sweep().await
    }

    async fn fill(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), RetrievalError> {
        let datastores = self.all_datastores().await?;
        let mut all = 0;
        for datastore in &datastores {
            let mut conn = self.0.db.read().await?;
            let live = storage::chunks::count_live(&mut conn, datastore.workspace_id, datastore.id)
                .await?;
            all += u64::try_from(live).unwrap_or_default();
        }
        let mut done = 0;
        let mut waiting = Vec::new();
        progress(done, all);
        for datastore in &datastores {
            let mut before = None;
            loop {
                let sources = self.sources(datastore, before).await?;
                let Some(last) = sources.last() else { break };
                before = Some(last.id);
                for source in &sources {
                    done += self.fill_source(source, &mut waiting).await?;
                    progress(done.min(all), all);
                }
            }
        }
        self.upsert(waiting).await?;
        self.0.index.mark_filled().await?;
        if done > 0 {
            tracing::info!(chunks = done, "the index was filled from the database");
        }
        Ok(())
    }

    /// Puts the live version of a source into the index, and one that is on its way; chunks of the live one. Few
    /// points are left `waiting` for those of the next source: making them durable costs much and the same for
    /// one as for many.
    async fn fill_source(
        &self,
        source: &Source,
        waiting: &mut Vec<IndexPoint>,
    ) -> Result<u64, RetrievalError> {
        let mut live = 0;
        for version in versions(source) {
            let mut after = -1;
            loop {
                let chunks = {
                    let mut conn = self.0.db.read().await?;
                    storage::chunks::of_version(
                        &mut conn,
                        source.workspace_id,
                        source.id,
                        version,
                        after,
                        ROWS,
                    )
                    .await?
                };
                let Some(last) = chunks.last() else { break };
                after = last.ordinal;
                if version == source.live_version {
                    live += chunks.len() as u64;
                }
                let points = chunks.into_iter().map(|chunk| IndexPoint {
                    id: chunk.id,
                    workspace: chunk.workspace_id,
                    datastore: chunk.datastore_id,
                    source: chunk.source_id,
                    version: chunk.version,
                    lang: chunk.lang,
                    heading: passage_heading(&source.name, &chunk.heading),
                    text: chunk.text,
                    dense: None,
                    metadata: source.metadata.clone(),
                });
                let points = self.with_stored_vectors(source.workspace_id, points.collect());
                waiting.extend(points.await?);
                if waiting.len() >= TOGETHER {
                    self.upsert(std::mem::take(waiting)).await?;
                }
            }
        }
        Ok(live)
    }

    /// Adds the dense vectors that are stored for these texts. A text without one is found by words and
    /// grams until it is embedded again.
    async fn with_stored_vectors(
        &self,
        workspace: WorkspaceId,
        mut points: Vec<IndexPoint>,
    ) -> Result<Vec<IndexPoint>, RetrievalError> {
        let Some(embedder) = &self.0.embedder else { return Ok(points) };
        let hashes: Vec<_> = points
            .iter()
            .map(|point| text_hash(&embedded_text(&point.heading, &point.text)))
            .collect();
        let space = embedder.space().to_string();
        let mut conn = self.0.db.read().await?;
        let vectors = storage::embeddings::get_many(&mut conn, workspace, &space, &hashes).await?;
        for (point, hash) in points.iter_mut().zip(&hashes) {
            point.dense = vectors.get(hash).cloned();
        }
        Ok(points)
    }

    /// Counts the statistics of every datastore from its live chunks. A datastore that changes while it is
    /// counted is counted again.
    async fn recount(&self) -> Result<(), RetrievalError> {
        for datastore in self.all_datastores().await? {
            for _ in 0..3 {
                if self.recount_one(&datastore).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the count still holds.
    async fn recount_one(&self, datastore: &Datastore) -> Result<bool, RetrievalError> {
        let (workspace, id) = (datastore.workspace_id, datastore.id);
        let Some(revision) = self.revision(workspace, id).await? else { return Ok(true) };
        let mut stats = Stats::default();
        let mut after = None;
        loop {
            let page = {
                let mut conn = self.0.db.read().await?;
                storage::chunks::list(&mut conn, workspace, id, None, after, ROWS).await?
            };
            let Some(last) = page.last() else { break };
            after = Some(storage::chunks::ChunkCursor {
                source: last.chunk.source_id,
                ordinal: last.chunk.ordinal,
            });
            let counted = tokio::task::spawn_blocking(move || passage_stats(&page));
            stats.add(&counted.await.map_err(|error| RetrievalError::Index(error.to_string()))?);
            stats.merge_when_due();
        }
        if self.revision(workspace, id).await? != Some(revision) {
            return Ok(false);
        }
        self.store_base(workspace, id, revision, &encode(&stats)).await?;
        self.0.stats.forget(id);
        Ok(true)
    }

    async fn revision(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<Option<i64>, RetrievalError> {
        let mut conn = self.0.db.read().await?;
        let row = storage::datastores::get(&mut conn, workspace, datastore).await?;
        Ok(row.map(|row| row.revision))
    }

    /// Compares index and rows: points whose source or version is gone are removed, live versions with
    /// fewer points than chunks are put in again. For a schedule: it reads every point's payload.
    pub async fn sweep(&self) -> Result<(), RetrievalError> {
        let mut counts: HashMap<Belonging, i64> = HashMap::new();
        let mut from: Option<Uuid> = None;
        loop {
            let page = self.0.index.page(from).await?;
            for (_, belonging) in page.points {
                *counts.entry(belonging).or_default() += 1;
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let mut by_workspace: HashMap<WorkspaceId, Vec<SourceId>> = HashMap::new();
        for belonging in counts.keys() {
            by_workspace.entry(belonging.workspace).or_default().push(belonging.source);
        }
        let mut sources: HashMap<SourceId, Source> = HashMap::new();
        for (workspace, ids) in by_workspace {
            for ids in ids.chunks(LOOK_UPS) {
                let mut conn = self.0.db.read().await?;
                let rows = storage::sources::get_many(&mut conn, workspace, ids).await?;
                sources.extend(rows.into_iter().map(|row| (row.id, row)));
            }
        }
        let mut waiting = Vec::new();
        for (belonging, points) in counts {
            let Belonging { workspace, source, version } = belonging;
            match sources.get(&source) {
                Some(row) if row.workspace_id == workspace && versions(row).contains(&version) => {
                    if version == row.live_version && points < row.chunks {
                        self.fill_source(row, &mut waiting).await?;
                    }
                }
                _ => self.remove(workspace, IndexTarget::Version { source, version }).await?,
            }
        }
        self.upsert(waiting).await?;
        Ok(())
    }

    /// Points of a source in the index, by version. For checks: it reads every point's payload.
    pub async fn count_points(
        &self,
        workspace: WorkspaceId,
        source: SourceId,
    ) -> Result<BTreeMap<i64, i64>, RetrievalError> {
        let mut counts = BTreeMap::new();
        let mut from: Option<Uuid> = None;
        loop {
            let page = self.0.index.page(from).await?;
            for (_, belonging) in page.points {
                if belonging.workspace == workspace && belonging.source == source {
                    *counts.entry(belonging.version).or_default() += 1;
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(counts);
            }
        }
    }

    async fn all_datastores(&self) -> Result<Vec<Datastore>, RetrievalError> {
        let mut conn = self.0.db.read().await?;
        let mut all = Vec::new();
        for workspace in storage::workspaces::list(&mut conn).await? {
            let mut before = None;
            loop {
                let page = storage::datastores::list(&mut conn, workspace.id, before, ROWS).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.id);
                all.extend(page);
            }
        }
        Ok(all)
    }

    /// A page of a datastore's sources, newest first.
    pub(crate) async fn sources(
        &self,
        datastore: &Datastore,
        before: Option<SourceId>,
    ) -> Result<Vec<Source>, RetrievalError> {
        let mut conn = self.0.db.read().await?;
        let page =
            storage::sources::list(&mut conn, datastore.workspace_id, datastore.id, before, ROWS);
        Ok(page.await?)
    }
}

/// The versions of a source that may have points: the live one and one on its way.
fn versions(source: &Source) -> Vec<i64> {
    let mut versions = vec![source.live_version, source.version];
    versions.dedup();
    versions.retain(|&version| version > 0);
    versions
}
