//! How what enters the queue is handed out, and to whom.

use axum::extract::State;
use domain::inbox::InboxSettings;
use domain::{Action, DomainError, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::inbox::Standby;
use storage::{Conn, inbox, members};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::words::{Assignment, Availability};
use crate::auth::{Caller, Changed};
use crate::error::ApiResult;
use crate::extract::Json;
use crate::paging::whole_number_in;
use crate::patch::Patch;
use crate::routes::Routes;
use crate::state::AppState;
use crate::v1::etag::{IfMatch, Tagged};
use crate::v1::paging::List;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadWorkspace, routes!(get))
        .panel(Action::ManageWorkspace, routes!(update))
        .panel(Action::ReadWorkspace, routes!(list_availability))
        .person(Action::WorkConversations, routes!(set_availability))
}

/// Most conversations that a cap can name.
const MOST_OPEN: u32 = 10_000;
/// Conversations that are handed out in one transaction.
const BATCH: i64 = 50;
/// Transactions of that kind in a row; what waits after them is handed out as others are closed.
const BATCHES: usize = 40;

/// How what enters the queue is handed out.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InboxSettings)]
struct SettingsView {
    assignment: Assignment,
    /// A member who has as many that are not closed is given no more; null: no limit.
    #[schema(minimum = 1, maximum = 10000)]
    most_open: Option<i64>,
}

/// A change of how conversations are handed out; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InboxSettingsChange {
    #[schema(nullable = false)]
    assignment: Option<Assignment>,
    /// A member who has as many that are not closed is given no more; null: no limit.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 10000)]
    most_open: Patch<i64>,
}

/// Whether the caller is given conversations.
#[derive(Debug, Deserialize, ToSchema)]
struct NewAvailability {
    availability: Availability,
}

/// Whether a member is given conversations, and how many they have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MemberAvailability)]
struct AvailabilityView {
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    user_id: String,
    #[schema(example = "Andrea")]
    name: String,
    availability: Availability,
    /// Conversations of theirs that are not closed.
    #[schema(minimum = 0)]
    open: i64,
}

impl From<InboxSettings> for SettingsView {
    fn from(settings: InboxSettings) -> Self {
        Self { assignment: settings.assignment.into(), most_open: settings.most_open }
    }
}

/// Get the settings of the inbox
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}/inbox-settings",
    tag = "Inbox",
    operation_id = "getInboxSettings",
    params(("workspaceId" = String, Path)),
    responses((status = 200, description = "The settings.", body = SettingsView)),
)]
#[tracing::instrument(name = "handler.v1.inbox_settings.get", skip_all)]
async fn get(State(state): State<AppState>, caller: Caller) -> ApiResult<Tagged<SettingsView>> {
    let mut conn = state.db.read().await?;
    Tagged::of(inbox::settings(&mut conn, caller.workspace()).await?.into())
}

/// Change the settings of the inbox
///
/// What waits in the queue is handed out at once where they allow it.
#[utoipa::path(
    patch,
    path = "/v1/workspaces/{workspaceId}/inbox-settings",
    tag = "Inbox",
    operation_id = "updateInboxSettings",
    params(("workspaceId" = String, Path), IfMatch),
    request_body = InboxSettingsChange,
    responses((status = 200, description = "The settings.", body = SettingsView)),
)]
#[tracing::instrument(name = "handler.v1.inbox_settings.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Json(change): Json<InboxSettingsChange>,
) -> ApiResult<Tagged<SettingsView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    storage::workspaces::hold(&mut tx, workspace).await?;
    let before = inbox::settings(&mut tx, workspace).await?;
    if_match.check(&SettingsView::from(before))?;
    let after = change.applied_to(before)?;
    if after != before {
        inbox::set_settings(&mut tx, workspace, &after, state.ambient.now()).await?;
        let changed = Changed { before: Some(json_of(before)), after: Some(json_of(after)) };
        caller.audit(&mut tx, &state.ambient, "inbox.updated", workspace, changed).await?;
    }
    tx.commit().await?;
    hand_out(&state, workspace).await?;
    Tagged::of(after.into())
}

/// List who is available
///
/// The members who work conversations, and how many they have.
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}/availability",
    tag = "Inbox",
    operation_id = "listAvailability",
    params(("workspaceId" = String, Path)),
    responses((status = 200, description = "Who is there.", body = List<AvailabilityView>)),
)]
#[tracing::instrument(name = "handler.v1.availability.list", skip_all)]
async fn list_availability(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<Json<List<AvailabilityView>>> {
    let mut conn = state.db.read().await?;
    Ok(Json(List::whole(available(&mut conn, caller.workspace()).await?)))
}

/// Say whether one is available
///
/// Whoever is away keeps their conversations and is given no more.
#[utoipa::path(
    put,
    path = "/v1/workspaces/{workspaceId}/availability",
    tag = "Inbox",
    operation_id = "setAvailability",
    params(("workspaceId" = String, Path)),
    request_body = NewAvailability,
    responses((status = 200, description = "Who is there.", body = List<AvailabilityView>)),
)]
#[tracing::instrument(name = "handler.v1.availability.set", skip_all)]
async fn set_availability(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewAvailability>,
) -> ApiResult<Json<List<AvailabilityView>>> {
    let (user, workspace) = (caller.person()?.user, caller.workspace());
    let mut tx = state.db.write().await?;
    let set = inbox::set_availability(&mut tx, workspace, user, new.availability.into()).await?;
    if !set {
        return Err(DomainError::not_found("member").into());
    }
    let after = Some(json!({"availability": new.availability}));
    let changed = Changed { before: None, after };
    caller.audit(&mut tx, &state.ambient, "member.availability", user, changed).await?;
    tx.commit().await?;
    hand_out(&state, workspace).await?;
    let mut conn = state.db.read().await?;
    Ok(Json(List::whole(available(&mut conn, workspace).await?)))
}

/// Hands out what waits, a batch in each transaction.
async fn hand_out(state: &AppState, workspace: WorkspaceId) -> ApiResult<()> {
    for _ in 0..BATCHES {
        let mut tx = state.db.write().await?;
        let now = state.ambient.now();
        let given = inbox::hand_out_waiting(&mut tx, workspace, BATCH, now).await?;
        tx.commit().await?;
        if given < BATCH {
            break;
        }
    }
    Ok(())
}

async fn available(conn: &mut Conn, workspace: WorkspaceId) -> ApiResult<Vec<AvailabilityView>> {
    let standbys = inbox::standbys(conn, workspace).await?;
    let members = members::list(conn, workspace).await?;
    let view = |one: Standby| {
        let member = members.iter().find(|member| member.user.id == one.user)?;
        Some(AvailabilityView {
            user_id: one.user.to_string(),
            name: member.user.name.clone(),
            availability: one.availability.into(),
            open: one.open,
        })
    };
    Ok(standbys.into_iter().filter_map(view).collect())
}

fn json_of(settings: InboxSettings) -> serde_json::Value {
    json!({"assignment": settings.assignment.name(), "mostOpen": settings.most_open})
}

impl InboxSettingsChange {
    fn applied_to(&self, before: InboxSettings) -> ApiResult<InboxSettings> {
        let mut after = before;
        if let Some(assignment) = self.assignment {
            after.assignment = assignment.into();
        }
        match self.most_open {
            Patch::Keep => {}
            Patch::Clear => after.most_open = None,
            Patch::Set(most) => {
                let most = whole_number_in("mostOpen", most, 1, MOST_OPEN)?;
                after.most_open = Some(i64::from(most));
            }
        }
        Ok(after)
    }
}
