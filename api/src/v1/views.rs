//! What the panel shows of people and workspaces.

use accounts::SignedIn;
use domain::user::{Member, Membership, User};
use domain::workspace::Workspace;
use serde::Serialize;
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// What a member may do.
    Role = domain::Role {
        /// Reads.
        Viewer = "viewer",
        /// Works conversations, contacts and notes.
        Agent = "agent",
        /// Manages everything but ownership and deletion of the workspace.
        Admin = "admin",
        /// All.
        Owner = "owner",
    }
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(super) struct UserView {
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "Andrea")]
    pub name: String,
    #[schema(format = Email, example = "andrea@ejemplo.com")]
    pub email: String,
    /// Whether it is known that the address is theirs.
    pub email_verified: bool,
    /// Whether they sign in with a second factor.
    pub second_factor: bool,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Workspace)]
pub(super) struct WorkspaceView {
    #[schema(pattern = "^ws_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "Agencia Latam")]
    pub name: String,
    /// Short and unique; the public surface calls it the organization's code.
    #[schema(example = "agencia-latam")]
    pub code: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A workspace, and what the caller may do in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OwnWorkspace)]
pub(super) struct OwnWorkspaceView {
    #[serde(flatten)]
    pub workspace: WorkspaceView,
    pub role: Role,
}

/// A member of a workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(super) struct MemberView {
    /// The person's id.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "Andrea")]
    pub name: String,
    #[schema(format = Email, example = "andrea@ejemplo.com")]
    pub email: String,
    pub role: Role,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub joined_at: String,
}

/// A pair of tokens, and who and where they are for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignedIn)]
pub(super) struct SignedInView {
    /// The access token: send it as `Authorization: Bearer …`.
    pub token: String,
    /// Gives the next pair, once.
    #[schema(pattern = "^vr_[0-9a-f]{64}$")]
    pub refresh_token: String,
    /// Seconds that `token` is good for.
    #[schema(minimum = 1, example = 900)]
    pub expires_in: u64,
    pub user: UserView,
    pub workspace: OwnWorkspaceView,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name,
            email: user.email,
            email_verified: user.email_verified_at.is_some(),
            second_factor: user.second_factor_since.is_some(),
            created_at: user.created_at.to_rfc3339(),
        }
    }
}

impl From<Workspace> for WorkspaceView {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            name: workspace.name,
            code: workspace.code,
            created_at: workspace.created_at.to_rfc3339(),
        }
    }
}

impl From<Membership> for OwnWorkspaceView {
    fn from(place: Membership) -> Self {
        Self { workspace: place.workspace.into(), role: place.role.into() }
    }
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self {
            id: member.user.id.to_string(),
            name: member.user.name,
            email: member.user.email,
            role: member.role.into(),
            joined_at: member.joined_at.to_rfc3339(),
        }
    }
}

impl From<SignedIn> for SignedInView {
    fn from(signed_in: SignedIn) -> Self {
        Self {
            token: signed_in.access,
            refresh_token: signed_in.refresh,
            expires_in: signed_in.expires_in.as_secs(),
            user: signed_in.user.into(),
            workspace: signed_in.membership.into(),
        }
    }
}
