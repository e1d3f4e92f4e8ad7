//! Pages for people, where the links of mails lead: small, without scripts, in the language of the mail.
//!
//! Looking at one changes nothing, since programs that guard mailboxes open every link; its button does. What it does is what the route of the
//! panel with the same purpose does. The token in the address is the credential, and no cookie is one.

mod invitation;
mod links;
mod page;
mod words;

use accounts::{Person, SignIn, SignedIn, Visit};
use axum::Router;
use axum::middleware;
use axum::routing::MethodRouter;
use http::{HeaderMap, header};

use crate::auth::{Gate, limit};
use crate::error::{ApiResult, source_chain};
use crate::routes::{Callers, Surface};
use crate::state::AppState;

use page::{Page, tell_people};

/// Every page by its address.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    [links::routes(), invitation::routes()].concat()
}

/// The service: whoever opens a page counts for their address, as on the panel's routes without a caller.
pub(crate) fn router(state: &AppState) -> Router<AppState> {
    let mut router = Router::new();
    for (path, methods) in routes() {
        let gate = Gate {
            state: state.clone(),
            action: None,
            surface: Surface::Panel,
            callers: Callers::Anybody,
        };
        let methods = methods
            .route_layer(middleware::from_fn_with_state(gate, limit))
            .route_layer(middleware::from_fn(tell_people));
        router = router.route(path, methods);
    }
    router
}

/// Whether it is a person at a browser who asks, rather than a program that takes JSON.
pub(crate) fn are_wanted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let types = lines.flat_map(|line| line.split(','));
    let types: Vec<&str> =
        types.map(|entry| entry.split(';').next().unwrap_or_default().trim()).collect();
    let takes = |wanted: &str| types.iter().any(|taken| taken.eq_ignore_ascii_case(wanted));
    takes("text/html") && !takes("application/json")
}

/// What a browser shows that an identity provider has sent back. It gets no tokens, so no session stays behind either.
pub(crate) async fn came_back(state: &AppState, done: ApiResult<SignIn>, visit: &Visit) -> Page {
    let language = visit.language.unwrap_or_default();
    let page = Page::new(language, words::IDENTITY);
    let page = match done {
        Err(error) => return Page::of_error(error, language),
        Ok(SignIn::Done(signed_in)) => {
            end_session(state, &signed_in, visit).await;
            page.says(words::vouched_for(language, &signed_in.user.email))
        }
        Ok(SignIn::Challenge(_)) => page.says(words::pick(language, words::CODE_TOO)),
    };
    page.says(words::pick(language, words::NO_SESSION)).says(words::pick(language, words::CLOSE))
}

/// Ends a session whose tokens nobody is given. What it was begun for is done, so a failure is only noted.
async fn end_session(state: &AppState, signed_in: &SignedIn, visit: &Visit) {
    let person = Person {
        user: signed_in.user.id,
        session: signed_in.session,
        workspace: signed_in.membership.workspace.id,
        role: signed_in.membership.role,
    };
    if let Err(error) = state.accounts.log_out(&person, visit).await {
        let error = source_chain(&error);
        tracing::warn!(error, session = %person.session, "a session that nobody has was not ended");
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wanted(accept: &'static str) -> bool {
        are_wanted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn browsers_get_pages_and_programs_get_json() {
        assert!(wanted("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wanted("Text/HTML;q=0.9"));
        for accept in ["*/*", "application/json", "application/json, text/html;q=0.5", ""] {
            assert!(!wanted(accept), "{accept}");
        }
        assert!(!are_wanted(&HeaderMap::new()));
    }
}
