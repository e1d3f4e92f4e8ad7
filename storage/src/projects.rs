//! Projects: sites and apps with a widget, and the keys that their pages carry.

use domain::widget::Widget;
use domain::workspace::{Project, SiteIdentity};
use domain::{ProjectId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Dialects, Id, Json, Micros};
use crate::{Conn, Result, StorageError, Tx};

#[derive(FromRow)]
struct ProjectRow {
    id: Id<ProjectId>,
    workspace_id: Id<WorkspaceId>,
    name: String,
    domain: Option<String>,
    allowed_origins: Json<Vec<String>>,
    site_key: String,
    is_default: bool,
    widget: Json<Widget>,
    identity_secret: Option<String>,
    identity_version: i64,
    created_at: Micros,
    updated_at: Micros,
}

/// A site key that was replaced and still lets pages in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredKey {
    /// The key.
    pub site_key: String,
    /// Until when.
    pub valid_until: Timestamp,
}

macro_rules! select_projects {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                name,
                domain,
                allowed_origins,
                site_key,
                is_default,
                widget,
                identity_secret,
                identity_version,
                created_at,
                updated_at
            FROM projects ",
            $rest
        )
    };
}

/// The project that the workspace was born with.
pub async fn default(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Project>> {
    let row: Option<ProjectRow> = conn
        .statement(select_projects!(
            "WHERE workspace_id = $1
                AND is_default
            ORDER BY id
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Project::from))
}

/// The project.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ProjectId,
) -> Result<Option<Project>> {
    let row: Option<ProjectRow> = conn
        .statement(select_projects!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Project::from))
}

/// As [`get`]; nobody else changes it until the transaction ends.
pub async fn lock(tx: &mut Tx, workspace: WorkspaceId, id: ProjectId) -> Result<Option<Project>> {
    let row: Option<ProjectRow> = tx
        .statement(Dialects {
            sqlite: select_projects!(
                "WHERE workspace_id = $1
                    AND id = $2"
            ),
            postgres: select_projects!(
                "WHERE workspace_id = $1
                    AND id = $2
                FOR NO KEY UPDATE"
            ),
        })
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Project::from))
}

/// Every project of the workspace, oldest first.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Project>> {
    let rows: Vec<ProjectRow> = conn
        .statement(select_projects!(
            "WHERE workspace_id = $1
            ORDER BY id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Project::from).collect())
}

/// The project whose pages carry this key, with its workspace: as it is now, or as it was until not long ago. None of a
/// workspace that is being removed.
pub async fn find_by_site_key(
    conn: &mut Conn,
    site_key: &str,
    now: Timestamp,
) -> Result<Option<(WorkspaceId, Project)>> {
    let row: Option<ProjectRow> = conn
        .statement(select_projects!(
            "WHERE (
                    site_key = $1
                    OR id = (
                        SELECT project_id
                        FROM retired_site_keys
                        WHERE retired_site_keys.site_key = $1
                            AND valid_until > $2
                    )
                )
                AND EXISTS (
                    SELECT 1
                    FROM workspaces
                    WHERE workspaces.id = projects.workspace_id
                        AND workspaces.closing_at IS NULL
                )"
        ))
        .bind(site_key)
        .bind(Micros(now))
        .optional()
        .await?;
    Ok(row.map(|row| (row.workspace_id.0, Project::from(row))))
}

/// Whether some project of the installation lets pages of this origin in.
pub async fn lets_in(conn: &mut Conn, origin: &str) -> Result<bool> {
    let row: Option<(Id<ProjectId>,)> = conn
        .statement(
            "SELECT id
            FROM projects
            WHERE allowed_origins = '[]'
                OR allowed_origins LIKE '%\"' || $1 || '\"%'
            LIMIT 1",
        )
        .bind(origin)
        .optional()
        .await?;
    Ok(row.is_some())
}

