//! Where visitors of a site are, and where they were when they began a conversation.

use std::time::Duration;

use domain::{ConversationId, ProjectId, Timestamp, VisitorId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, with_list};
use crate::{Conn, Result, Tx};

/// How long a visitor who does not come back is remembered: as long as they can prove who they are.
const KEPT: Duration = Duration::from_hours(180 * 24);
/// Forgotten with each visit that is noted, at most.
const FORGOTTEN_AT_ONCE: i64 = 20;

/// A page and the browser that shows it, in the words of the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visit {
    /// The address of the page.
    pub page_url: Option<String>,
    /// The browser.
    pub user_agent: Option<String>,
}

#[derive(FromRow)]
struct ConversationVisitRow {
    id: Id<ConversationId>,
    page_url: Option<String>,
    user_agent: Option<String>,
}

/// Notes where a visitor is; forgets some of those who have not come back for half a year.
pub async fn note(
    tx: &mut Tx,
    workspace: WorkspaceId,
    project: ProjectId,
    visitor: &VisitorId,
    visit: &Visit,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO visits (
            workspace_id,
            visitor_id,
            project_id,
            page_url,
            user_agent,
            first_seen_at,
            last_seen_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        ON CONFLICT (workspace_id, visitor_id) DO UPDATE
        SET
            page_url = excluded.page_url,
            user_agent = excluded.user_agent,
            last_seen_at = excluded.last_seen_at",
    )
    .bind(Id(workspace))
    .bind(visitor.as_str())
    .bind(Id(project))
    .bind(&visit.page_url)
    .bind(&visit.user_agent)
    .bind(Micros(now))
    .later()
    .await?;
    tx.statement(FORGET)
        .bind(Id(workspace))
        .bind(Micros(now.minus(KEPT)))
        .bind(FORGOTTEN_AT_ONCE)
        .later()
        .await
}

/// Forgets visitors who were seen before `before` for the last time, at most `limit`; how many.
pub async fn forget(
    tx: &mut Tx,
    workspace: WorkspaceId,
    before: Timestamp,
    limit: i64,
) -> Result<i64> {
    tx.statement(FORGET).bind(Id(workspace)).bind(Micros(before)).bind(limit).execute().await
}

const FORGET: &str = "DELETE FROM visits
    WHERE (workspace_id, visitor_id) IN (
        SELECT workspace_id, visitor_id
        FROM visits
        WHERE workspace_id = $1
            AND last_seen_at < $2
        ORDER BY last_seen_at
        LIMIT $3
    )";

/// Notes on a conversation where its visitor is; nothing when that is not known.
pub async fn describe(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET
            page_url = (
                SELECT visits.page_url
                FROM visits
                WHERE visits.workspace_id = conversations.workspace_id
                    AND visits.visitor_id = conversations.visitor_id
            ),
            user_agent = (
                SELECT visits.user_agent
                FROM visits
                WHERE visits.workspace_id = conversations.workspace_id
                    AND visits.visitor_id = conversations.visitor_id
            )
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(conversation))
    .later()
    .await
}

/// Where those conversations began, of which it is known.
pub async fn of_conversations(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<Vec<(ConversationId, Visit)>> {
    let rows: Vec<ConversationVisitRow> = conn
        .statement(with_list!(
            "SELECT
                id,
                page_url,
                user_agent
            FROM conversations
            WHERE workspace_id = $1
                AND (page_url IS NOT NULL OR user_agent IS NOT NULL)
                AND ",
            "id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    let visit = |row: ConversationVisitRow| {
        (row.id.0, Visit { page_url: row.page_url, user_agent: row.user_agent })
    };
    Ok(rows.into_iter().map(visit).collect())
}
