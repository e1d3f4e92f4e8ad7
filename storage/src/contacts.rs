//! Contacts and visitors.

use domain::contact::{Contact, ContactDetails};
use domain::{Ambient, ContactId, VisitorId, WorkspaceId};

use crate::{Conn, Result, Tx};

/// The contact.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ContactId,
) -> Result<Option<Contact>> {
    todo!()
}

/// Those of `ids` that are there.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[ContactId],
) -> Result<Vec<Contact>> {
    todo!()
}

/// Matches by e-mail, then phone, else the visitor'"'"'s, else creates; fills in missing details; when they name two contacts keeps the visitor'"'"'s (else the e-mail'"'"'s) and flags the conflict. Links the visitor. `None` when there is neither a detail nor a known visitor.
pub async fn resolve(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    visitor: Option<&VisitorId>,
    details: &ContactDetails,
) -> Result<Option<Contact>> {
    todo!()
}
