//! The list of conversations: filtered, ordered, in pages.
//!
//! A page is found in the index of its order, which has every column that filters look at, and only then are the rows of
//! the page read, by a statement of their own: PostgreSQL plans what has a limit anew each time, and the plan of both in one takes
//! as long as the work. SQLite is told which index that is: without statistics it would rather take one that leaves more to
//! be sorted, or to be looked through.

use domain::{ConversationId, UserId, WorkspaceId};
use sqlx::FromRow;

use super::entry::{Entry, entries};
use super::filter::{Filter, frequent, narrowed};
use crate::sql::{Dialects, Id, Statement};
use crate::{Conn, Result};

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderBy {
    /// The time of the last change.
    UpdatedAt,
    /// The time of creation.
    CreatedAt,
    /// The priority.
    Priority,
    /// How long the customer has waited for a person; those who do not wait are last.
    WaitingSince,
}

/// The order of a list; equals go by the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What by.
    pub by: OrderBy,
    /// Whether from the greatest to the least.
    pub descending: bool,
}

/// Where an entry stands in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What the list is ordered by.
    pub value: i64,
    /// The conversation.
    pub id: ConversationId,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Only what comes after this.
    pub after: Option<Place>,
    /// Entries to leave out.
    pub skip: i64,
    /// Entries to give.
    pub take: i64,
    /// Where counting ends, from the beginning of the list or `after`.
    pub count_to: i64,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The place of the last of them, when others follow.
    pub next: Option<Place>,
    /// How many there are, where that is less than `count_to`.
    pub found: i64,
}

/// What was found. SQLite wants every parameter in the text, and not every filter asks who reads.
macro_rules! from_found {
    () => {
        " FROM found WHERE COALESCE($2, '') <> '~'"
    };
}

impl Order {
    /// What the list is ordered by, before the id.
    const fn place(self) -> &'static str {
        match self.by {
            OrderBy::UpdatedAt => "updated_at",
            OrderBy::CreatedAt => "CAST(0 AS BIGINT)",
            OrderBy::Priority => "priority",
            OrderBy::WaitingSince => "waiting_since",
        }
    }

    /// The index in which a list is found: that of what few conversations have, else of the order.
    fn index(self, filter: &Filter, frequent: &[bool]) -> Dialects {
        let sqlite = if frequent.contains(&false) {
            " INDEXED BY conversations_by_creation"
        } else if filter.contact.is_some() {
            " INDEXED BY conversations_by_contact"
        } else {
            match self.by {
                OrderBy::UpdatedAt => " INDEXED BY conversations_by_update",
                OrderBy::CreatedAt => " INDEXED BY conversations_by_creation",
                OrderBy::Priority => " INDEXED BY conversations_by_priority",
                OrderBy::WaitingSince => " INDEXED BY conversations_by_waiting",
            }
        };
        Dialects { sqlite, postgres: "" }
    }

    const fn clause(self) -> &'static str {
        match (self.by, self.descending) {
            (OrderBy::UpdatedAt, true) => " ORDER BY updated_at DESC, id DESC",
            (OrderBy::UpdatedAt, false) => " ORDER BY updated_at, id",
            (OrderBy::CreatedAt, true) => " ORDER BY id DESC",
            (OrderBy::CreatedAt, false) => " ORDER BY id",
            (OrderBy::Priority, true) => " ORDER BY priority DESC, id DESC",
            (OrderBy::Priority, false) => " ORDER BY priority, id",
            (OrderBy::WaitingSince, true) => " ORDER BY waiting_since DESC, id DESC",
            (OrderBy::WaitingSince, false) => " ORDER BY waiting_since, id",
        }
    }

    /// What compares an entry's place with another's, which it is to come after.
    const fn after(self) -> &'static str {
        match (self.by, self.descending) {
            (OrderBy::UpdatedAt, true) => " AND (updated_at, id) < (",
            (OrderBy::UpdatedAt, false) => " AND (updated_at, id) > (",
            (OrderBy::CreatedAt, true) => " AND (id) < (",
            (OrderBy::CreatedAt, false) => " AND (id) > (",
            (OrderBy::Priority, true) => " AND (priority, id) < (",
            (OrderBy::Priority, false) => " AND (priority, id) > (",
            (OrderBy::WaitingSince, true) => " AND (waiting_since, id) < (",
            (OrderBy::WaitingSince, false) => " AND (waiting_since, id) > (",
        }
    }

    /// The order of what was found.
    const fn of_places(self) -> &'static str {
        if self.descending { " ORDER BY place DESC, id DESC" } else { " ORDER BY place, id" }
    }
}

