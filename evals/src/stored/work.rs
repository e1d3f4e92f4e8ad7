//! Runs as jobs: a worker asks case by case; another one goes on from the rows when it is lost.

use std::sync::Arc;

use async_trait::async_trait;
use domain::budget::Purpose;
use domain::eval::EvalTarget;
use domain::job::Job;
use domain::{Ambient, DomainError, ErrorKind, EvalRunId, Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use serde::Deserialize;
use storage::evals::{self, EvalProgress, EvalRun};
use storage::{Db, Tx};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::runs::{StoredOptions, read_rows};
use super::{Evals, Inner};
use crate::dataset::Dataset;
use crate::error::EvalError;
use crate::judge::{JudgeOptions, Verdicts, judge};
use crate::observation::Row;
use crate::report::Report;
use crate::run::{Course, Ended, Keeper, Progress, run_on};
use crate::target::{AgentTarget, SearchTarget, Target, TargetInfo};

/// The kind of the jobs.
pub(super) const KIND: &str = "evals.run";
/// Runs at work at once in one process; each asks several cases at once.
const CONCURRENCY: usize = 2;

#[derive(Deserialize)]
struct Payload {
    run: EvalRunId,
}

struct Runs(Evals);

impl Evals {
    /// Who does the jobs of this room.
    pub fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        vec![Arc::new(Runs(self.clone())), self.publisher()]
    }
}

#[async_trait]
impl Handler for Runs {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let cancel = context.cancel_of(job.id);
            let done = work(&self.0, job, &cancel).await;
            outcomes.push(match context.interruption(job.id) {
                Some(interruption) => Err(interruption),
                None => done,
            });
        }
        outcomes
    }

    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        let Ok(Payload { run }) = serde_json::from_value(job.payload.clone()) else {
            return Ok(());
        };
        let now = self.0.inner.ambient.now();
        evals::fail_run(tx, job.workspace_id, run, error, now).await.map(drop)
    }
}

/// Why a run goes no further.
enum Stop {
    /// Somebody else has it, or nobody wants it any more.
    Over,
    /// It can never be made.
    Never(String),
    /// Another time perhaps.
    Later(String),
}

impl From<storage::StorageError> for Stop {
    fn from(error: storage::StorageError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<DomainError> for Stop {
    fn from(error: DomainError) -> Self {
        match error.kind {
            ErrorKind::NotFound => Self::Over,
            ErrorKind::Invalid | ErrorKind::Conflict => Self::Never(error.message),
            _ => Self::Later(error.message),
        }
    }
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Superseded => Self::Over,
            other => Self::Later(other.to_string()),
        }
    }
}

async fn work(evals: &Evals, job: &Job, cancel: &CancellationToken) -> Outcome {
    let payload: Payload = serde_json::from_value(job.payload.clone())
        .map_err(|error| JobError::Permanent(format!("the payload does not read: {error}")))?;
    let stop = match Work::begin(evals, job, payload.run, cancel).await {
        Ok(work) => work.finish().await.err(),
        Err(stop) => Some(stop),
    };
    match stop {
        None | Some(Stop::Over) => Ok(()),
        Some(Stop::Never(why)) => Err(JobError::Permanent(why)),
        Some(Stop::Later(why)) => Err(JobError::retry(why)),
    }
}

/// A run that this worker has.
struct Work<'a> {
    inner: &'a Inner,
    run: EvalRun,
    seat: Seat,
    dataset: Dataset,
    options: StoredOptions,
    target: Box<dyn Target>,
    cancel: &'a CancellationToken,
}

impl<'a> Work<'a> {
    async fn begin(
        evals: &'a Evals,
        job: &Job,
        id: EvalRunId,
        cancel: &'a CancellationToken,
    ) -> Result<Self, Stop> {
        let inner = &*evals.inner;
        let workspace = job.workspace_id;
        let mut conn = inner.db.read().await?;
        let run = evals::run(&mut conn, workspace, id).await?;
        drop(conn);
        let run = run.filter(|run| !run.status.is_over()).ok_or(Stop::Over)?;
        let options = serde_json::from_value(run.options.clone());
        let options: StoredOptions = options.map_err(|error| Stop::Never(error.to_string()))?;
        let (_, dataset) = evals.dataset(workspace, run.dataset_id, Some(&run.version)).await?;
        let target = target(inner, workspace, &run, &options).await?;
        let info = target.info();
        check_same(&run, &info)?;
        let info = serde_json::to_value(info).map_err(|error| Stop::Never(error.to_string()))?;
        let mut tx = inner.db.write().await?;
        let now = inner.ambient.now();
        if !evals::begin_run(&mut tx, workspace, id, job.attempt, &info, now).await? {
            return Err(Stop::Over);
        }
        tx.commit().await?;
        let seat = Seat { db: inner.db.clone(), workspace, run: id, attempt: job.attempt };
        Ok(Self { inner, run, seat, dataset, options, target, cancel })
    }

