//! What a workspace's customers also call things: its glossary, a text of lines (`models::lexical`).

use domain::{Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, StorageError, Tx};

/// A workspace's glossary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glossary {
    /// Rises with each change.
    pub revision: i64,
    /// How many entries it has.
    pub entries: i64,
    /// Its lines.
    pub content: String,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct GlossaryRow {
    revision: i64,
    entries: i64,
    content: String,
    updated_at: Micros,
}

/// The workspace's glossary, when it ever had one.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Glossary>> {
    let row: Option<GlossaryRow> = conn
        .statement(
            "SELECT
                revision,
                entries,
                content,
                updated_at
            FROM glossaries
            WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Glossary::from))
}

/// The revision of the workspace's glossary; 0 when it never had one.
pub async fn revision(conn: &mut Conn, workspace: WorkspaceId) -> Result<i64> {
    let row: Option<(i64,)> = conn
        .statement("SELECT revision FROM glossaries WHERE workspace_id = $1")
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map_or(0, |(revision,)| revision))
}

/// Puts `content` with so many entries in the place of the workspace's glossary. `Conflict` when there is no such
/// workspace.
pub async fn put(
    tx: &mut Tx,
    workspace: WorkspaceId,
    content: &str,
    entries: i64,
    now: Timestamp,
) -> Result<Glossary> {
    let row: Option<GlossaryRow> = tx
        .statement(
            "INSERT INTO glossaries (
                workspace_id,
                revision,
                entries,
                content,
                updated_at
            )
            SELECT
                id,
                1,
                $2,
                $3,
                $4
            FROM workspaces
            WHERE id = $1
            ON CONFLICT (workspace_id) DO UPDATE
            SET revision = glossaries.revision + 1,
                entries = excluded.entries,
                content = excluded.content,
                updated_at = excluded.updated_at
            RETURNING
                revision,
                entries,
                content,
                updated_at",
        )
        .bind(Id(workspace))
        .bind(entries)
        .bind(content)
        .bind(Micros(now))
        .optional()
        .await?;
    row.map(Glossary::from).ok_or_else(StorageError::without_parent)
}

impl From<GlossaryRow> for Glossary {
    fn from(row: GlossaryRow) -> Self {
        Self {
            revision: row.revision,
            entries: row.entries,
            content: row.content,
            updated_at: row.updated_at.0,
        }
    }
}
