//! For how long what customers said and who they are is kept.

use domain::{Timestamp, WorkspaceId};

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx};

/// After how many days what is removed; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Conversations that nobody has written in since.
    pub conversation_days: Option<i64>,
    /// Contacts without conversations that have not changed since.
    pub contact_days: Option<i64>,
}

/// What a workspace has set.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId) -> Result<Retention> {
    let row: Option<(Option<i64>, Option<i64>)> = conn
        .statement(
            "SELECT
                conversation_days,
                contact_days
            FROM retention
            WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    let kept = |(conversation_days, contact_days)| Retention { conversation_days, contact_days };
    Ok(row.map(kept).unwrap_or_default())
}

/// Sets it.
pub async fn set(
    tx: &mut Tx,
    workspace: WorkspaceId,
    retention: Retention,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO retention (
            workspace_id,
            conversation_days,
            contact_days,
            updated_at
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id) DO UPDATE SET
            conversation_days = excluded.conversation_days,
            contact_days = excluded.contact_days,
            updated_at = excluded.updated_at",
    )
    .bind(Id(workspace))
    .bind(retention.conversation_days)
    .bind(retention.contact_days)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// Every workspace that has set something.
pub async fn all(conn: &mut Conn) -> Result<Vec<(WorkspaceId, Retention)>> {
    let rows: Vec<(Id<WorkspaceId>, Option<i64>, Option<i64>)> = conn
        .statement(
            "SELECT
                workspace_id,
                conversation_days,
                contact_days
            FROM retention
            WHERE conversation_days IS NOT NULL
                OR contact_days IS NOT NULL
            ORDER BY workspace_id",
        )
        .all()
        .await?;
    let kept = |(Id(workspace), conversation_days, contact_days)| {
        (workspace, Retention { conversation_days, contact_days })
    };
    Ok(rows.into_iter().map(kept).collect())
}
