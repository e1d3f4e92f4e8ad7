//! The connections of SQLite: given out, and taken back on the spot.
//!
//! sqlx's pool asks each connection that comes back whether it is well, in a task of its own and by way of the connection's
//! thread: that wakes up two threads each time, and keeps the one connection that writes from whoever is next. One in which
//! every statement came to its end has nothing to be asked. A few of those rest here, and the one that was used last goes
//! out first; what there is no room for goes to the pool, which closes what is not needed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::pools::PATIENCE;

/// Connections that rest here at most.
const RESTING: usize = 4;

/// The connections of a pool. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: SqlitePool,
    /// One for each connection of the pool; who waits, waits here, and is served in order.
    places: Arc<Semaphore>,
    /// `None` once it is closed.
    resting: Mutex<Option<Vec<PoolConnection<Sqlite>>>>,
    tasks: TaskTracker,
}

/// A connection that was given out. It goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    /// Until it is dropped.
    connection: Option<PoolConnection<Sqlite>>,
    place: Option<OwnedSemaphorePermit>,
    from: Arc<Shared>,
    is_doubtful: bool,
}

impl Connections {
    /// The connections of `pool`, at most `most`.
    pub(super) fn of(pool: SqlitePool, most: u32, tasks: &TaskTracker) -> Self {
        let most = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            pool,
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            resting: Mutex::new(Some(Vec::with_capacity(RESTING))),
            tasks: tasks.clone(),
        }))
    }

    /// A connection; waits for one as long as there is patience.
    pub(super) async fn acquire(&self) -> sqlx::Result<Lent> {
        let place = Arc::clone(&self.0.places).acquire_owned();
        let place = tokio::time::timeout(PATIENCE, place).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = match self.0.rested() {
            Some(connection) => connection,
            None => self.0.pool.acquire().await?,
        };
        Ok(Lent {
            connection: Some(connection),
            place: Some(place),
            from: Arc::clone(&self.0),
            is_doubtful: false,
        })
    }

    /// The pool itself, to which goes whatever rests.
    pub(super) fn pool(&self) -> &SqlitePool {
        let resting = self.0.resting().as_mut().map(std::mem::take);
        for connection in resting.into_iter().flatten() {
            give_back(connection);
        }
        &self.0.pool
    }

    /// Closes every connection after it is back.
    pub(super) async fn close(&self) {
        let resting = self.0.resting().take();
        for connection in resting.into_iter().flatten() {
            give_back(connection);
        }
        self.0.pool.close().await;
    }
}

impl Shared {
    fn resting(&self) -> MutexGuard<'_, Option<Vec<PoolConnection<Sqlite>>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last of those that rest.
    fn rested(&self) -> Option<PoolConnection<Sqlite>> {
        self.resting().as_mut()?.pop()
    }

    /// Lets a connection rest, where there is room.
    fn rest(&self, connection: PoolConnection<Sqlite>) {
        let mut resting = self.resting();
        if let Some(list) = resting.as_mut().filter(|list| list.len() < RESTING) {
            list.push(connection);
            return;
        }
        drop(resting);
        give_back(connection);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let resting = self.resting().take();
        for connection in resting.into_iter().flatten() {
            give_back(connection);
        }
    }
}

/// Gives a connection to its pool, which asks it first.
fn give_back(connection: PoolConnection<Sqlite>) {
    if Handle::try_current().is_err() {
        // There are no tasks to ask it in.
        drop(connection.detach());
    }
}

impl Lent {
    /// The connection; always there.
    pub(super) fn connection(&mut self) -> Option<&mut SqliteConnection> {
        self.connection.as_deref_mut()
    }

    /// Something may still be going on in it: it is asked before it goes to anybody else.
    pub(super) const fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Nothing goes on in it any more.
    pub(super) const fn trust(&mut self) {
        self.is_doubtful = false;
    }

    /// Closes it without a word; the pool opens another one.
    pub(super) fn end(mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.is_doubtful {
            self.from.rest(connection);
        } else if Handle::try_current().is_err() {
            drop(connection.detach());
        } else {
            // Nobody takes its place before it is back: the pool has no other connection.
            let back = ask(connection, Arc::clone(&self.from), self.place.take());
            self.from.tasks.spawn(back);
        }
    }
}

/// Waits until a connection has done what it was asked, then lets it rest; one that does not answer is closed.
async fn ask(
    mut connection: PoolConnection<Sqlite>,
    from: Arc<Shared>,
    place: Option<OwnedSemaphorePermit>,
) {
    match connection.ping().await {
        Ok(()) => from.rest(connection),
        Err(error) => {
            tracing::warn!(%error, "a connection to the database does not answer; it is closed");
            drop(connection.detach());
        }
    }
    drop(place);
}
