//! The second factor: one-time codes of an app, and recovery codes.

use accounts::{Proof, SignIn};
use axum::extract::State;
use domain::Action;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::views::SignedInView;
use crate::auth::{Caller, Visitor};
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .open(routes!(sign_in))
        .person(Action::OwnAccount, routes!(set_up))
        .person(Action::OwnAccount, routes!(confirm))
        .person(Action::OwnAccount, routes!(renew_recovery_codes))
        .person(Action::OwnAccount, routes!(remove))
}

/// A code for a challenge.
#[derive(Debug, Deserialize, ToSchema)]
struct ChallengeAnswer {
    /// What the sign-in answered as `error.challenge`.
    #[schema(pattern = "^vc_[0-9a-f]{64}$")]
    challenge: String,
    /// Of the app, or a recovery code.
    #[schema(example = "123456")]
    code: String,
}

/// The password, once more.
#[derive(Debug, Deserialize, ToSchema)]
struct PasswordAgain {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// What an app needs to make codes, shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct SecondFactorSetup {
    /// In base 32, to be typed.
    #[schema(pattern = "^[A-Z2-7]{32}$")]
    secret: String,
    /// `otpauth://…`, to be shown as a QR code.
    #[schema(format = "uri")]
    uri: String,
}

/// A code of the app.
#[derive(Debug, Deserialize, ToSchema)]
struct FirstCode {
    #[schema(example = "123456")]
    code: String,
}

/// Codes for when the app is lost, shown this once; each is good once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecoveryCodes {
    #[schema(min_items = 10, max_items = 10)]
    recovery_codes: Vec<String>,
}

/// The password or a code, one of the two.
#[derive(Debug, Deserialize, ToSchema)]
struct PasswordOrCode {
    #[schema(value_type = Option<String>, format = Password, nullable = false)]
    password: Option<SecretString>,
    /// Of the app, or a recovery code.
    #[schema(example = "123456", nullable = false)]
    code: Option<String>,
}

/// The password and a code.
#[derive(Debug, Deserialize, ToSchema)]
struct SecondFactorRemoval {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Of the app, or a recovery code.
    #[schema(example = "123456")]
    code: String,
}

/// Sign in with the second factor
///
/// After a sign-in that answered 401 `SECOND_FACTOR_REQUIRED`. A code is good once; a challenge for five minutes and five guesses.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor",
    tag = "Account",
    operation_id = "secondFactor",
    request_body = ChallengeAnswer,
    responses(
        (status = 200, description = "Signed in.", body = SignedInView),
        (status = 401, description = "The code is wrong, or the challenge is over.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.second_factor.sign_in", skip_all)]
async fn sign_in(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Json(answer): Json<ChallengeAnswer>,
) -> ApiResult<Json<SignedInView>> {
    let ChallengeAnswer { challenge, code } = answer;
    Ok(Json(state.accounts.second_factor(&challenge, &code, &visit).await?.into()))
}

/// Set up a second factor
///
/// It is not asked for until it is confirmed with a first code.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/setup",
    tag = "Account",
    operation_id = "setUpSecondFactor",
    request_body = PasswordAgain,
    responses(
        (status = 200, description = "What an app needs, shown this once.", body = SecondFactorSetup),
        (status = 409, description = "There is one already.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.second_factor.set_up", skip_all)]
async fn set_up(
    State(state): State<AppState>,
    caller: Caller,
    Json(again): Json<PasswordAgain>,
) -> ApiResult<Json<SecondFactorSetup>> {
    let person = caller.person()?;
    let made = state.accounts.set_up_second_factor(&person, again.password, caller.visit()).await?;
    Ok(Json(SecondFactorSetup {
        secret: made.secret.expose_secret().to_owned(),
        uri: made.uri.expose_secret().to_owned(),
    }))
}

/// Confirm the second factor
///
/// With a first code; from now on a sign-in asks for one.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/confirm",
    tag = "Account",
    operation_id = "confirmSecondFactor",
    request_body = FirstCode,
    responses(
        (status = 200, description = "The recovery codes, shown this once.", body = RecoveryCodes),
        (status = 409, description = "None is being set up.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.second_factor.confirm", skip_all)]
async fn confirm(
    State(state): State<AppState>,
    caller: Caller,
    Json(first): Json<FirstCode>,
) -> ApiResult<Json<RecoveryCodes>> {
    let person = caller.person()?;
    let codes = state.accounts.confirm_second_factor(&person, &first.code, caller.visit()).await?;
    Ok(Json(RecoveryCodes { recovery_codes: codes }))
}

/// Renew the recovery codes
///
/// With the password or a code, one of the two. The codes that there were work no longer.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/recovery-codes",
    tag = "Account",
    operation_id = "renewRecoveryCodes",
    request_body = PasswordOrCode,
    responses(
        (status = 200, description = "The new codes, shown this once.", body = RecoveryCodes),
        (status = 409, description = "There is no second factor.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.second_factor.renew_recovery_codes", skip_all)]
async fn renew_recovery_codes(
    State(state): State<AppState>,
    caller: Caller,
    Json(again): Json<PasswordOrCode>,
) -> ApiResult<Json<RecoveryCodes>> {
    let person = caller.person()?;
    let proof = match (again.password, again.code) {
        (Some(password), None) => Proof::Password(password),
        (None, Some(code)) => Proof::Code(code),
        (None, None) => {
            return Err(ApiError::invalid("password", "`password` or `code` is required"));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("code", "`code` goes without `password`; send one"));
        }
    };
    let codes = state.accounts.renew_recovery_codes(&person, proof, caller.visit()).await?;
    Ok(Json(RecoveryCodes { recovery_codes: codes }))
}

/// Turn the second factor off
#[utoipa::path(
    delete,
    path = "/v1/auth/second-factor",
    tag = "Account",
    operation_id = "removeSecondFactor",
    request_body = SecondFactorRemoval,
    responses(
        (status = 204, description = "It is asked for no longer."),
        (status = 409, description = "There is none.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.second_factor.remove", skip_all)]
async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    Json(removal): Json<SecondFactorRemoval>,
) -> ApiResult<StatusCode> {
    let (person, SecondFactorRemoval { password, code }) = (caller.person()?, removal);
    state.accounts.remove_second_factor(&person, password, &code, caller.visit()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tokens for who is in; for who owes a code, 401 with the challenge to send it with.
pub(super) fn signed_in(done: SignIn) -> ApiResult<Json<SignedInView>> {
    match done {
        SignIn::Done(signed_in) => Ok(Json((*signed_in).into())),
        SignIn::Challenge(challenge) => Err(ApiError::second_factor(challenge)),
    }
}
