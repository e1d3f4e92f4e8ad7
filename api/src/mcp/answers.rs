//! What tools answer: text for models that read text, the same as structured content for those that do not.

use std::fmt::Write;

use agents::Answer;
use domain::agent::{Agent, AgentStatus};
use domain::datastore::{Datastore, LiveChunk};
use domain::message::{Citation, Outcome};
use retrieval::{Hit, SearchResults};
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::json;

/// A passage, or what an answer cites of one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Passage {
    /// The number in `[n]`.
    index: i64,
    source: String,
    source_id: String,
    datastore_id: String,
    chunk_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    heading: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<i64>,
    score: f64,
    /// Verbatim.
    text: String,
}

fn result(text: String, structured: &impl Serialize) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = serde_json::to_value(structured).ok();
    result
}

/// What a search found.
pub(super) fn passages(found: &SearchResults) -> CallToolResult {
    let results: Vec<Passage> =
        (1..).zip(&found.hits).map(|(index, hit)| Passage::found(index, hit)).collect();
    let mut text = String::new();
    for passage in &results {
        let _ = write!(text, "[{}] {}", passage.index, passage.place());
        let _ = write!(text, "\n{}\n\n", passage.text.trim());
    }
    if results.is_empty() {
        text.push_str("Nothing was found.");
    }
    let structured = json!({"results": results, "evidence": found.evidence});
    result(text.trim_end().to_owned(), &structured)
}

/// What an agent said.
pub(super) fn answer(answer: Answer) -> CallToolResult {
    let sources: Vec<Passage> = answer.citations.into_iter().map(Passage::from).collect();
    let mut text = answer.text.clone();
    if text.is_empty() {
        text.push_str("A person has this conversation and will answer there.");
    }
    if !sources.is_empty() {
        text.push_str("\n\nSources:");
        for source in &sources {
            let _ = write!(text, "\n[{}] {}", source.index, source.place());
        }
    }
    let _ = write!(text, "\n\nconversationId: {}", answer.conversation);
    let structured = json!({
        "answer": answer.text,
        "conversationId": answer.conversation.to_string(),
        "messageId": answer.message.to_string(),
        "outcome": answer.outcome.map(Outcome::name),
        "handler": answer.handler.name(),
        "state": answer.state.name(),
        "model": answer.model,
        "sources": sources,
    });
    result(text, &structured)
}

/// The agents that can be asked.
pub(super) fn agents(agents: Vec<Agent>) -> CallToolResult {
    let active = agents.into_iter().filter(|agent| agent.status == AgentStatus::Active);
    let mut text = String::new();
    let mut entries = Vec::new();
    for agent in active {
        let _ = writeln!(text, "{} {}: {}", agent.id, agent.code, one_line(&agent.name));
        entries.push(json!({
            "id": agent.id.to_string(),
            "code": agent.code,
            "name": agent.name,
            "description": agent.description,
        }));
    }
    result(text.trim_end().to_owned(), &json!({"agents": entries}))
}

/// The datastores that can be searched.
pub(super) fn datastores(datastores: Vec<Datastore>) -> CallToolResult {
    let mut text = String::new();
    let mut entries = Vec::new();
    for datastore in datastores {
        let _ = writeln!(text, "{}: {}", datastore.id, one_line(&datastore.name));
        entries.push(json!({
            "id": datastore.id.to_string(),
            "name": datastore.name,
            "description": datastore.description,
            "isDefault": datastore.is_default,
        }));
    }
    result(text.trim_end().to_owned(), &json!({"datastores": entries}))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Passage {
    fn found(index: i64, hit: &Hit) -> Self {
        let LiveChunk { chunk, source_name, url, .. } = &*hit.live;
        Self {
            index,
            source: source_name.clone(),
            source_id: chunk.source_id.to_string(),
            datastore_id: chunk.datastore_id.to_string(),
            chunk_id: chunk.id.to_string(),
            heading: Some(chunk.heading.clone()).filter(|heading| !heading.is_empty()),
            url: url.clone(),
            page: chunk.page,
            score: hit.score,
            text: chunk.text.clone(),
        }
    }

    /// Where it stands, in one line.
    fn place(&self) -> String {
        let mut place = one_line(&self.source);
        if let Some(heading) = &self.heading {
            let _ = write!(place, " › {}", one_line(heading));
        }
        if let Some(page) = self.page {
            let _ = write!(place, ", page {page}");
        }
        if let Some(url) = &self.url {
            let _ = write!(place, " ({url})");
        }
        place
    }
}

impl From<Citation> for Passage {
    fn from(citation: Citation) -> Self {
        Self {
            index: citation.marker,
            source: citation.source_name,
            source_id: citation.source_id.to_string(),
            datastore_id: citation.datastore_id.to_string(),
            chunk_id: citation.chunk_id.to_string(),
            heading: None,
            url: citation.url,
            page: citation.page,
            score: citation.score,
            text: citation.quote,
        }
    }
}
