//! The queue as a state machine: histories of claims, heartbeats, ends, cancellations, crashes, late workers and a
//! clock that jumps, against a model. 10,000 histories of up to 40 steps on SQLite, each in one transaction that is
//! rolled back, so that they cost statements and no commits; 64 on each database commit every step.
//! `VOCERO_QUEUE_HISTORIES` changes the first number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::job::{Job, JobState, NewJob};
use domain::{Ambient, JobId, ManualClock, Timestamp, WorkspaceId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use storage::jobs::{Claim, Ending};
use storage::{Db, Tx};

use crate::support::{START, manual, workspace};

const WORKERS: [&str; 3] = ["ana", "berta", "carla"];
const LEASE: Duration = Duration::from_mins(1);
const MAX_ATTEMPTS: i64 = 3;
const MAX_LOSSES: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Enqueue,
    Claim {
        worker: usize,
        limit: i64,
    },
    Heartbeat {
        worker: usize,
    },
    /// A worker writes the effect of a job that it believes to hold.
    Effect {
        worker: usize,
        which: usize,
    },
    Finish {
        worker: usize,
        which: usize,
        how: How,
    },
    /// The worker's process dies; its claims are forgotten by it, but a copy may write on.
    Crash {
        worker: usize,
    },
    /// Its next start frees what it held.
    TakeOver {
        worker: usize,
    },
    /// A copy of a worker that lost its lease, or died half-way, writes after all.
    Late {
        which: usize,
        how: How,
    },
    /// The owner wants a job stopped.
    Cancel {
        which: usize,
    },
    /// A person puts a dead job back.
    Revive {
        which: usize,
    },
    Clock {
        seconds: i64,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    Retry { wait: i64 },
    Dead,
    Released,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..WORKERS.len();
    let how = prop_oneof![
        3 => Just(How::Done),
        3 => (0..100_i64).prop_map(|wait| How::Retry { wait }),
        1 => Just(How::Dead),
        1 => Just(How::Released),
    ];
    let step = prop_oneof![
        3 => Just(Step::Enqueue),
        6 => (worker.clone(), 1..4_i64).prop_map(|(worker, limit)| Step::Claim { worker, limit }),
        2 => worker.clone().prop_map(|worker| Step::Heartbeat { worker }),
        4 => (worker.clone(), 0..4_usize).prop_map(|(worker, which)| Step::Effect { worker, which }),
        4 => (worker.clone(), 0..4_usize, how.clone())
            .prop_map(|(worker, which, how)| Step::Finish { worker, which, how }),
        1 => worker.clone().prop_map(|worker| Step::Crash { worker }),
        1 => worker.prop_map(|worker| Step::TakeOver { worker }),
        2 => (0..8_usize, how).prop_map(|(which, how)| Step::Late { which, how }),
        1 => (0..8_usize).prop_map(|which| Step::Cancel { which }),
        1 => (0..8_usize).prop_map(|which| Step::Revive { which }),
        4 => (-30..90_i64).prop_map(|seconds| Step::Clock { seconds }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the model knows of a job.
#[derive(Debug, Clone, PartialEq)]
struct ModelJob {
    state: JobState,
    attempt: i64,
    losses: i64,
    max_attempts: i64,
    /// Whether its owner wants it stopped.
    stopping: bool,
    /// When it runs next, or when its lease ends.
    due: Timestamp,
    run_at: Timestamp,
    holder: Option<usize>,
    key: String,
}

struct World<'a> {
    db: &'a Db,
    ambient: &'a Ambient,
    clock: &'a ManualClock,
    workspace: WorkspaceId,
    kind: &'static str,
    /// The transaction of the step, or of the whole history.
    tx: Option<Tx>,
    commits: bool,
    model: BTreeMap<JobId, ModelJob>,
    /// What each worker believes to hold.
    believed: [Vec<(JobId, i64)>; WORKERS.len()],
    /// What workers believed to hold when they crashed or were overtaken.
    late: Vec<(usize, JobId, i64)>,
    /// Who wrote the effect of each attempt. A worker that gives a job back takes its effect back as well.
    effects: HashMap<(JobId, i64), HashSet<usize>>,
}

impl World<'_> {
    fn tx(&mut self) -> &mut Tx {
        self.tx.as_mut().expect("a transaction is open")
    }

    /// Ends the step's transaction, where each step has its own.
    async fn end_step(&mut self) {
        if !self.commits {
            return;
        }
        if let Some(tx) = self.tx.take() {
            tx.commit().await.unwrap();
        }
        self.tx = Some(self.db.write().await.unwrap());
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Enqueue => self.enqueue().await,
            Step::Claim { worker, limit } => self.claim(worker, limit).await?,
            Step::Heartbeat { worker } => self.heartbeat(worker).await?,
            Step::Effect { worker, which } => {
                if let Some(&(job, attempt)) = pick(&self.believed[worker], which) {
                    self.effect(job, attempt, worker).await?;
                }
            }
            Step::Finish { worker, which, how } => {
                if let Some(&(job, attempt)) = pick(&self.believed[worker], which) {
                    self.finish(worker, job, attempt, how).await?;
                    self.believed[worker].retain(|held| *held != (job, attempt));
                }
            }
            Step::Crash { worker } => self.crash(worker),
            Step::TakeOver { worker } => self.take_over(worker).await?,
            Step::Late { which, how } => {
                if let Some(&(worker, job, attempt)) = pick(&self.late, which) {
                    self.effect(job, attempt, worker).await?;
                    self.finish(worker, job, attempt, how).await?;
                    self.late.retain(|late| *late != (worker, job, attempt));
                }
            }
            Step::Cancel { which } => self.cancel(which).await?,
            Step::Revive { which } => self.revive(which).await?,
            Step::Clock { seconds } => {
                let now = self.ambient.now().micros() + seconds * 1_000_000;
                self.clock.set(Timestamp::from_micros(now));
            }
        }
        self.end_step().await;
        Ok(())
    }

    async fn enqueue(&mut self) {
        let (now, key) = (self.ambient.now(), format!("{}", self.model.len()));
        let job = NewJob {
            max_attempts: MAX_ATTEMPTS,
            dedupe_key: Some(key.clone()),
            ..NewJob::now(self.kind, serde_json::Value::Null, now)
        };
        let (ambient, workspace) = (self.ambient, self.workspace);
        let id = storage::jobs::enqueue(self.tx(), ambient, workspace, &job).await;
        let waiting = ModelJob {
            state: JobState::Waiting,
            attempt: 0,
            losses: 0,
            max_attempts: MAX_ATTEMPTS,
            stopping: false,
            due: now,
            run_at: now,
            holder: None,
            key,
        };
        self.model.insert(id.unwrap().unwrap(), waiting);
    }

    fn crash(&mut self, worker: usize) {
        let lost = std::mem::take(&mut self.believed[worker]);
        self.late.extend(lost.into_iter().map(|(job, attempt)| (worker, job, attempt)));
    }

    async fn take_over(&mut self, worker: usize) -> Result<(), TestCaseError> {
        self.crash(worker);
        let now = self.ambient.now();
        let freed = storage::jobs::expire_leases(self.tx(), WORKERS[worker], now).await.unwrap();
        let mut expected = 0;
        for job in self.model.values_mut() {
            if job.state == JobState::Running && job.holder == Some(worker) && job.due > now {
                job.due = now;
                expected += 1;
            }
        }
        prop_assert_eq!(freed, expected, "freed");
        Ok(())
    }

    async fn claim(&mut self, worker: usize, limit: i64) -> Result<(), TestCaseError> {
        let now = self.ambient.now();
        let lease_until = now.plus(LEASE);
        let kinds = [self.kind];
        let claim = Claim {
            kinds: &kinds,
            owner: WORKERS[worker],
            lease_until,
            limit,
            busy_workspaces: &[],
            max_losses: MAX_LOSSES,
        };
        let (claimed, dead) = storage::jobs::claim(self.tx(), &claim, now).await.unwrap();

        let mut due: Vec<(Timestamp, JobId)> = self
            .model
            .iter()
            .filter(|(_, job)| matches!(job.state, JobState::Waiting | JobState::Running))
            .filter(|(_, job)| job.due <= now)
            .map(|(id, job)| (job.due, *id))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap());
        let mut expected_claims = Vec::new();
        let mut expected_dead = Vec::new();
        for (_, id) in due {
            let job = self.model.get_mut(&id).unwrap();
            if let Some(holder) = job.holder.take() {
                job.losses += 1;
                // The former holder does not know; what it believes is late from now on.
                let believed = (id, job.attempt);
                if self.believed[holder].contains(&believed) {
                    self.believed[holder].retain(|held| *held != believed);
                    self.late.push((holder, id, job.attempt));
                }
            }
            if job.stopping {
                job.state = JobState::Cancelled;
            } else if job.state == JobState::Running && job.losses >= MAX_LOSSES {
                job.state = JobState::Dead;
                expected_dead.push(id);
            } else {
                job.state = JobState::Running;
                job.attempt += 1;
                job.due = lease_until;
                job.holder = Some(worker);
                expected_claims.push((id, job.attempt));
                self.believed[worker].push((id, job.attempt));
            }
        }
        let mut claims: Vec<_> = claimed.iter().map(|job| (job.id, job.attempt)).collect();
        let mut deaths: Vec<_> = dead.iter().map(|job| job.id).collect();
        claims.sort_unstable();
        deaths.sort_unstable();
        expected_claims.sort_unstable();
        expected_dead.sort_unstable();
        prop_assert_eq!(claims, expected_claims, "claimed");
        prop_assert_eq!(deaths, expected_dead, "dead");
        Ok(())
    }

    async fn heartbeat(&mut self, worker: usize) -> Result<(), TestCaseError> {
        let lease_until = self.ambient.now().plus(LEASE);
        let believed = self.believed[worker].clone();
        let held =
            storage::jobs::heartbeat(self.tx(), WORKERS[worker], &believed, lease_until).await;
        let mut held: Vec<(JobId, bool)> =
            held.unwrap().into_iter().map(|held| (held.id, held.cancel_requested)).collect();
        let mut expected: Vec<(JobId, bool)> = believed
            .iter()
            .filter(|(id, attempt)| self.holds(worker, *id, *attempt))
            .map(|(id, _)| (*id, self.model[id].stopping))
            .collect();
        held.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&held, &expected, "prolonged");
        for (id, _) in held {
            self.model.get_mut(&id).unwrap().due = lease_until;
        }
        Ok(())
    }

    /// The effect is written only where the job is still held, in the same transaction.
    async fn effect(
        &mut self,
        job: JobId,
        attempt: i64,
        worker: usize,
    ) -> Result<(), TestCaseError> {
        let held = storage::jobs::holds(self.tx(), job, attempt).await.unwrap();
        prop_assert_eq!(held, self.holds(worker, job, attempt), "may write its effect");
        if held {
            self.effects.entry((job, attempt)).or_default().insert(worker);
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        worker: usize,
        job: JobId,
        attempt: i64,
        how: How,
    ) -> Result<(), TestCaseError> {
        let now = self.ambient.now();
        let at = match how {
            How::Retry { wait } => now.plus(Duration::from_secs(wait.unsigned_abs())),
            _ => now,
        };
        let ending = match how {
            How::Done => Ending::Done,
            How::Retry { .. } => Ending::Retry { at, error: "again".into() },
            How::Dead => Ending::Dead { error: "never".into() },
            How::Released => Ending::Released,
        };
        let endings = [(job, attempt, ending)];
        let noted = storage::jobs::finish(self.tx(), WORKERS[worker], &endings, now).await.unwrap();
        let holds = self.holds(worker, job, attempt);
        prop_assert_eq!(noted, vec![holds], "its end is noted");
        if !holds {
            return Ok(());
        }
        let model = self.model.get_mut(&job).unwrap();
        model.holder = None;
        let is_last = model.attempt - model.losses >= model.max_attempts;
        if let How::Released = how {
            model.attempt -= 1;
            self.effects.remove(&(job, attempt));
        }
        if let How::Retry { .. } = how {
            model.run_at = at;
        }
        model.due = model.run_at;
        model.state = match how {
            How::Done => JobState::Done,
            How::Dead => JobState::Dead,
            How::Retry { .. } | How::Released if model.stopping => JobState::Cancelled,
            How::Retry { .. } if is_last => JobState::Dead,
            How::Retry { .. } | How::Released => JobState::Waiting,
        };
        Ok(())
    }

    async fn cancel(&mut self, which: usize) -> Result<(), TestCaseError> {
        let ids: Vec<JobId> = self.model.keys().copied().collect();
        let Some(id) = pick(&ids, which) else { return Ok(()) };
        let (now, workspace, kind) = (self.ambient.now(), self.workspace, self.kind);
        let key = self.model[id].key.clone();
        let cancelled = storage::jobs::cancel(self.tx(), workspace, kind, &key, now).await.unwrap();
        let model = self.model.get_mut(id).unwrap();
        let is_open = matches!(model.state, JobState::Waiting | JobState::Running);
        prop_assert_eq!(cancelled == 1, is_open && !model.stopping, "cancelled");
        if is_open {
            model.stopping = true;
        }
        if model.state == JobState::Waiting {
            model.state = JobState::Cancelled;
        }
        Ok(())
    }

    async fn revive(&mut self, which: usize) -> Result<(), TestCaseError> {
        let ids: Vec<JobId> = self.model.keys().copied().collect();
        let Some(id) = pick(&ids, which) else { return Ok(()) };
        let (now, workspace) = (self.ambient.now(), self.workspace);
        let revived = storage::jobs::revive(self.tx(), workspace, *id, now).await.unwrap();
        let model = self.model.get_mut(id).unwrap();
        prop_assert_eq!(revived, model.state == JobState::Dead, "revived");
        if revived {
            model.state = JobState::Waiting;
            model.run_at = now;
            model.due = now;
            model.losses = 0;
            model.stopping = false;
            model.max_attempts = model.attempt + NewJob::MAX_ATTEMPTS;
        }
        Ok(())
    }

    fn holds(&self, worker: usize, job: JobId, attempt: i64) -> bool {
        let model = &self.model[&job];
        model.state == JobState::Running && model.holder == Some(worker) && model.attempt == attempt
    }

    /// Every job is as the model says: none is lost, none is there that the model does not know.
    async fn compare(&mut self) -> Result<(), TestCaseError> {
        let workspace = self.workspace;
        let mut found: Vec<Job> = Vec::new();
        for state in JobState::ALL {
            found.extend(storage::jobs::list(self.tx(), workspace, state, i64::MAX).await.unwrap());
        }
        let known = found.iter().filter(|job| self.model.contains_key(&job.id)).count();
        prop_assert_eq!(known, self.model.len(), "jobs were lost");
        for job in &found {
            let Some(model) = self.model.get(&job.id) else {
                prop_assert!(self.commits, "a job that nobody wanted: {}", job.id);
                continue;
            };
            prop_assert_eq!(
                (job.state, job.attempt, job.losses),
                (model.state, model.attempt, model.losses),
                "job {}",
                job.id
            );
            let due = job.lease_until.unwrap_or(job.run_at);
            let is_open = matches!(job.state, JobState::Waiting | JobState::Running);
            prop_assert!(!is_open || due == model.due, "job {} is due at {:?}", job.id, due);
        }
        Ok(())
    }

    /// A last worker that does its work finds every job that has not ended.
    async fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..=MAX_LOSSES {
            self.clock.set(self.ambient.now().plus(Duration::from_hours(1)));
            self.claim(0, 1_000).await?;
            for (job, attempt) in std::mem::take(&mut self.believed[0]) {
                self.effect(job, attempt, 0).await?;
                self.finish(0, job, attempt, How::Done).await?;
            }
        }
        for (id, job) in &self.model {
            let is_open = matches!(job.state, JobState::Waiting | JobState::Running);
            prop_assert!(!is_open, "job {} was lost in {:?}", id, job.state);
        }
        self.compare().await
    }
}

