//! Workspaces and what they are born with.

use domain::agent::{Agent, AgentSettings, AgentStatus, AgentTool, ToolKind};
use domain::datastore::Datastore;
use domain::workspace::{Project, Workspace};
use domain::{Ambient, DatastoreId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx, Wakeup, agents, datastores, jobs, projects};

/// What a workspace is born with.
#[derive(Debug, Clone)]
pub struct Born {
    /// The workspace.
    pub workspace: Workspace,
    /// Its default project.
    pub project: Project,
    /// Its default datastore.
    pub datastore: Datastore,
    /// Its default agent, wired to the datastore.
    pub agent: Agent,
}

#[derive(FromRow)]
struct WorkspaceRow {
    id: Id<WorkspaceId>,
    name: String,
    code: String,
    created_at: Micros,
}

/// The longest part of a code that comes from the workspace's name.
const SLUG_CHARS: usize = 32;

/// Makes a workspace with its default project, datastore and agent (tools: datastore, lead-capture, request-human).
pub async fn create(tx: &mut Tx, ambient: &Ambient, name: &str) -> Result<Born> {
    let now = ambient.now();
    let workspace = Workspace {
        id: ambient.new_id(),
        name: name.to_owned(),
        code: free_code(tx, ambient, name).await?,
        created_at: now,
    };
    insert(tx, &workspace).await?;

    let project = Project::new(ambient, name, true);
    projects::insert(tx, workspace.id, &project).await?;

    let datastore = Datastore {
        id: ambient.new_id(),
        workspace_id: workspace.id,
        name: name.to_owned(),
        description: String::new(),
        language: None,
        is_default: true,
        is_system: false,
        revision: 0,
        created_at: now,
        updated_at: now,
    };
    datastores::insert(tx, &datastore).await?;

    let agent = first_agent(tx, ambient, &workspace, datastore.id, now).await?;
    agents::insert(tx, &agent).await?;
    Ok(Born { workspace, project, datastore, agent })
}

/// The workspace; absent while it is being removed.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Workspace>> {
    let row: Option<WorkspaceRow> = conn
        .statement(
            "SELECT
                id,
                name,
                code,
                created_at
            FROM workspaces
            WHERE id = $1
                AND closing_at IS NULL",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(Workspace::from))
}

/// From here to the end of the transaction nobody else changes what the workspace has set, so that what a change is compared
/// with is what is there. On SQLite there is one writer anyway.
pub async fn hold(tx: &mut Tx, workspace: WorkspaceId) -> Result<()> {
    if tx.is_postgres() {
        tx.statement("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(format!("settings of {workspace}"))
            .execute()
            .await?;
    }
    Ok(())
}

/// The workspace of that code: how the public names it.
pub async fn by_code(conn: &mut Conn, code: &str) -> Result<Option<Workspace>> {
    let row: Option<WorkspaceRow> = conn
        .statement(
            "SELECT
                id,
                name,
                code,
                created_at
            FROM workspaces
            WHERE code = $1
                AND closing_at IS NULL",
        )
        .bind(code)
        .optional()
        .await?;
    Ok(row.map(Workspace::from))
}

/// The oldest workspace: the one that `vocero init` made.
pub async fn first(conn: &mut Conn) -> Result<Option<Workspace>> {
    let row: Option<WorkspaceRow> = conn
        .statement(
            "SELECT
                id,
                name,
                code,
                created_at
            FROM workspaces
            WHERE closing_at IS NULL
            ORDER BY id
            LIMIT 1",
        )
        .optional()
        .await?;
    Ok(row.map(Workspace::from))
}

/// Every workspace that is not being removed, oldest first.
pub async fn list(conn: &mut Conn) -> Result<Vec<Workspace>> {
    let rows: Vec<WorkspaceRow> = conn
        .statement(
            "SELECT
                id,
                name,
                code,
                created_at
            FROM workspaces
            WHERE closing_at IS NULL
            ORDER BY id",
        )
        .all()
        .await?;
    Ok(rows.into_iter().map(Workspace::from).collect())
}

/// Gives the workspace another name; `false` when absent. Its code stays.
pub async fn rename(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<bool> {
    tx.statement(
        "UPDATE workspaces
        SET name = $2
        WHERE id = $1",
    )
    .bind(Id(workspace))
    .bind(name)
    .changed()
    .await
}

/// Begins to remove the workspace: from now on it is absent for its members, and its keys and invitations open nothing. Its jobs are
/// stopped. `false` when it is absent or being removed already.
pub async fn close(tx: &mut Tx, workspace: WorkspaceId, now: Timestamp) -> Result<bool> {
    let closed = tx
        .statement(
            "UPDATE workspaces
            SET closing_at = $2
            WHERE id = $1
                AND closing_at IS NULL",
        )
        .bind(Id(workspace))
        .bind(Micros(now))
        .changed()
        .await?;
    if !closed {
        return Ok(false);
    }
    tx.statement(
        "DELETE FROM members
        WHERE workspace_id = $1",
    )
    .bind(Id(workspace))
    .execute()
    .await?;
    tx.statement(
        "UPDATE sessions
        SET workspace_id = NULL
        WHERE workspace_id = $1",
    )
    .bind(Id(workspace))
    .execute()
    .await?;
    jobs::cancel_all(tx, workspace, None, now).await?;
    Ok(true)
}

/// The workspaces that are being removed.
pub async fn closing(conn: &mut Conn) -> Result<Vec<WorkspaceId>> {
    let rows: Vec<(Id<WorkspaceId>,)> = conn
        .statement(
            "SELECT id
            FROM workspaces
            WHERE closing_at IS NOT NULL
            ORDER BY id",
        )
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id,)| id.0).collect())
}

