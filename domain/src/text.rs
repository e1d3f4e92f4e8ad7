//! Text that has been checked at the edge: lengths, control characters, e-mail addresses, phone numbers.

use std::str::FromStr;

use crate::DomainError;

/// Checks a text field: 1 to `max_chars` characters after trimming, no NUL or other control characters
/// but line breaks and tabs. Gives the trimmed text.
pub fn required(field: &str, text: &str, max_chars: usize) -> Result<String, DomainError> {
    let text = optional(field, text, max_chars)?;
    if text.is_empty() {
        return Err(DomainError::invalid(field, format!("`{field}` must not be empty")));
    }
    Ok(text)
}

/// As [`required`], but may be empty.
pub fn optional(field: &str, text: &str, max_chars: usize) -> Result<String, DomainError> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars > max_chars {
        let message = format!("`{field}` has {chars} characters; at most {max_chars} are accepted");
        return Err(DomainError::invalid(field, message));
    }
    if let Some(position) = text.chars().position(is_refused_control) {
        let message =
            format!("`{field}` has a control character at position {position}; remove it");
        return Err(DomainError::invalid(field, message));
    }
    Ok(text.to_owned())
}

fn is_refused_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

/// Removes what a database or a reader must not get: NUL and other control characters (line breaks and
/// tabs stay) and bidirectional controls, which can make a text read other than it is.
pub fn sanitize(text: &str) -> String {
    text.chars().filter(|&c| !is_unsafe(c)).collect()
}

/// Whether [`sanitize`] removes `c`; for text that arrives in pieces.
pub fn is_unsafe(c: char) -> bool {
    is_refused_control(c) || is_bidi_control(c)
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Checks an e-mail address (RFC 5321 syntax, at most 254 characters); gives it in lower case.
pub fn email(field: &str, text: &str) -> Result<String, DomainError> {
    let text = text.trim();
    let options = email_address::Options::default().without_display_text().with_required_tld();
    match email_address::EmailAddress::parse_with_options(text, options) {
        Ok(address) if text.len() <= 254 => Ok(address.as_str().to_lowercase()),
        _ => Err(DomainError::invalid(
            field,
            format!("`{field}` is not an e-mail address; write it like name@example.com"),
        )),
    }
}

/// Checks a phone number and gives it in E.164: `+5491123456789`. Without a leading `+` the number is
/// read in `country` (ISO 3166, such as `CL`), when one is given.
pub fn phone(field: &str, text: &str, country: Option<&str>) -> Result<String, DomainError> {
    let invalid = || {
        DomainError::invalid(
            field,
            format!("`{field}` is not a phone number; write it in E.164, like +5491123456789"),
        )
    };
    let country = country.and_then(|code| phonenumber::country::Id::from_str(code).ok());
    let number = phonenumber::parse(country, text.trim()).map_err(|_| invalid())?;
    if !phonenumber::is_valid(&number) {
        return Err(invalid());
    }
    Ok(number.format().mode(phonenumber::Mode::E164).to_string())
}

/// Checks the name of a time zone (IANA): `America/Santiago`.
pub fn time_zone(field: &str, name: &str) -> Result<String, DomainError> {
    let name = required(field, name, 64)?;
    if jiff::tz::TimeZone::get(&name).is_ok() {
        return Ok(name);
    }
    let message = format!("`{field}` is not a time zone; use a name like America/Santiago");
    Err(DomainError::invalid(field, message))
}

/// Checks a country's code (ISO 3166, two letters) that phone numbers can be read in.
pub fn country(field: &str, code: &str) -> Result<(), DomainError> {
    if phonenumber::country::Id::from_str(code).is_ok() {
        return Ok(());
    }
    let message = format!("`{field}` is not a country; use its two letters (ISO 3166), such as CL");
    Err(DomainError::invalid(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_trimmed_and_measured_in_characters() {
        assert_eq!(required("name", "  Ñandú ", 5).unwrap(), "Ñandú");
        assert!(required("name", "Ñandúes", 5).unwrap_err().message.contains("at most 5"));
        assert_eq!(required("name", " ", 5).unwrap_err().field.as_deref(), Some("name"));
        assert!(required("name", "a\0b", 5).is_err());
    }

    #[test]
    fn sanitized_text_keeps_lines_and_loses_controls() {
        assert_eq!(sanitize("a\0b\u{202E}c\nd\te"), "abc\nd\te");
    }

    #[test]
    fn emails_and_phones_are_normalised() {
        assert_eq!(email("email", "Cliente@Ejemplo.com").unwrap(), "cliente@ejemplo.com");
        for bad in ["", "a", "a@b", "a b@c.cl", "Ana <ana@c.cl>"] {
            assert!(email("email", bad).is_err(), "{bad}");
        }
        assert_eq!(phone("phone", "+54 9 11 2345-6789", None).unwrap(), "+5491123456789");
        assert_eq!(phone("phone", "9 8765 4321", Some("CL")).unwrap(), "+56987654321");
        for bad in ["", "123", "abc", "+1"] {
            assert!(phone("phone", bad, None).is_err(), "{bad}");
        }
    }
}
