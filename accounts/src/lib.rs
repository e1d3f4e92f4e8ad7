#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod audit;
mod guesses;
mod invitations;
mod links;
mod mail;
mod members;
mod oidc;
mod password;
mod ring;
mod second_factor;
mod token;
mod visitor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::settings::{Registration as WhoMayRegister, Settings};
use domain::user::{LinkPurpose, Member, Membership, Session, User};
use domain::{
    Actor, Ambient, DomainError, ErrorKind, Lang, Role, SessionId, UserId, Vault, WorkspaceId, text,
};
use moka::sync::Cache;
use secrecy::SecretString;
use serde_json::json;
use storage::{Db, StorageError, Tx, sessions, users, workspaces};

pub use invitations::{Invited, Joining, NewInvitation, OpenInvitation};
pub use mail::role_name;
pub use oidc::Departure;
pub use password::LENGTH as PASSWORD_LENGTH;
pub use second_factor::{NewSecondFactor, SignIn};

use audit::Change;
use guesses::Guesses;
use mail::{LinkTokens, Mailer};
use oidc::Oidc;
use password::Passwords;
use token::{Signer, Ticket};
pub use visitor::{VISITOR_TOKEN, VisitorTicket, VisitorTokens, is_vouched_for};

/// How long it is believed that a session and a membership still are. What ends in this process ends at once, what
/// ends in another one within this time.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
const REMEMBERED: u64 = 10_000;
/// Workspaces that a person may own: enough for an agency, too few for who fills a server.
const MOST_OWNED: usize = 100;

/// The result of what this room does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// To be told to the caller.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Error {
    fn internal(message: impl Into<String>) -> Self {
        Self::Domain(DomainError::new(ErrorKind::Internal, "INTERNAL", message))
    }

    fn refused(code: &'static str, message: &str) -> Self {
        Self::Domain(DomainError::new(ErrorKind::Unauthenticated, code, message))
    }
}

/// People and their sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    db: Db,
    ambient: Ambient,
    signer: Signer,
    passwords: Passwords,
    guesses: Guesses,
    /// Wrong codes of second factors: the right password is no way around them.
    codes: Guesses,
    oidc: Option<Oidc>,
    vault: Vault,
    /// Mails that somebody asked for: nobody fills a mailbox.
    mails: Guesses,
    mailer: Mailer,
    tokens: LinkTokens,
    registration: WhoMayRegister,
    /// What somebody may do in a workspace, as last looked up.
    known: Cache<(SessionId, WorkspaceId), Role>,
    /// Ended here within `BELIEVED_FOR`: wins over `known`, which a look-up under way could fill again.
    ended: Cache<SessionId, ()>,
}

/// Who wants to sign in, and from where.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The client's address.
    pub address: IpAddr,
    /// The client's own name for itself.
    pub user_agent: String,
    /// What the client likes to read.
    pub language: Option<Lang>,
}

/// What somebody registers with.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The person's name, 1 to 100 characters.
    pub name: String,
    /// Their address.
    pub email: String,
    /// 8 to 200 characters.
    pub password: SecretString,
    /// The name of their first workspace; their own by default.
    pub workspace: Option<String>,
}

/// What a person is given when they sign in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Opens the panel.
    pub access: String,
    /// Renews it, once.
    pub refresh: String,
    /// How long `access` is good for.
    pub expires_in: Duration,
    /// The session.
    pub session: SessionId,
    /// Who.
    pub user: User,
    /// Where they act now.
    pub membership: Membership,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// Signed in where.
    pub session: SessionId,
    /// The workspace that they act in.
    pub workspace: WorkspaceId,
    /// What they may do there.
    pub role: Role,
}

/// What an access token opens in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does not hold, or its session has ended.
    Nobody,
    /// The person is no member there.
    Stranger,
    /// The person may act there.
    Member(Person),
}

