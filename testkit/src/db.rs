//! Throw-away databases: SQLite in a temporary folder always, PostgreSQL where a cluster is given.
//!
//! `VOCERO_TEST_POSTGRES_URL` is an administrator's address of a running cluster (`scripts/test-postgres.sh`
//! starts one); every test gets a database of its own in it. Without the variable the PostgreSQL arm does not
//! run and says so; with `VOCERO_REQUIRE_POSTGRES=1` that is a failure.

use std::thread;

use domain::Ambient;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use storage::{Db, DbOptions};
use tempfile::TempDir;

/// A migrated, empty database that goes away with its guard.
#[derive(Debug)]
pub struct TestDb {
    /// The database.
    pub db: Db,
    /// `sqlite` or `postgres`, for messages.
    pub name: &'static str,
    /// Keeps the database there. Dropping it removes the database, whoever is still connected.
    pub guard: Guard,
}

/// Removes a throw-away database when dropped.
#[derive(Debug)]
pub struct Guard {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Sqlite { folder: TempDir },
    Postgres { admin: String, database: String },
}

/// Connections of each throw-away database: few, so that tests meet a busy pool too.
pub const MAX_CONNECTIONS: u32 = 5;

/// The databases to run `test` on: SQLite, and PostgreSQL where there is a cluster. `test` names the
/// PostgreSQL arm in the message that says that it did not run.
///
/// # Panics
/// When a database cannot be made, or PostgreSQL is required and not given.
pub async fn databases(test: &str) -> Vec<TestDb> {
    let mut databases = vec![sqlite().await];
    databases.extend(postgres(test).await);
    databases
}

/// A SQLite database in a temporary folder.
///
/// # Panics
/// When it cannot be made.
pub async fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let guard = Guard { place: Place::Sqlite { folder } };
    let db = guard.connect(MAX_CONNECTIONS).await;
    db.migrate().await.expect("the schema of SQLite is sound");
    TestDb { db, name: "sqlite", guard }
}

/// A PostgreSQL database in the cluster of `VOCERO_TEST_POSTGRES_URL`; `None`, said on standard error, when
/// there is none.
///
/// # Panics
/// When it cannot be made, or is required and there is no cluster.
pub async fn postgres(test: &str) -> Option<TestDb> {
    let guard = empty_postgres(test).await?;
    let db = guard.connect(MAX_CONNECTIONS).await;
    db.migrate().await.expect("the schema of PostgreSQL is sound");
    Some(TestDb { db, name: "postgres", guard })
}

/// As [`postgres`], without a schema: for processes that make their own.
///
/// # Panics
/// As [`postgres`].
pub async fn empty_postgres(test: &str) -> Option<Guard> {
    let Ok(admin) = std::env::var("VOCERO_TEST_POSTGRES_URL") else {
        let required = std::env::var("VOCERO_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
        assert!(!required, "VOCERO_REQUIRE_POSTGRES is set but VOCERO_TEST_POSTGRES_URL is not");
        eprintln!(
            "NOT RUN on PostgreSQL: {test} (set VOCERO_TEST_POSTGRES_URL, or use scripts/test-postgres.sh)"
        );
        return None;
    };
    Some(create(admin, "").await)
}

/// Makes a PostgreSQL database of its own; `clause` ends the statement.
async fn create(admin: String, clause: &str) -> Guard {
    let database = format!("vocero_test_{}", Ambient::system().new_uuid().simple());
    administer(&admin, format!("CREATE DATABASE {database} {clause}"))
        .await
        .expect("a database can be made");
    Guard { place: Place::Postgres { admin, database } }
}

impl Guard {
    /// A copy of a PostgreSQL database, as restoring its dump makes one. Nobody may be connected.
    ///
    /// # Panics
    /// When it cannot be made, or the database is SQLite.
    pub async fn copy(&self) -> Self {
        let Place::Postgres { admin, database } = &self.place else {
            panic!("a SQLite database is copied as a file");
        };
        create(admin.clone(), &format!("TEMPLATE {database}")).await
    }

    /// The address of the database.
    ///
    /// # Panics
    /// When the cluster's address cannot be read.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Sqlite { folder } => {
                format!("sqlite:{}", folder.path().join("test.db").display())
            }
            Place::Postgres { admin, database } => {
                let options: PgConnectOptions =
                    admin.parse().expect("VOCERO_TEST_POSTGRES_URL is an address");
                options.database(database).to_url_lossy().to_string()
            }
        }
    }

    /// A further handle, as another process would have it.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn connect(&self, max_connections: u32) -> Db {
        let options = DbOptions { max_connections };
        Db::connect(&self.url(), &options).await.expect("a throw-away database can be reached")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Place::Postgres { admin, database } = &self.place else { return };
        let (admin, database) = (admin.clone(), database.clone());
        // A thread with a runtime of its own: the test's may be stopping.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
            runtime.block_on(administer(&admin, drop))
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("a throw-away database stays behind: {error}");
        }
    }
}

async fn administer(admin: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = admin.parse::<PgConnectOptions>()?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
