//! Verifying an address and choosing another password, by links that are sent by mail.

use std::time::Duration;

use domain::user::{Link, LinkPurpose, User};
use domain::{Actor, DomainError, Lang, UserId, WorkspaceId};
use secrecy::SecretString;
use storage::{Tx, links, members, sessions, users};

use crate::audit::Change;
use crate::mail::{Errand, LinkToken};
use crate::{Accounts, Error, Person, Result, Visit, password};

/// How long a link works.
const VERIFY: Duration = Duration::from_hours(7 * 24);
const RESET: Duration = Duration::from_hours(1);
/// How long it is remembered after that: one that comes late is told so.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);

impl Accounts {
    /// Notes that the address which the link was sent to is the person's. 404 for no link, 409 `LINK_USED` or `LINK_EXPIRED`.
    pub async fn verify(&self, token: &str, visit: &Visit) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let link = self.take(&mut tx, LinkPurpose::Verify, token).await?;
        let now = self.0.ambient.now();
        if !users::verify(&mut tx, link.user_id, &link.email, now).await? {
            let message = "the address of the account is another one by now";
            return Err(DomainError::conflict("LINK_EXPIRED", message).into());
        }
        links::end(&mut tx, link.user_id, LinkPurpose::Verify, now).await?;
        self.note_everywhere(&mut tx, "email.verified", link.user_id, visit).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes what becomes of an account, by somebody who is not signed in, down in each workspace of the person.
    async fn note_everywhere(
        &self,
        tx: &mut Tx,
        action: &'static str,
        user: UserId,
        visit: &Visit,
    ) -> Result<()> {
        for place in members::of_user(tx, user).await? {
            let change = Change::new(action, user);
            self.note_as(tx, place.workspace.id, Actor::System, visit, change).await?;
        }
        Ok(())
    }

    /// What a link is for and whom it was sent to, for the page that it opens. 404 for no link, 409 `LINK_USED` or `LINK_EXPIRED`; nothing is
    /// changed by it.
    pub async fn link(&self, purpose: LinkPurpose, token: &str) -> Result<Link> {
        let mut conn = self.0.db.read().await?;
        self.find(&mut conn, purpose, token).await
    }

    /// What the mail of a link was written in, also where the link is over; `None` for no link.
    pub async fn language_of_link(
        &self,
        purpose: LinkPurpose,
        token: &str,
    ) -> Result<Option<Lang>> {
        let Some(token) = LinkToken::parse(token) else { return Ok(None) };
        let mut conn = self.0.db.read().await?;
        let found = links::by_hash(&mut conn, purpose, &token.hash()).await?;
        Ok(found.map(|link| link.language))
    }