    async fn finish(mut self) -> Result<(), Stop> {
        let mut conn = self.inner.db.read().await?;
        let rows = evals::rows(&mut conn, self.seat.workspace, self.seat.run).await?;
        drop(conn);
        let known = read_rows(&rows)?;
        let course =
            Course { known, keeper: &mut self.seat, progress: &|_| (), cancel: self.cancel };
        let options = self.options.run_options();
        let outcome = run_on(&self.dataset, &*self.target, &options, course).await?;
        if self.cancel.is_cancelled() {
            return Err(Stop::Over);
        }
        let (dataset, made_at) = (self.dataset.clone(), self.inner.ambient.now().to_rfc3339());
        let made = move || Report::of(&dataset, &outcome, made_at);
        let made = tokio::task::spawn_blocking(made).await;
        let mut report = made.map_err(|error| Stop::Later(error.to_string()))?;
        let mut progress = asked(&report);
        if let Some(name) = self.options.judge.clone().filter(|_| report.ended == Ended::Complete) {
            progress = self.judge(&name, &mut report, progress).await?;
        }
        if self.cancel.is_cancelled() {
            return Err(Stop::Over);
        }
        let text = serde_json::to_vec(&report).map_err(|error| Stop::Later(error.to_string()))?;
        self.seat.end(&text, progress, self.inner.ambient.now()).await
    }

    /// Has the answers judged, with what is left of the limit.
    async fn judge(
        &self,
        name: &str,
        report: &mut Report,
        asked: EvalProgress,
    ) -> Result<EvalProgress, Stop> {
        let (agents, workspace) = (&self.inner.agents, self.seat.workspace);
        let payer = self.run.api_key_id;
        let model = agents.paid_model(workspace, Some(name), Purpose::Eval, payer).await?;
        let model = model.ok_or_else(|| {
            Stop::Never(format!("the judge {name} is not there any more; name another model"))
        })?;
        let verdicts =
            StoredVerdicts { seat: self.seat.clone(), ambient: self.inner.ambient.clone() };
        let options = JudgeOptions {
            model: Arc::new(model),
            name: name.to_owned(),
            catalogue: self.inner.catalogue.clone(),
            max_cost: self.options.max_cost.map(|most| (most - report.cost).max(0)),
            verdicts: Arc::new(verdicts),
            concurrency: usize::try_from(self.options.concurrency).unwrap_or(1),
        };
        let (tell, told) = watch::channel(asked);
        let progress = |progress: Progress| {
            let to_judge = i64::try_from(progress.all).unwrap_or(i64::MAX);
            let judged = i64::try_from(progress.done).unwrap_or(i64::MAX);
            let cost = asked.cost.saturating_add(progress.cost);
            tell.send_replace(EvalProgress { to_judge, judged, cost, ..asked });
        };
        let judging = judge(report, &options, &progress, self.cancel);
        let judging = tokio::select! {
            judging = judging => judging?,
            lost = note(&self.seat, told) => return Err(lost),
        };
        if judging.left > 0 {
            report.ended = Ended::MaxCost;
        }
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(EvalProgress {
            to_judge: count(judging.cases),
            judged: count(judging.cases - judging.left),
            cost: report.cost,
            ..asked
        })
    }
}

/// Notes how far a judge is, until the run is lost.
async fn note(seat: &Seat, mut told: watch::Receiver<EvalProgress>) -> Stop {
    while told.changed().await.is_ok() {
        let progress = *told.borrow_and_update();
        if let Err(stop) = seat.note(progress).await {
            return stop;
        }
    }
    std::future::pending().await
}

