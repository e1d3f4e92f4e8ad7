//! Connections and transactions.

use crate::Result;
use tokio::sync::broadcast;

/// The database: SQLite or PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {}

/// How to connect.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// Connections of the pool (PostgreSQL) or of the readers' pool (SQLite).
    pub max_connections: u32,
}

/// A connection for reading.
#[derive(Debug)]
pub struct Conn {}

/// A write transaction. Dropping it without `commit` rolls back.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
}

/// What woke readers up; they then read by sequence or claim, so a lost wake-up loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Events were added to the outbox.
    Events,
    /// Jobs were added.
    Jobs,
}

impl Db {
    /// Connects to `sqlite:<path>` or `postgres://…`.
    pub async fn connect(url: &str, options: &DbOptions) -> Result<Self> {
        let _ = (url, options);
        todo!()
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<()> {
        todo!()
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<Conn> {
        todo!()
    }

    /// A write transaction. Not held while anything but the database is awaited.
    pub async fn write(&self) -> Result<Tx> {
        todo!()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        todo!()
    }

    /// Wake-ups of commits of this process and, on PostgreSQL, of others (`LISTEN`).
    pub fn wakeups(&self) -> broadcast::Receiver<Wakeup> {
        todo!()
    }

    /// A consistent copy of a SQLite database into a new file (`VACUUM INTO`).
    pub async fn backup_sqlite(&self, to: &std::path::Path) -> Result<()> {
        let _ = to;
        todo!()
    }

    /// Closes the pools after the connections in use are back.
    pub async fn close(&self) {
        todo!()
    }
}

impl Tx {
    /// Makes the changes durable and wakes up who waits for them.
    pub async fn commit(self) -> Result<()> {
        todo!()
    }
}

impl std::ops::Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
