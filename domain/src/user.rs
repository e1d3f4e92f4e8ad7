//! People who sign in, and where they belong.

use crate::workspace::Workspace;
use crate::{Role, SessionId, Timestamp, UserId, WorkspaceId};

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Shown to people.
    pub name: String,
    /// In lower case; unique in the installation.
    pub email: String,
    /// When they registered.
    pub created_at: Timestamp,
}

/// A person's place in a workspace, as that person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The workspace.
    pub workspace: Workspace,
    /// What they may do in it.
    pub role: Role,
}

/// A person's place in a workspace, as the workspace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: User,
    /// What they may do.
    pub role: Role,
    /// When they joined.
    pub joined_at: Timestamp,
}

/// One place that a person is signed in at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The workspace that it last acted in; `None` once that is gone.
    pub workspace_id: Option<WorkspaceId>,
    /// The program that signed in, in its own words.
    pub user_agent: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When its tokens were last renewed.
    pub used_at: Timestamp,
    /// When it ends unless its tokens are renewed before.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
}

impl Session {
    /// Whether anything of it still opens at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}
