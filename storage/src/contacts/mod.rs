//! Contacts and visitors.

mod addresses;
mod block;
mod list;
mod merge;
mod profile;
mod timeline;
mod words;

use domain::contact::{Contact, ContactDetails};
use domain::{Ambient, ContactId, Timestamp, VisitorId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros, with_list};
use crate::{Conn, Result, Tx};

pub use self::addresses::owner_of;
pub use self::block::{block, block_visitor, is_blocked, unblock, unblock_visitor};
pub use self::list::{ContactFilter, ContactOrder, count, list, tag_counts};
pub use self::merge::merge;
pub use self::profile::{create, profile, profiles, update};
pub use self::timeline::{TimelineEntry, TimelineKind, count_timeline, timeline};
pub use self::words::index_missing;

#[derive(FromRow)]
struct ContactRow {
    id: Id<ContactId>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    conflict: bool,
    created_at: Micros,
}

macro_rules! select_contacts {
    ($rest:literal) => {
        concat!(
            "SELECT
                contacts.id,
                contacts.first_name,
                contacts.last_name,
                contacts.email,
                contacts.phone,
                contacts.conflict,
                contacts.created_at
            FROM contacts ",
            $rest
        )
    };
}

/// The contact.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ContactId,
) -> Result<Option<Contact>> {
    let row: Option<ContactRow> = conn
        .statement(select_contacts!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Contact::from))
}

