//! What contacts are found by.

use domain::WorkspaceId;
use domain::contact::{Contact, fold, words_of};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::{ContactRow, addresses};
use crate::sql::{Id, with_rows};
use crate::{Result, Tx};

/// Stores the words that a contact is found by, and what lists put it by.
pub(super) async fn index(tx: &mut Tx, workspace: WorkspaceId, contact: &Contact) -> Result<()> {
    let (emails, phones) = addresses::others(tx, workspace, contact.id).await?;
    let names: Vec<&str> = [&contact.first_name, &contact.last_name]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let emails: Vec<&str> = contact.email.iter().chain(&emails).map(String::as_str).collect();
    let phones: Vec<&str> = contact.phone.iter().chain(&phones).map(String::as_str).collect();
    let words = words_of(&names, &emails, &phones);
    let shown = contact.name().or_else(|| contact.email.clone()).or_else(|| contact.phone.clone());
    tx.statement(
        "UPDATE contacts
        SET sort_name = $3
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(contact.id))
    .bind(fold(&shown.unwrap_or_default()))
    .execute()
    .await?;
    tx.statement(
        "DELETE FROM contact_terms
        WHERE workspace_id = $1
            AND contact_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(contact.id))
    .execute()
    .await?;
    let rows: Vec<Value> = words.iter().map(|word| json!([word])).collect();
    tx.statement(with_rows!(
        "INSERT INTO contact_terms (
            contact_id,
            term,
            workspace_id
        )
        SELECT
            $2,
            value->>0,
            $1
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(workspace))
    .bind(Id(contact.id))
    .json(&rows)
    .execute()
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Unindexed {
    workspace_id: Id<WorkspaceId>,
    #[sqlx(flatten)]
    contact: ContactRow,
}

/// Stores the words of contacts that were there before there were words, at most `limit`; how many.
pub async fn index_missing(tx: &mut Tx, limit: i64) -> Result<i64> {
    let rows: Vec<Unindexed> = tx
        .statement(
            "SELECT
                workspace_id,
                id,
                first_name,
                last_name,
                email,
                phone,
                conflict,
                created_at
            FROM contacts
            WHERE sort_name IS NULL
            ORDER BY id
            LIMIT $1",
        )
        .bind(limit)
        .all()
        .await?;
    let count = rows.len();
    for Unindexed { workspace_id, contact } in rows {
        let contact: Contact = contact.into();
        index(tx, workspace_id.0, &contact).await?;
    }
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}
