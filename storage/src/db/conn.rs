//! A connection, and a transaction that ends well whatever becomes of its owner.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, Postgres, Transaction};
use tokio::runtime::Handle;

use super::lent::Lent;
use super::pools::Pools;
use super::{News, Shared, Wakeup};
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
    Sqlite(Lent),
    Postgres(PoolConnection<Postgres>),
    /// Inside a transaction that [`Deferred`] begins with the first statement.
    SqliteTx(Lent),
    /// Given back.
    Ended,
    PostgresTx(Transaction<'static, Postgres>),
}

/// A write transaction. Dropping it without `commit` rolls back.
///
/// The connection goes back to its pool only after the transaction has ended, at whatever point its
/// owner was dropped: on SQLite a task rolls back what was begun; on PostgreSQL `BEGIN` runs in a task of its own,
/// and a transaction that is dropped puts `ROLLBACK` in front of whatever the connection does next. `COMMIT` runs in
/// a task on both.
///
/// On SQLite `BEGIN` goes with the first statement and `COMMIT` with the last ones: each way to the thread of the
/// database and back costs more than most statements do.
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
    pub(super) fn sqlite(lent: Lent) -> Self {
        Self { inner: Inner::Sqlite(lent), failed: false, deferred: None }
    }

    pub(super) fn postgres(connection: PoolConnection<Postgres>) -> Self {
        Self { inner: Inner::Postgres(connection), failed: false, deferred: None }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.inner, Inner::Postgres(_) | Inner::PostgresTx(_))
    }

    pub(crate) fn executor(&mut self) -> Executor<'_> {
        match &mut self.inner {
            Inner::Sqlite(lent) | Inner::SqliteTx(lent) => {
                lent.connection().map_or(Executor::None, Executor::Sqlite)
            }
            Inner::Postgres(connection) => Executor::Postgres(connection),
            Inner::PostgresTx(transaction) => Executor::Postgres(transaction),
            Inner::Ended => Executor::None,
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
    /// Begins. On PostgreSQL in a task that ends the transaction when nobody waits for it any more: a `BEGIN` abandoned
    /// half-way would leave a pooled session inside a transaction (sqlx 0.9.0).
    pub(super) async fn begin(shared: Arc<Shared>) -> Result<Self> {
        let (inner, deferred) = match &shared.pools {
            Pools::Sqlite { writer, .. } => {
                (Inner::SqliteTx(writer.acquire().await?), Some(Deferred::begin()))
            }
            Pools::Postgres(pool) => {
                let connection = pool.acquire().await?;
                let begun =
                    shared.tasks.spawn(async move { Transaction::begin(connection, None).await });
                let begun = begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
                (Inner::PostgresTx(begun), None)
            }
        };
        let conn = Conn { inner, failed: false, deferred };
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
        let told = events::write(&mut self.conn, &pending).await?;
        if !told.is_empty() {
            wakeups.push(Wakeup::Events);
        }
        let here = !self.conn.is_postgres();
        if !here {
            // The news of a workspace's events wake up the readers of events, too.
            for wakeup in wakeups.iter().filter(|wakeup| **wakeup != Wakeup::Events) {
                wakeup.notify(&mut self.conn).await?;
            }
            for workspace in &told {
                News::Events(*workspace).notify(&mut self.conn).await?;
            }
        }
        match std::mem::replace(&mut self.conn.inner, Inner::Ended) {
            Inner::PostgresTx(transaction) => transaction.commit().await?,
            inner => {
                self.conn.inner = inner;
                self.conn.commit_sqlite().await?;
            }
        }
        for wakeup in wakeups {
            // Nobody may be listening.
            let _ = self.shared.ears.wakeups.send(wakeup);
        }
        for workspace in told.into_iter().filter(|_| here) {
            let _ = self.shared.ears.news.send(News::Events(workspace));
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

impl Conn {
    /// Ends a transaction on SQLite for good; one in which nothing was said was never begun.
    async fn commit_sqlite(&mut self) -> Result<()> {
        if !self.deferred.as_ref().is_some_and(Deferred::is_only_begin) {
            self.statement("COMMIT").together().await?;
        }
        self.inner = Inner::Ended;
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // Given up half-way, or failed before it had told everything.
        if self.failed
            && let Inner::Sqlite(lent) = &mut self.inner
        {
            lent.doubt();
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let inner = std::mem::replace(&mut self.conn.inner, Inner::Ended);
        let Inner::SqliteTx(mut lent) = inner else { return };
        if self.conn.deferred.as_ref().is_some_and(Deferred::begins) {
            // It was never sent.
            return;
        }
        if Handle::try_current().is_err() {
            // Closing it rolls back as well; the pool opens another one.
            lent.end();
            return;
        }
        // A runtime that ends may drop the task before it has begun.
        lent.doubt();
        self.shared.tasks.spawn(async move {
            let Some(connection) = lent.connection() else { return };
            let ended = connection.execute("ROLLBACK").await;
            if let Err(error) = ended.as_ref()
                && !is_ended_already(error)
            {
                tracing::warn!(%error, "a transaction could not be rolled back");
                lent.end();
                return;
            }
            lent.trust();
        });
    }
}

/// Whether there is nothing to roll back: a full disk ends a transaction, and `BEGIN` may not have come to pass.
fn is_ended_already(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains("no transaction is active"))
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
