//! Calls of tools that wait for a person's word.

use agents::Decision;
use axum::extract::State;
use domain::approval::{Approval, ApprovalStatus};
use domain::{Action, ApprovalId, DomainError, Timestamp, text};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::approvals;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::words::{self, ToolName};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::paging::{Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;

/// Longest note, in characters.
const MAX_NOTE: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadConversations, routes!(list))
        .route(Action::ReadConversations, routes!(show))
        .route(Action::WorkConversations, routes!(decide))
}

/// A call of a tool that is made only when a person allows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Approval)]
struct ApprovalView {
    #[schema(pattern = "^appr_[0-9a-f]{32}$")]
    id: String,
    status: words::ApprovalStatus,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// The agent's message that said that a person is asked.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    /// The agent's further message, once it is there.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    answer_id: Option<String>,
    /// The tool's name.
    #[schema(example = "book_table")]
    tool: String,
    r#type: ToolName,
    /// Where the call goes, without its arguments.
    #[schema(example = "POST https://api.example.com/bookings")]
    target: String,
    /// What it is called with, checked; without secrets.
    #[schema(value_type = Object, example = json!({"people": 4}))]
    arguments: Value,
    /// What who decided said about it.
    note: Option<String>,
    /// The API key that decided.
    #[schema(pattern = "^key_[0-9a-f]{32}$")]
    decided_by: Option<String>,
    /// Why nothing came of it.
    error: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// From when on nobody can decide any more. RFC 3339.
    #[schema(format = DateTime, example = "2024-01-22T10:00:00.000Z")]
    expires_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:05:00.000Z")]
    decided_at: Option<String>,
}

/// Which approvals.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ApprovalQuery {
    /// Only those that stand so.
    #[param(value_type = words::ApprovalStatus, required = false)]
    status: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// A person's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecideRequest {
    decision: DecisionWord,
    /// What the model is told about it; at most 1,000 characters.
    #[serde(default)]
    #[schema(example = "only until eight")]
    note: Option<String>,
}

/// Whether the call may be made.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DecisionWord {
    /// It may.
    Approve,
    /// It may not.
    Deny,
}

/// List approvals
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/approvals",
    tag = "Approvals",
    operation_id = "listApprovals",
    params(ApprovalQuery),
    responses((status = 200, description = "A page of approvals.", body = Page<ApprovalView>)),
)]
#[tracing::instrument(name = "handler.v2.approvals.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ApprovalQuery>,
) -> ApiResult<Json<Page<ApprovalView>>> {
    let paging = Paging::<ApprovalId>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let status = match query.status.as_deref() {
        None => None,
        Some(text) => Some(status_of(text)?),
    };
    let (after, limit) = (paging.after, paging.one_more());
    let mut conn = state.db.read().await?;
    let found = approvals::list(&mut conn, caller.workspace(), status, after, limit).await?;
    Ok(Json(paging.page(found, |approval| approval.id, ApprovalView::from)))
}

fn status_of(text: &str) -> ApiResult<ApprovalStatus> {
    let found = ApprovalStatus::ALL.into_iter().find(|status| status.name() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = ApprovalStatus::ALL.into_iter().map(ApprovalStatus::name).collect();
        ApiError::invalid("status", format!("`status` must be one of {}", names.join(", ")))
    })
}

/// Get an approval
#[utoipa::path(
    get,
    path = "/api/v2/approvals/{approvalId}",
    tag = "Approvals",
    operation_id = "getApproval",
    params(("approvalId" = String, Path)),
    responses((status = 200, description = "The approval.", body = ApprovalView)),
)]
#[tracing::instrument(name = "handler.v2.approvals.show", skip_all)]
async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
) -> ApiResult<Json<ApprovalView>> {
    let mut conn = state.db.read().await?;
    let found = approvals::get(&mut conn, caller.workspace(), id).await?;
    Ok(Json(found.ok_or_else(|| DomainError::not_found("approval"))?.into()))
}

/// Decide an approval
///
/// The turn goes on by itself: the call is made once, or the model is told that it may not be, and the answer comes as a further
/// message of the conversation. What is decided, or whose time is over, cannot be decided again (409).
#[utoipa::path(
    post,
    path = "/api/v2/approvals/{approvalId}",
    tag = "Approvals",
    operation_id = "decideApproval",
    params(("approvalId" = String, Path)),
    request_body = DecideRequest,
    responses(
        (status = 202, description = "Decided; the answer follows.", body = ApprovalView),
        (status = 409, description = "Decided already, or the time is over.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.approvals.decide", skip_all)]
async fn decide(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Json(request): Json<DecideRequest>,
) -> ApiResult<(StatusCode, Json<ApprovalView>)> {
    let note = match request.note.as_deref() {
        None => None,
        Some(note) => Some(text::optional("note", note, MAX_NOTE)?).filter(|note| !note.is_empty()),
    };
    let decision = match request.decision {
        DecisionWord::Approve => Decision::Approve,
        DecisionWord::Deny => Decision::Deny,
    };
    let (workspace, by) = (caller.workspace(), caller.api_key());
    let agents = state.agents.signed(caller.author());
    let decided = agents.decide(workspace, id, decision, by, note.as_deref()).await?;
    let approval = decided.ok_or_else(|| DomainError::not_found("approval"))?;
    Ok((StatusCode::ACCEPTED, Json(approval.into())))
}

impl From<Approval> for ApprovalView {
    fn from(approval: Approval) -> Self {
        Self {
            id: approval.id.to_string(),
            status: approval.status.into(),
            agent_id: approval.agent_id.to_string(),
            conversation_id: approval.conversation_id.to_string(),
            message_id: approval.message_id.to_string(),
            answer_id: approval.answer_id.map(|id| id.to_string()),
            tool: approval.tool,
            r#type: approval.kind.into(),
            target: approval.target,
            arguments: approval.arguments,
            note: approval.note,
            decided_by: approval.decided_by.map(|id| id.to_string()),
            error: approval.error,
            created_at: approval.created_at.to_rfc3339(),
            expires_at: approval.expires_at.to_rfc3339(),
            decided_at: approval.decided_at.map(Timestamp::to_rfc3339),
        }
    }
}
