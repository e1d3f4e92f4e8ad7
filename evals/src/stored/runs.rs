//! Runs that are wanted, stopped, reported on and compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use domain::budget::Purpose;
use domain::eval::{EvalStatus, EvalTarget};
use domain::job::NewJob;
use domain::{AgentId, ApiKeyId, DatastoreId, DomainError, EvalDatasetId, EvalRunId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::audit::Change;
use storage::evals::{self, EvalRun, NewEvalRun};
use storage::{Conn, jobs};

use super::evaluate::empty;
use super::work::KIND;
use super::{Evals, absent, failed, internal, told};
use crate::compare::{CompareOptions, Comparison, compare};
use crate::error::EvalError;
use crate::observation::Row;
use crate::report::Report;
use crate::run::{Ended, RunOptions, RunOutcome};
use crate::target::TargetInfo;

/// How a stored run asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOptions {
    /// Cases under way at once.
    pub concurrency: u32,
    /// Cases begun a minute, at most.
    pub per_minute: Option<u32>,
    /// Seconds that a case may take.
    pub timeout_seconds: u32,
    /// Micro-dollars after which no case is begun.
    pub max_cost: Option<i64>,
    /// Passages of each ranking that are looked at.
    pub depth: u32,
    /// The model that judges the answers.
    pub judge: Option<String>,
}

impl Default for StoredOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            per_minute: None,
            timeout_seconds: 180,
            max_cost: None,
            depth: 20,
            judge: None,
        }
    }
}

impl StoredOptions {
    pub(super) fn run_options(&self) -> RunOptions {
        RunOptions {
            concurrency: usize::try_from(self.concurrency).unwrap_or(1),
            per_minute: self.per_minute,
            max_cost: self.max_cost,
            timeout: Duration::from_secs(self.timeout_seconds.into()),
            rows: None,
            retry_errors: false,
        }
    }
}

/// A run that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRun {
    /// The dataset, in the version that it has now.
    pub dataset: EvalDatasetId,
    /// What is asked.
    pub target: WantedTarget,
    /// How.
    pub options: StoredOptions,
    /// The key that wants it, which what it costs is counted to.
    pub api_key: Option<ApiKeyId>,
}

/// What a run asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedTarget {
    /// Whole turns of an agent.
    Agent(AgentId),
    /// Search in a datastore.
    Datastore(DatastoreId),
}

impl WantedTarget {
    fn stored(self) -> (EvalTarget, String) {
        match self {
            Self::Agent(id) => (EvalTarget::Agent, id.to_string()),
            Self::Datastore(id) => (EvalTarget::Datastore, id.to_string()),
        }
    }
}

impl Evals {
    /// Has a dataset run, as a job.
    ///
    /// Errors: 404 for the dataset; 400 `target.id` and `options.judge`; 409 `EMPTY_DATASET`.
    pub async fn want_run(
        &self,
        workspace: WorkspaceId,
        wanted: &WantedRun,
    ) -> Result<EvalRun, DomainError> {
        let (db, ambient) = (&self.inner.db, &self.inner.ambient);
        let mut conn = db.read().await?;
        let dataset = evals::get(&mut conn, workspace, wanted.dataset).await?.ok_or_else(absent)?;
        if dataset.cases == 0 {
            return Err(empty());
        }
        check_target(&mut conn, workspace, wanted.target).await?;
        drop(conn);
        if let Some(judge) = &wanted.options.judge {
            self.check_judge(workspace, judge).await?;
        }
        let (target, target_id) = wanted.target.stored();
        let (id, now) = (ambient.new_id(), ambient.now());
        let run = NewEvalRun {
            id,
            dataset_id: dataset.id,
            version: dataset.version,
            target,
            target_id,
            options: json!(wanted.options),
            api_key_id: wanted.api_key,
            created_at: now,
        };
        let mut job = NewJob::now(KIND, json!({ "run": id }), now);
        job.dedupe_key = Some(id.to_string());
        let mut tx = db.write().await?;
        evals::insert_run(&mut tx, workspace, &run).await?;
        jobs::enqueue(&mut tx, ambient, workspace, &job).await?;
        let stored = evals::run(&mut tx, workspace, id).await?;
        let after = json!({"datasetId": run.dataset_id, "targetId": run.target_id});
        self.note(&mut tx, Change::new("eval-run.created", id).to(after)).await?;
        tx.commit().await?;
        stored.ok_or_else(no_run)
    }

