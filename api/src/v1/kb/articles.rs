//! Finding and deleting articles.

use axum::extract::State;
use domain::article::ArticleStatus;
use domain::contact::fold;
use domain::{ArticleId, DomainError};
use http::StatusCode;
use serde::Deserialize;
use storage::articles::{self, ArticleFilter, ArticleOrder};

use super::view::{ArticleView, RatedArticleView, noted};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::state::AppState;
use crate::v1::end_users::known_language;
use crate::v1::etag::{IfMatch, Tagged};
use crate::v1::paging::List;
use crate::v1::window::{WindowQuery, Windowed, sought};

/// What `orderBy` takes.
const ORDERS: [(&str, ArticleOrder); 2] =
    [("updatedAt", ArticleOrder::Changed), ("createdAt", ArticleOrder::Created)];

/// Most words that are looked for.
const MAX_WORDS: usize = 8;

/// Which articles.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct ArticleQuery {
    status: Option<String>,
    language: Option<String>,
    category_id: Option<String>,
    tag: Option<String>,
}

/// List articles
///
/// Drafts too. What changed last comes first; `orderBy`: `updatedAt` or `createdAt`. `criteria` looks in titles and texts.
#[utoipa::path(
    get,
    path = "/v1/kb/articles",
    tag = "Knowledge base",
    operation_id = "listArticles",
    params(
        ("status" = Option<String>, Query, description = "Only those that customers see, or only others.", pattern = "^(draft|published)$"),
        ("language" = Option<String>, Query, description = "Only in this language.", pattern = "^(es|en|pt)$"),
        ("categoryId" = Option<String>, Query, description = "Only in this category."),
        ("tag" = Option<String>, Query, description = "Only with this tag.", max_length = 200),
        ("orderBy" = Option<String>, Query, description = "`updatedAt` without one.", pattern = "^(updatedAt|createdAt)$"),
        WindowQuery,
    ),
    responses((status = 200, description = "A page of articles.", body = List<RatedArticleView>)),
)]
#[tracing::instrument(name = "handler.v1.kb.articles.list", skip_all)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Windowed(window, query): Windowed<ArticleQuery>,
) -> ApiResult<Json<List<RatedArticleView>>> {
    let window = window.read(&ORDERS, true)?;
    let filter = query.filter(window.criteria.as_deref())?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let count = articles::count(&mut conn, workspace, &filter).await?;
    let order = (window.by, window.descending);
    let (offset, limit) = (window.offset(), window.limit());
    let found = articles::list(&mut conn, workspace, &filter, order, offset, limit).await?;
    Ok(Json(window.list(found.into_iter().map(RatedArticleView::from).collect(), count)))
}

impl ArticleQuery {
    fn filter(&self, criteria: Option<&str>) -> ApiResult<ArticleFilter> {
        let status = match self.status.as_deref() {
            None => None,
            Some(word) => {
                let known = ArticleStatus::ALL.into_iter().find(|status| status.name() == word);
                Some(known.ok_or_else(|| {
                    ApiError::invalid("status", "`status` must be draft or published")
                })?)
            }
        };
        let language = self.language.as_deref().map(|code| known_language("language", code));
        let category = self.category_id.as_deref().map(|id| {
            id.parse()
                .map_err(|error| ApiError::invalid("categoryId", format!("`categoryId`: {error}")))
        });
        Ok(ArticleFilter {
            words: words_sought(criteria),
            status,
            language: language.transpose()?,
            category: category.transpose()?,
            tag: sought("tag", self.tag.as_deref())?,
        })
    }
}

/// The words of a search over articles.
pub(in crate::v1) fn words_sought(text: Option<&str>) -> Vec<String> {
    let folded = fold(text.unwrap_or_default());
    folded.split_whitespace().take(MAX_WORDS).map(str::to_owned).collect()
}

/// Get an article
#[utoipa::path(
    get,
    path = "/v1/kb/articles/{articleId}",
    tag = "Knowledge base",
    operation_id = "getArticle",
    params(("articleId" = String, Path)),
    responses((status = 200, description = "The article.", body = RatedArticleView)),
)]
#[tracing::instrument(name = "handler.v1.kb.articles.get", skip_all)]
pub(super) async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ArticleId>,
) -> ApiResult<Tagged<RatedArticleView>> {
    let mut conn = state.db.read().await?;
    let found = articles::get(&mut conn, caller.workspace(), id).await?.ok_or_else(absent)?;
    Tagged::by(&ArticleView::from(found.clone()), found.into())
}

/// Delete an article
///
/// Agents no longer answer from it.
#[utoipa::path(
    delete,
    path = "/v1/kb/articles/{articleId}",
    tag = "Knowledge base",
    operation_id = "deleteArticle",
    params(("articleId" = String, Path), IfMatch),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.kb.articles.delete", skip_all)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Id(id): Id<ArticleId>,
) -> ApiResult<StatusCode> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    let found = articles::lock(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if_match.check(&ArticleView::from(found.clone()))?;
    articles::delete(&mut tx, workspace, id).await?;
    articles::want_mirror(&mut tx, &state.ambient, workspace, id, None).await?;
    let changed = Changed { before: Some(noted(&found)), ..Changed::default() };
    caller.audit(&mut tx, &state.ambient, "article.deleted", id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Absent, or another workspace's.
pub(super) fn absent() -> ApiError {
    DomainError::not_found("article").into()
}
