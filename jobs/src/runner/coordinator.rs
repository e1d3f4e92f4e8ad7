//! The loop of a runner. It alone talks to the queue; batches run beside it and only tell how they ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::job::Job;
use domain::{Ambient, JobId};
use storage::jobs::Ending;
use storage::{Db, Wakeup};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::claims::{Claimed, Occupancy, Terms};
use super::{RunnerOptions, backoff, batch};
use crate::handler::Interruption;
use crate::{Handler, JobContext, JobError, Outcome};

/// How soon after a wake-up running jobs are looked at for a wish to cancel them.
const CANCEL_CHECK: Duration = Duration::from_millis(500);
/// Wait before the next look when due jobs could not be claimed: another process holds them.
const CONTENDED: Duration = Duration::from_millis(250);
/// Longest wait after the database failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Tries to tell a handler that its job is dead before the job is buried without.
const BURIAL_TRIES: u32 = 5;

pub struct Coordinator {
    db: Db,
    ambient: Ambient,
    handlers: Vec<Arc<dyn Handler>>,
    options: RunnerOptions,
    owner: String,
    wakeups: broadcast::Receiver<Wakeup>,
    occupancy: Occupancy,
    tasks: JoinSet<(u64, Vec<Outcome>)>,
    running: HashMap<u64, RunningBatch>,
    ended: Vec<Ended>,
    next_batch: u64,
    next_handler: usize,
    last_heartbeat: Instant,
    woken: bool,
    failures: u32,
}

struct RunningBatch {
    handler: usize,
    jobs: Arc<[Job]>,
    context: JobContext,
    started: Instant,
}

/// A job that ended and is not noted in the queue yet.
struct Ended {
    job: Job,
    handler: usize,
    ending: Ending,
    tries: u32,
}

impl Ended {
    /// What killed the job, when it runs no more.
    fn death(&self) -> Option<&str> {
        match &self.ending {
            Ending::Dead { error } => Some(error),
            Ending::Retry { error, .. } if self.job.is_at_last_attempt() => Some(error),
            _ => None,
        }
    }

    fn outcome(&self) -> &'static str {
        match &self.ending {
            _ if self.death().is_some() => "dead",
            Ending::Done => "done",
            Ending::Retry { .. } | Ending::Dead { .. } => "retry",
            Ending::Cancelled => "cancelled",
            Ending::Released => "released",
        }
    }
}

impl Coordinator {
    pub fn new(
        db: Db,
        ambient: Ambient,
        handlers: Vec<Arc<dyn Handler>>,
        options: RunnerOptions,
    ) -> Self {
        let made_up = || format!("worker-{}", ambient.new_uuid().simple());
        Self {
            owner: options.owner.clone().unwrap_or_else(made_up),
            wakeups: db.wakeups(),
            occupancy: Occupancy::new(handlers.clone(), options.workers),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            ended: Vec::new(),
            next_batch: 0,
            next_handler: 0,
            last_heartbeat: Instant::now(),
            woken: false,
            failures: 0,
            db,
            ambient,
            handlers,
            options,
        }
    }

    /// Works until `stop` is cancelled.
    pub async fn work(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.turn().await {
                Ok(wait) => {
                    self.failures = 0;
                    wait
                }
                Err(error) => self.pause_after(&error),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(joined) = self.tasks.join_next() => self.note(joined),
                woken = wait_for_jobs(&mut self.wakeups) => self.woken |= woken,
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(joined) = self.tasks.try_join_next() {
                self.note(joined);
            }
        }
    }

