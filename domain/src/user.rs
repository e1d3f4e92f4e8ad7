//! People who sign in, and where they belong.

use crate::workspace::Workspace;
use crate::{InvitationId, Lang, LinkId, Role, SessionId, Timestamp, UserId, WorkspaceId};

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Shown to people.
    pub name: String,
    /// In lower case; unique in the installation.
    pub email: String,
    /// When a mail to the address was answered, or an identity provider vouched for it.
    pub email_verified_at: Option<Timestamp>,
    /// Of the mails to them.
    pub language: Option<Lang>,
    /// Since when a second factor is asked for.
    pub second_factor_since: Option<Timestamp>,
    /// When they registered.
    pub created_at: Timestamp,
}

impl User {
    /// Somebody new, who has nothing but a name and an address.
    pub fn new(id: UserId, name: String, email: String, created_at: Timestamp) -> Self {
        Self {
            id,
            name,
            email,
            email_verified_at: None,
            language: None,
            second_factor_since: None,
            created_at,
        }
    }
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

/// What a link that is sent by mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkPurpose {
    /// To tell that the address is theirs.
    Verify,
    /// To choose another password.
    Reset,
}

impl LinkPurpose {
    /// Every purpose.
    pub const ALL: [Self; 2] = [Self::Verify, Self::Reset];

    /// As stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }
}

/// A link that is sent by mail; never its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// Whose account it is about.
    pub user_id: UserId,
    /// What it is for.
    pub purpose: LinkPurpose,
    /// The address that it goes to.
    pub email: String,
    /// Of the mail.
    pub language: Lang,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was used: once.
    pub used_at: Option<Timestamp>,
}

/// Somebody asked to join a workspace; never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Where to.
    pub workspace_id: WorkspaceId,
    /// Who, in lower case.
    pub email: String,
    /// What they will be.
    pub role: Role,
    /// Who asked them; `None` once that person is gone, or when a program did.
    pub invited_by: Option<UserId>,
    /// Of the mail.
    pub language: Lang,
    /// How often it was sent; each mail has a token of its own, and the last one works.
    pub sent: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// Where an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvitationStatus {
    /// It can be accepted.
    Pending,
    /// Somebody joined by it.
    Accepted,
    /// It was taken back.
    Revoked,
    /// Nobody accepted it in time.
    Expired,
}

impl Invitation {
    /// Where it stands at `now`.
    pub fn status(&self, now: Timestamp) -> InvitationStatus {
        match (self.accepted_at, self.revoked_at) {
            (Some(_), _) => InvitationStatus::Accepted,
            (None, Some(_)) => InvitationStatus::Revoked,
            (None, None) if now >= self.expires_at => InvitationStatus::Expired,
            (None, None) => InvitationStatus::Pending,
        }
    }
}
