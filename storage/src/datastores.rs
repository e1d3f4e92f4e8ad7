//! Datastores.

use domain::datastore::Datastore;
use domain::{DatastoreId, WorkspaceId};

use crate::{Conn, Result, Tx};

/// Stores a new datastore.
pub async fn insert(tx: &mut Tx, datastore: &Datastore) -> Result<()> {
    todo!()
}

/// Writes name, description and language; `false` when absent.
pub async fn update(tx: &mut Tx, datastore: &Datastore) -> Result<bool> {
    todo!()
}

/// The datastore.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: DatastoreId,
) -> Result<Option<Datastore>> {
    todo!()
}

/// Those of `ids` that are there, in no order.
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    ids: &[DatastoreId],
) -> Result<Vec<Datastore>> {
    todo!()
}

/// The default datastores of the workspace.
pub async fn defaults(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Datastore>> {
    todo!()
}

/// Datastores, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Option<DatastoreId>,
    limit: i64,
) -> Result<Vec<Datastore>> {
    todo!()
}

/// Removes a datastore with its sources, chunks, statistics and jobs; `false` when absent. Vectors and files are the caller'"'"'s.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: DatastoreId) -> Result<bool> {
    todo!()
}
