//! Registering, signing in and out, one's own account.

use accounts::Registration;
use axum::extract::State;
use domain::Action;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::second_factor::signed_in;
use super::views::{OwnWorkspaceView, SignedInView, UserView};
use crate::auth::{Caller, Visitor};
use crate::error::ApiResult;
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .open(routes!(register))
        .open(routes!(login))
        .open(routes!(refresh))
        .person(Action::OwnAccount, routes!(logout))
        .person(Action::OwnAccount, routes!(logout_everywhere))
        .person(Action::OwnAccount, routes!(me))
        .person(Action::OwnAccount, routes!(change_password))
        .open(routes!(verify))
        .person(Action::OwnAccount, routes!(resend_verification))
        .open(routes!(forgot_password))
        .open(routes!(reset_password))
}

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[schema(min_length = 1, max_length = 100, example = "Andrea")]
    name: String,
    #[schema(format = Email, example = "andrea@ejemplo.com")]
    email: String,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 200)]
    password: SecretString,
    /// The name of the first workspace; the person's own when absent.
    #[schema(min_length = 1, max_length = 100, example = "Agencia Latam")]
    workspace_name: Option<String>,
}

/// Address and password.
#[derive(Debug, Deserialize, ToSchema)]
struct Credentials {
    #[schema(format = Email, example = "andrea@ejemplo.com")]
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// A refresh token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefreshRequest {
    refresh_token: String,
}

/// Another password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PasswordChange {
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 200)]
    new_password: SecretString,
}

/// The token of a link that came by mail.
#[derive(Debug, Deserialize, ToSchema)]
struct LinkRequest {
    /// What stands at the end of the link.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    token: String,
}

/// Whose password was forgotten.
#[derive(Debug, Deserialize, ToSchema)]
struct ForgottenPassword {
    #[schema(format = Email, example = "andrea@ejemplo.com")]
    email: String,
}

/// Another password in the place of a forgotten one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PasswordReset {
    /// What stands at the end of the link.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    token: String,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 200)]
    new_password: SecretString,
}

/// Who is signed in, and where they may act.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Me {
    user: UserView,
    /// The workspace that this call acted in.
    #[schema(pattern = "^ws_[0-9a-f]{32}$")]
    workspace_id: String,
    /// Every workspace that they are a member of, oldest first.
    workspaces: Vec<OwnWorkspaceView>,
}

/// Register
///
/// Makes the account and its first workspace, with a project, a datastore and an agent that answers from it. A mail asks the
/// person to verify the address. Where strangers may not register, 403 `REGISTRATION_CLOSED`.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "Account",
    operation_id = "register",
    request_body = NewAccount,
    responses(
        (status = 201, description = "Signed in.", body = SignedInView),
        (status = 403, description = "Strangers may not register here.", body = crate::error::ErrorEnvelope),
        (status = 409, description = "The address has an account already.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.register", skip_all)]
async fn register(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(new): Json<NewAccount>,
) -> ApiResult<(StatusCode, Json<SignedInView>)> {
    let new = Registration {
        name: new.name,
        email: new.email,
        password: new.password,
        workspace: new.workspace_name,
    };
    let signed_in = state.accounts.register(new, &visit).await?;
    Ok((StatusCode::CREATED, Json(signed_in.into())))
}

/// Sign in
///
/// In the workspace that the person was in last. Who has a second factor gets 401 `SECOND_FACTOR_REQUIRED`, with `error.challenge` to send a
/// code with.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "Account",
    operation_id = "login",
    request_body = Credentials,
    responses(
        (status = 200, description = "Signed in.", body = SignedInView),
        (status = 401, description = "Address or password is wrong, or a code is needed, too.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.login", skip_all)]
async fn login(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(credentials): Json<Credentials>,
) -> ApiResult<Json<SignedInView>> {
    let Credentials { email, password } = credentials;
    signed_in(state.accounts.log_in(&email, password, &visit).await?)
}

/// Renew the tokens
///
/// The refresh token is used up. One that comes twice ends its session.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    tag = "Account",
    operation_id = "refresh",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The next pair of tokens.", body = SignedInView),
        (status = 401, description = "The session has ended.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.refresh", skip_all)]
async fn refresh(
    State(state): State<AppState>,
    Json(request): Json<RefreshRequest>,
) -> ApiResult<Json<SignedInView>> {
    Ok(Json(state.accounts.refresh(&request.refresh_token).await?.into()))
}

