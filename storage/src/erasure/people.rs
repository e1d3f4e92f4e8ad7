//! Who a customer is.

use domain::{ContactId, WorkspaceId};

use crate::sql::Id;
use crate::{Result, Tx};

/// What names a contact or one of its visitors and does not go with the contact.
const NAMED: [&str; 9] = [
    "UPDATE charges
    SET
        contact_id = NULL,
        visitor_id = NULL
    WHERE workspace_id = $1
        AND (
            contact_id = $2
            OR visitor_id IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)
        )",
    "DELETE FROM budget_holds
    WHERE workspace_id = $1
        AND (
            counter = $2
            OR counter IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)
        )",
    "DELETE FROM budget_usage
    WHERE workspace_id = $1
        AND (
            counter = $2
            OR counter IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)
        )",
    "DELETE FROM budgets
    WHERE workspace_id = $1
        AND scope = 'visitor'
        AND (
            subject = $2
            OR subject IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)
        )",
    "UPDATE audit_entries
    SET
        before = NULL,
        after = NULL
    WHERE workspace_id = $1
        AND (
            subject = $2
            OR subject IN (SELECT merged_id FROM contact_merges WHERE workspace_id = $1 AND contact_id = $2)
        )",
    "UPDATE audit_entries
    SET
        subject = '',
        before = NULL,
        after = NULL
    WHERE workspace_id = $1
        AND subject IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)",
    // What waits for a message that will not come; its files are the caller's to remove.
    "DELETE FROM attachments
    WHERE workspace_id = $1
        AND visitor_id IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)",
    "DELETE FROM visits
    WHERE workspace_id = $1
        AND visitor_id IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)",
    "DELETE FROM blocked_visitors
    WHERE workspace_id = $1
        AND visitor_id IN (SELECT visitor_id FROM visitors WHERE workspace_id = $1 AND contact_id = $2)",
];

/// Removes a contact with its visitors, tags, attributes and the records of its merges, and its name from the ledger, the
/// budgets and the audit log; `false` when absent. Its conversations go before (see [`conversations`](super::conversations)), the files of its visitors are the
/// caller's to remove (see [`uploads_of`](super::uploads_of)).
pub async fn contact(tx: &mut Tx, workspace: WorkspaceId, id: ContactId) -> Result<bool> {
    for text in NAMED {
        tx.statement(text).bind(Id(workspace)).bind(Id(id)).execute().await?;
    }
    tx.statement(
        "DELETE FROM events
        WHERE workspace_id = $1
            AND subject = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    tx.statement(
        "DELETE FROM contacts
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}
