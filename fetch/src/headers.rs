//! Which headers a user may have sent along.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::FetchError;

/// These say where and how a message travels, which is the client's own business: with another `Host` one
/// judged address would stand for any site behind it.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What may follow a redirect to another site. Everything else may be meant for the first one only.
const HARMLESS: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT];

/// A header that a user supplies, as it is sent; its value never shows in a debug print.
///
/// Errors: `FETCH_REFUSED` for a name or value that is not a header's, and for the names that the client
/// sets itself.
pub fn check_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), FetchError> {
    let parsed: HeaderName = name.trim().parse().map_err(|_| {
        FetchError::refused(format!("{name:?} is no name of a header; use letters, digits and -"))
    })?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(FetchError::refused(format!(
            "the header {parsed} is set by the client; leave it out"
        )));
    }
    let mut value: HeaderValue = value.trim().parse().map_err(|_| {
        FetchError::refused(format!(
            "the value of the header {parsed} may hold visible ASCII characters only"
        ))
    })?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Refuses what [`check_header`] would.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), FetchError> {
    match headers.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => Err(FetchError::refused(format!(
            "the header {name} is set by the client; leave it out"
        ))),
        None => Ok(()),
    }
}

/// What may go along to another site.
pub(crate) fn for_another_site(headers: &HeaderMap) -> HeaderMap {
    let harmless = headers.iter().filter(|(name, _)| HARMLESS.contains(name));
    harmless.map(|(name, value)| (name.clone(), value.clone())).collect()
}
