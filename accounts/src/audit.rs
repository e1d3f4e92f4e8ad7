//! Entries of the audit log for what people do to workspaces and to their own accounts.

use domain::{Actor, WorkspaceId};
use storage::Tx;
use storage::audit::Author;
pub(crate) use storage::audit::Change;

use crate::{Accounts, Person, Result, Visit};

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
        let (address, user_agent) = (Some(visit.address.to_string()), visit.user_agent.clone());
        let author = Author { workspace, actor, address, user_agent };
        Ok(author.note(tx, &self.0.ambient, change).await?)
    }
}
