//! One version of a source at work: whether it still is wanted, and how far it is.

use std::future::Future;
use std::time::{Duration, Instant};

use domain::datastore::{Datastore, IngestStage, Source, SourceStatus};
use domain::job::Job;
use domain::{JobId, WorkspaceId};
use jobs::JobContext;
use storage::Tx;
use tokio_util::sync::CancellationToken;

use super::halt::Halt;
use super::{Core, VersionJob, failpoint};

/// Progress is written at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// One version of a source at work.
pub struct Work<'a> {
    pub core: &'a Core,
    pub source: Source,
    pub datastore: Datastore,
    pub version: i64,
    job: JobId,
    context: &'a JobContext,
    cancel: CancellationToken,
    last_progress: Option<(IngestStage, Instant)>,
}

impl<'a> Work<'a> {
    /// Reads the source and its datastore. `Overtaken` when the version is not wanted any more or is live already.
    pub async fn begin(
        core: &'a Core,
        context: &'a JobContext,
        job: &Job,
        wanted: VersionJob,
    ) -> Result<Self, Halt> {
        let mut conn = core.db.read().await?;
        let source = storage::sources::get_any(&mut conn, job.workspace_id, wanted.source).await?;
        let source = source.ok_or(Halt::Overtaken)?;
        if !is_wanted(&source, wanted.version) {
            return Err(Halt::Overtaken);
        }
        let datastore =
            storage::datastores::get(&mut conn, job.workspace_id, source.datastore_id).await?;
        Ok(Self {
            core,
            source,
            datastore: datastore.ok_or(Halt::Overtaken)?,
            version: wanted.version,
            job: job.id,
            context,
            cancel: context.cancel_of(job.id),
            last_progress: None,
        })
    }

    pub fn workspace(&self) -> WorkspaceId {
        self.source.workspace_id
    }

    /// Breaks off a wait when the job is told to stop.
    pub async fn interruptible<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(self.interruption()),
            value = waiting => Ok(value),
        }
    }

    /// Between two steps: goes on unless the job is told to stop.
    pub fn check(&self) -> Result<(), Halt> {
        if self.cancel.is_cancelled() { Err(self.interruption()) } else { Ok(()) }
    }

    fn interruption(&self) -> Halt {
        let why = self.context.interruption(self.job);
        Halt::Interrupted(why.unwrap_or(jobs::JobError::Released))
    }

    /// Notes, in a stage's own transaction, which stage comes next; fences out a version that is not wanted.
    pub async fn advance(
        &mut self,
        tx: &mut Tx,
        stage: IngestStage,
        percent: i64,
    ) -> Result<(), Halt> {
        let now = self.core.ambient.now();
        let (workspace, source) = (self.workspace(), self.source.id);
        let wanted =
            storage::sources::progress(tx, workspace, source, self.version, stage, percent, now)
                .await?;
        if !wanted {
            return Err(Halt::Overtaken);
        }
        self.last_progress = Some((stage, Instant::now()));
        Ok(())
    }

    /// Notes a new stage at once, and progress within it not more often than people look.
    pub async fn report(&mut self, stage: IngestStage, percent: i64) -> Result<(), Halt> {
        self.check()?;
        if self
            .last_progress
            .is_some_and(|(at, when)| at == stage && when.elapsed() < PROGRESS_EVERY)
        {
            return Ok(());
        }
        let mut tx = self.core.db.write().await?;
        self.advance(&mut tx, stage, percent).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Where tests break the pipeline.
    pub fn failpoint(&self, point: &str) -> Result<(), Halt> {
        failpoint::hit(point, &self.source.name)
    }
}

/// Whether a version waits to be ingested or is at work.
pub fn is_wanted(source: &Source, version: i64) -> bool {
    let under_way = match source.status {
        SourceStatus::Pending | SourceStatus::Running | SourceStatus::Failed => true,
        SourceStatus::Ready | SourceStatus::Cancelled => false,
    };
    under_way && source.version == version && source.live_version < version
}

/// `from` to `to` percent, at `done` of `all`.
pub fn percent(from: i64, to: i64, done: usize, all: usize) -> i64 {
    let (done, all) = (to_i64(done), to_i64(all).max(1));
    from + (to - from) * done / all
}

pub fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
