//! Origins of web pages, as browsers write them.

use url::Url;

use crate::DomainError;

/// Reads an origin, `https://shop.example.com` or `http://localhost:5173`, and gives it as browsers send it: in lower case,
/// without the port that its scheme has anyway. 400 naming `field` for anything else; a wildcard is none.
pub fn parse(field: &str, text: &str) -> Result<String, DomainError> {
    let invalid = || {
        let message = format!("`{field}` is not an origin; write it like https://shop.example.com");
        DomainError::invalid(field, message)
    };
    let text = text.trim();
    let url = Url::parse(text).map_err(|_| invalid())?;
    let has_only_a_place = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let fits = has_only_a_place
        && text.len() <= 300
        && !text.contains('*')
        && matches!(url.scheme(), "http" | "https");
    if fits { Ok(url.origin().ascii_serialization()) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_never_a_wildcard() {
        for (text, read) in [
            ("https://shop.example.com/", "https://shop.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://Funpark.cl:443", "https://funpark.cl"),
            ("https://ñandú.cl", "https://xn--and-6ma2c.cl"),
        ] {
            assert_eq!(parse("domain", text).unwrap(), read, "{text}");
        }
        for bad in [
            "",
            "*",
            "null",
            "https://*",
            "https://*.funpark.cl",
            "funpark.cl",
            "https://a.example/path",
            "https://a.example?x",
            "https://a.example#x",
            "https://ana@a.example",
            "file:///x",
            "javascript:alert(1)",
        ] {
            let refused = parse("domain", bad).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some("domain"), "{bad}");
        }
    }
}
