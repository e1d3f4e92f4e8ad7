//! The audit log: who changed what, and from where.

use domain::{Actor, AuditEntryId, Timestamp, WorkspaceId};
use serde_json::Value;

use crate::sql::{Id, Json, Micros};
use crate::{Result, Tx};

/// A change, to be written down in the transaction that makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditEntryId,
    /// The workspace that it happened in.
    pub workspace_id: WorkspaceId,
    /// Who did it.
    pub actor: Actor,
    /// What was done: the kind of thing and what happened to it, as in `project.created`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: String,
    /// What it was before, without secrets; absent for what was made.
    pub before: Option<Value>,
    /// What it is now, without secrets; absent for what is gone.
    pub after: Option<Value>,
    /// The client's address; absent for what the server does by itself.
    pub address: Option<String>,
    /// The client's own name for itself.
    pub user_agent: String,
    /// When.
    pub at: Timestamp,
}

/// Writes an entry down.
pub async fn record(tx: &mut Tx, entry: &AuditEntry) -> Result<()> {
    let (kind, id) = match &entry.actor {
        Actor::User { id, .. } => ("user", Some(id.to_string())),
        Actor::ApiKey(id) => ("api-key", Some(id.to_string())),
        Actor::Visitor(id) => ("visitor", Some(id.to_string())),
        Actor::System => ("system", None),
    };
    tx.statement(
        "INSERT INTO audit_entries (
            id,
            workspace_id,
            actor_kind,
            actor_id,
            action,
            subject,
            before,
            after,
            address,
            user_agent,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(Id(entry.id))
    .bind(Id(entry.workspace_id))
    .bind(kind)
    .bind(id)
    .bind(entry.action)
    .bind(&entry.subject)
    .bind(entry.before.clone().map(Json))
    .bind(entry.after.clone().map(Json))
    .bind(&entry.address)
    .bind(&entry.user_agent)
    .bind(Micros(entry.at))
    .later()
    .await
}
