//! Metadata of sources: small, flat, usable in filters.

use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};

const MOST_ENTRIES: usize = 50;
const MOST_NAME_CHARS: usize = 64;
const MOST_TEXT_CHARS: usize = 1_000;
const MOST_ITEMS: usize = 50;

/// Accepts strings, numbers, booleans and lists of strings; the error names the entry.
pub(super) fn check(metadata: Option<Map<String, Value>>) -> ApiResult<Map<String, Value>> {
    let metadata = metadata.unwrap_or_default();
    if metadata.len() > MOST_ENTRIES {
        let message = format!("`metadata` has more than {MOST_ENTRIES} entries");
        return Err(ApiError::invalid("metadata", message));
    }
    for (name, value) in &metadata {
        let chars = name.chars().count();
        if chars == 0 || chars > MOST_NAME_CHARS || name.chars().any(char::is_control) {
            let message = format!(
                "the names in `metadata` have 1 to {MOST_NAME_CHARS} characters and no control characters"
            );
            return Err(ApiError::invalid("metadata", message));
        }
        if !is_accepted(value) {
            let message = format!(
                "`metadata.{name}` must be a string of at most {MOST_TEXT_CHARS} characters, a number, \
                 a boolean, or a list of at most {MOST_ITEMS} such strings"
            );
            return Err(ApiError::invalid(format!("metadata.{name}"), message));
        }
    }
    Ok(metadata)
}

fn is_accepted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().count() <= MOST_TEXT_CHARS,
        Value::Number(_) | Value::Bool(_) => true,
        Value::Array(items) => {
            let is_text = |item: &Value| item.is_string() && is_accepted(item);
            items.len() <= MOST_ITEMS && items.iter().all(is_text)
        }
        Value::Null | Value::Object(_) => false,
    }
}
