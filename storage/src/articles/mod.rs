//! The knowledge base.

mod categories;
mod mirrors;
mod readers;

use std::collections::HashMap;

use domain::article::{Article, ArticleStatus};
use domain::{ArticleId, CategoryId, Lang, UserId, WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;

pub use self::categories::{
    CategoryUse, categories, category, delete_category, insert_category, update_category,
};
pub use self::mirrors::{MIRROR, Mirror, mirror, set_mirror, want_mirror};
pub use self::readers::{published, rate, taken_slugs};
use crate::sql::{Dialects, Id, Micros, Name, Statement, with_list, with_rows};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct ArticleRow {
    id: Id<ArticleId>,
    workspace_id: Id<WorkspaceId>,
    language: Name<Lang>,
    slug: String,
    title: String,
    content: String,
    status: Name<ArticleStatus>,
    category_id: Option<Id<CategoryId>>,
    author_id: Option<Id<UserId>>,
    version: i64,
    helpful: i64,
    unhelpful: i64,
    published_at: Option<Micros>,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_articles {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                language,
                slug,
                title,
                content,
                status,
                category_id,
                author_id,
                version,
                helpful,
                unhelpful,
                published_at,
                created_at,
                updated_at
            FROM kb_articles ",
            $rest
        )
    };
}

use select_articles;

/// Which articles.
#[derive(Debug, Clone, Default)]
pub struct ArticleFilter {
    /// Only with all of these, folded, in title or content.
    pub words: Vec<String>,
    /// Only in this status.
    pub status: Option<ArticleStatus>,
    /// Only in this language.
    pub language: Option<Lang>,
    /// Only in this category.
    pub category: Option<CategoryId>,
    /// Only with this tag.
    pub tag: Option<String>,
}

/// What articles are put in order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArticleOrder {
    /// When they were made.
    Created,
    /// When they last changed.
    Changed,
}

/// Stores a new article. `Conflict` when another one of its language has its slug, or its category is not there.
pub async fn insert(tx: &mut Tx, article: &Article) -> Result<()> {
    tx.statement(
        "INSERT INTO kb_articles (
            id,
            workspace_id,
            language,
            slug,
            title,
            content,
            search_text,
            status,
            category_id,
            author_id,
            version,
            published_at,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(Id(article.id))
    .bind(Id(article.workspace_id))
    .bind(Name(article.language))
    .bind(&article.slug)
    .bind(&article.title)
    .bind(&article.content)
    .bind(search_text(article))
    .bind(Name(article.status))
    .bind(article.category_id.map(Id))
    .bind(article.author_id.map(Id))
    .bind(article.version)
    .bind(article.published_at.map(Micros))
    .bind(Micros(article.created_at))
    .bind(Micros(article.updated_at))
    .execute()
    .await?;
    set_tags(tx, article).await
}

/// Writes an article, its tags too; `false` when absent. `Conflict` as [`insert`]. What readers found of it stays.
pub async fn update(tx: &mut Tx, article: &Article) -> Result<bool> {
    let found = tx
        .statement(
            "UPDATE kb_articles
            SET
                language = $3,
                slug = $4,
                title = $5,
                content = $6,
                search_text = $7,
                status = $8,
                category_id = $9,
                version = $10,
                published_at = $11,
                updated_at = $12
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(article.workspace_id))
        .bind(Id(article.id))
        .bind(Name(article.language))
        .bind(&article.slug)
        .bind(&article.title)
        .bind(&article.content)
        .bind(search_text(article))
        .bind(Name(article.status))
        .bind(article.category_id.map(Id))
        .bind(article.version)
        .bind(article.published_at.map(Micros))
        .bind(Micros(article.updated_at))
        .changed()
        .await?;
    if found {
        set_tags(tx, article).await?;
    }
    Ok(found)
}

/// Removes an article; `false` when absent. What mirrors it goes by the job that [`want_mirror`] wants.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: ArticleId) -> Result<bool> {
    tx.statement(
        "DELETE FROM kb_articles
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// The article.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ArticleId,
) -> Result<Option<Article>> {
    let row: Option<ArticleRow> = conn
        .statement(select_articles!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    one(conn, workspace, row).await
}

/// The article, which nobody else changes until the transaction ends. SQLite has one writer anyway.
pub async fn lock(tx: &mut Tx, workspace: WorkspaceId, id: ArticleId) -> Result<Option<Article>> {
    let row: Option<ArticleRow> = tx
        .statement(Dialects {
            sqlite: select_articles!(
                "WHERE workspace_id = $1
                    AND id = $2"
            ),
            postgres: select_articles!(
                "WHERE workspace_id = $1
                    AND id = $2
                FOR UPDATE"
            ),
        })
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    one(tx, workspace, row).await
}

/// A page of articles.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &ArticleFilter,
    order: (ArticleOrder, bool),
    offset: i64,
    limit: i64,
) -> Result<Vec<Article>> {
    let in_order = match order {
        (ArticleOrder::Created, false) => " ORDER BY id",
        (ArticleOrder::Created, true) => " ORDER BY id DESC",
        (ArticleOrder::Changed, false) => " ORDER BY updated_at, id",
        (ArticleOrder::Changed, true) => " ORDER BY updated_at DESC, id DESC",
    };
    let statement = conn.statement(select_articles!("WHERE workspace_id = $1")).bind(Id(workspace));
    let rows: Vec<ArticleRow> = narrowed(statement, filter)
        .then(in_order)
        .when(" LIMIT ", Some(limit))
        .when(" OFFSET ", Some(offset))
        .all()
        .await?;
    with_tags(conn, workspace, rows).await
}

/// How many articles there are.
pub async fn count(conn: &mut Conn, workspace: WorkspaceId, filter: &ArticleFilter) -> Result<i64> {
    let statement = conn
        .statement("SELECT CAST(COUNT(*) AS BIGINT) FROM kb_articles WHERE workspace_id = $1")
        .bind(Id(workspace));
    let (count,): (i64,) = narrowed(statement, filter).one().await?;
    Ok(count)
}

fn narrowed<'c>(statement: Statement<'c>, filter: &ArticleFilter) -> Statement<'c> {
    let mut statement = statement;
    for word in &filter.words {
        let plain = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        statement = statement
            .when(" AND search_text LIKE ", Some(format!("%{plain}%")))
            .then(" ESCAPE '\\'");
    }
    if let Some(tag) = &filter.tag {
        statement = statement
            .when(
                " AND id IN (
                    SELECT kb_article_tags.article_id
                    FROM kb_article_tags
                    WHERE kb_article_tags.workspace_id = $1
                        AND kb_article_tags.tag = ",
                Some(tag.clone()),
            )
            .then(")");
    }
    statement
        .when(" AND status = ", filter.status.map(Name))
        .when(" AND language = ", filter.language.map(Name))
        .when(" AND category_id = ", filter.category.map(Id))
}

