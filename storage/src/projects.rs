//! Projects.

use domain::WorkspaceId;
use domain::workspace::Project;

use crate::{Conn, Result};

/// The project that the workspace was born with.
pub async fn default(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<Project>> {
    todo!()
}