/// Stores a project.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, project: &Project) -> Result<()> {
    tx.statement(
        "INSERT INTO projects (
            id,
            workspace_id,
            name,
            domain,
            allowed_origins,
            site_key,
            is_default,
            widget,
            identity_secret,
            identity_version,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(Id(project.id))
    .bind(Id(workspace))
    .bind(&project.name)
    .bind(&project.domain)
    .json(&project.allowed_origins)
    .bind(&project.site_key)
    .bind(project.is_default)
    .json(&project.widget)
    .bind(project.identity.as_ref().map(|identity| &identity.secret))
    .bind(project.identity.as_ref().map_or(0, |identity| identity.version))
    .bind(Micros(project.created_at))
    .bind(Micros(project.updated_at))
    .execute()
    .await?;
    Ok(())
}

/// Writes what may change of a project: everything but its key; `false` when absent.
pub async fn update(tx: &mut Tx, workspace: WorkspaceId, project: &Project) -> Result<bool> {
    tx.statement(
        "UPDATE projects
        SET
            name = $3,
            domain = $4,
            allowed_origins = $5,
            widget = $6,
            identity_secret = $7,
            identity_version = $8,
            updated_at = $9
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(project.id))
    .bind(&project.name)
    .bind(&project.domain)
    .json(&project.allowed_origins)
    .json(&project.widget)
    .bind(project.identity.as_ref().map(|identity| &identity.secret))
    .bind(project.identity.as_ref().map_or(0, |identity| identity.version))
    .bind(Micros(project.updated_at))
    .changed()
    .await
}

/// Gives a project another key. The one before lets pages in until `until`, and so do, at the longest, those before it.
/// The caller has locked the project.
pub async fn rotate_site_key(
    tx: &mut Tx,
    workspace: WorkspaceId,
    project: &Project,
    site_key: &str,
    until: Timestamp,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "DELETE FROM retired_site_keys
        WHERE workspace_id = $1
            AND project_id = $2
            AND valid_until <= $3",
    )
    .bind(Id(workspace))
    .bind(Id(project.id))
    .bind(Micros(now))
    .execute()
    .await?;
    tx.statement(
        "UPDATE retired_site_keys
        SET valid_until = $3
        WHERE workspace_id = $1
            AND project_id = $2
            AND valid_until > $3",
    )
    .bind(Id(workspace))
    .bind(Id(project.id))
    .bind(Micros(until))
    .execute()
    .await?;
    tx.statement(
        "INSERT INTO retired_site_keys (
            site_key,
            workspace_id,
            project_id,
            valid_until
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(&project.site_key)
    .bind(Id(workspace))
    .bind(Id(project.id))
    .bind(Micros(until))
    .execute()
    .await?;
    let changed = tx
        .statement(
            "UPDATE projects
            SET
                site_key = $3,
                updated_at = $4
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(project.id))
        .bind(site_key)
        .bind(Micros(now))
        .changed()
        .await?;
    if changed { Ok(()) } else { Err(StorageError::without_parent()) }
}

/// The keys of a project that were replaced and still let pages in, the newest last.
pub async fn retired_keys(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ProjectId,
    now: Timestamp,
) -> Result<Vec<RetiredKey>> {
    let rows: Vec<(String, Micros)> = conn
        .statement(
            "SELECT
                site_key,
                valid_until
            FROM retired_site_keys
            WHERE workspace_id = $1
                AND project_id = $2
                AND valid_until > $3
            ORDER BY valid_until, site_key",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Micros(now))
        .all()
        .await?;
    let key = |(site_key, Micros(valid_until))| RetiredKey { site_key, valid_until };
    Ok(rows.into_iter().map(key).collect())
}

/// Removes a project; its conversations stay, as no site's. `false` when absent, and for the one that the workspace was
/// born with.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: ProjectId) -> Result<bool> {
    tx.statement(
        "DELETE FROM projects
        WHERE workspace_id = $1
            AND id = $2
            AND NOT is_default",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<ProjectRow> for Project {
    fn from(row: ProjectRow) -> Self {
        let identity = row
            .identity_secret
            .map(|secret| SiteIdentity { secret, version: row.identity_version });
        // Rows of before there were changes have none noted.
        let updated_at = row.updated_at.0.max(row.created_at.0);
        Self {
            id: row.id.0,
            name: row.name,
            domain: row.domain,
            allowed_origins: row.allowed_origins.0,
            site_key: row.site_key,
            is_default: row.is_default,
            widget: row.widget.0,
            identity,
            created_at: row.created_at.0,
            updated_at,
        }
    }
}
