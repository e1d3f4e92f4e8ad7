//! The pools of both databases and how their connections are set up.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, PgPool};
use tokio_util::task::TaskTracker;

use super::conn::Conn;
use super::lent::Connections;
use super::{DbOptions, configuration};
use crate::{Result, StorageError};

/// The pools of a database.
#[derive(Debug)]
pub(super) enum Pools {
    /// One connection writes, beside it a pool only reads.
    Sqlite {
        /// The one connection that writes.
        writer: Connections,
        /// Connections that cannot write.
        readers: Connections,
    },
    /// One pool for all.
    Postgres(PgPool),
}

/// How long a caller waits for a connection, and a statement for a lock, before it is told that the
/// database is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What each PostgreSQL session is told: the patience above, and that a transaction whose owner forgot it
/// does not hold its locks for ever.
const SESSION: &str = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'";
/// Statements kept prepared on each connection; the product has fewer. On SQLite those that go together count as one
/// of their own.
const STATEMENTS_KEPT: usize = 400;
/// Rows that SQLite's thread may be ahead of the reader: a page of search results at once.
const ROWS_AHEAD: usize = 128;

impl Pools {
    /// Connects to `sqlite:<path>` or `postgres://…`. What connections are asked off the way of their users is among
    /// `tasks`.
    pub(super) async fn connect(
        url: &str,
        options: &DbOptions,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return connect_postgres(url, options).await;
        }
        if url.starts_with("sqlite:") {
            return connect_sqlite(url, options, tasks).await;
        }
        Err(configuration("a database address starts with `sqlite:` or `postgres://`"))
    }

    /// A connection for reading.
    pub(super) async fn reader(&self) -> Result<Conn> {
        match self {
            Self::Sqlite { readers, .. } => Ok(Conn::sqlite(readers.acquire().await?)),
            Self::Postgres(pool) => Ok(Conn::postgres(pool.acquire().await?)),
        }
    }

    /// Closes every connection after it is back. SQLite's writer is last: closing the last connection
    /// empties the write-ahead log.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

async fn connect_sqlite(url: &str, options: &DbOptions, tasks: &TaskTracker) -> Result<Pools> {
    let common = SqliteConnectOptions::from_str(url)?
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .row_buffer_size(ROWS_AHEAD);
    if common.get_filename().as_os_str().is_empty() || url.contains(":memory:") {
        return Err(configuration("a SQLite database is a file: `sqlite:<path>`"));
    }
    let writing = common
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode a power cut may lose the last commits but never the database.
        .synchronous(SqliteSynchronous::Normal)
        // 16 MB of log between checkpoints: fewer, longer writes while documents come in.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        // Who is erased is gone from the file, too: what is deleted is overwritten. `FAST` would leave long texts and traces as
        // they are, since it spares the pages that become free as a whole. It costs the writing of those pages; what deletes
        // much is done by jobs. The log beside the file has the old pages until it has gone round.
        .pragma("secure_delete", "ON")
        // Kibibytes.
        .pragma("cache_size", "-8000")
        .optimize_on_close(true, 400);
    let reading = common.read_only(true);

    // The writer comes first: it makes the file and turns the log on.
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(writing)
        .await?;
    let most = options.max_connections.max(1);
    let readers = SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(reading)
        .await?;
    Ok(Pools::Sqlite {
        writer: Connections::of(writer, 1, tasks),
        readers: Connections::of(readers, most, tasks),
    })
}

async fn connect_postgres(url: &str, options: &DbOptions) -> Result<Pools> {
    let connect = PgConnectOptions::from_str(url)?
        .application_name("vocero")
        .statement_cache_capacity(STATEMENTS_KEPT);
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(SESSION).await?;
                Ok(())
            })
        })
        .connect_with(connect)
        .await
        .map_err(StorageError::from)?;
    Ok(Pools::Postgres(pool))
}