    /// Sends the link once more. 409 `EMAIL_VERIFIED` when there is nothing to verify.
    pub async fn resend_verification(&self, person: &Person, visit: &Visit) -> Result<()> {
        let (user, _) = self.me(person.user).await?;
        if user.email_verified_at.is_some() {
            let message = "the address is verified already";
            return Err(DomainError::conflict("EMAIL_VERIFIED", message).into());
        }
        self.0.mails.begin(&user.email, visit.address)?;
        let mut tx = self.0.db.write().await?;
        self.send_link(&mut tx, person.workspace, &user, LinkPurpose::Verify, visit).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sends a link to choose another password, when the address has an account; nobody is told whether it has.
    pub async fn forgot_password(&self, email: &str, visit: &Visit) -> Result<()> {
        let email = domain::text::email("email", email)?;
        self.0.mails.begin(&email, visit.address)?;
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        // Both ways write, so that neither takes notably longer.
        links::delete_older(&mut tx, now.minus(REMEMBERED)).await?;
        if let Some(found) = users::by_email(&mut tx, &email).await? {
            let place = self.place_of(&mut tx, &found.user, None).await?;
            let workspace = place.workspace.id;
            self.send_link(&mut tx, workspace, &found.user, LinkPurpose::Reset, visit).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Puts another password in the place of the forgotten one and ends every session. 404 for no link, 409 `LINK_USED` or `LINK_EXPIRED`;
    /// a password that is not accepted leaves the link as it is.
    pub async fn reset_password(
        &self,
        token: &str,
        new: SecretString,
        visit: &Visit,
    ) -> Result<()> {
        let now = self.0.ambient.now();
        let link = self.link(LinkPurpose::Reset, token).await?;
        password::check("newPassword", &new, &link.email)?;
        let hash = self.0.passwords.hash(&self.0.ambient, new).await?;
        let mut tx = self.0.db.write().await?;
        let link = self.take(&mut tx, LinkPurpose::Reset, token).await?;
        let known = users::by_email(&mut tx, &link.email).await?;
        let known = known.filter(|known| known.user.id == link.user_id).ok_or_else(absent)?;
        users::set_password(&mut tx, link.user_id, &known.password_hash, &hash, now).await?;
        if self.sends_mail() {
            // It reached them.
            users::verify(&mut tx, link.user_id, &link.email, now).await?;
        }
        links::end(&mut tx, link.user_id, LinkPurpose::Reset, now).await?;
        let ended = sessions::revoke_others(&mut tx, link.user_id, None, now).await?;
        self.note_everywhere(&mut tx, "password.reset", link.user_id, visit).await?;
        tx.commit().await?;
        self.0.guesses.forgive(&link.email);
        self.forget(ended);
        Ok(())
    }

    /// Stores a link and wants the mail with it.
    pub(crate) async fn send_link(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        user: &User,
        purpose: LinkPurpose,
        visit: &Visit,
    ) -> Result<()> {
        let now = self.0.ambient.now();
        let link = Link {
            id: self.0.ambient.new_id(),
            user_id: user.id,
            purpose,
            email: user.email.clone(),
            language: self.language_of(user.language, visit),
            created_at: now,
            expires_at: now.plus(match purpose {
                LinkPurpose::Verify => VERIFY,
                LinkPurpose::Reset => RESET,
            }),
            used_at: None,
        };
        let token = self.0.tokens.of_link(link.id).into_iter().next();
        let token = token.ok_or_else(|| Error::internal("the vault has no key"))?;
        links::insert(tx, &link, &token.hash()).await?;
        self.post(tx, workspace, Errand::Link { id: link.id }).await
    }

    /// Of a mail: what the reader chose, else what the client that asks for it likes, else the product's first.
    #[expect(clippy::unused_self, reason = "one way to ask for it, beside what uses it")]
    pub(crate) fn language_of(&self, chosen: Option<Lang>, visit: &Visit) -> Lang {
        visit.language.or(chosen).unwrap_or_default()
    }

    async fn find(
        &self,
        conn: &mut storage::Conn,
        purpose: LinkPurpose,
        token: &str,
    ) -> Result<Link> {
        let hash = LinkToken::parse(token).ok_or_else(absent)?.hash();
        let link = links::by_hash(conn, purpose, &hash).await?.ok_or_else(absent)?;
        if link.used_at.is_some() {
            let message = "the link was used already, or a later one was; ask for another";
            return Err(DomainError::conflict("LINK_USED", message).into());
        }
        if self.0.ambient.now() >= link.expires_at {
            let message = "the link has expired; ask for another";
            return Err(DomainError::conflict("LINK_EXPIRED", message).into());
        }
        Ok(link)
    }

    async fn take(&self, tx: &mut Tx, purpose: LinkPurpose, token: &str) -> Result<Link> {
        let link = self.find(tx, purpose, token).await?;
        if !links::take(tx, link.id, self.0.ambient.now()).await? {
            let message = "the link was used already; ask for another";
            return Err(DomainError::conflict("LINK_USED", message).into());
        }
        Ok(link)
    }
}

fn absent() -> DomainError {
    DomainError::not_found("link")
}