impl Accounts {
    /// From the database, the vault, whose keys sign, and the settings. An error names the setting that is wrong.
    pub fn new(
        db: Db,
        ambient: Ambient,
        vault: &Vault,
        settings: &Settings,
    ) -> Result<Self, DomainError> {
        let kept = |time| Cache::builder().max_capacity(REMEMBERED).time_to_live(time);
        Ok(Self(Arc::new(Parts {
            db,
            ambient,
            signer: Signer::new(vault),
            passwords: Passwords::new(),
            guesses: Guesses::of_passwords(),
            codes: Guesses::of_codes(),
            oidc: Oidc::new(settings)?,
            vault: vault.clone(),
            mails: Guesses::of_mails(),
            mailer: Mailer::new(settings)?,
            tokens: LinkTokens::new(vault),
            registration: settings.accounts.registration,
            known: Cache::builder().max_capacity(REMEMBERED).time_to_live(BELIEVED_FOR).build(),
            ended: kept(BELIEVED_FOR * 2).build(),
        })))
    }

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
        if self.0.registration == WhoMayRegister::Closed && users::any(&mut tx).await? {
            return Err(closed().into());
        }
        users::insert(&mut tx, &user, &hash).await.map_err(taken)?;
        let membership = self.found(&mut tx, user.id, &workspace).await?;
        self.send_link(&mut tx, membership.workspace.id, &user, LinkPurpose::Verify, visit).await?;
        let signed_in = self.begin(&mut tx, user, membership, visit).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Signs a person in, in the workspace that they were in last, or asks for their second factor. The same error for an unknown
    /// address and a wrong password.
    pub async fn log_in(
        &self,
        email: &str,
        password: SecretString,
        visit: &Visit,
    ) -> Result<SignIn> {
        let email = email.trim().to_lowercase();
        self.0.guesses.begin(&email, visit.address)?;
        let found = users::by_email(&mut self.0.db.read().await?, &email).await?;
        let (user, hash) = found.map(|found| (found.user, found.password_hash)).unzip();
        let right = self.0.passwords.is(hash, password).await?;
        let Some(user) = user.filter(|_| right) else {
            return Err(Error::refused("WRONG_CREDENTIALS", "e-mail address or password is wrong"));
        };
        self.0.guesses.was_right(&email, visit.address);
        self.enter(self.0.db.write().await?, user, visit).await
    }

    /// Gives new tokens for a refresh token, which is used up. One that comes a second time ends its session.
    pub async fn refresh(&self, refresh: &str) -> Result<SignedIn> {
        let gone = || Error::refused("SESSION_ENDED", "the session has ended; sign in again");
        let hash = token::refresh_hash(refresh).ok_or_else(gone)?;
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        let found = sessions::by_refresh_token(&mut tx, &hash).await?.ok_or_else(gone)?;
        let session = found.session;
        let (next, next_hash) = token::new_refresh(&self.0.ambient);
        let holds = session.is_active(now) && found.used_at.is_none();
        let expires_at = now.plus(token::SESSION);
        let renewed = holds
            && sessions::renew(&mut tx, session.id, &hash, &next_hash, now, expires_at).await?;
        if !renewed {
            if sessions::revoke(&mut tx, session.user_id, session.id, now).await? {
                tracing::warn!(session = %session.id, "a refresh token came twice; its session is ended");
            }
            tx.commit().await?;
            self.0.ended.insert(session.id, ());
            return Err(gone());
        }
        let user = users::get(&mut tx, session.user_id).await?.ok_or_else(gone)?;
        let membership = self.place_of(&mut tx, &user, session.workspace_id).await?;
        self.hand_out(tx, user, session.id, membership, next).await
    }

    /// Ends the session.
    pub async fn log_out(&self, person: &Person, visit: &Visit) -> Result<()> {
        self.end_session(person, person.session, visit).await.map(drop)
    }

    /// Ends one of a person's sessions; `false` when it is not theirs or has ended.
    pub async fn end_session(
        &self,
        person: &Person,
        session: SessionId,
        visit: &Visit,
    ) -> Result<bool> {
        let mut tx = self.0.db.write().await?;
        let ended = sessions::revoke(&mut tx, person.user, session, self.0.ambient.now()).await?;
        if ended {
            let change = Change::new("session.ended", session);
            self.note(&mut tx, person, visit, change).await?;
        }
        tx.commit().await?;
        if ended {
            self.0.ended.insert(session, ());
        }
        Ok(ended)
    }

    /// Ends every session of a person.
    pub async fn log_out_everywhere(&self, person: &Person, visit: &Visit) -> Result<()> {
        let (user, now) = (person.user, self.0.ambient.now());
        let mut tx = self.0.db.write().await?;
        let ended = sessions::revoke_others(&mut tx, user, None, now).await?;
        let change = Change::new("sessions.ended", user).to(json!({"sessions": ended.len()}));
        self.note(&mut tx, person, visit, change).await?;
        tx.commit().await?;
        self.forget(ended);
        Ok(())
    }

