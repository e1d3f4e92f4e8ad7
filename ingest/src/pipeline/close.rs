//! `ingest.close`: a workspace is removed. It is absent for everybody already, and its jobs are stopped; vectors and files go
//! first, then the row, and with it all others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::WorkspaceId;
use domain::job::{Job, NewJob};
use jobs::{Handler, JobContext, JobError, Outcome};
use retrieval::IndexTarget;
use storage::{Tx, retention};

use super::halt::{Halt, job_message};
use super::{Core, kinds, sweep};

/// Between two looks whether the workspace's other jobs have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Enough for a day of a server that does not answer: nothing else would remove the rest.
const MAX_ATTEMPTS: i64 = 10_000;
/// Datastores read at once.
const PAGE: i64 = 500;

/// Wants the removal of what is left of a workspace that was closed, in the transaction that closes it.
pub async fn want_closing(core: &Core, tx: &mut Tx, workspace: WorkspaceId) -> storage::Result<()> {
    let now = core.ambient.now();
    let job = NewJob {
        dedupe_key: Some("close".to_owned()),
        max_attempts: MAX_ATTEMPTS,
        ..NewJob::now(kinds::CLOSE, serde_json::json!({}), now)
    };
    storage::jobs::enqueue(tx, &core.ambient, workspace, &job).await?;
    Ok(())
}

/// Wants it for every workspace that is being removed: for the start of a process.
pub async fn want_closings(core: &Core) -> storage::Result<()> {
    let closing = storage::workspaces::closing(&mut core.db.read().await?).await?;
    for workspace in closing {
        let mut tx = core.db.write().await?;
        want_closing(core, &mut tx, workspace).await?;
        tx.commit().await?;
    }
    Ok(())
}

pub struct Close(pub Arc<Core>);

#[async_trait]
impl Handler for Close {
    fn kind(&self) -> &'static str {
        kinds::CLOSE
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let closing = Box::pin(self.close(job));
            let closed = context.cancel_of(job.id).run_until_cancelled_owned(closing).await;
            let interrupted = || Err(context.interruption(job.id).unwrap_or(JobError::Released));
            outcomes.push(closed.unwrap_or_else(interrupted));
        }
        outcomes
    }
}

impl Close {
    async fn close(&self, job: &Job) -> Outcome {
        match self.remove(job).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = "other jobs of the workspace are still at work".to_owned();
                Err(JobError::Retry { message, after: Some(LOOK_AGAIN) })
            }
            Err(Halt::Retry { failure, after }) => {
                Err(JobError::Retry { message: job_message(&failure), after })
            }
            Err(other) => Err(JobError::retry(format!("{other:?}"))),
        }
    }

    /// `false` while other jobs are at work, which could add what is removed here.
    async fn remove(&self, job: &Job) -> Result<bool, Halt> {
        let (core, workspace) = (&self.0, job.workspace_id);
        if !self.is_quiet(&mut core.db.write().await?, job).await? {
            return Ok(false);
        }
        for datastore in self.datastores(workspace).await? {
            core.retrieval.remove(workspace, IndexTarget::Datastore(datastore)).await?;
        }
        core.retrieval.remove(workspace, IndexTarget::Workspace).await?;
        core.blobs.delete_workspace(workspace).await?;
        let mut tx = core.db.write().await?;
        // What was wanted meanwhile by a process that had not heard of it.
        if !self.is_quiet(&mut tx, job).await? {
            tx.commit().await?;
            return Ok(false);
        }
        storage::workspaces::delete(&mut tx, workspace).await?;
        tx.commit().await?;
        tracing::info!(%workspace, "a workspace was removed");
        // What is done once for all workspaces are jobs of the oldest one, which may have been this.
        sweep::schedule(core).await?;
        self.schedule_retention().await?;
        Ok(true)
    }

    async fn schedule_retention(&self) -> storage::Result<()> {
        let Core { db, ambient, .. } = &*self.0;
        let Some(oldest) = storage::workspaces::first(&mut db.read().await?).await? else {
            return Ok(());
        };
        let mut tx = db.write().await?;
        retention::want(&mut tx, ambient, oldest.id, ambient.now()).await?;
        tx.commit().await
    }

    async fn is_quiet(&self, tx: &mut Tx, job: &Job) -> Result<bool, Halt> {
        let now = self.0.ambient.now();
        Ok(storage::jobs::cancel_all(tx, job.workspace_id, Some(job.id), now).await? == 0)
    }

    async fn datastores(&self, workspace: WorkspaceId) -> Result<Vec<domain::DatastoreId>, Halt> {
        let mut conn = self.0.db.read().await?;
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = storage::datastores::list(&mut conn, workspace, before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            before = Some(last.id);
            all.extend(page.iter().map(|datastore| datastore.id));
        }
    }
}
