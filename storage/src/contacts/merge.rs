//! One contact out of two.

use domain::contact::{Contact, ContactProfile};
use domain::{ContactId, Timestamp, WorkspaceId};
use serde_json::{Value, json};

use super::addresses;
use super::profile::{profile, tell, write};
use crate::sql::{Id, Micros};
use crate::{Result, Tx};

/// What becomes part of another contact.
const MOVES: [&str; 5] = [
    "UPDATE visitors SET contact_id = $2 WHERE workspace_id = $1 AND contact_id = $3",
    "UPDATE conversations SET contact_id = $2 WHERE workspace_id = $1 AND contact_id = $3",
    "UPDATE leads SET contact_id = $2 WHERE workspace_id = $1 AND contact_id = $3",
    "UPDATE contact_addresses SET contact_id = $2 WHERE workspace_id = $1 AND contact_id = $3",
    "UPDATE contact_merges SET contact_id = $2 WHERE workspace_id = $1 AND contact_id = $3",
];

/// Makes `other` part of `kept`, with its `contact.merged` event: visitors, conversations and leads move; what `kept` does
/// not have is taken from `other`; a second address stands beside the first; what contradicts is kept in the record of
/// the merge. What `kept` is then; `None` when one of them is absent. The caller has taken
/// [`one_at_a_time`](super::one_at_a_time).
pub async fn merge(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kept: ContactId,
    other: ContactId,
    now: Timestamp,
) -> Result<Option<ContactProfile>> {
    let Some(before) = profile(tx, workspace, kept).await? else { return Ok(None) };
    let Some(gone) = profile(tx, workspace, other).await? else { return Ok(None) };
    for text in MOVES {
        tx.statement(text).bind(Id(workspace)).bind(Id(kept)).bind(Id(other)).execute().await?;
    }
    record(tx, workspace, kept, &gone, now).await?;
    delete(tx, workspace, other).await?;
    for (kind, own, added) in [
        ("email", &before.contact.email, &gone.contact.email),
        ("phone", &before.contact.phone, &gone.contact.phone),
    ] {
        if let (Some(own), Some(added)) = (own, added)
            && own != added
        {
            addresses::add(tx, workspace, kept, kind, added).await?;
        }
    }
    let merged = joined(before, gone, now);
    write(tx, workspace, &merged).await?;
    tell(tx, workspace, "contact.merged", &merged).await?;
    profile(tx, workspace, kept).await
}

/// What two contacts are together.
fn joined(kept: ContactProfile, gone: ContactProfile, now: Timestamp) -> ContactProfile {
    let has_name = kept.contact.first_name.is_some() || kept.contact.last_name.is_some();
    let names = if has_name { kept.contact.clone() } else { gone.contact.clone() };
    let mut attributes = gone.attributes;
    attributes.extend(kept.attributes);
    let notes: Vec<String> = kept.notes.into_iter().chain(gone.notes).collect();
    let mut tags = kept.tags;
    tags.extend(gone.tags);
    tags.sort();
    tags.dedup();
    ContactProfile {
        contact: Contact {
            first_name: names.first_name,
            last_name: names.last_name,
            email: kept.contact.email.or(gone.contact.email),
            phone: kept.contact.phone.or(gone.contact.phone),
            // A person has decided.
            conflict: false,
            ..kept.contact
        },
        attributes,
        notes: (!notes.is_empty()).then(|| notes.join("\n\n")),
        language: kept.language.or(gone.language),
        time_zone: kept.time_zone.or(gone.time_zone),
        blocked_at: kept.blocked_at.or(gone.blocked_at),
        updated_at: now,
        tags,
        other_emails: Vec::new(),
        other_phones: Vec::new(),
    }
}

async fn record(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kept: ContactId,
    gone: &ContactProfile,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO contact_merges (
            merged_id,
            workspace_id,
            contact_id,
            was,
            at
        )
        VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(Id(gone.contact.id))
    .bind(Id(workspace))
    .bind(Id(kept))
    .json(&written(gone))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// What a contact was, in the record of its merge.
fn written(gone: &ContactProfile) -> Value {
    json!({
        "id": gone.contact.id,
        "firstName": gone.contact.first_name,
        "lastName": gone.contact.last_name,
        "email": gone.contact.email,
        "phone": gone.contact.phone,
        "tags": gone.tags,
        "customAttributes": gone.attributes,
        "notes": gone.notes,
        "language": gone.language.map(domain::Lang::code),
        "timezone": gone.time_zone,
        "createdAt": gone.contact.created_at.to_rfc3339(),
    })
}

async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: ContactId) -> Result<()> {
    tx.statement(
        "DELETE FROM contacts
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    Ok(())
}
