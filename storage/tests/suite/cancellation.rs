//! Callers go away at any point; the database must not notice.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use domain::WorkspaceId;
use domain::datastore::Datastore;
use futures::future::join_all;
use serde_json::json;
use sqlx::Connection as _;
use storage::{Db, Result, datastores, events};

use crate::support::{Place, places};

/// More suspensions than the transaction below has, so that some are let through to the end.
const SUSPENSIONS: usize = 30;
/// How many go away at the same time.
const AT_ONCE: usize = 8;

/// Runs a future until it has been suspended so many times, then drops it.
async fn abandon_after<F: Future>(suspensions: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = suspensions;
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// A transaction of two writes that belong together.
async fn write_both(db: &Db, workspace: WorkspaceId, datastore: &Datastore) -> Result<()> {
    let mut tx = db.write().await?;
    datastores::insert(&mut tx, datastore).await?;
    datastores::list(&mut tx, workspace, None, 100).await?;
    let subject = datastore.id.to_string();
    events::insert(&mut tx, workspace, "x", &subject, &json!({}), datastore.created_at).await?;
    tx.commit().await
}

async fn read_all(db: &Db, workspace: WorkspaceId) -> Result<usize> {
    let mut conn = db.read().await?;
    Ok(datastores::list(&mut conn, workspace, None, 100).await?.len())
}

/// Sees the sessions of a database from outside; none on SQLite.
struct Observer(Option<sqlx::PgConnection>);

impl Observer {
    async fn of(place: &Place) -> Self {
        if !place.db().is_postgres() {
            return Self(None);
        }
        Self(Some(sqlx::PgConnection::connect(&place.test.guard.url()).await.unwrap()))
    }

    /// Every connection is free, and none of them is inside a transaction. Looked at before anything else
    /// uses them: the next transaction of a session would end the one that was left open.
    async fn assert_at_rest(&mut self, place: &Place) {
        let Some(admin) = &mut self.0 else {
            let written = tokio::time::timeout(Duration::from_secs(4), place.write()).await;
            written.expect("the writer is free").commit().await.unwrap();
            return;
        };
        // Whoever holds every connection sees them as the pool gives them out.
        let mut held = Vec::new();
        for _ in 0..testkit::db::MAX_CONNECTIONS {
            held.push(place.read().await);
        }
        // Autovacuum has sessions too.
        let states: Vec<(String, String)> = sqlx::query_as(
            "SELECT state, query
            FROM pg_stat_activity
            WHERE datname = current_database()
                AND backend_type = 'client backend'
                AND pid <> pg_backend_pid()
                AND state <> 'idle'",
        )
        .fetch_all(admin)
        .await
        .unwrap();
        assert!(states.is_empty(), "{states:?}");
    }
}

/// Both writes of each transaction are there, or neither; all of those that were told so.
async fn assert_whole(place: &Place, committed: &[domain::DatastoreId]) {
    let mut conn = place.read().await;
    let stored = datastores::list(&mut conn, place.ws(), None, 10_000).await.unwrap();
    let events = events::list(&mut conn, place.ws(), 0, 10_000).await.unwrap();
    let mut written: Vec<_> = stored.iter().map(|d| d.id.to_string()).collect();
    // Its default datastore came without an event.
    written.retain(|id| *id != place.home.datastore.id.to_string());
    written.sort();
    let mut told: Vec<_> = events.iter().map(|e| e.subject.clone()).collect();
    told.sort();
    assert_eq!(written, told);
    for id in committed {
        assert!(told.contains(&id.to_string()), "{id} was committed");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_at_any_point_leaves_all_or_nothing() {
    for place in places("cancellation").await {
        let mut observer = Observer::of(&place).await;
        let mut committed = Vec::new();
        for suspensions in 0..SUSPENSIONS {
            let datastore = place.datastore("x");
            let writing = write_both(place.db(), place.ws(), &datastore);
            if let Some(written) = abandon_after(suspensions, writing).await {
                written.unwrap();
                committed.push(datastore.id);
            }
            observer.assert_at_rest(&place).await;
            abandon_after(suspensions, read_all(place.db(), place.ws())).await;
            observer.assert_at_rest(&place).await;
        }
        assert!(!committed.is_empty(), "{SUSPENSIONS} suspensions reach the end");
        assert_whole(&place, &committed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_that_go_away_at_once_leave_all_or_nothing() {
    for place in places("cancellation at once").await {
        let mut observer = Observer::of(&place).await;
        let mut committed = Vec::new();
        for suspensions in 0..SUSPENSIONS {
            let datastores: Vec<_> = (0..AT_ONCE).map(|_| place.datastore("x")).collect();
            let place = &place;
            let callers = datastores.iter().enumerate().map(|(number, datastore)| async move {
                let writing = write_both(place.db(), place.ws(), datastore);
                let written = abandon_after((suspensions + number) % SUSPENSIONS, writing).await;
                abandon_after(number, read_all(place.db(), place.ws())).await;
                written.map(|written| {
                    written.unwrap();
                    datastore.id
                })
            });
            committed.extend(join_all(callers).await.into_iter().flatten());
            observer.assert_at_rest(place).await;
        }
        assert_whole(&place, &committed).await;
    }
}

#[tokio::test]
async fn connections_that_were_given_up_at_any_point_come_back() {
    for place in places("abandoned reads").await {
        for suspensions in 0..SUSPENSIONS {
            let readers = (0..AT_ONCE).map(|number| {
                abandon_after((suspensions + number) % 8, read_all(place.db(), place.ws()))
            });
            for read in join_all(readers).await.into_iter().flatten() {
                assert_eq!(read.unwrap(), 1, "the default datastore");
            }
            // All at once, each in order.
            let mut held = Vec::new();
            for _ in 0..testkit::db::MAX_CONNECTIONS {
                held.push(place.read().await);
            }
            for conn in &mut held {
                let found = datastores::list(conn, place.ws(), None, 100).await.unwrap();
                assert_eq!(found.len(), 1);
            }
        }
    }
}
