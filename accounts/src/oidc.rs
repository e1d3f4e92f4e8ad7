//! Signing in with an account elsewhere: `OpenID` Connect, authorization code with PKCE, state and nonce.
//!
//! Nonce and verifier are made from the vault's key and the state, so that the state is all that is kept, and of it the hash.

use std::sync::Arc;
use std::time::Duration;

use domain::settings::{OidcSettings, Settings};
use domain::user::User;
use domain::{DomainError, ErrorKind, Vault, text};
use moka::sync::Cache;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdTokenClaims, CoreProviderMetadata,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, TokenResponse,
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use storage::{Tx, identities, sessions, users};

use crate::second_factor::SignIn;
use crate::{Accounts, Error, Result, Visit};

/// How long somebody may be on the way.
const ON_THE_WAY: Duration = Duration::from_mins(10);
/// How long what the provider says of itself is believed.
const BELIEVED_FOR: Duration = Duration::from_mins(10);
/// For one answer of the provider.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of one.
const MOST_BYTES: usize = 1024 * 1024;
/// No password has this hash: who comes from elsewhere has none until they choose one.
const NO_PASSWORD: &str = "none";

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The provider of the settings.
pub(crate) struct Oidc {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    http: reqwest::Client,
    known: Cache<(), Arc<CoreProviderMetadata>>,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Where a browser is sent, and what it brings back.
#[derive(Debug, Clone)]
pub struct Departure {
    /// The provider's page.
    pub url: String,
    /// To be kept by the browser: who comes back without it did not leave from there.
    pub state: String,
}

/// What an answer of the provider failed at.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is not understood")]
    Malformed,
    #[error("the answer has more than {MOST_BYTES} bytes")]
    TooLarge,
}

impl Oidc {
    /// `None` where no provider is set. An error names the setting that is wrong.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, DomainError> {
        let OidcSettings { issuer, client_id, client_secret } = &settings.oidc;
        let (Some(issuer), Some(client_id)) = (issuer, client_id) else { return Ok(None) };
        let redirect = format!("{}/v1/auth/oidc/callback", settings.server.public_base());
        let redirect = RedirectUrl::new(redirect).map_err(|_| {
            DomainError::invalid("server.public_url", "`server.public_url` is no address")
        })?;
        // As it was written: it must be the very text that tokens are issued with.
        let issuer = IssuerUrl::new(issuer.clone())
            .map_err(|_| DomainError::invalid("oidc.issuer", "`oidc.issuer` is no address"))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the provider is the operator's choice, not a user's, and may be in the house"
        )]
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build();
        let http = http.map_err(|error| {
            DomainError::new(ErrorKind::Internal, "INTERNAL", error.to_string())
        })?;
        let secret = client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        Ok(Some(Self {
            issuer,
            client_id: ClientId::new(client_id.clone()),
            client_secret: secret.map(ClientSecret::new),
            redirect,
            http,
            known: Cache::builder().max_capacity(1).time_to_live(BELIEVED_FOR).build(),
        }))
    }

    async fn client(&self) -> Result<Client> {
        let known = if let Some(known) = self.known.get(&()) {
            known
        } else {
            let call = |request| call(self.http.clone(), request);
            let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &call).await;
            let found = Arc::new(found.map_err(|error| unavailable(&error))?);
            self.known.insert((), found.clone());
            found
        };
        let (id, secret) = (self.client_id.clone(), self.client_secret.clone());
        let client = CoreClient::from_provider_metadata((*known).clone(), id, secret);
        Ok(client.set_redirect_uri(self.redirect.clone()))
    }

    /// What the provider vouches for, of whom it sent back with this code.
    async fn claims(&self, code: String, made: &Made) -> Result<CoreIdTokenClaims> {
        let client = self.client().await?;
        let call = |request| call(self.http.clone(), request);
        let exchange = client.exchange_code(AuthorizationCode::new(code));
        let exchange = exchange.map_err(|error| unavailable(&error))?;
        let verifier = PkceCodeVerifier::new(made.verifier.clone());
        let answer = exchange.set_pkce_verifier(verifier).request_async(&call).await;
        let answer = answer.map_err(|error| refused(&error))?;
        let token = answer.id_token().ok_or_else(|| refused(&Unreachable::Malformed))?;
        let nonce = Nonce::new(made.nonce.clone());
        let claims = token.claims(&client.id_token_verifier(), &nonce);
        // Its keys may be other ones by now: the next sign-in asks for them.
        claims.cloned().map_err(|error| {
            self.known.invalidate_all();
            refused(&error)
        })
    }
}

/// What belongs to a state.
struct Made {
    nonce: String,
    verifier: String,
}

impl Made {
    fn of(vault: &Vault, state: &str) -> Result<Self> {
        let derive = |what: &str| {
            let keys = vault.derive(&format!("the {what} of {state}"));
            let key = keys.first().map(|key| hex::encode(key.bytes.expose_secret()));
            key.ok_or_else(|| Error::internal("the vault has no key"))
        };
        Ok(Self { nonce: derive("nonce")?, verifier: derive("verifier")? })
    }
}

