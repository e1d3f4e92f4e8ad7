//! Tokens: JWTs that open the panel for minutes, and opaque ones that renew them.

use std::time::Duration;

use domain::{Ambient, SessionId, Timestamp, UserId, Vault, WorkspaceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::ring::{Kind, Ring};

/// How long an access token is good for.
pub(crate) const ACCESS: Duration = Duration::from_mins(15);
/// How long a session lasts without being renewed.
pub(crate) const SESSION: Duration = Duration::from_hours(30 * 24);

/// RFC 9068.
const KIND: Kind = Kind {
    typ: "at+jwt",
    audience: "vocero-panel",
    purpose: "access tokens of the panel",
    lasts: ACCESS,
};

/// Signs access tokens and reads them.
#[derive(Debug)]
pub(crate) struct Signer(Ring);

/// What an access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    #[serde(rename = "sub")]
    pub(crate) user: UserId,
    #[serde(rename = "sid")]
    pub(crate) session: SessionId,
    #[serde(rename = "ws")]
    pub(crate) workspace: WorkspaceId,
}

impl Signer {
    pub(crate) fn new(vault: &Vault) -> Self {
        Self(Ring::new(KIND, vault))
    }

    /// An access token.
    pub(crate) fn sign(&self, ticket: Ticket, now: Timestamp) -> Result<String> {
        self.0.sign(ticket, now)
    }

    /// What a token says that was signed here and holds at `now`.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Option<Ticket> {
        self.0.read(token, now)
    }
}

/// A refresh token, `vr_` and 64 hexadecimal digits, and what is kept of it.
pub(crate) fn new_refresh(ambient: &Ambient) -> (String, [u8; 32]) {
    let token = format!("vr_{}", hex::encode(ambient.random_bytes::<32>()));
    let hash = Sha256::digest(token.as_bytes()).into();
    (token, hash)
}

/// What is kept of a refresh token; `None` when it cannot be one.
pub(crate) fn refresh_hash(token: &str) -> Option<[u8; 32]> {
    let digits = token.strip_prefix("vr_")?;
    let fits = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use domain::ids::PrefixedId;
    use jsonwebtoken::{Algorithm, Header};
    use serde_json::{Value, json};

    use super::*;
    use crate::ring::{ISSUER, seconds};

    const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn signer(keys: &str) -> Signer {
        Signer::new(&Vault::parse(keys).unwrap())
    }

    fn ticket(ambient: &Ambient) -> Ticket {
        Ticket { user: ambient.new_id(), session: ambient.new_id(), workspace: ambient.new_id() }
    }

    #[test]
    fn a_token_holds_from_when_it_was_made_for_a_quarter_of_an_hour() {
        let ambient = Ambient::system();
        let (signer, ticket, now) = (signer(KEY), ticket(&ambient), ambient.now());
        let token = signer.sign(ticket, now).unwrap();
        assert_eq!(signer.read(&token, now), Some(ticket));
        assert_eq!(signer.read(&token, now.plus(Duration::from_secs(14 * 60 + 59))), Some(ticket));
        assert_eq!(signer.read(&token, now.plus(ACCESS)), None);
        assert_eq!(signer.read(&token, now.minus(Duration::from_mins(1))), None);
    }

    #[test]
    fn every_key_of_the_ring_is_believed_and_no_other() {
        let ambient = Ambient::system();
        let (ticket, now) = (ticket(&ambient), ambient.now());
        let token = signer(KEY).sign(ticket, now).unwrap();
        assert_eq!(signer(&format!("{OTHER}\n{KEY}")).read(&token, now), Some(ticket));
        assert_eq!(signer(OTHER).read(&token, now), None);
    }

    /// Signed with the right key, but with something else in it.
    fn forged(change: impl Fn(&mut Header, &mut Value)) -> String {
        let ambient = Ambient::system();
        let signer = signer(KEY);
        let key = signer.0.newest();
        let now = seconds(ambient.now());
        let mut header = Header::new(Algorithm::HS256);
        (header.typ, header.kid) = (Some(KIND.typ.to_owned()), Some(key.id.clone()));
        let mut claims = json!({
            "iss": ISSUER, "aud": KIND.audience, "sub": ambient.new_id::<UserId>(), "sid": ambient.new_id::<SessionId>(),
            "ws": WorkspaceId::from_uuid(ambient.new_uuid()), "iat": now, "nbf": now, "exp": now + 60,
        });
        change(&mut header, &mut claims);
        jsonwebtoken::encode(&header, &claims, &key.signs).unwrap()
    }

    #[test]
    fn another_kind_of_token_is_none_although_it_is_signed() {
        let now = Ambient::system().now();
        let holds = |token: String| signer(KEY).read(&token, now).is_some();
        assert!(holds(forged(|_, _| {})));
        assert!(!holds(forged(|header, _| header.typ = Some("JWT".to_owned()))));
        assert!(!holds(forged(|header, _| header.typ = None)));
        assert!(!holds(forged(|header, _| header.kid = None)));
        assert!(!holds(forged(|header, _| header.alg = Algorithm::HS512)));
        for (claim, value) in [
            ("iss", json!("other")),
            ("aud", json!("vocero-widget")),
            ("exp", json!(0)),
            ("nbf", json!(4_000_000_000_i64)),
            ("sub", json!("agent_00000000000000000000000000000007")),
            ("exp", Value::Null),
        ] {
            let token = forged(|_, claims| claims[claim] = value.clone());
            assert!(!holds(token), "{claim} {value}");
        }
        let unsigned = forged(|_, _| {});
        let (head, _) = unsigned.rsplit_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
        let body = head.split_once('.').unwrap().1;
        for garbage in
            [format!("{head}."), format!("{none}.{body}."), String::new(), "..".to_owned()]
        {
            assert!(!holds(garbage.clone()), "{garbage}");
        }
    }

    #[test]
    fn a_refresh_token_has_one_spelling() {
        let (token, hash) = new_refresh(&Ambient::system());
        assert_eq!(refresh_hash(&token), Some(hash));
        assert_eq!(refresh_hash(&token.replace("vr_", "vk_")), None);
        assert_eq!(refresh_hash(&token[..66]), None);
    }
}
