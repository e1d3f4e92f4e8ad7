//! The notes that call the person.

use axum::extract::State;
use domain::note::Mention;
use domain::{Action, DomainError, NoteId, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use storage::notes::{self, MentionFilter};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::paging::{List, Meta};
use super::notes::NoteView;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .person(Action::ReadConversations, routes!(list))
        .person(Action::ReadConversations, routes!(read))
        .person(Action::ReadConversations, routes!(read_all))
}

/// A note that calls the person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Mention)]
struct MentionView {
    note: NoteView,
    /// Whether the person has read it.
    read: bool,
    /// RFC 3339; absent until it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    read_at: Option<String>,
}

/// Which mentions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MentionQuery {
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `true`: only those that were not read.
    #[param(value_type = bool, required = false)]
    unread: Option<String>,
}

/// List mentions
///
/// The notes that call the person: those that were not read first, then the newest first.
#[utoipa::path(
    get,
    path = "/v1/mentions",
    tag = "Notes",
    operation_id = "listMentions",
    params(MentionQuery),
    responses((status = 200, description = "A page of mentions.", body = List<MentionView>)),
)]
#[tracing::instrument(name = "handler.v1.mentions.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<MentionQuery>,
) -> ApiResult<Json<List<MentionView>>> {
    let number = |field, text: &Option<String>, default, most| match text {
        Some(text) => whole_number(field, text, 1, most),
        None => Ok(default),
    };
    let page = number("page", &query.page, 1, i64::from(u32::MAX))?;
    let take = number("take", &query.take, 10, 100)?;
    let filter = match query.unread.as_deref() {
        None | Some("false") => MentionFilter::Any,
        Some("true") => MentionFilter::Unread,
        Some(_) => return Err(ApiError::invalid("unread", "`unread` must be true or false")),
    };
    let (user, workspace) = (caller.person()?.user, caller.workspace());
    let mut conn = state.db.read().await?;
    let all = notes::count_mentions(&mut conn, workspace, user, filter).await?;
    let place = (take, (page - 1) * take);
    let found = notes::mentions(&mut conn, workspace, user, filter, place).await?;
    let data = found.into_iter().map(MentionView::from).collect();
    let whole = |number: i64| usize::try_from(number).unwrap_or(0);
    Ok(Json(List { data, meta: Meta::of(whole(page), whole(take), whole(all)) }))
}

/// Mark a mention as read
#[utoipa::path(
    post,
    path = "/v1/mentions/{noteId}/read",
    tag = "Notes",
    operation_id = "readMention",
    params(("noteId" = String, Path)),
    responses((status = 204, description = "It is read.")),
)]
#[tracing::instrument(name = "handler.v1.mentions.read", skip_all)]
async fn read(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<NoteId>,
) -> ApiResult<StatusCode> {
    let (user, now) = (caller.person()?.user, state.ambient.now());
    let mut tx = state.db.write().await?;
    if !notes::read_mention(&mut tx, caller.workspace(), user, id, now).await? {
        return Err(DomainError::not_found("mention").into());
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mark every mention as read
#[utoipa::path(
    post,
    path = "/v1/mentions/read",
    tag = "Notes",
    operation_id = "readMentions",
    responses((status = 204, description = "All of them are read.")),
)]
#[tracing::instrument(name = "handler.v1.mentions.read_all", skip_all)]
async fn read_all(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    let (user, now) = (caller.person()?.user, state.ambient.now());
    let mut tx = state.db.write().await?;
    notes::read_all_mentions(&mut tx, caller.workspace(), user, now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Mention> for MentionView {
    fn from(mention: Mention) -> Self {
        Self {
            note: mention.note.into(),
            read: mention.read_at.is_some(),
            read_at: mention.read_at.map(Timestamp::to_rfc3339),
        }
    }
}
