//! Asking people into a workspace by mail.

use std::time::Duration;

use domain::user::{Invitation, InvitationStatus, Membership, User};
use domain::{
    Actor, DomainError, ErrorKind, InvitationId, Lang, Role, SessionId, UserId, WorkspaceId, text,
};
use secrecy::SecretString;
use serde_json::json;
use storage::users::SignIn;
use storage::{StorageError, Tx, invitations, members, sessions, users, workspaces};

use crate::audit::Change;
use crate::mail::{Errand, LinkToken};
use crate::registration::taken;
use crate::{Accounts, Error, Person, Result, SignedIn, Visit, password, token};

/// How long an invitation works.
const LASTS: Duration = Duration::from_hours(7 * 24);
/// Open invitations of a workspace.
const MOST_OPEN: usize = 200;

/// Who is asked, to be what.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// Their address.
    pub email: String,
    /// What they will be.
    pub role: Role,
}

/// An invitation, as it is shown to those who manage the workspace.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The invitation.
    pub invitation: Invitation,
    /// Where it stands.
    pub status: InvitationStatus,
    /// Its link, where no mail is sent that would carry it.
    pub link: Option<String>,
}

/// An invitation, as it is shown to whom it asks.
#[derive(Debug, Clone)]
pub struct OpenInvitation {
    /// The workspace's name.
    pub workspace: String,
    /// The name of who asks; `None` where their account is gone.
    pub invited_by: Option<String>,
    /// The invitation.
    pub invitation: Invitation,
    /// Whether the address has an account.
    pub has_account: bool,
}

/// How somebody joins.
#[derive(Debug)]
pub enum Joining {
    /// As who they are signed in.
    As(UserId, SessionId),
    /// With the password of their account, or with a new account when they have none.
    With {
        /// Of a new account.
        name: Option<String>,
        /// Of the account that there is, or of the new one.
        password: Option<SecretString>,
    },
}

impl Accounts {
    /// Asks somebody into the workspace. `ALREADY_MEMBER`, `ALREADY_INVITED`; nobody gives more than they are.
    pub async fn invite(&self, by: &Person, new: NewInvitation, visit: &Visit) -> Result<Invited> {
        let email = text::email("email", &new.email)?;
        not_above(by, new.role)?;
        self.0.mails.begin(&email, visit.address)?;
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        self.refuse_known(&mut tx, by.workspace, &email).await?;
        let inviter = users::get(&mut tx, by.user).await?;
        let invitation = Invitation {
            id: self.0.ambient.new_id(),
            workspace_id: by.workspace,
            email,
            role: new.role,
            invited_by: Some(by.user),
            language: self.language_of(inviter.and_then(|user| user.language), visit),
            sent: 1,
            created_at: now,
            expires_at: now.plus(LASTS),
            accepted_at: None,
            revoked_at: None,
        };
        let token = self.new_token(invitation.id, 1)?;
        let stored = invitations::insert(&mut tx, by.workspace, &invitation, &token.hash()).await;
        stored.map_err(|error| match error {
            StorageError::Conflict(_) => already_invited().into(),
            other => Error::from(other),
        })?;
        let errand = Errand::Invitation { id: invitation.id, sent: 1 };
        self.post(&mut tx, by.workspace, errand).await?;
        let after = json!({"email": invitation.email, "role": invitation.role.name()});
        let change = Change::new("invitation.created", invitation.id).to(after);
        self.note(&mut tx, by, visit, change).await?;
        tx.commit().await?;
        self.shown(invitation)
    }

    /// Who was asked and has not answered, oldest first.
    pub async fn invitations(&self, workspace: WorkspaceId) -> Result<Vec<Invited>> {
        let mut conn = self.0.db.read().await?;
        let open = invitations::list_open(&mut conn, workspace).await?;
        open.into_iter().map(|invitation| self.shown(invitation)).collect()
    }

