//! A statement with its parameters, run on whichever database the connection is of.

use std::borrow::Cow;

use serde::Serialize;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, FromRow, PgConnection, Postgres, Sqlite,
    SqliteConnection, Type,
};

use crate::Result;
use crate::db::Conn;

/// A value that both databases take as a parameter.
pub(crate) trait Param<'q>:
    Encode<'q, Sqlite> + Type<Sqlite> + Encode<'q, Postgres> + Type<Postgres> + Send
{
}

impl<'q, T> Param<'q> for T where
    T: Encode<'q, Sqlite> + Type<Sqlite> + Encode<'q, Postgres> + Type<Postgres> + Send
{
}

/// A row that both databases can give.
pub(crate) trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Record for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// Two texts, where the dialects truly differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialects {
    /// For SQLite.
    pub(crate) sqlite: &'static str,
    /// For PostgreSQL.
    pub(crate) postgres: &'static str,
}

/// The text of a statement: one for both databases, or one for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text(Dialects);

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Dialects { sqlite: text, postgres: text })
    }
}

impl From<Dialects> for Text {
    fn from(texts: Dialects) -> Self {
        Self(texts)
    }
}

/// The connection under a [`Conn`].
pub(crate) enum Executor<'c> {
    /// Of SQLite.
    Sqlite(&'c mut SqliteConnection),
    /// Of PostgreSQL.
    Postgres(&'c mut PgConnection),
}

enum Arguments {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

/// A statement under construction. Parameters are bound in the order of their numbers.
pub(crate) struct Statement<'c> {
    conn: &'c mut Conn,
    text: Cow<'static, str>,
    arguments: Arguments,
    refused: Option<BoxDynError>,
}

impl Conn {
    /// A statement on this connection.
    pub(crate) fn statement(&mut self, text: impl Into<Text>) -> Statement<'_> {
        let Text(texts) = text.into();
        let (text, arguments) = if self.is_postgres() {
            (texts.postgres, Arguments::Postgres(PgArguments::default()))
        } else {
            (texts.sqlite, Arguments::Sqlite(SqliteArguments::default()))
        };
        Statement { conn: self, text: Cow::Borrowed(text), arguments, refused: None }
    }
}

/// Calls `$query(text, arguments).$method(connection)` on whichever database; the error is mapped and noted.
macro_rules! run {
    ($statement:expr, $query:path, $method:ident, $map:expr) => {{
        let Statement { conn, text, arguments, refused } = $statement;
        let result = match (refused, conn.executor(), arguments) {
            (Some(source), _, _) => Err(sqlx::Error::Encode(source)),
            (None, Executor::Sqlite(connection), Arguments::Sqlite(arguments)) => {
                $query(AssertSqlSafe(text), arguments).$method(connection).await.map($map)
            }
            (None, Executor::Postgres(connection), Arguments::Postgres(arguments)) => {
                $query(AssertSqlSafe(text), arguments).$method(connection).await.map($map)
            }
            (None, ..) => Err(sqlx::Error::PoolClosed),
        };
        result.map_err(|error| conn.failed(error))
    }};
}

impl Statement<'_> {
    /// Binds the next parameter.
    pub(crate) fn bind<'t, T: Param<'t>>(mut self, value: T) -> Self {
        let result = match &mut self.arguments {
            Arguments::Sqlite(arguments) => arguments.add(value),
            Arguments::Postgres(arguments) => arguments.add(value),
        };
        if let Err(error) = result {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Binds a list of texts as the next parameter (see `with_list!`).
    pub(crate) fn list<T: ToString>(self, values: &[T]) -> Self {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        match self.arguments {
            Arguments::Sqlite(_) => self.json(&texts),
            Arguments::Postgres(_) => self.bind_postgres(texts),
        }
    }

    /// Binds the text of a value's JSON as the next parameter (see `with_rows!`).
    pub(crate) fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => self.bind(text),
            Err(error) => {
                self.refused.get_or_insert(error.into());
                self
            }
        }
    }

    fn bind_postgres(mut self, values: Vec<String>) -> Self {
        if let Arguments::Postgres(arguments) = &mut self.arguments
            && let Err(error) = arguments.add(values)
        {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Adds ` AND …`-like text and a parameter after it when there is a value.
    pub(crate) fn when<'t, T: Param<'t>>(mut self, text: &'static str, value: Option<T>) -> Self {
        let Some(value) = value else { return self };
        let number = 1 + match &self.arguments {
            Arguments::Sqlite(arguments) => arguments.len(),
            Arguments::Postgres(arguments) => arguments.len(),
        };
        self.text = Cow::Owned(format!("{}{text}${number}", self.text));
        self.bind(value)
    }

    /// Adds text.
    pub(crate) fn then(mut self, text: &'static str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Runs it; how many rows it changed.
    pub(crate) async fn execute(self) -> Result<i64> {
        let rows = run!(self, sqlx::query_with, execute, |done| done.rows_affected())?;
        Ok(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// Runs it; whether it changed a row.
    pub(crate) async fn changed(self) -> Result<bool> {
        Ok(self.execute().await? > 0)
    }

    /// Every row.
    pub(crate) async fn all<R: Record>(self) -> Result<Vec<R>> {
        run!(self, sqlx::query_as_with, fetch_all, |rows| rows)
    }

    /// The first row, if there is one.
    pub(crate) async fn optional<R: Record>(self) -> Result<Option<R>> {
        run!(self, sqlx::query_as_with, fetch_optional, |rows| rows)
    }

    /// The row; an error when there is none.
    pub(crate) async fn one<R: Record>(self) -> Result<R> {
        run!(self, sqlx::query_as_with, fetch_one, |rows| rows)
    }
}
