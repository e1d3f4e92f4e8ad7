//! API keys: shown once, stored as a hash with a visible prefix.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::principal::Scopes;
use crate::{Ambient, ApiKeyId, Role, Timestamp, UserId, WorkspaceId};

/// What is stored of an API key; never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The workspace that it acts in.
    pub workspace_id: WorkspaceId,
    /// Given by a person.
    pub name: String,
    /// The first characters of the key, to tell keys apart.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The person who made it; `None` for keys of the command line and those older than people.
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key that was found by its secret, and what it opens now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// The key.
    pub key: ApiKey,
    /// What the person who made it is in the workspace today; `None` when they are no member any more.
    pub maker: Option<Role>,
}

impl FoundKey {
    /// What the key may do at most: what its maker may, and never what is an owner's. `None` when it opens nothing at `now`.
    pub fn role(&self, now: Timestamp) -> Option<Role> {
        let role = match self.key.created_by {
            Some(_) => self.maker?.min(Role::Admin),
            None => Role::Admin,
        };
        self.key.is_active(now).then_some(role)
    }
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

/// The key itself: `vk_` and 64 hexadecimal digits (256 random bits).
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// What every key begins with.
    pub const PREFIX: &str = "vk_";

    /// A new key.
    pub fn generate(ambient: &Ambient) -> Self {
        Self(format!("vk_{}", hex::encode(ambient.random_bytes::<32>())))
    }

    /// Reads what a caller sent; `None` when it cannot be a key.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("vk_")?;
        let fits = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_owned()))
    }

    /// What is shown of it in lists: `vk_` and 8 digits.
    pub fn prefix(&self) -> &str {
        &self.0[..11]
    }

    /// SHA-256 of the key. A fast hash is right here: 256 random bits cannot be guessed from it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The key, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeySecret({}…)", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_never_prints_whole() {
        let key = ApiKeySecret::generate(&Ambient::system());
        assert_eq!(ApiKeySecret::parse(key.expose()), Some(key.clone()));
        assert!(!format!("{key:?}").contains(key.expose()));
        assert_eq!(ApiKeySecret::parse("vk_short"), None);
        assert_eq!(ApiKeySecret::parse(&key.expose().replace("vk_", "sk_")), None);
    }
}
