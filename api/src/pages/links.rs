//! `/verify/{token}` and `/reset/{token}`.

use accounts::Visit;
use axum::extract::State;
use axum::routing::{MethodRouter, get};
use domain::user::LinkPurpose;
use domain::{ErrorKind, Lang};
use secrecy::SecretString;

use super::page::{Field, Page};
use super::words::{self, pick};
use crate::auth::Visitor;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Form, Text};
use crate::state::AppState;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/verify/{token}", get(show_verification).post(verify)),
        ("/reset/{token}", get(show_reset).post(reset)),
    ]
}

#[tracing::instrument(name = "handler.pages.verify.show", skip_all)]
async fn show_verification(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
) -> ApiResult<Page> {
    let language = language_of(&state, LinkPurpose::Verify, &token, &visit).await?;
    Ok(match state.accounts.link(LinkPurpose::Verify, &token).await {
        Ok(link) => Page::new(language, words::VERIFY)
            .says(pick(language, words::VERIFY_TEXT))
            .asks(vec![email(language, link.email)], words::VERIFY_BUTTON),
        Err(error) => Page::of_error(error.into(), language),
    })
}

#[tracing::instrument(name = "handler.pages.verify.do", skip_all)]
async fn verify(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
    _sent: Form,
) -> ApiResult<Page> {
    let language = language_of(&state, LinkPurpose::Verify, &token, &visit).await?;
    Ok(match state.accounts.verify(&token, &visit).await {
        Ok(()) => Page::new(language, words::VERIFIED).says(pick(language, words::CLOSE)),
        Err(error) => Page::of_error(error.into(), language),
    })
}

#[tracing::instrument(name = "handler.pages.reset.show", skip_all)]
async fn show_reset(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
) -> ApiResult<Page> {
    let language = language_of(&state, LinkPurpose::Reset, &token, &visit).await?;
    Ok(match state.accounts.link(LinkPurpose::Reset, &token).await {
        Ok(link) => reset_form(language, link.email),
        Err(error) => Page::of_error(error.into(), language),
    })
}

#[tracing::instrument(name = "handler.pages.reset.do", skip_all)]
async fn reset(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
    mut sent: Form,
) -> ApiResult<Page> {
    let language = language_of(&state, LinkPurpose::Reset, &token, &visit).await?;
    let new = SecretString::from(sent.take("newPassword").unwrap_or_default());
    let Err(error) = state.accounts.reset_password(&token, new, &visit).await else {
        let done = Page::new(language, words::RESET_DONE);
        return Ok(done.says(pick(language, words::RESET_DONE_TEXT)));
    };
    let error = ApiError::from(error);
    if error.domain().kind != ErrorKind::Invalid {
        return Ok(Page::of_error(error, language));
    }
    // The link is as it was: another password may be tried.
    let link = state.accounts.link(LinkPurpose::Reset, &token).await?;
    Ok(reset_form(language, link.email).refuses(error))
}

fn reset_form(language: Lang, address: String) -> Page {
    let field = Field {
        hint: Some(words::password_rule(language)),
        least: Some(accounts::PASSWORD_LENGTH.0),
        ..Field::new(language, "newPassword", words::NEW_PASSWORD_LABEL, "password", "new-password")
    };
    let fields = vec![email(language, address), field];
    Page::new(language, words::RESET).asks(fields, words::RESET_BUTTON)
}

/// The address that everything is about: shown, and known by it to keepers of passwords.
pub(super) fn email(language: Lang, address: String) -> Field {
    Field {
        value: address,
        fixed: true,
        ..Field::new(language, "email", words::EMAIL_LABEL, "email", "username")
    }
}

/// That of the mail, else what the browser likes, else the product's first.
async fn language_of(
    state: &AppState,
    purpose: LinkPurpose,
    token: &str,
    visit: &Visit,
) -> ApiResult<Lang> {
    let known = state.accounts.language_of_link(purpose, token).await?;
    Ok(known.or(visit.language).unwrap_or_default())
}
