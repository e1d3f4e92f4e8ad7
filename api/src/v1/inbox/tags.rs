//! The tags of a workspace.

use axum::extract::State;
use domain::ids::PrefixedId;
use domain::{Action, DomainError, TagId, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::inbox::{Tag, TagInUse};
use storage::{StorageError, inbox};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::work::MAX_TAG;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;
use crate::v1::etag::{IfMatch, Tagged};
use crate::v1::paging::{List, ListQuery};

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .panel(Action::ReadConversations, routes!(get))
        .panel(Action::WorkConversations, routes!(create))
        .panel(Action::WorkConversations, routes!(update))
        .panel(Action::ManageWorkspace, routes!(remove))
}

/// A tag of conversations.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tag)]
struct TagView {
    #[schema(pattern = "^tag_[0-9a-f]{32}$")]
    id: String,
    #[schema(example = "vip")]
    name: String,
    #[schema(pattern = "^#[0-9a-f]{6}$", example = "#00aeef")]
    colour: Option<String>,
    /// Conversations that have it.
    #[schema(minimum = 0)]
    conversations: i64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
}

/// A new tag.
#[derive(Debug, Deserialize, ToSchema)]
struct NewTag {
    /// Unique in the workspace, in whichever case.
    #[schema(min_length = 1, max_length = 50, example = "vip")]
    name: String,
    #[schema(pattern = "^#[0-9A-Fa-f]{6}$", example = "#00AEEF")]
    colour: Option<String>,
}

/// A change of a tag; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
struct TagChange {
    #[schema(min_length = 1, max_length = 50, example = "vip", nullable = false)]
    name: Option<String>,
    /// Null: none.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^#[0-9A-Fa-f]{6}$", example = "#00AEEF")]
    colour: Patch<String>,
}

/// What of a tag is edited.
#[derive(Serialize)]
struct Editable<'t> {
    name: &'t str,
    colour: Option<&'t str>,
}

/// List tags
///
/// By name.
#[utoipa::path(
    get,
    path = "/v1/tags",
    tag = "Tags",
    operation_id = "listTags",
    params(ListQuery),
    responses((status = 200, description = "A page of tags.", body = List<TagView>)),
)]
#[tracing::instrument(name = "handler.v1.tags.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<TagView>>> {
    let mut conn = state.db.read().await?;
    let all = inbox::tags(&mut conn, caller.workspace()).await?;
    Ok(Json(query.page_by_name(all, |one| [&one.tag.name, ""])?))
}

/// Get a tag
#[utoipa::path(
    get,
    path = "/v1/tags/{tagId}",
    tag = "Tags",
    operation_id = "getTag",
    params(("tagId" = String, Path)),
    responses((status = 200, description = "The tag.", body = TagView)),
)]
#[tracing::instrument(name = "handler.v1.tags.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<TagId>,
) -> ApiResult<Tagged<TagView>> {
    let mut conn = state.db.read().await?;
    let found = inbox::tag(&mut conn, caller.workspace(), id).await?;
    answer(found.ok_or_else(|| DomainError::not_found(TagId::KIND))?)
}

/// Create a tag
#[utoipa::path(
    post,
    path = "/v1/tags",
    tag = "Tags",
    operation_id = "createTag",
    request_body = NewTag,
    responses(
        (status = 201, description = "The tag.", body = TagView),
        (status = 409, description = "There is one of that name.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.tags.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewTag>,
) -> ApiResult<(StatusCode, Json<TagView>)> {
    let tag = Tag {
        id: state.ambient.new_id(),
        name: text::required("name", &new.name, MAX_TAG)?,
        colour: new.colour.as_deref().map(checked_colour).transpose()?,
        created_at: state.ambient.now(),
    };
    let mut tx = state.db.write().await?;
    inbox::create_tag(&mut tx, caller.workspace(), &tag).await.map_err(taken)?;
    let changed = Changed { before: None, after: Some(json_of(&tag)) };
    caller.audit(&mut tx, &state.ambient, "tag.created", tag.id, changed).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(TagInUse { tag, conversations: 0 }.into())))
}

