//! The queue as a state machine: histories of claims, heartbeats, ends, crashes, late workers and a clock that
//! jumps, against a model. 256 histories of up to 40 steps on SQLite and 64 on PostgreSQL, so that it takes
//! seconds; `VOCERO_QUEUE_HISTORIES` runs more (10,000 before a release).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::job::{JobState, NewJob};
use domain::{Ambient, JobId, ManualClock, Timestamp, WorkspaceId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use storage::Db;
use storage::jobs::{Claim, Ending};

use crate::support::{START, manual, workspace};

const WORKERS: [&str; 3] = ["ana", "berta", "carla"];
const LEASE: Duration = Duration::from_mins(1);
const MAX_ATTEMPTS: i64 = 3;

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
    /// A copy of a worker that lost its lease, or died half-way, writes after all.
    Late {
        which: usize,
        how: How,
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
        1 => worker.prop_map(|worker| Step::Crash { worker }),
        2 => (0..8_usize, how).prop_map(|(which, how)| Step::Late { which, how }),
        4 => (-30..90_i64).prop_map(|seconds| Step::Clock { seconds }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the model knows of a job.
#[derive(Debug, Clone, PartialEq)]
struct ModelJob {
    state: JobState,
    attempt: i64,
    /// When it runs next, or when its lease ends.
    due: Timestamp,
    run_at: Timestamp,
    holder: Option<usize>,
}

struct World<'a> {
    db: &'a Db,
    ambient: &'a Ambient,
    clock: &'a ManualClock,
    workspace: WorkspaceId,
    kind: &'static str,
    model: BTreeMap<JobId, ModelJob>,
    /// What each worker believes to hold.
    believed: [Vec<(JobId, i64)>; WORKERS.len()],
    /// What workers believed to hold when they crashed or were overtaken.
    late: Vec<(usize, JobId, i64)>,
    /// Who wrote the effect of each attempt. A worker that gives a job back takes its effect back as well.
    effects: HashMap<(JobId, i64), HashSet<usize>>,
}

impl World<'_> {
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
            Step::Crash { worker } => {
                let lost = std::mem::take(&mut self.believed[worker]);
                self.late.extend(lost.into_iter().map(|(job, attempt)| (worker, job, attempt)));
            }
            Step::Late { which, how } => {
                if let Some(&(worker, job, attempt)) = pick(&self.late, which) {
                    self.effect(job, attempt, worker).await?;
                    self.finish(worker, job, attempt, how).await?;
                    self.late.retain(|late| *late != (worker, job, attempt));
                }
            }
            Step::Clock { seconds } => {
                let now = self.ambient.now().micros() + seconds * 1_000_000;
                self.clock.set(Timestamp::from_micros(now));
            }
        }
        Ok(())
    }

    async fn enqueue(&mut self) {
        let now = self.ambient.now();
        let job = NewJob {
            max_attempts: MAX_ATTEMPTS,
            ..NewJob::now(self.kind, serde_json::Value::Null, now)
        };
        let mut tx = self.db.write().await.unwrap();
        let id = storage::jobs::enqueue(&mut tx, self.ambient, self.workspace, &job).await;
        tx.commit().await.unwrap();
        let waiting =
            ModelJob { state: JobState::Waiting, attempt: 0, due: now, run_at: now, holder: None };
        self.model.insert(id.unwrap().unwrap(), waiting);
    }

    async fn claim(&mut self, worker: usize, limit: i64) -> Result<(), TestCaseError> {
        let now = self.ambient.now();
        let lease_until = now.plus(LEASE);
        let claim = Claim {
            kinds: &[self.kind],
            owner: WORKERS[worker],
            lease_until,
            limit,
            busy_workspaces: &[],
        };
        let mut tx = self.db.write().await.unwrap();
        let (claimed, dead) = storage::jobs::claim(&mut tx, &claim, now).await.unwrap();
        tx.commit().await.unwrap();

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
                // The former holder does not know; what it believes is late from now on.
                let believed = (id, job.attempt);
                if self.believed[holder].contains(&believed) {
                    self.believed[holder].retain(|held| *held != believed);
                    self.late.push((holder, id, job.attempt));
                }
            }
            if job.attempt >= MAX_ATTEMPTS {
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
        let mut tx = self.db.write().await.unwrap();
        let held = storage::jobs::heartbeat(&mut tx, WORKERS[worker], &believed, lease_until).await;
        tx.commit().await.unwrap();
        let mut held: Vec<JobId> = held.unwrap().into_iter().map(|held| held.id).collect();
        let mut expected: Vec<JobId> = believed
            .iter()
            .filter(|(id, attempt)| self.holds(worker, *id, *attempt))
            .map(|(id, _)| *id)
            .collect();
        held.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&held, &expected, "prolonged");
        for id in held {
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
        let mut tx = self.db.write().await.unwrap();
        let held = storage::jobs::holds(&mut tx, job, attempt).await.unwrap();
        tx.commit().await.unwrap();
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
        let mut tx = self.db.write().await.unwrap();
        let endings = [(job, attempt, ending)];
        let noted = storage::jobs::finish(&mut tx, WORKERS[worker], &endings, now).await.unwrap();
        tx.commit().await.unwrap();
        let holds = self.holds(worker, job, attempt);
        prop_assert_eq!(noted, vec![holds], "its end is noted");
        if !holds {
            return Ok(());
        }
        let model = self.model.get_mut(&job).unwrap();
        model.holder = None;
        match how {
            How::Done => model.state = JobState::Done,
            How::Dead => model.state = JobState::Dead,
            How::Retry { .. } if model.attempt >= MAX_ATTEMPTS => model.state = JobState::Dead,
            How::Retry { .. } => {
                model.state = JobState::Waiting;
                model.run_at = at;
                model.due = at;
            }
            How::Released => {
                model.state = JobState::Waiting;
                model.attempt -= 1;
                model.due = model.run_at;
                self.effects.remove(&(job, attempt));
            }
        }
        Ok(())
    }

    fn holds(&self, worker: usize, job: JobId, attempt: i64) -> bool {
        let model = &self.model[&job];
        model.state == JobState::Running && model.holder == Some(worker) && model.attempt == attempt
    }

    /// Every job is as the model says, and none has two holders.
    async fn compare(&self) -> Result<(), TestCaseError> {
        let mut conn = self.db.read().await.unwrap();
        for (id, model) in &self.model {
            let job = storage::jobs::get(&mut conn, self.workspace, *id).await.unwrap();
            let job = job.expect("no job is lost");
            prop_assert_eq!((job.state, job.attempt), (model.state, model.attempt), "job {}", id);
            let holders = (0..WORKERS.len())
                .filter(|&worker| {
                    let held = self.believed[worker].iter();
                    held.filter(|(job, _)| job == id).any(|&(job, n)| self.holds(worker, job, n))
                })
                .count();
            prop_assert!(holders <= 1, "job {} has {} holders", id, holders);
        }
        Ok(())
    }

    /// A last worker that does its work finds every job that was neither done nor dead.
    async fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..=MAX_ATTEMPTS {
            self.clock.set(self.ambient.now().plus(Duration::from_hours(1)));
            self.claim(0, 1_000).await?;
            for (job, attempt) in std::mem::take(&mut self.believed[0]) {
                self.effect(job, attempt, 0).await?;
                self.finish(0, job, attempt, How::Done).await?;
            }
        }
        for (id, job) in &self.model {
            let ended = matches!(job.state, JobState::Done | JobState::Dead);
            prop_assert!(ended, "job {} was lost in {:?}", id, job.state);
        }
        self.compare().await
    }
}

