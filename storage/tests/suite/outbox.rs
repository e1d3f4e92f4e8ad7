//! The outbox.

use std::time::Duration;

use domain::WorkspaceId;
use serde_json::json;
use storage::{News, Tx, events};
use tokio_util::task::TaskTracker;

use crate::support::{ids, places};

async fn tell(tx: &mut Tx, workspace: WorkspaceId, subject: &str) {
    let now = domain::Timestamp::from_micros(1_700_000_000_000_000);
    events::insert(tx, workspace, "test.event", subject, &json!({ "n": 1 }), now).await.unwrap();
}

#[tokio::test]
async fn events_are_the_workspaces_own_and_go_when_they_are_old() {
    for place in places("events").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let mut tx = place.write().await;
        for subject in ["a", "b", "c"] {
            tell(&mut tx, ws, subject).await;
        }
        tell(&mut tx, stranger, "x").await;
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        tell(&mut tx, ws, "never").await;
        drop(tx);

        let mut conn = place.read().await;
        let all = events::list(&mut conn, ws, 0, 9).await.unwrap();
        assert_eq!(
            ids(&all, |e| (e.seq, e.subject.clone())),
            [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]
        );
        assert_eq!(all[0].kind, "test.event");
        assert_eq!(all[0].payload, json!({ "n": 1 }));
        assert_ne!(all[0].id, all[1].id);
        assert_eq!(events::list(&mut conn, ws, 0, 9).await.unwrap(), all, "ids stay the same");
        let rest = events::list(&mut conn, ws, 1, 1).await.unwrap();
        assert_eq!(ids(&rest, |e| e.seq), [2]);
        let foreign = events::list(&mut conn, stranger, 0, 9).await.unwrap();
        assert_eq!(ids(&foreign, |e| e.subject.clone()), ["x"]);
        drop(conn);

        let mut tx = place.write().await;
        let at = all[0].created_at;
        assert_eq!(events::delete_older(&mut tx, at, 9).await.unwrap(), 0);
        let after = at.plus(Duration::from_micros(1));
        assert_eq!(events::delete_older(&mut tx, after, 3).await.unwrap(), 3);
        assert_eq!(events::delete_older(&mut tx, after, 3).await.unwrap(), 1);
        tell(&mut tx, ws, "d").await;
        tx.commit().await.unwrap();
        let all = events::list(&mut place.read().await, ws, 0, 9).await.unwrap();
        assert_eq!(ids(&all, |e| e.seq), [4], "numbers do not come back");
    }
}

#[tokio::test]
async fn news_name_the_workspace_and_signals_pass() {
    for place in places("news").await {
        let ws = place.ws();
        let patience = Duration::from_mins(1);
        let (mut here, mut beside) = (place.db().news(), place.db().news());
        let newest = events::newest(&mut place.read().await, ws).await.unwrap();
        assert_eq!(newest, Some(0));
        let mut tx = place.write().await;
        tell(&mut tx, ws, "a").await;
        tell(&mut tx, ws, "b").await;
        tx.commit().await.unwrap();
        place.db().signal(ws, r#"{"typing":"ñ"}"#).await.unwrap();
        for news in [&mut here, &mut beside] {
            let told = tokio::time::timeout(patience, news.recv()).await.unwrap().unwrap();
            assert_eq!(told, News::Events(ws), "once for a transaction");
            let told = tokio::time::timeout(patience, news.recv()).await.unwrap().unwrap();
            assert_eq!(told, News::Signal(ws, r#"{"typing":"ñ"}"#.into()));
        }
        let newest = events::newest(&mut place.read().await, ws).await.unwrap();
        assert_eq!(newest, Some(2));
        assert!(place.db().signal(ws, &"x".repeat(8_000)).await.is_err());
        let absent = place.ambient.new_id();
        assert_eq!(events::newest(&mut place.read().await, absent).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_event_of_a_transaction_that_began_earlier_is_not_passed_over() {
    let Some(place) = places("events in flight").await.into_iter().find(|p| p.db().is_postgres())
    else {
        // SQLite has one writer: no transaction begins before another has ended.
        return;
    };
    let ws = place.ws();
    let mut slow = place.write().await;
    tell(&mut slow, ws, "slow").await;
    let mut quick = place.write().await;
    tell(&mut quick, ws, "quick").await;
    quick.commit().await.unwrap();
    let mut conn = place.read().await;
    let seen = events::list(&mut conn, ws, 0, 9).await.unwrap();
    assert_eq!(ids(&seen, |e| e.subject.clone()), ["quick"]);
    slow.commit().await.unwrap();
    let later = events::list(&mut conn, ws, seen[0].seq, 9).await.unwrap();
    assert_eq!(ids(&later, |e| e.subject.clone()), ["slow"]);
}

#[tokio::test]
async fn a_reader_that_follows_the_numbers_sees_every_event_once() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 15;
    for place in places("following events").await {
        let ws = place.ws();
        let tasks = TaskTracker::new();
        let mut wakeups = place.db().wakeups();
        for writer in 0..WRITERS {
            let db = place.db().clone();
            tasks.spawn(async move {
                for number in 0..EACH {
                    let mut tx = db.write().await.unwrap();
                    tell(&mut tx, ws, &format!("{writer}/{number}")).await;
                    tx.commit().await.unwrap();
                }
            });
        }
        tasks.close();
        let (mut seen, mut last) = (Vec::new(), 0);
        while seen.len() < usize::try_from(WRITERS * EACH).unwrap() {
            let batch = events::list(&mut place.read().await, ws, last, 7).await.unwrap();
            if batch.is_empty() {
                // Lagging is a wake-up too.
                let waiting = tokio::time::timeout(Duration::from_mins(1), wakeups.recv());
                let _ = waiting.await.expect("a wake-up comes");
                continue;
            }
            last = batch.last().unwrap().seq;
            seen.extend(batch);
        }
        tasks.wait().await;
        assert_eq!(ids(&seen, |e| e.seq), (1..=WRITERS * EACH).collect::<Vec<_>>());
        let mut subjects = ids(&seen, |e| e.subject.clone());
        subjects.sort();
        subjects.dedup();
        assert_eq!(subjects.len(), seen.len());
    }
}

#[tokio::test]
async fn events_of_a_workspace_that_goes_in_the_same_transaction_go_with_it() {
    for place in places("events of the deleted").await {
        let mut tx = place.write().await;
        tell(&mut tx, place.ws(), "gone").await;
        tell(&mut tx, place.stranger(), "stays").await;
        storage::workspaces::delete(&mut tx, place.ws()).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(events::list(&mut conn, place.ws(), 0, 9).await.unwrap().is_empty());
        assert_eq!(events::list(&mut conn, place.stranger(), 0, 9).await.unwrap().len(), 1);
    }
}
