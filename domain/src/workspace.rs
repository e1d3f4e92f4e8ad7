//! Tenants and what they are born with.

use crate::{ProjectId, Timestamp, WorkspaceId};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Shown to people.
    pub name: String,
    /// Short unique slug; the public surface calls it the organization code.
    pub code: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A site or app with a widget and a site key. Every workspace is born with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Shown to people.
    pub name: String,
    /// Public key that a page carries to open the widget.
    pub site_key: String,
    /// Whether it is the one that the workspace was born with.
    pub is_default: bool,
    /// When it was made.
    pub created_at: Timestamp,
}
