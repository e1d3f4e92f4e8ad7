//! Evaluation datasets, their versions, runs over them.

use std::time::Duration;

use domain::eval::{EvalStatus, EvalTarget};
use domain::message::{Author, Rating};
use domain::{EvalDatasetId, EvalRunId};
use serde_json::json;
use storage::evals::{
    self, EvalContent, EvalProgress, EvalRunFilter, NewEvalRun, RatedAnswer, RatedFilter,
};
use storage::{StorageError, Wakeup, conversations, messages};

use crate::conversations::{begin, message, say};
use crate::support::{Place, ids, places};

fn content<'a>(version: &'a str, cases: &'a str) -> EvalContent<'a> {
    let count = i64::try_from(cases.lines().count()).unwrap();
    EvalContent { version, cases: count, content: cases.as_bytes() }
}

async fn dataset(place: &Place, version: &str, cases: &str) -> EvalDatasetId {
    let now = place.later(Duration::from_millis(1));
    let id = place.ambient.new_id();
    let mut tx = place.write().await;
    evals::insert(&mut tx, place.ws(), id, "Tienda", content(version, cases), now).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[tokio::test]
async fn datasets_have_versions_by_their_content() {
    for place in places("eval datasets").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let id = dataset(&place, "a", "1\n2\n").await;
        let second = dataset(&place, "z", "9\n").await;
        let later = place.later(Duration::from_secs(1));
        let mut tx = place.write().await;
        let three = content("b", "1\n2\n3\n");
        assert!(evals::replace(&mut tx, ws, id, "a", three, later).await.unwrap());
        assert!(!evals::replace(&mut tx, ws, id, "a", three, later).await.unwrap(), "it is b now");
        assert!(!evals::replace(&mut tx, stranger, id, "b", three, later).await.unwrap());
        assert!(evals::rename(&mut tx, ws, id, "Otra", later).await.unwrap());
        assert!(!evals::rename(&mut tx, stranger, id, "X", later).await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let found = evals::get(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((&*found.name, &*found.version, found.cases), ("Otra", "b", 3));
        assert_eq!(found.updated_at, later);
        assert_eq!(evals::get(&mut conn, stranger, id).await.unwrap(), None);
        let listed = evals::list(&mut conn, ws, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |dataset| dataset.id), [second, id]);
        let older = evals::list(&mut conn, ws, Some(second), 9).await.unwrap();
        assert_eq!(ids(&older, |dataset| dataset.id), [id]);
        assert!(evals::list(&mut conn, stranger, None, 9).await.unwrap().is_empty());
        let versions = evals::versions(&mut conn, ws, id, 9).await.unwrap();
        let told: Vec<(&str, i64)> =
            versions.iter().map(|version| (&*version.version, version.cases)).collect();
        assert_eq!(told, [("b", 3), ("a", 2)]);
        assert!(evals::versions(&mut conn, stranger, id, 9).await.unwrap().is_empty());
        let old = evals::content(&mut conn, ws, id, "a").await.unwrap();
        assert_eq!(old.as_deref(), Some(&b"1\n2\n"[..]));
        assert_eq!(evals::content(&mut conn, stranger, id, "a").await.unwrap(), None);
        drop(conn);

        // What it had before is its old version again.
        let mut tx = place.write().await;
        assert!(evals::replace(&mut tx, ws, id, "b", content("a", "1\n2\n"), later).await.unwrap());
        assert_eq!(evals::versions(&mut tx, ws, id, 9).await.unwrap().len(), 2);
        assert!(!evals::delete(&mut tx, stranger, id).await.unwrap());
        assert!(evals::delete(&mut tx, ws, id).await.unwrap());
        assert!(evals::versions(&mut tx, ws, id, 9).await.unwrap().is_empty());
        tx.commit().await.unwrap();
    }
}

fn new_run(place: &Place, dataset: EvalDatasetId, version: &str) -> NewEvalRun {
    NewEvalRun {
        created_at: place.later(Duration::from_millis(1)),
        id: place.ambient.new_id(),
        dataset_id: dataset,
        version: version.to_owned(),
        target: EvalTarget::Agent,
        target_id: place.home.agent.id.to_string(),
        options: json!({"concurrency": 2}),
        api_key_id: None,
    }
}

async fn waiting(place: &Place, dataset: EvalDatasetId) -> EvalRunId {
    let run = new_run(place, dataset, "a");
    let mut tx = place.write().await;
    evals::insert_run(&mut tx, place.ws(), &run).await.unwrap();
    tx.commit().await.unwrap();
    run.id
}

fn progress(done: i64) -> EvalProgress {
    EvalProgress { done, errors: 1, cost: 10 * done, ..EvalProgress::default() }
}

#[tokio::test]
async fn only_the_newest_attempt_writes_into_a_run_that_goes_on() {
    for place in places("eval runs").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let set = dataset(&place, "a", "1\n2\n").await;
        let id = waiting(&place, set).await;
        let mut wakeups = place.db().wakeups();
        let info = json!({"kind": "agent"});
        let mut tx = place.write().await;
        let unknown = new_run(&place, set, "b");
        let refused = evals::insert_run(&mut tx, ws, &unknown).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);
        let mut tx = place.write().await;
        assert!(!evals::begin_run(&mut tx, stranger, id, 1, &info, place.now()).await.unwrap());
        assert!(evals::begin_run(&mut tx, ws, id, 1, &info, place.now()).await.unwrap());
        assert!(evals::add_row(&mut tx, ws, (id, 1), ("q1", b"one"), progress(1)).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(wakeups.recv().await.unwrap(), Wakeup::Evals);

        let mut tx = place.write().await;
        let now = place.later(Duration::from_secs(1));
        assert!(evals::begin_run(&mut tx, ws, id, 3, &info, now).await.unwrap());
        let late = evals::add_row(&mut tx, ws, (id, 1), ("q2", b"late"), progress(2)).await;
        assert!(!late.unwrap(), "another worker has it");
        assert!(!evals::begin_run(&mut tx, ws, id, 2, &info, now).await.unwrap());
        // A case that both asked stands there once.
        assert!(evals::add_row(&mut tx, ws, (id, 3), ("q1", b"two"), progress(1)).await.unwrap());
        assert!(evals::add_row(&mut tx, ws, (id, 3), ("q2", b"new"), progress(2)).await.unwrap());
        let judging = EvalProgress { to_judge: 2, judged: 1, ..progress(2) };
        assert!(evals::note_judging(&mut tx, ws, (id, 3), judging).await.unwrap());
        assert!(!evals::note_judging(&mut tx, ws, (id, 1), judging).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let rows = evals::rows(&mut conn, ws, id).await.unwrap();
        assert_eq!(rows, [b"one".to_vec(), b"new".to_vec()]);
        assert!(evals::rows(&mut conn, stranger, id).await.unwrap().is_empty());
        let run = evals::run(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((run.status, run.total, run.begun_done), (EvalStatus::Running, 2, 1));
        assert_eq!((run.progress, run.begun_at, &run.info), (judging, Some(now), &Some(info)));
        assert_eq!(evals::run(&mut conn, stranger, id).await.unwrap(), None);
        assert_eq!(evals::report(&mut conn, ws, id).await.unwrap(), None);
        drop(conn);

        let mut tx = place.write().await;
        let end = (id, 1);
        assert!(!evals::end_run(&mut tx, ws, end, b"{}", progress(2), now).await.unwrap());
        let end = (id, 3);
        assert!(evals::end_run(&mut tx, ws, end, b"{}", progress(2), now).await.unwrap());
        assert!(!evals::cancel_run(&mut tx, ws, id, now).await.unwrap(), "it is over");
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(evals::report(&mut conn, ws, id).await.unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(evals::report(&mut conn, stranger, id).await.unwrap(), None);
        let run = evals::run(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((run.status, run.finished_at), (EvalStatus::Done, Some(now)));
    }
}

#[tokio::test]
async fn runs_are_listed_stopped_and_go_with_their_dataset() {
    for place in places("eval runs end").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (set, other) = (dataset(&place, "a", "1\n").await, dataset(&place, "a", "1\n").await);
        let (first, second) = (waiting(&place, set).await, waiting(&place, set).await);
        let third = waiting(&place, other).await;
        let mut tx = place.write().await;
        let now = place.now();
        assert!(!evals::cancel_run(&mut tx, stranger, first, now).await.unwrap());
        assert!(evals::cancel_run(&mut tx, ws, first, now).await.unwrap());
        assert!(!evals::begin_run(&mut tx, ws, first, 1, &json!({}), now).await.unwrap());
        assert!(evals::fail_run(&mut tx, ws, second, "no agent", now).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let all = EvalRunFilter::default();
        let listed = evals::runs(&mut conn, ws, all, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |run| run.id), [third, second, first]);
        assert_eq!(listed[1].error.as_deref(), Some("no agent"));
        let of_set = EvalRunFilter { dataset: Some(set), status: Some(EvalStatus::Cancelled) };
        let listed = evals::runs(&mut conn, ws, of_set, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |run| run.id), [first]);
        let older = evals::runs(&mut conn, ws, all, Some(second), 9).await.unwrap();
        assert_eq!(ids(&older, |run| run.id), [first]);
        assert!(evals::runs(&mut conn, stranger, all, None, 9).await.unwrap().is_empty());
        drop(conn);
        let mut tx = place.write().await;
        assert!(!evals::delete_run(&mut tx, stranger, first).await.unwrap());
        assert!(evals::delete_run(&mut tx, ws, first).await.unwrap());
        assert!(evals::delete(&mut tx, ws, set).await.unwrap());
        let left = evals::runs(&mut tx, ws, all, None, 9).await.unwrap();
        assert_eq!(ids(&left, |run| run.id), [third]);
    }
}

#[tokio::test]
async fn verdicts_are_kept_for_one_workspace() {
    for place in places("eval verdicts").await {
        let (ws, now) = (place.ws(), place.now());
        let mut tx = place.write().await;
        evals::keep_verdict(&mut tx, ws, "k", "first", now).await.unwrap();
        evals::keep_verdict(&mut tx, ws, "k", "second", now).await.unwrap();
        assert_eq!(evals::verdict(&mut tx, ws, "k").await.unwrap().as_deref(), Some("first"));
        assert_eq!(evals::verdict(&mut tx, ws, "l").await.unwrap(), None);
        assert_eq!(evals::verdict(&mut tx, place.stranger(), "k").await.unwrap(), None);
    }
}

#[tokio::test]
async fn rated_answers_are_found_and_a_conversation_is_removed_whole() {
    for place in places("rated answers").await {
        let (ws, stranger, now) = (place.ws(), place.stranger(), place.now());
        let talk = begin(&place).await.id;
        let mut rated = Vec::new();
        for (text, rating) in [("Sí", Rating::Up), ("No", Rating::Down)] {
            let said = say(&place, &message(&place, talk, Author::Agent, text)).await;
            let mut tx = place.write().await;
            messages::set_feedback(&mut tx, ws, said.id, Some(rating), None, now).await.unwrap();
            tx.commit().await.unwrap();
            rated.insert(0, RatedAnswer { message_id: said.id, conversation_id: talk, rating });
        }
        let mut conn = place.read().await;
        let all = RatedFilter::default();
        assert_eq!(evals::rated(&mut conn, ws, all, None, 9).await.unwrap(), rated);
        assert_eq!(evals::rated(&mut conn, stranger, all, None, 9).await.unwrap(), []);
        let before = Some(rated[0].message_id);
        assert_eq!(evals::rated(&mut conn, ws, all, before, 9).await.unwrap(), rated[1..]);
        let agent = Some(place.home.agent.id);
        let liked = RatedFilter { rating: Some(Rating::Up), agent };
        assert_eq!(evals::rated(&mut conn, ws, liked, None, 9).await.unwrap(), rated[1..]);
        let elsewhere = RatedFilter { agent: Some(place.other.agent.id), ..all };
        assert_eq!(evals::rated(&mut conn, ws, elsewhere, None, 9).await.unwrap(), []);
        drop(conn);
        let mut tx = place.write().await;
        assert!(!conversations::delete(&mut tx, stranger, talk).await.unwrap());
        assert!(conversations::delete(&mut tx, ws, talk).await.unwrap());
        assert_eq!(evals::rated(&mut tx, ws, all, None, 9).await.unwrap(), []);
        tx.commit().await.unwrap();
    }
}
