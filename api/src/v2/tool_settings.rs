//! The settings of an agent's tools: read from requests, their secrets sealed, shown without them.

use domain::agent::{Agent, AgentTool, ToolKind};
use domain::tool::ToolSettings;
use domain::vault::SecretPlace;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::{Origin, Url};

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Reads tools: names, or objects with `type`, `id` and settings. A secret without a value keeps the one that it has in
/// `before`.
pub(super) fn read_all(given: Vec<Value>, before: &[AgentTool]) -> ApiResult<Vec<AgentTool>> {
    if given.len() > 20 {
        return Err(ApiError::invalid("tools", "`tools` has more than 20 entries"));
    }
    let mut tools: Vec<AgentTool> = Vec::with_capacity(given.len());
    for (position, value) in given.into_iter().enumerate() {
        let field = format!("tools[{position}]");
        let tool = read_tool(&field, value, before)?;
        if tools.contains(&tool) {
            continue;
        }
        let name = own_name(&tool);
        if name.is_some() && tools.iter().any(|known| own_name(known) == name) {
            let field = format!("{field}.name");
            let message = format!("`{field}` is the name of another tool; choose another one");
            return Err(ApiError::invalid(field, message));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn read_tool(field: &str, value: Value, before: &[AgentTool]) -> ApiResult<AgentTool> {
    let mut object = match value {
        Value::String(name) => return Ok(AgentTool::plain(tool_kind(field, &name)?)),
        Value::Object(object) => object,
        _ => {
            let message = format!("`{field}` must be a tool's name or an object with `type`");
            return Err(ApiError::invalid(field, message));
        }
    };
    let type_field = format!("{field}.type");
    let Some(Value::String(name)) = object.remove("type") else {
        let message = format!("`{type_field}` must be the name of a tool");
        return Err(ApiError::invalid(type_field, message));
    };
    let kind = tool_kind(&type_field, &name)?;
    let id = match object.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => {
            let message = format!("`{field}.id` must be a string");
            return Err(ApiError::invalid(format!("{field}.id"), message));
        }
    };
    let mut tool = AgentTool { kind, id, settings: object };
    keep_secrets(field, &mut tool, before)?;
    ToolSettings::read(field, &tool)?;
    Ok(tool)
}

fn tool_kind(field: &str, name: &str) -> ApiResult<ToolKind> {
    let kind = name.parse::<ToolKind>();
    kind.map_err(|error| ApiError::invalid(field, format!("`{field}`: {error}")))
}

/// Seals the secrets of the agent's tools, so that no value of them is stored.
pub(super) fn seal(agent: &mut Agent, state: &AppState) -> ApiResult<()> {
    let (workspace, row) = (agent.workspace_id, agent.id.to_string());
    let place = SecretPlace { workspace, table: "agents", column: "tools", row: &row };
    for header in agent.tools.iter_mut().flat_map(headers_mut).filter(|header| is_secret(header)) {
        let Some(Value::String(value)) = header.remove("value") else { continue };
        let sealed = state.vault.seal(&state.ambient, place, &SecretString::from(value));
        let sealed = sealed.map_err(|error| {
            tracing::error!(%error, "a tool's secret was not sealed");
            ApiError::internal()
        })?;
        header.insert("sealed".to_owned(), Value::String(sealed));
    }
    Ok(())
}

/// Settings as they are shown: of a secret, that there is one.
pub(super) fn shown(settings: Map<String, Value>) -> Map<String, Value> {
    let mut tool = AgentTool { kind: ToolKind::Http, id: None, settings };
    for header in headers_mut(&mut tool) {
        header.remove("sealed");
        if is_secret(header) {
            header.remove("value");
        }
    }
    tool.settings
}

/// What is sealed is never the caller's to give: it comes from the same header of the tool of the same name, and only
/// while that tool goes to the same server: a secret is not for whoever may write addresses.
///
/// Errors: 400 naming the secret that would have to go elsewhere.
fn keep_secrets(field: &str, tool: &mut AgentTool, before: &[AgentTool]) -> ApiResult<()> {
    let name = own_name(tool).map(ToOwned::to_owned);
    let kind = tool.kind;
    let known = before
        .iter()
        .find(|known| name.is_some() && own_name(known) == name.as_deref() && known.kind == kind);
    let same_site = known.is_none_or(|known| origin(known) == origin(tool));
    let mut known = known.cloned();
    let known: Vec<Map<String, Value>> =
        known.iter_mut().flat_map(headers_mut).map(|header| header.clone()).collect();
    for (place, header) in headers_mut(tool).enumerate() {
        header.remove("sealed");
        if !is_secret(header) || header.get("value").is_some_and(|value| !value.is_null()) {
            continue;
        }
        header.remove("value");
        let same = known.iter().find(|known| known.get("name") == header.get("name"));
        let Some(sealed) = same.and_then(|same| same.get("sealed")) else { continue };
        if !same_site {
            let field = format!("{field}.headers[{place}].value");
            let message = format!(
                "`{field}` must be given again: the new `url` is another site (scheme, host or port), and a stored secret goes \
                 to the one it was given for only"
            );
            return Err(ApiError::invalid(field, message));
        }
        header.insert("sealed".to_owned(), sealed.clone());
    }
    Ok(())
}

/// The name that the operator gave a tool, of the kinds that have one.
fn own_name(tool: &AgentTool) -> Option<&str> {
    if !matches!(tool.kind, ToolKind::Http | ToolKind::Mcp) {
        return None;
    }
    tool.settings.get("name")?.as_str()
}

/// Where the requests of a tool go: scheme, host and port.
fn origin(tool: &AgentTool) -> Option<Origin> {
    let url = tool.settings.get("url")?.as_str()?;
    Some(Url::parse(&url.replace(['{', '}'], "")).ok()?.origin())
}

fn headers_mut(tool: &mut AgentTool) -> impl Iterator<Item = &mut Map<String, Value>> {
    let headers = match tool.kind {
        ToolKind::Http | ToolKind::Mcp => {
            tool.settings.get_mut("headers").and_then(Value::as_array_mut)
        }
        _ => None,
    };
    headers.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn is_secret(header: &Map<String, Value>) -> bool {
    header.get("secret") == Some(&Value::Bool(true))
}
