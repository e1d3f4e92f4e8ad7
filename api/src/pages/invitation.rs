//! `/invitations/{token}`.

use accounts::{Joining, OpenInvitation, SignIn, SignedIn, Visit};
use axum::extract::State;
use axum::routing::{MethodRouter, get};
use domain::{ErrorKind, Lang};
use secrecy::SecretString;

use super::end_session;
use super::links::email;
use super::page::{Field, Page};
use super::words::{self, pick};
use crate::auth::Visitor;
use crate::error::ApiResult;
use crate::extract::{Form, Text};
use crate::state::AppState;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![("/invitations/{token}", get(show).post(accept))]
}

/// What somebody filled in, of what the form asks them.
struct Answer {
    name: Option<String>,
    password: Option<SecretString>,
    code: Option<String>,
}

#[tracing::instrument(name = "handler.pages.invitation.show", skip_all)]
async fn show(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
) -> ApiResult<Page> {
    let language = language_of(&state, &token, &visit).await?;
    Ok(match state.accounts.invitation(&token).await {
        Ok(open) => form(language, &open, String::new(), false),
        Err(error) => Page::of_error(error.into(), language),
    })
}

#[tracing::instrument(name = "handler.pages.invitation.accept", skip_all)]
async fn accept(
    State(state): State<AppState>,
    Visitor(visit): Visitor,
    Text(token): Text,
    mut sent: Form,
) -> ApiResult<Page> {
    let language = language_of(&state, &token, &visit).await?;
    let answer = Answer {
        name: sent.take("name"),
        password: sent.take("password").map(SecretString::from),
        code: sent.take("code"),
    };
    let (name, has_code) = (answer.name.clone().unwrap_or_default(), answer.code.is_some());
    let error = match join(&state, &token, answer, &visit).await {
        Ok(signed_in) => {
            // The page holds no tokens: nobody could use the session, or end it.
            end_session(&state, &signed_in, &visit).await;
            return Ok(welcome(language, &signed_in));
        }
        Err(error) => error,
    };
    let is_answerable = matches!(
        error.domain().kind,
        ErrorKind::Invalid | ErrorKind::Unauthenticated | ErrorKind::RateLimited
    );
    if !is_answerable {
        return Ok(Page::of_error(error, language));
    }
    let open = state.accounts.invitation(&token).await?;
    let asks_code = has_code || error.domain().code == "SECOND_FACTOR_REQUIRED";
    Ok(form(language, &open, name, asks_code).refuses(error))
}

/// As the panel's route does it. Who gives a code, too, signs in first, as the panel asks of an account with a second factor.
async fn join(state: &AppState, token: &str, answer: Answer, visit: &Visit) -> ApiResult<SignedIn> {
    let accounts = &state.accounts;
    let Answer { name, password, code } = answer;
    let Some(code) = code else {
        // An account that there is has a password to be compared with, also when nothing was filled in.
        let password = Some(password.unwrap_or_default());
        return Ok(accounts.accept(token, Joining::With { name, password }, visit).await?);
    };
    let email = accounts.invitation(token).await?.invitation.email;
    let signed_in = match accounts.log_in(&email, password.unwrap_or_default(), visit).await? {
        SignIn::Done(signed_in) => *signed_in,
        SignIn::Challenge(challenge) => accounts.second_factor(&challenge, &code, visit).await?,
    };
    let joining = Joining::As(signed_in.user.id, signed_in.session);
    match accounts.accept(token, joining, visit).await {
        Ok(joined) => Ok(joined),
        Err(error) => {
            end_session(state, &signed_in, visit).await;
            Err(error.into())
        }
    }
}

fn form(language: Lang, open: &OpenInvitation, name: String, asks_code: bool) -> Page {
    let invitation = &open.invitation;
    let by = open.invited_by.as_deref();
    let mut fields = vec![email(language, invitation.email.clone())];
    if open.has_account {
        fields.push(Field::new(
            language,
            "password",
            words::PASSWORD_LABEL,
            "password",
            "current-password",
        ));
        if asks_code {
            let code = Field::new(language, "code", words::CODE_LABEL, "text", "one-time-code");
            fields.push(Field { hint: Some(pick(language, words::CODE_HINT).to_owned()), ..code });
        }
    } else {
        let field = Field::new(language, "name", words::NAME_LABEL, "text", "name");
        fields.push(Field { value: name, ..field });
        fields.push(Field {
            hint: Some(words::password_rule(language)),
            least: Some(accounts::PASSWORD_LENGTH.0),
            ..Field::new(language, "password", words::PASSWORD_LABEL, "password", "new-password")
        });
    }
    let how = if open.has_account { words::KNOWN_ACCOUNT } else { words::NEW_ACCOUNT };
    Page::new(language, words::INVITATION)
        .says(words::invited(language, by, &open.workspace, invitation.role))
        .says(pick(language, how))
        .asks(fields, words::ACCEPT_BUTTON)
}

fn welcome(language: Lang, signed_in: &SignedIn) -> Page {
    let membership = &signed_in.membership;
    Page::new(language, words::ACCEPTED)
        .says(words::joined(language, &membership.workspace.name, membership.role))
        .says(pick(language, words::SIGN_IN))
}

/// That of the mail, else what the browser likes, else the product's first.
async fn language_of(state: &AppState, token: &str, visit: &Visit) -> ApiResult<Lang> {
    let known = state.accounts.language_of_invitation(token).await?;
    Ok(known.or(visit.language).unwrap_or_default())
}
