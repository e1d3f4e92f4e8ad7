//! Who is calling and what they may do. One policy function answers for every surface.

use std::fmt;
use std::str::FromStr;

use crate::{ApiKeyId, SessionId, UserId, VisitorId, WorkspaceId};

/// The caller, whatever credential it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The workspace that the caller acts in; every storage call takes it from here.
    pub workspace: WorkspaceId,
    /// What a person in this position may do.
    pub role: Role,
    /// What the credential was made for; a call needs the role and the scope.
    pub scopes: Scopes,
    /// Who it is.
    pub actor: Actor,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A program with an API key.
    ApiKey(ApiKeyId),
    /// A person, signed in.
    User {
        /// Who.
        id: UserId,
        /// Where.
        session: SessionId,
    },
    /// A customer.
    Visitor(VisitorId),
    /// The server itself: jobs, the command line.
    System,
}

/// A member's role. Roles are ordered: each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Works conversations, contacts and notes.
    Agent,
    /// Manages everything but billing ownership and deletion of the workspace.
    Admin,
    /// All.
    Owner,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Agent, Self::Admin, Self::Owner];

    /// As written in requests and stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Agent => "agent",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an API key was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reads agents, datastores, conversations; searches datastores.
    Read,
    /// Talks to agents and rates answers.
    Chat,
    /// Creates, changes and deletes; implies the other two.
    Manage,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Chat, Self::Manage];

    /// As written in requests and shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Chat => "chat",
            Self::Manage => "manage",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope; use read, chat or manage")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(UnknownScope)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether the set grants `scope`; `manage` grants the others.
    pub fn grant(self, scope: Scope) -> bool {
        let bits = 1 << scope as u8 | 1 << Scope::Manage as u8;
        self.0 & bits != 0
    }

    /// The scopes that were put in, in order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |&scope| self.0 & 1 << scope as u8 != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

/// What a route does. A route without an action does not compile: the router's table takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See agents.
    ReadAgents,
    /// Create, change, delete agents.
    ManageAgents,
    /// See datastores and sources, search them.
    ReadKnowledge,
    /// Create, change, delete datastores and sources.
    ManageKnowledge,
    /// See conversations and messages.
    ReadConversations,
    /// Change the status of a conversation.
    WorkConversations,
    /// See contacts, their tags and their history.
    ReadContacts,
    /// Create, change, merge, block contacts.
    WorkContacts,
    /// Export and erase contacts; say for how long what customers said is kept.
    ManageContacts,
    /// See the articles of the knowledge base, drafts too.
    ReadArticles,
    /// Write, publish, delete articles and their categories.
    ManageArticles,
    /// Ask for suggested replies and summaries, have a text written anew.
    AskAssistant,
    /// Send a message to an agent, stop an answer, rate it.
    Chat,
    /// See API keys (never the secret).
    ReadApiKeys,
    /// Create and revoke API keys.
    ManageApiKeys,
    /// See what was used and what it cost, and the budgets.
    ReadUsage,
    /// Create, change, delete budgets.
    ManageBudgets,
    /// See model providers (never their keys), create, change, delete them.
    ManageProviders,
    /// See evaluation datasets, runs and reports.
    ReadEvals,
    /// Create, change, delete evaluation datasets, run and stop evaluations.
    ManageEvals,
    /// See projects and their widgets.
    ReadProjects,
    /// Create, change, delete projects, renew their keys and secrets.
    ManageProjects,
    /// See the workspace and its members.
    ReadWorkspace,
    /// Change the workspace's name; change the roles of members, remove them.
    ManageWorkspace,
    /// Hand the workspace over, delete it.
    OwnWorkspace,
    /// See and change what is one's own: account, sessions, the list of one's workspaces.
    OwnAccount,
}

