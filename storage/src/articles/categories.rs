//! Categories of articles.

use std::collections::BTreeMap;

use domain::article::ArticleCategory;
use domain::{CategoryId, Lang, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros, Name};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct CategoryRow {
    id: Id<CategoryId>,
    slug: String,
    names: Json<BTreeMap<String, String>>,
    place: i64,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_categories {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                slug,
                names,
                place,
                created_at,
                updated_at
            FROM kb_categories ",
            $rest
        )
    };
}

/// How many published articles of a language a category has; without a category, those that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryUse {
    /// The category.
    pub category: Option<CategoryId>,
    /// The language.
    pub language: Lang,
    /// How many.
    pub articles: i64,
}

/// Every category, in order, and how many published articles there are in each language.
pub async fn categories(
    conn: &mut Conn,
    workspace: WorkspaceId,
) -> Result<(Vec<ArticleCategory>, Vec<CategoryUse>)> {
    let rows: Vec<CategoryRow> = conn
        .statement(select_categories!(
            "WHERE workspace_id = $1
            ORDER BY place, id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    let uses: Vec<(Option<Id<CategoryId>>, Name<Lang>, i64)> = conn
        .statement(
            "SELECT
                category_id,
                language,
                CAST(COUNT(*) AS BIGINT)
            FROM kb_articles
            WHERE workspace_id = $1
                AND status = 'published'
            GROUP BY category_id, language
            ORDER BY category_id, language",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    let uses = uses.into_iter().map(|(category, Name(language), articles)| CategoryUse {
        category: category.map(|id| id.0),
        language,
        articles,
    });
    Ok((rows.into_iter().map(ArticleCategory::from).collect(), uses.collect()))
}

/// The category.
pub async fn category(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: CategoryId,
) -> Result<Option<ArticleCategory>> {
    let row: Option<CategoryRow> = conn
        .statement(select_categories!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(ArticleCategory::from))
}

/// Stores a new category. `Conflict` when another one has its slug.
pub async fn insert_category(
    tx: &mut Tx,
    workspace: WorkspaceId,
    category: &ArticleCategory,
) -> Result<()> {
    tx.statement(
        "INSERT INTO kb_categories (
            id,
            workspace_id,
            slug,
            names,
            place,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(Id(category.id))
    .bind(Id(workspace))
    .bind(&category.slug)
    .json(&category.names)
    .bind(category.place)
    .bind(Micros(category.created_at))
    .bind(Micros(category.updated_at))
    .execute()
    .await?;
    Ok(())
}

/// Writes slug, names and place; `false` when absent. `Conflict` when another one has its slug.
pub async fn update_category(
    tx: &mut Tx,
    workspace: WorkspaceId,
    category: &ArticleCategory,
) -> Result<bool> {
    tx.statement(
        "UPDATE kb_categories
        SET
            slug = $3,
            names = $4,
            place = $5,
            updated_at = $6
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(category.id))
    .bind(&category.slug)
    .json(&category.names)
    .bind(category.place)
    .bind(Micros(category.updated_at))
    .changed()
    .await
}

/// Removes a category; its articles stay, without one. `false` when absent.
pub async fn delete_category(tx: &mut Tx, workspace: WorkspaceId, id: CategoryId) -> Result<bool> {
    tx.statement(
        "DELETE FROM kb_categories
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<CategoryRow> for ArticleCategory {
    fn from(row: CategoryRow) -> Self {
        Self {
            id: row.id.0,
            slug: row.slug,
            names: row.names.0,
            place: row.place,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
