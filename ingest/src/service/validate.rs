//! What callers give is checked here, once.

use domain::text::{optional, required};
use domain::{DomainError, ErrorKind};
use serde_json::{Map, Value};

/// Most characters of a source's name.
pub const MAX_NAME_CHARS: usize = 300;
/// Most entries of metadata.
const MAX_KEYS: usize = 50;
/// Most characters of a metadata key.
const MAX_KEY_CHARS: usize = 64;
/// Most characters of a text in metadata.
const MAX_VALUE_CHARS: usize = 1_000;
/// Most texts in a list in metadata.
const MAX_LIST: usize = 50;

/// A name as callers give it.
pub fn name(name: &str) -> Result<String, DomainError> {
    required("name", name, MAX_NAME_CHARS)
}

/// A file name as uploaded: data only, so its folders, which some browsers send, are left out.
pub fn file_name(name: &str) -> Result<String, DomainError> {
    required("file", name.rsplit(['/', '\\']).next().unwrap_or_default(), MAX_NAME_CHARS)
}

/// The text of a text source, at most `max_bytes`.
pub fn content(content: &str, max_bytes: usize) -> Result<(), DomainError> {
    if content.len() > max_bytes {
        return Err(too_large("content", content.len() as u64, max_bytes));
    }
    if domain::text::sanitize(content).trim().is_empty() {
        return Err(DomainError::invalid("content", "`content` must not be empty"));
    }
    Ok(())
}

/// Over a size limit.
pub fn too_large(field: &str, bytes: u64, max_bytes: usize) -> DomainError {
    let message = format!(
        "`{field}` has {bytes} bytes; at most {max_bytes} are accepted, so split it into parts"
    );
    DomainError::new(ErrorKind::TooLarge, "PAYLOAD_TOO_LARGE", message).at(field)
}

/// Metadata: at most 50 entries of strings, numbers, booleans or lists of strings.
pub fn metadata(metadata: &Map<String, Value>) -> Result<(), DomainError> {
    if metadata.len() > MAX_KEYS {
        let message =
            format!("`metadata` has {} entries; at most {MAX_KEYS} are accepted", metadata.len());
        return Err(DomainError::invalid("metadata", message));
    }
    for (key, value) in metadata {
        required("metadata", key, MAX_KEY_CHARS)?;
        if key.trim() != key {
            let message = format!("the key `{key}` of `metadata` begins or ends with a space");
            return Err(DomainError::invalid("metadata", message));
        }
        metadata_value(&format!("metadata.{key}"), value)?;
    }
    Ok(())
}

fn metadata_value(field: &str, value: &Value) -> Result<(), DomainError> {
    match value {
        Value::String(text) => optional(field, text, MAX_VALUE_CHARS).map(drop),
        Value::Number(_) | Value::Bool(_) => Ok(()),
        Value::Array(items) if items.len() > MAX_LIST => {
            let message =
                format!("`{field}` has {} items; at most {MAX_LIST} are accepted", items.len());
            Err(DomainError::invalid(field, message))
        }
        Value::Array(items) => {
            for item in items {
                let text = item.as_str().ok_or_else(|| wrong_type(field))?;
                optional(field, text, MAX_VALUE_CHARS)?;
            }
            Ok(())
        }
        Value::Null | Value::Object(_) => Err(wrong_type(field)),
    }
}

fn wrong_type(field: &str) -> DomainError {
    DomainError::invalid(
        field,
        format!("`{field}` must be a string, a number, a boolean or a list of strings"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: &Value) -> Result<(), DomainError> {
        metadata(value.as_object().unwrap())
    }

    #[test]
    fn metadata_takes_plain_values_and_lists_of_strings() {
        check(&json!({"area": "ventas", "año": 2024, "iva": 0.19, "activo": true, "tags": ["a", "b"]}))
            .unwrap();
        for (value, field) in [
            (json!({"a": null}), "metadata.a"),
            (json!({"a": {"b": 1}}), "metadata.a"),
            (json!({"a": ["b", 1]}), "metadata.a"),
            (json!({"a": "x".repeat(1_001)}), "metadata.a"),
            (json!({"a": vec!["x"; 51]}), "metadata.a"),
            (json!({"": 1}), "metadata"),
            (json!({" a": 1}), "metadata"),
            (json!({"k".repeat(65): 1}), "metadata"),
        ] {
            let error = check(&value).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{value}");
        }
        let many: Map<String, Value> = (0..51).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(metadata(&many).unwrap_err().field.as_deref(), Some("metadata"));
    }

    #[test]
    fn a_file_name_is_its_last_part() {
        assert_eq!(file_name("C:\\docs\\Precios 2024.pdf").unwrap(), "Precios 2024.pdf");
        assert_eq!(file_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(file_name("carpeta/").unwrap_err().field.as_deref(), Some("file"));
    }

    #[test]
    fn a_text_must_say_something_and_fit() {
        content("hola", 4).unwrap();
        assert_eq!(content("holas", 4).unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(content(" \n\u{0}", 9).unwrap_err().field.as_deref(), Some("content"));
    }
}
