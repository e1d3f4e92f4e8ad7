//! The forms of our own pages.

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use domain::{DomainError, ErrorKind};
use http::{HeaderMap, header};
use url::{Url, form_urlencoded};

use super::body::{collect, essence};
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

const TYPE: &str = "application/x-www-form-urlencoded";
/// Bytes of a form: a name, a password and a code.
const MOST: usize = 16 * 1024;

/// What somebody filled in on one of our pages, by the names of the fields.
pub(crate) struct Form(HashMap<String, String>);

impl Form {
    /// What a field holds; `None` when it was not there or is empty.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }
}

impl FromRequest<AppState> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let headers = request.headers();
        let public = state.settings.server.public_url.as_ref();
        let refused = if is_of_another_site(headers, public) {
            let message = "the form came from another site; send it from the page of the link";
            Some(DomainError::new(ErrorKind::Forbidden, "FORBIDDEN", message).into())
        } else if essence(headers).as_deref() != Some(TYPE) {
            Some(ApiError::unsupported_type(TYPE))
        } else {
            None
        };
        let body = collect(request.into_body(), MOST).await?;
        match refused {
            Some(refused) => Err(refused),
            None => Ok(Self(form_urlencoded::parse(&body).into_owned().collect())),
        }
    }
}

/// Whether a browser sends this for another site's page. No cookie opens anything here: what does is the token in the address, and who
/// has that needs nobody else's browser. It is refused all the same, so that no page can spend a token that it got hold of in
/// somebody else's name, or have browsers of its readers guess for it.
fn is_of_another_site(headers: &HeaderMap, public: Option<&Url>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    // Our pages send no referrer, so that browsers say `null` of them; what is no browser says nothing.
    let Some(origin) = text(header::ORIGIN.as_str()).filter(|origin| *origin != "null") else {
        return false;
    };
    let is_host = origin.split_once("://").map(|(_, authority)| authority) == text("host");
    let is_public = public.is_some_and(|url| url.origin().ascii_serialization() == origin);
    !is_host && !is_public
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn is_foreign(headers: &[(&'static str, &'static str)]) -> bool {
        let named = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        let public = Url::parse("https://panel.ejemplo.com/vocero").unwrap();
        is_of_another_site(&named.collect(), Some(&public))
    }

    #[test]
    fn a_form_is_taken_from_our_pages_and_from_what_is_no_browser() {
        let host = ("host", "10.0.0.1:8080");
        for ours in [
            vec![],
            vec![("sec-fetch-site", "same-origin"), ("origin", "null")],
            vec![("sec-fetch-site", "none")],
            vec![host, ("origin", "null")],
            vec![host, ("origin", "http://10.0.0.1:8080")],
            vec![host, ("origin", "https://panel.ejemplo.com")],
        ] {
            assert!(!is_foreign(&ours), "{ours:?}");
        }
        for foreign in [
            vec![("sec-fetch-site", "cross-site"), ("origin", "null")],
            vec![("sec-fetch-site", "same-site")],
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "http://10.0.0.1:8081")],
            vec![("origin", "https://evil.example")],
        ] {
            assert!(is_foreign(&foreign), "{foreign:?}");
        }
    }
}
