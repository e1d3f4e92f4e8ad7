//! Who is a member of a workspace, with which role.

use domain::user::Member;
use domain::{DomainError, ErrorKind, Role, UserId, WorkspaceId};
use serde_json::json;
use storage::members::MemberChange;
use storage::{Tx, inbox, members};

use crate::audit::Change;
use crate::{Accounts, Person, Result, Visit};

impl Accounts {
    /// Gives a member another role; the conversations of one who only reads from now on are given to others. Nobody gives or takes the owner's role but an owner.
    pub async fn set_role(
        &self,
        by: &Person,
        member: UserId,
        role: Role,
        visit: &Visit,
    ) -> Result<Member> {
        let mut tx = self.0.db.write().await?;
        let found = self.member(&mut tx, by.workspace, member).await?;
        if by.role != Role::Owner && (role == Role::Owner || found.role == Role::Owner) {
            return Err(owners_only().into());
        }
        let now = self.0.ambient.now();
        let released = match role {
            Role::Viewer => inbox::release(&mut tx, by.workspace, member, now).await?,
            Role::Agent | Role::Admin | Role::Owner => 0,
        };
        settle(members::set_role(&mut tx, by.workspace, member, role).await?)?;
        inbox::hand_out_waiting(&mut tx, by.workspace, released, now).await?;
        let (before, after) = (json!({"role": found.role.name()}), json!({"role": role.name()}));
        let change = Change::new("member.updated", member).from(before).to(after);
        self.note(&mut tx, by, visit, change).await?;
        tx.commit().await?;
        self.0.known.invalidate_all();
        Ok(Member { role, ..found })
    }

    /// Takes a member out of the workspace: somebody else, by an administrator or owner, or oneself. Their conversations
    /// are given to others where the workspace wants that, or wait.
    pub async fn remove_member(&self, by: &Person, member: UserId, visit: &Visit) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let found = self.member(&mut tx, by.workspace, member).await?;
        if by.role != Role::Owner && found.role == Role::Owner {
            return Err(owners_only().into());
        }
        let now = self.0.ambient.now();
        let released = inbox::release(&mut tx, by.workspace, member, now).await?;
        settle(members::remove(&mut tx, by.workspace, member).await?)?;
        inbox::hand_out_waiting(&mut tx, by.workspace, released, now).await?;
        let what = if member == by.user { "member.left" } else { "member.removed" };
        let before = json!({"email": found.user.email, "role": found.role.name()});
        self.note(&mut tx, by, visit, Change::new(what, member).from(before)).await?;
        tx.commit().await?;
        self.0.known.invalidate_all();
        Ok(())
    }

    /// Makes another member an owner and the person an administrator.
    pub async fn hand_over(&self, by: &Person, member: UserId, visit: &Visit) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        self.member(&mut tx, by.workspace, member).await?;
        if member == by.user {
            let message = "`userId` must be another member";
            return Err(DomainError::invalid("userId", message).into());
        }
        settle(members::set_role(&mut tx, by.workspace, member, Role::Owner).await?)?;
        settle(members::set_role(&mut tx, by.workspace, by.user, Role::Admin).await?)?;
        let (before, after) = (json!({"owner": by.user}), json!({"owner": member}));
        let change = Change::new("workspace.transferred", by.workspace).from(before).to(after);
        self.note(&mut tx, by, visit, change).await?;
        tx.commit().await?;
        self.0.known.invalidate_all();
        Ok(())
    }

    async fn member(&self, tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<Member> {
        let found = members::get(tx, workspace, user).await?;
        Ok(found.ok_or_else(|| DomainError::not_found("member"))?)
    }
}

pub(crate) fn owners_only() -> DomainError {
    let message = "only an owner may do this to an owner, or make one";
    DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message)
}

fn settle(change: MemberChange) -> Result<()> {
    match change {
        MemberChange::Done => Ok(()),
        MemberChange::Absent => Err(DomainError::not_found("member").into()),
        MemberChange::LastOwner => {
            let message = "a workspace is never without an owner; make another member one first";
            Err(DomainError::conflict("LAST_OWNER", message).into())
        }
    }
}
