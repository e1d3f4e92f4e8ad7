//! Visitors of a site: tokens that say who they are to the installation, and a site's word for who they are to it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ProjectId, Timestamp, Vault, VisitorId, WorkspaceId};
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ring::{Kind, Ring};

/// How long a visitor who does not come back is known.
pub const VISITOR_TOKEN: Duration = Duration::from_hours(180 * 24);

const KIND: Kind = Kind {
    typ: "visitor+jwt",
    audience: "vocero-widget",
    purpose: "visitor tokens of the widget",
    lasts: VISITOR_TOKEN,
};

/// Signs visitors' tokens with the first key of the vault and reads those of any.
#[derive(Debug)]
pub struct VisitorTokens(Ring);

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    ws: WorkspaceId,
    prj: ProjectId,
    /// The version of the site's secret that vouched for them; 0 where nobody did.
    idv: i64,
}

/// Who a visitor is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorTicket {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The site.
    pub project: ProjectId,
    /// The visitor.
    pub visitor: VisitorId,
    /// The version of the site's secret that vouched for them; `None` where nobody did.
    pub identity: Option<i64>,
}

impl VisitorTokens {
    /// By keys of their own, made from those of the vault.
    pub fn new(vault: &Vault) -> Self {
        Self(Ring::new(KIND, vault))
    }

    /// A token, good for [`VISITOR_TOKEN`] from `now` on.
    pub fn sign(&self, ticket: &VisitorTicket, now: Timestamp) -> Result<String> {
        let claims = Claims {
            sub: ticket.visitor.as_str().to_owned(),
            ws: ticket.workspace,
            prj: ticket.project,
            idv: ticket.identity.unwrap_or(0),
        };
        self.0.sign(claims, now)
    }

    /// What a token says that was signed here and holds at `now`.
    pub fn read(&self, token: &str, now: Timestamp) -> Option<VisitorTicket> {
        let claims: Claims = self.0.read(token, now)?;
        let visitor = VisitorId::parse(&claims.sub)?;
        let identity = (claims.idv > 0).then_some(claims.idv);
        Some(VisitorTicket { workspace: claims.ws, project: claims.prj, visitor, identity })
    }
}

/// Whether `hash` is the HMAC-SHA256 of `user_id` by `secret`, in hexadecimal. Compared in constant time.
pub fn is_vouched_for(secret: &SecretString, user_id: &str, hash: &str) -> bool {
    let Ok(code) = hex::decode(hash) else { return false };
    let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
    let code = URL_SAFE_NO_PAD.encode(code);
    jsonwebtoken::crypto::verify(&code, user_id.as_bytes(), &key, Algorithm::HS256).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use domain::Ambient;

    use super::*;

    const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn tokens(keys: &str) -> VisitorTokens {
        VisitorTokens::new(&Vault::parse(keys).unwrap())
    }

    fn ticket(ambient: &Ambient) -> VisitorTicket {
        VisitorTicket {
            workspace: ambient.new_id(),
            project: ambient.new_id(),
            visitor: VisitorId::parse("visitor_1").unwrap(),
            identity: Some(2),
        }
    }

    #[test]
    fn a_token_holds_for_half_a_year() {
        let ambient = Ambient::system();
        let (tokens, ticket, now) = (tokens(KEY), ticket(&ambient), ambient.now());
        let token = tokens.sign(&ticket, now).unwrap();
        assert_eq!(tokens.read(&token, now).as_ref(), Some(&ticket));
        let last = now.plus(VISITOR_TOKEN.saturating_sub(Duration::from_secs(1)));
        assert_eq!(tokens.read(&token, last), Some(ticket));
        assert_eq!(tokens.read(&token, now.plus(VISITOR_TOKEN)), None);
        assert_eq!(tokens.read(&token, now.minus(Duration::from_mins(1))), None);
    }

    #[test]
    fn every_key_of_the_ring_is_believed_and_nothing_else() {
        let ambient = Ambient::system();
        let (ticket, now) = (ticket(&ambient), ambient.now());
        let token = tokens(KEY).sign(&ticket, now).unwrap();
        assert_eq!(tokens(&format!("{OTHER}\n{KEY}")).read(&token, now), Some(ticket));
        assert_eq!(tokens(OTHER).read(&token, now), None);
        let (head, _) = token.rsplit_once('.').unwrap();
        let body = head.split_once('.').unwrap().1;
        let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"visitor+jwt"}"#);
        let panel = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"at+jwt"}"#);
        for garbage in [
            String::new(),
            "..".to_owned(),
            format!("{head}."),
            format!("{unsigned}.{body}."),
            format!("{panel}.{body}.x"),
        ] {
            assert_eq!(tokens(KEY).read(&garbage, now), None, "{garbage}");
        }
    }

    #[test]
    fn a_site_vouches_for_its_users_one_by_one() {
        let secret = SecretString::from("key");
        // RFC-like known answer: HMAC_SHA256("key", "The quick brown fox jumps over the lazy dog").
        let text = "The quick brown fox jumps over the lazy dog";
        let hash = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert!(is_vouched_for(&secret, text, hash));
        assert!(is_vouched_for(&secret, text, &hash.to_uppercase()));
        for (user, hash) in [("other", hash), (text, ""), (text, "zz"), (text, &hash[..62])] {
            assert!(!is_vouched_for(&secret, user, hash), "{user} {hash}");
        }
        assert!(!is_vouched_for(&SecretString::from("kez"), text, hash));
    }
}
