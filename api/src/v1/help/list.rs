//! What there is to read.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use domain::article::{Article, ArticleStatus};
use domain::{DomainError, Timestamp};
use serde::{Deserialize, Serialize};
use storage::articles::{self, ArticleFilter, ArticleOrder, CategoryUse};
use utoipa::ToSchema;

use super::place::{HelpCentre, asked_language};
use crate::error::ApiResult;
use crate::extract::Query;
use crate::state::AppState;
use crate::v1::kb::words_sought;
use crate::v1::paging::List;
use crate::v1::window::{WindowQuery, Windowed, sought};

/// Characters of an article that a list shows.
const EXCERPT: usize = 200;

/// What `orderBy` takes.
const ORDERS: [(&str, ArticleOrder); 2] =
    [("updatedAt", ArticleOrder::Changed), ("createdAt", ArticleOrder::Created)];

/// In which language.
#[derive(Debug, Deserialize)]
pub(in crate::v1) struct LanguageQuery {
    pub(super) language: Option<String>,
}

/// A help centre.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HelpCentre)]
pub(in crate::v1) struct HelpCentreView {
    /// Whose it is.
    #[schema(example = "Funpark")]
    name: String,
    #[schema(example = "funpark")]
    code: String,
    /// Articles by language (`es`, `en`, `pt`), where there are any.
    articles: BTreeMap<&'static str, i64>,
    /// Those with articles, in order.
    categories: Vec<HelpCategoryView>,
}

/// A category of a help centre.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HelpCategory)]
pub(in crate::v1) struct HelpCategoryView {
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "entradas")]
    slug: String,
    /// In the language that was asked for, if it has one.
    #[schema(example = "Entradas")]
    name: String,
    /// Articles by language.
    articles: BTreeMap<&'static str, i64>,
}

/// An article of a help centre, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HelpArticleSummary)]
pub(in crate::v1) struct ShortView {
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "politica-de-cambios")]
    slug: String,
    title: String,
    /// How it begins.
    excerpt: String,
    #[schema(pattern = "^(es|en|pt)$")]
    language: &'static str,
    tags: Vec<String>,
    /// The slug of its category.
    category: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    published_at: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Get a help centre
#[utoipa::path(
    get,
    path = "/v1/help/{workspaceCode}",
    tag = "Help centre",
    operation_id = "getHelpCentre",
    params(
        ("workspaceCode" = String, Path, description = "The workspace's code, or a site key of it."),
        ("language" = Option<String>, Query, description = "Of the names of categories.", pattern = "^(es|en|pt)$"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that you have."),
    ),
    responses(
        (status = 200, description = "What there is to read.", body = HelpCentreView),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
#[tracing::instrument(name = "handler.v1.help.home", skip_all)]
pub(super) async fn home(
    State(state): State<AppState>,
    centre: HelpCentre,
    Query(query): Query<LanguageQuery>,
) -> ApiResult<Response> {
    let asked = asked_language(query.language.as_deref())?;
    let language = asked.or(centre.preferred).unwrap_or_default();
    let mut conn = state.db.read().await?;
    let (all, uses) = articles::categories(&mut conn, centre.workspace.id).await?;
    let mut categories = Vec::with_capacity(all.len());
    for category in all {
        let articles = counted(uses.iter().filter(|one| one.category == Some(category.id)));
        if !articles.is_empty() {
            let name = category.name_in(language).to_owned();
            categories.push(HelpCategoryView { slug: category.slug, name, articles });
        }
    }
    let (name, code) = (centre.workspace.name.clone(), centre.workspace.code.clone());
    centre.answer(HelpCentreView { name, code, articles: counted(uses.iter()), categories })
}

fn counted<'a>(uses: impl Iterator<Item = &'a CategoryUse>) -> BTreeMap<&'static str, i64> {
    let mut counts = BTreeMap::new();
    for one in uses {
        *counts.entry(one.language.code()).or_default() += one.articles;
    }
    counts
}

/// Which articles.
#[derive(Debug, Deserialize)]
pub(in crate::v1) struct HelpQuery {
    language: Option<String>,
    category: Option<String>,
    tag: Option<String>,
}

/// List the articles of a help centre
///
/// Published ones. What changed last comes first; `criteria` looks in titles and texts.
#[utoipa::path(
    get,
    path = "/v1/help/{workspaceCode}/articles",
    tag = "Help centre",
    operation_id = "listHelpArticles",
    params(
        ("workspaceCode" = String, Path, description = "The workspace's code, or a site key of it."),
        ("language" = Option<String>, Query, description = "Only in this language.", pattern = "^(es|en|pt)$"),
        ("category" = Option<String>, Query, description = "Only in the category of this slug.", pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"),
        ("tag" = Option<String>, Query, description = "Only with this tag.", max_length = 200),
        ("orderBy" = Option<String>, Query, description = "`updatedAt` without one.", pattern = "^(updatedAt|createdAt)$"),
        WindowQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that you have."),
    ),
    responses(
        (status = 200, description = "A page of articles.", body = List<ShortView>),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
#[tracing::instrument(name = "handler.v1.help.articles", skip_all)]
pub(super) async fn articles(
    State(state): State<AppState>,
    centre: HelpCentre,
    Windowed(window, query): Windowed<HelpQuery>,
) -> ApiResult<Response> {
    let window = window.read(&ORDERS, true)?;
    let language = asked_language(query.language.as_deref())?;
    let workspace = centre.workspace.id;
    let mut conn = state.db.read().await?;
    let (categories, _) = articles::categories(&mut conn, workspace).await?;
    let category = match sought("category", query.category.as_deref())? {
        None => None,
        Some(slug) => {
            let found = categories.iter().find(|category| category.slug == slug);
            Some(found.ok_or_else(|| DomainError::not_found("category"))?.id)
        }
    };
    let filter = ArticleFilter {
        words: words_sought(window.criteria.as_deref()),
        status: Some(ArticleStatus::Published),
        language,
        category,
        tag: sought("tag", query.tag.as_deref())?,
    };
    let count = articles::count(&mut conn, workspace, &filter).await?;
    let order = (window.by, window.descending);
    let (offset, limit) = (window.offset(), window.limit());
    let found = articles::list(&mut conn, workspace, &filter, order, offset, limit).await?;
    let slug_of = |article: &Article| {
        let of = categories.iter().find(|category| Some(category.id) == article.category_id);
        of.map(|category| category.slug.clone())
    };
    let data = found.into_iter().map(|article| short(slug_of(&article), article)).collect();
    let page: List<ShortView> = window.list(data, count);
    centre.answer(page)
}

fn short(category: Option<String>, article: Article) -> ShortView {
    let line = article.content.split_whitespace().collect::<Vec<_>>().join(" ");
    let excerpt = match line.char_indices().nth(EXCERPT) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    };
    ShortView {
        slug: article.slug,
        title: article.title,
        excerpt,
        language: article.language.code(),
        tags: article.tags,
        category,
        published_at: article.published_at.map(Timestamp::to_rfc3339),
        updated_at: article.updated_at.to_rfc3339(),
    }
}
