//! `mcp`: tools of remote MCP servers, of which the model is offered what the operator allowed. What a server says of its
//! tools and answers is data: it stands where descriptions and results stand, and nowhere else.

mod client;
mod connection;
mod events;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::agent::ToolKind;
use domain::tool::{McpSettings, ToolSettings};
use domain::{AgentId, Timestamp, WorkspaceId};
use futures::future::join_all;
use models::ToolSpec;
use parking_lot::Mutex;
use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use super::Called;
use crate::run::Work;
use crate::trace::Trace;
use connection::Connection;

/// How long what a server offers is remembered, and how long that it could not be reached.
const KNOWN_FOR: Duration = Duration::from_mins(5);
const FAILED_FOR: Duration = Duration::from_secs(20);

/// Most listings that are remembered.
const MAX_KNOWN: usize = 1_000;

/// Longest description of a tool, in characters, and largest schema of its arguments, in bytes of JSON.
const MAX_DESCRIPTION: usize = 1_000;
const MAX_SCHEMA: usize = 20_000;

/// Longest name of a tool that models are offered, in characters.
const MAX_NAME: usize = 64;

/// A tool of a server.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    /// As the server calls it.
    name: String,
    description: String,
    /// The JSON Schema of its arguments.
    schema: Value,
}

/// What a server offers of what is allowed.
#[derive(Debug, Default)]
struct Listing {
    tools: Vec<Found>,
    /// What is allowed and cannot be offered, and why.
    missing: Map<String, Value>,
    /// Why the server could not be asked.
    error: Option<String>,
}

/// Which listing: settings that change are another one.
type Key = (WorkspaceId, AgentId, String);

/// What servers offered when they were asked last.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<HashMap<Key, (Timestamp, Arc<Listing>)>>);

impl Listings {
    fn get(&self, key: &Key, now: Timestamp) -> Option<Arc<Listing>> {
        let known = self.0.lock();
        let (until, listing) = known.get(key)?;
        (now < *until).then(|| listing.clone())
    }

    fn put(&self, key: Key, listing: Arc<Listing>, now: Timestamp) {
        let until = now.plus(if listing.error.is_some() { FAILED_FOR } else { KNOWN_FOR });
        let mut known = self.0.lock();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, (until, listing));
    }
}

/// A server of a turn.
pub(crate) struct Server {
    settings: Box<McpSettings>,
    listing: Arc<Listing>,
    /// Kept from call to call, for servers that remember.
    connection: Option<Connection>,
}

/// A tool of a server as the model is offered it.
#[derive(Debug)]
pub(super) struct McpOffer {
    /// What the model calls it.
    pub(super) name: String,
    /// The place of its server, and its name there.
    server: usize,
    tool: String,
    description: String,
    schema: Value,
}

impl McpOffer {
    pub(super) fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.schema.clone(),
        }
    }
}

/// The agent's servers with what they offer, asked all at once. A server that cannot be asked offers nothing.
pub(crate) async fn servers(work: &Work, trace: &mut Trace) -> Vec<Server> {
    let tools = work.agent.tools.iter().filter(|tool| tool.kind == ToolKind::Mcp);
    let listed = tools.filter_map(|tool| match ToolSettings::read("tools", tool) {
        Ok(ToolSettings::Mcp(settings)) => Some(listed(work, settings, &tool.settings)),
        // A row that no longer reads offers nothing.
        _ => None,
    });
    let servers = join_all(listed).await;
    if !servers.is_empty() {
        let facts: Vec<Value> = servers.iter().map(fact).collect();
        trace.note("mcp", facts);
        trace.step("mcp");
    }
    servers
}

fn fact(server: &Server) -> Value {
    let Listing { tools, missing, error } = &*server.listing;
    let offered: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut fact = json!({"server": server.settings.name, "offered": offered});
    if !missing.is_empty() {
        fact["missing"] = json!(missing);
    }
    if let Some(error) = error {
        fact["error"] = json!(error);
    }
    fact
}

async fn listed(work: &Work, settings: Box<McpSettings>, row: &Map<String, Value>) -> Server {
    let now = work.inner.ambient.now();
    let key = (work.workspace(), work.agent.id, json!(row).to_string());
    if let Some(listing) = work.inner.listings.get(&key, now) {
        return Server { settings, listing, connection: None };
    }
    let most = work.inner.options.defaults.tool_timeout;
    let asked = tokio::time::timeout(most, ask(work, &settings)).await;
    let asked = asked.unwrap_or_else(|_| Err("the time for tools is over".to_owned()));
    let (listing, connection) = match asked {
        Ok((listing, connection)) => (listing, Some(connection)),
        Err(error) => {
            tracing::warn!(error, agent = %work.agent.id, server = settings.name, "an MCP server offers nothing");
            (Listing { error: Some(error), ..Listing::default() }, None)
        }
    };
    let listing = Arc::new(listing);
    work.inner.listings.put(key, listing.clone(), now);
    Server { settings, listing, connection }
}

