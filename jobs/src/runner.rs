//! Claims jobs, hands them to handlers, prolongs leases, notes how they ended.

use std::sync::Arc;
use std::time::Duration;

use domain::Ambient;
use storage::Db;
use tokio_util::sync::CancellationToken;

use crate::Handler;

/// How a runner works.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Batches at work at once.
    pub workers: usize,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How often leases are prolonged.
    pub heartbeat: Duration,
    /// Longest wait between two looks at the queue when no wake-up arrives.
    pub idle_poll: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            lease: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            idle_poll: Duration::from_secs(30),
        }
    }
}

/// Runs jobs until it is stopped.
pub struct Runner {}

impl Runner {
    /// A runner over a queue.
    pub fn new(
        db: Db,
        ambient: Ambient,
        handlers: Vec<Arc<dyn Handler>>,
        options: RunnerOptions,
    ) -> Self {
        let _ = (db, ambient, handlers, options);
        todo!()
    }

    /// Works until `stop` is cancelled, then releases what it holds and returns.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop;
        todo!()
    }
}
