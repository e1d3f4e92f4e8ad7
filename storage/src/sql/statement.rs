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
    /// Of nothing any more.
    None,
}

enum Arguments {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

/// A statement under construction. Parameters are bound in the order of their numbers.
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Statement<'c> {
    conn: &'c mut Conn,
    /// Statements put off until this one, on SQLite. Their arguments come first.
    before: String,
    /// How many those are.
    before_arguments: usize,
    text: Cow<'static, str>,
    arguments: Arguments,
    refused: Option<BoxDynError>,
}

/// Statements of a transaction on SQLite that wait to go with the next one: each way to the thread of the
/// database and back costs more than most statements do.
#[derive(Debug)]
pub(crate) struct Deferred {
    text: String,
    arguments: SqliteArguments,
}

/// What begins a transaction on SQLite: it is to write, so it waits for its turn at once.
const BEGIN: &str = "BEGIN IMMEDIATE";

impl Deferred {
    /// The beginning of a transaction.
    pub(crate) fn begin() -> Self {
        Self { text: BEGIN.to_owned(), arguments: SqliteArguments::default() }
    }

    /// Whether the transaction has not begun.
    pub(crate) fn begins(&self) -> bool {
        self.text.starts_with(BEGIN)
    }

    /// Whether nothing was put off but the beginning.
    pub(crate) fn is_only_begin(&self) -> bool {
        self.text == BEGIN
    }
}

impl Conn {
    /// A statement on this connection.
    pub(crate) fn statement(&mut self, text: impl Into<Text>) -> Statement<'_> {
        let Text(texts) = text.into();
        let mut before = String::new();
        let (text, arguments) = if self.is_postgres() {
            (texts.postgres, Arguments::Postgres(PgArguments::default()))
        } else if let Some(deferred) = self.deferred().take() {
            before = deferred.text;
            (texts.sqlite, Arguments::Sqlite(deferred.arguments))
        } else {
            (texts.sqlite, Arguments::Sqlite(SqliteArguments::default()))
        };
        let before_arguments = arguments.len();
        let text = Cow::Borrowed(text);
        Statement { conn: self, before, before_arguments, text, arguments, refused: None }
    }

    /// Runs what was put off and has not been run since.
    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        if self.deferred().is_some() {
            self.statement("").execute().await?;
        }
        Ok(())
    }
}

impl Arguments {
    fn len(&self) -> usize {
        match self {
            Self::Sqlite(arguments) => arguments.len(),
            Self::Postgres(arguments) => arguments.len(),
        }
    }
}

/// A text whose parameters are numbered on from `by`.
fn renumbered(text: &str, by: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (head, tail) = rest.split_at(at + 1);
        out.push_str(head);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        match tail[..digits].parse::<usize>() {
            Ok(number) => out.push_str(&(number + by).to_string()),
            Err(_) => out.push_str(&tail[..digits]),
        }
        rest = &tail[digits..];
    }
    out.push_str(rest);
    out
}

/// Calls `$query(text, arguments).$method(connection)` on whichever database; the error is mapped and noted.
macro_rules! run {
    ($statement:expr, $query:path, $method:ident, $map:expr) => {{
        let mut statement = $statement;
        let text = statement.take_text();
        let Statement { conn, arguments, refused, .. } = statement;
        // Given up half-way it may have run or not: such a transaction is not to be committed.
        let failed = conn.begin_statement();
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
        if result.is_ok() {
            conn.end_statement(failed);
        }
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
        let number = 1 + self.arguments.len() - self.before_arguments;
        self.text = Cow::Owned(format!("{}{text}${number}", self.text));
        self.bind(value)
    }

    /// Adds text.
    pub(crate) fn then(mut self, text: impl Into<Text>) -> Self {
        let Text(texts) = text.into();
        self.text.to_mut().push_str(match self.arguments {
            Arguments::Sqlite(_) => texts.sqlite,
            Arguments::Postgres(_) => texts.postgres,
        });
        self
    }

    /// The text with what was put off until now.
    fn take_text(&mut self) -> Cow<'static, str> {
        let text = std::mem::take(&mut self.text);
        if self.before.is_empty() {
            return text;
        }
        let own = renumbered(&text, self.before_arguments);
        Cow::Owned(format!("{};\n{own}", self.before))
    }

    /// Has it run with the next statement of the transaction, or with its commit, which then fail in its stead.
    /// At once on PostgreSQL and outside of transactions.
    pub(crate) async fn later(mut self) -> Result<()> {
        if self.refused.is_some() || !self.conn.defers() {
            self.execute().await?;
            return Ok(());
        }
        let text = self.take_text().into_owned();
        let Statement { conn, arguments, .. } = self;
        if let Arguments::Sqlite(arguments) = arguments {
            *conn.deferred() = Some(Deferred { text, arguments });
        }
        Ok(())
    }

    /// Runs it; how many rows it changed.
    pub(crate) async fn execute(mut self) -> Result<i64> {
        if !self.before.is_empty() && !self.text.is_empty() {
            // The number of rows is to be its own.
            if let Arguments::Sqlite(arguments) = &self.arguments {
                let text = std::mem::take(&mut self.before);
                let arguments = arguments.clone();
                *self.conn.deferred() = Some(Deferred { text, arguments });
                Box::pin(self.conn.catch_up()).await?;
                self.text = Cow::Owned(renumbered(&self.text, self.before_arguments));
            }
        }
        let rows = run!(self, sqlx::query_with, execute, |done| done.rows_affected())?;
        Ok(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// Runs it in one go with what was put off.
    pub(crate) async fn together(self) -> Result<()> {
        run!(self, sqlx::query_with, execute, |_| ())
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

#[cfg(test)]
mod tests {
    use super::renumbered;

    #[test]
    fn parameters_are_numbered_on() {
        assert_eq!(renumbered("a = $1 AND b IN ($12, $2)", 3), "a = $4 AND b IN ($15, $5)");
        assert_eq!(renumbered("SELECT '$.a' || $1", 1), "SELECT '$.a' || $2");
        assert_eq!(renumbered("", 3), "");
    }
}
