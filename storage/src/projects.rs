//! Projects.

use domain::workspace::Project;
use domain::{ProjectId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct ProjectRow {
    id: Id<ProjectId>,
    name: String,
    site_key: String,
    is_default: bool,
    created_at: Micros,
}

/// The project that the workspace was born with.
pub async fn default(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Project>> {
    let row: Option<ProjectRow> = conn
        .statement(
            "SELECT
                id,
                name,
                site_key,
                is_default,
                created_at
            FROM projects
            WHERE workspace_id = $1
                AND is_default
            ORDER BY id
            LIMIT 1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Project::from))
}

/// Stores the project that a workspace is born with.
pub(crate) async fn insert(tx: &mut Tx, workspace: WorkspaceId, project: &Project) -> Result<()> {
    tx.statement(
        "INSERT INTO projects (
            id,
            workspace_id,
            name,
            site_key,
            is_default,
            created_at
        )
        VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(Id(project.id))
    .bind(Id(workspace))
    .bind(&project.name)
    .bind(&project.site_key)
    .bind(project.is_default)
    .bind(Micros(project.created_at))
    .execute()
    .await?;
    Ok(())
}

impl From<ProjectRow> for Project {
    fn from(row: ProjectRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            site_key: row.site_key,
            is_default: row.is_default,
            created_at: row.created_at.0,
        }
    }
}