/// Sign out
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    tag = "Account",
    operation_id = "logout",
    responses((status = 204, description = "The session has ended, and with it both of its tokens.")),
)]
#[tracing::instrument(name = "handler.v1.auth.logout", skip_all)]
async fn logout(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    state.accounts.log_out(&caller.person()?, caller.visit()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sign out everywhere
#[utoipa::path(
    post,
    path = "/v1/auth/logout-all",
    tag = "Account",
    operation_id = "logoutEverywhere",
    responses((status = 204, description = "Every session of the person has ended.")),
)]
#[tracing::instrument(name = "handler.v1.auth.logout_everywhere", skip_all)]
async fn logout_everywhere(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    state.accounts.log_out_everywhere(&caller.person()?, caller.visit()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get who is signed in
#[utoipa::path(
    get,
    path = "/v1/auth/me",
    tag = "Account",
    operation_id = "me",
    responses((status = 200, description = "The person and their workspaces.", body = Me)),
)]
#[tracing::instrument(name = "handler.v1.auth.me", skip_all)]
async fn me(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<Me>> {
    let person = caller.person()?;
    let (user, places) = state.accounts.me(person.user).await?;
    let workspaces = places.into_iter().map(OwnWorkspaceView::from).collect();
    let workspace_id = person.workspace.to_string();
    Ok(Json(Me { user: user.into(), workspace_id, workspaces }))
}

/// Change the password
///
/// Ends the person's other sessions.
#[utoipa::path(
    post,
    path = "/v1/auth/change-password",
    tag = "Account",
    operation_id = "changePassword",
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed; every other session has ended."),
        (status = 409, description = "It was changed at the same time.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.change_password", skip_all)]
async fn change_password(
    State(state): State<AppState>,
    caller: Caller,
    Json(change): Json<PasswordChange>,
) -> ApiResult<StatusCode> {
    let PasswordChange { current_password, new_password } = change;
    let person = caller.person()?;
    let accounts = &state.accounts;
    accounts.change_password(&person, current_password, new_password, caller.visit()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Verify an address
///
/// With the token of the link that came by mail.
#[utoipa::path(
    post,
    path = "/v1/auth/verify",
    tag = "Account",
    operation_id = "verifyEmail",
    request_body = LinkRequest,
    responses(
        (status = 204, description = "The address is the person's."),
        (status = 404, description = "There is no such link.", body = crate::error::ErrorEnvelope),
        (status = 409, description = "The link was used or has expired.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.verify", skip_all)]
async fn verify(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(request): Json<LinkRequest>,
) -> ApiResult<StatusCode> {
    state.accounts.verify(&request.token, &visit).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send the link to verify the address once more
#[utoipa::path(
    post,
    path = "/v1/auth/verify/resend",
    tag = "Account",
    operation_id = "resendVerification",
    responses(
        (status = 202, description = "It is on its way."),
        (status = 409, description = "The address is verified already.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.resend_verification", skip_all)]
async fn resend_verification(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<StatusCode> {
    state.accounts.resend_verification(&caller.person()?, caller.visit()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Ask for another password
///
/// Sends a link to choose one, when the address has an account; the answer is the same when it has none.
#[utoipa::path(
    post,
    path = "/v1/auth/forgot-password",
    tag = "Account",
    operation_id = "forgotPassword",
    request_body = ForgottenPassword,
    responses((status = 202, description = "If the address has an account, a mail is on its way to it.")),
)]
#[tracing::instrument(name = "handler.v1.auth.forgot_password", skip_all)]
async fn forgot_password(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(forgotten): Json<ForgottenPassword>,
) -> ApiResult<StatusCode> {
    state.accounts.forgot_password(&forgotten.email, &visit).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Choose another password
///
/// With the token of the link that came by mail. Ends every session of the person.
#[utoipa::path(
    post,
    path = "/v1/auth/reset-password",
    tag = "Account",
    operation_id = "resetPassword",
    request_body = PasswordReset,
    responses(
        (status = 204, description = "Changed; every session has ended."),
        (status = 404, description = "There is no such link.", body = crate::error::ErrorEnvelope),
        (status = 409, description = "The link was used or has expired.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.auth.reset_password", skip_all)]
async fn reset_password(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(reset): Json<PasswordReset>,
) -> ApiResult<StatusCode> {
    state.accounts.reset_password(&reset.token, reset.new_password, &visit).await?;
    Ok(StatusCode::NO_CONTENT)
}
