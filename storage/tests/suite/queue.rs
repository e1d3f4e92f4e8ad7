//! The queue of jobs.

use std::collections::HashSet;
use std::time::Duration;

use domain::job::{Job, JobState, NewJob};
use domain::{Ambient, JobId, Timestamp, WorkspaceId};
use serde_json::json;
use storage::jobs::{self, Claim, Ending, StillHeld};
use storage::{Tx, datastores, sources};
use tokio_util::task::TaskTracker;

use crate::support::{Place, ids, places};

const LEASE: Duration = Duration::from_mins(1);

fn job(place: &Place, key: Option<&str>) -> NewJob {
    let payload = json!({ "id": 7 });
    NewJob {
        dedupe_key: key.map(str::to_owned),
        ..NewJob::now("work", payload, place.later(Duration::from_millis(1)))
    }
}

async fn enqueue(place: &Place, workspace: WorkspaceId, job: &NewJob) -> Option<JobId> {
    let mut tx = place.write().await;
    let id = jobs::enqueue(&mut tx, &place.ambient, workspace, job).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn claim_in(tx: &mut Tx, owner: &str, now: Timestamp, limit: i64) -> (Vec<Job>, Vec<Job>) {
    let claim = Claim {
        kinds: &["work"],
        owner,
        lease_until: now.plus(LEASE),
        limit,
        busy_workspaces: &[],
        max_losses: 2,
    };
    jobs::claim(tx, &claim, now).await.unwrap()
}

/// Claims as one transaction: what to work on, and what is dead.
async fn claim(place: &Place, owner: &str, limit: i64) -> (Vec<Job>, Vec<Job>) {
    let mut tx = place.write().await;
    let claimed = claim_in(&mut tx, owner, place.now(), limit).await;
    tx.commit().await.unwrap();
    claimed
}

async fn finish(place: &Place, owner: &str, job: &Job, ending: Ending) -> bool {
    let mut tx = place.write().await;
    let endings = [(job.id, job.attempt, ending)];
    let noted = jobs::finish(&mut tx, owner, &endings, place.now()).await.unwrap();
    tx.commit().await.unwrap();
    noted == [true]
}

async fn stored(place: &Place, id: JobId) -> Job {
    jobs::get(&mut place.read().await, place.ws(), id).await.unwrap().unwrap()
}

#[tokio::test]
async fn jobs_are_claimed_by_priority_then_age_when_they_are_due() {
    for place in places("claims").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let low = NewJob { priority: 5, ..job(&place, None) };
        let first = enqueue(&place, ws, &low).await.unwrap();
        let second = enqueue(&place, ws, &job(&place, None)).await.unwrap();
        let third = enqueue(&place, stranger, &job(&place, None)).await.unwrap();
        let later = place.now().plus(Duration::from_secs(100));
        enqueue(&place, ws, &NewJob { run_at: later, ..job(&place, None) }).await.unwrap();
        enqueue(&place, ws, &NewJob { kind: "other", ..job(&place, None) }).await.unwrap();

        let mut conn = place.read().await;
        let fresh = jobs::get(&mut conn, ws, second).await.unwrap().unwrap();
        assert_eq!((fresh.state, fresh.attempt, fresh.lease_until), (JobState::Waiting, 0, None));
        assert_eq!(fresh.payload, json!({ "id": 7 }));
        assert_eq!(jobs::get(&mut conn, stranger, second).await.unwrap(), None);
        assert_eq!(jobs::next_due(&mut conn, &["work"]).await.unwrap(), Some(low.run_at));
        assert_eq!(jobs::next_due(&mut conn, &["nothing"]).await.unwrap(), None);
        let counts = jobs::counts(&mut conn).await.unwrap();
        assert_eq!(
            counts,
            [("other".to_owned(), JobState::Waiting, 1), ("work".to_owned(), JobState::Waiting, 4),]
        );
        drop(conn);

        let mut tx = place.write().await;
        let only_others = Claim {
            kinds: &["work"],
            owner: "a",
            lease_until: place.now().plus(LEASE),
            limit: 1,
            busy_workspaces: &[ws],
            max_losses: 2,
        };
        let (claimed, _) = jobs::claim(&mut tx, &only_others, place.now()).await.unwrap();
        assert_eq!(ids(&claimed, |j| j.id), [third]);
        let (claimed, dead) = claim_in(&mut tx, "a", place.now(), 9).await;
        assert_eq!(ids(&claimed, |j| j.id), [second, first]);
        assert!(dead.is_empty());
        assert_eq!((claimed[0].state, claimed[0].attempt), (JobState::Running, 1));
        assert_eq!(claimed[0].lease_until, Some(place.now().plus(LEASE)));
        assert!(claim_in(&mut tx, "b", place.now(), 9).await.0.is_empty());
        tx.commit().await.unwrap();
        let running = jobs::list(&mut place.read().await, ws, JobState::Running, 9).await.unwrap();
        assert_eq!(ids(&running, |j| j.id), [second, first], "newest first");
    }
}

