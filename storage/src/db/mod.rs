//! Connections and transactions.

mod conn;
mod lent;
mod pools;
mod wakeups;

use std::path::Path;
use std::sync::Arc;

use domain::WorkspaceId;
use sqlx::Sqlite;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::conn::{Conn, Tx};
use self::pools::Pools;
pub use self::wakeups::{News, Wakeup};
use crate::{Result, StorageError};

/// The database: SQLite or PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    shared: Arc<Shared>,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// Connections of the pool (PostgreSQL) or of the readers' pool (SQLite).
    pub max_connections: u32,
}

/// What the handles of a database and its open transactions share.
#[derive(Debug)]
struct Shared {
    pools: Pools,
    /// Whatever must end although the caller went away: beginning, committing, listening.
    tasks: TaskTracker,
    stop: CancellationToken,
    ears: wakeups::Ears,
}

/// Wake-ups that a slow receiver may be behind before it is told that it lagged. Few are enough: a
/// receiver that lagged looks at the tables, as it does after any wake-up.
const WAKEUPS_KEPT: usize = 64;
/// News that a slow receiver may be behind before it must look everywhere.
const NEWS_KEPT: usize = 1_024;

impl Db {
    /// Connects to `sqlite:<path>` or `postgres://…`. The folder of a SQLite file must be there; the file
    /// is made when absent. On PostgreSQL a further connection listens for the commits of other processes.
    pub async fn connect(url: &str, options: &DbOptions) -> Result<Self> {
        let tasks = TaskTracker::new();
        let pools = Pools::connect(url, options, &tasks).await?;
        let shared = Shared {
            pools,
            tasks,
            stop: CancellationToken::new(),
            ears: wakeups::Ears {
                wakeups: broadcast::Sender::new(WAKEUPS_KEPT),
                news: broadcast::Sender::new(NEWS_KEPT),
            },
        };
        if let Pools::Postgres(pool) = &shared.pools {
            let listener = wakeups::Listener::connect(pool).await?;
            shared.tasks.spawn(listener.run(shared.ears.clone(), shared.stop.clone()));
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<()> {
        let result = match &self.shared.pools {
            Pools::Sqlite { writer, .. } => migrations::SQLITE.run(writer.pool()).await,
            Pools::Postgres(pool) => migrations::POSTGRES.run(pool).await,
        };
        result.map_err(|error| StorageError::from(sqlx::Error::from(error)))
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<Conn> {
        self.shared.pools.reader().await
    }

    /// A write transaction. Not held while anything but the database is awaited. Waits for its turn on
    /// SQLite, which has one writer; `Unavailable` when that takes longer than five seconds.
    pub async fn write(&self) -> Result<Tx> {
        Tx::begin(Arc::clone(&self.shared)).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        let (_one,): (i64,) =
            self.read().await?.statement("SELECT CAST(1 AS BIGINT)").one().await?;
        Ok(())
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self.shared.pools, Pools::Postgres(_))
    }

    /// Wake-ups of commits of this process and, on PostgreSQL, of others (`LISTEN`). On PostgreSQL a
    /// commit of this process may be told twice.
    pub fn wakeups(&self) -> broadcast::Receiver<Wakeup> {
        self.shared.ears.wakeups.subscribe()
    }

    /// What happens in the workspaces, in this process and, on PostgreSQL, in others. A receiver that lagged takes it
    /// for [`News::Missed`].
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.shared.ears.news.subscribe()
    }

    /// Tells every process something passing about a workspace, at most 7,500 bytes of text without NUL; longer is an
    /// error. Who does not listen right now never hears it.
    pub async fn signal(&self, workspace: WorkspaceId, text: &str) -> Result<()> {
        if text.len() > wakeups::MAX_SIGNAL {
            return Err(configuration("a signal has at most 7,500 bytes"));
        }
        let news = News::Signal(workspace, text.into());
        if self.is_postgres() {
            return news.notify(&mut self.read().await?).await;
        }
        // Nobody may be listening.
        let _ = self.shared.ears.news.send(news);
        Ok(())
    }

    /// A consistent copy of a SQLite database into a new file (`VACUUM INTO`); writers go on meanwhile.
    /// Refused on PostgreSQL, which has `pg_dump`, and when the file is there.
    pub async fn backup_sqlite(&self, to: &Path) -> Result<()> {
        let Pools::Sqlite { readers, .. } = &self.shared.pools else {
            return Err(configuration("a PostgreSQL database is backed up with `pg_dump`"));
        };
        let Some(to) = to.to_str() else {
            return Err(configuration("the path of the backup must be UTF-8"));
        };
        let mut lent = readers.acquire().await?;
        // It goes on when it is given up half-way.
        lent.doubt();
        let connection = lent.connection().ok_or(sqlx::Error::PoolClosed)?;
        sqlx::query::<Sqlite>("VACUUM INTO $1").bind(to).execute(connection).await?;
        Ok(())
    }

    /// Closes the pools after the connections in use are back.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.pools.close().await;
    }
}

fn configuration(message: &'static str) -> StorageError {
    StorageError::Database(sqlx::Error::Configuration(message.into()))
}
