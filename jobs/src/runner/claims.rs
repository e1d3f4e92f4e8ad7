//! Which jobs are claimed next: kinds take turns, and no workspace takes more than its share while others wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use domain::job::Job;
use domain::{Timestamp, WorkspaceId};
use storage::Tx;
use storage::jobs::Claim;

use crate::Handler;

/// Jobs claimed for one worker.
pub struct Claimed {
    /// Which of the handlers does them.
    pub handler: usize,
    /// The jobs, at least one.
    pub jobs: Vec<Job>,
}

/// The workers that are taken, by kind and by workspace.
#[derive(Clone)]
pub struct Occupancy {
    handlers: Vec<Arc<dyn Handler>>,
    workers: usize,
    taken: usize,
    by_handler: Vec<usize>,
    by_workspace: HashMap<(usize, WorkspaceId), usize>,
}

/// How a claim is made: by whom, until when.
pub struct Terms<'a> {
    /// Names the worker.
    pub owner: &'a str,
    /// The instant now.
    pub now: Timestamp,
    /// Until when the claims hold.
    pub lease_until: Timestamp,
    /// Workers that a job may lose before it is given up.
    pub max_losses: i64,
    /// The handler whose turn is first.
    pub first: usize,
}

impl Occupancy {
    pub fn new(handlers: Vec<Arc<dyn Handler>>, workers: usize) -> Self {
        let by_handler = vec![0; handlers.len()];
        let workers = workers.max(1);
        Self { handlers, workers, taken: 0, by_handler, by_workspace: HashMap::new() }
    }

    /// Takes a worker for a batch.
    pub fn take(&mut self, handler: usize, jobs: &[Job]) {
        self.taken += 1;
        self.by_handler[handler] += 1;
        for workspace in workspaces(jobs) {
            *self.by_workspace.entry((handler, workspace)).or_default() += 1;
        }
    }

    /// Gives the worker of a batch back.
    pub fn give_back(&mut self, handler: usize, jobs: &[Job]) {
        self.taken -= 1;
        self.by_handler[handler] -= 1;
        for workspace in workspaces(jobs) {
            let key = (handler, workspace);
            let left = self.by_workspace.get(&key).map_or(0, |count| count - 1);
            if left == 0 {
                self.by_workspace.remove(&key);
            } else {
                self.by_workspace.insert(key, left);
            }
        }
    }

    /// The kinds that another batch could be started of.
    pub fn open_kinds(&self) -> Vec<&'static str> {
        let open = (0..self.handlers.len()).filter(|&index| self.is_open(index));
        open.map(|index| self.handlers[index].kind()).collect()
    }

    fn is_open(&self, handler: usize) -> bool {
        self.taken < self.workers && self.by_handler[handler] < self.handlers[handler].concurrency()
    }

    /// Workspaces that have their share already: half of the workers, or of the batches that a kind may have.
    fn busy_for(&self, handler: usize) -> Vec<WorkspaceId> {
        let of_all = (self.workers / 2).max(1);
        let of_kind = (self.handlers[handler].concurrency().min(self.workers) / 2).max(1);
        let mut totals: HashMap<WorkspaceId, usize> = HashMap::new();
        for ((_, workspace), count) in &self.by_workspace {
            *totals.entry(*workspace).or_default() += count;
        }
        let here = |workspace| self.by_workspace.get(&(handler, workspace)).copied().unwrap_or(0);
        let busy = totals.iter().filter(|&(&id, &count)| count >= of_all || here(id) >= of_kind);
        busy.map(|(&workspace, _)| workspace).collect()
    }

    /// Fills the free workers: first with jobs of workspaces that are under their share; only then, where
    /// nobody else waits, with those of the others. Also gives the jobs that were out of attempts.
    pub async fn claim(
        &mut self,
        tx: &mut Tx,
        terms: &Terms<'_>,
    ) -> storage::Result<(Vec<Claimed>, Vec<Job>)> {
        let mut claimed = Vec::new();
        let mut dead = Vec::new();
        for fair in [true, false] {
            loop {
                let before = claimed.len();
                for offset in 0..self.handlers.len() {
                    let handler = (terms.first + offset) % self.handlers.len();
                    if !self.is_open(handler) {
                        continue;
                    }
                    let busy = if fair { self.busy_for(handler) } else { Vec::new() };
                    let (jobs, worn_out) = self.claim_batch(tx, terms, handler, &busy).await?;
                    dead.extend(worn_out);
                    if !jobs.is_empty() {
                        self.take(handler, &jobs);
                        claimed.push(Claimed { handler, jobs });
                    }
                }
                if claimed.len() == before {
                    break;
                }
            }
            // Nobody was left out, so there is nobody to let in.
            if (0..self.handlers.len()).all(|handler| self.busy_for(handler).is_empty()) {
                break;
            }
        }
        Ok((claimed, dead))
    }

    async fn claim_batch(
        &self,
        tx: &mut Tx,
        terms: &Terms<'_>,
        handler: usize,
        busy: &[WorkspaceId],
    ) -> storage::Result<(Vec<Job>, Vec<Job>)> {
        let handler = &self.handlers[handler];
        let claim = Claim {
            kinds: &[handler.kind()],
            owner: terms.owner,
            lease_until: terms.lease_until,
            limit: i64::try_from(handler.batch().max(1)).unwrap_or(i64::MAX),
            busy_workspaces: busy,
            max_losses: terms.max_losses,
        };
        storage::jobs::claim(tx, &claim, terms.now).await
    }
}

fn workspaces(jobs: &[Job]) -> HashSet<WorkspaceId> {
    jobs.iter().map(|job| job.workspace_id).collect()
}
