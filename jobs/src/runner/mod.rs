//! Claims jobs, hands them to handlers, prolongs leases, notes how they ended.

mod backoff;
mod batch;
mod claims;
mod coordinator;

use std::sync::Arc;
use std::time::Duration;

use domain::Ambient;
use storage::Db;
use tokio_util::sync::CancellationToken;

use self::coordinator::Coordinator;
use crate::Handler;

/// How a runner works.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Names the worker in its claims; a name is made up when there is none. With a name that outlives the
    /// process its next start can free what it held ([`storage::jobs::expire_leases`]).
    pub owner: Option<String>,
    /// Batches at work at once, at least 1.
    pub workers: usize,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How often leases are prolonged.
    pub heartbeat: Duration,
    /// Longest wait between two looks at the queue when no wake-up arrives.
    pub idle_poll: Duration,
    /// Workers that a job may lose before it is given up. Many, because the job is seldom at fault: a machine
    /// that crashes again and again takes every job down that is at work. Not without end, because a job that
    /// kills its worker would do so for ever.
    pub max_losses: i64,
    /// How long jobs at work may take to end once the runner is told to stop.
    pub grace: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            owner: None,
            workers: 4,
            lease: Duration::from_mins(1),
            heartbeat: Duration::from_secs(15),
            idle_poll: Duration::from_secs(30),
            max_losses: 20,
            grace: Duration::from_secs(10),
        }
    }
}

/// Runs jobs until it is stopped.
pub struct Runner {
    db: Db,
    ambient: Ambient,
    handlers: Vec<Arc<dyn Handler>>,
    options: RunnerOptions,
}

impl Runner {
    /// A runner over a queue. Each kind has one handler; of two for the same kind the first is taken.
    pub fn new(
        db: Db,
        ambient: Ambient,
        handlers: Vec<Arc<dyn Handler>>,
        options: RunnerOptions,
    ) -> Self {
        Self { db, ambient, handlers, options }
    }

    /// Works until `stop` is cancelled, then releases what it holds and returns.
    pub async fn run(self, stop: CancellationToken) {
        let mut coordinator = Coordinator::new(self.db, self.ambient, self.handlers, self.options);
        coordinator.work(&stop).await;
        coordinator.wind_down().await;
    }
}
