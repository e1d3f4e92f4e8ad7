//! The settings in force, secrets redacted.

use std::fmt::Write as _;

use domain::settings::without_secrets;
use serde_json::{Map, json};
use toml::Value;
use url::Url;

use super::{Loaded, Origin};

/// Settings that are never shown.
const SECRETS: [&str; 6] = [
    "index.qdrant_api_key",
    "models.openai_api_key",
    "models.rerank_api_key",
    "oidc.client_secret",
    "storage.vault_key",
    "telemetry.otlp_headers",
];

/// As a configuration file, with the origin of what is not a default.
pub fn print_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (section, values) in &loaded.table {
        let _ = writeln!(text, "[{section}]");
        for (key, value) in values.as_table().into_iter().flatten() {
            let full = format!("{section}.{key}");
            let value = shown(&full, value);
            let _ = match loaded.origins.get(&full) {
                Some(Origin::Default) | None => writeln!(text, "{key} = {value}"),
                Some(origin) => writeln!(text, "{key} = {value} # {origin}"),
            };
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// As JSON: `{"section.key": {"value": …, "origin": "…"}}`.
pub fn print_json(loaded: &Loaded) -> serde_json::Value {
    let mut settings = Map::new();
    for (section, values) in &loaded.table {
        for (key, value) in values.as_table().into_iter().flatten() {
            let full = format!("{section}.{key}");
            let origin = loaded.origins.get(&full).unwrap_or(&Origin::Default).to_string();
            let entry = json!({ "value": shown(&full, value), "origin": origin });
            settings.insert(full, entry);
        }
    }
    settings.into()
}

/// Whether a value may hold a credential: it is not repeated in messages.
pub(super) fn may_hold_secret(key: &str) -> bool {
    SECRETS.contains(&key) || is_address(key)
}

pub(super) fn is_address(key: &str) -> bool {
    key.ends_with("_url") || key.ends_with("_endpoint")
}

/// The value as it may be shown.
fn shown(key: &str, value: &Value) -> Value {
    if SECRETS.contains(&key) {
        return Value::String("***".to_owned());
    }
    match value {
        Value::String(text) if is_address(key) => Value::String(shown_address(text)),
        _ => value.clone(),
    }
}

fn shown_address(text: &str) -> String {
    match Url::parse(text) {
        // A file is no secret, and its path need not be one of an address.
        _ if text.starts_with("sqlite:") => text.to_owned(),
        Ok(url) => {
            let shown = without_secrets(&url);
            // As it was written, where there is nothing to hide.
            if shown == url.as_str() { text.to_owned() } else { shown }
        }
        Err(_) => "***".to_owned(),
    }
}
