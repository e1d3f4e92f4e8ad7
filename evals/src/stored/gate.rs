//! Gates: a configuration of an agent is evaluated before it is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agents::Candidate;
use async_trait::async_trait;
use domain::agent::Agent;
use domain::gate::{
    AgentPublication, Finding, Gate, GateMode, Measured, PublicationProgress, PublicationStatus,
    Verdict,
};
use domain::job::{Job, NewJob};
use domain::{Actor, DatastoreId, DomainError, ErrorKind, PublicationId, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use storage::audit::{self, Author};
use storage::gates::{self, PublicationEnd, ReportKey};
use storage::{StorageError, Tx};
use tokio_util::sync::CancellationToken;

use super::Evals;
use crate::compare::{self, Change, CompareOptions};
use crate::report::{Report, shown};
use crate::run::{Progress, RunOptions};
use crate::suite::{Floor, floors};

/// The kind of the job.
const KIND: &str = "agents.publish";
/// How often progress is noted, and whether somebody has stopped it.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// Failures of an evaluation after which it is given up.
const TRIES: i64 = 3;

/// What became of a configuration that is to be published.
#[derive(Debug)]
pub enum Publishing {
    /// It is the published version of that number.
    Done(i64),
    /// It is evaluated first.
    Wanted(Box<AgentPublication>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    publication: PublicationId,
}

impl Evals {
    /// Publishes a configuration: at once, or where the agent has a gate and the configuration is another one, once it was
    /// evaluated, by a job.
    ///
    /// Errors: those of [`agents::Agents::publish`]; 409 `CONFLICT` while another publication of the agent is under way.
    pub async fn publish(&self, candidate: &Candidate) -> Result<Publishing, DomainError> {
        let ground = self.ground();
        let agent = &candidate.agent;
        let mut conn = ground.db.read().await?;
        let gate = gates::get(&mut conn, agent.workspace_id, agent.id).await?;
        let published = storage::agents::get(&mut conn, agent.workspace_id, agent.id).await?;
        drop(conn);
        let published = published.ok_or_else(|| DomainError::not_found("agent"))?;
        let gate = gate.filter(|gate| gate.mode != GateMode::Off);
        let Some(gate) = gate.filter(|_| published.config() != agent.config()) else {
            let agents = ground.agents.signed_by(self.author.clone());
            return agents.publish(candidate).await.map(Publishing::Done);
        };
        if published.version != agent.version {
            return Err(agents::stale_version(agent.version));
        }
        let now = self.inner.ambient.now();
        let publication = AgentPublication {
            id: self.inner.ambient.new_id(),
            agent_id: agent.id,
            status: PublicationStatus::Pending,
            config: agent.config(),
            base_version: published.version,
            draft_revision: candidate.draft,
            publication: candidate.publication.clone(),
            gate,
            progress: PublicationProgress::default(),
            verdict: None,
            error: None,
            version: None,
            created_at: now,
            ended_at: None,
        };
        if published.status != agent.status {
            // Whether an agent answers is nothing that is evaluated.
            let agent = Agent { status: agent.status, ..published };
            let publication = candidate.publication.clone();
            let agents = ground.agents.signed_by(self.author.clone());
            agents.publish(&Candidate { agent, publication, draft: None }).await?;
        }
        self.want(agent.workspace_id, &publication).await?;
        Ok(Publishing::Wanted(Box::new(publication)))
    }

    async fn want(
        &self,
        workspace: WorkspaceId,
        publication: &AgentPublication,
    ) -> Result<(), DomainError> {
        let payload = serde_json::to_value(Payload { publication: publication.id });
        let payload = payload.unwrap_or_default();
        let mut job = NewJob::now(KIND, payload, publication.created_at);
        job.max_attempts = TRIES;
        let mut tx = self.ground().db.write().await?;
        match gates::insert_publication(&mut tx, workspace, publication).await {
            Err(StorageError::Conflict(_)) => return Err(under_way()),
            stored => stored?,
        }
        storage::jobs::enqueue(&mut tx, &self.inner.ambient, workspace, &job).await?;
        let after = json!({"agentId": publication.agent_id});
        self.note(&mut tx, audit::Change::new("publication.created", publication.id).to(after))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Stops a publication: nothing is published. `false` when it is absent or over.
    pub async fn cancel_publication(
        &self,
        workspace: WorkspaceId,
        id: PublicationId,
    ) -> Result<bool, DomainError> {
        let now = self.inner.ambient.now();
        let mut tx = self.ground().db.write().await?;
        let (status, end) = (PublicationStatus::Cancelled, PublicationEnd::default());
        let ended =
            gates::end_publication(&mut tx, workspace, (id, None), status, end, now).await?;
        if ended {
            self.note(&mut tx, audit::Change::new("publication.cancelled", id)).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }

    /// The job that evaluates what is to be published.
    pub(super) fn publisher(&self) -> Arc<dyn Handler> {
        Arc::new(Publisher(self.clone()))
    }
}

fn under_way() -> DomainError {
    let message = "another version of the agent is being evaluated before it is published; wait for it, or cancel it";
    DomainError::conflict("CONFLICT", message)
}

/// Evaluates what is to be published, and publishes it if it passes.
struct Publisher(Evals);

/// A publication at work.
struct Work<'a> {
    evals: &'a Evals,
    context: &'a JobContext,
    job: &'a Job,
    publication: AgentPublication,
    /// The agent as it is published.
    agent: Agent,
    progress: PublicationProgress,
}

/// Why a publication came to nothing.
enum Trouble {
    /// For good; what its owner is told.
    Over(String),
    /// Worth another try.
    Again(String),
    /// Told to stop.
    Stopped(JobError),
    /// Somebody has cancelled it.
    Cancelled,
}

impl From<DomainError> for Trouble {
    fn from(error: DomainError) -> Self {
        match error.kind {
            ErrorKind::Unavailable | ErrorKind::Internal => Self::Again(error.message),
            _ => Self::Over(error.message),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Again(error.to_string())
    }
}

#[async_trait]
impl Handler for Publisher {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn concurrency(&self) -> usize {
        2
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(Box::pin(self.one(context, job)).await);
        }
        outcomes
    }

    async fn on_dead(&self, tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        let Ok(payload) = serde_json::from_value::<Payload>(job.payload.clone()) else {
            return Ok(());
        };
        let end = PublicationEnd { error: Some(error), ..PublicationEnd::default() };
        let (id, status) = (payload.publication, PublicationStatus::Failed);
        let now = self.0.inner.ambient.now();
        gates::end_publication(tx, job.workspace_id, (id, None), status, end, now).await?;
        Ok(())
    }
}

impl Publisher {
    async fn one(&self, context: &JobContext, job: &Job) -> Outcome {
        let payload: Payload = serde_json::from_value(job.payload.clone())
            .map_err(|error| JobError::Permanent(format!("the payload does not read: {error}")))?;
        let work = match self.take_up(context, job, payload.publication).await {
            Ok(Some(work)) => work,
            Ok(None) => return Ok(()),
            Err(error) => return Err(JobError::retry(error.to_string())),
        };
        let (evals, id) = (work.evals, work.publication.id);
        match Box::pin(work.course()).await {
            Ok(()) | Err(Trouble::Cancelled) => Ok(()),
            Err(Trouble::Stopped(interruption)) => Err(interruption),
            Err(Trouble::Again(message)) => Err(JobError::retry(message)),
            Err(Trouble::Over(message)) => {
                let end = PublicationEnd { error: Some(&message), ..PublicationEnd::default() };
                let ended = evals.end(job, id, PublicationStatus::Failed, end).await;
                ended.map_err(|error| JobError::retry(error.to_string()))
            }
        }
    }

    async fn take_up<'a>(
        &'a self,
        context: &'a JobContext,
        job: &'a Job,
        id: PublicationId,
    ) -> Result<Option<Work<'a>>, StorageError> {
        let workspace = job.workspace_id;
        let mut conn = self.0.ground().db.read().await?;
        let publication = gates::publication(&mut conn, workspace, id).await?;
        let Some(publication) = publication.filter(|found| !found.status.is_over()) else {
            return Ok(None);
        };
        let agent = storage::agents::get(&mut conn, workspace, publication.agent_id).await?;
        let progress = PublicationProgress::default();
        Ok(agent.map(|agent| Work { evals: &self.0, context, job, publication, agent, progress }))
    }
}

impl Evals {
    async fn end(
        &self,
        job: &Job,
        id: PublicationId,
        status: PublicationStatus,
        end: PublicationEnd<'_>,
    ) -> Result<(), StorageError> {
        let now = self.inner.ambient.now();
        let mut tx = self.ground().db.write().await?;
        let which = (id, Some(job.attempt));
        gates::end_publication(&mut tx, job.workspace_id, which, status, end, now).await?;
        tx.commit().await
    }
}

impl Work<'_> {
    async fn course(mut self) -> Result<(), Trouble> {
        let (base, published) = (self.publication.base_version, self.agent.version);
        if base != published {
            return Err(agents::stale_version(base).into());
        }
        let gate = self.publication.gate.clone();
        let workspace = self.agent.workspace_id;
        let (stored, dataset) = self
            .evals
            .dataset(workspace, gate.dataset, None)
            .await
            .map_err(|error| gone(error, &gate))?;
        let cases = count(dataset.cases.len());
        let knowledge = self.knowledge(&self.agent).await?;
        let key = ReportKey {
            agent: self.agent.id,
            number: base,
            dataset: gate.dataset,
            dataset_version: &stored.version,
            knowledge: &knowledge,
        };
        let known = self.known(key).await?;
        self.progress.all = if known.is_some() { cases } else { 2 * cases };
        let before = if let Some(report) = known {
            report
        } else {
            let report = self.evaluate(self.agent.clone()).await?;
            self.keep(key, &report).await?;
            report
        };
        let config = self.publication.config.clone();
        let candidate = self.agent.clone().with_config(config);
        let after = self.evaluate(candidate.clone()).await?;
        let verdict = judge(&gate, base, &before, &after);
        if gate.mode == GateMode::Refuse && !verdict.passed() {
            let status = if after.is_sound() {
                PublicationStatus::Refused
            } else {
                PublicationStatus::Failed
            };
            let words = verdict.words();
            let error = (!after.is_sound()).then_some(words.as_str());
            let end = PublicationEnd { verdict: Some(&verdict), error, version: None };
            return Ok(self.evals.end(self.job, self.publication.id, status, end).await?);
        }
        let knowledge = self.knowledge(&candidate).await?;
        let key = ReportKey { knowledge: &knowledge, ..key };
        self.publish(verdict, key, &after).await
    }

    /// Publishes what passed and ends the publication, in one transaction.
    async fn publish(
        &self,
        verdict: Verdict,
        key: ReportKey<'_>,
        report: &Report,
    ) -> Result<(), Trouble> {
        let (workspace, now) = (self.agent.workspace_id, self.evals.inner.ambient.now());
        let report = packed(report)?;
        let mut tx = self.evals.ground().db.write().await?;
        let which = (self.publication.id, self.job.attempt);
        if !gates::note_progress(&mut tx, workspace, which, self.progress).await? {
            return Err(Trouble::Cancelled);
        }
        let agent = storage::agents::get(&mut tx, workspace, self.agent.id).await?;
        let Some(agent) = agent else { return Ok(()) };
        let mut publication = self.publication.publication.clone();
        publication.verdict = Some(verdict.clone());
        let candidate = Candidate {
            agent: Agent {
                version: self.publication.base_version,
                ..agent.with_config(self.publication.config.clone())
            },
            publication,
            draft: self.publication.draft_revision,
        };
        let (number, change) = agents::publish_in(&mut tx, &candidate, now).await?;
        if let Some(change) = change {
            self.author().note(&mut tx, &self.evals.inner.ambient, change).await?;
        }
        gates::keep_report(&mut tx, workspace, ReportKey { number, ..key }, &report, now).await?;
        let end = PublicationEnd { verdict: Some(&verdict), error: None, version: Some(number) };
        let (which, status) = ((which.0, Some(which.1)), PublicationStatus::Published);
        gates::end_publication(&mut tx, workspace, which, status, end, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Who wanted it: nobody else has published it.
    fn author(&self) -> Author {
        let by = self.publication.publication.by;
        Author {
            workspace: self.agent.workspace_id,
            actor: by.map_or(Actor::System, Actor::ApiKey),
            address: None,
            user_agent: String::new(),
        }
    }

    /// Puts the gate's dataset to the agent as it is given, noting progress, until it is done or somebody stops it.
    async fn evaluate(&mut self, agent: Agent) -> Result<Report, Trouble> {
        let stop = CancellationToken::new();
        let _stopped_with_us = stop.clone().drop_guard();
        let told = Mutex::new(None::<Progress>);
        let listen = |progress: Progress| *told.lock() = Some(progress);
        let options = RunOptions::default();
        let dataset = self.publication.gate.dataset;
        let evaluating = self.evals.evaluate(dataset, agent, &options, &listen, &stop);
        let interrupted = self.context.cancel_of(self.job.id);
        let before = self.progress;
        // Beside each other, not in turns: either may hold the database's one writer.
        let report = tokio::select! {
            biased;
            () = interrupted.cancelled() => {
                let why = self.context.interruption(self.job.id);
                return Err(Trouble::Stopped(why.unwrap_or(JobError::Released)));
            }
            report = evaluating => report?,
            trouble = self.keep_noting(before, &told) => return Err(trouble),
        };
        let now = *told.lock();
        self.progress = sum(before, now);
        self.note(self.progress).await?;
        Ok(report)
    }

    /// Notes how far the evaluation is, again and again, until it may not go on.
    async fn keep_noting(
        &self,
        before: PublicationProgress,
        told: &Mutex<Option<Progress>>,
    ) -> Trouble {
        let mut ticks = tokio::time::interval(NOTED_EVERY);
        loop {
            ticks.tick().await;
            let now = *told.lock();
            if let Err(trouble) = self.note(sum(before, now)).await {
                return trouble;
            }
        }
    }

    async fn note(&self, progress: PublicationProgress) -> Result<(), Trouble> {
        let workspace = self.agent.workspace_id;
        let which = (self.publication.id, self.job.attempt);
        let mut tx = self.evals.ground().db.write().await?;
        let noted = gates::note_progress(&mut tx, workspace, which, progress).await?;
        tx.commit().await?;
        if noted { Ok(()) } else { Err(Trouble::Cancelled) }
    }

    /// What the published version came to before, when the same was asked of the same knowledge.
    async fn known(&self, key: ReportKey<'_>) -> Result<Option<Report>, Trouble> {
        let mut conn = self.evals.ground().db.read().await?;
        let report = gates::report(&mut conn, self.agent.workspace_id, key).await?;
        // One that does not read is of another version of this program: it is made anew.
        Ok(report.and_then(|report| serde_json::from_slice(&report).ok()))
    }

    async fn keep(&self, key: ReportKey<'_>, report: &Report) -> Result<(), Trouble> {
        if !report.is_sound() {
            return Ok(());
        }
        let report = packed(report)?;
        let (workspace, now) = (self.agent.workspace_id, self.evals.inner.ambient.now());
        let mut tx = self.evals.ground().db.write().await?;
        gates::keep_report(&mut tx, workspace, key, &report, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What the agent's datastores hold, as a hash of their revisions: a result is good for as long as that stays.
    async fn knowledge(&self, agent: &Agent) -> Result<String, Trouble> {
        let mut conn = self.evals.ground().db.read().await?;
        let workspace = agent.workspace_id;
        let mut ids: Vec<DatastoreId> = agent.config().datastores();
        let defaults = storage::datastores::defaults(&mut conn, workspace).await?;
        ids.extend(defaults.into_iter().map(|datastore| datastore.id));
        let found = storage::datastores::revisions(&mut conn, workspace, &ids).await?;
        let mut lines: Vec<String> = found
            .into_iter()
            .map(|found| format!("{} {} {}", found.id, found.revision, found.glossary))
            .collect();
        lines.sort();
        lines.dedup();
        Ok(hex::encode(&Sha256::digest(lines.join("\n").as_bytes())[..16]))
    }
}

fn packed(report: &Report) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(report).map_err(|error| Trouble::Over(error.to_string()))
}

fn gone(error: DomainError, gate: &Gate) -> Trouble {
    if error.kind == ErrorKind::NotFound {
        let dataset = gate.dataset;
        return Trouble::Over(format!(
            "the gate's dataset {dataset} is not there any more; give the gate another one, or set its mode to off"
        ));
    }
    error.into()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How far both evaluations are together.
fn sum(before: PublicationProgress, now: Option<Progress>) -> PublicationProgress {
    let Some(now) = now else { return before };
    PublicationProgress {
        done: before.done + count(now.done),
        errors: before.errors + count(now.errors),
        cost: before.cost + now.cost,
        all: before.all,
    }
}

/// Holds what a version came to against the gate's floors and against the published version.
fn judge(gate: &Gate, base: i64, before: &Report, after: &Report) -> Verdict {
    let is_comparable = before.is_sound();
    let mut findings = Vec::new();
    if after.is_sound() {
        let missed = floors(after, &gate.floors).into_iter().filter(|floor| !floor.reached);
        findings.extend(missed.map(under_a_floor));
        if is_comparable {
            let tolerances: BTreeMap<String, f64> = gate.tolerances.clone();
            let comparison = compare::compare(before, after, &CompareOptions { tolerances });
            let changes = comparison.metrics.iter();
            let worse = changes.filter(|change| change.verdict == compare::Verdict::Regressed);
            findings.extend(worse.map(|change| fell(change, base)));
        }
    } else {
        findings.push(says_nothing(after));
    }
    let metrics = after.metrics.iter().map(|metric| Measured {
        metric: metric.name.clone(),
        value: metric.interval.value,
        previous: before.metric(&metric.name).map(|interval| interval.value),
    });
    Verdict {
        cases: count(after.cases.len()),
        errors: count(after.errors),
        compared_with: is_comparable.then_some(base),
        findings,
        metrics: metrics.collect(),
    }
}

fn under_a_floor(missed: Floor) -> Finding {
    let Floor { metric, floor, value, .. } = missed;
    let reached = value.map_or_else(|| "no value".to_owned(), |value| shown(&metric, value));
    let message = format!(
        "{metric}: {reached} misses the floor of {}; mend the cases that it lost, or change the floor in the gate",
        shown(&metric, floor)
    );
    Finding { metric: Some(metric), value, floor: Some(floor), previous: None, message }
}

fn fell(change: &Change, base: i64) -> Finding {
    let Change { name, base: previous, new, .. } = change;
    let tolerance = change.tolerance.unwrap_or_default();
    let message = format!(
        "{name}: {} instead of {} with version {base}, which is more than the tolerance of {tolerance}; mend the cases that \
         it lost, or raise the tolerance in the gate",
        shown(name, *new),
        shown(name, *previous)
    );
    Finding {
        metric: Some(name.clone()),
        value: Some(*new),
        floor: None,
        previous: Some(*previous),
        message,
    }
}

fn says_nothing(report: &Report) -> Finding {
    let first = report.cases.iter().find_map(|case| case.error.as_ref());
    let why =
        first.map_or_else(String::new, |error| format!(" ({}: {})", error.code, error.message));
    let message = format!(
        "the evaluation says nothing: {} of {} cases failed{why}; mend that and publish again",
        report.errors,
        report.cases.len()
    );
    Finding { metric: None, value: None, floor: None, previous: None, message }
}
