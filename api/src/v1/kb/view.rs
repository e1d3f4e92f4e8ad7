//! What the panel shows of an article.

use domain::Timestamp;
use domain::article::{Article, ArticleStatus};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// Whether customers see an article.
    ArticleState = ArticleStatus {
        /// Only members do.
        Draft = "draft",
        /// Everybody does, and agents answer from it.
        Published = "published",
    }
}

/// An article.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Article)]
pub(in crate::v1) struct ArticleView {
    #[schema(pattern = "^art_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "Política de cambios y devoluciones")]
    pub title: String,
    /// Markdown.
    pub content: String,
    /// In order.
    pub tags: Vec<String>,
    #[schema(pattern = "^(es|en|pt)$")]
    pub language: &'static str,
    /// Its name in addresses, unique in its language.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "politica-de-cambios-y-devoluciones")]
    pub slug: String,
    #[schema(pattern = "^cat_[0-9a-f]{32}$")]
    pub category_id: Option<String>,
    pub status: ArticleState,
    /// Who wrote it; null when it was a program, or they are gone.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub author_id: Option<String>,
    /// Rises with every change.
    #[schema(minimum = 1)]
    pub version: i64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub published_at: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// An article, and what readers think of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RatedArticle)]
pub(in crate::v1) struct RatedArticleView {
    #[serde(flatten)]
    pub article: ArticleView,
    /// Readers who found it helpful.
    #[schema(minimum = 0)]
    pub helpful: i64,
    /// Readers who did not.
    #[schema(minimum = 0)]
    pub unhelpful: i64,
}

impl From<Article> for RatedArticleView {
    fn from(article: Article) -> Self {
        let (helpful, unhelpful) = (article.helpful, article.unhelpful);
        Self { article: article.into(), helpful, unhelpful }
    }
}

impl From<Article> for ArticleView {
    fn from(article: Article) -> Self {
        Self {
            id: article.id.to_string(),
            title: article.title,
            content: article.content,
            tags: article.tags,
            language: article.language.code(),
            slug: article.slug,
            category_id: article.category_id.map(|id| id.to_string()),
            status: article.status.into(),
            author_id: article.author_id.map(|id| id.to_string()),
            version: article.version,
            published_at: article.published_at.map(Timestamp::to_rfc3339),
            created_at: article.created_at.to_rfc3339(),
            updated_at: article.updated_at.to_rfc3339(),
        }
    }
}

/// What of an article enters the audit log: of its text the length, since the article itself has it.
pub(super) fn noted(article: &Article) -> Value {
    json!({
        "title": article.title,
        "slug": article.slug,
        "language": article.language.code(),
        "status": article.status.name(),
        "tags": article.tags,
        "categoryId": article.category_id,
        "version": article.version,
        "characters": article.content.chars().count(),
    })
}
