//! The tools: what they take, what they need, what they do.

use agents::{TurnEvent, TurnRequest};
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::Channel;
use domain::ids::PrefixedId;
use domain::{Action, AgentId, ConversationId, DatastoreId, DomainError, text};
use retrieval::{SearchMode, SearchQuery};
use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::answers;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::paging::whole_number_in;
use crate::state::AppState;

/// Most agents or datastores that a list shows.
const MOST_LISTED: i64 = 200;

/// The closed set of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolName {
    SearchDatastore,
    AskAgent,
    ListAgents,
    ListDatastores,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Search {
    query: String,
    datastore_id: Option<String>,
    top_k: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    question: String,
    agent_id: Option<String>,
    conversation_id: Option<String>,
}

impl ToolName {
    pub(super) const ALL: [Self; 4] =
        [Self::SearchDatastore, Self::AskAgent, Self::ListAgents, Self::ListDatastores];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SearchDatastore => "search_datastore",
            Self::AskAgent => "ask_agent",
            Self::ListAgents => "list_agents",
            Self::ListDatastores => "list_datastores",
        }
    }

    /// What a caller must be allowed to do.
    pub(super) const fn action(self) -> Action {
        match self {
            Self::SearchDatastore | Self::ListDatastores => Action::ReadKnowledge,
            Self::AskAgent => Action::Chat,
            Self::ListAgents => Action::ReadAgents,
        }
    }

    pub(super) fn describe(self) -> Tool {
        let (title, description, schema) = match self {
            Self::SearchDatastore => (
                "Search documents",
                "Finds the passages of the business's documents that answer a question, best first, each with \
                 its source.",
                object(
                    json!({
                        "query": {"type": "string", "minLength": 1, "maxLength": 8_000, "description": "The question or words to look for."},
                        "datastoreId": {"type": "string", "description": "Where to search, from list_datastores; the default datastores without it."},
                        "topK": {"type": "integer", "minimum": 1, "maximum": 100, "default": 5, "description": "Most passages."},
                    }),
                    &["query"],
                ),
            ),
            Self::AskAgent => (
                "Ask an agent",
                "Asks an agent of the business, which answers from its documents with citations, says that it \
                 does not know, or calls a person.",
                object(
                    json!({
                        "question": {"type": "string", "minLength": 1, "maxLength": 8_000},
                        "agentId": {"type": "string", "description": "Whom to ask, from list_agents; the default agent without it."},
                        "conversationId": {"type": "string", "description": "The conversation to go on with, from an earlier answer; a new one without it."},
                    }),
                    &["question"],
                ),
            ),
            Self::ListAgents => {
                ("List agents", "Lists the agents that can be asked.", object(json!({}), &[]))
            }
            Self::ListDatastores => (
                "List datastores",
                "Lists the datastores that can be searched.",
                object(json!({}), &[]),
            ),
        };
        // Asking an agent stores a conversation and may call a person; nothing else changes anything.
        let annotations = ToolAnnotations::new()
            .read_only(self != Self::AskAgent)
            .destructive(false)
            .open_world(false);
        Tool::new(self.name(), description, schema).with_title(title).with_annotations(annotations)
    }

    pub(super) async fn run(
        self,
        state: &AppState,
        caller: &Caller,
        arguments: JsonObject,
    ) -> ApiResult<CallToolResult> {
        match self {
            Self::SearchDatastore => search(state, caller, read(arguments)?).await,
            Self::AskAgent => ask(state, caller, read(arguments)?).await,
            Self::ListAgents => list_agents(state, caller).await,
            Self::ListDatastores => list_datastores(state, caller).await,
        }
    }
}

/// The JSON schema of an object with these properties.
fn object(properties: Value, required: &[&str]) -> JsonObject {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), json!(required));
    schema
}

fn read<T: DeserializeOwned>(arguments: JsonObject) -> ApiResult<T> {
    let read = serde_path_to_error::deserialize(Value::Object(arguments));
    read.map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "arguments".to_owned() } else { path };
        let message = format!("`{field}`: {}", error.inner());
        ApiError::invalid(field, message)
    })
}

/// An id that names something of this kind; a malformed one names nothing.
fn read_id<T: PrefixedId>(text: &str) -> Result<T, DomainError> {
    text.parse().map_err(|_| DomainError::not_found(T::KIND))
}

async fn search(state: &AppState, caller: &Caller, search: Search) -> ApiResult<CallToolResult> {
    let question = text::required("query", &search.query, 8_000)?;
    let top_k = whole_number_in("topK", search.top_k.unwrap_or(5), 1, 100)?;
    let datastores: Vec<DatastoreId> = if let Some(id) = &search.datastore_id {
        vec![read_id(id)?]
    } else {
        let mut conn = state.db.read().await?;
        let rows = storage::datastores::defaults(&mut conn, caller.workspace()).await?;
        rows.into_iter().map(|datastore| datastore.id).collect()
    };
    let query = SearchQuery {
        datastores,
        text: question,
        top_k: usize::try_from(top_k).unwrap_or(1),
        mode: SearchMode::Hybrid,
        min_score: None,
        filter: None,
        dense_weight: None,
    };
    let found = state.agents.search(caller.workspace(), &query, caller.api_key()).await?;
    if found.searched.is_empty() {
        return Err(DomainError::not_found("datastore").into());
    }
    Ok(answers::passages(&found))
}

async fn ask(state: &AppState, caller: &Caller, ask: Ask) -> ApiResult<CallToolResult> {
    let workspace = caller.workspace();
    let query = text::required("question", &ask.question, 8_000)?;
    let conversation: Option<ConversationId> =
        ask.conversation_id.as_deref().map(read_id).transpose()?;
    let agent: AgentId = if let Some(id) = &ask.agent_id {
        read_id(id)?
    } else {
        let mut conn = state.db.read().await?;
        let agent = storage::agents::default(&mut conn, workspace).await?;
        agent.ok_or_else(|| DomainError::not_found("agent"))?.id
    };
    let request = TurnRequest {
        workspace,
        agent,
        edition: Edition::Published,
        query,
        files: Vec::new(),
        lead: BTreeMap::new(),
        images: Vec::new(),
        conversation,
        history: Vec::new(),
        visitor: None,
        contact: ContactDetails::default(),
        channel: Channel::Api,
        project: None,
        client_id: None,
        api_key: caller.api_key(),
    };
    let mut turn = state.agents.start_whole(request).await?;
    while let Some(event) = turn.events.recv().await {
        match event {
            TurnEvent::Done(answer) => return Ok(answers::answer(*answer)),
            TurnEvent::Error(error) => return Err(error.into()),
            _ => {}
        }
    }
    tracing::error!(message = %turn.message, "a turn ended without an answer");
    Err(ApiError::internal())
}

async fn list_agents(state: &AppState, caller: &Caller) -> ApiResult<CallToolResult> {
    let mut conn = state.db.read().await?;
    let agents = storage::agents::list(&mut conn, caller.workspace(), None, MOST_LISTED).await?;
    Ok(answers::agents(agents))
}

async fn list_datastores(state: &AppState, caller: &Caller) -> ApiResult<CallToolResult> {
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let datastores = storage::datastores::list(&mut conn, workspace, None, MOST_LISTED).await?;
    Ok(answers::datastores(datastores))
}
