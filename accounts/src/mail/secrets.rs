//! The tokens of links: made from the vault's keys and an id whenever they are needed, so that no table and no job holds one.

use std::fmt;

use domain::{InvitationId, LinkId, Vault};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

/// The token of a link: 64 hexadecimal digits (256 bits).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LinkToken(String);

impl LinkToken {
    /// Reads what somebody sent; `None` when it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_ascii_lowercase()))
    }

    /// What is kept of it: SHA-256.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The token.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken(…)")
    }
}

/// Makes tokens.
#[derive(Debug)]
pub(crate) struct LinkTokens(Vault);

impl LinkTokens {
    pub(crate) fn new(vault: &Vault) -> Self {
        Self(vault.clone())
    }

    /// The token of an invitation's mail, by each key of the ring: the first is that of a new one.
    pub(crate) fn of_invitation(&self, id: InvitationId, sent: i64) -> Vec<LinkToken> {
        self.made(&format!("the token of the mail {sent} of {id}"))
    }

    /// Likewise the token of a link.
    pub(crate) fn of_link(&self, id: LinkId) -> Vec<LinkToken> {
        self.made(&format!("the token of {id}"))
    }

    fn made(&self, purpose: &str) -> Vec<LinkToken> {
        let keys = self.0.derive(purpose).into_iter();
        keys.map(|key| LinkToken(hex::encode(key.bytes.expose_secret()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::Ambient;

    use super::*;

    #[test]
    fn each_mail_has_a_token_of_its_own_that_only_the_keys_tell() {
        let ambient = Ambient::system();
        let tokens = LinkTokens::new(&Vault::parse(&"1".repeat(64)).unwrap());
        let (one, other): (InvitationId, InvitationId) = (ambient.new_id(), ambient.new_id());
        let first = &tokens.of_invitation(one, 1)[0];
        assert_eq!(&tokens.of_invitation(one, 1)[0], first);
        assert_ne!(&tokens.of_invitation(one, 2)[0], first);
        assert_ne!(&tokens.of_invitation(other, 1)[0], first);
        assert_eq!(LinkToken::parse(first.expose()).as_ref(), Some(first));
        assert!(!format!("{first:?}").contains(first.expose()));
        let ring = format!("{}\n{}", "2".repeat(64), "1".repeat(64));
        let turned = LinkTokens::new(&Vault::parse(&ring).unwrap());
        assert!(turned.of_invitation(one, 1).contains(first), "of an older key");
        assert!(LinkToken::parse("x").is_none());
    }
}