async fn ask(work: &Work, settings: &McpSettings) -> Result<(Listing, Connection), String> {
    let connection = Connection::open(work, settings).await?;
    let tools = connection.tools().await?;
    let mut listing = Listing::default();
    for name in &settings.allow {
        let Some(tool) = tools.iter().find(|tool| tool.name == name.as_str()) else {
            listing.missing.insert(name.clone(), json!("the server has no such tool"));
            continue;
        };
        match found(&connection, tool) {
            Ok(found) => listing.tools.push(found),
            Err(why) => {
                listing.missing.insert(name.clone(), json!(why));
            }
        }
    }
    Ok((listing, connection))
}

/// What the model may be told of a tool.
fn found(connection: &Connection, tool: &Tool) -> Result<Found, &'static str> {
    let schema = connection.hide(&json!(tool.input_schema).to_string());
    if schema.len() > MAX_SCHEMA {
        return Err("the schema of its arguments is too large");
    }
    let unreadable = |_| "the schema of its arguments does not read";
    let mut schema: Map<String, Value> = serde_json::from_str(&schema).map_err(unreadable)?;
    let kind = schema.entry("type").or_insert_with(|| json!("object"));
    if kind != "object" {
        return Err("the schema of its arguments is not an object's");
    }
    let description = connection.hide(tool.description.as_deref().unwrap_or_default());
    let description = description.chars().take(MAX_DESCRIPTION).collect();
    Ok(Found { name: tool.name.to_string(), description, schema: Value::Object(schema) })
}

/// What the servers offer, under names that are not `taken`.
pub(super) fn offers(servers: &[Server], taken: &[&str]) -> Vec<McpOffer> {
    let mut offers: Vec<McpOffer> = Vec::new();
    for (place, server) in servers.iter().enumerate() {
        for tool in &server.listing.tools {
            let is_taken =
                |name: &str| taken.contains(&name) || offers.iter().any(|offer| offer.name == name);
            let name = name_of(&server.settings.name, &tool.name, is_taken);
            offers.push(McpOffer {
                name,
                server: place,
                tool: tool.name.clone(),
                description: tool.description.clone(),
                schema: tool.schema.clone(),
            });
        }
    }
    offers
}

/// A name that every provider takes: letters, digits, `_` and `-`, at most 64, and no other tool's.
fn name_of(server: &str, tool: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let whole: String = server.chars().chain(['_']).chain(tool.chars()).map(plain).collect();
    let mut name: String = whole.chars().take(MAX_NAME).collect();
    let mut number = 2;
    while is_taken(&name) {
        let ending = format!("_{number}");
        name = whole.chars().take(MAX_NAME - ending.len()).collect();
        name.push_str(&ending);
        number += 1;
    }
    name
}

/// What the customer is told, and the hours in which a person can allow it, of a tool whose calls a person must allow.
pub(super) fn approval(servers: &[Server], offer: &McpOffer) -> Option<(Option<String>, u64)> {
    let settings = &servers.get(offer.server)?.settings;
    settings.approval.then(|| (settings.approval_message.clone(), settings.approval_hours))
}

/// Where the calls of a tool go.
pub(super) fn target(servers: &[Server], offer: &McpOffer) -> Option<String> {
    let settings = &servers.get(offer.server)?.settings;
    Some(format!("{} at {}", offer.tool, settings.url))
}

/// Calls a tool. Dropping the future gives the call up.
pub(super) async fn run(
    work: &Work,
    servers: &mut [Server],
    offer: &McpOffer,
    arguments: Map<String, Value>,
) -> Called {
    let Some(server) = servers.get_mut(offer.server) else {
        return Called::Failed("the server is not there".to_owned());
    };
    let connection = match server.connection.take().filter(Connection::is_good) {
        Some(connection) => connection,
        None => match Connection::open(work, &server.settings).await {
            Ok(connection) => connection,
            Err(why) => return Called::Failed(why),
        },
    };
    let called = connection.call(&offer.tool, arguments).await;
    if connection.is_good() {
        server.connection = Some(connection);
    }
    called
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_clean_short_and_unique() {
        assert_eq!(name_of("crm", "find.customer/ñ", |_| false), "crm_find_customer__");
        assert_eq!(
            name_of("search", "knowledge", |name| name == "search_knowledge"),
            "search_knowledge_2"
        );
        let long = name_of("crm", &"x".repeat(128), |_| false);
        assert_eq!(long.len(), 64);
        let second = name_of("crm", &"x".repeat(128), |name| name == long);
        assert!(second.len() == 64 && second.ends_with("x_2"), "{second}");
    }
}
