//! Writing articles.

use axum::extract::State;
use domain::article::{Article, ArticleStatus, is_slug, slug_of};
use domain::{ArticleId, CategoryId, DomainError, Lang, WorkspaceId, text};
use http::StatusCode;
use serde::Deserialize;
use storage::{StorageError, Tx, articles};
use utoipa::ToSchema;

use super::articles::absent;
use super::view::{ArticleState, ArticleView, RatedArticleView, noted};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::patch::Patch;
use crate::state::AppState;
use crate::v1::end_users::{checked_tags, known_language};
use crate::v1::etag::{IfMatch, Tagged};
use crate::v1::help::link_of;

const MAX_TITLE: usize = 200;
const MAX_CONTENT: usize = 100_000;
/// The name of an article whose title has no letters that addresses take.
const NAMELESS: &str = "articulo";

/// A new article.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct NewArticle {
    #[schema(min_length = 1, max_length = 200, example = "Política de cambios y devoluciones")]
    title: String,
    /// Markdown.
    #[schema(
        min_length = 1,
        max_length = 100_000,
        example = "Podrás cambiar tus entradas hasta 24h antes..."
    )]
    content: String,
    /// Each of 1 to 50 characters.
    #[serde(default)]
    #[schema(max_items = 50, example = json!(["devoluciones", "cambios"]))]
    tags: Vec<String>,
    /// Without it, what the text is found to be in.
    #[schema(pattern = "^(es|en|pt)$")]
    language: Option<String>,
    /// Its name in addresses; without it, made from the title.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", max_length = 100)]
    slug: Option<String>,
    #[schema(value_type = Option<String>, pattern = "^cat_[0-9a-f]{32}$")]
    category_id: Option<CategoryId>,
    /// `published` without one.
    status: Option<ArticleState>,
}

/// A change of an article. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct ArticleChange {
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    #[schema(min_length = 1, max_length = 100_000)]
    content: Option<String>,
    /// All of them, each of 1 to 50 characters.
    #[schema(max_items = 50)]
    tags: Option<Vec<String>>,
    #[schema(pattern = "^(es|en|pt)$")]
    language: Option<String>,
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", max_length = 100)]
    slug: Option<String>,
    /// Null takes it out of its category.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^cat_[0-9a-f]{32}$")]
    category_id: Patch<CategoryId>,
    status: Option<ArticleState>,
}

/// Create an article
///
/// Published at once unless `status` is `draft`: customers see it in the help centre, and agents that answer from the default
/// datastore answer from it as soon as it is ingested.
#[utoipa::path(
    post,
    path = "/v1/kb/articles",
    tag = "Knowledge base",
    operation_id = "createArticle",
    request_body = NewArticle,
    responses(
        (status = 201, description = "The article.", body = RatedArticleView),
        (status = 409, description = "Another article of its language has the slug.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.kb.articles.create", skip_all)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewArticle>,
) -> ApiResult<(StatusCode, Tagged<RatedArticleView>)> {
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let title = text::required("title", &new.title, MAX_TITLE)?;
    let content = text::required("content", &new.content, MAX_CONTENT)?;
    let language = match new.language {
        Some(code) => known_language("language", &code)?,
        None => detected(&content),
    };
    let given = new.slug.map(checked_slug).transpose()?;
    let tags = checked_tags("tags", &new.tags)?;
    let status = new.status.map_or(ArticleStatus::Published, Into::into);
    let mut tx = state.db.write().await?;
    let slug = match given {
        Some(slug) => slug,
        None => free_slug(&mut tx, workspace, language, &title).await?,
    };
    if let Some(category) = new.category_id {
        known_category(&mut tx, workspace, category).await?;
    }
    let article = Article {
        id: state.ambient.new_id(),
        workspace_id: workspace,
        language,
        slug,
        title,
        content,
        status,
        category_id: new.category_id,
        author_id: caller.person().ok().map(|person| person.user),
        tags,
        version: 1,
        helpful: 0,
        unhelpful: 0,
        published_at: (status == ArticleStatus::Published).then_some(now),
        created_at: now,
        updated_at: now,
    };
    articles::insert(&mut tx, &article).await.map_err(slug_taken)?;
    want_mirror(&state, &mut tx, &article).await?;
    let changed = Changed { after: Some(noted(&article)), ..Changed::default() };
    caller.audit(&mut tx, &state.ambient, "article.created", article.id, changed).await?;
    tx.commit().await?;
    let tagged = Tagged::by(&ArticleView::from(article.clone()), article.into())?;
    Ok((StatusCode::CREATED, tagged))
}

