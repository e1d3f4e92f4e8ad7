//! Addresses that a contact has beside its own: of those that were merged into it.

use domain::{ContactId, WorkspaceId};

use crate::sql::Id;
use crate::{Conn, Result, Tx};

/// E-mail addresses and phone numbers, each in order.
pub(super) async fn others(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ContactId,
) -> Result<(Vec<String>, Vec<String>)> {
    let rows: Vec<(String, String)> = conn
        .statement(
            "SELECT
                kind,
                address
            FROM contact_addresses
            WHERE workspace_id = $1
                AND contact_id = $2
            ORDER BY address",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .all()
        .await?;
    let (mut emails, mut phones) = (Vec::new(), Vec::new());
    for (kind, address) in rows {
        if kind == "email" { emails.push(address) } else { phones.push(address) }
    }
    Ok((emails, phones))
}

/// The contact that has the e-mail address or the phone number, as its own or beside it; the e-mail's first.
pub async fn owner_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    email: Option<&str>,
    phone: Option<&str>,
) -> Result<Option<ContactId>> {
    let row: Option<(Id<ContactId>,)> = conn
        .statement(
            "SELECT found.id
            FROM (
                SELECT id, 1 AS place FROM contacts WHERE workspace_id = $1 AND email = $2
                UNION ALL
                SELECT id, 2 AS place FROM contacts WHERE workspace_id = $1 AND phone = $3
                UNION ALL
                SELECT contact_id AS id, 3 AS place
                FROM contact_addresses
                WHERE workspace_id = $1 AND kind = 'email' AND address = $2
                UNION ALL
                SELECT contact_id AS id, 4 AS place
                FROM contact_addresses
                WHERE workspace_id = $1 AND kind = 'phone' AND address = $3
            ) AS found
            ORDER BY found.place
            LIMIT 1",
        )
        .bind(Id(workspace))
        .bind(email)
        .bind(phone)
        .optional()
        .await?;
    Ok(row.map(|(Id(id),)| id))
}

/// Gives a contact a further address.
pub(super) async fn add(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
    kind: &'static str,
    address: &str,
) -> Result<()> {
    tx.statement(
        "INSERT INTO contact_addresses (
            workspace_id,
            kind,
            address,
            contact_id
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id, kind, address) DO NOTHING",
    )
    .bind(Id(workspace))
    .bind(kind)
    .bind(address)
    .bind(Id(id))
    .execute()
    .await?;
    Ok(())
}

/// Takes a further address that became the contact's own from beside it.
pub(super) async fn drop_own(tx: &mut Tx, workspace: WorkspaceId, id: ContactId) -> Result<()> {
    tx.statement(
        "DELETE FROM contact_addresses
        WHERE workspace_id = $1
            AND contact_id = $2
            AND address IN (
                SELECT email FROM contacts WHERE id = $2 AND email IS NOT NULL
                UNION ALL
                SELECT phone FROM contacts WHERE id = $2 AND phone IS NOT NULL
            )",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    Ok(())
}
