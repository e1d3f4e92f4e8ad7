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
mod registration;
mod ring;
mod second_factor;
mod sessions;
mod token;
mod visitor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::settings::{Registration as WhoMayRegister, Settings};
use domain::user::{LinkPurpose, Member, Membership, User};
use domain::{Ambient, DomainError, ErrorKind, Lang, Role, SessionId, UserId, Vault, WorkspaceId};
use moka::sync::Cache;
use secrecy::SecretString;
use storage::{Db, StorageError, users};

pub use invitations::{Invited, Joining, NewInvitation, OpenInvitation};
pub use mail::role_name;
pub use oidc::Departure;
pub use password::LENGTH as PASSWORD_LENGTH;
pub use second_factor::{NewSecondFactor, Proof, SignIn};

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
        let ended =
            storage::sessions::revoke_others(&mut tx, user.id, Some(person.session), now).await?;
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
        let session = storage::sessions::get(&mut conn, ticket.session).await?;
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
        let session = storage::sessions::get(&mut self.0.db.read().await?, ticket.session).await?;
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
}

impl Ticket {
    fn member(self, workspace: WorkspaceId, role: Role) -> Standing {
        Standing::Member(Person { user: self.user, session: self.session, workspace, role })
    }
}
