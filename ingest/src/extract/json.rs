//! JSON: every value with the path of keys that leads to it, records apart from each other.

use serde_json::Value;

use super::{Document, ExtractError, Format, Input, encoding, finish, rows};

/// One JSON value.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let text = encoding::decode(input.bytes, input.charset)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        ExtractError::unreadable(format!(
            "the file is not valid json (line {}, column {}); correct it",
            error.line(),
            error.column()
        ))
    })?;
    let title = value.get("title").and_then(Value::as_str).map(str::to_owned);
    let mut out = String::new();
    write(&mut out, &value);
    finish::document(Format::Json, title.as_deref(), &out)
}

/// One JSON value a line; blank lines are passed over.
pub(super) fn extract_lines(input: Input<'_>) -> Result<Document, ExtractError> {
    let text = encoding::decode(input.bytes, input.charset)?;
    let mut out = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(line).map_err(|_| {
            ExtractError::unreadable(format!("line {} is not valid json; correct it", index + 1))
        })?;
        write(&mut out, &value);
        out.push('\n');
    }
    finish::document(Format::Jsonl, None, &out)
}

/// A list of records gives one paragraph a record; everything else one line a value.
fn write(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            for item in items {
                lines(out, "", item);
                if item.is_object() || item.is_array() {
                    out.push('\n');
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(items) if items.iter().any(Value::is_object) => {
                        out.push_str(&format!("\n# {}\n\n", rows::one_line(key)));
                        write(out, value);
                    }
                    value => lines(out, key, value),
                }
            }
        }
        value => lines(out, "", value),
    }
}

/// `path: value`, a line each. The depth of `value` is bounded by the parser (128).
fn lines(out: &mut String, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let key = rows::one_line(key);
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                lines(out, &path, value);
            }
        }
        Value::Array(items) if items.iter().all(is_plain) => {
            let words: Vec<String> = items.iter().filter_map(plain).collect();
            push_line(out, path, &words.join(", "));
        }
        Value::Array(items) => {
            for item in items {
                lines(out, path, item);
            }
        }
        value => push_line(out, path, &plain(value).unwrap_or_default()),
    }
}

fn push_line(out: &mut String, path: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    if !path.is_empty() {
        out.push_str(path);
        out.push_str(": ");
    }
    out.push_str(text);
    out.push('\n');
}

fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        let input = Input { format: Format::Json, charset: None, bytes: json.as_bytes() };
        extract(input).unwrap().text
    }

    #[test]
    fn values_keep_their_keys() {
        assert_eq!(
            text(
                r#"{"nombre":"Boldo","horario":{"lunes":"9 a 18"},"pagos":["efectivo","tarjeta"],"x":null}"#
            ),
            "nombre: Boldo\nhorario.lunes: 9 a 18\npagos: efectivo, tarjeta"
        );
        assert_eq!(
            text(r#"[{"q":"¿Abren?","a":"Sí"},{"q":"¿Dónde?","a":"Centro"}]"#),
            "q: ¿Abren?\na: Sí\n\nq: ¿Dónde?\na: Centro"
        );
        assert_eq!(text(r#"{"faq":[{"q":"a"},{"q":"b"}]}"#), "# faq\n\nq: a\n\nq: b");
    }

    #[test]
    fn deep_and_broken_json_is_refused() {
        for json in ["[".repeat(100_000), "{\"a\":".to_owned()] {
            let input = Input { format: Format::Json, charset: None, bytes: json.as_bytes() };
            assert_eq!(extract(input).unwrap_err().code, "UNREADABLE");
        }
    }
}
