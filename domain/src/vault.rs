//! Secrets at rest: sealed with XChaCha20-Poly1305, bound to the place that they are stored in.
//!
//! A sealed secret reads `v1:<key>:<nonce>:<ciphertext>`, the last two in hexadecimal. `<key>` names the key by
//! the beginning of its SHA-256. Workspace, table, column and row are authenticated with it: a sealed secret
//! that is copied to another row, or to another tenant's, does not open.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};

use crate::ids::PrefixedId;
use crate::{Ambient, WorkspaceId};

const VERSION: &str = "v1";
/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a nonce: long enough to be drawn at random.
const NONCE: usize = 24;

/// The keys of an installation: the first one seals, all of them open. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<[VaultKey]>,
}

struct VaultKey {
    id: String,
    cipher: XChaCha20Poly1305,
    /// What keys for other purposes are made from.
    root: SecretBox<[u8; KEY]>,
}

/// A key made from one of the vault's for one purpose; of it nothing can be learnt about that one.
#[derive(Debug, Clone)]
pub struct DerivedKey {
    /// The name of the vault's key.
    pub id: String,
    /// 256 bits.
    pub bytes: Arc<SecretBox<[u8; KEY]>>,
}

/// Where a secret is stored.
#[derive(Debug, Clone, Copy)]
pub struct SecretPlace<'a> {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

/// Why a vault or a secret does not open. Says nothing of either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no key.
    #[error("there is no key; give one of 64 hexadecimal digits")]
    Empty,
    /// A line is no key.
    #[error("line {0} is not a key of 64 hexadecimal digits")]
    NotAKey(usize),
    /// The key that sealed it is not on the ring.
    #[error("the secret was sealed with the key {0}, which is not on the ring; add it back")]
    UnknownKey(String),
    /// It was changed, or belongs elsewhere.
    #[error("the secret does not open; set it again")]
    Sealed,
}

impl Vault {
    /// From keys, one on a line as 64 hexadecimal digits, the one that seals first. Empty lines and those that begin with
    /// `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut bytes = [0; KEY];
            hex::decode_to_slice(line, &mut bytes).map_err(|_| VaultError::NotAKey(number))?;
            keys.push(VaultKey::new(&bytes));
        }
        if keys.is_empty() {
            return Err(VaultError::Empty);
        }
        Ok(Self { keys: keys.into() })
    }

    /// A new key, as [`Self::parse`] reads it.
    pub fn new_key(ambient: &Ambient) -> SecretString {
        hex::encode(ambient.random_bytes::<KEY>()).into()
    }

    /// Seals a secret with the first key.
    pub fn seal(
        &self,
        ambient: &Ambient,
        place: SecretPlace<'_>,
        secret: &SecretString,
    ) -> Result<String, VaultError> {
        let key = self.keys.first().ok_or(VaultError::Empty)?;
        let nonce = ambient.random_bytes::<NONCE>();
        let aad = place.authenticated();
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: aad.as_bytes() };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| VaultError::Sealed)?;
        Ok(format!("{VERSION}:{}:{}:{}", key.id, hex::encode(nonce), hex::encode(sealed)))
    }

    /// Opens what was sealed for that place, with whichever key it was.
    pub fn open(&self, place: SecretPlace<'_>, sealed: &str) -> Result<SecretString, VaultError> {
        let parts: Vec<&str> = sealed.split(':').collect();
        let [VERSION, id, nonce, text] = parts[..] else { return Err(VaultError::Sealed) };
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| VaultError::UnknownKey(id.to_owned()))?;
        let mut nonce_bytes = [0; NONCE];
        hex::decode_to_slice(nonce, &mut nonce_bytes).map_err(|_| VaultError::Sealed)?;
        let sealed = hex::decode(text).map_err(|_| VaultError::Sealed)?;
        let aad = place.authenticated();
        let payload = Payload { msg: &sealed, aad: aad.as_bytes() };
        let opened = key.cipher.decrypt(&XNonce::from(nonce_bytes), payload);
        let opened = opened.map_err(|_| VaultError::Sealed)?;
        String::from_utf8(opened).map(SecretString::from).map_err(|_| VaultError::Sealed)
    }

    /// A key for `purpose` from each key of the ring, in their order: the first signs, all of them verify.
    pub fn derive(&self, purpose: &str) -> Vec<DerivedKey> {
        let derived = |key: &VaultKey| {
            // The key comes first and has a fixed length, so nothing can be appended to what is hashed.
            let digest = Sha256::new().chain_update(key.root.expose_secret()).chain_update(purpose);
            let bytes = Arc::new(SecretBox::new(Box::new(digest.finalize().into())));
            DerivedKey { id: key.id.clone(), bytes }
        };
        self.keys.iter().map(derived).collect()
    }

    /// Whether a secret was sealed with the key that seals now.
    pub fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.split(':').nth(1);
        self.keys.first().is_some_and(|key| Some(key.id.as_str()) == id)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Vault").field("keys", &ids).finish()
    }
}

