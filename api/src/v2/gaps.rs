//! Gaps: questions that the knowledge could not answer.

use axum::extract::State;
use domain::Action;
use serde::Serialize;
use storage::gaps::{self, Gap};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::PageQuery;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Json, Query};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadConversations, routes!(list))
}

/// A question that the knowledge could not answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gap)]
struct GapView {
    #[schema(pattern = "^gap_[0-9a-f]{32}$")]
    id: String,
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// The message that said so.
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    /// The question, standing alone.
    #[schema(example = "¿Envían a la Antártida?")]
    question: String,
    /// The evidence that was found, 0 to 1.
    evidence: f64,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
}

/// List gaps
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v2/gaps",
    tag = "Gaps",
    operation_id = "listGaps",
    params(PageQuery),
    responses((status = 200, description = "A page of gaps.", body = Page<GapView>)),
)]
#[tracing::instrument(name = "handler.v2.gaps.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<GapView>>> {
    let paging = query.paging()?;
    let mut conn = state.db.read().await?;
    let found = gaps::list(&mut conn, caller.workspace(), paging.after, paging.one_more()).await?;
    Ok(Json(paging.page(found, |gap| gap.id, GapView::from)))
}

impl From<Gap> for GapView {
    fn from(gap: Gap) -> Self {
        Self {
            id: gap.id.to_string(),
            agent_id: gap.agent_id.to_string(),
            conversation_id: gap.conversation_id.to_string(),
            message_id: gap.message_id.to_string(),
            question: gap.question,
            evidence: gap.evidence,
            created_at: gap.created_at.to_rfc3339(),
        }
    }
}
