//! `ingest.sweep`: what fell through the cracks. At every start, sources without a job; once a day also files
//! that nothing names, and the index against the rows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::job::{Job, NewJob};
use domain::{Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use serde::{Deserialize, Serialize};

use super::halt::{Halt, job_message};
use super::{Core, LATER, VersionJob, ingest_kind, json, kinds, payload};

const EVERY: Duration = Duration::from_hours(24);
/// A source without progress for this long is looked at: whether it has a job.
const STUCK_AFTER: Duration = Duration::from_mins(10);
/// A file that neither a source nor an attachment names after this long was left by an upload that broke off, or by a removal that
/// never came through. Long, so that an older backup can be tried out beside the files.
const ORPHANED_AFTER: Duration = Duration::from_hours(24);
/// Files looked up at once.
const FILES: usize = 500;
/// Rows in one transaction, so that nobody waits long for it.
const ROWS: i64 = 1_000;

pub struct Sweep(pub Arc<Core>);

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Extent {
    /// Sources alone, which costs next to nothing.
    Start,
    /// Everything.
    Day,
}

#[derive(Debug, Serialize, Deserialize)]
struct SweepJob {
    extent: Extent,
}

/// Wants a sweep now, and with it one every day: each wants the next. Called at start.
pub async fn schedule(core: &Core) -> storage::Result<()> {
    let mut conn = core.db.read().await?;
    // Jobs belong to a workspace; the sweep of all of them to the oldest one.
    let Some(oldest) = storage::workspaces::first(&mut conn).await? else { return Ok(()) };
    drop(conn);
    want(core, oldest.id, "start", Extent::Start, core.ambient.now()).await
}

async fn want(
    core: &Core,
    workspace: WorkspaceId,
    key: &str,
    extent: Extent,
    run_at: Timestamp,
) -> storage::Result<()> {
    let job = NewJob {
        dedupe_key: Some(key.to_owned()),
        priority: LATER,
        ..NewJob::now(kinds::SWEEP, json(&SweepJob { extent }), run_at)
    };
    let mut tx = core.db.write().await?;
    storage::jobs::enqueue(&mut tx, &core.ambient, workspace, &job).await?;
    tx.commit().await
}

#[async_trait]
impl Handler for Sweep {
    fn kind(&self) -> &'static str {
        kinds::SWEEP
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.sweep(context, job).await);
        }
        outcomes
    }
}

impl Sweep {
    async fn sweep(&self, context: &JobContext, job: &Job) -> Outcome {
        let core = &self.0;
        let next = core.ambient.now().plus(EVERY);
        // The day names the sweep, so that several processes and restarts want it once.
        let day = next.micros().div_euclid(i64::try_from(EVERY.as_micros()).unwrap_or(i64::MAX));
        // One that an older version wanted says nothing.
        let extent = payload::<SweepJob>(job).map_or(Extent::Day, |wanted| wanted.extent);
        let result = async {
            want(core, job.workspace_id, &format!("day-{day}"), Extent::Day, next).await?;
            self.find_stuck_sources(context, job).await?;
            if extent == Extent::Day {
                self.delete_orphaned_files(context, job).await?;
                core.retrieval.sweep().await?;
            }
            Ok(())
        };
        match result.await {
            Ok(()) => Ok(()),
            Err(Halt::Interrupted(error)) => Err(error),
            Err(Halt::Retry { failure, after }) => {
                Err(JobError::Retry { message: job_message(&failure), after })
            }
            Err(other) => Err(JobError::retry(format!("{other:?}"))),
        }
    }

    /// Sources that wait or run without a job get one; where there is one, its key keeps a second one out.
    async fn find_stuck_sources(&self, context: &JobContext, job: &Job) -> Result<(), Halt> {
        let core = &self.0;
        let before = core.ambient.now().minus(STUCK_AFTER);
        let mut conn = core.db.read().await?;
        let workspaces = storage::workspaces::list(&mut conn).await?;
        drop(conn);
        for workspace in workspaces {
            let mut after = None;
            loop {
                stop_when_told(context, job)?;
                let mut conn = core.db.read().await?;
                let page =
                    storage::sources::unfinished(&mut conn, workspace.id, before, after, ROWS)
                        .await?;
                drop(conn);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                let mut tx = core.db.write().await?;
                for source in &page {
                    let version = VersionJob { source: source.id, version: source.version };
                    let kind = ingest_kind(&source.origin, source.bytes);
                    let wanted = version.ingest(kind, core.ambient.now());
                    let added =
                        storage::jobs::enqueue(&mut tx, &core.ambient, workspace.id, &wanted)
                            .await?;
                    if added.is_some() {
                        tracing::warn!(source = %source.id, "a source had no job; it has one now");
                    }
                }
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Removes stored files that neither a source nor an attachment names. Those of workspaces that are not in this database are left
    /// alone: a bucket may be shared.
    async fn delete_orphaned_files(&self, context: &JobContext, job: &Job) -> Result<(), Halt> {
        let core = &self.0;
        let before = core.ambient.now().minus(ORPHANED_AFTER);
        let mut conn = core.db.read().await?;
        let workspaces = storage::workspaces::list(&mut conn).await?;
        drop(conn);
        let mut removed = core.blobs.delete_partial(before).await?;
        for workspace in workspaces {
            let old = core.blobs.older_than(workspace.id, before).await?;
            for some in old.chunks(FILES) {
                stop_when_told(context, job)?;
                let mut conn = core.db.read().await?;
                let mut used =
                    storage::sources::blobs_in_use(&mut conn, workspace.id, some).await?;
                used.extend(
                    storage::attachments::blobs_in_use(&mut conn, workspace.id, some).await?,
                );
                drop(conn);
                for blob in some.iter().filter(|blob| !used.contains(blob)) {
                    core.blobs.delete(workspace.id, *blob).await?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            tracing::warn!(files = removed, "files that nothing names were removed");
        }
        Ok(())
    }
}

fn stop_when_told(context: &JobContext, job: &Job) -> Result<(), Halt> {
    context.interruption(job.id).map_or(Ok(()), |why| Err(Halt::Interrupted(why)))
}
