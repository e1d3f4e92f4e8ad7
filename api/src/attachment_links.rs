//! Addresses that open one file for a while, for those who have no credential: customers.

use std::time::Duration;

use domain::ids::PrefixedId;
use domain::vault::DerivedKey;
use domain::{AttachmentId, Timestamp, Vault, WorkspaceId};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const PURPOSE: &str = "links of attachments";
/// How long a link opens at least. Links are made anew whenever messages are read.
const VALID: Duration = Duration::from_hours(24);
/// Ends are rounded up to this, so that the address of a file stays the same for a while and browsers keep the file.
const ROUNDED: i64 = 60 * 60;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// The path that opens a file for a day or a little more, without a credential.
pub(crate) fn link(
    vault: &Vault,
    workspace: WorkspaceId,
    attachment: AttachmentId,
    now: Timestamp,
) -> String {
    let valid = i64::try_from(VALID.as_secs()).unwrap_or(i64::MAX);
    let until = (seconds(now) / ROUNDED + 1) * ROUNDED + valid;
    let keys = vault.derive(PURPOSE);
    // A vault is never without a key; a link without a signature opens nothing.
    let signature = keys.first().map(|key| sign(key, workspace, attachment, until));
    let signature = signature.unwrap_or_default();
    let workspace = workspace.uuid().simple();
    format!("/v1/attachments/{attachment}/shared?token={workspace}.{until}.{signature}")
}

/// The workspace of a file that `token` opens at `now`.
pub(crate) fn open(
    vault: &Vault,
    attachment: AttachmentId,
    token: &str,
    now: Timestamp,
) -> Option<WorkspaceId> {
    let (workspace, rest) = token.split_once('.')?;
    let (until, signature) = rest.split_once('.')?;
    let workspace = WorkspaceId::from_uuid(Uuid::try_parse(workspace).ok()?);
    let until: i64 = until.parse().ok()?;
    let keys = vault.derive(PURPOSE);
    let holds = keys.iter().any(|key| is_same(&sign(key, workspace, attachment, until), signature));
    (holds && seconds(now) < until).then_some(workspace)
}

fn sign(key: &DerivedKey, workspace: WorkspaceId, attachment: AttachmentId, until: i64) -> String {
    let message = format!("{workspace}/{attachment}/{until}");
    hex::encode(hmac(key.bytes.expose_secret(), message.as_bytes()))
}

/// HMAC-SHA256 (RFC 2104) by a key that is not longer than a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

/// In a time that tells nothing of where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    one.len() == other.len() && differing == 0
}

fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_the_standard() {
        // RFC 4231, cases 1 and 2.
        let code = |key: &[u8], message: &[u8]| hex::encode(hmac(key, message));
        assert_eq!(
            code(&[0x0b; 20], b"Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            code(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_link_opens_its_own_file_for_a_day() {
        let vault = Vault::parse(&"7".repeat(64)).unwrap();
        let id = |n| PrefixedId::from_uuid(Uuid::from_u128(n));
        let (workspace, file): (WorkspaceId, AttachmentId) =
            (id(1), PrefixedId::from_uuid(Uuid::from_u128(2)));
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let path = link(&vault, workspace, file, now);
        let token = path.split_once("token=").unwrap().1;
        assert_eq!(open(&vault, file, token, now.plus(VALID)), Some(workspace));
        assert_eq!(open(&vault, file, token, now.plus(VALID * 2)), None);
        assert_eq!(open(&vault, PrefixedId::from_uuid(Uuid::from_u128(3)), token, now), None);
        let foreign = Vault::parse(&"8".repeat(64)).unwrap();
        assert_eq!(open(&foreign, file, token, now), None);
        let longer = token.replacen('.', ".9", 1);
        for forged in ["", ".", "..", &longer, &token[..token.len() - 1], &token.replace('1', "2")]
        {
            assert_eq!(open(&vault, file, forged, now), None, "{forged}");
        }
    }
}