    /// Sends an invitation once more, for another week; the link before holds no longer.
    pub async fn resend_invitation(
        &self,
        by: &Person,
        id: InvitationId,
        visit: &Visit,
    ) -> Result<Invited> {
        let mut tx = self.0.db.write().await?;
        let found = invitations::get(&mut tx, by.workspace, id).await?.ok_or_else(absent)?;
        not_above(by, found.role)?;
        self.0.mails.begin(&found.email, visit.address)?;
        let now = self.0.ambient.now();
        match found.status(now) {
            InvitationStatus::Pending | InvitationStatus::Expired => {}
            over => return Err(no_longer(over).into()),
        }
        let (sent, expires_at) = (found.sent + 1, now.plus(LASTS));
        let hash = self.new_token(id, sent)?.hash();
        let (workspace, before) = (by.workspace, found.sent);
        if !invitations::resend(&mut tx, workspace, id, before, &hash, expires_at).await? {
            let message = "the invitation was changed meanwhile; look at it again";
            return Err(DomainError::conflict("CONFLICT", message).into());
        }
        self.post(&mut tx, workspace, Errand::Invitation { id, sent }).await?;
        let after = json!({"email": found.email, "sent": sent});
        self.note(&mut tx, by, visit, Change::new("invitation.resent", id).to(after)).await?;
        tx.commit().await?;
        self.shown(Invitation { sent, expires_at, ..found })
    }

