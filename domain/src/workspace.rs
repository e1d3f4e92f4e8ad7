//! Tenants and what they are born with.

use crate::widget::Widget;
use crate::{Ambient, ProjectId, SecretPlace, Timestamp, WorkspaceId};

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
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Shown to people.
    pub name: String,
    /// Where it is: an origin.
    pub domain: Option<String>,
    /// The pages that may open the widget, by their origins; none lets every page in.
    pub allowed_origins: Vec<String>,
    /// Public key that a page carries to open the widget.
    pub site_key: String,
    /// Whether it is the one that the workspace was born with.
    pub is_default: bool,
    /// Its widget.
    pub widget: Widget,
    /// Who vouches for visitors; `None` until there is a secret.
    pub identity: Option<SiteIdentity>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The secret that a site signs the ids of its own users with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteIdentity {
    /// Sealed.
    pub secret: String,
    /// From 1, rising with each secret: visitors who were vouched for with another one are strangers.
    pub version: i64,
}

impl SiteIdentity {
    /// Where the secret of the project is kept whose id reads `project`.
    pub fn place(workspace: WorkspaceId, project: &str) -> SecretPlace<'_> {
        SecretPlace { workspace, table: "projects", column: "identity_secret", row: project }
    }
}

impl Project {
    /// One that is new, without a domain.
    pub fn new(ambient: &Ambient, name: &str, is_default: bool) -> Self {
        let now = ambient.now();
        Self {
            id: ambient.new_id(),
            name: name.to_owned(),
            domain: None,
            allowed_origins: Vec::new(),
            site_key: Self::new_site_key(ambient),
            is_default,
            widget: Widget::default(),
            identity: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// A site key that nobody has.
    pub fn new_site_key(ambient: &Ambient) -> String {
        format!("site_{}", hex::encode(ambient.random_bytes::<16>()))
    }

    /// Whether pages of this origin may open the widget.
    pub fn lets_in(&self, origin: &str) -> bool {
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|known| known == origin)
    }
}
