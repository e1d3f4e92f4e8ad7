//! A stored dataset put to an agent at once, without a run that is stored.

use domain::agent::Agent;
use domain::{DomainError, EvalDatasetId};
use tokio_util::sync::CancellationToken;

use super::{Evals, internal};
use crate::error::EvalError;
use crate::report::Report;
use crate::run::{Progress, RunOptions, run};
use crate::target::AgentTarget;

/// Passages of each ranking that are looked at.
pub const DEPTH: usize = 20;

impl Evals {
    /// Puts the dataset of the agent's workspace, as it is now, to the agent as it is given, and reports on it. Nothing but
    /// what the turns cost is kept: conversations are removed. Cancelling ends it with a report on what was asked
    /// (`Report::ended`). What fails is in the report ([`Report::is_sound`]).
    ///
    /// Errors: 404 for the dataset; 409 `EMPTY_DATASET`.
    pub async fn evaluate(
        &self,
        dataset: EvalDatasetId,
        agent: Agent,
        options: &RunOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Report, DomainError> {
        let (_, dataset) = self.dataset(agent.workspace_id, dataset, None).await?;
        if dataset.cases.is_empty() {
            return Err(empty());
        }
        let target = AgentTarget::installed(&self.inner.ground, agent, DEPTH).await?;
        let target = target.forgetting();
        let outcome = run(&dataset, &target, options, progress, cancel).await;
        let outcome = outcome.map_err(|error: EvalError| internal(&error))?;
        let created_at = self.inner.ambient.now().to_rfc3339();
        let report = move || Report::of(&dataset, &outcome, created_at);
        let report = tokio::task::spawn_blocking(report).await;
        report.map_err(|error| super::failed(&error.to_string()))
    }
}

/// A dataset without cases cannot be run.
pub(super) fn empty() -> DomainError {
    let message = "the dataset has no cases; add some before it is run";
    DomainError::conflict("EMPTY_DATASET", message)
}
