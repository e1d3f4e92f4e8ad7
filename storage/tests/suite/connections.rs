//! Connections, transactions, wake-ups, failures.

use std::time::Duration;

use domain::job::NewJob;
use domain::{DomainError, ErrorKind};
use serde_json::json;
use sqlx::{Connection as _, Executor as _};
use storage::{Db, DbOptions, StorageError, Wakeup, agents, datastores, events, jobs};

use crate::support::places;

const OPTIONS: DbOptions = DbOptions { max_connections: 2 };
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing_and_nobody_waiting() {
    for place in places("dropped transactions").await {
        let datastore = place.datastore("nunca");
        for _ in 0..20 {
            let mut tx = place.write().await;
            datastores::insert(&mut tx, &datastore).await.unwrap();
            drop(tx);
        }
        let found = datastores::get(&mut place.read().await, place.ws(), datastore.id).await;
        assert_eq!(found.unwrap(), None);
    }
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_is_not_committed() {
    for place in places("failed statements").await {
        let datastore = place.datastore("nunca");
        let mut tx = place.write().await;
        datastores::insert(&mut tx, &datastore).await.unwrap();
        let twice = datastores::insert(&mut tx, &datastore).await;
        assert!(matches!(twice, Err(StorageError::Conflict(_))), "{twice:?}");
        assert!(tx.commit().await.is_err(), "a caller that overlooked the failure is told");
        let found = datastores::get(&mut place.read().await, place.ws(), datastore.id).await;
        assert_eq!(found.unwrap(), None);
    }
}

#[tokio::test]
async fn a_commit_wakes_up_whom_it_concerns() {
    for place in places("wake-ups").await {
        let mut heard = place.db().wakeups();
        let mut tx = place.write().await;
        datastores::insert(&mut tx, &place.datastore("silenciosa")).await.unwrap();
        tx.commit().await.unwrap();
        assert!(heard.try_recv().is_err(), "neither jobs nor events came");

        let mut tx = place.write().await;
        let job = NewJob::now("work", json!({}), place.now());
        jobs::enqueue(&mut tx, &place.ambient, place.ws(), &job).await.unwrap();
        assert!(heard.try_recv().is_err(), "not before the commit");
        tx.commit().await.unwrap();
        let told = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
        assert_eq!(told.unwrap(), Wakeup::Jobs);
    }
}

#[tokio::test]
async fn a_commit_of_another_process_wakes_up_too() {
    for place in places("wake-ups across processes").await {
        if !place.db().is_postgres() {
            // Other processes on SQLite catch up by polling.
            continue;
        }
        let other = place.test.guard.connect(2).await;
        let mut heard = other.wakeups();
        let mut tx = place.write().await;
        let subject = place.ws().to_string();
        events::insert(&mut tx, place.ws(), "test.event", &subject, &json!({}), place.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let told = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
        assert_eq!(told.unwrap(), Wakeup::Events);

        // A listener that lost its connection comes back and wakes everyone.
        let mut admin = sqlx::PgConnection::connect(&place.test.guard.url()).await.unwrap();
        let end_listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        admin.execute(end_listeners).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
        assert!(told.is_ok(), "{told:?}");
        other.close().await;
    }
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_to_come_back() {
    for place in places("busy").await {
        let mut held = Vec::new();
        let all = if place.db().is_postgres() { testkit::db::MAX_CONNECTIONS } else { 1 };
        for _ in 0..all {
            held.push(place.write().await);
        }
        let error = place.db().write().await.unwrap_err();
        assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        let told = DomainError::from(error);
        assert_eq!(told.kind, ErrorKind::Unavailable);
        assert!(told.retry_after.is_some());
        drop(held);
        place.write().await.commit().await.unwrap();
    }
}

#[tokio::test]
async fn reads_go_on_while_somebody_writes() {
    for place in places("reads beside a write").await {
        let datastore = place.datastore("pendiente");
        let mut tx = place.write().await;
        datastores::insert(&mut tx, &datastore).await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(datastores::get(&mut conn, place.ws(), datastore.id).await.unwrap(), None);
        tx.commit().await.unwrap();
        let found = datastores::get(&mut conn, place.ws(), datastore.id).await.unwrap();
        assert_eq!(found, Some(datastore));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_a_wrong_address_is_not() {
    let away = Db::connect("postgres://vocero@127.0.0.1:1/x", &OPTIONS).await;
    assert!(matches!(away, Err(StorageError::Unavailable(_))), "{away:?}");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("sqlite:{}", folder.path().join("no/such/folder/x.db").display());
    let away = Db::connect(&nowhere, &OPTIONS).await;
    assert!(matches!(away, Err(StorageError::Unavailable(_))), "{away:?}");
    for wrong in ["mysql://x", "sqlite::memory:", "sqlite://", ""] {
        let refused = Db::connect(wrong, &OPTIONS).await;
        assert!(matches!(refused, Err(StorageError::Database(_))), "{wrong}: {refused:?}");
    }
}

#[tokio::test]
async fn migrating_twice_changes_nothing_and_a_closed_database_is_unavailable() {
    for place in places("open and closed").await {
        place.db().migrate().await.unwrap();
        place.db().ping().await.unwrap();
        place.db().close().await;
        for error in [place.db().ping().await.err(), place.db().write().await.err()] {
            assert!(matches!(error, Some(StorageError::Unavailable(_))), "{error:?}");
        }
        let again = place.test.guard.connect(2).await;
        again.migrate().await.unwrap();
        let agent = agents::default(&mut again.read().await.unwrap(), place.ws()).await.unwrap();
        assert_eq!(agent, Some(place.home.agent.clone()));
        again.close().await;
    }
}

#[tokio::test]
async fn a_backup_is_a_database_of_its_own() {
    for place in places("backup").await {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copia de seguridad.db");
        let made = place.db().backup_sqlite(&copy).await;
        if place.db().is_postgres() {
            assert!(matches!(made, Err(StorageError::Database(_))), "{made:?}");
            continue;
        }
        made.unwrap();
        assert!(place.db().backup_sqlite(&copy).await.is_err(), "nothing is overwritten");
        let db = Db::connect(&format!("sqlite:{}", copy.display()), &OPTIONS).await.unwrap();
        let agent = agents::default(&mut db.read().await.unwrap(), place.ws()).await.unwrap();
        assert_eq!(agent, Some(place.home.agent.clone()));
        db.close().await;
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_read_names_its_column() {
    for place in places("unreadable values").await {
        let damage = "UPDATE agents SET settings = 'not JSON'";
        if place.db().is_postgres() {
            let url = place.test.guard.url();
            sqlx::PgConnection::connect(&url).await.unwrap().execute(damage).await.unwrap();
        } else {
            let url = place.test.guard.url();
            sqlx::SqliteConnection::connect(&url).await.unwrap().execute(damage).await.unwrap();
        }
        let read = agents::default(&mut place.read().await, place.ws()).await;
        match read {
            Err(StorageError::Decode { column, .. }) => assert!(column.contains("settings")),
            other => panic!("expected an unreadable value, got {other:?}"),
        }
    }
}
