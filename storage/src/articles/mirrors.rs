//! Which source holds which version of an article.

use domain::job::NewJob;
use domain::{Ambient, ArticleId, SourceId, WorkspaceId};
use serde_json::json;

use crate::sql::Id;
use crate::{Conn, Result, Tx, jobs};

/// The kind of the job that makes the system datastore hold what an article says, and nothing of one that customers do not
/// see.
pub const MIRROR: &str = "ingest.article";

/// What mirrors an article.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// The source.
    pub source: SourceId,
    /// The version of the article that it holds.
    pub version: i64,
}

/// What mirrors an article, which may be gone.
pub async fn mirror(
    conn: &mut Conn,
    workspace: WorkspaceId,
    article: ArticleId,
) -> Result<Option<Mirror>> {
    let row: Option<(Id<SourceId>, i64)> = conn
        .statement(
            "SELECT
                source_id,
                version
            FROM kb_mirrors
            WHERE workspace_id = $1
                AND article_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(article))
        .optional()
        .await?;
    Ok(row.map(|(Id(source), version)| Mirror { source, version }))
}

/// Notes which source holds which version of an article. It is forgotten with the source.
pub async fn set_mirror(
    tx: &mut Tx,
    workspace: WorkspaceId,
    article: ArticleId,
    mirror: Mirror,
) -> Result<()> {
    tx.statement(
        "INSERT INTO kb_mirrors (
            article_id,
            workspace_id,
            source_id,
            version
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (article_id) DO UPDATE SET
            source_id = excluded.source_id,
            version = excluded.version",
    )
    .bind(Id(article))
    .bind(Id(workspace))
    .bind(Id(mirror.source))
    .bind(mirror.version)
    .execute()
    .await?;
    Ok(())
}

/// Wants the article mirrored, in the transaction that changes it; `link` is where people read it. Each change wants a job of
/// its own: one that runs already may have read what was there before.
pub async fn want_mirror(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    article: ArticleId,
    link: Option<&str>,
) -> Result<()> {
    let payload = json!({"article": article, "link": link});
    let job = NewJob::now(MIRROR, payload, ambient.now());
    jobs::enqueue(tx, ambient, workspace, &job).await?;
    Ok(())
}
