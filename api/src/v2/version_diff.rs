//! What is different between two configurations of an agent, field by field. Of secrets only that they are others.

use std::collections::BTreeSet;

use domain::agent::{Agent, AgentTool, ToolKind};
use domain::agent_version::AgentConfig;
use domain::vault::SecretPlace;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::agents::SettingsView;
use crate::state::AppState;

/// A field that is different.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct VersionChange {
    /// Its path: `systemPrompt`, `settings.topK`, `tools.http:book.url`. A tool is named by its type and its name, or
    /// the datastore's id.
    #[schema(example = "settings.topK")]
    field: String,
    /// Null where there was none. A secret reads `[secret]`.
    before: Value,
    /// Null where there is none. A secret reads `[secret]`, or `[another secret]`.
    after: Value,
}

/// Begins a text that holds a secret. No text of a request has a NUL.
const SECRET: char = '\0';

/// What is different in `after`; both are of `agent`.
pub(super) fn changes(
    state: &AppState,
    agent: &Agent,
    before: &AgentConfig,
    after: &AgentConfig,
) -> Vec<VersionChange> {
    let (one, other) = (comparable(state, agent, before), comparable(state, agent, after));
    let mut found = Vec::new();
    compare("", &one, &other, &mut found);
    let (one, other) = (names(&before.tools), names(&after.tools));
    if one != other && BTreeSet::from_iter(&one) == BTreeSet::from_iter(&other) {
        let (before, after) = (one.into(), other.into());
        found.push(VersionChange { field: "tools".to_owned(), before, after });
    }
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<VersionChange>) {
    if before == after {
        return;
    }
    if let (Value::Object(one), Value::Object(other)) = (before, after) {
        let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = |object: &Map<String, Value>| object.get(key).cloned().unwrap_or_default();
            compare(&path, &value(one), &value(other), found);
        }
        return;
    }
    let mut shown = hidden(after);
    if is_secret(before) && is_secret(after) {
        shown = Value::from("[another secret]");
    }
    found.push(VersionChange { field: path.to_owned(), before: hidden(before), after: shown });
}

/// The configuration as an object of objects, whose keys stay when an entry is added before them.
fn comparable(state: &AppState, agent: &Agent, config: &AgentConfig) -> Value {
    let mut tools = Map::new();
    for (name, tool) in names(&config.tools).into_iter().zip(&config.tools) {
        tools.insert(name, comparable_tool(state, agent, tool));
    }
    let settings = SettingsView::from(config.settings.clone());
    json!({
        "name": config.name,
        "description": config.description,
        "purpose": config.purpose,
        "tone": config.tone,
        "voice": config.voice,
        "systemPrompt": config.system_prompt,
        "modelName": config.model_name,
        "tools": tools,
        "settings": serde_json::to_value(settings).unwrap_or_default(),
    })
}

fn comparable_tool(state: &AppState, agent: &Agent, tool: &AgentTool) -> Value {
    let mut settings = tool.settings.clone();
    let Some(Value::Array(headers)) = settings.remove("headers") else {
        return Value::Object(settings);
    };
    let mut named = Map::new();
    for header in headers {
        let Value::Object(mut header) = header else { continue };
        let name = header.remove("name").unwrap_or_default();
        if let Some(Value::String(sealed)) = header.remove("sealed") {
            header.insert("value".to_owned(), opened(state, agent, &sealed).into());
        }
        let name = free_name(name.as_str().unwrap_or_default(), |name| named.contains_key(name));
        named.insert(name, Value::Object(header));
    }
    settings.insert("headers".to_owned(), Value::Object(named));
    Value::Object(settings)
}

/// The secret, marked as such: the same one is sealed otherwise each time.
fn opened(state: &AppState, agent: &Agent, sealed: &str) -> String {
    let row = agent.id.to_string();
    let workspace = agent.workspace_id;
    let place = SecretPlace { workspace, table: "agents", column: "tools", row: &row };
    match state.vault.open(place, sealed) {
        Ok(secret) => format!("{SECRET}{}", secret.expose_secret()),
        Err(_) => format!("{SECRET}{sealed}"),
    }
}

fn is_secret(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(SECRET))
}

/// The value without the secrets in it.
fn hidden(value: &Value) -> Value {
    match value {
        secret if is_secret(secret) => "[secret]".into(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), hidden(value))).collect()
        }
        Value::Array(values) => values.iter().map(hidden).collect(),
        other => other.clone(),
    }
}

/// A name for each tool, which it keeps when others come and go.
fn names(tools: &[AgentTool]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(tools.len());
    for tool in tools {
        let own = match tool.kind {
            ToolKind::Http | ToolKind::Mcp => tool.settings.get("name").and_then(Value::as_str),
            _ => tool.id.as_deref(),
        };
        let name = match own {
            Some(own) => format!("{}:{own}", tool.kind),
            None => tool.kind.to_string(),
        };
        names.push(free_name(&name, |name| names.iter().any(|known| known == name)));
    }
    names
}

fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let mut number = 2;
    while is_taken(&format!("{name}#{number}")) {
        number += 1;
    }
    format!("{name}#{number}")
}
