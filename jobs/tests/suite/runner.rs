use std::collections::HashSet;
use std::time::Duration;

use domain::job::JobState;
use jobs::JobError;
use testkit::db::databases;

use crate::support::{
    Puppet, Reply, Running, enqueue, get, manual, options, soon, wait_for, workspace,
};

const KIND: &str = "test.job";

#[tokio::test]
async fn a_failed_job_waits_longer_each_time_then_is_dead_and_can_be_revived() {
    for test in databases("a failed job waits, dies and is revived").await {
        let (clock, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let job = enqueue(db, &ambient, owner, KIND, 1).await[0];
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet.clone()], options(2));

        for (attempt, least) in [(1, Duration::from_millis(2_500)), (2, Duration::from_secs(5))] {
            let call = soon(calls.recv()).await.unwrap();
            assert_eq!(call.jobs[0].attempt, attempt);
            call.answer(&Err(JobError::retry("out of order")));
            let waiting = wait_for(db, owner, job, JobState::Waiting).await;
            let wait = waiting.run_at.since(ambient.now());
            assert!(wait >= least && wait <= least * 2, "attempt {attempt} waits {wait:?}");
            assert_eq!(waiting.last_error.as_deref(), Some("out of order"));
            clock.advance(wait);
        }
        soon(calls.recv()).await.unwrap().answer(&Err(JobError::retry("out of order")));
        wait_for(db, owner, job, JobState::Dead).await;
        assert_eq!(puppet.dead.lock().await.get(&job).map(String::as_str), Some("out of order"));

        let mut tx = db.write().await.unwrap();
        assert!(storage::jobs::revive(&mut tx, owner, job, ambient.now()).await.unwrap());
        tx.commit().await.unwrap();
        soon(calls.recv()).await.unwrap().answer(&Ok(()));
        wait_for(db, owner, job, JobState::Done).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_job_that_failed_for_good_is_dead_at_once_and_its_handler_is_told() {
    for test in databases("a job that failed for good is dead at once").await {
        let (_, ambient) = manual();
        let owner = workspace(&test.db, &ambient).await;
        let job = enqueue(&test.db, &ambient, owner, KIND, 1).await[0];
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(&test.db, &ambient, vec![puppet.clone()], options(1));
        soon(calls.recv()).await.unwrap().answer(&Err(JobError::Permanent("never".into())));
        let dead = wait_for(&test.db, owner, job, JobState::Dead).await;
        assert_eq!((dead.attempt, dead.last_error.as_deref()), (1, Some("never")));
        assert_eq!(puppet.dead.lock().await.get(&job).map(String::as_str), Some("never"));
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_job_may_say_itself_when_to_try_again() {
    for test in databases("a job says when to try again").await {
        let (_, ambient) = manual();
        let owner = workspace(&test.db, &ambient).await;
        let job = enqueue(&test.db, &ambient, owner, KIND, 1).await[0];
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(&test.db, &ambient, vec![puppet], options(1));
        let after = Duration::from_secs(77);
        let error = JobError::Retry { message: "busy".into(), after: Some(after) };
        soon(calls.recv()).await.unwrap().answer(&Err(error));
        let waiting = wait_for(&test.db, owner, job, JobState::Waiting).await;
        assert_eq!(waiting.run_at, ambient.now().plus(after));
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_does_not_hurt_the_runner() {
    for test in databases("a panic is a failed attempt").await {
        let (clock, ambient) = manual();
        let owner = workspace(&test.db, &ambient).await;
        let job = enqueue(&test.db, &ambient, owner, KIND, 1).await[0];
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(&test.db, &ambient, vec![puppet], options(1));
        let call = soon(calls.recv()).await.unwrap();
        assert!(call.answer.send(Reply::Panic).is_ok());
        let waiting = wait_for(&test.db, owner, job, JobState::Waiting).await;
        assert_eq!(waiting.attempt, 1);
        let error = waiting.last_error.unwrap();
        assert!(error.contains("told to panic"), "{error}");
        clock.advance(Duration::from_secs(5));
        soon(calls.recv()).await.unwrap().answer(&Ok(()));
        wait_for(&test.db, owner, job, JobState::Done).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn jobs_that_failed_before_run_alone() {
    for test in databases("jobs that failed before run alone").await {
        let (clock, ambient) = manual();
        let owner = workspace(&test.db, &ambient).await;
        let jobs = enqueue(&test.db, &ambient, owner, KIND, 5).await;
        let (puppet, mut calls) = Puppet::new(KIND, 5);
        let runner = Running::start(&test.db, &ambient, vec![puppet], options(1));
        let call = soon(calls.recv()).await.unwrap();
        assert_eq!(call.jobs.len(), 5);
        assert!(call.answer.send(Reply::Panic).is_ok());
        for job in &jobs {
            wait_for(&test.db, owner, *job, JobState::Waiting).await;
        }
        clock.advance(Duration::from_secs(5));
        let mut alone = HashSet::new();
        for _ in &jobs {
            let call = soon(calls.recv()).await.unwrap();
            assert_eq!(call.jobs.len(), 1);
            alone.insert(call.jobs[0].id);
            call.answer(&Ok(()));
        }
        assert_eq!(alone, jobs.iter().copied().collect());
        for job in jobs {
            wait_for(&test.db, owner, job, JobState::Done).await;
        }
        runner.stop().await;
    }
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_old_worker_changes_nothing() {
    for test in databases("an expired lease is taken over").await {
        let (clock, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let job = enqueue(db, &ambient, owner, KIND, 1).await[0];

        // This worker never sends a heartbeat.
        let mut sleepy = options(1);
        sleepy.heartbeat = Duration::from_hours(1);
        let (first, mut first_calls) = Puppet::new(KIND, 1);
        let first_runner = Running::start(db, &ambient, vec![first], sleepy);
        let first_call = soon(first_calls.recv()).await.unwrap();

        let (second, mut second_calls) = Puppet::new(KIND, 1);
        let second_runner = Running::start(db, &ambient, vec![second], options(1));
        clock.advance(Duration::from_secs(61));
        let second_call = soon(second_calls.recv()).await.unwrap();
        assert_eq!((second_call.jobs[0].id, second_call.jobs[0].attempt), (job, 2));

        first_call.answer(&Err(JobError::Permanent("too late".into())));
        // The first runner is idle only after it noted the end of its job.
        first_runner.stop().await;
        let running = get(db, owner, job).await;
        assert_eq!((running.state, running.attempt), (JobState::Running, 2));

        second_call.answer(&Ok(()));
        wait_for(db, owner, job, JobState::Done).await;
        second_runner.stop().await;
    }
}

#[tokio::test]
async fn a_worker_whose_lease_was_lost_is_told_to_stop() {
    for test in databases("a worker whose lease was lost is told").await {
        let (_, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        enqueue(db, &ambient, owner, KIND, 1).await;
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet], options(1));
        let call = soon(calls.recv()).await.unwrap();

        // Another process, whose clock is ahead, takes the job over. A heartbeat under way keeps it out.
        let later = ambient.now().plus(Duration::from_hours(1));
        let claim = storage::jobs::Claim {
            kinds: &[KIND],
            owner: "thief",
            lease_until: later.plus(Duration::from_mins(1)),
            limit: 1,
            busy_workspaces: &[],
            max_losses: 9,
        };
        let stealing = async {
            loop {
                let mut tx = db.write().await.unwrap();
                let (claimed, _) = storage::jobs::claim(&mut tx, &claim, later).await.unwrap();
                tx.commit().await.unwrap();
                if !claimed.is_empty() {
                    return;
                }
            }
        };
        soon(stealing).await;
        soon(call.context.cancel.cancelled()).await;
        assert_eq!(call.context.interruption(call.jobs[0].id), Some(JobError::Released));
        runner.crash().await;
    }
}

#[tokio::test]
async fn heartbeats_keep_a_long_job() {
    for test in databases("heartbeats keep a long job").await {
        let (clock, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let job = enqueue(db, &ambient, owner, KIND, 1).await[0];
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet], options(2));
        let call = soon(calls.recv()).await.unwrap();
        let mut until = get(db, owner, job).await.lease_until.unwrap();
        for _ in 0..5 {
            clock.advance(Duration::from_secs(30));
            let prolonged = async {
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                loop {
                    tick.tick().await;
                    let found = get(db, owner, job).await.lease_until.unwrap();
                    if found > until {
                        return found;
                    }
                }
            };
            until = soon(prolonged).await;
        }
        assert!(ambient.now().since(super::support::START) > Duration::from_mins(2));
        call.answer(&Ok(()));
        let done = wait_for(db, owner, job, JobState::Done).await;
        assert_eq!(done.attempt, 1);
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_job_that_takes_its_process_down_each_time_is_given_up_in_the_end() {
    for test in databases("a job that takes its process down").await {
        let (clock, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let job = enqueue(db, &ambient, owner, KIND, 1).await[0];
        for attempt in 1..=3 {
            let (puppet, mut calls) = Puppet::new(KIND, 1);
            let runner = Running::start(db, &ambient, vec![puppet], options(1));
            let call = soon(calls.recv()).await.unwrap();
            assert_eq!(call.jobs[0].attempt, attempt);
            runner.crash().await;
            clock.advance(Duration::from_secs(61));
        }
        let (puppet, _calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet.clone()], options(1));
        wait_for(db, owner, job, JobState::Dead).await;
        runner.stop().await;
        assert!(puppet.dead.lock().await.contains_key(&job), "the handler was not told");
    }
}

#[tokio::test]
async fn a_job_is_not_blamed_for_the_workers_that_it_lost() {
    for test in databases("a job is not blamed for lost workers").await {
        let (clock, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let job = enqueue(db, &ambient, owner, KIND, 1).await[0];
        for _ in 0..2 {
            let (puppet, mut calls) = Puppet::new(KIND, 1);
            let runner = Running::start(db, &ambient, vec![puppet], options(1));
            soon(calls.recv()).await.unwrap();
            runner.crash().await;
            clock.advance(Duration::from_secs(61));
        }
        // Two workers are lost; all three attempts are left, and the waits begin with the shortest.
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet.clone()], options(1));
        for least in [Duration::from_millis(2_500), Duration::from_secs(5)] {
            soon(calls.recv()).await.unwrap().answer(&Err(JobError::retry("out of order")));
            let waiting = wait_for(db, owner, job, JobState::Waiting).await;
            let wait = waiting.run_at.since(ambient.now());
            assert!(wait >= least && wait <= least * 2, "{}: {wait:?}", test.name);
            clock.advance(wait);
        }
        assert!(puppet.dead.lock().await.is_empty());
        soon(calls.recv()).await.unwrap().answer(&Err(JobError::retry("out of order")));
        let dead = wait_for(db, owner, job, JobState::Dead).await;
        assert_eq!((dead.attempt, dead.losses), (5, 2));
        runner.stop().await;
    }
}

#[tokio::test]
async fn one_workspace_takes_half_of_the_workers_while_another_waits() {
    for test in databases("one workspace takes half of the workers").await {
        let (_, ambient) = manual();
        let db = &test.db;
        let greedy = workspace(db, &ambient).await;
        let modest = workspace(db, &ambient).await;
        enqueue(db, &ambient, greedy, KIND, 20).await;
        enqueue(db, &ambient, modest, KIND, 2).await;
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet], options(4));
        let mut at_work = Vec::new();
        for _ in 0..4 {
            at_work.push(soon(calls.recv()).await.unwrap());
        }
        let of = |id| at_work.iter().filter(|call| call.jobs[0].workspace_id == id).count();
        assert_eq!((of(greedy), of(modest)), (2, 2));
        // Nobody else waits any more: all workers are for the one.
        for call in at_work {
            call.answer(&Ok(()));
        }
        let mut rest = Vec::new();
        for _ in 0..4 {
            rest.push(soon(calls.recv()).await.unwrap());
        }
        assert!(rest.iter().all(|call| call.jobs[0].workspace_id == greedy));
        runner.crash().await;
    }
}

#[tokio::test]
async fn a_graceful_stop_gives_jobs_back_without_counting_an_attempt() {
    for test in databases("a graceful stop gives jobs back").await {
        let (_, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let jobs = enqueue(db, &ambient, owner, KIND, 3).await;
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let runner = Running::start(db, &ambient, vec![puppet], options(2));
        let polite = soon(calls.recv()).await.unwrap();
        let stubborn = soon(calls.recv()).await.unwrap();
        let polite_id = polite.jobs[0].id;
        let stopping = runner.stop();
        let listening = async {
            soon(polite.context.cancel.cancelled()).await;
            let answer = polite.context.interruption(polite_id).unwrap();
            assert_eq!(answer, JobError::Released);
            polite.answer(&Err(answer));
        };
        tokio::join!(stopping, listening);
        drop(stubborn);
        for job in jobs {
            let waiting = get(db, owner, job).await;
            assert_eq!((waiting.state, waiting.attempt), (JobState::Waiting, 0), "{}", test.name);
        }
        assert!(calls.try_recv().is_err(), "a job was claimed while stopping");
    }
}

#[tokio::test]
async fn a_cancelled_job_is_told_soon_and_its_neighbours_go_on() {
    for test in databases("a cancelled job is told soon").await {
        let (_, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let jobs = enqueue(db, &ambient, owner, KIND, 2).await;
        let (puppet, mut calls) = Puppet::new(KIND, 2);
        let mut patient = options(1);
        // Only a wake-up, not the heartbeat, can tell in time.
        patient.heartbeat = Duration::from_hours(1);
        patient.idle_poll = Duration::from_hours(1);
        let runner = Running::start(db, &ambient, vec![puppet], patient);
        let call = soon(calls.recv()).await.unwrap();
        assert_eq!(call.jobs.len(), 2);
        let key = key_of(db, owner, jobs[0]).await;
        let mut tx = db.write().await.unwrap();
        let now = ambient.now();
        assert_eq!(storage::jobs::cancel(&mut tx, owner, KIND, &key, now).await.unwrap(), 1);
        tx.commit().await.unwrap();

        soon(call.context.cancel_of(jobs[0]).cancelled()).await;
        assert_eq!(call.context.interruption(jobs[0]), Some(JobError::Cancelled));
        assert_eq!(call.context.interruption(jobs[1]), None);
        assert!(!call.context.cancel.is_cancelled());
        let outcomes = call
            .jobs
            .iter()
            .map(|job| if job.id == jobs[0] { Err(JobError::Cancelled) } else { Ok(()) });
        let outcomes = outcomes.collect();
        assert!(call.answer.send(Reply::Outcomes(outcomes)).is_ok());
        wait_for(db, owner, jobs[0], JobState::Cancelled).await;
        wait_for(db, owner, jobs[1], JobState::Done).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_job_is_claimed_when_it_is_added_not_when_the_poll_comes() {
    for test in databases("a job is claimed when it is added").await {
        let (_, ambient) = manual();
        let db = &test.db;
        let owner = workspace(db, &ambient).await;
        let (puppet, mut calls) = Puppet::new(KIND, 1);
        let mut patient = options(1);
        patient.idle_poll = Duration::from_hours(1);
        let runner = Running::start(db, &ambient, vec![puppet], patient);
        for _ in 0..3 {
            let job = enqueue(db, &ambient, owner, KIND, 1).await[0];
            soon(calls.recv()).await.unwrap().answer(&Ok(()));
            wait_for(db, owner, job, JobState::Done).await;
        }
        runner.stop().await;
    }
}

/// The dedupe key, which is not part of a job as read: `support::enqueue` puts it into the payload too.
async fn key_of(db: &storage::Db, owner: domain::WorkspaceId, job: domain::JobId) -> String {
    get(db, owner, job).await.payload["key"].as_str().unwrap().to_owned()
}
