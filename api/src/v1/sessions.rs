//! Where a person is signed in.

use axum::extract::State;
use domain::ids::PrefixedId;
use domain::user::Session;
use domain::{Action, DomainError, SessionId};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::paging::{List, ListQuery};
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Id, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().person(Action::OwnAccount, routes!(list)).person(Action::OwnAccount, routes!(end))
}

/// One place that the person is signed in at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
struct SessionView {
    #[schema(pattern = "^sess_[0-9a-f]{32}$")]
    id: String,
    /// The program that signed in, in its own words.
    user_agent: String,
    /// Whether it is the one that asks.
    current: bool,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339: when its tokens were last renewed.
    #[schema(format = DateTime)]
    used_at: String,
    /// RFC 3339: when it ends unless they are renewed before.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// List sessions
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/auth/sessions",
    tag = "Account",
    operation_id = "listSessions",
    params(ListQuery),
    responses((status = 200, description = "A page of the sessions that have not ended.", body = List<SessionView>)),
)]
#[tracing::instrument(name = "handler.v1.sessions.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<SessionView>>> {
    let person = caller.person()?;
    let sessions = state.accounts.sessions(person.user).await?;
    // Read with the newest first; a list is given with the oldest first.
    let sessions: Vec<_> =
        sessions.into_iter().rev().map(|found| (found.id == person.session, found)).collect();
    Ok(Json(query.page_from_newest(sessions, |(_, session)| [&session.user_agent, ""])?))
}

/// End a session
#[utoipa::path(
    delete,
    path = "/v1/auth/sessions/{sessionId}",
    tag = "Account",
    operation_id = "endSession",
    params(("sessionId" = String, Path)),
    responses((status = 204, description = "It has ended.")),
)]
#[tracing::instrument(name = "handler.v1.sessions.end", skip_all)]
async fn end(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> ApiResult<StatusCode> {
    if !state.accounts.end_session(&caller.person()?, id, caller.visit()).await? {
        return Err(DomainError::not_found(SessionId::KIND).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

impl From<(bool, Session)> for SessionView {
    fn from((current, session): (bool, Session)) -> Self {
        Self {
            id: session.id.to_string(),
            user_agent: session.user_agent,
            current,
            created_at: session.created_at.to_rfc3339(),
            used_at: session.used_at.to_rfc3339(),
            expires_at: session.expires_at.to_rfc3339(),
        }
    }
}
