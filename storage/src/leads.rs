//! Leads.

use std::collections::BTreeMap;

use domain::lead::Lead;
use domain::{AgentId, ContactId, ConversationId, LeadId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct LeadRow {
    id: Id<LeadId>,
    agent_id: Id<AgentId>,
    conversation_id: Id<ConversationId>,
    contact_id: Option<Id<ContactId>>,
    fields: Json<BTreeMap<String, String>>,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_leads {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                agent_id,
                conversation_id,
                contact_id,
                fields,
                created_at,
                updated_at
            FROM leads ",
            $rest
        )
    };
}

/// Notes a lead, or adds to the one that its conversation has: later answers replace earlier ones to the same
/// field. Gives it as it is now. The caller holds the turn of the conversation. `Conflict` when the workspace
/// has no such conversation.
pub async fn note(tx: &mut Tx, workspace: WorkspaceId, lead: &Lead) -> Result<Lead> {
    let known = of_conversation(tx, workspace, lead.conversation_id).await?;
    let Some(known) = known else {
        insert(tx, workspace, lead).await?;
        return Ok(lead.clone());
    };
    let mut fields = known.fields.clone();
    fields.extend(lead.fields.clone());
    let contact_id = lead.contact_id.or(known.contact_id);
    let now = Lead { fields, contact_id, updated_at: lead.updated_at, ..known };
    tx.statement(
        "UPDATE leads
        SET
            contact_id = $3,
            fields = $4,
            updated_at = $5
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(now.id))
    .bind(now.contact_id.map(Id))
    .json(&now.fields)
    .bind(Micros(now.updated_at))
    .later()
    .await?;
    Ok(now)
}

/// The lead of a conversation.
pub async fn of_conversation(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<Option<Lead>> {
    let row: Option<LeadRow> = conn
        .statement(select_leads!(
            "WHERE workspace_id = $1
                AND conversation_id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(conversation))
        .optional()
        .await?;
    Ok(row.map(Lead::from))
}

/// Leads, newest first, older than `before`; with `agent` only those that it noted.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: Option<AgentId>,
    before: Option<LeadId>,
    limit: i64,
) -> Result<Vec<Lead>> {
    let rows: Vec<LeadRow> = conn
        .statement(select_leads!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND agent_id = ", agent.map(Id))
        .then(" ORDER BY id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    Ok(rows.into_iter().map(Lead::from).collect())
}

async fn insert(tx: &mut Tx, workspace: WorkspaceId, lead: &Lead) -> Result<()> {
    let stored = tx
        .statement(
            "INSERT INTO leads (
                id,
                workspace_id,
                agent_id,
                conversation_id,
                contact_id,
                fields,
                created_at,
                updated_at
            )
            SELECT
                $3,
                workspace_id,
                $4,
                id,
                $5,
                $6,
                $7,
                $8
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(lead.conversation_id))
        .bind(Id(lead.id))
        .bind(Id(lead.agent_id))
        .bind(lead.contact_id.map(Id))
        .json(&lead.fields)
        .bind(Micros(lead.created_at))
        .bind(Micros(lead.updated_at))
        .changed()
        .await?;
    if stored { Ok(()) } else { Err(StorageError::without_parent()) }
}

impl From<LeadRow> for Lead {
    fn from(row: LeadRow) -> Self {
        Self {
            id: row.id.0,
            agent_id: row.agent_id.0,
            conversation_id: row.conversation_id.0,
            contact_id: row.contact_id.map(|contact| contact.0),
            fields: row.fields.0,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