fn search_text(article: &Article) -> String {
    domain::contact::fold(&format!("{}\n{}", article.title, article.content))
}

async fn set_tags(tx: &mut Tx, article: &Article) -> Result<()> {
    tx.statement(
        "DELETE FROM kb_article_tags
        WHERE workspace_id = $1
            AND article_id = $2",
    )
    .bind(Id(article.workspace_id))
    .bind(Id(article.id))
    .execute()
    .await?;
    let rows: Vec<Value> = article.tags.iter().map(|tag| json!([tag])).collect();
    tx.statement(with_rows!(
        "INSERT INTO kb_article_tags (
            article_id,
            tag,
            workspace_id
        )
        SELECT DISTINCT
            $2,
            value->>0,
            $1
        FROM ",
        "$3",
        ""
    ))
    .bind(Id(article.workspace_id))
    .bind(Id(article.id))
    .json(&rows)
    .execute()
    .await?;
    Ok(())
}

async fn one(
    conn: &mut Conn,
    workspace: WorkspaceId,
    row: Option<ArticleRow>,
) -> Result<Option<Article>> {
    Ok(with_tags(conn, workspace, row.into_iter().collect()).await?.pop())
}

async fn with_tags(
    conn: &mut Conn,
    workspace: WorkspaceId,
    rows: Vec<ArticleRow>,
) -> Result<Vec<Article>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<ArticleId> = rows.iter().map(|row| row.id.0).collect();
    let tags: Vec<(Id<ArticleId>, String)> = conn
        .statement(with_list!(
            "SELECT
                article_id,
                tag
            FROM kb_article_tags
            WHERE workspace_id = $1
                AND ", "article_id" in "$2"; "
            ORDER BY tag"
        ))
        .bind(Id(workspace))
        .list(&ids)
        .all()
        .await?;
    let mut by_article: HashMap<ArticleId, Vec<String>> = HashMap::new();
    for (Id(id), tag) in tags {
        by_article.entry(id).or_default().push(tag);
    }
    let tagged = |row: ArticleRow| {
        let tags = by_article.remove(&row.id.0).unwrap_or_default();
        Article { tags, ..row.into() }
    };
    Ok(rows.into_iter().map(tagged).collect())
}

impl From<ArticleRow> for Article {
    fn from(row: ArticleRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            language: row.language.0,
            slug: row.slug,
            title: row.title,
            content: row.content,
            status: row.status.0,
            category_id: row.category_id.map(|id| id.0),
            author_id: row.author_id.map(|id| id.0),
            tags: Vec::new(),
            version: row.version,
            helpful: row.helpful,
            unhelpful: row.unhelpful,
            published_at: row.published_at.map(|at| at.0),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
