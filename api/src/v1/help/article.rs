//! One article, and what its readers think of it.

use axum::extract::State;
use axum::response::Response;
use domain::article::Article;
use domain::{DomainError, Lang, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use storage::articles;
use utoipa::ToSchema;

use super::list::LanguageQuery;
use super::place::{HelpCentre, asked_language};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::state::AppState;

/// An article of a help centre.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HelpArticle)]
pub(in crate::v1) struct HelpArticleView {
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "politica-de-cambios")]
    slug: String,
    title: String,
    /// Markdown. Show it as text or through a renderer that lets no HTML through.
    content: String,
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

/// What a reader thinks of an article.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::v1) struct HelpFeedback {
    helpful: bool,
}

/// Get an article of a help centre
///
/// Without `language` in the one that `Accept-Language` likes best, if it is there in it.
#[utoipa::path(
    get,
    path = "/v1/help/{workspaceCode}/articles/{slug}",
    tag = "Help centre",
    operation_id = "getHelpArticle",
    params(
        ("workspaceCode" = String, Path, description = "The workspace's code, or a site key of it."),
        ("slug" = String, Path),
        ("language" = Option<String>, Query, description = "Without it, the one that `Accept-Language` likes best.", pattern = "^(es|en|pt)$"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that you have."),
    ),
    responses(
        (status = 200, description = "The article.", body = HelpArticleView),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
#[tracing::instrument(name = "handler.v1.help.article", skip_all)]
pub(super) async fn get(
    State(state): State<AppState>,
    centre: HelpCentre,
    Query(query): Query<LanguageQuery>,
) -> ApiResult<Response> {
    let asked = asked_language(query.language.as_deref())?;
    let found = find(&state, &centre, asked).await?;
    let mut conn = state.db.read().await?;
    let category = match found.category_id {
        Some(id) => articles::category(&mut conn, centre.workspace.id, id).await?,
        None => None,
    };
    centre.answer(HelpArticleView {
        slug: found.slug,
        title: found.title,
        content: found.content,
        language: found.language.code(),
        tags: found.tags,
        category: category.map(|category| category.slug),
        published_at: found.published_at.map(Timestamp::to_rfc3339),
        updated_at: found.updated_at.to_rfc3339(),
    })
}

/// Say whether an article helped
#[utoipa::path(
    post,
    path = "/v1/help/{workspaceCode}/articles/{slug}/feedback",
    tag = "Help centre",
    operation_id = "rateHelpArticle",
    params(
        ("workspaceCode" = String, Path, description = "The workspace's code, or a site key of it."),
        ("slug" = String, Path),
        ("language" = Option<String>, Query, description = "Of the article that was read.", pattern = "^(es|en|pt)$"),
    ),
    request_body = HelpFeedback,
    responses((status = 204, description = "Counted.")),
)]
#[tracing::instrument(name = "handler.v1.help.rate", skip_all)]
pub(super) async fn rate(
    State(state): State<AppState>,
    centre: HelpCentre,
    Query(query): Query<LanguageQuery>,
    Json(feedback): Json<HelpFeedback>,
) -> ApiResult<StatusCode> {
    let asked = asked_language(query.language.as_deref())?;
    let found = find(&state, &centre, asked).await?;
    let (workspace, helpful) = (centre.workspace.id, feedback.helpful);
    let mut tx = state.db.write().await?;
    let rated = articles::rate(&mut tx, workspace, found.language, &found.slug, helpful).await?;
    tx.commit().await?;
    if rated { Ok(StatusCode::NO_CONTENT) } else { Err(absent()) }
}

async fn find(state: &AppState, centre: &HelpCentre, asked: Option<Lang>) -> ApiResult<Article> {
    let mut conn = state.db.read().await?;
    for language in centre.languages(asked) {
        let (workspace, slug) = (centre.workspace.id, &centre.slug);
        let found = articles::published(&mut conn, workspace, language, slug).await?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(absent())
}

/// Absent, a draft, or another workspace's.
fn absent() -> ApiError {
    DomainError::not_found("article").into()
}