fn pick<T>(list: &[T], which: usize) -> Option<&T> {
    if list.is_empty() { None } else { list.get(which % list.len()) }
}

/// Runs histories, one after the other; `commits` says whether each step has a transaction of its own.
fn run(runtime: &tokio::runtime::Runtime, db: &Db, histories: u32, commits: bool) {
    let (clock, ambient) = manual();
    let clock: Arc<ManualClock> = clock;
    let workspace = runtime.block_on(workspace(db, &ambient));
    let mut runner = TestRunner::new(Config {
        cases: histories,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&steps(), |steps| {
        clock.set(START);
        // A kind of its own keeps what a history has committed apart from the others.
        let kind: &'static str = if commits {
            Box::leak(format!("test.{}", ambient.new_uuid()).into_boxed_str())
        } else {
            "test.job"
        };
        runtime.block_on(async {
            let mut world = World {
                db,
                ambient: &ambient,
                clock: &clock,
                workspace,
                kind,
                tx: Some(db.write().await.unwrap()),
                commits,
                model: BTreeMap::new(),
                believed: std::array::from_fn(|_| Vec::new()),
                late: Vec::new(),
                effects: HashMap::new(),
            };
            for step in &steps {
                world.step(step).await?;
            }
            world.compare().await?;
            world.drain().await?;
            world.end_step().await;
            let doubled = world.effects.values().filter(|workers| workers.len() > 1).count();
            prop_assert_eq!(doubled, 0, "attempts whose effect two workers wrote");
            Ok(())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn the_queue_follows_its_model_through_crashes_late_workers_and_clock_jumps() {
    let wanted = std::env::var("VOCERO_QUEUE_HISTORIES").ok();
    let wanted: u32 = wanted.and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let lanes = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let lanes = u32::try_from(lanes).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let runtime = runtime();
                let sqlite = runtime.block_on(testkit::db::sqlite());
                run(&runtime, &sqlite.db, wanted.div_ceil(lanes), false);
            });
        }
    });
}

#[test]
fn the_queue_follows_its_model_when_every_step_is_committed() {
    let runtime = runtime();
    for test in runtime.block_on(testkit::db::databases("the queue follows its model")) {
        run(&runtime, &test.db, 64, true);
    }
}