    /// Ends what is at work: cancels it, waits for the grace, gives back what has not ended by then.
    pub async fn wind_down(&mut self) {
        for batch in self.running.values() {
            batch.context.interrupt_all(Interruption::Stopping);
        }
        let deadline = Instant::now() + self.options.grace;
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await
        {
            self.note(joined);
        }
        self.tasks.shutdown().await;
        for (_, batch) in std::mem::take(&mut self.running) {
            let jobs = batch.jobs.iter().cloned();
            self.ended.extend(jobs.map(|job| Ended {
                job,
                handler: batch.handler,
                ending: Ending::Released,
                tries: 0,
            }));
        }
        for _ in 0..3 {
            match self.settle().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "the ends of jobs could not be noted while stopping");
                    tokio::time::sleep(CONTENDED).await;
                }
            }
        }
        // Their leases run out and another worker takes them.
        tracing::error!(jobs = self.ended.len(), "jobs stay claimed until their leases run out");
    }

    /// Everything that the queue is told and asked in one go, most of it in one transaction. How long to
    /// wait for the next turn when nothing happens before.
    async fn turn(&mut self) -> storage::Result<Duration> {
        self.bury_the_dead().await?;
        let kinds = self.occupancy.open_kinds();
        let due_in = self.due_in(&kinds).await?;
        let look_for_jobs = due_in.is_some_and(|wait| wait.is_zero());
        let beat = self.heartbeat_is_due();
        let mut claimed_any = true;
        if look_for_jobs || beat || !self.ended.is_empty() {
            claimed_any = self.transact(look_for_jobs, beat).await?;
        }
        let wait = match due_in {
            _ if look_for_jobs && claimed_any => Duration::ZERO,
            _ if look_for_jobs => CONTENDED,
            Some(wait) => wait.min(self.options.idle_poll),
            None => self.options.idle_poll,
        };
        Ok(wait.min(self.until_heartbeat()))
    }

    /// How long until a job of those kinds is due; `None` when none is known or no worker is free.
    async fn due_in(&self, kinds: &[&'static str]) -> storage::Result<Option<Duration>> {
        if kinds.is_empty() {
            return Ok(None);
        }
        let due = storage::jobs::next_due(&mut self.db.read().await?, kinds).await?;
        Ok(due.map(|at| at.since(self.ambient.now())))
    }

    /// One transaction: notes what ended, prolongs leases, claims. Whether anything was claimed.
    async fn transact(&mut self, look_for_jobs: bool, beat: bool) -> storage::Result<bool> {
        let now = self.ambient.now();
        let lease_until = now.plus(self.options.lease);
        let endings = self.endings();
        let held = if beat { self.held() } else { Vec::new() };
        let mut occupancy = self.occupancy.clone();

        let mut tx = self.db.write().await?;
        let noted = storage::jobs::finish(&mut tx, &self.owner, &endings, now).await?;
        let still_held = storage::jobs::heartbeat(&mut tx, &self.owner, &held, lease_until).await?;
        let terms = Terms {
            owner: &self.owner,
            now,
            lease_until,
            max_losses: self.options.max_losses,
            first: self.next_handler,
        };
        let (claimed, worn_out) = if look_for_jobs {
            occupancy.claim(&mut tx, &terms).await?
        } else {
            (Vec::new(), Vec::new())
        };
        tx.commit().await?;

        for (ended, noted) in std::mem::take(&mut self.ended).iter().zip(noted) {
            self.count_finished(ended, noted);
        }
        if beat {
            self.last_heartbeat = Instant::now();
            self.woken = false;
            self.heed(&held, &still_held);
        }
        self.occupancy = occupancy;
        self.next_handler = (self.next_handler + 1) % self.handlers.len().max(1);
        let found = !claimed.is_empty() || !worn_out.is_empty();
        for batch in claimed {
            self.start(batch);
        }
        for job in worn_out {
            if let Err(error) = self.tell_dead(&job).await {
                tracing::error!(%error, job = %job.id, "a handler could not be told that its job is dead");
            }
        }
        Ok(found)
    }

    fn endings(&self) -> Vec<(JobId, i64, Ending)> {
        self.ended.iter().map(|e| (e.job.id, e.job.attempt, e.ending.clone())).collect()
    }

    fn held(&self) -> Vec<(JobId, i64)> {
        let jobs = self.running.values().flat_map(|batch| batch.jobs.iter());
        jobs.map(|job| (job.id, job.attempt)).collect()
    }

    fn count_finished(&self, ended: &Ended, noted: bool) {
        let outcome = if noted { ended.outcome() } else { "lost" };
        let kind = self.handlers[ended.handler].kind();
        metrics::counter!("vocero_jobs_finished_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
    }

    /// Tells jobs to stop whose lease was lost or whose owner cancelled them.
    fn heed(&self, asked: &[(JobId, i64)], held: &[storage::jobs::StillHeld]) {
        let held: HashMap<JobId, bool> =
            held.iter().map(|job| (job.id, job.cancel_requested)).collect();
        for batch in self.running.values() {
            for job in batch.jobs.iter().filter(|job| asked.contains(&(job.id, job.attempt))) {
                match held.get(&job.id) {
                    Some(false) => {}
                    Some(true) => batch.context.interrupt(job.id, Interruption::Cancelled),
                    None => batch.context.interrupt(job.id, Interruption::LeaseLost),
                }
            }
        }
    }

    fn start(&mut self, claimed: Claimed) {
        let handler = self.handlers[claimed.handler].clone();
        let kind = handler.kind();
        let jobs: Arc<[Job]> = claimed.jobs.into();
        let context = JobContext::new(&self.owner, &jobs);
        let id = self.next_batch;
        self.next_batch += 1;
        metrics::counter!("vocero_jobs_started_total", "kind" => kind).increment(jobs.len() as u64);
        let span = tracing::info_span!(
            "job",
            otel.name = %format_args!("job.{kind}"),
            kind,
            jobs = jobs.len(),
            job = jobs.first().map(|job| tracing::field::display(job.id)),
            attempt = jobs.first().map(|job| job.attempt),
        );
        let work = batch::run(handler, context.clone(), jobs.clone());
        self.tasks.spawn(async move { (id, work.await) }.instrument(span));
        let started = Instant::now();
        self.running.insert(id, RunningBatch { handler: claimed.handler, jobs, context, started });
    }

    /// Takes the outcomes of a batch, to be written in the next turn.
    fn note(&mut self, joined: Result<(u64, Vec<Outcome>), tokio::task::JoinError>) {
        // Panics are caught inside and nothing is aborted before the end, so there is always an outcome.
        let Ok((id, outcomes)) = joined else { return };
        let Some(batch) = self.running.remove(&id) else { return };
        let kind = self.handlers[batch.handler].kind();
        metrics::histogram!("vocero_job_batch_seconds", "kind" => kind)
            .record(batch.started.elapsed().as_secs_f64());
        self.occupancy.give_back(batch.handler, &batch.jobs);
        for (job, outcome) in batch.jobs.iter().zip(outcomes) {
            let ending = self.ending(&batch.context, job, outcome);
            let job = job.clone();
            self.ended.push(Ended { job, handler: batch.handler, ending, tries: 0 });
        }
    }

    fn ending(&self, context: &JobContext, job: &Job, outcome: Outcome) -> Ending {
        let again = |message: String, wait: Duration| {
            tracing::warn!(job = %job.id, kind = job.kind, attempt = job.attempt, error = message,
                "a job failed");
            Ending::Retry { at: self.ambient.now().plus(wait), error: message }
        };
        match outcome {
            Ok(()) => Ending::Done,
            Err(JobError::Retry { message, after }) => again(
                message,
                after.unwrap_or_else(|| backoff::delay(&self.ambient, job.own_attempt())),
            ),
            Err(JobError::Permanent(error)) => {
                tracing::error!(job = %job.id, kind = job.kind, error, "a job failed for good");
                Ending::Dead { error }
            }
            Err(JobError::Cancelled | JobError::Released) => match context.interruption(job.id) {
                Some(JobError::Cancelled) => Ending::Cancelled,
                Some(_) => Ending::Released,
                None => again(
                    "the job stopped although nobody asked it to".to_owned(),
                    backoff::delay(&self.ambient, job.own_attempt()),
                ),
            },
        }
    }

    /// Notes everything that ended.
    async fn settle(&mut self) -> storage::Result<()> {
        self.bury_the_dead().await?;
        if !self.ended.is_empty() {
            self.transact(false, false).await?;
        }
        Ok(())
    }

    /// Each death has its own transaction, in which its handler is told: a failure there holds up nobody else.
    async fn bury_the_dead(&mut self) -> storage::Result<()> {
        let mut result = Ok(());
        let (dead, others): (Vec<Ended>, Vec<Ended>) =
            std::mem::take(&mut self.ended).into_iter().partition(|ended| ended.death().is_some());
        self.ended = others;
        for mut ended in dead {
            ended.tries += 1;
            match self.bury(&ended).await {
                Ok(noted) => self.count_finished(&ended, noted),
                Err(error) => {
                    result = Err(error);
                    self.ended.push(ended);
                }
            }
        }
        result
    }

    async fn bury(&self, ended: &Ended) -> storage::Result<bool> {
        let endings = [(ended.job.id, ended.job.attempt, ended.ending.clone())];
        let mut tx = self.db.write().await?;
        let noted =
            storage::jobs::finish(&mut tx, &self.owner, &endings, self.ambient.now()).await?;
        let noted = noted.first().copied().unwrap_or(false);
        if noted && ended.tries <= BURIAL_TRIES {
            let error = ended.death().unwrap_or_default();
            self.handlers[ended.handler].on_dead(&mut tx, &ended.job, error).await?;
        }
        tx.commit().await?;
        Ok(noted)
    }

    /// Tells the handler of a job that lost its last worker.
    async fn tell_dead(&self, job: &Job) -> storage::Result<()> {
        let Some(handler) = self.handlers.iter().find(|handler| handler.kind() == job.kind) else {
            return Ok(());
        };
        let error = job.last_error.as_deref().unwrap_or("the job lost every worker that had it");
        tracing::error!(job = %job.id, kind = job.kind, error, "a job is given up: every worker that had it was lost");
        let mut tx = self.db.write().await?;
        handler.on_dead(&mut tx, job, error).await?;
        tx.commit().await
    }

    fn heartbeat_is_due(&self) -> bool {
        !self.running.is_empty() && self.until_heartbeat().is_zero()
    }

    /// How long the next heartbeat may wait; sooner after a wake-up, which may mean that a job is to stop.
    fn until_heartbeat(&self) -> Duration {
        if self.running.is_empty() {
            return Duration::MAX;
        }
        let period = if self.woken { CANCEL_CHECK } else { self.options.heartbeat };
        period.min(self.options.heartbeat).saturating_sub(self.last_heartbeat.elapsed())
    }

    fn pause_after(&mut self, error: &storage::StorageError) -> Duration {
        let pause = CONTENDED.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
        self.failures += 1;
        tracing::warn!(%error, pause_ms = pause.as_millis(), "the job queue did not answer");
        pause
    }
}

/// Waits until jobs may have been added or cancelled. Never returns once the database is closed.
async fn wait_for_jobs(wakeups: &mut broadcast::Receiver<Wakeup>) -> bool {
    loop {
        match wakeups.recv().await {
            Ok(Wakeup::Jobs) | Err(broadcast::error::RecvError::Lagged(_)) => break,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
    // Wake-ups that came meanwhile say nothing more.
    while wakeups.try_recv().is_ok() {}
    true
}