/// Change a tag
#[utoipa::path(
    patch,
    path = "/v1/tags/{tagId}",
    tag = "Tags",
    operation_id = "updateTag",
    params(("tagId" = String, Path), IfMatch),
    request_body = TagChange,
    responses(
        (status = 200, description = "The tag.", body = TagView),
        (status = 409, description = "Another has that name.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.tags.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<TagId>,
    if_match: IfMatch,
    Json(change): Json<TagChange>,
) -> ApiResult<Tagged<TagView>> {
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, caller.workspace()).await?;
    let found = inbox::tag(&mut tx, caller.workspace(), id).await?;
    let TagInUse { tag: before, conversations } =
        found.ok_or_else(|| DomainError::not_found(TagId::KIND))?;
    if_match.check(&editable(&before))?;
    let mut tag = before.clone();
    if let Some(name) = change.name {
        tag.name = text::required("name", &name, MAX_TAG)?;
    }
    match change.colour {
        Patch::Keep => {}
        Patch::Clear => tag.colour = None,
        Patch::Set(colour) => tag.colour = Some(checked_colour(&colour)?),
    }
    if tag != before {
        inbox::change_tag(&mut tx, caller.workspace(), &tag).await.map_err(taken)?;
        let changed = Changed { before: Some(json_of(&before)), after: Some(json_of(&tag)) };
        caller.audit(&mut tx, &state.ambient, "tag.updated", id, changed).await?;
    }
    tx.commit().await?;
    answer(TagInUse { tag, conversations })
}

/// Delete a tag
///
/// Conversations lose it.
#[utoipa::path(
    delete,
    path = "/v1/tags/{tagId}",
    tag = "Tags",
    operation_id = "deleteTag",
    params(("tagId" = String, Path), IfMatch),
    responses((status = 204, description = "It is gone.")),
)]
#[tracing::instrument(name = "handler.v1.tags.remove", skip_all)]
async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<TagId>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, caller.workspace()).await?;
    let found = inbox::tag(&mut tx, caller.workspace(), id).await?;
    let TagInUse { tag, .. } = found.ok_or_else(|| DomainError::not_found(TagId::KIND))?;
    if_match.check(&editable(&tag))?;
    inbox::delete_tag(&mut tx, caller.workspace(), id).await?;
    let changed = Changed { before: Some(json_of(&tag)), after: None };
    caller.audit(&mut tx, &state.ambient, "tag.deleted", id, changed).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(found: TagInUse) -> ApiResult<Tagged<TagView>> {
    let tag = found.tag.clone();
    Tagged::by(&editable(&tag), found.into())
}

fn editable(tag: &Tag) -> Editable<'_> {
    Editable { name: &tag.name, colour: tag.colour.as_deref() }
}

fn json_of(tag: &Tag) -> serde_json::Value {
    json!({"name": tag.name, "colour": tag.colour})
}

fn taken(error: StorageError) -> ApiError {
    match error {
        StorageError::Conflict(_) => {
            let message = "there is a tag of that name; choose another `name`";
            DomainError::conflict("NAME_TAKEN", message).at("name").into()
        }
        other => other.into(),
    }
}

fn checked_colour(text: &str) -> ApiResult<String> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    digits.map(|digits| format!("#{}", digits.to_ascii_lowercase())).ok_or_else(|| {
        ApiError::invalid("colour", "`colour` must be six hexadecimal digits, like #00aeef")
    })
}

impl From<TagInUse> for TagView {
    fn from(found: TagInUse) -> Self {
        Self {
            id: found.tag.id.to_string(),
            name: found.tag.name,
            colour: found.tag.colour,
            conversations: found.conversations,
            created_at: found.tag.created_at.to_rfc3339(),
        }
    }
}
