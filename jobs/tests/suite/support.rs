//! A handler that does as it is told, and ways to wait for what happens.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::job::{Job, JobState, NewJob};
use domain::{Ambient, JobId, ManualClock, SeededEntropy, Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, Outcome, Runner, RunnerOptions};
use serde_json::json;
use storage::{Db, Tx};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a test waits for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(30);

pub const START: Timestamp = Timestamp::from_micros(1_750_000_000_000_000);

/// A clock moved by hand, and the ambient that reads it.
pub fn manual() -> (Arc<ManualClock>, Ambient) {
    let clock = Arc::new(ManualClock::new(START));
    let ambient = Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(11)));
    (clock, ambient)
}

pub async fn workspace(db: &Db, ambient: &Ambient) -> WorkspaceId {
    let mut tx = db.write().await.unwrap();
    let born = storage::workspaces::create(&mut tx, ambient, "Prueba").await.unwrap();
    tx.commit().await.unwrap();
    born.workspace.id
}

pub async fn enqueue(
    db: &Db,
    ambient: &Ambient,
    workspace: WorkspaceId,
    kind: &'static str,
    count: usize,
) -> Vec<JobId> {
    let mut tx = db.write().await.unwrap();
    let mut ids = Vec::new();
    for number in 0..count {
        let key = format!("{number}-{}", ambient.new_uuid());
        let job = NewJob {
            max_attempts: 3,
            dedupe_key: Some(key.clone()),
            ..NewJob::now(kind, json!({ "key": key }), ambient.now())
        };
        ids.push(storage::jobs::enqueue(&mut tx, ambient, workspace, &job).await.unwrap().unwrap());
    }
    tx.commit().await.unwrap();
    ids
}

pub async fn get(db: &Db, workspace: WorkspaceId, job: JobId) -> Job {
    storage::jobs::get(&mut db.read().await.unwrap(), workspace, job).await.unwrap().unwrap()
}

/// Waits until the job is in the state; looks again after every commit that concerns jobs and, because not
/// every change of a job wakes somebody up, at short intervals.
pub async fn wait_for(db: &Db, workspace: WorkspaceId, job: JobId, state: JobState) -> Job {
    let look = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            let found = get(db, workspace, job).await;
            if found.state == state {
                return found;
            }
            tick.tick().await;
        }
    };
    let Ok(found) = tokio::time::timeout(PATIENCE, look).await else {
        panic!("not {state:?} in time: {:?}", get(db, workspace, job).await)
    };
    found
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// A running runner.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(
        db: &Db,
        ambient: &Ambient,
        handlers: Vec<Arc<dyn Handler>>,
        options: RunnerOptions,
    ) -> Self {
        let stop = CancellationToken::new();
        let runner = Runner::new(db.clone(), ambient.clone(), handlers, options);
        let task = TaskTracker::new().spawn(runner.run(stop.clone()));
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        soon(self.task).await.unwrap();
    }

    /// As a process that dies: nothing is released.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Looks at the queue often, because tests move the clock by hand.
pub fn options(workers: usize) -> RunnerOptions {
    RunnerOptions {
        workers,
        idle_poll: Duration::from_millis(10),
        heartbeat: Duration::from_millis(20),
        grace: Duration::from_millis(300),
        max_losses: 3,
        ..RunnerOptions::default()
    }
}

/// A call of the handler, to be answered by the test.
pub struct Call {
    pub jobs: Vec<Job>,
    pub context: JobContext,
    pub answer: tokio::sync::oneshot::Sender<Reply>,
}

pub enum Reply {
    Outcomes(Vec<Outcome>),
    Panic,
}

impl Call {
    pub fn answer(self, outcome: &Outcome) {
        let outcomes = self.jobs.iter().map(|_| outcome.clone()).collect();
        let _ = self.answer.send(Reply::Outcomes(outcomes));
    }
}

/// Hands every call to the test.
pub struct Puppet {
    pub kind: &'static str,
    pub batch: usize,
    pub concurrency: usize,
    calls: mpsc::UnboundedSender<Call>,
    /// What dead jobs were told to the handler, with the error.
    pub dead: Mutex<HashMap<JobId, String>>,
}

impl Puppet {
    pub fn new(kind: &'static str, batch: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (calls, received) = mpsc::unbounded_channel();
        let puppet = Self { kind, batch, concurrency: usize::MAX, calls, dead: Mutex::default() };
        (Arc::new(puppet), received)
    }
}

#[async_trait]
impl Handler for Puppet {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let call = Call { jobs: jobs.to_vec(), context: context.clone(), answer };
        self.calls.send(call).expect("the test listens");
        match answered.await {
            Ok(Reply::Outcomes(outcomes)) => outcomes,
            Ok(Reply::Panic) => panic!("the handler was told to panic"),
            // The test let go of the call: the job hangs.
            Err(_) => std::future::pending().await,
        }
    }

    async fn on_dead(&self, _tx: &mut Tx, job: &Job, error: &str) -> storage::Result<()> {
        self.dead.lock().await.insert(job.id, error.to_owned());
        Ok(())
    }
}