impl Accounts {
    /// Sends somebody to the provider.
    pub async fn depart(&self, visit: &Visit) -> Result<Departure> {
        let oidc = self.0.oidc.as_ref().ok_or_else(not_configured)?;
        let client = oidc.client().await?;
        let state = hex::encode(self.0.ambient.random_bytes::<32>());
        let made = Made::of(&self.0.vault, &state)?;
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(made.verifier));
        let (kept, nonce) = (state.clone(), made.nonce);
        let (url, _, _) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(kept),
                move || Nonce::new(nonce),
            )
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let now = self.0.ambient.now();
        let language = visit.language.unwrap_or_default();
        let mut tx = self.0.db.write().await?;
        let until = now.plus(ON_THE_WAY);
        identities::insert_request(&mut tx, &hash_of(&state), language, now, until).await?;
        tx.commit().await?;
        Ok(Departure { url: url.into(), state })
    }

    /// Signs in whom the provider sent back. `kept` is the state that the browser kept. 401 `SIGN_IN_FAILED` when anything about it
    /// does not fit; 403 `EMAIL_NOT_VERIFIED` when the provider does not vouch for the address, `REGISTRATION_CLOSED`.
    pub async fn arrive(
        &self,
        state: &str,
        kept: Option<&str>,
        code: String,
        visit: &Visit,
    ) -> Result<SignIn> {
        let oidc = self.0.oidc.as_ref().ok_or_else(not_configured)?;
        let now = self.0.ambient.now();
        let mut tx = self.0.db.write().await?;
        let known = identities::take_request(&mut tx, &hash_of(state), now).await?;
        tx.commit().await?;
        let Some(language) = known.filter(|_| kept == Some(state)) else {
            return Err(failed());
        };
        let made = Made::of(&self.0.vault, state)?;
        let claims = oidc.claims(code, &made).await?;
        let visit = Visit { language: Some(language), ..visit.clone() };
        let mut tx = self.0.db.write().await?;
        let user = self.person_of(&mut tx, &claims).await?;
        self.enter(tx, user, &visit).await
    }

    /// Whom an account elsewhere belongs to: known by it, or by an address that the provider has verified, or new.
    async fn person_of(&self, tx: &mut Tx, claims: &CoreIdTokenClaims) -> Result<User> {
        let (issuer, subject) = (claims.issuer().as_str(), claims.subject().as_str());
        if let Some(known) = identities::user(tx, issuer, subject).await?
            && let Some(user) = users::get(tx, known).await?
        {
            return Ok(user);
        }
        let verified = claims.email_verified().unwrap_or(false);
        let email = claims.email().filter(|_| verified).ok_or_else(unverified)?;
        let email = text::email("email", email.as_str()).map_err(|_| unverified())?;
        let now = self.0.ambient.now();
        let user = match users::by_email(tx, &email).await? {
            Some(found) => self.claim(tx, found).await?,
            None => self.newcomer(tx, claims, email).await?,
        };
        identities::insert(tx, issuer, subject, user.id, now).await?;
        Ok(user)
    }

    /// The account of an address that is now known to be theirs. One whose address nobody had verified may have been made by
    /// somebody else, who must not share it: its password and its sessions end.
    async fn claim(&self, tx: &mut Tx, found: users::SignIn) -> Result<User> {
        let users::SignIn { user, password_hash } = found;
        if user.email_verified_at.is_some() {
            return Ok(user);
        }
        let now = self.0.ambient.now();
        users::set_password(tx, user.id, &password_hash, NO_PASSWORD, now).await?;
        storage::second_factors::remove(tx, user.id).await?;
        let ended = sessions::revoke_others(tx, user.id, None, now).await?;
        users::verify(tx, user.id, &user.email, now).await?;
        self.forget(ended);
        Ok(User { email_verified_at: Some(now), second_factor_since: None, ..user })
    }

    async fn newcomer(
        &self,
        tx: &mut Tx,
        claims: &CoreIdTokenClaims,
        email: String,
    ) -> Result<User> {
        self.admit_stranger(tx).await?;
        let name = claims.name().and_then(|name| name.get(None)).map(|name| name.as_str());
        let name = text::sanitize(name.unwrap_or_default());
        let name: String = name.trim().chars().take(100).collect();
        let of_address = || email.split('@').next().unwrap_or_default().to_owned();
        let name = if name.is_empty() { of_address() } else { name };
        let now = self.0.ambient.now();
        let user = User::new(self.0.ambient.new_id(), name, email, now);
        let user = User { email_verified_at: Some(now), ..user };
        users::insert(tx, &user, NO_PASSWORD).await?;
        self.found(tx, user.id, &user.name).await?;
        Ok(user)
    }
}

/// One request to the provider.
async fn call(
    client: reqwest::Client,
    request: HttpRequest,
) -> std::result::Result<HttpResponse, Unreachable> {
    let mut response = client.execute(reqwest::Request::try_from(request)?).await?;
    let mut answer = openidconnect::http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        answer = answer.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(Unreachable::TooLarge);
        }
    }
    answer.body(body).map_err(|_| Unreachable::Malformed)
}

fn hash_of(state: &str) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Error {
    tracing::warn!(error, "the identity provider cannot be used");
    let message = "the identity provider does not answer as it should; try again later";
    DomainError::unavailable("IDENTITY_PROVIDER_UNAVAILABLE", message, PATIENCE).into()
}

fn refused(error: &(dyn std::error::Error + 'static)) -> Error {
    tracing::warn!(error, "a sign-in with the identity provider failed");
    failed()
}

fn failed() -> Error {
    Error::refused("SIGN_IN_FAILED", "signing in did not work; begin again")
}

fn unverified() -> DomainError {
    let message =
        "the identity provider does not vouch for the e-mail address; verify it there first";
    DomainError::new(ErrorKind::Forbidden, "EMAIL_NOT_VERIFIED", message)
}

fn not_configured() -> DomainError {
    let message =
        "no identity provider is set up; set oidc.issuer (VOCERO_OIDC_ISSUER) and oidc.client_id";
    DomainError::new(ErrorKind::NotFound, "NOT_CONFIGURED", message)
}
