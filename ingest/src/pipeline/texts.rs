//! `ingest.text`: small texts, many at once. What the stages do one by one is done in memory; then one call
//! of the index for all passages and one transaction for all rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use domain::datastore::{Chunk, Datastore, Source, SourceOrigin};
use domain::job::Job;
use domain::{DatastoreId, SourceId, WorkspaceId};
use jobs::{Handler, JobContext, Outcome};
use storage::Tx;

use super::content::{Extracted, hash};
use super::halt::Halt;
use super::live::{self, Ready};
use super::work::is_wanted;
use super::{Core, VersionJob, embed, failpoint, kinds, payload, points, staged, tidy};
use crate::extract::{self, Format, Input};

pub struct Texts(pub Arc<Core>);

#[async_trait]
impl Handler for Texts {
    fn kind(&self) -> &'static str {
        kinds::TEXT
    }

    fn batch(&self) -> usize {
        64
    }

    /// Several: while some wait for the disk, others compute.
    fn concurrency(&self) -> usize {
        4
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = vec![Ok(()); jobs.len()];
        let mut by_workspace: HashMap<WorkspaceId, Vec<(usize, VersionJob)>> = HashMap::new();
        for (place, job) in jobs.iter().enumerate() {
            match payload(job) {
                Ok(version) => {
                    by_workspace.entry(job.workspace_id).or_default().push((place, version));
                }
                Err(error) => outcomes[place] = Err(error),
            }
        }
        for (workspace, wanted) in by_workspace {
            if context.cancel.is_cancelled() {
                for (place, _) in wanted {
                    outcomes[place] = context.interruption(jobs[place].id).map_or(Ok(()), Err);
                }
                continue;
            }
            let versions: Vec<VersionJob> = wanted.iter().map(|(_, version)| *version).collect();
            let mut halts = ingest(&self.0, workspace, &versions).await;
            for (place, version) in wanted {
                let job = &jobs[place];
                outcomes[place] = match halts.remove(&version.source) {
                    Some(How::Staged) => staged::run_one(&self.0, context, job).await,
                    Some(How::Halted(halt)) => {
                        tidy::settle(&self.0, workspace, version, Err(halt)).await
                    }
                    None => Ok(()),
                };
            }
        }
        outcomes
    }

    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        tidy::fail_dead(&self.0, tx, job, error).await
    }
}

/// What became of a text that is not live.
#[derive(Debug, Clone)]
enum How {
    Halted(Halt),
    /// It needs the long way: it replaces a version that answers.
    Staged,
}

type Halts = HashMap<SourceId, How>;

/// A text as read from the database.
struct Given {
    source: Source,
    datastore: Arc<Datastore>,
    version: i64,
    content: Vec<u8>,
}

/// Ingests the versions; what became of those that are not live afterwards.
async fn ingest(core: &Core, workspace: WorkspaceId, versions: &[VersionJob]) -> Halts {
    let mut halts = Halts::new();
    if let Err(halt) = ingest_into(core, workspace, versions, &mut halts).await {
        // What stops the batch stops each text of it that was not judged by itself.
        for version in versions {
            halts.entry(version.source).or_insert_with(|| How::Halted(halt.clone()));
        }
    }
    halts
}

async fn ingest_into(
    core: &Core,
    workspace: WorkspaceId,
    versions: &[VersionJob],
    halts: &mut Halts,
) -> Result<(), Halt> {
    let given = read(core, workspace, versions, halts).await?;
    let ready = prepare(core, given, halts).await?;
    let mut by_datastore: HashMap<DatastoreId, Vec<Ready>> = HashMap::new();
    for item in ready {
        by_datastore.entry(item.source.datastore_id).or_default().push(item);
    }
    for (datastore, ready) in by_datastore {
        let ids: Vec<SourceId> = ready.iter().map(|item| item.source.id).collect();
        // One datastore's trouble is not another's.
        match index_and_flip(core, workspace, datastore, ready).await {
            Ok(overtaken) => {
                halts.extend(overtaken.into_iter().map(|id| (id, How::Halted(Halt::Overtaken))));
            }
            Err(halt) => halts.extend(ids.into_iter().map(|id| (id, How::Halted(halt.clone())))),
        }
    }
    Ok(())
}

