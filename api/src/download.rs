//! Files for saving: what browsers get of others' files is never shown as a page of this origin.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// Nothing of the file may run, load or be framed, should something open it all the same.
const POLICY: &str = "sandbox; default-src 'none'";

/// A file that is saved under `name`, whatever it holds.
pub(crate) fn response(name: &str, media_type: &str, content: Bytes) -> Response {
    let own = |text: &str, otherwise: &'static str| {
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(otherwise))
    };
    let headers = [
        (header::CONTENT_TYPE, own(media_type, "application/octet-stream")),
        (header::CONTENT_DISPOSITION, own(&disposition(name), "attachment")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600")),
        // The widget shows images on its customers' pages.
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    (headers, content).into_response()
}

/// The name twice (RFC 6266): in ASCII for old clients, and whole.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || " .-_()".contains(c) { c } else { '_' })
        .collect();
    let mut whole = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                whole.push(char::from(byte));
            }
            _ => whole.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(
            disposition("señal\"; x=\r\n.pdf"),
            "attachment; filename=\"se_al__ x___.pdf\"; filename*=UTF-8''se%C3%B1al%22%3B%20x%3D%0D%0A.pdf"
        );
    }
}
