//! What ingestion needs when nothing new came, or when it was broken off.

use std::collections::HashSet;

use domain::{BlobId, SourceId, Timestamp, WorkspaceId};

use super::{Source, SourceRow, select_sources};
use crate::sql::{Id, Micros, with_list};
use crate::{Conn, Result, Tx};

/// Ends a version whose content is that of the live one: the source is ready again and the live version goes
/// on answering. `false` when the source is gone, cancelled, at another version, or none is live.
pub async fn keep_live(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    now: Timestamp,
) -> Result<bool> {
    let kept = tx
        .statement(
            "UPDATE sources
            SET
                status = 'ready',
                stage = NULL,
                percent = NULL,
                failure_code = NULL,
                failure_message = NULL,
                updated_at = $4
            WHERE workspace_id = $1
                AND id = $2
                AND version = $3
                AND live_version > 0
                AND status IN ('pending', 'running', 'failed')",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .bind(Micros(now))
        .changed()
        .await?;
    Ok(kept)
}

/// Pending and running sources of a workspace without progress since `before`, by id, after `after`.
pub async fn unfinished(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: Timestamp,
    after: Option<SourceId>,
    limit: i64,
) -> Result<Vec<Source>> {
    let rows: Vec<SourceRow> = conn
        .statement(select_sources!(
            "WHERE workspace_id = $1
                AND status IN ('pending', 'running')
                AND updated_at < $2
                AND id > COALESCE($3, '')
            ORDER BY id
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Micros(before))
        .bind(after.map(Id))
        .bind(limit)
        .all()
        .await?;
    rows.into_iter().map(SourceRow::into_source).collect()
}

/// Which of the files a source of the workspace names.
pub async fn blobs_in_use(
    conn: &mut Conn,
    workspace: WorkspaceId,
    blobs: &[BlobId],
) -> Result<HashSet<BlobId>> {
    let rows: Vec<(Id<BlobId>,)> = conn
        .statement(with_list!(
            "SELECT blob_id
            FROM sources
            WHERE workspace_id = $1
                AND ",
            "blob_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(blobs)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id),)| id).collect())
}
