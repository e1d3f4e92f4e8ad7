//! Lists of contacts, a page at a time.

use domain::{ContactId, WorkspaceId};

use crate::sql::Id;
use crate::sql::Statement;
use crate::{Conn, Result};

/// Which contacts to list.
#[derive(Debug, Clone, Default)]
pub struct ContactFilter {
    /// Only those with words that begin so, each of them (see `domain::contact::words_sought`).
    pub words: Vec<String>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only blocked ones, or only others.
    pub blocked: Option<bool>,
}

/// What contacts are put in order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactOrder {
    /// When they were made.
    Created,
    /// When they last changed.
    Changed,
    /// Their names, or what they are shown by, without accents.
    Name,
}

/// The ids of a page of contacts, in order.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &ContactFilter,
    order: (ContactOrder, bool),
    offset: i64,
    limit: i64,
) -> Result<Vec<ContactId>> {
    let in_order = match order {
        (ContactOrder::Created, false) => " ORDER BY contacts.id",
        (ContactOrder::Created, true) => " ORDER BY contacts.id DESC",
        (ContactOrder::Changed, false) => " ORDER BY contacts.updated_at, contacts.id",
        (ContactOrder::Changed, true) => " ORDER BY contacts.updated_at DESC, contacts.id DESC",
        (ContactOrder::Name, false) => " ORDER BY contacts.sort_name, contacts.id",
        (ContactOrder::Name, true) => " ORDER BY contacts.sort_name DESC, contacts.id DESC",
    };
    let statement = conn
        .statement("SELECT contacts.id FROM contacts WHERE contacts.workspace_id = $1")
        .bind(Id(workspace));
    let rows: Vec<(Id<ContactId>,)> = narrowed(statement, filter)
        .then(in_order)
        .when(" LIMIT ", Some(limit))
        .when(" OFFSET ", Some(offset))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}

/// How many contacts there are.
pub async fn count(conn: &mut Conn, workspace: WorkspaceId, filter: &ContactFilter) -> Result<i64> {
    let statement = conn
        .statement("SELECT CAST(COUNT(*) AS BIGINT) FROM contacts WHERE contacts.workspace_id = $1")
        .bind(Id(workspace));
    let (count,): (i64,) = narrowed(statement, filter).one().await?;
    Ok(count)
}

fn narrowed<'c>(statement: Statement<'c>, filter: &ContactFilter) -> Statement<'c> {
    let mut statement = statement;
    for word in &filter.words {
        // Nothing sorts behind the last of all characters.
        let end = format!("{word}\u{10FFFF}");
        statement = statement
            .when(
                " AND contacts.id IN (
                    SELECT contact_terms.contact_id
                    FROM contact_terms
                    WHERE contact_terms.workspace_id = $1
                        AND contact_terms.term >= ",
                Some(word.clone()),
            )
            .when(" AND contact_terms.term < ", Some(end))
            .then(")");
    }
    if let Some(tag) = &filter.tag {
        statement = statement
            .when(
                " AND contacts.id IN (
                    SELECT contact_tags.contact_id
                    FROM contact_tags
                    WHERE contact_tags.workspace_id = $1
                        AND contact_tags.tag = ",
                Some(tag.clone()),
            )
            .then(")");
    }
    match filter.blocked {
        Some(true) => statement.then(" AND contacts.blocked_at IS NOT NULL"),
        Some(false) => statement.then(" AND contacts.blocked_at IS NULL"),
        None => statement,
    }
}

/// The tags of contacts and how many have each, in order; at most `limit`.
pub async fn tag_counts(
    conn: &mut Conn,
    workspace: WorkspaceId,
    limit: i64,
) -> Result<Vec<(String, i64)>> {
    conn.statement(
        "SELECT
            tag,
            CAST(COUNT(*) AS BIGINT)
        FROM contact_tags
        WHERE workspace_id = $1
        GROUP BY tag
        ORDER BY tag
        LIMIT $2",
    )
    .bind(Id(workspace))
    .bind(limit)
    .all()
    .await
}
