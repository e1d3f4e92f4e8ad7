//! Tokens that are signed with keys made from the vault's, each kind with keys, a type and an audience of its own: none
//! passes as another.

use std::time::Duration;

use domain::vault::DerivedKey;
use domain::{Timestamp, Vault};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Who signs.
pub(crate) const ISSUER: &str = "vocero";

/// A kind of token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Its `typ`.
    pub(crate) typ: &'static str,
    /// Its `aud`.
    pub(crate) audience: &'static str,
    /// What its keys are made for.
    pub(crate) purpose: &'static str,
    /// How long it is good for.
    pub(crate) lasts: Duration,
}

/// Signs tokens of a kind with the first key of the vault and reads those of any.
pub(crate) struct Ring {
    kind: Kind,
    keys: Vec<Key>,
}

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) signs: EncodingKey,
    verifies: DecodingKey,
}

/// What every token says, beside what its kind does.
#[derive(Serialize, Deserialize)]
struct Claims<T> {
    iss: String,
    aud: String,
    #[serde(flatten)]
    own: T,
    /// Seconds since the epoch, as the next two.
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Ring").field("kind", &self.kind).field("keys", &ids).finish()
    }
}

impl Ring {
    pub(crate) fn new(kind: Kind, vault: &Vault) -> Self {
        Self { kind, keys: vault.derive(kind.purpose).into_iter().map(Key::new).collect() }
    }

    /// A token, good from `now` on.
    pub(crate) fn sign<T: Serialize>(&self, own: T, now: Timestamp) -> Result<String> {
        let key = self.keys.first().ok_or_else(|| Error::internal("the vault has no key"))?;
        let header = Header {
            typ: Some(self.kind.typ.to_owned()),
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        let seconds = seconds(now);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.kind.audience.to_owned(),
            own,
            iat: seconds,
            nbf: seconds,
            exp: seconds + self.kind.lasts.as_secs().cast_signed(),
        };
        jsonwebtoken::encode(&header, &claims, &key.signs)
            .map_err(|error| Error::internal(format!("a token {}: {error}", self.kind.typ)))
    }

    /// What a token of the kind says that was signed here and holds at `now`.
    pub(crate) fn read<T: DeserializeOwned>(&self, token: &str, now: Timestamp) -> Option<T> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(self.kind.typ) {
            return None;
        }
        let id = header.kid?;
        let key = self.keys.iter().find(|key| key.id == id)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[self.kind.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        // By the installation's own clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims<T>>(token, &key.verifies, &validation);
        let claims = claims.ok()?.claims;
        let now = seconds(now);
        // Another process of the installation may be a few seconds ahead.
        let holds = claims.nbf <= now + 5 && now < claims.exp;
        holds.then_some(claims.own)
    }

    /// The key that signs.
    #[cfg(test)]
    pub(crate) fn newest(&self) -> &Key {
        &self.keys[0]
    }
}

impl Key {
    fn new(key: DerivedKey) -> Self {
        let secret = key.bytes.expose_secret();
        Self {
            id: key.id,
            signs: EncodingKey::from_secret(secret),
            verifies: DecodingKey::from_secret(secret),
        }
    }
}

pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}