/// Those of `ids` that are there, in no order.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[ContactId],
) -> Result<Vec<Contact>> {
    let rows: Vec<ContactRow> = conn
        .statement(with_list!(
            select_contacts!("WHERE workspace_id = $1 AND "), "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(ids)
        .all()
        .await?;
    Ok(rows.into_iter().map(Contact::from).collect())
}

/// Matches by e-mail, then phone, else the visitor's, else creates; fills in missing details; when they name
/// two contacts keeps the visitor's (else the e-mail's) and flags the conflict, as it does when a detail
/// contradicts the one that is kept. Nothing is overwritten or moved from one contact to another. Links the
/// visitor. `None` when there is neither a detail nor a known visitor.
pub async fn resolve(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    visitor: Option<&VisitorId>,
    details: &ContactDetails,
) -> Result<Option<Contact>> {
    if !details.is_empty() {
        one_at_a_time(tx, workspace).await?;
    }
    let of_visitor = match visitor {
        Some(visitor) => find_by_visitor(tx, workspace, visitor).await?,
        None => None,
    };
    if details.is_empty() {
        return Ok(of_visitor);
    }
    let by_email = match &details.email {
        Some(email) => find_by_email(tx, workspace, email).await?,
        None => None,
    };
    let by_phone = match &details.phone {
        Some(phone) => find_by_phone(tx, workspace, phone).await?,
        None => None,
    };

    let linked = of_visitor.as_ref().map(|contact| contact.id);
    let named = [of_visitor, by_email, by_phone].into_iter().flatten();
    let contact = match named.reduce(|kept, other| keep_first(kept, &other)) {
        Some(kept) => fill_in(tx, ambient, workspace, kept, details).await?,
        None => insert(tx, ambient, workspace, details).await?,
    };
    if let Some(visitor) = visitor
        && linked != Some(contact.id)
    {
        link(tx, workspace, visitor, contact.id).await?;
    }
    Ok(Some(contact))
}

/// The first of two, flagged when they are not the same.
fn keep_first(kept: Contact, other: &Contact) -> Contact {
    Contact { conflict: kept.conflict || kept.id != other.id, ..kept }
}

/// Two requests that name the same new customer must not make two contacts, nor clash. On SQLite there is
/// one writer anyway. Whoever gives contacts addresses takes it first.
pub async fn one_at_a_time(tx: &mut Tx, workspace: WorkspaceId) -> Result<()> {
    if tx.is_postgres() {
        tx.statement("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(format!("contacts of {workspace}"))
            .execute()
            .await?;
    }
    Ok(())
}

async fn find_by_visitor(
    tx: &mut Tx,
    workspace: WorkspaceId,
    visitor: &VisitorId,
) -> Result<Option<Contact>> {
    let row: Option<ContactRow> = tx
        .statement(select_contacts!(
            "JOIN visitors
                ON visitors.contact_id = contacts.id
            WHERE visitors.workspace_id = $1
                AND visitors.visitor_id = $2
                AND contacts.workspace_id = $1"
        ))
        .bind(Id(workspace))
        .bind(visitor.as_str())
        .optional()
        .await?;
    Ok(row.map(Contact::from))
}

async fn find_by_email(
    tx: &mut Tx,
    workspace: WorkspaceId,
    email: &str,
) -> Result<Option<Contact>> {
    let row: Option<ContactRow> = tx
        .statement(select_contacts!(
            "WHERE workspace_id = $1
                AND (
                    email = $2
                    OR id = (
                        SELECT contact_id
                        FROM contact_addresses
                        WHERE workspace_id = $1
                            AND kind = 'email'
                            AND address = $2
                    )
                )"
        ))
        .bind(Id(workspace))
        .bind(email)
        .optional()
        .await?;
    Ok(row.map(Contact::from))
}

async fn find_by_phone(
    tx: &mut Tx,
    workspace: WorkspaceId,
    phone: &str,
) -> Result<Option<Contact>> {
    let row: Option<ContactRow> = tx
        .statement(select_contacts!(
            "WHERE workspace_id = $1
                AND (
                    phone = $2
                    OR id = (
                        SELECT contact_id
                        FROM contact_addresses
                        WHERE workspace_id = $1
                            AND kind = 'phone'
                            AND address = $2
                    )
                )"
        ))
        .bind(Id(workspace))
        .bind(phone)
        .optional()
        .await?;
    Ok(row.map(Contact::from))
}

async fn insert(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    details: &ContactDetails,
) -> Result<Contact> {
    let contact = Contact {
        id: ambient.new_id(),
        first_name: details.first_name.clone(),
        last_name: details.last_name.clone(),
        email: details.email.clone(),
        phone: details.phone.clone(),
        conflict: false,
        created_at: ambient.now(),
    };
    tx.statement(
        "INSERT INTO contacts (
            id,
            workspace_id,
            first_name,
            last_name,
            email,
            phone,
            conflict,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(Id(contact.id))
    .bind(Id(workspace))
    .bind(&contact.first_name)
    .bind(&contact.last_name)
    .bind(&contact.email)
    .bind(&contact.phone)
    .bind(contact.conflict)
    .bind(Micros(contact.created_at))
    .execute()
    .await?;
    words::index(tx, workspace, &contact).await?;
    Ok(contact)
}

/// Fills in what is missing, but for an e-mail or phone that is another contact's: that is what `conflict`
/// says already.
async fn fill_in(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    kept: Contact,
    details: &ContactDetails,
) -> Result<Contact> {
    let (emails, phones) = addresses::others(tx, workspace, kept.id).await?;
    let contradicts = differs(kept.email.as_ref(), details.email.as_ref(), &emails)
        || differs(kept.phone.as_ref(), details.phone.as_ref(), &phones);
    let row: Option<ContactRow> = tx
        .statement(
            "UPDATE contacts
            SET
                first_name = COALESCE(first_name, $3),
                last_name = COALESCE(last_name, $4),
                email = CASE
                    WHEN email IS NULL AND NOT EXISTS (
                        SELECT 1
                        FROM contacts AS other
                        WHERE other.workspace_id = $1
                            AND other.email = $5
                    ) AND NOT EXISTS (
                        SELECT 1
                        FROM contact_addresses AS other
                        WHERE other.workspace_id = $1
                            AND other.kind = 'email'
                            AND other.address = $5
                    ) THEN $5
                    ELSE email
                END,
                phone = CASE
                    WHEN phone IS NULL AND NOT EXISTS (
                        SELECT 1
                        FROM contacts AS other
                        WHERE other.workspace_id = $1
                            AND other.phone = $6
                    ) AND NOT EXISTS (
                        SELECT 1
                        FROM contact_addresses AS other
                        WHERE other.workspace_id = $1
                            AND other.kind = 'phone'
                            AND other.address = $6
                    ) THEN $6
                    ELSE phone
                END,
                conflict = $7
            WHERE workspace_id = $1
                AND id = $2
            RETURNING
                id,
                first_name,
                last_name,
                email,
                phone,
                conflict,
                created_at",
        )
        .bind(Id(workspace))
        .bind(Id(kept.id))
        .bind(&details.first_name)
        .bind(&details.last_name)
        .bind(&details.email)
        .bind(&details.phone)
        .bind(kept.conflict || contradicts)
        .optional()
        .await?;
    let filled = row.map_or_else(|| kept.clone(), Contact::from);
    if filled != kept {
        note_change(tx, workspace, filled.id, ambient.now()).await?;
        words::index(tx, workspace, &filled).await?;
    }
    Ok(filled)
}

/// Notes when a contact last changed.
async fn note_change(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "UPDATE contacts
        SET updated_at = $3
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

fn differs(kept: Option<&String>, given: Option<&String>, others: &[String]) -> bool {
    kept.zip(given).is_some_and(|(kept, given)| kept != given && !others.contains(given))
}

async fn link(
    tx: &mut Tx,
    workspace: WorkspaceId,
    visitor: &VisitorId,
    contact: ContactId,
) -> Result<()> {
    tx.statement(
        "INSERT INTO visitors (
            workspace_id,
            visitor_id,
            contact_id
        )
        VALUES ($1, $2, $3)
        ON CONFLICT (workspace_id, visitor_id) DO UPDATE
        SET contact_id = excluded.contact_id",
    )
    .bind(Id(workspace))
    .bind(visitor.as_str())
    .bind(Id(contact))
    .execute()
    .await?;
    Ok(())
}

impl From<ContactRow> for Contact {
    fn from(row: ContactRow) -> Self {
        Self {
            id: row.id.0,
            first_name: row.first_name,
            last_name: row.last_name,
            email: row.email,
            phone: row.phone,
            conflict: row.conflict,
            created_at: row.created_at.0,
        }
    }
}