#[tokio::test]
async fn of_jobs_added_at_once_those_with_a_key_in_use_are_left_out() {
    for place in places("enqueue many").await {
        let (free, keyed) = (job(&place, None), job(&place, Some("k")));
        let mut tx = place.write().await;
        let all = [&free, &keyed, &keyed, &free];
        let added = jobs::enqueue_many(&mut tx, &place.ambient, place.ws(), &all).await.unwrap();
        assert_eq!(added.len(), 3);
        let again = jobs::enqueue_many(&mut tx, &place.ambient, place.ws(), &[&keyed]).await;
        assert!(again.unwrap().is_empty());
        let none = jobs::enqueue_many(&mut tx, &place.ambient, place.ws(), &[]).await.unwrap();
        assert!(none.is_empty());
        tx.commit().await.unwrap();
        assert_eq!(claim(&place, "w", 9).await.0.len(), 3);
    }
}

#[tokio::test]
async fn a_dedupe_key_admits_one_waiting_or_running_job() {
    for place in places("dedupe").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let keyed = job(&place, Some("src_1"));
        let id = enqueue(&place, ws, &keyed).await.unwrap();
        assert_eq!(enqueue(&place, ws, &keyed).await, None);
        let other_kind = NewJob { kind: "other", ..keyed.clone() };
        assert!(enqueue(&place, ws, &other_kind).await.is_some());
        assert!(enqueue(&place, stranger, &keyed).await.is_some());
        let (claimed, _) = claim(&place, "a", 9).await;
        assert_eq!(enqueue(&place, ws, &keyed).await, None, "a running one counts");
        let own = claimed.iter().find(|j| j.id == id).unwrap();
        assert!(finish(&place, "a", own, Ending::Done).await);
        assert!(enqueue(&place, ws, &keyed).await.is_some());
    }
}

#[tokio::test]
async fn a_job_whose_worker_is_lost_is_claimed_again_until_too_many_were_lost() {
    for place in places("lost workers").await {
        let ws = place.ws();
        // A lost worker is no failed attempt.
        let once = NewJob { max_attempts: 1, ..job(&place, None) };
        let id = enqueue(&place, ws, &once).await.unwrap();
        let (first, _) = claim(&place, "a", 9).await;
        place.later(LEASE);
        let (second, _) = claim(&place, "b", 9).await;
        assert_eq!((second[0].id, second[0].attempt, second[0].losses), (id, 2, 1));
        assert_eq!((second[0].own_attempt(), second[0].is_at_last_attempt()), (1, true));
        assert!(!finish(&place, "a", &first[0], Ending::Done).await, "the first lost its lease");
        assert!(!finish(&place, "a", &second[0], Ending::Done).await, "it is another's");
        let mut tx = place.write().await;
        assert!(!jobs::holds(&mut tx, id, 1).await.unwrap());
        assert!(jobs::holds(&mut tx, id, 2).await.unwrap());
        tx.commit().await.unwrap();

        place.later(LEASE);
        let (claimed, dead) = claim(&place, "c", 9).await;
        assert!(claimed.is_empty());
        assert_eq!(ids(&dead, |j| (j.id, j.state, j.attempt)), [(id, JobState::Dead, 2)]);
        assert!(stored(&place, id).await.last_error.unwrap().contains("lost"));
        let mut tx = place.write().await;
        assert!(!jobs::holds(&mut tx, id, 2).await.unwrap());
    }
}

