//! Dense vectors by content, so that unchanged text is never embedded twice and a re-index needs no model.

use std::collections::HashMap;

use domain::{Timestamp, WorkspaceId};

use crate::{Conn, Result, Tx};

/// SHA-256 of the embedded text.
pub type TextHash = [u8; 32];

/// The stored vectors of those texts in an embedding space (`model/dimension`).
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    space: &str,
    hashes: &[TextHash],
) -> Result<HashMap<TextHash, Vec<f32>>> {
    todo!()
}

/// Stores vectors; those that are there already stay.
pub async fn insert_many(
    tx: &mut Tx,
    workspace: WorkspaceId,
    space: &str,
    vectors: &[(TextHash, Vec<f32>)],
    now: Timestamp,
) -> Result<()> {
    todo!()
}
