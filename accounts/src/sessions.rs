//! Signing in and out: sessions and their tokens.

use domain::user::{Membership, Session, User};
use domain::{Actor, DomainError, SessionId, UserId, WorkspaceId, text};
use secrecy::SecretString;
use serde_json::json;
use storage::{Tx, sessions, users};

use crate::audit::Change;
use crate::token::{self, Ticket};
use crate::{Accounts, Error, Person, Result, SignIn, SignedIn, Visit};

impl Accounts {
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

    /// Where a person is signed in, newest first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        let now = self.0.ambient.now();
        Ok(sessions::list(&mut self.0.db.read().await?, user, now).await?)
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

    /// Where a person was last, else their oldest workspace, else a new one: who was removed from the last one can still sign in.
    pub(crate) async fn place_of(
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
    pub(crate) async fn begin(
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
    pub(crate) async fn hand_out(
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