#[derive(FromRow)]
struct FoundRow {
    id: Id<ConversationId>,
    /// What the list is ordered by, before the id.
    place: i64,
    /// How many were found, up to where counting ends.
    found: i64,
}

/// A part of the list of conversations, as a member sees it.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    (filter, order): (&Filter, Order),
    window: &Window,
) -> Result<Listed> {
    let upto = window.count_to.max(window.skip.saturating_add(window.take).saturating_add(1));
    let frequent = frequent(conn, workspace, &filter.words).await?;
    let which = (filter, order, frequent.as_slice());
    let mut rows: Vec<FoundRow> = found(conn, workspace, reader, which, window.after)
        .when(" LIMIT ", Some(upto))
        .then(concat!(") SELECT id, place, (SELECT COUNT(*) FROM found) AS found", from_found!()))
        .then(order.of_places())
        .when(" LIMIT ", Some(window.take.saturating_add(1)))
        .when(" OFFSET ", Some(window.skip))
        .all()
        .await?;
    let count = match rows.first() {
        Some(row) => row.found,
        None if window.skip == 0 => 0,
        None => count(conn, workspace, reader, which, upto).await?,
    };
    let take = usize::try_from(window.take).unwrap_or(usize::MAX);
    let more = rows.len() > take;
    rows.truncate(take);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| Place { value: row.place, id: row.id.0 });
    let ids: Vec<ConversationId> = rows.into_iter().map(|row| row.id.0).collect();
    let entries = entries(conn, workspace, reader, &ids).await?;
    Ok(Listed { entries, next, found: count })
}

/// The conversations that a filter finds, last changed first, at most `limit`.
pub async fn ids(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<ConversationId>> {
    let order = Order { by: OrderBy::UpdatedAt, descending: true };
    let frequent = frequent(conn, workspace, &filter.words).await?;
    let which = (filter, order, frequent.as_slice());
    let rows: Vec<(Id<ConversationId>,)> = found(conn, workspace, reader, which, None)
        .when(" LIMIT ", Some(limit))
        .then(concat!(") SELECT id", from_found!()))
        .then(order.of_places())
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

async fn count(
    conn: &mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    which: (&Filter, Order, &[bool]),
    upto: i64,
) -> Result<i64> {
    let (count,): (i64,) = found(conn, workspace, reader, which, None)
        .when(" LIMIT ", Some(upto))
        .then(concat!(") SELECT COUNT(*)", from_found!()))
        .one()
        .await?;
    Ok(count)
}

/// The beginning of a statement: what a filter finds, in order, up to the limit that is to follow.
fn found<'c>(
    conn: &'c mut Conn,
    workspace: WorkspaceId,
    reader: Option<UserId>,
    (filter, order, frequent): (&Filter, Order, &[bool]),
    after: Option<Place>,
) -> Statement<'c> {
    let statement = conn
        .statement("WITH found AS (SELECT id, ")
        .then(order.place())
        .then(" AS place FROM conversations")
        .then(order.index(filter, frequent))
        .then(" WHERE workspace_id = $1")
        .bind(Id(workspace))
        .bind(reader.map(Id));
    let statement = narrowed(statement, filter, frequent);
    let statement = match after {
        None => statement,
        Some(place) if order.by == OrderBy::CreatedAt => {
            statement.when(order.after(), Some(Id(place.id))).then(")")
        }
        Some(place) => statement
            .when(order.after(), Some(place.value))
            .when(", ", Some(Id(place.id)))
            .then(")"),
    };
    statement.then(order.clause())
}
