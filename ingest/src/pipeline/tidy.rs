//! What happens to versions that do not go live, and to what is left of versions and things that are gone.

use std::sync::Arc;

use async_trait::async_trait;
use domain::WorkspaceId;
use domain::datastore::SourceFailure;
use domain::job::Job;
use jobs::{Handler, JobContext, JobError, Outcome};
use retrieval::IndexTarget;
use storage::Tx;

use super::halt::{Halt, failure_of, job_message};
use super::{Core, PurgeJob, Round, VersionJob, kinds, maintain_soon, payload};

/// How a version's job ends, and what is tidied up when the version did not go live.
pub async fn settle(
    core: &Core,
    workspace: WorkspaceId,
    version: VersionJob,
    result: Result<(), Halt>,
) -> Outcome {
    let Err(halt) = result else { return Ok(()) };
    let tidied = match halt {
        Halt::Retry { failure, after } => {
            return Err(JobError::Retry { message: job_message(&failure), after });
        }
        Halt::Interrupted(JobError::Cancelled) => {
            return match abandon(core, workspace, version).await {
                Ok(()) => Err(JobError::Cancelled),
                Err(halt) => as_retry(halt),
            };
        }
        Halt::Interrupted(error) => return Err(error),
        Halt::Overtaken => abandon(core, workspace, version).await,
        Halt::Unchanged => keep_live(core, workspace, version).await,
        Halt::Failed(failure) => fail(core, workspace, version, &failure).await,
    };
    tidied.or_else(as_retry)
}

fn as_retry(halt: Halt) -> Outcome {
    match halt {
        Halt::Retry { failure, after } => {
            Err(JobError::Retry { message: job_message(&failure), after })
        }
        Halt::Failed(failure) => Err(JobError::retry(job_message(&failure))),
        Halt::Overtaken | Halt::Unchanged => Ok(()),
        Halt::Interrupted(error) => Err(error),
    }
}

/// Removes the points of a version that will never be live. Its rows went with what made it unwanted.
async fn abandon(core: &Core, workspace: WorkspaceId, version: VersionJob) -> Result<(), Halt> {
    let mut conn = core.db.read().await?;
    let source = storage::sources::get_any(&mut conn, workspace, version.source).await?;
    drop(conn);
    if source.is_some_and(|source| source.live_version == version.version) {
        return Ok(());
    }
    remove_points(core, workspace, version).await
}

async fn remove_points(
    core: &Core,
    workspace: WorkspaceId,
    version: VersionJob,
) -> Result<(), Halt> {
    let target = IndexTarget::Version { source: version.source, version: version.version };
    core.retrieval.remove(workspace, target).await?;
    Ok(())
}

/// The content is that of the live version: the source is ready again.
async fn keep_live(core: &Core, workspace: WorkspaceId, version: VersionJob) -> Result<(), Halt> {
    let mut tx = core.db.write().await?;
    let now = core.ambient.now();
    let (source, number) = (version.source, version.version);
    if storage::sources::keep_live(&mut tx, workspace, source, number, now).await? {
        forget_version(&mut tx, workspace, version).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Removes rows of versions that do not answer. The content stays: a text has no other copy.
async fn forget_version(
    tx: &mut Tx,
    workspace: WorkspaceId,
    version: VersionJob,
) -> storage::Result<()> {
    let Some(source) = storage::sources::get_any(tx, workspace, version.source).await? else {
        return Ok(());
    };
    storage::chunks::delete_other_versions(tx, workspace, source.id, source.live_version).await?;
    Ok(())
}

async fn fail(
    core: &Core,
    workspace: WorkspaceId,
    version: VersionJob,
    failure: &SourceFailure,
) -> Result<(), Halt> {
    let mut tx = core.db.write().await?;
    fail_in(core, &mut tx, workspace, version, failure).await?;
    tx.commit().await?;
    Ok(())
}

/// Marks the version as failed and wants the removal of what it left.
pub async fn fail_in(
    core: &Core,
    tx: &mut Tx,
    workspace: WorkspaceId,
    version: VersionJob,
    failure: &SourceFailure,
) -> storage::Result<()> {
    let now = core.ambient.now();
    let (source, number) = (version.source, version.version);
    if storage::sources::fail(tx, workspace, source, number, failure, now).await? {
        forget_version(tx, workspace, version).await?;
    }
    storage::jobs::enqueue(tx, &core.ambient, workspace, &version.cleanup(now)).await?;
    Ok(())
}

/// The same for a version whose job is dead.
pub async fn fail_dead(core: &Core, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
    // A payload that cannot be read names no source.
    let Ok(version) = payload::<VersionJob>(job) else { return Ok(()) };
    fail_in(core, tx, job.workspace_id, version, &failure_of(error)).await
}

/// `ingest.cleanup`.
pub struct Cleanup(pub Arc<Core>);

#[async_trait]
impl Handler for Cleanup {
    fn kind(&self) -> &'static str {
        kinds::CLEANUP
    }

    async fn run(&self, _context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.clean(job).await);
        }
        outcomes
    }
}

impl Cleanup {
    async fn clean(&self, job: &Job) -> Outcome {
        let version: VersionJob = payload(job)?;
        abandon(&self.0, job.workspace_id, version).await.or_else(as_retry)
    }
}

/// `ingest.purge`.
pub struct Purge(pub Arc<Core>);

#[async_trait]
impl Handler for Purge {
    fn kind(&self) -> &'static str {
        kinds::PURGE
    }

    async fn run(&self, _context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.purge(job).await);
        }
        outcomes
    }
}

impl Purge {
    async fn purge(&self, job: &Job) -> Outcome {
        let purge: PurgeJob = payload(job)?;
        self.remove(job.workspace_id, &purge).await.or_else(as_retry)
    }

    async fn remove(&self, workspace: WorkspaceId, purge: &PurgeJob) -> Result<(), Halt> {
        let core = &self.0;
        if let Some(source) = purge.source {
            core.retrieval.remove(workspace, IndexTarget::Source(source)).await?;
        }
        if let Some(datastore) = purge.datastore {
            core.retrieval.remove(workspace, IndexTarget::Datastore(datastore)).await?;
        }
        for blob in &purge.blobs {
            core.blobs.delete(workspace, *blob).await?;
        }
        Ok(())
    }
}

/// `ingest.maintain`.
pub struct Maintain(pub Arc<Core>);

impl Maintain {
    async fn maintain(&self, jobs: &[Job]) -> Result<(), domain::DomainError> {
        let left = self.0.retrieval.maintain().await?;
        let Some(job) = jobs.first().filter(|_| left) else { return Ok(()) };
        let round = payload::<Round>(job).unwrap_or(Round::First);
        let mut tx = self.0.db.write().await?;
        maintain_soon(&mut tx, &self.0.ambient, job.workspace_id, round.other()).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Maintain {
    fn kind(&self) -> &'static str {
        kinds::MAINTAIN
    }

    /// One at a time, and one call serves all workspaces that asked.
    fn concurrency(&self) -> usize {
        1
    }

    fn batch(&self) -> usize {
        64
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let outcome = context.cancel.run_until_cancelled(self.maintain(jobs)).await;
        let outcome = outcome.unwrap_or(Ok(()));
        let outcome = outcome.map_err(|error| JobError::retry(error.to_string()));
        jobs.iter().map(|_| outcome.clone()).collect()
    }
}
