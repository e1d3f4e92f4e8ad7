//! Entries of the audit log for what people do to workspaces and to their own accounts.

use domain::{Actor, WorkspaceId};
use serde_json::Value;
use storage::Tx;
use storage::audit::{self, AuditEntry};

use crate::{Accounts, Person, Result, Visit};

/// A change that somebody makes.
#[derive(Debug)]
pub(crate) struct Change {
    action: &'static str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// What is done, and the id of what it is done to.
    #[expect(clippy::needless_pass_by_value, reason = "ids are copied")]
    pub(crate) fn new(action: &'static str, subject: impl ToString) -> Self {
        Self { action, subject: subject.to_string(), before: None, after: None }
    }

    /// What it was, without secrets.
    pub(crate) fn from(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// What it is now, without secrets.
    pub(crate) fn to(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

impl Accounts {
    /// Writes a change down, in the transaction that makes it.
    pub(crate) async fn note(
        &self,
        tx: &mut Tx,
        by: &Person,
        visit: &Visit,
        change: Change,
    ) -> Result<()> {
        let actor = Actor::User { id: by.user, session: by.session };
        self.note_as(tx, by.workspace, actor, visit, change).await
    }

    /// Likewise for who is not signed in yet.
    pub(crate) async fn note_as(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        actor: Actor,
        visit: &Visit,
        change: Change,
    ) -> Result<()> {
        let entry = AuditEntry {
            id: self.0.ambient.new_id(),
            workspace_id: workspace,
            actor,
            action: change.action,
            subject: change.subject,
            before: change.before,
            after: change.after,
            address: Some(visit.address.to_string()),
            user_agent: visit.user_agent.clone(),
            at: self.0.ambient.now(),
        };
        Ok(audit::record(tx, &entry).await?)
    }
}
