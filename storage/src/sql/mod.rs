//! One text of SQL for both databases: statements, their parameters and their rows.

mod statement;
mod values;

pub(crate) use statement::{Deferred, Dialects, Executor, Statement};
pub(crate) use values::{Id, Json, Micros, Name};

/// A text with a list: `$n` is a list of texts on both databases, bound with [`Statement::list`].
/// On SQLite a list travels as JSON.
macro_rules! with_list {
    ($($before:expr, $column:literal in $parameter:literal),+; $after:expr) => {
        $crate::sql::Dialects {
            sqlite: concat!(
                $($before, $column, " IN (SELECT value FROM json_each(", $parameter, "))",)+
                $after
            ),
            postgres: concat!($($before, $column, " = ANY(", $parameter, ")",)+ $after),
        }
    };
}

/// A text that reads rows from a JSON array of arrays in parameter `$n`, bound with [`Statement::json`]:
/// `value->>0` is the first text of a row and `CAST(value->>1 AS BIGINT)` its second, a number.
macro_rules! with_rows {
    ($before:expr, $parameter:literal, $after:expr) => {
        $crate::sql::Dialects {
            sqlite: concat!($before, "json_each(", $parameter, ")", $after),
            postgres: concat!(
                $before,
                "json_array_elements(CAST(",
                $parameter,
                " AS JSON)) AS given (value)",
                $after
            ),
        }
    };
}

pub(crate) use {with_list, with_rows};
