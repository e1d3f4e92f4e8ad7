//! What readers of the help centre need.

use domain::article::Article;
use domain::{Lang, WorkspaceId};

use super::{ArticleRow, one, select_articles};
use crate::sql::{Id, Name};
use crate::{Conn, Result, Tx};

/// The published article of that slug in a language.
pub async fn published(
    conn: &mut Conn,
    workspace: WorkspaceId,
    language: Lang,
    slug: &str,
) -> Result<Option<Article>> {
    let row: Option<ArticleRow> = conn
        .statement(select_articles!(
            "WHERE workspace_id = $1
                AND language = $2
                AND slug = $3
                AND status = 'published'"
        ))
        .bind(Id(workspace))
        .bind(Name(language))
        .bind(slug)
        .optional()
        .await?;
    one(conn, workspace, row).await
}

/// Counts whether a reader found a published article helpful; `false` when there is none.
pub async fn rate(
    tx: &mut Tx,
    workspace: WorkspaceId,
    language: Lang,
    slug: &str,
    helpful: bool,
) -> Result<bool> {
    tx.statement(
        "UPDATE kb_articles
        SET
            helpful = helpful + CASE WHEN $4 THEN 1 ELSE 0 END,
            unhelpful = unhelpful + CASE WHEN $4 THEN 0 ELSE 1 END
        WHERE workspace_id = $1
            AND language = $2
            AND slug = $3
            AND status = 'published'",
    )
    .bind(Id(workspace))
    .bind(Name(language))
    .bind(slug)
    .bind(helpful)
    .changed()
    .await
}

/// Those slugs of a language that begin with `slug`: what a new one must differ from.
pub async fn taken_slugs(
    conn: &mut Conn,
    workspace: WorkspaceId,
    language: Lang,
    slug: &str,
) -> Result<Vec<String>> {
    // Slugs hold nothing that a pattern would read otherwise.
    let rows: Vec<(String,)> = conn
        .statement(
            "SELECT slug
            FROM kb_articles
            WHERE workspace_id = $1
                AND language = $2
                AND slug LIKE $3",
        )
        .bind(Id(workspace))
        .bind(Name(language))
        .bind(format!("{slug}%"))
        .all()
        .await?;
    Ok(rows.into_iter().map(|(slug,)| slug).collect())
}
