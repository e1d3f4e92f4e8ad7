//! Term statistics of datastores: derived data, a base blob and the deltas since. The bytes are `retrieval`'s.

use domain::{DatastoreId, WorkspaceId};

use crate::{Conn, Result, Tx};

/// What is stored of a datastore's statistics.
#[derive(Debug, Clone, Default)]
pub struct StoredStats {
    /// The base and the datastore revision that it holds for.
    pub base: Option<(i64, Vec<u8>)>,
    /// Deltas after the base, by rising revision.
    pub deltas: Vec<(i64, Vec<u8>)>,
}

/// Base and deltas with a revision above `after`. The base is left out when its own revision is not above `after`.
pub async fn load(
    conn: &mut Conn,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    after: i64,
) -> Result<StoredStats> {
    todo!()
}

/// Adds one to the datastore'"'"'s revision, stores `delta` under it and gives it. In the transaction that changes live chunks. `None` when the datastore is gone.
pub async fn append(
    tx: &mut Tx,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    delta: &[u8],
) -> Result<Option<i64>> {
    todo!()
}

/// Replaces the base and removes the deltas up to `revision`.
pub async fn replace_base(
    tx: &mut Tx,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    revision: i64,
    base: &[u8],
) -> Result<()> {
    todo!()
}
