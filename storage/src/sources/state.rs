//! How the ingestion of a source goes: every change names the version at work, so that a worker that was
//! overtaken changes nothing.

use domain::datastore::{IngestStage, SourceFailure, SourceStatus};
use domain::{Lang, SourceId, Timestamp, WorkspaceId};
use serde_json::{Value, json};

use crate::sql::{Id, Micros, Name, with_rows};
use crate::{Result, Tx, events};

/// What is written when a version goes live.
#[derive(Debug, Clone)]
pub struct GoLive<'a> {
    /// The source.
    pub source: SourceId,
    /// The version.
    pub version: i64,
    /// SHA-256 (hexadecimal) of its content.
    pub content_hash: &'a str,
    /// Its chunks.
    pub chunks: i64,
    /// The language that most of it is in.
    pub language: Option<Lang>,
    /// Something a person should know: `needs_ocr`.
    pub warning: Option<&'a str>,
}

/// Notes stage and percent (0 to 100) of the version at work; `false` when the source is gone, cancelled,
/// at another version, or has that version live already.
pub async fn progress(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    stage: IngestStage,
    percent: i64,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE sources
        SET
            status = 'running',
            stage = $4,
            percent = $5,
            failure_code = NULL,
            failure_message = NULL,
            updated_at = $6
        WHERE workspace_id = $1
            AND id = $2
            AND version = $3
            AND status IN ('pending', 'running', 'failed')",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(version)
    .bind(Name(stage))
    .bind(percent.clamp(0, 100))
    .bind(Micros(now))
    .changed()
    .await
}

/// Notes what was found out of the bytes: content type, size, and a better name where there is one.
pub async fn describe(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    mime: &str,
    bytes: i64,
    name: Option<&str>,
) -> Result<()> {
    tx.statement(
        "UPDATE sources
        SET
            mime = $3,
            bytes = $4,
            name = COALESCE($5, name)
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(mime)
    .bind(bytes)
    .bind(name)
    .execute()
    .await?;
    Ok(())
}

/// Begins a new version (status pending): its number. `None` when absent.
pub async fn begin_version(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    now: Timestamp,
) -> Result<Option<i64>> {
    let row: Option<(i64,)> = tx
        .statement(
            "UPDATE sources
            SET
                version = version + 1,
                status = 'pending',
                stage = NULL,
                percent = NULL,
                failure_code = NULL,
                failure_message = NULL,
                updated_at = $3
            WHERE workspace_id = $1
                AND id = $2
            RETURNING version",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(Micros(now))
        .optional()
        .await?;
    Ok(row.map(|(version,)| version))
}

/// Makes versions live (status ready), each with its `source.ready` event. Those that are live afterwards,
/// in no order: without those whose source is gone, cancelled or at another version. Doing it again changes
/// nothing and gives the same.
pub async fn go_live(
    tx: &mut Tx,
    workspace: WorkspaceId,
    versions: &[GoLive<'_>],
    now: Timestamp,
) -> Result<Vec<SourceId>> {
    let rows: Vec<Value> = versions.iter().map(live_row).collect();
    let changed: Vec<(Id<SourceId>, i64, i64)> = tx
        .statement(with_rows!(
            "UPDATE sources
            SET
                status = 'ready',
                stage = NULL,
                percent = NULL,
                failure_code = NULL,
                failure_message = NULL,
                warning = live.warning,
                language = live.language,
                content_hash = live.content_hash,
                live_version = live.version,
                chunks = live.chunks,
                updated_at = $2
            FROM (
                SELECT
                    value->>0 AS id,
                    CAST(value->>1 AS BIGINT) AS version,
                    value->>2 AS warning,
                    value->>3 AS language,
                    value->>4 AS content_hash,
                    CAST(value->>5 AS BIGINT) AS chunks
                FROM ",
            "$3",
            "
            ) AS live
            WHERE sources.workspace_id = $1
                AND sources.id = live.id
                AND sources.version = live.version
                AND sources.status IN ('pending', 'running', 'failed')
            RETURNING
                sources.id,
                sources.version,
                sources.chunks"
        ))
        .bind(Id(workspace))
        .bind(Micros(now))
        .json(&rows)
        .all()
        .await?;
    let mut live: Vec<SourceId> = Vec::with_capacity(versions.len());
    for (Id(source), version, chunks) in changed {
        let payload = json!({ "version": version, "chunks": chunks });
        events::insert(tx, workspace, "source.ready", &source.to_string(), &payload, now).await?;
        live.push(source);
    }
    for version in versions {
        let unchanged = !live.contains(&version.source);
        if unchanged && is_live(tx, workspace, version.source, version.version).await? {
            live.push(version.source);
        }
    }
    Ok(live)
}

fn live_row(live: &GoLive<'_>) -> Value {
    json!([
        live.source,
        live.version,
        live.warning,
        live.language.map(Lang::code),
        live.content_hash,
        live.chunks,
    ])
}

/// Marks the version as failed, with its `source.failed` event; an older live version goes on answering.
/// `false` when the source is gone, cancelled or at another version, and when the version is live already.
pub async fn fail(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    version: i64,
    failure: &SourceFailure,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .statement(
            "UPDATE sources
            SET
                status = 'failed',
                stage = NULL,
                percent = NULL,
                failure_code = $4,
                failure_message = $5,
                updated_at = $6
            WHERE workspace_id = $1
                AND id = $2
                AND version = $3
                AND status IN ('pending', 'running', 'failed')",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .bind(&failure.code)
        .bind(&failure.message)
        .bind(Micros(now))
        .changed()
        .await?;
    if changed {
        let payload = json!({ "version": version, "code": failure.code });
        events::insert(tx, workspace, "source.failed", &id.to_string(), &payload, now).await?;
    }
    Ok(changed)
}

/// Marks a pending or running source as cancelled; `false` when it is neither.
pub async fn cancel(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: SourceId,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE sources
        SET
            status = 'cancelled',
            stage = NULL,
            percent = NULL,
            updated_at = $3
        WHERE workspace_id = $1
            AND id = $2
            AND status IN ('pending', 'running')",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Micros(now))
    .changed()
    .await
}

async fn is_live(tx: &mut Tx, workspace: WorkspaceId, id: SourceId, version: i64) -> Result<bool> {
    let row: Option<(i64,)> = tx
        .statement(
            "SELECT version
            FROM sources
            WHERE workspace_id = $1
                AND id = $2
                AND version = $3
                AND live_version = $3
                AND status = $4",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(version)
        .bind(Name(SourceStatus::Ready))
        .optional()
        .await?;
    Ok(row.is_some())
}
