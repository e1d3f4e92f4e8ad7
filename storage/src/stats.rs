//! Term statistics of datastores: derived data, a base blob and the deltas since. The bytes are `retrieval`'s.

use domain::{DatastoreId, WorkspaceId};

use crate::sql::Id;
use crate::{Conn, Result, StorageError, Tx};

/// What is stored of a datastore's statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    // One statement, so that base and deltas are of one moment.
    let rows: Vec<(bool, i64, Vec<u8>)> = conn
        .statement(
            "SELECT
                TRUE AS is_base,
                revision,
                base
            FROM datastore_stats
            WHERE workspace_id = $1
                AND datastore_id = $2
                AND revision > $3
            UNION ALL
            SELECT
                FALSE AS is_base,
                revision,
                delta
            FROM datastore_stat_deltas
            WHERE workspace_id = $1
                AND datastore_id = $2
                AND revision > $3
            ORDER BY is_base DESC, revision",
        )
        .bind(Id(workspace))
        .bind(Id(datastore))
        .bind(after)
        .all()
        .await?;
    let mut stored = StoredStats::default();
    for (is_base, revision, bytes) in rows {
        if is_base {
            stored.base = Some((revision, bytes));
        } else if stored.base.as_ref().is_none_or(|(base, _)| revision > *base) {
            stored.deltas.push((revision, bytes));
        }
    }
    Ok(stored)
}

/// Adds one to the datastore's revision, stores `delta` under it and gives it. In the transaction that
/// changes live chunks; whoever changes the same datastore waits for that transaction. `None` when the
/// datastore is gone.
pub async fn append(
    tx: &mut Tx,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    delta: &[u8],
) -> Result<Option<i64>> {
    let row: Option<(i64,)> = tx
        .statement(
            "UPDATE datastores
            SET revision = revision + 1
            WHERE workspace_id = $1
                AND id = $2
            RETURNING revision",
        )
        .bind(Id(workspace))
        .bind(Id(datastore))
        .optional()
        .await?;
    let Some((revision,)) = row else { return Ok(None) };
    tx.statement(
        "INSERT INTO datastore_stat_deltas (
            datastore_id,
            revision,
            workspace_id,
            delta
        )
        VALUES ($1, $2, $3, $4)",
    )
    .bind(Id(datastore))
    .bind(revision)
    .bind(Id(workspace))
    .bind(delta)
    .execute()
    .await?;
    Ok(Some(revision))
}

/// Replaces the base and removes the deltas up to `revision`. A base of a later revision stays.
/// `Conflict` when the datastore is gone.
pub async fn replace_base(
    tx: &mut Tx,
    workspace: WorkspaceId,
    datastore: DatastoreId,
    revision: i64,
    base: &[u8],
) -> Result<()> {
    let row: Option<(i64,)> = tx
        .statement(
            "INSERT INTO datastore_stats (
                datastore_id,
                workspace_id,
                revision,
                base
            )
            SELECT
                id,
                workspace_id,
                $3,
                $4
            FROM datastores
            WHERE workspace_id = $1
                AND id = $2
            ON CONFLICT (datastore_id) DO UPDATE
            SET
                base = CASE
                    WHEN excluded.revision >= datastore_stats.revision THEN excluded.base
                    ELSE datastore_stats.base
                END,
                revision = CASE
                    WHEN excluded.revision >= datastore_stats.revision THEN excluded.revision
                    ELSE datastore_stats.revision
                END
            RETURNING revision",
        )
        .bind(Id(workspace))
        .bind(Id(datastore))
        .bind(revision)
        .bind(base)
        .optional()
        .await?;
    let (kept,) = row.ok_or_else(StorageError::without_parent)?;
    tx.statement(
        "DELETE FROM datastore_stat_deltas
        WHERE workspace_id = $1
            AND datastore_id = $2
            AND revision <= $3",
    )
    .bind(Id(workspace))
    .bind(Id(datastore))
    .bind(kept)
    .execute()
    .await?;
    Ok(())
}
