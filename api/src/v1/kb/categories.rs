//! Categories of articles.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::article::{ArticleCategory, is_slug, slug_of};
use domain::{CategoryId, DomainError, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::{StorageError, articles};
use utoipa::ToSchema;

use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::state::AppState;
use crate::v1::end_users::known_language;
use crate::v1::etag::{IfMatch, Tagged};
use crate::v1::paging::List;

const MAX_NAME: usize = 100;
const MAX_PLACE: i64 = 1_000_000;

/// What a category is called, by language.
pub(in crate::v1) type NamesView = BTreeMap<String, String>;

/// A category.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ArticleCategory)]
pub(in crate::v1) struct CategoryView {
    #[schema(pattern = "^cat_[0-9a-f]{32}$")]
    id: String,
    /// Its name in addresses.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "entradas")]
    slug: String,
    /// What it is called, by language.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"es": "Entradas", "en": "Tickets"}))]
    names: NamesView,
    /// Where it stands among the others, the lowest first.
    #[schema(minimum = 0, maximum = 1_000_000)]
    order: i64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A new category.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::v1) struct NewCategory {
    /// By `es`, `en`, `pt`, each of at most 100 characters; at least one.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"es": "Entradas", "en": "Tickets"}))]
    names: NamesView,
    /// Made from a name without one.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", max_length = 100)]
    slug: Option<String>,
    #[serde(default)]
    #[schema(default = 0, minimum = 0, maximum = 1_000_000)]
    order: i64,
}

/// A change of a category. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::v1) struct CategoryChange {
    /// All of them.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    names: Option<NamesView>,
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", max_length = 100)]
    slug: Option<String>,
    #[schema(minimum = 0, maximum = 1_000_000)]
    order: Option<i64>,
}

/// List categories
#[utoipa::path(
    get,
    path = "/v1/kb/categories",
    tag = "Knowledge base",
    operation_id = "listArticleCategories",
    responses((status = 200, description = "All of them, in order.", body = List<CategoryView>)),
)]
#[tracing::instrument(name = "handler.v1.kb.categories.list", skip_all)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<Json<List<CategoryView>>> {
    let mut conn = state.db.read().await?;
    let (all, _) = articles::categories(&mut conn, caller.workspace()).await?;
    Ok(Json(List::whole(all.into_iter().map(CategoryView::from).collect())))
}

/// Create a category
#[utoipa::path(
    post,
    path = "/v1/kb/categories",
    tag = "Knowledge base",
    operation_id = "createArticleCategory",
    request_body = NewCategory,
    responses(
        (status = 201, description = "The category.", body = CategoryView),
        (status = 409, description = "Another one has the slug.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.kb.categories.create", skip_all)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewCategory>,
) -> ApiResult<(StatusCode, Tagged<CategoryView>)> {
    let names = checked_names(new.names)?;
    let slug = match new.slug {
        Some(slug) => slug,
        None => names
            .values()
            .map(|name| slug_of(name))
            .find(|slug| !slug.is_empty())
            .unwrap_or_default(),
    };
    let now = state.ambient.now();
    let category = ArticleCategory {
        id: state.ambient.new_id(),
        slug: checked_slug(slug)?,
        names,
        place: checked_place(new.order)?,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.db.write().await?;
    let stored = articles::insert_category(&mut tx, caller.workspace(), &category).await;
    stored.map_err(slug_taken)?;
    let changed = Changed { after: Some(noted(&category)), ..Changed::default() };
    caller.audit(&mut tx, &state.ambient, "article-category.created", category.id, changed).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Tagged::of(category.into())?))
}

/// Change a category
#[utoipa::path(
    patch,
    path = "/v1/kb/categories/{categoryId}",
    tag = "Knowledge base",
    operation_id = "updateArticleCategory",
    params(("categoryId" = String, Path), IfMatch),
    request_body = CategoryChange,
    responses(
        (status = 200, description = "The category.", body = CategoryView),
        (status = 409, description = "Another one has the slug.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.kb.categories.update", skip_all)]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Id(id): Id<CategoryId>,
    Json(change): Json<CategoryChange>,
) -> ApiResult<Tagged<CategoryView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, workspace).await?;
    let before = articles::category(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if_match.check(&CategoryView::from(before.clone()))?;
    let mut after = ArticleCategory { updated_at: state.ambient.now(), ..before.clone() };
    if let Some(names) = change.names {
        after.names = checked_names(names)?;
    }
    if let Some(slug) = change.slug {
        after.slug = checked_slug(slug)?;
    }
    if let Some(order) = change.order {
        after.place = checked_place(order)?;
    }
    let written = articles::update_category(&mut tx, workspace, &after).await;
    written.map_err(slug_taken)?;
    let changed = Changed { before: Some(noted(&before)), after: Some(noted(&after)) };
    caller.audit(&mut tx, &state.ambient, "article-category.updated", id, changed).await?;
    tx.commit().await?;
    Tagged::of(after.into())
}

/// Delete a category
///
/// Its articles stay, without one.
#[utoipa::path(
    delete,
    path = "/v1/kb/categories/{categoryId}",
    tag = "Knowledge base",
    operation_id = "deleteArticleCategory",
    params(("categoryId" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.kb.categories.delete", skip_all)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<CategoryId>,
) -> ApiResult<StatusCode> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    let before = articles::category(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    articles::delete_category(&mut tx, workspace, id).await?;
    let changed = Changed { before: Some(noted(&before)), ..Changed::default() };
    caller.audit(&mut tx, &state.ambient, "article-category.deleted", id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked_names(names: NamesView) -> ApiResult<NamesView> {
    if names.is_empty() {
        return Err(ApiError::invalid("names", "`names` must have one for es, en or pt"));
    }
    let mut checked = NamesView::new();
    for (code, name) in names {
        let field = format!("names.{code}");
        known_language(&field, &code).map_err(|_| {
            ApiError::invalid("names", "`names` has texts by es, en and pt and nothing else")
        })?;
        checked.insert(code, text::required(&field, &name, MAX_NAME)?);
    }
    Ok(checked)
}

fn checked_slug(slug: String) -> ApiResult<String> {
    if is_slug(&slug) {
        return Ok(slug);
    }
    let message = "`slug` must be 1 to 100 of a-z, 0-9 and single hyphens between them";
    Err(ApiError::invalid("slug", message))
}

fn checked_place(order: i64) -> ApiResult<i64> {
    if (0..=MAX_PLACE).contains(&order) {
        return Ok(order);
    }
    let message = format!("`order` must be a whole number from 0 to {MAX_PLACE}");
    Err(ApiError::invalid("order", message))
}

fn slug_taken(error: StorageError) -> ApiError {
    match error {
        StorageError::Conflict(_) => {
            let message = "another category has that `slug`; choose another one";
            DomainError::conflict("CONFLICT", message).at("slug").into()
        }
        other => other.into(),
    }
}

fn noted(category: &ArticleCategory) -> Value {
    json!({"slug": category.slug, "names": category.names, "order": category.place})
}

fn absent() -> ApiError {
    DomainError::not_found("category").into()
}

impl From<ArticleCategory> for CategoryView {
    fn from(category: ArticleCategory) -> Self {
        Self {
            id: category.id.to_string(),
            slug: category.slug,
            names: category.names,
            order: category.place,
            created_at: category.created_at.to_rfc3339(),
            updated_at: category.updated_at.to_rfc3339(),
        }
    }
}
