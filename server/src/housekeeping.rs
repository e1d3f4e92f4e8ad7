//! What is done from time to time, off the request path.

use std::collections::HashMap;
use std::time::Duration;

use domain::Timestamp;
use domain::job::JobState;

use crate::app::App;

/// How often.
const INTERVAL: Duration = Duration::from_mins(10);
/// How long finished jobs can be looked at.
const KEEP_JOBS: Duration = Duration::from_hours(24);
/// How long events can be read again.
const KEEP_EVENTS: Duration = Duration::from_hours(30 * 24);
const DAY: Duration = Duration::from_hours(24);
/// How long a file waits for the message that it was uploaded for.
const KEEP_UPLOADS: Duration = DAY;
/// Rows removed in one transaction, so that other writers get their turn.
const BATCH: i64 = 500;

/// Begins to keep the house, until the server begins to stop.
pub fn start(app: &App) {
    let app = app.clone();
    let signals = app.signals().clone();
    signals.tracker.spawn(async move {
        let stopping = app.signals().stopping.clone();
        // At once the first time: an index whose folder was lost is filled again from the database.
        loop {
            // What is given up half-way is found to be due again by the next process.
            let tended = stopping.run_until_cancelled(app.retrieval.maintain()).await;
            if let Some(Err(error)) = tended {
                tracing::warn!(%error, "the index could not be tended");
            }
            if let Err(error) = remove_old_rows(&app).await {
                tracing::warn!(%error, "old rows could not be removed");
            }
            if tokio::time::timeout(INTERVAL, stopping.cancelled()).await.is_ok() {
                return;
            }
        }
    });
}

async fn remove_old_rows(app: &App) -> storage::Result<()> {
    let now = app.ambient.now();
    let settings = &app.settings.agents;
    let traces_until = before(now, DAY * settings.trace_retention_days);
    let streams_until = before(now, settings.stream_retention);
    loop {
        let mut tx = app.db.write().await?;
        let removed = [
            storage::jobs::delete_older(&mut tx, before(now, KEEP_JOBS), BATCH).await?,
            storage::events::delete_older(&mut tx, before(now, KEEP_EVENTS), BATCH).await?,
            storage::attachments::delete_unused(&mut tx, before(now, KEEP_UPLOADS), BATCH).await?,
            storage::citations::delete_uncited(&mut tx, BATCH).await?,
            storage::budgets::delete_older(&mut tx, now, BATCH).await?,
            storage::streams::sweep(&mut tx, streams_until, BATCH).await?,
            storage::messages::delete_traces(&mut tx, traces_until, BATCH).await?,
            storage::gaps::delete_empty_groups(&mut tx, BATCH).await?,
            storage::contacts::index_missing(&mut tx, BATCH).await?,
        ];
        tx.commit().await?;
        if removed.into_iter().all(|removed| removed < BATCH) {
            return Ok(());
        }
    }
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(micros))
}

/// Puts the number of jobs that wait, run or are dead into the metrics, by kind.
pub async fn count_jobs(app: &App) {
    let counted = async {
        let mut conn = app.db.read().await?;
        storage::jobs::counts(&mut conn).await
    };
    let counts = match counted.await {
        Ok(counts) => counts,
        Err(error) => return tracing::warn!(%error, "the jobs could not be counted"),
    };
    let counts: HashMap<(&str, JobState), i64> =
        counts.iter().map(|(kind, state, count)| ((kind.as_str(), *state), *count)).collect();
    for handler in app.handlers() {
        for state in [JobState::Waiting, JobState::Running, JobState::Dead] {
            let count = counts.get(&(handler.kind(), state)).copied().unwrap_or(0);
            metrics::gauge!("vocero_jobs", "kind" => handler.kind(), "state" => state.name())
                .set(count as f64);
        }
    }
}