    /// Puts `new` in the place of a person's password and ends their other sessions.
    pub async fn change_password(
        &self,
        person: &Person,
        current: SecretString,
        new: SecretString,
        visit: &Visit,
    ) -> Result<()> {
        let address = visit.address;
        let wrong = || DomainError::invalid("currentPassword", "`currentPassword` is wrong");
        let mut conn = self.0.db.read().await?;
        let user = users::get(&mut conn, person.user).await?.ok_or_else(wrong)?;
        let known = users::by_email(&mut conn, &user.email).await?.ok_or_else(wrong)?;
        drop(conn);
        password::check("newPassword", &new, &user.email)?;
        self.0.guesses.begin(&user.email, address)?;
        if !self.0.passwords.is(Some(known.password_hash.clone()), current).await? {
            return Err(wrong().into());
        }
        self.0.guesses.was_right(&user.email, address);
        let hash = self.0.passwords.hash(&self.0.ambient, new).await?;
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        if !users::set_password(&mut tx, user.id, &known.password_hash, &hash, now).await? {
            let message = "the password was changed meanwhile; sign in with the new one";
            return Err(DomainError::conflict("CONFLICT", message).into());
        }
        storage::links::end(&mut tx, user.id, LinkPurpose::Reset, now).await?;
        let ended = sessions::revoke_others(&mut tx, user.id, Some(person.session), now).await?;
        self.note(&mut tx, person, visit, Change::new("password.changed", user.id)).await?;
        tx.commit().await?;
        self.forget(ended);
        Ok(())
    }

    /// The person and the workspaces that they are a member of, oldest first.
    pub async fn me(&self, user: UserId) -> Result<(User, Vec<Membership>)> {
        let mut conn = self.0.db.read().await?;
        let found = users::get(&mut conn, user).await?;
        let user = found.ok_or_else(|| DomainError::not_found("user"))?;
        let places = storage::members::of_user(&mut conn, user.id).await?;
        Ok((user, places))
    }

    /// Where a person is signed in, newest first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        let now = self.0.ambient.now();
        Ok(sessions::list(&mut self.0.db.read().await?, user, now).await?)
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

    /// Signs a person in in another of their workspaces, in the same session, for which they get a new pair of tokens.
    pub async fn switch(&self, person: &Person, workspace: WorkspaceId) -> Result<SignedIn> {
        let (user, places) = self.me(person.user).await?;
        let membership = places.into_iter().find(|place| place.workspace.id == workspace);
        let membership = membership.ok_or_else(|| DomainError::not_found("workspace"))?;
        let now = self.0.ambient.now();
        let (next, hash) = token::new_refresh(&self.0.ambient);
        let mut tx = self.0.db.write().await?;
        sessions::give_token(&mut tx, person.session, &hash, now).await?;
        self.hand_out(tx, user, person.session, membership, next).await
    }

    /// Who comes with this access token, in `wanted` or else in the workspace that it names.
    pub async fn standing(&self, access: &str, wanted: Option<WorkspaceId>) -> Result<Standing> {
        let now = self.0.ambient.now();
        let Some(ticket) = self.0.signer.read(access, now) else { return Ok(Standing::Nobody) };
        if self.0.ended.contains_key(&ticket.session) {
            return Ok(Standing::Nobody);
        }
        let workspace = wanted.unwrap_or(ticket.workspace);
        let known = self.0.known.get(&(ticket.session, workspace));
        if let Some(role) = known {
            return Ok(ticket.member(workspace, role));
        }
        let mut conn = self.0.db.read().await?;
        let session = sessions::get(&mut conn, ticket.session).await?;
        let active =
            session.is_some_and(|session| session.user_id == ticket.user && session.is_active(now));
        if !active {
            return Ok(Standing::Nobody);
        }
        let member = storage::members::get(&mut conn, workspace, ticket.user).await?;
        let Some(Member { role, .. }) = member else { return Ok(Standing::Stranger) };
        self.0.known.insert((ticket.session, workspace), role);
        // What ended meanwhile stays ended.
        let ended = self.0.ended.contains_key(&ticket.session);
        Ok(if ended { Standing::Nobody } else { ticket.member(workspace, role) })
    }