#[tokio::test]
async fn endings_are_what_they_say() {
    for place in places("endings").await {
        let ws = place.ws();
        let id =
            enqueue(&place, ws, &NewJob { max_attempts: 2, ..job(&place, None) }).await.unwrap();
        let run = async || claim(&place, "a", 1).await.0.into_iter().next().unwrap();

        let claimed = run().await;
        assert!(finish(&place, "a", &claimed, Ending::Released).await);
        let released = stored(&place, id).await;
        assert_eq!((released.state, released.attempt), (JobState::Waiting, 0), "it costs nothing");

        let claimed = run().await;
        let at = place.now().plus(Duration::from_secs(5));
        let retry = |error: &str| Ending::Retry { at, error: error.to_owned() };
        assert!(finish(&place, "a", &claimed, retry("cut off")).await);
        let waiting = stored(&place, id).await;
        assert_eq!((waiting.state, waiting.attempt, waiting.run_at), (JobState::Waiting, 1, at));
        assert_eq!((waiting.lease_until, waiting.last_error.as_deref()), (None, Some("cut off")));
        assert!(claim(&place, "a", 9).await.0.is_empty(), "not before its time");

        place.later(Duration::from_secs(5));
        let claimed = run().await;
        assert!(finish(&place, "a", &claimed, retry("again")).await);
        assert_eq!(stored(&place, id).await.state, JobState::Dead, "no attempt is left");

        for (ending, state) in [
            (Ending::Done, JobState::Done),
            (Ending::Cancelled, JobState::Cancelled),
            (Ending::Dead { error: "useless".to_owned() }, JobState::Dead),
        ] {
            let id = enqueue(&place, ws, &job(&place, None)).await.unwrap();
            let claimed = run().await;
            assert!(finish(&place, "a", &claimed, ending).await);
            assert_eq!(stored(&place, id).await.state, state);
        }
        let mut tx = place.write().await;
        assert!(jobs::finish(&mut tx, "a", &[], place.now()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn several_endings_are_noted_at_once_and_in_order() {
    for place in places("many endings").await {
        for _ in 0..3 {
            enqueue(&place, place.ws(), &job(&place, None)).await.unwrap();
        }
        let (claimed, _) = claim(&place, "a", 9).await;
        let endings = [
            (claimed[2].id, 1, Ending::Done),
            (claimed[0].id, 9, Ending::Done),
            (claimed[1].id, 1, Ending::Dead { error: "x \"y\" ñ".to_owned() }),
        ];
        let mut tx = place.write().await;
        let noted = jobs::finish(&mut tx, "a", &endings, place.now()).await.unwrap();
        assert_eq!(noted, [true, false, true]);
        tx.commit().await.unwrap();
        let dead = stored(&place, claimed[1].id).await;
        assert_eq!(dead.last_error.as_deref(), Some("x \"y\" ñ"));
    }
}

#[tokio::test]
async fn a_heartbeat_prolongs_what_is_held_and_tells_what_is_to_stop() {
    for place in places("heartbeats").await {
        let ws = place.ws();
        for key in ["one", "two", "three"] {
            enqueue(&place, ws, &job(&place, Some(key))).await.unwrap();
        }
        let (claimed, _) = claim(&place, "a", 9).await;
        let mut tx = place.write().await;
        let now = place.now();
        assert_eq!(jobs::cancel(&mut tx, ws, "work", "two", now).await.unwrap(), 1);
        assert_eq!(jobs::cancel(&mut tx, ws, "work", "two", now).await.unwrap(), 0);
        assert_eq!(jobs::cancel(&mut tx, place.stranger(), "work", "one", now).await.unwrap(), 0);
        let until = now.plus(LEASE).plus(LEASE);
        let held = [(claimed[0].id, 1), (claimed[1].id, 1), (claimed[2].id, 7)];
        assert!(jobs::heartbeat(&mut tx, "b", &held, until).await.unwrap().is_empty());
        assert!(jobs::heartbeat(&mut tx, "a", &[], until).await.unwrap().is_empty());
        let mut still = jobs::heartbeat(&mut tx, "a", &held, until).await.unwrap();
        tx.commit().await.unwrap();
        still.sort_by_key(|held| held.id);
        assert_eq!(
            still,
            [
                StillHeld { id: claimed[0].id, cancel_requested: false },
                StillHeld { id: claimed[1].id, cancel_requested: true },
            ]
        );
        assert_eq!(stored(&place, claimed[0].id).await.lease_until, Some(until));
        assert_eq!(stored(&place, claimed[2].id).await.lease_until, Some(now.plus(LEASE)));
    }
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_is_being_stopped_does_not_run_again() {
    for place in places("cancel").await {
        let (ws, now) = (place.ws(), place.now());
        let keyed = job(&place, Some("k"));
        let waiting = enqueue(&place, ws, &keyed).await.unwrap();
        let mut tx = place.write().await;
        assert_eq!(jobs::cancel(&mut tx, ws, "work", "k", now).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(stored(&place, waiting).await.state, JobState::Cancelled);

        let ways: [fn(Timestamp) -> Option<Ending>; 3] = [
            |at| Some(Ending::Retry { at, error: "cut off".to_owned() }),
            |_| Some(Ending::Released),
            |_| None,
        ];
        for way in ways {
            let stopped = enqueue(&place, ws, &keyed).await.unwrap();
            let (claimed, _) = claim(&place, "a", 9).await;
            assert_eq!(ids(&claimed, |j| j.id), [stopped]);
            let mut tx = place.write().await;
            assert_eq!(jobs::cancel(&mut tx, ws, "work", "k", now).await.unwrap(), 1);
            tx.commit().await.unwrap();
            let successor = enqueue(&place, ws, &keyed).await.expect("it keeps nobody out");
            match way(place.now()) {
                Some(ending) => assert!(finish(&place, "a", &claimed[0], ending).await),
                // The worker is lost; whoever claims next finds it.
                None => drop(place.later(LEASE)),
            }
            let (claimed, dead) = claim(&place, "a", 9).await;
            assert_eq!((ids(&claimed, |j| j.id), dead.len()), (vec![successor], 0));
            assert_eq!(stored(&place, stopped).await.state, JobState::Cancelled);
            assert!(finish(&place, "a", &claimed[0], Ending::Done).await);
        }
    }
}

#[tokio::test]
async fn a_dead_job_can_be_put_back_unless_another_does_its_work() {
    for place in places("revive").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let keyed = NewJob { max_attempts: 1, ..job(&place, Some("k")) };
        let id = enqueue(&place, ws, &keyed).await.unwrap();
        let (claimed, _) = claim(&place, "a", 9).await;
        let ending = Ending::Dead { error: "useless".to_owned() };
        assert!(finish(&place, "a", &claimed[0], ending).await);
        let successor = enqueue(&place, ws, &keyed).await.unwrap();
        let mut tx = place.write().await;
        assert!(!jobs::revive(&mut tx, ws, id, place.now()).await.unwrap());
        jobs::cancel(&mut tx, ws, "work", "k", place.now()).await.unwrap();
        assert!(!jobs::revive(&mut tx, stranger, id, place.now()).await.unwrap());
        assert!(!jobs::revive(&mut tx, ws, successor, place.now()).await.unwrap(), "not dead");
        assert!(jobs::revive(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(!jobs::revive(&mut tx, ws, id, place.now()).await.unwrap());
        tx.commit().await.unwrap();
        let (again, _) = claim(&place, "b", 9).await;
        assert_eq!((again[0].id, again[0].attempt), (id, 2), "attempts go on counting");
        assert_eq!(again[0].max_attempts, 1 + NewJob::MAX_ATTEMPTS);
    }
}

#[tokio::test]
async fn finished_jobs_go_when_they_are_old_and_dead_ones_stay() {
    for place in places("old jobs").await {
        let ws = place.ws();
        for _ in 0..4 {
            enqueue(&place, ws, &job(&place, None)).await.unwrap();
        }
        let (claimed, _) = claim(&place, "a", 3).await;
        let endings =
            [Ending::Done, Ending::Cancelled, Ending::Dead { error: "useless".to_owned() }];
        for (job, ending) in claimed.iter().zip(endings) {
            assert!(finish(&place, "a", job, ending).await);
        }
        let ended = place.now();
        let mut tx = place.write().await;
        assert_eq!(jobs::delete_older(&mut tx, ended, 9).await.unwrap(), 0);
        let after = ended.plus(Duration::from_micros(1));
        assert_eq!(jobs::delete_older(&mut tx, after, 1).await.unwrap(), 1);
        assert_eq!(jobs::delete_older(&mut tx, after, 9).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let left = [JobState::Waiting, JobState::Dead].map(|state| (state, 1));
        for (state, count) in left {
            assert_eq!(jobs::list(&mut conn, ws, state, 9).await.unwrap().len(), count);
        }
        assert!(
            jobs::list(&mut conn, place.stranger(), JobState::Dead, 9).await.unwrap().is_empty()
        );
    }
}

#[tokio::test]
async fn the_jobs_of_a_removed_datastore_stop() {
    for place in places("jobs of datastores").await {
        let ws = place.ws();
        let datastore = place.datastore("breve");
        let (one, two) = (place.source(datastore.id, "uno"), place.source(datastore.id, "dos"));
        let mut tx = place.write().await;
        datastores::insert(&mut tx, &datastore).await.unwrap();
        for source in [&one, &two] {
            sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(source))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let running = enqueue(&place, ws, &job(&place, Some(&one.id.to_string()))).await.unwrap();
        claim(&place, "a", 9).await;
        let waiting = enqueue(&place, ws, &job(&place, Some(&two.id.to_string()))).await.unwrap();
        let unrelated = enqueue(&place, ws, &job(&place, Some("src_x"))).await.unwrap();
        let mut tx = place.write().await;
        assert!(datastores::delete(&mut tx, ws, datastore.id).await.unwrap());
        let until = place.now().plus(LEASE);
        let held = jobs::heartbeat(&mut tx, "a", &[(running, 1)], until).await.unwrap();
        assert_eq!(held, [StillHeld { id: running, cancel_requested: true }]);
        assert_eq!(jobs::get(&mut tx, ws, waiting).await.unwrap(), None);
        assert!(jobs::get(&mut tx, ws, unrelated).await.unwrap().is_some());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn workers_at_once_never_claim_the_same_job() {
    const JOBS: usize = 60;
    for place in places("claims at once").await {
        let mut tx = place.write().await;
        let work = job(&place, None);
        let many = jobs::enqueue_many(&mut tx, &place.ambient, place.ws(), &[&work; JOBS]).await;
        assert_eq!(many.unwrap().len(), JOBS);
        tx.commit().await.unwrap();
        let (tasks, now) = (TaskTracker::new(), place.now());
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let db = place.db().clone();
                tasks.spawn(async move {
                    let (mut mine, owner) = (Vec::new(), format!("worker {worker}"));
                    loop {
                        let mut tx = db.write().await.unwrap();
                        let (claimed, _) = claim_in(&mut tx, &owner, now, 3).await;
                        tx.commit().await.unwrap();
                        if claimed.is_empty() {
                            return mine;
                        }
                        mine.extend(claimed.into_iter().map(|job| job.id));
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap());
        }
        assert_eq!(all.len(), JOBS, "each is claimed");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), JOBS, "and by one worker only");
    }
}

#[tokio::test]
async fn the_same_key_enqueued_at_once_is_one_job() {
    for place in places("enqueue at once").await {
        let (tasks, ws, keyed) = (TaskTracker::new(), place.ws(), job(&place, Some("k")));
        let running: Vec<_> = (0..12)
            .map(|_| {
                let (db, keyed) = (place.db().clone(), keyed.clone());
                tasks.spawn(async move {
                    let mut tx = db.write().await.unwrap();
                    let id = jobs::enqueue(&mut tx, &Ambient::system(), ws, &keyed).await.unwrap();
                    tx.commit().await.unwrap();
                    id
                })
            })
            .collect();
        let mut enqueued = 0;
        for task in running {
            enqueued += i32::from(task.await.unwrap().is_some());
        }
        assert_eq!(enqueued, 1);
    }
}

#[tokio::test]
async fn the_jobs_of_a_dead_process_are_taken_over_at_once_when_their_leases_are_ended() {
    for place in places("ended leases").await {
        enqueue(&place, place.ws(), &job(&place, None)).await.unwrap();
        enqueue(&place, place.stranger(), &job(&place, None)).await.unwrap();
        let (held, _) = claim(&place, "dead", 9).await;
        assert_eq!(held.len(), 2);
        enqueue(&place, place.ws(), &job(&place, None)).await.unwrap();
        let (alive, _) = claim(&place, "alive", 9).await;
        assert!(claim(&place, "heir", 9).await.0.is_empty(), "the leases hold");

        let mut tx = place.write().await;
        assert_eq!(jobs::expire_leases(&mut tx, "dead", place.now()).await.unwrap(), 2);
        assert_eq!(jobs::expire_leases(&mut tx, "dead", place.now()).await.unwrap(), 0);
        tx.commit().await.unwrap();
        let (taken, _) = claim(&place, "heir", 9).await;
        assert_eq!(taken.iter().map(|job| job.attempt).collect::<Vec<_>>(), [2, 2]);
        assert!(
            !finish(&place, "dead", &held[0], Ending::Done).await,
            "the dead one is fenced off"
        );
        assert!(
            finish(&place, "alive", &alive[0], Ending::Done).await,
            "the other worker keeps what it holds"
        );
    }
}
