//! For how long a workspace keeps what customers said and who they are.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::retention::{self, Retention};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::etag::{IfMatch, Tagged};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;
use domain::Action;

/// Most days; about ten years.
const MAX_DAYS: i64 = 3_650;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadWorkspace, routes!(get))
        .panel(Action::ManageContacts, routes!(update))
}

/// After how many days what is removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Retention)]
struct RetentionView {
    /// Conversations in which nothing has happened since; null is never.
    #[schema(minimum = 1, maximum = 3650)]
    conversation_days: Option<i64>,
    /// End-users without conversations that have not changed since; null is never.
    #[schema(minimum = 1, maximum = 3650)]
    contact_days: Option<i64>,
}

/// A change of it. What is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetentionChange {
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 3650, example = 365)]
    conversation_days: Patch<i64>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 3650, example = 30)]
    contact_days: Patch<i64>,
}

/// Get for how long customers' data is kept
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}/retention",
    tag = "Workspaces",
    operation_id = "getRetention",
    params(("workspaceId" = String, Path)),
    responses((status = 200, description = "After how many days what is removed.", body = RetentionView)),
)]
#[tracing::instrument(name = "handler.v1.retention.get", skip_all)]
async fn get(State(state): State<AppState>, caller: Caller) -> ApiResult<Tagged<RetentionView>> {
    let mut conn = state.db.read().await?;
    Tagged::of(retention::get(&mut conn, caller.workspace()).await?.into())
}

/// Set for how long customers' data is kept
///
/// What is older is removed every night, with all that quotes it. Off unless it is set.
#[utoipa::path(
    patch,
    path = "/v1/workspaces/{workspaceId}/retention",
    tag = "Workspaces",
    operation_id = "updateRetention",
    params(("workspaceId" = String, Path), IfMatch),
    request_body = RetentionChange,
    responses((status = 200, description = "After how many days what is removed.", body = RetentionView)),
)]
#[tracing::instrument(name = "handler.v1.retention.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Json(change): Json<RetentionChange>,
) -> ApiResult<Tagged<RetentionView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, workspace).await?;
    let before = retention::get(&mut tx, workspace).await?;
    if_match.check(&RetentionView::from(before))?;
    let mut after = before;
    let days = |field: &'static str| move |days| checked(field, days);
    change.conversation_days.apply(&mut after.conversation_days, days("conversationDays"))?;
    change.contact_days.apply(&mut after.contact_days, days("contactDays"))?;
    if after != before {
        retention::set(&mut tx, workspace, after, state.ambient.now()).await?;
        let changed = Changed { before: Some(noted(before)), after: Some(noted(after)) };
        caller.audit(&mut tx, &state.ambient, "retention.updated", workspace, changed).await?;
    }
    tx.commit().await?;
    Tagged::of(after.into())
}

fn checked(field: &str, days: i64) -> ApiResult<i64> {
    if (1..=MAX_DAYS).contains(&days) {
        return Ok(days);
    }
    let message =
        format!("`{field}` must be a whole number from 1 to {MAX_DAYS}, or null for never");
    Err(ApiError::invalid(field, message))
}

fn noted(kept: Retention) -> serde_json::Value {
    json!({"conversationDays": kept.conversation_days, "contactDays": kept.contact_days})
}

impl From<Retention> for RetentionView {
    fn from(kept: Retention) -> Self {
        Self { conversation_days: kept.conversation_days, contact_days: kept.contact_days }
    }
}