    /// Whose access token this is, wherever they are a member; `None` when it does not hold or its session has ended.
    pub async fn bearer(&self, access: &str) -> Result<Option<(UserId, SessionId)>> {
        let now = self.0.ambient.now();
        let Some(ticket) = self.0.signer.read(access, now) else { return Ok(None) };
        let session = sessions::get(&mut self.0.db.read().await?, ticket.session).await?;
        let active =
            session.is_some_and(|session| session.user_id == ticket.user && session.is_active(now));
        Ok(active.then_some((ticket.user, ticket.session)))
    }

    /// What members may do was changed by this process, all at once.
    pub fn forget_members(&self) {
        self.0.known.invalidate_all();
    }

    fn forget(&self, ended: Vec<SessionId>) {
        for session in ended {
            self.0.ended.insert(session, ());
        }
    }

    /// A workspace with everything that it is born with, owned by the person.
    async fn found(&self, tx: &mut Tx, user: UserId, name: &str) -> Result<Membership> {
        let born = workspaces::create(tx, &self.0.ambient, name).await?;
        let now = self.0.ambient.now();
        storage::members::insert(tx, born.workspace.id, user, Role::Owner, now).await?;
        Ok(Membership { workspace: born.workspace, role: Role::Owner })
    }

    /// Where a person was last, else their oldest workspace, else a new one: who was removed from the last one can still sign in.
    async fn place_of(
        &self,
        tx: &mut Tx,
        user: &User,
        last: Option<WorkspaceId>,
    ) -> Result<Membership> {
        let places = storage::members::of_user(tx, user.id).await?;
        let place = places.iter().find(|place| Some(place.workspace.id) == last);
        match place.or(places.first()) {
            Some(place) => Ok(place.clone()),
            None => self.found(tx, user.id, &user.name).await,
        }
    }

    /// A new session and its tokens.
    async fn begin(
        &self,
        tx: &mut Tx,
        user: User,
        membership: Membership,
        visit: &Visit,
    ) -> Result<SignedIn> {
        let now = self.0.ambient.now();
        let session = Session {
            id: self.0.ambient.new_id(),
            user_id: user.id,
            workspace_id: Some(membership.workspace.id),
            user_agent: text::sanitize(&visit.user_agent).chars().take(200).collect(),
            created_at: now,
            used_at: now,
            expires_at: now.plus(token::SESSION),
            revoked_at: None,
        };
        let (refresh, hash) = token::new_refresh(&self.0.ambient);
        sessions::insert(tx, &session, &hash).await?;
        let actor = Actor::User { id: user.id, session: session.id };
        let change = Change::new("session.begun", session.id).to(json!({"email": user.email}));
        self.note_as(tx, membership.workspace.id, actor, visit, change).await?;
        self.tokens(user, session.id, membership, refresh)
    }

    /// The tokens of a session that goes on in a workspace.
    async fn hand_out(
        &self,
        mut tx: Tx,
        user: User,
        session: SessionId,
        membership: Membership,
        refresh: String,
    ) -> Result<SignedIn> {
        sessions::enter(&mut tx, session, membership.workspace.id).await?;
        tx.commit().await?;
        self.tokens(user, session, membership, refresh)
    }

    fn tokens(
        &self,
        user: User,
        session: SessionId,
        membership: Membership,
        refresh: String,
    ) -> Result<SignedIn> {
        let ticket = Ticket { user: user.id, session, workspace: membership.workspace.id };
        let access = self.0.signer.sign(ticket, self.0.ambient.now())?;
        Ok(SignedIn { access, refresh, expires_in: token::ACCESS, session, user, membership })
    }
}

impl Ticket {
    fn member(self, workspace: WorkspaceId, role: Role) -> Standing {
        Standing::Member(Person { user: self.user, session: self.session, workspace, role })
    }
}

fn closed() -> DomainError {
    let message = "strangers may not register here; ask a member of a workspace to invite you";
    DomainError::new(ErrorKind::Forbidden, "REGISTRATION_CLOSED", message)
}

fn taken(error: StorageError) -> Error {
    match error {
        StorageError::Conflict(_) => {
            let message = "`email` has an account already; sign in, or use another address";
            DomainError::conflict("EMAIL_TAKEN", message).at("email").into()
        }
        other => other.into(),
    }
}
