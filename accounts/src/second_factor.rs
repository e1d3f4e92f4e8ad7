//! The second factor: one-time codes of an app (TOTP, RFC 6238), and recovery codes for when it is lost.

use std::time::Duration;

use domain::user::{Membership, User};
use domain::{DomainError, SecretPlace, Timestamp, UserId};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use storage::{Tx, second_factors, sessions, users};
use totp_rs::{Builder, Secret, Totp};

use crate::audit::Change;
use crate::{Accounts, Error, Person, Result, SignedIn, Visit};

/// Whom apps show the codes as.
const ISSUER: &str = "Vocero";
/// Bytes of a secret: 160 bits, as RFC 4226 advises.
const SECRET: usize = 20;
/// Recovery codes, and bytes of one.
const CODES: usize = 10;
const CODE: usize = 8;
/// How long after the right password a code may come, and how many guesses there are.
const CHALLENGE: Duration = Duration::from_mins(5);
const GUESSES: i64 = 5;

/// What an app needs to make codes, shown this once.
#[derive(Debug, Clone)]
pub struct NewSecondFactor {
    /// In base 32, to be typed.
    pub secret: SecretString,
    /// `otpauth://…`, to be shown as a QR code.
    pub uri: SecretString,
}

/// What somebody who is signed in shows once more that they are the person with.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Their password.
    Password(SecretString),
    /// A code of the app, or a recovery code.
    Code(String),
}

/// What became of somebody who signs in.
#[derive(Debug, Clone)]
pub enum SignIn {
    /// They are in.
    Done(Box<SignedIn>),
    /// They owe a code, sent with this challenge.
    Challenge(String),
}

impl Accounts {
    /// Begins to set a second factor up. `SECOND_FACTOR_ON` when there is one; 400 for a wrong password.
    pub async fn set_up_second_factor(
        &self,
        person: &Person,
        password: SecretString,
        visit: &Visit,
    ) -> Result<NewSecondFactor> {
        let user = self.reauthenticate(person, password, visit).await?;
        let secret = Secret::new_stack(self.0.ambient.random_bytes::<SECRET>());
        let text = SecretString::from(secret.to_base32());
        let id = user.id.to_string();
        let sealed = self.0.vault.seal(&self.0.ambient, place(&id), &text);
        let sealed = sealed.map_err(|error| Error::internal(error.to_string()))?;
        let totp = totp(&text, &user.email)?;
        let uri = totp.to_url().map_err(|error| Error::internal(error.to_string()))?;
        let mut tx = self.0.db.write().await?;
        if !second_factors::set_up(&mut tx, user.id, &sealed).await? {
            let message = "there is a second factor already; turn it off before another is set up";
            return Err(DomainError::conflict("SECOND_FACTOR_ON", message).into());
        }
        self.note(&mut tx, person, visit, Change::new("second-factor.begun", user.id)).await?;
        tx.commit().await?;
        Ok(NewSecondFactor { secret: text, uri: uri.into() })
    }

