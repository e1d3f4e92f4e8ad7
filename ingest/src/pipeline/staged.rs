//! `ingest.source`: one version of a source, stage by stage.

use std::sync::Arc;

use async_trait::async_trait;
use domain::datastore::{Chunk, IngestStage};
use domain::job::Job;
use jobs::{Handler, JobContext, Outcome};
use storage::Tx;
use storage::sources::Validators;

use super::content::{self, Extracted};
use super::halt::Halt;
use super::live::{self, Ready};
use super::work::{Work, percent};
use super::{Core, VersionJob, embed, kinds, payload, points, tidy};

/// Chunk rows in one transaction.
const ROWS: usize = 200;
/// Points in one call of the index.
const POINTS: usize = 256;

pub struct Staged(pub Arc<Core>);

#[async_trait]
impl Handler for Staged {
    fn kind(&self) -> &'static str {
        kinds::SOURCE
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(run_one(&self.0, context, job).await);
        }
        outcomes
    }

    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        tidy::fail_dead(&self.0, tx, job, error).await
    }
}

/// Ingests the version that the job is about.
pub async fn run_one(core: &Core, context: &JobContext, job: &Job) -> Outcome {
    let wanted: VersionJob = payload(job)?;
    let result = ingest(core, context, job, wanted).await;
    tidy::settle(core, job.workspace_id, wanted, result).await
}

async fn ingest(
    core: &Core,
    context: &JobContext,
    job: &Job,
    wanted: VersionJob,
) -> Result<(), Halt> {
    let mut work = Work::begin(core, context, job, wanted).await?;
    let (extracted, validators) = text_of(&mut work).await?;
    let chunks = cut(&mut work, &extracted).await?;
    embed(&mut work, &chunks).await?;
    index(&mut work, &chunks).await?;
    flip(&work, extracted, chunks, validators).await
}

/// The stored text of an earlier attempt, or fetch and extract.
async fn text_of(work: &mut Work<'_>) -> Result<(Extracted, Option<Validators>), Halt> {
    if let Some(extracted) = Extracted::stored(work).await? {
        return Ok((extracted, None));
    }
    let content = content::fetch(work).await?;
    let extracted = content::extract(work, &content).await?;
    Ok((extracted, content.validators))
}

/// Cuts and stores the rows; those that an earlier attempt stored stay.
async fn cut(work: &mut Work<'_>, extracted: &Extracted) -> Result<Vec<Chunk>, Halt> {
    work.check()?;
    let (source, datastore) = (work.source.clone(), work.datastore.clone());
    let (version, settings) = (work.version, work.core.settings.clone());
    let document = extracted.document.clone();
    let cutting = tokio::task::spawn_blocking(move || {
        points::cut(&source, version, &datastore, &document, &settings)
    });
    let chunks = work
        .interruptible(cutting)
        .await?
        .map_err(|_| Halt::retry("INGEST_FAILED", "cutting the text was broken off"))??;
    work.failpoint("ingest::chunk")?;
    let groups = chunks.len().div_ceil(ROWS);
    for (index, rows) in chunks.chunks(ROWS).enumerate() {
        work.check()?;
        let mut tx = work.core.db.write().await?;
        let done = percent(30, 40, index + 1, groups);
        work.advance(&mut tx, IngestStage::Chunk, done).await?;
        storage::chunks::insert_many(&mut tx, rows).await?;
        tx.commit().await?;
    }
    work.failpoint("ingest::chunk::committed")?;
    Ok(chunks)
}

/// Fills the store of vectors.
async fn embed(work: &mut Work<'_>, chunks: &[Chunk]) -> Result<(), Halt> {
    if work.core.retrieval.embedder().is_none() {
        return Ok(());
    }
    work.failpoint("ingest::embed")?;
    for (index, group) in chunks.chunks(embed::GROUP).enumerate() {
        let done = percent(40, 70, index * embed::GROUP, chunks.len());
        work.report(IngestStage::Embed, done).await?;
        let texts: Vec<String> =
            group.iter().map(|chunk| points::text_to_embed(&work.source, chunk)).collect();
        let embedding = embed::vectors(work.core, work.workspace(), &texts);
        work.interruptible(embedding).await??;
    }
    work.failpoint("ingest::embed::committed")
}

/// Puts the passages into the index, beside those of the version that answers now.
async fn index(work: &mut Work<'_>, chunks: &[Chunk]) -> Result<(), Halt> {
    let from = if work.core.retrieval.embedder().is_some() { 70 } else { 40 };
    let mut tx = work.core.db.write().await?;
    work.advance(&mut tx, IngestStage::Index, from).await?;
    tx.commit().await?;
    work.failpoint("ingest::index")?;
    for (index, group) in chunks.chunks(POINTS).enumerate() {
        let done = percent(from, 99, index * POINTS, chunks.len());
        work.report(IngestStage::Index, done).await?;
        let texts: Vec<String> =
            group.iter().map(|chunk| points::text_to_embed(&work.source, chunk)).collect();
        let vectors = embed::vectors(work.core, work.workspace(), &texts).await?;
        let batch = group.iter().map(|chunk| points::point(&work.source, chunk, &vectors));
        // Not broken off half-way: what is written is then known, and can be removed.
        work.core.retrieval.upsert(batch.collect()).await?;
    }
    work.failpoint("ingest::index::committed")
}

async fn flip(
    work: &Work<'_>,
    extracted: Extracted,
    chunks: Vec<Chunk>,
    validators: Option<Validators>,
) -> Result<(), Halt> {
    work.check()?;
    work.failpoint("ingest::live")?;
    let ready = Arc::new(vec![Ready {
        source: work.source.clone(),
        version: work.version,
        content_hash: extracted.content_hash,
        chunks,
        warning: extracted.document.warning,
        validators,
        unstored: false,
        terms: None,
    }]);
    let datastore = work.datastore.id;
    let overtaken = live::go_live(work.core, work.workspace(), datastore, &ready).await?;
    work.failpoint("ingest::live::committed")?;
    if overtaken.is_empty() { Ok(()) } else { Err(Halt::Overtaken) }
}
