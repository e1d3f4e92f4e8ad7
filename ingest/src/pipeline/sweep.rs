//! `ingest.sweep`: once a day and at every start, what fell through the cracks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::job::{Job, NewJob};
use domain::{Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};

use super::halt::{Halt, job_message};
use super::{Core, LATER, VersionJob, ingest_kind, kinds};

const EVERY: Duration = Duration::from_hours(24);
/// A source without progress for this long is looked at: whether it has a job.
const STUCK_AFTER: Duration = Duration::from_mins(10);
/// Ended jobs are kept this long.
const KEEP_JOBS: Duration = Duration::from_hours(24);
/// Events are kept this long: readers that were away longer start anew.
const KEEP_EVENTS: Duration = Duration::from_hours(24 * 30);
/// Rows in one transaction, so that nobody waits long for it.
const ROWS: i64 = 1_000;

pub struct Sweep(pub Arc<Core>);

/// Wants a sweep now, and with it one every day: each wants the next. Called at start.
pub async fn schedule(core: &Core) -> storage::Result<()> {
    let mut conn = core.db.read().await?;
    // Jobs belong to a workspace; the sweep of all of them to the oldest one.
    let Some(oldest) = storage::workspaces::first(&mut conn).await? else { return Ok(()) };
    drop(conn);
    want(core, oldest.id, "start", core.ambient.now()).await
}

async fn want(
    core: &Core,
    workspace: WorkspaceId,
    key: &str,
    run_at: Timestamp,
) -> storage::Result<()> {
    let job = NewJob {
        dedupe_key: Some(key.to_owned()),
        priority: LATER,
        ..NewJob::now(kinds::SWEEP, serde_json::Value::Null, run_at)
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
        let result = async {
            want(core, job.workspace_id, &format!("day-{day}"), next).await?;
            self.find_stuck_sources(context, job).await?;
            self.delete_old_rows(context, job).await?;
            core.retrieval.sweep().await?;
            core.retrieval.maintain().await?;
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

    async fn delete_old_rows(&self, context: &JobContext, job: &Job) -> Result<(), Halt> {
        let core = &self.0;
        loop {
            stop_when_told(context, job)?;
            let now = core.ambient.now();
            let mut tx = core.db.write().await?;
            let jobs = storage::jobs::delete_older(&mut tx, now.minus(KEEP_JOBS), ROWS).await?;
            let events =
                storage::events::delete_older(&mut tx, now.minus(KEEP_EVENTS), ROWS).await?;
            tx.commit().await?;
            if jobs < ROWS && events < ROWS {
                return Ok(());
            }
        }
    }
}

fn stop_when_told(context: &JobContext, job: &Job) -> Result<(), Halt> {
    context.interruption(job.id).map_or(Ok(()), |why| Err(Halt::Interrupted(why)))
}