/// Removes the workspace and every row of it. Vectors and files are the caller's to remove. `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId) -> Result<bool> {
    let deleted = tx
        .statement(
            "DELETE FROM workspaces
            WHERE id = $1",
        )
        .bind(Id(workspace))
        .changed()
        .await?;
    if deleted {
        // Its jobs are gone, the one that removes it too: nobody else tells of their end.
        tx.wake(Wakeup::Jobs);
    }
    Ok(deleted)
}

async fn insert(tx: &mut Tx, workspace: &Workspace) -> Result<()> {
    tx.statement(
        "INSERT INTO workspaces (
            id,
            name,
            code,
            created_at
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(Id(workspace.id))
    .bind(&workspace.name)
    .bind(&workspace.code)
    .bind(Micros(workspace.created_at))
    .execute()
    .await?;
    Ok(())
}

async fn first_agent(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: &Workspace,
    datastore: DatastoreId,
    now: Timestamp,
) -> Result<Agent> {
    let knowledge =
        AgentTool { id: Some(datastore.to_string()), ..AgentTool::plain(ToolKind::Datastore) };
    Ok(Agent {
        id: ambient.new_id(),
        workspace_id: workspace.id,
        code: agents::next_code(tx, workspace.id).await?,
        name: workspace.name.clone(),
        description: String::new(),
        purpose: String::new(),
        tone: String::new(),
        voice: String::new(),
        system_prompt: String::new(),
        model_name: None,
        tools: vec![
            knowledge,
            AgentTool::plain(ToolKind::LeadCapture),
            AgentTool::plain(ToolKind::RequestHuman),
        ],
        settings: AgentSettings::default(),
        status: AgentStatus::Active,
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

/// The name in small letters and hyphens, with random digits after it when another workspace has that.
async fn free_code(tx: &mut Tx, ambient: &Ambient, name: &str) -> Result<String> {
    if tx.is_postgres() {
        // Two that choose at once would choose the same one; here they choose one after the other.
        tx.statement("SELECT pg_advisory_xact_lock(hashtextextended('codes of workspaces', 0))")
            .execute()
            .await?;
    }
    let slug = slug(name);
    let taken: Option<(String,)> = tx
        .statement(
            "SELECT code
            FROM workspaces
            WHERE code = $1",
        )
        .bind(&slug)
        .optional()
        .await?;
    Ok(match taken {
        None => slug,
        Some(_) => format!("{slug}-{}", hex::encode(ambient.random_bytes::<4>())),
    })
}

fn slug(name: &str) -> String {
    let plain = name.to_lowercase().chars().map(without_accent).collect::<String>();
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug: String = words.collect::<Vec<_>>().join("-").chars().take(SLUG_CHARS).collect();
    match slug.trim_matches('-') {
        "" => "workspace".to_owned(),
        slug => slug.to_owned(),
    }
}

/// The accented letters of the product's languages; others separate words.
fn without_accent(letter: char) -> char {
    match letter {
        'á' | 'à' | 'â' | 'ã' | 'ä' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'õ' | 'ö' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        other => other,
    }
}

impl From<WorkspaceRow> for Workspace {
    fn from(row: WorkspaceRow) -> Self {
        Self { id: row.id.0, name: row.name, code: row.code, created_at: row.created_at.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_made_of_the_names_plain_letters() {
        assert_eq!(slug("Peluquería Ñandú, S.A."), "peluqueria-nandu-s-a");
        assert_eq!(slug(" 商店 "), "workspace");
        assert_eq!(slug(&"ab ".repeat(30)).len(), 32);
    }
}