    /// Ends the setting up with a first code; from now on one is asked for. The recovery codes, shown this once.
    pub async fn confirm_second_factor(
        &self,
        person: &Person,
        code: &str,
        visit: &Visit,
    ) -> Result<Vec<String>> {
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        let begun = second_factors::get(&mut tx, person.user).await?;
        let begun = begun.filter(|factor| factor.since.is_none()).ok_or_else(|| {
            let message = "no second factor is being set up; begin with setup";
            DomainError::conflict("CONFLICT", message)
        })?;
        let user = users::get(&mut tx, person.user).await?;
        let user = user.ok_or_else(|| DomainError::not_found("user"))?;
        self.0.codes.begin(&user.email, visit.address)?;
        let step = self.step_of(&user, &begun.sealed, code, now)?.ok_or_else(wrong_code)?;
        self.0.codes.was_right(&user.email, visit.address);
        if !second_factors::confirm(&mut tx, user.id, &begun.sealed, step, now).await? {
            let message = "another second factor was set up meanwhile";
            return Err(DomainError::conflict("CONFLICT", message).into());
        }
        let codes = self.new_recovery_codes(&mut tx, user.id).await?;
        self.note(&mut tx, person, visit, Change::new("second-factor.on", user.id)).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Turns the second factor off: with the password and a code.
    pub async fn remove_second_factor(
        &self,
        person: &Person,
        password: SecretString,
        code: &str,
        visit: &Visit,
    ) -> Result<()> {
        let user = self.reauthenticate(person, password, visit).await?;
        if user.second_factor_since.is_none() {
            return Err(is_off().into());
        }
        self.0.codes.begin(&user.email, visit.address)?;
        let mut tx = self.0.db.write().await?;
        if !self.take_code(&mut tx, &user, code).await? {
            return Err(wrong_code().into());
        }
        self.0.codes.was_right(&user.email, visit.address);
        second_factors::remove(&mut tx, user.id).await?;
        self.note(&mut tx, person, visit, Change::new("second-factor.off", user.id)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Puts new recovery codes, shown this once, in the place of those that there were. `SECOND_FACTOR_OFF` when there is no
    /// second factor; 400 for a wrong password or code.
    pub async fn renew_recovery_codes(
        &self,
        person: &Person,
        proof: Proof,
        visit: &Visit,
    ) -> Result<Vec<String>> {
        let (user, code) = match proof {
            Proof::Password(password) => {
                (self.reauthenticate(person, password, visit).await?, None)
            }
            Proof::Code(code) => (self.me(person.user).await?.0, Some(code)),
        };
        let mut tx = self.0.db.write().await?;
        let factor = second_factors::hold(&mut tx, user.id).await?;
        if factor.is_none_or(|factor| factor.since.is_none()) {
            return Err(is_off().into());
        }
        if let Some(code) = code {
            self.0.codes.begin(&user.email, visit.address)?;
            if !self.take_code(&mut tx, &user, &code).await? {
                return Err(wrong_code().into());
            }
            self.0.codes.was_right(&user.email, visit.address);
        }
        let codes = self.new_recovery_codes(&mut tx, user.id).await?;
        let change = Change::new("second-factor.codes-renewed", user.id);
        self.note(&mut tx, person, visit, change).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Signs in who has given the right password and now a code. 401 `WRONG_CODE`, and `CHALLENGE_OVER` when it took too long or was
    /// guessed at too often: then the password is asked for again.
    pub async fn second_factor(
        &self,
        challenge: &str,
        code: &str,
        visit: &Visit,
    ) -> Result<SignedIn> {
        let over = || {
            let message = "it took too long or too many wrong codes came; sign in again";
            Error::refused("CHALLENGE_OVER", message)
        };
        let now = self.0.ambient.now();
        let hash = hash_of(challenge.trim());
        let mut tx = self.0.db.write().await?;
        let user = second_factors::guess(&mut tx, &hash, GUESSES, now).await?.ok_or_else(over)?;
        // The guess counts, whatever comes of it.
        tx.commit().await?;
        let user = users::get(&mut self.0.db.read().await?, user).await?.ok_or_else(over)?;
        self.0.codes.begin(&user.email, visit.address)?;
        let mut tx = self.0.db.write().await?;
        if !self.take_code(&mut tx, &user, code).await? {
            return Err(Error::refused("WRONG_CODE", "the code is wrong or was used already"));
        }
        if !second_factors::end_challenges(&mut tx, user.id).await? {
            return Err(over());
        }
        self.0.codes.was_right(&user.email, visit.address);
        let membership = self.last_place(&mut tx, &user).await?;
        let signed_in = self.begin(&mut tx, user, membership, visit).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Lets somebody in whose first factor was right, or asks them for the second.
    pub(crate) async fn enter(&self, mut tx: Tx, user: User, visit: &Visit) -> Result<SignIn> {
        if user.second_factor_since.is_none() {
            let membership = self.last_place(&mut tx, &user).await?;
            let signed_in = self.begin(&mut tx, user, membership, visit).await?;
            tx.commit().await?;
            return Ok(SignIn::Done(Box::new(signed_in)));
        }
        let now = self.0.ambient.now();
        let challenge = format!("vc_{}", hex::encode(self.0.ambient.random_bytes::<32>()));
        let (hash, until) = (hash_of(&challenge), now.plus(CHALLENGE));
        second_factors::insert_challenge(&mut tx, &hash, user.id, now, until).await?;
        tx.commit().await?;
        Ok(SignIn::Challenge(challenge))
    }

    async fn last_place(&self, tx: &mut Tx, user: &User) -> Result<Membership> {
        let known = sessions::list(tx, user.id, self.0.ambient.now()).await?;
        let last = known.iter().find_map(|session| session.workspace_id);
        self.place_of(tx, user, last).await
    }

    /// Whether a code is right; it is used up then.
    async fn take_code(&self, tx: &mut Tx, user: &User, code: &str) -> Result<bool> {
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let code = code.to_ascii_lowercase();
        if code.len() == 2 * CODE {
            return Ok(second_factors::take_recovery_code(tx, user.id, &hash_of(&code)).await?);
        }
        let now = self.0.ambient.now();
        let Some(factor) = second_factors::get(tx, user.id).await? else { return Ok(false) };
        let Some(step) = self.step_of(user, &factor.sealed, &code, now)? else { return Ok(false) };
        Ok(second_factors::take_step(tx, user.id, step).await?)
    }

    /// The step whose code this is, among the one at `now` and its neighbours.
    fn step_of(
        &self,
        user: &User,
        sealed: &str,
        code: &str,
        now: Timestamp,
    ) -> Result<Option<i64>> {
        let id = user.id.to_string();
        let secret = self.0.vault.open(place(&id), sealed);
        let secret = secret.map_err(|error| Error::internal(error.to_string()))?;
        let seconds = u64::try_from(now.micros().div_euclid(1_000_000)).unwrap_or(0);
        let code: String = code.chars().filter(char::is_ascii_digit).collect();
        let step = totp(&secret, &user.email)?.check(&code, seconds);
        Ok(step.and_then(|step| i64::try_from(step).ok()))
    }

    async fn new_recovery_codes(&self, tx: &mut Tx, user: UserId) -> Result<Vec<String>> {
        let codes: Vec<String> =
            (0..CODES).map(|_| hex::encode(self.0.ambient.random_bytes::<CODE>())).collect();
        let hashes: Vec<[u8; 32]> = codes.iter().map(|code| hash_of(code)).collect();
        second_factors::put_recovery_codes(tx, user, &hashes).await?;
        Ok(codes.iter().map(|code| format!("{}-{}", &code[..CODE], &code[CODE..])).collect())
    }

    /// The person, who has given their password once more.
    async fn reauthenticate(
        &self,
        person: &Person,
        password: SecretString,
        visit: &Visit,
    ) -> Result<User> {
        let wrong = || DomainError::invalid("password", "`password` is wrong");
        let mut conn = self.0.db.read().await?;
        let user = users::get(&mut conn, person.user).await?.ok_or_else(wrong)?;
        let known = users::by_email(&mut conn, &user.email).await?.ok_or_else(wrong)?;
        drop(conn);
        self.0.guesses.begin(&user.email, visit.address)?;
        if !self.0.passwords.is(Some(known.password_hash), password).await? {
            return Err(wrong().into());
        }
        self.0.guesses.was_right(&user.email, visit.address);
        Ok(user)
    }
}

/// Where the secret of a person's codes is sealed for.
fn place(user: &str) -> SecretPlace<'_> {
    SecretPlace::of_person("users", "second_factor", user)
}

fn totp(secret: &SecretString, email: &str) -> Result<Totp> {
    let secret = Secret::try_from_base32(secret.expose_secret());
    let secret = secret.map_err(|_| Error::internal("the secret of a second factor is none"))?;
    // Six digits, 30 seconds, SHA-1, one step of tolerance: what every app takes.
    let builder = Builder::new().with_secret(secret).with_issuer(Some(ISSUER));
    let totp = builder.with_account_name(email.replace(':', "")).build();
    totp.map_err(|error| Error::internal(format!("a second factor: {error}")))
}

fn hash_of(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn is_off() -> DomainError {
    DomainError::conflict("SECOND_FACTOR_OFF", "there is no second factor")
}

fn wrong_code() -> DomainError {
    DomainError::invalid("code", "`code` is wrong, or was used already")
}
