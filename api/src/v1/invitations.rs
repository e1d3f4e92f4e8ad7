//! Asking people into a workspace, and joining it.

use accounts::{Invited, Joining, NewInvitation, OpenInvitation};
use axum::extract::State;
use domain::{Action, InvitationId, WorkspaceId};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::paging::{List, ListQuery};
use super::views::{Role, SignedInView};
use crate::auth::{Caller, Visitor, bearer_of};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Ids, Json, OptionalJson, Query, Text};
use crate::routes::Routes;
use crate::state::AppState;
use crate::words::words;

pub(super) fn routes() -> Routes {
    Routes::new()
        .person(Action::ManageWorkspace, routes!(invite))
        .panel(Action::ManageWorkspace, routes!(list))
        .person(Action::ManageWorkspace, routes!(resend))
        .person(Action::ManageWorkspace, routes!(revoke))
        .open(routes!(get))
        .open(routes!(accept))
}

words! {
    /// Where an invitation stands.
    InvitationStatus = domain::user::InvitationStatus {
        /// It can be accepted.
        Pending = "pending",
        /// Somebody joined by it.
        Accepted = "accepted",
        /// It was taken back.
        Revoked = "revoked",
        /// Nobody accepted it in time.
        Expired = "expired",
    }
}

/// Who is asked to join.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewInvitation)]
struct InviteRequest {
    #[schema(format = Email, example = "nuevo@ejemplo.com")]
    email: String,
    role: Role,
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invitation)]
struct InvitationView {
    #[schema(pattern = "^inv_[0-9a-f]{32}$")]
    id: String,
    #[schema(format = Email, example = "nuevo@ejemplo.com")]
    email: String,
    role: Role,
    status: InvitationStatus,
    /// The id of the person who asked.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    invited_by: Option<String>,
    /// How often it was sent.
    #[schema(minimum = 1, example = 1)]
    sent: i64,
    /// The link to give to the person; only where no mail server is set that would send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    link: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// RFC 3339: when it stops working.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// What an invitation asks to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvitationPreview {
    /// The name of the workspace.
    #[schema(example = "Agencia Latam")]
    workspace: String,
    role: Role,
    #[schema(format = Email, example = "nuevo@ejemplo.com")]
    email: String,
    /// Whether the address has an account: then its password accepts, else a name and a new password.
    has_account: bool,
    /// RFC 3339: when it stops working.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// How an invitation is accepted by who is not signed in.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct Acceptance {
    /// Of the new account, where the address has none.
    #[schema(min_length = 1, max_length = 100, example = "Andrea")]
    name: Option<String>,
    /// Of the account that the address has, or of the new one.
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 200)]
    password: Option<SecretString>,
}

/// Invite somebody
///
/// A mail brings them a link that is good for seven days. Nobody gives a role above their own.
#[utoipa::path(
    post,
    path = "/v1/workspaces/{workspaceId}/members/invite",
    tag = "Invitations",
    operation_id = "inviteMember",
    params(("workspaceId" = String, Path)),
    request_body = InviteRequest,
    responses(
        (status = 201, description = "The invitation, on its way.", body = InvitationView),
        (status = 409, description = "They are a member or invited already.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.invitations.invite", skip_all)]
async fn invite(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<InviteRequest>,
) -> ApiResult<(StatusCode, Json<InvitationView>)> {
    let new = NewInvitation { email: new.email, role: new.role.into() };
    let invited = state.accounts.invite(&caller.person()?, new, caller.visit()).await?;
    Ok((StatusCode::CREATED, Json(invited.into())))
}

/// List open invitations
///
/// Those that were neither accepted nor taken back, expired ones too.
#[utoipa::path(
    get,
    path = "/v1/workspaces/{workspaceId}/invitations",
    tag = "Invitations",
    operation_id = "listInvitations",
    params(("workspaceId" = String, Path), ListQuery),
    responses((status = 200, description = "A page of invitations, oldest first.", body = List<InvitationView>)),
)]
#[tracing::instrument(name = "handler.v1.invitations.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<List<InvitationView>>> {
    let all = state.accounts.invitations(caller.workspace()).await?;
    Ok(Json(query.page_of(all, |invited| [&invited.invitation.email, ""])?))
}

