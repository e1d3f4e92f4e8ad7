//! Workspaces and what they are born with.

use domain::agent::Agent;
use domain::datastore::Datastore;
use domain::workspace::{Project, Workspace};
use domain::{Ambient, WorkspaceId};

use crate::{Conn, Result, Tx};

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

/// Makes a workspace with its default project, datastore and agent (tools: datastore, lead-capture, request-human).
pub async fn create(tx: &mut Tx, ambient: &Ambient, name: &str) -> Result<Born> {
    todo!()
}

/// The workspace.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Workspace>> {
    todo!()
}

/// The oldest workspace: the one that `vocero init` made.
pub async fn first(conn: &mut Conn) -> Result<Option<Workspace>> {
    todo!()
}

/// Every workspace, oldest first.
pub async fn list(conn: &mut Conn) -> Result<Vec<Workspace>> {
    todo!()
}

/// Removes the workspace and every row of it. Vectors and files are the caller's to remove. `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId) -> Result<bool> {
    todo!()
}
