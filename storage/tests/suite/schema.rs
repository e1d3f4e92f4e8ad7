//! Both databases have the same tables, columns and indexes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Connection as _;

/// Nullability and kind of each column, by table and column.
type Columns = BTreeMap<(String, String), (bool, &'static str)>;

const SQLITE_COLUMNS: &str = "
    SELECT tables.name, columns.name, CAST(columns.\"notnull\" AS BIGINT), columns.type
    FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table' AND tables.name NOT LIKE '%sqlx%' AND tables.name NOT LIKE 'sqlite%'";

const POSTGRES_COLUMNS: &str = "
    SELECT
        CAST(table_name AS TEXT),
        CAST(column_name AS TEXT),
        CAST(CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS BIGINT),
        CAST(data_type AS TEXT)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name NOT LIKE '%sqlx%'";

const SQLITE_INDEXES: &str = "
    SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'";

/// Without those that come from `PRIMARY KEY` and `UNIQUE`, which SQLite does not name.
const POSTGRES_INDEXES: &str = "
    SELECT CAST(indexname AS TEXT)
    FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'
        AND tablename NOT LIKE '%sqlx%'";

fn columns(rows: Vec<(String, String, i64, String)>) -> Columns {
    let kind = |data_type: &str| match data_type {
        "TEXT" | "text" => "text",
        // SQLite has no booleans.
        "INTEGER" | "bigint" | "boolean" => "integer",
        "BLOB" | "bytea" => "bytes",
        "REAL" | "double precision" => "float",
        other => panic!("`{other}` is not a type that the schema uses"),
    };
    let rows = rows.into_iter();
    rows.map(|(table, column, not_null, t)| ((table, column), (not_null == 1, kind(&t)))).collect()
}

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_indexes() {
    let sqlite = testkit::db::sqlite().await;
    let Some(postgres) = testkit::db::postgres("schema parity").await else { return };
    let mut lite = sqlx::SqliteConnection::connect(&sqlite.guard.url()).await.unwrap();
    let mut post = sqlx::PgConnection::connect(&postgres.guard.url()).await.unwrap();

    let of_sqlite = columns(sqlx::query_as(SQLITE_COLUMNS).fetch_all(&mut lite).await.unwrap());
    let of_postgres = columns(sqlx::query_as(POSTGRES_COLUMNS).fetch_all(&mut post).await.unwrap());
    assert!(of_sqlite.len() > 100, "the query found the columns: {}", of_sqlite.len());
    assert_eq!(of_sqlite, of_postgres);

    let names = |rows: Vec<(String,)>| rows.into_iter().map(|(name,)| name).collect();
    let of_sqlite: BTreeSet<String> =
        names(sqlx::query_as(SQLITE_INDEXES).fetch_all(&mut lite).await.unwrap());
    let of_postgres: BTreeSet<String> =
        names(sqlx::query_as(POSTGRES_INDEXES).fetch_all(&mut post).await.unwrap());
    assert!(of_sqlite.contains("jobs_due"));
    assert_eq!(of_sqlite, of_postgres);
}