    /// Takes an invitation back: its link holds no longer.
    pub async fn revoke_invitation(
        &self,
        by: &Person,
        id: InvitationId,
        visit: &Visit,
    ) -> Result<()> {
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        let found = invitations::get(&mut tx, by.workspace, id).await?.ok_or_else(absent)?;
        if !invitations::revoke(&mut tx, by.workspace, id, now).await? {
            return Err(no_longer(found.status(now)).into());
        }
        let before = json!({"email": found.email, "role": found.role.name()});
        self.note(&mut tx, by, visit, Change::new("invitation.revoked", id).from(before)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What a token asks to. 404 for no invitation; 409 `INVITATION_ACCEPTED`, `INVITATION_REVOKED`, `INVITATION_EXPIRED`.
    pub async fn invitation(&self, token: &str) -> Result<OpenInvitation> {
        let mut conn = self.0.db.read().await?;
        let invitation = self.pending(&mut conn, token).await?;
        let workspace = workspaces::get(&mut conn, invitation.workspace_id).await?;
        let workspace = workspace.ok_or_else(absent)?.name;
        let invited_by = match invitation.invited_by {
            Some(user) => users::get(&mut conn, user).await?.map(|user| user.name),
            None => None,
        };
        let has_account = users::by_email(&mut conn, &invitation.email).await?.is_some();
        Ok(OpenInvitation { workspace, invited_by, invitation, has_account })
    }

    /// What the mail of an invitation was written in, also where the invitation is over; `None` for no invitation.
    pub async fn language_of_invitation(&self, token: &str) -> Result<Option<Lang>> {
        let Some(token) = LinkToken::parse(token) else { return Ok(None) };
        let mut conn = self.0.db.read().await?;
        let found = invitations::by_hash(&mut conn, &token.hash()).await?;
        Ok(found.map(|invitation| invitation.language))
    }

    /// Joins the workspace and signs in there. Errors as of [`Self::invitation`]; 409 `INVITATION_OF_ANOTHER` for who is signed in
    /// with another address; 400 naming what is missing of a new account.
    pub async fn accept(&self, token: &str, joining: Joining, visit: &Visit) -> Result<SignedIn> {
        let invitation = self.pending(&mut self.0.db.read().await?, token).await?;
        match joining {
            Joining::As(user, session) => {
                self.join_signed_in(invitation, user, session, visit).await
            }
            Joining::With { name, password } => {
                let mut conn = self.0.db.read().await?;
                let known = users::by_email(&mut conn, &invitation.email).await?;
                drop(conn);
                match known {
                    Some(known) => self.join_known(invitation, known, password, visit).await,
                    None => self.join_new(invitation, name, password, visit).await,
                }
            }
        }
    }

    async fn join_signed_in(
        &self,
        invitation: Invitation,
        user: UserId,
        session: SessionId,
        visit: &Visit,
    ) -> Result<SignedIn> {
        let mut tx = self.0.db.write().await?;
        let found = users::get(&mut tx, user).await?;
        let user = found.ok_or_else(|| DomainError::not_found("user"))?;
        if user.email != invitation.email {
            let message = "the invitation is for another address; sign in with that one, or sign out and accept it";
            return Err(DomainError::conflict("INVITATION_OF_ANOTHER", message).into());
        }
        let (user, membership) = self.join(&mut tx, &invitation, user).await?;
        let by = Actor::User { id: user.id, session };
        self.note_as(&mut tx, invitation.workspace_id, by, visit, accepted(&invitation)).await?;
        let (next, hash) = token::new_refresh(&self.0.ambient);
        sessions::give_token(&mut tx, session, &hash, self.0.ambient.now()).await?;
        self.hand_out(tx, user, session, membership, next).await
    }

    async fn join_known(
        &self,
        invitation: Invitation,
        known: SignIn,
        password: Option<SecretString>,
        visit: &Visit,
    ) -> Result<SignedIn> {
        let password = password.ok_or_else(|| {
            let message = "`password` of the account that the address has is needed; or sign in and accept as that person";
            DomainError::invalid("password", message)
        })?;
        self.0.guesses.begin(&invitation.email, visit.address)?;
        if !self.0.passwords.is(Some(known.password_hash), password).await? {
            return Err(Error::refused("WRONG_CREDENTIALS", "e-mail address or password is wrong"));
        }
        self.0.guesses.was_right(&invitation.email, visit.address);
        if known.user.second_factor_since.is_some() {
            let message = "the account asks for a second factor; sign in and accept as that person";
            return Err(Error::refused("SECOND_FACTOR_REQUIRED", message));
        }
        let mut tx = self.0.db.write().await?;
        let (user, membership) = self.join(&mut tx, &invitation, known.user).await?;
        let signed_in = self.begin(&mut tx, user, membership, visit).await?;
        let by = Actor::User { id: signed_in.user.id, session: signed_in.session };
        self.note_as(&mut tx, invitation.workspace_id, by, visit, accepted(&invitation)).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    async fn join_new(
        &self,
        invitation: Invitation,
        name: Option<String>,
        password: Option<SecretString>,
        visit: &Visit,
    ) -> Result<SignedIn> {
        let name = text::required("name", name.as_deref().unwrap_or_default(), 100)?;
        let password = password.unwrap_or_default();
        password::check("password", &password, &invitation.email)?;
        let hash = self.0.passwords.hash(&self.0.ambient, password).await?;
        let now = self.0.ambient.now();
        let user = User::new(self.0.ambient.new_id(), name, invitation.email.clone(), now);
        let language = visit.language.or(Some(invitation.language));
        let user = User { language, ..user };
        let mut tx = self.0.db.write().await?;
        users::insert(&mut tx, &user, &hash).await.map_err(taken)?;
        let (user, membership) = self.join(&mut tx, &invitation, user).await?;
        let signed_in = self.begin(&mut tx, user, membership, visit).await?;
        let by = Actor::User { id: signed_in.user.id, session: signed_in.session };
        self.note_as(&mut tx, invitation.workspace_id, by, visit, accepted(&invitation)).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Makes a person the member that an invitation asks for, and uses it up.
    async fn join(
        &self,
        tx: &mut Tx,
        invitation: &Invitation,
        mut user: User,
    ) -> Result<(User, Membership)> {
        let (now, workspace) = (self.0.ambient.now(), invitation.workspace_id);
        if !invitations::accept(tx, workspace, invitation.id, now).await? {
            let found = invitations::get(tx, workspace, invitation.id).await?.ok_or_else(absent)?;
            return Err(no_longer(found.status(now)).into());
        }
        if members::get(tx, workspace, user.id).await?.is_some() {
            return Err(already_member().into());
        }
        members::insert(tx, workspace, user.id, invitation.role, now).await?;
        if self.sends_mail() {
            // The mail reached them.
            users::verify(tx, user.id, &user.email, now).await?;
            user.email_verified_at = user.email_verified_at.or(Some(now));
        }
        let found = workspaces::get(tx, workspace).await?.ok_or_else(absent)?;
        Ok((user, Membership { workspace: found, role: invitation.role }))
    }

    async fn pending(&self, conn: &mut storage::Conn, token: &str) -> Result<Invitation> {
        let hash = LinkToken::parse(token).ok_or_else(absent)?.hash();
        let found = invitations::by_hash(conn, &hash).await?.ok_or_else(absent)?;
        match found.status(self.0.ambient.now()) {
            InvitationStatus::Pending => Ok(found),
            over => Err(no_longer(over).into()),
        }
    }

    async fn refuse_known(&self, tx: &mut Tx, workspace: WorkspaceId, email: &str) -> Result<()> {
        if let Some(known) = users::by_email(tx, email).await?
            && members::get(tx, workspace, known.user.id).await?.is_some()
        {
            return Err(already_member().into());
        }
        let now = self.0.ambient.now();
        let open = invitations::list_open(tx, workspace).await?;
        if open.len() >= MOST_OPEN {
            let message = format!("{MOST_OPEN} invitations are open; take some back first");
            return Err(DomainError::conflict("TOO_MANY_INVITATIONS", message).into());
        }
        let Some(found) = open.iter().find(|invitation| invitation.email == email) else {
            return Ok(());
        };
        if found.status(now) == InvitationStatus::Pending {
            return Err(already_invited().into());
        }
        invitations::revoke(tx, workspace, found.id, now).await?;
        Ok(())
    }

    fn new_token(&self, id: InvitationId, sent: i64) -> Result<LinkToken> {
        let token = self.0.tokens.of_invitation(id, sent).into_iter().next();
        token.ok_or_else(|| Error::internal("the vault has no key"))
    }

    fn shown(&self, invitation: Invitation) -> Result<Invited> {
        let status = invitation.status(self.0.ambient.now());
        let link = if self.sends_mail() || status != InvitationStatus::Pending {
            None
        } else {
            let token = self.new_token(invitation.id, invitation.sent)?;
            Some(self.0.mailer.address("invitations", &token))
        };
        Ok(Invited { invitation, status, link })
    }
}

fn accepted(invitation: &Invitation) -> Change {
    let after = json!({"email": invitation.email, "role": invitation.role.name()});
    Change::new("invitation.accepted", invitation.id).to(after)
}

/// Nobody gives a role above their own.
fn not_above(by: &Person, role: Role) -> Result<()> {
    if role <= by.role {
        return Ok(());
    }
    let message = format!("a member who is {} cannot invite somebody as {role}", by.role);
    Err(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into())
}

fn absent() -> DomainError {
    DomainError::not_found("invitation")
}

fn already_member() -> DomainError {
    let message = "the person is a member of the workspace already";
    DomainError::conflict("ALREADY_MEMBER", message)
}

fn already_invited() -> DomainError {
    let message = "the address is invited already; send that invitation again, or take it back";
    DomainError::conflict("ALREADY_INVITED", message).at("email")
}

fn no_longer(status: InvitationStatus) -> DomainError {
    let (code, message) = match status {
        InvitationStatus::Accepted => {
            ("INVITATION_ACCEPTED", "the invitation was accepted already; sign in")
        }
        InvitationStatus::Revoked => {
            ("INVITATION_REVOKED", "the invitation was taken back; ask for another")
        }
        InvitationStatus::Expired => {
            ("INVITATION_EXPIRED", "the invitation has expired; ask for another")
        }
        InvitationStatus::Pending => {
            ("CONFLICT", "the invitation was changed meanwhile; look at it again")
        }
    };
    DomainError::conflict(code, message)
}
