//! Who registers, and the workspaces that people make.

use domain::settings::Registration as WhoMayRegister;
use domain::user::{LinkPurpose, Membership, User};
use domain::{DomainError, ErrorKind, Role, UserId, text};
use serde_json::json;
use storage::{StorageError, Tx, users, workspaces};

use crate::audit::Change;
use crate::{Accounts, Error, Person, Registration, Result, SignedIn, Visit, password};

/// Workspaces that a person may own: enough for an agency, too few for who fills a server.
const MOST_OWNED: usize = 100;

impl Accounts {
    /// Makes a person and their first workspace, and signs them in; a mail asks them to verify the address. `EMAIL_TAKEN` when the
    /// address has an account, `REGISTRATION_CLOSED` where strangers may not register.
    pub async fn register(&self, new: Registration, visit: &Visit) -> Result<SignedIn> {
        let name = text::required("name", &new.name, 100)?;
        let email = text::email("email", &new.email)?;
        password::check("password", &new.password, &email)?;
        let workspace = match &new.workspace {
            Some(workspace) => text::required("workspaceName", workspace, 100)?,
            None => name.clone(),
        };
        let hash = self.0.passwords.hash(&self.0.ambient, new.password).await?;
        let now = self.0.ambient.now();
        let user = User::new(self.0.ambient.new_id(), name, email, now);
        let user = User { language: visit.language, ..user };
        let mut tx = self.0.db.write().await?;
        self.admit_stranger(&mut tx).await?;
        users::insert(&mut tx, &user, &hash).await.map_err(taken)?;
        let membership = self.found(&mut tx, user.id, &workspace).await?;
        self.send_link(&mut tx, membership.workspace.id, &user, LinkPurpose::Verify, visit).await?;
        let signed_in = self.begin(&mut tx, user, membership, visit).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Makes a further workspace, owned by the person.
    pub async fn create_workspace(
        &self,
        by: &Person,
        name: &str,
        visit: &Visit,
    ) -> Result<Membership> {
        let user = by.user;
        let name = text::required("name", name, 100)?;
        let mut tx = self.0.db.write().await?;
        let places = storage::members::of_user(&mut tx, user).await?;
        let owned = places.iter().filter(|place| place.role == Role::Owner).count();
        if owned >= MOST_OWNED {
            let message = format!("a person may own {MOST_OWNED} workspaces; delete one first");
            return Err(DomainError::conflict("TOO_MANY_WORKSPACES", message).into());
        }
        let membership = self.found(&mut tx, user, &name).await?;
        let id = membership.workspace.id;
        let change = Change::new("workspace.created", id).to(json!({"name": name}));
        let there = Person { workspace: id, role: Role::Owner, ..*by };
        self.note(&mut tx, &there, visit, change).await?;
        tx.commit().await?;
        Ok(membership)
    }

    /// Refused where strangers may not register, but for the first person of the installation.
    pub(crate) async fn admit_stranger(&self, tx: &mut Tx) -> Result<()> {
        if self.0.registration == WhoMayRegister::Closed && !users::none_yet(tx).await? {
            return Err(closed().into());
        }
        Ok(())
    }

    /// A workspace with everything that it is born with, owned by the person.
    pub(crate) async fn found(&self, tx: &mut Tx, user: UserId, name: &str) -> Result<Membership> {
        let born = workspaces::create(tx, &self.0.ambient, name).await?;
        let now = self.0.ambient.now();
        storage::members::insert(tx, born.workspace.id, user, Role::Owner, now).await?;
        Ok(Membership { workspace: born.workspace, role: Role::Owner })
    }
}

fn closed() -> DomainError {
    let message = "strangers may not register here; ask a member of a workspace to invite you";
    DomainError::new(ErrorKind::Forbidden, "REGISTRATION_CLOSED", message)
}

pub(crate) fn taken(error: StorageError) -> Error {
    match error {
        StorageError::Conflict(_) => {
            let message = "`email` has an account already; sign in, or use another address";
            DomainError::conflict("EMAIL_TAKEN", message).at("email").into()
        }
        other => other.into(),
    }
}
