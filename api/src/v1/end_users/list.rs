//! Finding end-users.

use axum::extract::State;
use domain::contact::words_sought;
use domain::{ContactId, DomainError};
use serde::{Deserialize, Serialize};
use storage::contacts::{self, ContactFilter, ContactOrder};
use utoipa::ToSchema;

use super::view::EndUserView;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::state::AppState;
use crate::v1::etag::Tagged;
use crate::v1::paging::List;
use crate::v1::window::{WindowQuery, Windowed, sought};

/// What `orderBy` takes.
const ORDERS: [(&str, ContactOrder); 3] = [
    ("createdAt", ContactOrder::Created),
    ("updatedAt", ContactOrder::Changed),
    ("name", ContactOrder::Name),
];

/// Most tags of a workspace that are listed.
const MOST_TAGS: i64 = 1_000;

/// Which end-users.
#[derive(Debug, Deserialize)]
pub(in crate::v1) struct EndUserQuery {
    search: Option<String>,
    tag: Option<String>,
    blocked: Option<String>,
}

/// A tag and how many have it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndUserTag)]
pub(in crate::v1) struct TagView {
    #[schema(example = "cliente_frecuente")]
    tag: String,
    #[schema(minimum = 1)]
    count: i64,
}

/// List end-users
///
/// The newest first. `orderBy`: `createdAt`, `updatedAt` or `name`.
#[utoipa::path(
    get,
    path = "/v1/end-users",
    tag = "End-users",
    operation_id = "listEndUsers",
    params(
        ("search" = Option<String>, Query, description = "Only those whose names, e-mail addresses or phone numbers have words that begin so; `criteria` does the same."),
        ("tag" = Option<String>, Query, description = "Only those with this tag.", max_length = 200),
        ("blocked" = Option<bool>, Query, description = "Only blocked ones (`true`), or only others (`false`)."),
        ("orderBy" = Option<String>, Query, description = "`createdAt` without one.", pattern = "^(createdAt|updatedAt|name)$"),
        WindowQuery,
    ),
    responses((status = 200, description = "A page of end-users.", body = List<EndUserView>)),
)]
#[tracing::instrument(name = "handler.v1.end_users.list", skip_all)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Windowed(window, query): Windowed<EndUserQuery>,
) -> ApiResult<Json<List<EndUserView>>> {
    let window = window.read(&ORDERS, true)?;
    let filter = query.filter(window.criteria.as_deref())?;
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let count = contacts::count(&mut conn, workspace, &filter).await?;
    let order = (window.by, window.descending);
    let (offset, limit) = (window.offset(), window.limit());
    let ids = contacts::list(&mut conn, workspace, &filter, order, offset, limit).await?;
    let found = contacts::profiles(&mut conn, workspace, &ids).await?;
    Ok(Json(window.list(found.into_iter().map(EndUserView::from).collect(), count)))
}

impl EndUserQuery {
    fn filter(&self, criteria: Option<&str>) -> ApiResult<ContactFilter> {
        let search = sought("search", self.search.as_deref())?;
        let texts = [search.as_deref(), criteria];
        let words = texts.into_iter().flatten().flat_map(words_sought).collect();
        let blocked = match self.blocked.as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => {
                return Err(ApiError::invalid("blocked", "`blocked` must be true or false"));
            }
        };
        Ok(ContactFilter { words, tag: sought("tag", self.tag.as_deref())?, blocked })
    }
}

/// List the tags of end-users
#[utoipa::path(
    get,
    path = "/v1/end-users/tags",
    tag = "End-users",
    operation_id = "listEndUserTags",
    responses((status = 200, description = "Every tag that somebody has.", body = List<TagView>)),
)]
#[tracing::instrument(name = "handler.v1.end_users.tags", skip_all)]
pub(super) async fn tags(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<Json<List<TagView>>> {
    let mut conn = state.db.read().await?;
    let tags = contacts::tag_counts(&mut conn, caller.workspace(), MOST_TAGS).await?;
    let data = tags.into_iter().map(|(tag, count)| TagView { tag, count }).collect();
    Ok(Json(List::whole(data)))
}

/// Get an end-user
#[utoipa::path(
    get,
    path = "/v1/end-users/{endUserId}",
    tag = "End-users",
    operation_id = "getEndUser",
    params(("endUserId" = String, Path)),
    responses((status = 200, description = "The end-user.", body = EndUserView)),
)]
#[tracing::instrument(name = "handler.v1.end_users.get", skip_all)]
pub(super) async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ContactId>,
) -> ApiResult<Tagged<EndUserView>> {
    let mut conn = state.db.read().await?;
    let found = contacts::profile(&mut conn, caller.workspace(), id).await?;
    Tagged::of(found.ok_or_else(absent)?.into())
}

/// Absent, or another workspace's.
pub(in crate::v1) fn absent() -> ApiError {
    DomainError::not_found("end-user").into()
}