fn asked(report: &Report) -> EvalProgress {
    EvalProgress {
        done: i64::try_from(report.cases.len()).unwrap_or(i64::MAX),
        errors: i64::try_from(report.errors).unwrap_or(i64::MAX),
        to_judge: 0,
        judged: 0,
        cost: report.cost,
    }
}

async fn target(
    inner: &Inner,
    workspace: WorkspaceId,
    run: &EvalRun,
    options: &StoredOptions,
) -> Result<Box<dyn Target>, Stop> {
    let depth = usize::try_from(options.depth).unwrap_or(1);
    let gone = || Stop::Never(format!("the {} was deleted", run.target.name()));
    let mut conn = inner.db.read().await?;
    match run.target {
        EvalTarget::Agent => {
            let id = run.target_id.parse().map_err(|_| gone())?;
            let agent = storage::agents::get(&mut conn, workspace, id).await?.ok_or_else(gone)?;
            drop(conn);
            let target = AgentTarget::installed(&inner.ground, agent, depth).await?;
            Ok(Box::new(target.forgetting().paid_by(run.api_key_id)))
        }
        EvalTarget::Datastore => {
            let id = run.target_id.parse().map_err(|_| gone())?;
            let found = storage::datastores::get(&mut conn, workspace, id).await?;
            let name = found.ok_or_else(gone)?.name;
            drop(conn);
            let target = SearchTarget::new(inner.retrieval.clone(), workspace, vec![id], depth);
            Ok(Box::new(target.named(name).paid_by(inner.agents.clone(), run.api_key_id)))
        }
    }
}

/// Rows of other settings would be put together with these.
fn check_same(run: &EvalRun, info: &TargetInfo) -> Result<(), Stop> {
    let Some(known) = &run.info else { return Ok(()) };
    let known: TargetInfo =
        serde_json::from_value(known.clone()).map_err(|error| Stop::Never(error.to_string()))?;
    if known.hash() == info.hash() {
        return Ok(());
    }
    let kind = run.target.name();
    Err(Stop::Never(format!("the {kind} was changed while its run was interrupted; run it again")))
}

/// The right to write into a run.
#[derive(Debug, Clone)]
struct Seat {
    db: Db,
    workspace: WorkspaceId,
    run: EvalRunId,
    attempt: i64,
}

impl Seat {
    async fn note(&self, progress: EvalProgress) -> Result<(), Stop> {
        let mut tx = self.db.write().await?;
        let seat = (self.run, self.attempt);
        if !evals::note_judging(&mut tx, self.workspace, seat, progress).await? {
            return Err(Stop::Over);
        }
        Ok(tx.commit().await?)
    }

    async fn end(&self, report: &[u8], progress: EvalProgress, now: Timestamp) -> Result<(), Stop> {
        let mut tx = self.db.write().await?;
        let seat = (self.run, self.attempt);
        if !evals::end_run(&mut tx, self.workspace, seat, report, progress, now).await? {
            return Err(Stop::Over);
        }
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl Keeper for Seat {
    async fn keep(&mut self, row: &Row, progress: Progress) -> Result<(), EvalError> {
        let text = serde_json::to_vec(row)
            .map_err(|error| EvalError::input("row".as_ref(), error.to_string(), ""))?;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let progress = EvalProgress {
            done: count(progress.done),
            errors: count(progress.errors),
            to_judge: 0,
            judged: 0,
            cost: progress.cost,
        };
        let mut tx = self.db.write().await?;
        let seat = (self.run, self.attempt);
        let row = (row.id.as_str(), &*text);
        if !evals::add_row(&mut tx, self.workspace, seat, row, progress).await? {
            return Err(EvalError::Superseded);
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Verdicts of the workspace's judges.
#[derive(Debug)]
struct StoredVerdicts {
    seat: Seat,
    ambient: Ambient,
}

#[async_trait]
impl Verdicts for StoredVerdicts {
    async fn get(&self, key: &str) -> Result<Option<String>, EvalError> {
        let mut conn = self.seat.db.read().await?;
        Ok(evals::verdict(&mut conn, self.seat.workspace, key).await?)
    }

    async fn keep(&self, key: &str, reply: &str) -> Result<(), EvalError> {
        let mut tx = self.seat.db.write().await?;
        evals::keep_verdict(&mut tx, self.seat.workspace, key, reply, self.ambient.now()).await?;
        Ok(tx.commit().await?)
    }
}
