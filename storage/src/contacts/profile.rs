//! All that is noted of a contact.

use std::collections::HashMap;

use domain::contact::ContactProfile;
use domain::{ContactId, Lang, WorkspaceId};
use serde_json::{Map, Value, json};
use sqlx::FromRow;

use super::{ContactRow, addresses, words};
use crate::sql::{Id, Json, Micros, Name, with_list, with_rows};
use crate::{Conn, Result, Tx, events};

#[derive(FromRow)]
struct ProfileRow {
    #[sqlx(flatten)]
    contact: ContactRow,
    attributes: Json<Map<String, Value>>,
    notes: Option<String>,
    language: Option<Name<Lang>>,
    time_zone: Option<String>,
    blocked_at: Option<Micros>,
    updated_at: Micros,
}

/// What is noted of a contact.
pub async fn profile(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ContactId,
) -> Result<Option<ContactProfile>> {
    Ok(profiles(conn, workspace, &[id]).await?.pop())
}

/// What is noted of those of `ids` that are there, in the order of `ids`.
pub async fn profiles(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[ContactId],
) -> Result<Vec<ContactProfile>> {
    let rows: Vec<ProfileRow> = conn
        .statement(with_list!(
            "SELECT
                id,
                first_name,
                last_name,
                email,
                phone,
                conflict,
                created_at,
                attributes,
                notes,
                language,
                time_zone,
                blocked_at,
                updated_at
            FROM contacts
            WHERE workspace_id = $1
                AND ", "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    let mut tags = tags_of(conn, workspace, ids).await?;
    let mut beside = addresses_of(conn, workspace, ids).await?;
    let mut found: HashMap<ContactId, ContactProfile> = HashMap::new();
    for row in rows {
        let id = row.contact.id.0;
        let (other_emails, other_phones) = beside.remove(&id).unwrap_or_default();
        let profile = ContactProfile {
            contact: row.contact.into(),
            attributes: row.attributes.0,
            notes: row.notes,
            language: row.language.map(|language| language.0),
            time_zone: row.time_zone,
            blocked_at: row.blocked_at.map(|at| at.0),
            updated_at: row.updated_at.0,
            tags: tags.remove(&id).unwrap_or_default(),
            other_emails,
            other_phones,
        };
        found.insert(id, profile);
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

async fn tags_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[ContactId],
) -> Result<HashMap<ContactId, Vec<String>>> {
    let rows: Vec<(Id<ContactId>, String)> = conn
        .statement(with_list!(
            "SELECT
                contact_id,
                tag
            FROM contact_tags
            WHERE workspace_id = $1
                AND ", "contact_id" in "$2"; "
            ORDER BY tag"
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    let mut tags: HashMap<ContactId, Vec<String>> = HashMap::new();
    for (Id(id), tag) in rows {
        tags.entry(id).or_default().push(tag);
    }
    Ok(tags)
}

type Beside = HashMap<ContactId, (Vec<String>, Vec<String>)>;

async fn addresses_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[ContactId],
) -> Result<Beside> {
    let rows: Vec<(Id<ContactId>, String, String)> = conn
        .statement(with_list!(
            "SELECT
                contact_id,
                kind,
                address
            FROM contact_addresses
            WHERE workspace_id = $1
                AND ", "contact_id" in "$2"; "
            ORDER BY address"
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    let mut beside = Beside::new();
    for (Id(id), kind, address) in rows {
        let (emails, phones) = beside.entry(id).or_default();
        if kind == "email" { emails.push(address) } else { phones.push(address) }
    }
    Ok(beside)
}

/// Stores a new contact, with its `contact.created` event. `Conflict` when its e-mail address or phone number is another's.
pub async fn create(tx: &mut Tx, workspace: WorkspaceId, profile: &ContactProfile) -> Result<()> {
    let contact = &profile.contact;
    tx.statement(
        "INSERT INTO contacts (
            id,
            workspace_id,
            conflict,
            created_at
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(Id(contact.id))
    .bind(Id(workspace))
    .bind(contact.conflict)
    .bind(Micros(contact.created_at))
    .execute()
    .await?;
    write(tx, workspace, profile).await?;
    tell(tx, workspace, "contact.created", profile).await
}

/// Writes what is noted of a contact, its tags too, with its `contact.updated` event; `false` when absent. `Conflict` when
/// its e-mail address or phone number is another's. When it was made and what is beside it stays.
pub async fn update(tx: &mut Tx, workspace: WorkspaceId, profile: &ContactProfile) -> Result<bool> {
    if !write(tx, workspace, profile).await? {
        return Ok(false);
    }
    tell(tx, workspace, "contact.updated", profile).await?;
    Ok(true)
}

/// As [`update`], telling nobody.
pub(super) async fn write(
    tx: &mut Tx,
    workspace: WorkspaceId,
    profile: &ContactProfile,
) -> Result<bool> {
    let contact = &profile.contact;
    let found = tx
        .statement(
            "UPDATE contacts
            SET
                first_name = $3,
                last_name = $4,
                email = $5,
                phone = $6,
                conflict = $7,
                attributes = $8,
                notes = $9,
                language = $10,
                time_zone = $11,
                blocked_at = $12,
                updated_at = $13
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(contact.id))
        .bind(&contact.first_name)
        .bind(&contact.last_name)
        .bind(&contact.email)
        .bind(&contact.phone)
        .bind(contact.conflict)
        .json(&profile.attributes)
        .bind(&profile.notes)
        .bind(profile.language.map(Name))
        .bind(&profile.time_zone)
        .bind(profile.blocked_at.map(Micros))
        .bind(Micros(profile.updated_at))
        .changed()
        .await?;
    if !found {
        return Ok(false);
    }
    set_tags(tx, workspace, contact.id, &profile.tags).await?;
    addresses::drop_own(tx, workspace, contact.id).await?;
    words::index(tx, workspace, contact).await?;
    Ok(true)
}

async fn set_tags(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
    tags: &[String],
) -> Result<()> {
    tx.statement(
        "DELETE FROM contact_tags
        WHERE workspace_id = $1
            AND contact_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    let rows: Vec<Value> = tags.iter().map(|tag| json!([tag])).collect();
    tx.statement(with_rows!(
        "INSERT INTO contact_tags (
            contact_id,
            tag,
            workspace_id
        )
        SELECT DISTINCT
            $2,
            value->>0,
            $1
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(workspace))
    .bind(Id(id))
    .json(&rows)
    .execute()
    .await?;
    Ok(())
}

/// Ids alone: events are kept longer than contacts may be.
pub(super) async fn tell(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kind: &'static str,
    profile: &ContactProfile,
) -> Result<()> {
    let id = profile.contact.id;
    let payload = json!({"contactId": id});
    events::insert(tx, workspace, kind, &id.to_string(), &payload, profile.updated_at).await
}
