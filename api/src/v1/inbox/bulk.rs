//! The same change of many conversations.

use axum::extract::State;
use domain::conversation::Transition;
use domain::{Action, ConversationId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::filter::ConversationFilter;
use super::words::Priority;
use super::work::{Work, perform, snooze_time, tag_names};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().panel(Action::WorkConversations, routes!(change_many))
}

/// Most conversations at once.
const MOST: usize = 100;

/// What to do with which conversations.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkChange {
    /// Which; or `filter`.
    #[schema(min_items = 1, max_items = 100, nullable = false)]
    ids: Option<Vec<String>>,
    /// Those that it finds, last changed first, at most 100; or `ids`.
    #[schema(nullable = false)]
    filter: Option<ConversationFilter>,
    action: BulkAction,
    /// Of `assign`: a member who works conversations; null: nobody.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^user_[0-9a-f]{32}$")]
    assigned_to_user_id: Patch<UserId>,
    /// Of `tag` and `untag`: names.
    #[schema(min_items = 1, max_items = 20, nullable = false)]
    tags: Option<Vec<String>>,
    /// Of `priority`.
    #[schema(nullable = false)]
    priority: Option<Priority>,
    /// Of `snooze`: RFC 3339, within a year; null: they are put off no more.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    snoozed_until: Patch<String>,
}

/// What is done with each of them.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum BulkAction {
    Close,
    Reopen,
    Assign,
    Tag,
    Untag,
    Priority,
    Snooze,
    HandBack,
}

/// What became of each.
#[derive(Debug, Serialize, ToSchema)]
struct BulkOutcome {
    data: Vec<BulkItem>,
    meta: BulkMeta,
}

/// What became of one.
#[derive(Debug, Serialize, ToSchema)]
struct BulkItem {
    /// As it was given.
    id: String,
    done: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<BulkError>,
}

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
struct BulkError {
    #[schema(example = "NOT_FOUND")]
    code: &'static str,
    #[schema(example = "conversation not found")]
    message: String,
}

/// How many there were.
#[derive(Debug, Serialize, ToSchema)]
struct BulkMeta {
    done: usize,
    failed: usize,
    /// Whether the filter finds more than were taken.
    more: bool,
}

/// Change many conversations
///
/// Each by itself: one that cannot be changed stops none of the others.
#[utoipa::path(
    post,
    path = "/v1/conversations/bulk",
    tag = "Conversations",
    operation_id = "changeConversations",
    request_body = BulkChange,
    responses((status = 200, description = "What became of each.", body = BulkOutcome)),
)]
#[tracing::instrument(name = "handler.v1.conversations.bulk", skip_all)]
async fn change_many(
    State(state): State<AppState>,
    caller: Caller,
    Json(change): Json<BulkChange>,
) -> ApiResult<Json<BulkOutcome>> {
    let work = change.work(&state)?;
    let (ids, more) = match (change.ids, change.filter) {
        (Some(ids), None) => (checked_ids(ids)?, false),
        (None, Some(filter)) => found(&state, &caller, filter).await?,
        (None, None) => {
            let message = "`ids` is missing; send `ids`, or `filter`";
            return Err(ApiError::invalid("ids", message));
        }
        (Some(_), Some(_)) => {
            let message = "`ids` and `filter` exclude each other; send one of them";
            return Err(ApiError::invalid("filter", message));
        }
    };
    let mut data = Vec::with_capacity(ids.len());
    for id in ids {
        let outcome = change_one(&state, &caller, &id, &work).await;
        let error = outcome.err().map(|error| BulkError {
            code: error.domain().code,
            message: error.domain().message.clone(),
        });
        data.push(BulkItem { id, done: error.is_none(), error });
    }
    let done = data.iter().filter(|item| item.done).count();
    let meta = BulkMeta { done, failed: data.len() - done, more };
    Ok(Json(BulkOutcome { data, meta }))
}

async fn change_one(state: &AppState, caller: &Caller, id: &str, work: &Work) -> ApiResult<()> {
    let id: ConversationId =
        id.parse().map_err(|_| domain::DomainError::not_found("conversation"))?;
    let mut tx = state.db.write().await?;
    let works = std::slice::from_ref(work);
    perform((state, caller), &mut tx, id, works, |_| Ok(())).await?;
    tx.commit().await?;
    Ok(())
}

fn checked_ids(ids: Vec<String>) -> ApiResult<Vec<String>> {
    if ids.is_empty() || ids.len() > MOST {
        let message = format!("`ids` must have 1 to {MOST} ids");
        return Err(ApiError::invalid("ids", message));
    }
    let mut once: Vec<String> = Vec::with_capacity(ids.len());
    for id in ids {
        if !once.contains(&id) {
            once.push(id);
        }
    }
    Ok(once)
}

async fn found(
    state: &AppState,
    caller: &Caller,
    filter: ConversationFilter,
) -> ApiResult<(Vec<String>, bool)> {
    let filter = filter.checked(caller)?;
    let reader = caller.person().ok().map(|person| person.user);
    let mut conn = state.db.read().await?;
    let one_more = i64::try_from(MOST + 1).unwrap_or(i64::MAX);
    let ids = storage::inbox::ids(&mut conn, caller.workspace(), reader, &filter, one_more).await?;
    let more = ids.len() > MOST;
    Ok((ids.into_iter().take(MOST).map(|id| id.to_string()).collect(), more))
}

impl BulkChange {
    fn work(&self, state: &AppState) -> ApiResult<Work> {
        let missing = |field: &str| {
            let message = format!("`{field}` is missing; this action needs it");
            ApiError::invalid(field, message)
        };
        let tags = || match self.tags.as_deref() {
            Some(names) if !names.is_empty() => tag_names(names),
            _ => Err(missing("tags")),
        };
        Ok(match self.action {
            BulkAction::Close => Work::Move(Transition::Close),
            BulkAction::Reopen => Work::Move(Transition::Reopen),
            BulkAction::HandBack => Work::Move(Transition::HandBack),
            BulkAction::Assign => match &self.assigned_to_user_id {
                Patch::Keep => return Err(missing("assignedToUserId")),
                Patch::Clear => Work::Unassign,
                Patch::Set(user) => Work::Assign(*user),
            },
            BulkAction::Tag => Work::AddTags(tags()?),
            BulkAction::Untag => Work::RemoveTags(tags()?),
            BulkAction::Priority => {
                let priority = self.priority.ok_or_else(|| missing("priority"))?;
                Work::SetPriority(priority.into())
            }
            BulkAction::Snooze => match &self.snoozed_until {
                Patch::Keep => return Err(missing("snoozedUntil")),
                Patch::Clear => Work::Unsnooze,
                Patch::Set(until) => Work::Snooze(snooze_time(state, until)?),
            },
        })
    }
}
