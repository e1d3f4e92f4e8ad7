//! The flip: new versions go live and old ones go, in one transaction for many sources.

use std::collections::HashSet;
use std::sync::Arc;

use domain::datastore::{Chunk, Source};
use domain::{DatastoreId, SourceId, WorkspaceId};
use retrieval::{PassageTerms, StatsChange, StatsCounter, passage_heading};
use storage::Tx;
use storage::sources::{GoLive, Validators};

use super::halt::Halt;
use super::points::main_language;
use super::work::{is_wanted, to_i64};
use super::{Core, VersionJob, want_maintenance};

/// Chunks read at once.
const PAGE: i64 = 1_000;

/// A version whose points are in the index.
#[derive(Debug)]
pub struct Ready {
    /// The source as it was when the work began.
    pub source: Source,
    pub version: i64,
    pub content_hash: String,
    pub chunks: Vec<Chunk>,
    pub warning: Option<String>,
    /// What a later conditional request needs, when it is known.
    pub validators: Option<Validators>,
    /// Whether the chunks are not stored yet.
    pub unstored: bool,
    /// The terms of the chunks, when they were put into the index just now.
    pub terms: Option<Vec<PassageTerms>>,
}

impl Ready {
    fn as_live(&self) -> GoLive<'_> {
        GoLive {
            source: self.source.id,
            version: self.version,
            content_hash: &self.content_hash,
            chunks: to_i64(self.chunks.len()),
            language: main_language(&self.chunks),
            warning: self.warning.as_deref(),
        }
    }
}

/// Makes versions of one datastore's sources live. Gives those that are not wanted any more, of which
/// nothing was written.
pub async fn go_live(
    core: &Core,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    ready: &Arc<Vec<Ready>>,
) -> Result<HashSet<SourceId>, Halt> {
    let mut removed = Vec::new();
    for item in ready.iter() {
        removed.extend(live_chunks(core, workspace, &item.source).await?);
    }
    let removed = Arc::new(removed);
    let mut overtaken = HashSet::new();
    while overtaken.len() < ready.len() {
        let change = count(ready, &removed, &overtaken).await?;
        let stale = flip(core, workspace, datastore, ready, &change, &overtaken).await?;
        if stale.is_empty() {
            break;
        }
        overtaken.extend(stale);
    }
    Ok(overtaken)
}

/// The chunks that answer now, with the heading that they were counted under.
pub async fn live_chunks(
    core: &Core,
    workspace: WorkspaceId,
    source: &Source,
) -> Result<Vec<(SourceId, String, Chunk)>, storage::StorageError> {
    let mut found = Vec::new();
    if source.live_version == 0 {
        return Ok(found);
    }
    let mut conn = core.db.read().await?;
    let mut after = -1;
    loop {
        let page = storage::chunks::of_version(
            &mut conn,
            workspace,
            source.id,
            source.live_version,
            after,
            PAGE,
        )
        .await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.ordinal;
        found.extend(
            page.into_iter()
                .map(|chunk| (source.id, passage_heading(&source.name, &chunk.heading), chunk)),
        );
    }
}

/// Counts off the async threads: it takes a while for many chunks.
async fn count(
    ready: &Arc<Vec<Ready>>,
    removed: &Arc<Vec<(SourceId, String, Chunk)>>,
    left_out: &HashSet<SourceId>,
) -> Result<StatsChange, Halt> {
    let (ready, removed, left_out) = (ready.clone(), removed.clone(), left_out.clone());
    let counting = tokio::task::spawn_blocking(move || {
        let mut counter = StatsCounter::default();
        for item in ready.iter().filter(|item| !left_out.contains(&item.source.id)) {
            match &item.terms {
                Some(terms) => counter.add_terms(terms),
                None => {
                    for chunk in &item.chunks {
                        counter.add(&passage_heading(&item.source.name, &chunk.heading), chunk);
                    }
                }
            }
        }
        for (source, heading, chunk) in removed.iter() {
            if !left_out.contains(source) {
                counter.remove(heading, chunk);
            }
        }
        counter.finish()
    });
    counting.await.map_err(|_| {
        Halt::retry("INGEST_FAILED", "counting the words of the source was broken off")
    })
}

/// The transaction. Gives the sources that turned out not to be wanted; then nothing was written.
async fn flip(
    core: &Core,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    ready: &[Ready],
    change: &StatsChange,
    left_out: &HashSet<SourceId>,
) -> Result<HashSet<SourceId>, Halt> {
    let wanted: Vec<&Ready> =
        ready.iter().filter(|item| !left_out.contains(&item.source.id)).collect();
    let ids: Vec<SourceId> = wanted.iter().map(|item| item.source.id).collect();
    let mut tx = core.db.write().await?;
    // First, because it locks the datastore: versions of its sources flip one after the other from here on.
    let revision = core.retrieval.note_counted(&mut tx, workspace, datastore, change).await?;
    if revision.is_none() {
        return Ok(ids.into_iter().collect());
    }
    let now_there = storage::sources::get_many(&mut tx, workspace, &ids).await?;
    let is_current = |item: &Ready| {
        now_there.iter().any(|source| {
            source.id == item.source.id
                && is_wanted(source, item.version)
                && source.live_version == item.source.live_version
        })
    };
    let mut stale: HashSet<SourceId> =
        wanted.iter().filter(|item| !is_current(item)).map(|item| item.source.id).collect();
    if !stale.is_empty() {
        return Ok(stale);
    }
    store_unstored(&mut tx, &wanted).await?;
    let versions: Vec<GoLive<'_>> = wanted.iter().map(|item| item.as_live()).collect();
    let now = core.ambient.now();
    let live = storage::sources::go_live(&mut tx, workspace, &versions, now).await?;
    if live.len() < ids.len() {
        stale.extend(ids.into_iter().filter(|id| !live.contains(id)));
        return Ok(stale);
    }
    for item in &wanted {
        clear_away(core, &mut tx, workspace, item).await?;
    }
    want_maintenance(&mut tx, &core.ambient, workspace).await?;
    storage::gaps::want_recheck(&mut tx, &core.ambient, workspace, datastore).await?;
    tx.commit().await?;
    Ok(stale)
}

async fn store_unstored(tx: &mut Tx, wanted: &[&Ready]) -> Result<(), Halt> {
    let unstored = wanted.iter().filter(|item| item.unstored);
    let rows: Vec<Chunk> = unstored.flat_map(|item| item.chunks.iter().cloned()).collect();
    storage::chunks::insert_many(tx, &rows).await?;
    Ok(())
}

/// What goes with a version that is live now: the versions before it, and their points by a job.
async fn clear_away(
    core: &Core,
    tx: &mut Tx,
    workspace: WorkspaceId,
    item: &Ready,
) -> Result<(), Halt> {
    let source = item.source.id;
    if let Some(validators) = &item.validators {
        storage::sources::set_validators(tx, workspace, source, validators).await?;
    }
    if item.version > 1 {
        storage::chunks::delete_other_versions(tx, workspace, source, item.version).await?;
        storage::sources::prune_texts(tx, workspace, source, item.version).await?;
    }
    if item.source.live_version > 0 {
        let old = VersionJob { source, version: item.source.live_version };
        let cleanup = old.cleanup(core.ambient.now());
        storage::jobs::enqueue(tx, &core.ambient, workspace, &cleanup).await?;
    }
    Ok(())
}