    async fn check_judge(&self, workspace: WorkspaceId, judge: &str) -> Result<(), DomainError> {
        let agents = &self.inner.agents;
        let blame = |error: DomainError| {
            let message = error.message.replace("modelName", "options.judge");
            DomainError { message, field: Some("options.judge".to_owned()), ..error }
        };
        agents.check_model(workspace, judge).await.map_err(|error| match error.field {
            Some(_) => blame(error),
            None => error,
        })?;
        let model = agents.paid_model(workspace, Some(judge), Purpose::Eval, None).await?;
        if model.is_none() {
            let message =
                "`options.judge` needs a model that can be asked; add a provider, or leave it out";
            return Err(DomainError::invalid("options.judge", message));
        }
        Ok(())
    }

    /// Stops a run that is not over; what was asked by then stays and can be reported on.
    ///
    /// Errors: 404; 409 `CONFLICT` when it is over.
    pub async fn cancel_run(
        &self,
        workspace: WorkspaceId,
        id: EvalRunId,
    ) -> Result<EvalRun, DomainError> {
        let now = self.inner.ambient.now();
        let mut tx = self.inner.db.write().await?;
        let before = evals::run(&mut tx, workspace, id).await?.ok_or_else(no_run)?;
        if !evals::cancel_run(&mut tx, workspace, id, now).await? {
            let message = "the run is over; only one that waits or runs can be cancelled";
            return Err(DomainError::conflict("CONFLICT", message));
        }
        jobs::cancel(&mut tx, workspace, KIND, &id.to_string(), now).await?;
        let stored = evals::run(&mut tx, workspace, id).await?.ok_or_else(no_run)?;
        let status = |run: &EvalRun| json!({"status": run.status.name()});
        let change = Change::new("eval-run.cancelled", id);
        self.note(&mut tx, change.from(status(&before)).to(status(&stored))).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Removes a run with its report, stopping it when it is not over. Errors: 404.
    pub async fn delete_run(
        &self,
        workspace: WorkspaceId,
        id: EvalRunId,
    ) -> Result<(), DomainError> {
        let now = self.inner.ambient.now();
        let mut tx = self.inner.db.write().await?;
        if !evals::delete_run(&mut tx, workspace, id).await? {
            return Err(no_run());
        }
        jobs::cancel(&mut tx, workspace, KIND, &id.to_string(), now).await?;
        self.note(&mut tx, Change::new("eval-run.deleted", id)).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a dataset with its versions, runs and reports, stopping those that are not over. Errors: 404.
    pub async fn delete(
        &self,
        workspace: WorkspaceId,
        id: EvalDatasetId,
    ) -> Result<(), DomainError> {
        let now = self.inner.ambient.now();
        let mut tx = self.inner.db.write().await?;
        let found = evals::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
        for status in [EvalStatus::Waiting, EvalStatus::Running] {
            let filter = evals::EvalRunFilter { dataset: Some(id), status: Some(status) };
            for run in evals::runs(&mut tx, workspace, filter, None, i64::MAX).await? {
                jobs::cancel(&mut tx, workspace, KIND, &run.id.to_string(), now).await?;
            }
        }
        if !evals::delete(&mut tx, workspace, id).await? {
            return Err(absent());
        }
        self.note(&mut tx, Change::new("eval-dataset.deleted", id).from(told(&found))).await?;
        Ok(tx.commit().await?)
    }

    /// The report of a run that is over: the one that it ended with, or one on what was asked until it was stopped.
    ///
    /// Errors: 404; 409 `NO_REPORT` when it is not over, or nothing was asked.
    pub async fn report(
        &self,
        workspace: WorkspaceId,
        id: EvalRunId,
    ) -> Result<Report, DomainError> {
        let mut conn = self.inner.db.read().await?;
        let run = evals::run(&mut conn, workspace, id).await?.ok_or_else(no_run)?;
        if !run.status.is_over() {
            let message = "the run is not over; wait for its end, or cancel it";
            return Err(DomainError::conflict("NO_REPORT", message));
        }
        let stored = evals::report(&mut conn, workspace, id).await?;
        let rows = match &stored {
            Some(_) => Vec::new(),
            None => evals::rows(&mut conn, workspace, id).await?,
        };
        drop(conn);
        if let Some(stored) = stored {
            let read = move || serde_json::from_slice(&stored);
            let read = tokio::task::spawn_blocking(read).await;
            let report = read.map_err(|error| failed(&error.to_string()))?;
            return report.map_err(|error| failed(&error.to_string()));
        }
        let (Some(info), false) = (&run.info, rows.is_empty()) else {
            let message = "nothing was asked before the run ended; there is nothing to report on";
            return Err(DomainError::conflict("NO_REPORT", message));
        };
        let info = serde_json::from_value(info.clone());
        let target: TargetInfo = info.map_err(|error| failed(&error.to_string()))?;
        let mut known = read_rows(&rows)?;
        let (_, dataset) = self.dataset(workspace, run.dataset_id, Some(&run.version)).await?;
        let rows = dataset.cases.iter().filter_map(|case| known.remove(&case.id)).collect();
        let outcome = RunOutcome { target, rows, ended: Ended::Cancelled };
        let made_at = run.finished_at.unwrap_or(run.created_at).to_rfc3339();
        let made = move || Report::of(&dataset, &outcome, made_at);
        tokio::task::spawn_blocking(made).await.map_err(|error| failed(&error.to_string()))
    }

    /// Compares two runs by the cases that both have.
    ///
    /// Errors: those of [`Self::report`]; 400 `base` when they have no case in common.
    pub async fn compare(
        &self,
        workspace: WorkspaceId,
        base: EvalRunId,
        new: EvalRunId,
        tolerances: BTreeMap<String, f64>,
    ) -> Result<ComparedRuns, DomainError> {
        let (base, new) = (self.report(workspace, base).await?, self.report(workspace, new).await?);
        let comparing = move || {
            let comparison = compare(&base, &new, &CompareOptions { tolerances });
            ComparedRuns { sound: base.is_sound() && new.is_sound(), comparison }
        };
        let compared = tokio::task::spawn_blocking(comparing).await;
        let compared = compared.map_err(|error| failed(&error.to_string()))?;
        if compared.comparison.pairs == 0 {
            let message =
                "`base` has no case in common with the run; name a run of the same dataset";
            return Err(DomainError::invalid("base", message));
        }
        Ok(compared)
    }
}

/// Two runs, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedRuns {
    /// Whether both say anything about quality: they came to their ends, and hardly anything failed.
    pub sound: bool,
    /// What became of the metrics.
    pub comparison: Comparison,
}

async fn check_target(
    conn: &mut Conn,
    workspace: WorkspaceId,
    target: WantedTarget,
) -> Result<(), DomainError> {
    let is_there = match target {
        WantedTarget::Agent(id) => storage::agents::get(conn, workspace, id).await?.is_some(),
        WantedTarget::Datastore(id) => {
            storage::datastores::get(conn, workspace, id).await?.is_some()
        }
    };
    if is_there {
        return Ok(());
    }
    let (kind, _) = target.stored();
    let message = format!("`target.id` names no {0}; list yours and name one", kind.name());
    Err(DomainError::invalid("target.id", message))
}

/// Rows by case.
pub(super) fn read_rows(rows: &[Vec<u8>]) -> Result<BTreeMap<String, Row>, DomainError> {
    let mut known = BTreeMap::new();
    for row in rows {
        let row: Row = serde_json::from_slice(row).map_err(|error| {
            let place = Path::new("eval_rows");
            internal(&EvalError::input(place, error.to_string(), String::new()))
        })?;
        known.insert(row.id.clone(), row);
    }
    Ok(known)
}

pub(super) fn no_run() -> DomainError {
    DomainError::not_found("evaluation run")
}