fn pick<T>(list: &[T], which: usize) -> Option<&T> {
    if list.is_empty() { None } else { list.get(which % list.len()) }
}

fn run(runtime: &tokio::runtime::Runtime, db: &Db, histories: u32) {
    let (clock, ambient) = manual();
    let workspace = runtime.block_on(workspace(db, &ambient));
    let clock: Arc<ManualClock> = clock;
    let mut runner = TestRunner::new(Config {
        cases: histories,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&steps(), |steps| {
        clock.set(START);
        // A kind of its own keeps the histories apart in one database.
        let kind: &'static str = Box::leak(format!("test.{}", ambient.new_uuid()).into_boxed_str());
        runtime.block_on(async {
            let mut world = World {
                db,
                ambient: &ambient,
                clock: &clock,
                workspace,
                kind,
                model: BTreeMap::new(),
                believed: std::array::from_fn(|_| Vec::new()),
                late: Vec::new(),
                effects: HashMap::new(),
            };
            for step in &steps {
                world.step(step).await?;
                world.compare().await?;
            }
            world.drain().await?;
            let doubled = world.effects.values().filter(|workers| workers.len() > 1).count();
            prop_assert_eq!(doubled, 0, "attempts whose effect two workers wrote");
            Ok(())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn histories(default: u32) -> u32 {
    let wanted = std::env::var("VOCERO_QUEUE_HISTORIES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_queue_follows_its_model_through_crashes_late_workers_and_clock_jumps() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sqlite = runtime.block_on(testkit::db::sqlite());
    run(&runtime, &sqlite.db, histories(256));
    let postgres = runtime.block_on(testkit::db::postgres("the queue follows its model"));
    if let Some(postgres) = postgres {
        run(&runtime, &postgres.db, histories(64));
    }
}
