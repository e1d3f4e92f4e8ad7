//! A connection, and a transaction that ends well whatever becomes of its owner.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Postgres, SqlSafeStr, Sqlite, Transaction};

use super::pools::Pools;
use super::{Shared, Wakeup};
use crate::events::{self, PendingEvent};
use crate::sql::{Deferred, Executor};
use crate::{Result, StorageError};

/// A connection for reading.
#[derive(Debug)]
pub struct Conn {
    inner: Inner,
    /// Whether a statement failed: a transaction in which one did is not committed.
    failed: bool,
    /// Statements that go with the next one.
    deferred: Option<Deferred>,
}

#[derive(Debug)]
enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    SqliteTx(Transaction<'static, Sqlite>),
    PostgresTx(Transaction<'static, Postgres>),
}

/// A write transaction. Dropping it without `commit` rolls back.
///
/// The connection goes back to its pool only after the transaction has ended, at whatever point its
/// owner was dropped: `BEGIN` and `COMMIT` run in tasks of their own, and a transaction that is dropped
/// puts `ROLLBACK` in front of whatever the connection does next.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    shared: Arc<Shared>,
    /// Written by `commit`, so that their sequence numbers follow the commits.
    events: Vec<PendingEvent>,
    /// Who is to be woken up, beside the readers of events.
    wakeups: Vec<Wakeup>,
}

impl Conn {
    pub(super) fn sqlite(connection: PoolConnection<Sqlite>) -> Self {
        Self { inner: Inner::Sqlite(connection), failed: false, deferred: None }
    }

    pub(super) fn postgres(connection: PoolConnection<Postgres>) -> Self {
        Self { inner: Inner::Postgres(connection), failed: false, deferred: None }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.inner, Inner::Postgres(_) | Inner::PostgresTx(_))
    }

    pub(crate) fn executor(&mut self) -> Executor<'_> {
        match &mut self.inner {
            Inner::Sqlite(connection) => Executor::Sqlite(connection),
            Inner::SqliteTx(transaction) => Executor::Sqlite(transaction),
            Inner::Postgres(connection) => Executor::Postgres(connection),
            Inner::PostgresTx(transaction) => Executor::Postgres(transaction),
        }
    }

    pub(crate) const fn deferred(&mut self) -> &mut Option<Deferred> {
        &mut self.deferred
    }

    /// Whether statements can be put off: in transactions on SQLite.
    pub(crate) const fn defers(&self) -> bool {
        matches!(self.inner, Inner::SqliteTx(_))
    }

    /// Counts as failed until it has ended; what was the case before.
    pub(crate) const fn begin_statement(&mut self) -> bool {
        std::mem::replace(&mut self.failed, true)
    }

    pub(crate) const fn end_statement(&mut self, failed: bool) {
        self.failed = failed;
    }

    /// Maps and notes the failure of a statement.
    pub(crate) fn failed(&mut self, error: sqlx::Error) -> StorageError {
        self.failed = true;
        StorageError::from(error)
    }
}

impl Tx {
    /// Begins. The task that does ends the transaction when nobody waits for it any more: on PostgreSQL
    /// a `BEGIN` abandoned half-way would leave a pooled session inside a transaction (sqlx 0.9.0).
    pub(super) async fn begin(shared: Arc<Shared>) -> Result<Self> {
        let tasks = shared.tasks.clone();
        let begun = match &shared.pools {
            Pools::Sqlite { writer, .. } => {
                let connection = writer.acquire().await?;
                let begin = "BEGIN IMMEDIATE".into_sql_str();
                tasks.spawn(async move {
                    Transaction::begin(connection, Some(begin)).await.map(Inner::SqliteTx)
                })
            }
            Pools::Postgres(pool) => {
                let connection = pool.acquire().await?;
                tasks.spawn(async move {
                    Transaction::begin(connection, None).await.map(Inner::PostgresTx)
                })
            }
        };
        let inner = begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        let conn = Conn { inner, failed: false, deferred: None };
        Ok(Self { conn, shared, events: Vec::new(), wakeups: Vec::new() })
    }

    /// Makes the changes durable and wakes up who waits for them. Refused, and rolled back, when a
    /// statement of the transaction failed. Goes on to its end when the caller goes away meanwhile.
    pub async fn commit(self) -> Result<()> {
        let tasks = self.shared.tasks.clone();
        let committed = tasks.spawn(self.commit_here());
        committed.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    async fn commit_here(mut self) -> Result<()> {
        if self.conn.failed {
            return Err(super::configuration(
                "a statement of this transaction failed; it cannot be committed",
            ));
        }
        let pending = std::mem::take(&mut self.events);
        let mut wakeups = std::mem::take(&mut self.wakeups);
        if events::write(&mut self.conn, &pending).await? {
            wakeups.push(Wakeup::Events);
        }
        self.conn.catch_up().await?;
        if self.conn.is_postgres() {
            for wakeup in &wakeups {
                wakeup.notify(&mut self.conn).await?;
            }
        }
        match self.conn.inner {
            Inner::SqliteTx(transaction) => transaction.commit().await?,
            Inner::PostgresTx(transaction) => transaction.commit().await?,
            // Made by `begin` only, which makes transactions.
            Inner::Sqlite(_) | Inner::Postgres(_) => {}
        }
        for wakeup in wakeups {
            // Nobody may be listening.
            let _ = self.shared.wakeups.send(wakeup);
        }
        Ok(())
    }

    /// Has an event written by `commit`.
    pub(crate) fn push_event(&mut self, event: PendingEvent) {
        self.events.push(event);
    }

    /// Has `commit` wake up who waits for this.
    pub(crate) fn wake(&mut self, wakeup: Wakeup) {
        if !self.wakeups.contains(&wakeup) {
            self.wakeups.push(wakeup);
        }
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
