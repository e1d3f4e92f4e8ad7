//! A page: what it says, what it asks, and how it is sent.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Lang;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::words::{self, Words, pick};
use crate::edge::{error_headers, preferred_language};
use crate::error::{ApiError, source_chain};

const NAME: &str = "page.html";
const STYLE: &str = include_str!("../../templates/page.css");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// By its name, whatever is put into it is escaped.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let page = templates.add_template(NAME, include_str!("../../templates/page.html"));
    page.expect("the template is part of the program");
    templates
});

/// Nothing runs and nothing is loaded; forms go where they came from.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("the policy is plain text")
});

/// A page in one language. Its form, where it has one, is sent to the page's own address.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    lang: &'static str,
    title: &'static str,
    texts: Vec<String>,
    problem: Option<String>,
    fields: Vec<Field>,
    button: Option<&'static str>,
    #[serde(skip)]
    language: Lang,
    #[serde(skip)]
    refusal: Option<ApiError>,
}

/// A field of a form.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    /// As the API calls it, so that an error which names it is shown at it.
    pub name: &'static str,
    pub label: &'static str,
    pub kind: &'static str,
    /// What a browser or a keeper of passwords may put into it.
    pub autocomplete: &'static str,
    pub value: String,
    pub hint: Option<String>,
    /// Characters.
    pub least: Option<usize>,
    /// It is shown and not asked for.
    pub fixed: bool,
    /// It is what the problem is about.
    pub wrong: bool,
}

impl Field {
    /// A field that is to be filled in.
    pub fn new(
        language: Lang,
        name: &'static str,
        label: Words,
        kind: &'static str,
        autocomplete: &'static str,
    ) -> Self {
        let (label, value) = (pick(language, label), String::new());
        let (hint, least, fixed, wrong) = (None, None, false, false);
        Self { name, label, kind, autocomplete, value, hint, least, fixed, wrong }
    }
}

impl Page {
    pub(super) fn new(language: Lang, title: Words) -> Self {
        let known = if language == Lang::Other { Lang::default() } else { language };
        Self {
            lang: known.code(),
            title: pick(language, title),
            texts: Vec::new(),
            problem: None,
            fields: Vec::new(),
            button: None,
            language,
            refusal: None,
        }
    }

    /// Adds a paragraph.
    pub(super) fn says(mut self, text: impl Into<String>) -> Self {
        self.texts.push(text.into());
        self
    }

    /// Adds the form.
    pub(super) fn asks(mut self, fields: Vec<Field>, button: Words) -> Self {
        self.fields = fields;
        self.button = Some(pick(self.language, button));
        self
    }

    /// Says why it was not done; the answer has the status of the error.
    pub(super) fn refuses(mut self, error: ApiError) -> Self {
        self.problem = Some(words::problem(error.domain(), self.language));
        let blamed = words::blamed(error.domain());
        for field in &mut self.fields {
            field.wrong = Some(field.name) == blamed;
        }
        self.refusal = Some(error);
        self
    }

    /// A page that says why there is nothing to do.
    pub(super) fn of_error(error: ApiError, language: Lang) -> Self {
        Self::new(language, words::trouble(error.domain())).refuses(error)
    }

    fn html(&self) -> Result<String, minijinja::Error> {
        TEMPLATES.get_template(NAME)?.render(context! { page => self, style => STYLE })
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = match self.html() {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(error = source_chain(&error), "a page was not written");
                return ApiError::internal().into_response();
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HTML);
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        headers.insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
        if let Some(error) = &self.refusal {
            error_headers(&mut headers, error);
        }
        let status = self.refusal.as_ref().map_or(StatusCode::OK, ApiError::status);
        (status, headers, html).into_response()
    }
}

/// What fails on the way to a page is told on one: people read it, not programs.
pub(super) async fn tell_people(request: Request, next: Next) -> Response {
    let language = preferred_language(request.headers()).unwrap_or_default();
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) => Page::of_error(error, language).into_response(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_page_says_is_text() {
        let hostile = "<script>alert(\"1\")</script>";
        let field = Field {
            name: "name",
            label: "Name",
            kind: "text",
            autocomplete: "name",
            value: hostile.to_owned(),
            hint: Some(hostile.to_owned()),
            least: None,
            fixed: false,
            wrong: true,
        };
        let page = Page::new(Lang::Other, words::VERIFY);
        let html = page.says(hostile).asks(vec![field], words::VERIFY).html().unwrap();
        assert_eq!(html.matches("&lt;script&gt;").count(), 3, "{html}");
        assert!(!html.contains("<script") && html.contains("<html lang=\"es\">"), "{html}");
        assert!(html.contains("aria-describedby=\"name-hint problem\""), "{html}");
    }
}