impl Action {
    /// Every action, for the tests of the policy table.
    pub const ALL: [Self; 26] = [
        Self::ReadAgents,
        Self::ManageAgents,
        Self::ReadKnowledge,
        Self::ManageKnowledge,
        Self::ReadConversations,
        Self::WorkConversations,
        Self::ReadContacts,
        Self::WorkContacts,
        Self::ManageContacts,
        Self::ReadArticles,
        Self::ManageArticles,
        Self::AskAssistant,
        Self::Chat,
        Self::ReadApiKeys,
        Self::ManageApiKeys,
        Self::ReadUsage,
        Self::ManageBudgets,
        Self::ManageProviders,
        Self::ReadEvals,
        Self::ManageEvals,
        Self::ReadProjects,
        Self::ManageProjects,
        Self::ReadWorkspace,
        Self::ManageWorkspace,
        Self::OwnWorkspace,
        Self::OwnAccount,
    ];

    /// The lowest role and the scope that the action needs. The policy table.
    pub const fn needs(self) -> (Role, Scope) {
        match self {
            Self::ReadAgents
            | Self::ReadKnowledge
            | Self::ReadConversations
            | Self::ReadContacts
            | Self::ReadArticles
            | Self::ReadUsage
            | Self::ReadEvals
            | Self::ReadProjects
            | Self::ReadWorkspace
            | Self::OwnAccount => (Role::Viewer, Scope::Read),
            Self::Chat => (Role::Viewer, Scope::Chat),
            Self::WorkConversations | Self::WorkContacts | Self::AskAssistant => {
                (Role::Agent, Scope::Manage)
            }
            Self::ManageAgents
            | Self::ManageContacts
            | Self::ManageArticles
            | Self::ManageKnowledge
            | Self::ReadApiKeys
            | Self::ManageApiKeys
            | Self::ManageBudgets
            | Self::ManageProviders
            | Self::ManageEvals
            | Self::ManageProjects
            | Self::ManageWorkspace => (Role::Admin, Scope::Manage),
            Self::OwnWorkspace => (Role::Owner, Scope::Manage),
        }
    }
}

impl Principal {
    /// The server acting in a workspace, with every right.
    pub fn system(workspace: WorkspaceId) -> Self {
        Self { workspace, role: Role::Owner, scopes: Scopes::all(), actor: Actor::System }
    }

    /// Whether role and scopes allow `action`.
    pub fn may(&self, action: Action) -> bool {
        let (role, scope) = action.needs();
        self.role >= role && self.scopes.grant(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PrefixedId;

    fn caller(role: Role, scopes: &[Scope]) -> Principal {
        let workspace = WorkspaceId::from_uuid(uuid::Uuid::nil());
        Principal {
            workspace,
            role,
            scopes: scopes.iter().copied().collect(),
            actor: Actor::System,
        }
    }

    #[test]
    fn manage_grants_the_other_scopes_and_they_do_not_grant_it() {
        let scopes: Scopes = [Scope::Manage].into_iter().collect();
        assert!(Scope::ALL.into_iter().all(|scope| scopes.grant(scope)));
        let scopes: Scopes = [Scope::Read, Scope::Chat].into_iter().collect();
        assert!(!scopes.grant(Scope::Manage));
        assert_eq!(scopes.iter().collect::<Vec<_>>(), [Scope::Read, Scope::Chat]);
    }

    #[test]
    fn a_call_needs_both_role_and_scope() {
        assert!(caller(Role::Admin, &[Scope::Manage]).may(Action::ManageAgents));
        assert!(!caller(Role::Admin, &[Scope::Read]).may(Action::ManageAgents));
        assert!(!caller(Role::Agent, &[Scope::Manage]).may(Action::ManageAgents));
        assert!(caller(Role::Viewer, &[Scope::Read]).may(Action::ReadKnowledge));
        assert!(!caller(Role::Viewer, &[Scope::Chat]).may(Action::ReadKnowledge));
    }

    #[test]
    fn no_scope_allows_nothing() {
        assert!(Action::ALL.into_iter().all(|action| !caller(Role::Owner, &[]).may(action)));
    }
}
