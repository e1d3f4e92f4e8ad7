//! Customers that nobody answers.

use domain::{ContactId, Timestamp, VisitorId, WorkspaceId};

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx};

/// Blocks a contact, and the visitors that it is known as; `false` when absent or blocked already.
pub async fn block(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .statement(
            "UPDATE contacts
            SET
                blocked_at = $3,
                updated_at = $3
            WHERE workspace_id = $1
                AND id = $2
                AND blocked_at IS NULL",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Micros(now))
        .changed()
        .await?;
    if !changed {
        return Ok(false);
    }
    tx.statement(
        "INSERT INTO blocked_visitors (
            workspace_id,
            visitor_id,
            at
        )
        SELECT
            workspace_id,
            visitor_id,
            $3
        FROM visitors
        WHERE workspace_id = $1
            AND contact_id = $2
        ON CONFLICT (workspace_id, visitor_id) DO NOTHING",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(true)
}

/// Takes a block back, that of its visitors too; `false` when absent or not blocked.
pub async fn unblock(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .statement(
            "UPDATE contacts
            SET
                blocked_at = NULL,
                updated_at = $3
            WHERE workspace_id = $1
                AND id = $2
                AND blocked_at IS NOT NULL",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Micros(now))
        .changed()
        .await?;
    tx.statement(
        "DELETE FROM blocked_visitors
        WHERE workspace_id = $1
            AND visitor_id IN (
                SELECT visitor_id
                FROM visitors
                WHERE workspace_id = $1
                    AND contact_id = $2
            )",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    Ok(changed)
}

/// Blocks a visitor, known or not; `false` when it was blocked already.
pub async fn block_visitor(
    tx: &mut Tx,
    workspace: WorkspaceId,
    visitor: &VisitorId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "INSERT INTO blocked_visitors (
            workspace_id,
            visitor_id,
            at
        )
        VALUES ($1, $2, $3)
        ON CONFLICT (workspace_id, visitor_id) DO NOTHING",
    )
    .bind(Id(workspace))
    .bind(visitor.as_str())
    .bind(Micros(now))
    .changed()
    .await
}

/// Takes the block of a visitor back; `false` when it was not blocked.
pub async fn unblock_visitor(
    tx: &mut Tx,
    workspace: WorkspaceId,
    visitor: &VisitorId,
) -> Result<bool> {
    tx.statement(
        "DELETE FROM blocked_visitors
        WHERE workspace_id = $1
            AND visitor_id = $2",
    )
    .bind(Id(workspace))
    .bind(visitor.as_str())
    .changed()
    .await
}

/// Whether the contact, the visitor, or the contact that the visitor is known as is blocked.
pub async fn is_blocked(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: Option<ContactId>,
    visitor: Option<&VisitorId>,
) -> Result<bool> {
    if contact.is_none() && visitor.is_none() {
        return Ok(false);
    }
    let row: Option<(i64,)> = conn
        .statement(
            "SELECT CAST(1 AS BIGINT)
            FROM workspaces
            WHERE id = $1
                AND (
                    EXISTS (
                        SELECT 1
                        FROM contacts
                        WHERE contacts.workspace_id = $1
                            AND contacts.id = $2
                            AND contacts.blocked_at IS NOT NULL
                    )
                    OR EXISTS (
                        SELECT 1
                        FROM blocked_visitors
                        WHERE blocked_visitors.workspace_id = $1
                            AND blocked_visitors.visitor_id = $3
                    )
                    OR EXISTS (
                        SELECT 1
                        FROM visitors
                        JOIN contacts
                            ON contacts.id = visitors.contact_id
                        WHERE visitors.workspace_id = $1
                            AND visitors.visitor_id = $3
                            AND contacts.blocked_at IS NOT NULL
                    )
                )",
        )
        .bind(Id(workspace))
        .bind(contact.map(Id))
        .bind(visitor.map(VisitorId::as_str))
        .optional()
        .await?;
    Ok(row.is_some())
}