/// Fetch: the contents of the texts that are wanted.
async fn read(
    core: &Core,
    workspace: WorkspaceId,
    versions: &[VersionJob],
    halts: &mut Halts,
) -> Result<Vec<Given>, Halt> {
    let ids: Vec<SourceId> = versions.iter().map(|version| version.source).collect();
    let mut conn = core.db.read().await?;
    let sources = storage::sources::get_many(&mut conn, workspace, &ids).await?;
    let mut sources: HashMap<SourceId, Source> =
        sources.into_iter().map(|source| (source.id, source)).collect();
    let homes: HashSet<DatastoreId> = sources.values().map(|source| source.datastore_id).collect();
    let homes: Vec<DatastoreId> = homes.into_iter().collect();
    let homes = storage::datastores::get_many(&mut conn, workspace, &homes).await?;
    let homes: HashMap<DatastoreId, Arc<Datastore>> =
        homes.into_iter().map(|datastore| (datastore.id, Arc::new(datastore))).collect();

    let wanted: Vec<(SourceId, i64)> = versions.iter().map(|v| (v.source, v.version)).collect();
    let contents = storage::sources::contents(&mut conn, workspace, &wanted).await?;
    drop(conn);
    let mut contents: HashMap<SourceId, Vec<u8>> = contents.into_iter().collect();

    let mut given = Vec::with_capacity(versions.len());
    for wanted in versions {
        let found = sources.remove(&wanted.source).filter(|s| is_wanted(s, wanted.version));
        let home = found.as_ref().and_then(|source| homes.get(&source.datastore_id)).cloned();
        let (Some(source), Some(datastore)) = (found, home) else {
            halts.insert(wanted.source, How::Halted(Halt::Overtaken));
            continue;
        };
        if source.live_version > 0 || source.origin != SourceOrigin::Text {
            halts.insert(wanted.source, How::Staged);
            continue;
        }
        let Some(content) = contents.remove(&source.id) else {
            let halt = Halt::failed(
                "TEXT_MISSING",
                "the stored text is gone; delete the source and add it again",
            );
            halts.insert(wanted.source, How::Halted(halt));
            continue;
        };
        given.push(Given { source, datastore, version: wanted.version, content });
    }
    Ok(given)
}

/// Extract and chunk, off the async threads.
async fn prepare(core: &Core, given: Vec<Given>, halts: &mut Halts) -> Result<Vec<Ready>, Halt> {
    let settings = core.settings.clone();
    let cutting = tokio::task::spawn_blocking(move || {
        let each = given.into_iter().map(|text| {
            let id = text.source.id;
            (id, prepare_one(text, &settings))
        });
        each.collect::<Vec<_>>()
    });
    let prepared = cutting
        .await
        .map_err(|_| Halt::retry("INGEST_FAILED", "cutting the text was broken off"))?;
    let mut ready = Vec::with_capacity(prepared.len());
    for (source, result) in prepared {
        match result {
            Ok(item) => ready.push(item),
            Err(halt) => {
                halts.insert(source, How::Halted(halt));
            }
        }
    }
    Ok(ready)
}

fn prepare_one(text: Given, settings: &domain::settings::IngestSettings) -> Result<Ready, Halt> {
    let Given { source, datastore, version, content } = text;
    failpoint::hit("ingest::extract", &source.name)?;
    let input = Input { format: Format::Text, charset: Some("utf-8"), bytes: &content };
    let document = extract::extract(input)?;
    let extracted = Extracted { content_hash: hash(&content), document };
    failpoint::hit("ingest::chunk", &source.name)?;
    let chunks = points::cut(&source, version, &datastore, &extracted.document, settings)?;
    Ok(Ready {
        source,
        version,
        content_hash: extracted.content_hash,
        chunks,
        warning: extracted.document.warning,
        validators: None,
        unstored: true,
        terms: None,
    })
}

/// Embed, index and go live. Gives the sources that are not wanted any more.
async fn index_and_flip(
    core: &Core,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    mut ready: Vec<Ready>,
) -> Result<HashSet<SourceId>, Halt> {
    let mut texts = Vec::new();
    if core.retrieval.embedder().is_some() {
        let chunks = chunks_of(&ready);
        texts.extend(chunks.map(|(item, chunk)| points::text_to_embed(&item.source, chunk)));
    }
    hit_each("ingest::embed", &ready)?;
    let vectors = embed::vectors(core, workspace, &texts).await?;
    hit_each("ingest::index", &ready)?;
    let batch = chunks_of(&ready).map(|(item, chunk)| points::point(&item.source, chunk, &vectors));
    let mut terms = core.retrieval.upsert(batch.collect()).await?.into_iter();
    for item in &mut ready {
        item.terms = Some(terms.by_ref().take(item.chunks.len()).collect());
    }
    hit_each("ingest::live", &ready)?;
    let ready = Arc::new(ready);
    let overtaken = live::go_live(core, workspace, datastore, &ready).await?;
    hit_each("ingest::live::committed", &ready)?;
    Ok(overtaken)
}

fn chunks_of(ready: &[Ready]) -> impl Iterator<Item = (&Ready, &Chunk)> {
    ready.iter().flat_map(|item| item.chunks.iter().map(move |chunk| (item, chunk)))
}

fn hit_each(point: &str, ready: &[Ready]) -> Result<(), Halt> {
    if cfg!(feature = "failpoints") {
        for item in ready {
            failpoint::hit(point, &item.source.name)?;
        }
    }
    Ok(())
}
