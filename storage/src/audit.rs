//! The audit log: who changed what, and from where.

use domain::{Actor, Ambient, AuditEntryId, Timestamp, WorkspaceId};
use serde_json::Value;
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, Tx};

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

/// What somebody does to something.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    action: &'static str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// What is done, as in `project.created`, and the id of what it is done to.
    #[expect(clippy::needless_pass_by_value, reason = "ids are copied")]
    pub fn new(action: &'static str, subject: impl ToString) -> Self {
        Self { action, subject: subject.to_string(), before: None, after: None }
    }

    /// What it was, without secrets.
    #[must_use]
    pub fn from(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// What it is now, without secrets.
    #[must_use]
    pub fn to(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

/// Who makes changes, where, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The workspace that they act in.
    pub workspace: WorkspaceId,
    /// Who.
    pub actor: Actor,
    /// The client's address; absent for what the server does by itself.
    pub address: Option<String>,
    /// The client's own name for itself.
    pub user_agent: String,
}

impl Author {
    /// Writes a change down, in the transaction that makes it.
    pub async fn note(&self, tx: &mut Tx, ambient: &Ambient, change: Change) -> Result<()> {
        let entry = AuditEntry {
            id: ambient.new_id(),
            workspace_id: self.workspace,
            actor: self.actor.clone(),
            action: change.action,
            subject: change.subject,
            before: change.before,
            after: change.after,
            address: self.address.clone(),
            user_agent: self.user_agent.clone(),
            at: ambient.now(),
        };
        record(tx, &entry).await
    }
}

/// An entry as it is read: who it was and what they did are words.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its id.
    pub id: AuditEntryId,
    /// `user`, `api-key`, `visitor` or `system`.
    pub actor_kind: String,
    /// The id of the person, key or visitor.
    pub actor_id: Option<String>,
    /// The person's or key's name, while there is one.
    pub actor_name: Option<String>,
    /// What was done.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// What it was before.
    pub before: Option<Value>,
    /// What it is now.
    pub after: Option<Value>,
    /// The client's address.
    pub address: Option<String>,
    /// The client's own name for itself.
    pub user_agent: String,
    /// When.
    pub at: Timestamp,
}

/// Which entries are looked for; what is absent is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What was done: all of it (`member.removed`), or the kind of thing (`member`).
    pub action: Option<String>,
    /// The id of who did it.
    pub actor: Option<String>,
    /// The id of what it was done to.
    pub subject: Option<String>,
    /// Not before that instant.
    pub from: Option<Timestamp>,
    /// Before that instant.
    pub to: Option<Timestamp>,
}

#[derive(FromRow)]
struct AuditRow {
    id: Id<AuditEntryId>,
    actor_kind: String,
    actor_id: Option<String>,
    actor_name: Option<String>,
    action: String,
    subject: String,
    before: Option<Json<Value>>,
    after: Option<Json<Value>>,
    address: Option<String>,
    user_agent: String,
    created_at: Micros,
}

macro_rules! filtered {
    () => {
        "
            WHERE audit_entries.workspace_id = $1
                AND COALESCE(
                    audit_entries.action = $2
                        OR SUBSTR(audit_entries.action, 1, LENGTH($2) + 1) = $2 || '.',
                    TRUE
                )
                AND COALESCE(audit_entries.actor_id = $3, $3 IS NULL)
                AND COALESCE(audit_entries.subject = $4, TRUE)
                AND COALESCE(audit_entries.created_at >= $5, TRUE)
                AND COALESCE(audit_entries.created_at < $6, TRUE)"
    };
}

macro_rules! select_entries {
    ($rest:literal) => {
        concat!(
            "SELECT
                audit_entries.id,
                audit_entries.actor_kind,
                audit_entries.actor_id,
                COALESCE(users.name, api_keys.name) AS actor_name,
                audit_entries.action,
                audit_entries.subject,
                audit_entries.before,
                audit_entries.after,
                audit_entries.address,
                audit_entries.user_agent,
                audit_entries.created_at
            FROM audit_entries
            LEFT JOIN users
                ON users.id = audit_entries.actor_id
            LEFT JOIN api_keys
                ON api_keys.id = audit_entries.actor_id
                    AND api_keys.workspace_id = audit_entries.workspace_id",
            filtered!(),
            $rest
        )
    };
}

/// Entries that fit, newest first, at most `limit` after the first `skip`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &AuditFilter,
    skip: i64,
    limit: i64,
) -> Result<Vec<AuditRecord>> {
    let rows: Vec<AuditRow> = conn
        .statement(select_entries!(
            "
            ORDER BY audit_entries.id DESC
            LIMIT $7
            OFFSET $8"
        ))
        .bind(Id(workspace))
        .bind(&filter.action)
        .bind(&filter.actor)
        .bind(&filter.subject)
        .bind(filter.from.map(Micros))
        .bind(filter.to.map(Micros))
        .bind(limit)
        .bind(skip)
        .all()
        .await?;
    Ok(rows.into_iter().map(AuditRecord::from).collect())
}

/// Likewise the oldest first.
pub async fn list_oldest(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &AuditFilter,
    skip: i64,
    limit: i64,
) -> Result<Vec<AuditRecord>> {
    let rows: Vec<AuditRow> = conn
        .statement(select_entries!(
            "
            ORDER BY audit_entries.id
            LIMIT $7
            OFFSET $8"
        ))
        .bind(Id(workspace))
        .bind(&filter.action)
        .bind(&filter.actor)
        .bind(&filter.subject)
        .bind(filter.from.map(Micros))
        .bind(filter.to.map(Micros))
        .bind(limit)
        .bind(skip)
        .all()
        .await?;
    Ok(rows.into_iter().map(AuditRecord::from).collect())
}

/// How many entries fit.
pub async fn count(conn: &mut Conn, workspace: WorkspaceId, filter: &AuditFilter) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(concat!(
            "SELECT CAST(COUNT(*) AS BIGINT)
            FROM audit_entries",
            filtered!()
        ))
        .bind(Id(workspace))
        .bind(&filter.action)
        .bind(&filter.actor)
        .bind(&filter.subject)
        .bind(filter.from.map(Micros))
        .bind(filter.to.map(Micros))
        .one()
        .await?;
    Ok(count)
}

impl From<AuditRow> for AuditRecord {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id.0,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            action: row.action,
            subject: row.subject,
            before: row.before.map(|json| json.0),
            after: row.after.map(|json| json.0),
            address: row.address,
            user_agent: row.user_agent,
            at: row.created_at.0,
        }
    }
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