/// Send an invitation again
///
/// With another link, for another seven days; the link before holds no longer.
#[utoipa::path(
    post,
    path = "/v1/workspaces/{workspaceId}/invitations/{invitationId}/resend",
    tag = "Invitations",
    operation_id = "resendInvitation",
    params(("workspaceId" = String, Path), ("invitationId" = String, Path)),
    responses(
        (status = 200, description = "The invitation, on its way again.", body = InvitationView),
        (status = 409, description = "It was accepted or taken back.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.invitations.resend", skip_all)]
async fn resend(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<WorkspaceId, InvitationId>,
) -> ApiResult<Json<InvitationView>> {
    let by = caller.person()?;
    Ok(Json(state.accounts.resend_invitation(&by, ids.1, caller.visit()).await?.into()))
}

/// Take an invitation back
#[utoipa::path(
    delete,
    path = "/v1/workspaces/{workspaceId}/invitations/{invitationId}",
    tag = "Invitations",
    operation_id = "revokeInvitation",
    params(("workspaceId" = String, Path), ("invitationId" = String, Path)),
    responses(
        (status = 204, description = "Its link holds no longer."),
        (status = 409, description = "It was accepted or taken back.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.invitations.revoke", skip_all)]
async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    ids: Ids<WorkspaceId, InvitationId>,
) -> ApiResult<StatusCode> {
    state.accounts.revoke_invitation(&caller.person()?, ids.1, caller.visit()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Look at an invitation
///
/// By the token at the end of its link.
#[utoipa::path(
    get,
    path = "/v1/invitations/{token}",
    tag = "Invitations",
    operation_id = "getInvitation",
    params(("token" = String, Path)),
    responses(
        (status = 200, description = "What it asks to.", body = InvitationPreview),
        (status = 409, description = "It was accepted, taken back or has expired.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.invitations.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    Text(token): Text,
) -> ApiResult<Json<InvitationPreview>> {
    Ok(Json(state.accounts.invitation(&token).await?.into()))
}

/// Accept an invitation
///
/// As the person whose access token the call carries; or with the password of the account that the address has; or, where it
/// has none, with a name and a password for a new one.
#[utoipa::path(
    post,
    path = "/v1/invitations/{token}/accept",
    tag = "Invitations",
    operation_id = "acceptInvitation",
    params(("token" = String, Path)),
    request_body = Option<Acceptance>,
    responses(
        (status = 200, description = "Signed in, in the workspace.", body = SignedInView),
        (status = 401, description = "The token does not hold, the password is wrong, or the account has a second factor and must sign in first.", body = crate::error::ErrorEnvelope),
        (status = 409, description = "It was accepted, taken back, has expired or is for another address.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.invitations.accept", skip_all)]
async fn accept(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
    headers: HeaderMap,
    OptionalJson(acceptance): OptionalJson<Acceptance>,
) -> ApiResult<Json<SignedInView>> {
    let joining = match bearer_of(&headers) {
        None => Joining::With { name: acceptance.name, password: acceptance.password },
        Some(access) => {
            let found = state.accounts.bearer(access).await?;
            let (user, session) = found.ok_or_else(ApiError::not_signed_in)?;
            Joining::As(user, session)
        }
    };
    Ok(Json(state.accounts.accept(&token, joining, &visit).await?.into()))
}

impl From<Invited> for InvitationView {
    fn from(invited: Invited) -> Self {
        let Invited { invitation, status, link } = invited;
        Self {
            id: invitation.id.to_string(),
            email: invitation.email,
            role: invitation.role.into(),
            status: status.into(),
            invited_by: invitation.invited_by.map(|user| user.to_string()),
            sent: invitation.sent,
            link,
            created_at: invitation.created_at.to_rfc3339(),
            expires_at: invitation.expires_at.to_rfc3339(),
        }
    }
}

impl From<OpenInvitation> for InvitationPreview {
    fn from(open: OpenInvitation) -> Self {
        Self {
            workspace: open.workspace,
            role: open.invitation.role.into(),
            email: open.invitation.email,
            has_account: open.has_account,
            expires_at: open.invitation.expires_at.to_rfc3339(),
        }
    }
}