impl VaultKey {
    fn new(bytes: &[u8; KEY]) -> Self {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        Self {
            id: hex::encode(&digest[..4]),
            cipher: XChaCha20Poly1305::new(bytes.into()),
            root: SecretBox::new(Box::new(*bytes)),
        }
    }
}

impl<'a> SecretPlace<'a> {
    /// The place of a secret that belongs to a person, who is of no workspace; `row` is their id.
    pub fn of_person(table: &'a str, column: &'a str, row: &'a str) -> Self {
        Self { workspace: WorkspaceId::from_uuid(uuid::Uuid::nil()), table, column, row }
    }

    /// No part may hold a NUL, so different places never read the same.
    fn authenticated(&self) -> String {
        format!("{}\0{}\0{}\0{}", self.workspace, self.table, self.column, self.row)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn workspace(number: u128) -> WorkspaceId {
        WorkspaceId::from_uuid(Uuid::from_u128(number))
    }

    fn place(row: &str) -> SecretPlace<'_> {
        SecretPlace { workspace: workspace(1), table: "providers", column: "api_key", row }
    }

    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let (vault, ambient) = (Vault::parse(ONE).unwrap(), Ambient::system());
        let secret = SecretString::from("sk-planted-ñ");
        let sealed = vault.seal(&ambient, place("prov_1"), &secret).unwrap();
        assert!(sealed.starts_with("v1:") && !sealed.contains("planted"));
        assert_eq!(vault.open(place("prov_1"), &sealed).unwrap().expose_secret(), "sk-planted-ñ");
        let again = vault.seal(&ambient, place("prov_1"), &secret).unwrap();
        assert_ne!(sealed, again, "each has a nonce of its own");
        for elsewhere in [
            place("prov_2"),
            SecretPlace { workspace: workspace(2), ..place("prov_1") },
            SecretPlace { table: "tools", ..place("prov_1") },
            SecretPlace { column: "base_url", ..place("prov_1") },
        ] {
            assert_eq!(vault.open(elsewhere, &sealed).unwrap_err(), VaultError::Sealed);
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let vault = Vault::parse(ONE).unwrap();
        let secret = SecretString::from("sk-planted");
        let sealed = vault.seal(&Ambient::system(), place("prov_1"), &secret).unwrap();
        for at in sealed.find(':').unwrap() + 10..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(vault.open(place("prov_1"), &changed).is_err(), "at {at}");
        }
        for garbage in ["", "v1", "v1:::", "v2:a:b:c", "sk-planted", &sealed[..sealed.len() - 1]] {
            assert!(vault.open(place("prov_1"), garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let ambient = Ambient::system();
        let secret = SecretString::from("sk-planted");
        let old = Vault::parse(ONE).unwrap();
        let sealed = old.seal(&ambient, place("prov_1"), &secret).unwrap();
        let ring = Vault::parse(&format!("# new\n{TWO}\n\n{ONE}\n")).unwrap();
        assert_eq!(ring.open(place("prov_1"), &sealed).unwrap().expose_secret(), "sk-planted");
        assert!(!ring.is_current(&sealed));
        let renewed = ring.seal(&ambient, place("prov_1"), &secret).unwrap();
        assert!(ring.is_current(&renewed));
        let refused = old.open(place("prov_1"), &renewed).unwrap_err();
        assert!(matches!(refused, VaultError::UnknownKey(_)), "{refused}");
    }

    #[test]
    fn a_ring_without_keys_or_with_other_lines_is_refused() {
        assert_eq!(Vault::parse("# nothing\n").unwrap_err(), VaultError::Empty);
        for bad in ["11", &ONE[1..], "zz"] {
            assert_eq!(Vault::parse(&format!("{ONE}\n{bad}")).unwrap_err(), VaultError::NotAKey(2));
        }
        let vault = Vault::parse(Vault::new_key(&Ambient::system()).expose_secret()).unwrap();
        assert!(!format!("{vault:?}").contains("cipher"));
    }
}