/// Change an article
///
/// Agents answer from what it says then as soon as it is ingested; from one that is a draft again they do not.
#[utoipa::path(
    patch,
    path = "/v1/kb/articles/{articleId}",
    tag = "Knowledge base",
    operation_id = "updateArticle",
    params(("articleId" = String, Path), IfMatch),
    request_body = ArticleChange,
    responses(
        (status = 200, description = "The article.", body = RatedArticleView),
        (status = 409, description = "Another article of its language has the slug.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.kb.articles.update", skip_all)]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Id(id): Id<ArticleId>,
    Json(change): Json<ArticleChange>,
) -> ApiResult<Tagged<RatedArticleView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    let before = articles::lock(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if_match.check(&ArticleView::from(before.clone()))?;
    if let Patch::Set(category) = change.category_id {
        known_category(&mut tx, workspace, category).await?;
    }
    let after = change.applied(before.clone())?;
    if after != before {
        let now = state.ambient.now();
        let is_published = after.status == ArticleStatus::Published;
        let after = Article {
            version: before.version + 1,
            published_at: is_published.then(|| before.published_at.unwrap_or(now)),
            updated_at: now,
            ..after
        };
        articles::update(&mut tx, &after).await.map_err(slug_taken)?;
        want_mirror(&state, &mut tx, &after).await?;
        let changed = Changed { before: Some(noted(&before)), after: Some(noted(&after)) };
        caller.audit(&mut tx, &state.ambient, "article.updated", id, changed).await?;
        tx.commit().await?;
        return Tagged::by(&ArticleView::from(after.clone()), after.into());
    }
    Tagged::by(&ArticleView::from(before.clone()), before.into())
}

impl ArticleChange {
    fn applied(self, article: Article) -> ApiResult<Article> {
        let mut article = article;
        if let Some(title) = self.title {
            article.title = text::required("title", &title, MAX_TITLE)?;
        }
        if let Some(content) = self.content {
            article.content = text::required("content", &content, MAX_CONTENT)?;
        }
        if let Some(tags) = self.tags {
            article.tags = checked_tags("tags", &tags)?;
        }
        if let Some(code) = self.language {
            article.language = known_language("language", &code)?;
        }
        if let Some(slug) = self.slug {
            article.slug = checked_slug(slug)?;
        }
        self.category_id.apply(&mut article.category_id, Ok)?;
        if let Some(status) = self.status {
            article.status = status.into();
        }
        Ok(article)
    }
}

async fn want_mirror(state: &AppState, tx: &mut Tx, article: &Article) -> ApiResult<()> {
    let link = link_of(state, tx, article).await?;
    let (workspace, ambient) = (article.workspace_id, &state.ambient);
    articles::want_mirror(tx, ambient, workspace, article.id, link.as_deref()).await?;
    Ok(())
}

/// The language that a text is in, Spanish where it does not tell.
fn detected(content: &str) -> Lang {
    let found = models::lexical::detect(content);
    found.filter(|language| Lang::KNOWN.contains(language)).unwrap_or_default()
}

fn checked_slug(slug: String) -> ApiResult<String> {
    if is_slug(&slug) {
        return Ok(slug);
    }
    let message = "`slug` must be 1 to 100 of a-z, 0-9 and single hyphens between them";
    Err(ApiError::invalid("slug", message))
}

/// A slug made from a title that no article of the language has.
async fn free_slug(
    tx: &mut Tx,
    workspace: WorkspaceId,
    language: Lang,
    title: &str,
) -> ApiResult<String> {
    let wanted = Some(slug_of(title)).filter(|slug| !slug.is_empty());
    let wanted = wanted.unwrap_or_else(|| NAMELESS.to_owned());
    let taken = articles::taken_slugs(tx, workspace, language, &wanted).await?;
    let mut slug = wanted.clone();
    for number in 2.. {
        if !taken.contains(&slug) {
            break;
        }
        slug = format!("{wanted}-{number}");
    }
    Ok(slug)
}

async fn known_category(tx: &mut Tx, workspace: WorkspaceId, id: CategoryId) -> ApiResult<()> {
    if articles::category(tx, workspace, id).await?.is_some() {
        return Ok(());
    }
    Err(ApiError::invalid("categoryId", "`categoryId` is no category of this workspace"))
}

fn slug_taken(error: StorageError) -> ApiError {
    match error {
        StorageError::Conflict(_) => {
            let message = "another article of this language has that `slug`; choose another one";
            DomainError::conflict("CONFLICT", message).at("slug").into()
        }
        other => other.into(),
    }
}
