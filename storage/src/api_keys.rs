//! API keys.

use domain::api_key::ApiKey;
use domain::{ApiKeyId, Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

/// Stores a key by its hash (SHA-256).
pub async fn insert(tx: &mut Tx, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
    todo!()
}

/// The key with that hash, revoked or expired ones too. The one look-up without a workspace: the key names it.
pub async fn find_by_hash(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<ApiKey>> {
    todo!()
}

/// The key.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    todo!()
}

/// Keys, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    todo!()
}

/// Revokes a key; `false` when absent or revoked already.
pub async fn revoke(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}

/// Notes that a key was used.
pub async fn touch(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<()> {
    todo!()
}
