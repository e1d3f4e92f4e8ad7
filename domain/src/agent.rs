//! The AI that answers from knowledge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent_version::AgentConfig;
use crate::{AgentId, Timestamp, WorkspaceId};

/// An agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// Short unique slug per workspace: `A-001`.
    pub code: String,
    /// Shown to people.
    pub name: String,
    /// Shown to people; part of the prompt.
    pub description: String,
    /// What it is for; part of the prompt.
    pub purpose: String,
    /// How it speaks; part of the prompt.
    pub tone: String,
    /// Stored for speech.
    pub voice: String,
    /// What the operator tells it; part of the prompt.
    pub system_prompt: String,
    /// The chat model; `None` means the installation's default.
    pub model_name: Option<String>,
    /// What it may use.
    pub tools: Vec<AgentTool>,
    /// How it answers.
    pub settings: AgentSettings,
    /// Whether it answers at all.
    pub status: AgentStatus,
    /// The number of the published version that it is, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Agent {
    /// The tool of that kind, when the agent has it.
    pub fn tool(&self, kind: ToolKind) -> Option<&AgentTool> {
        self.tools.iter().find(|tool| tool.kind == kind)
    }

    /// What of it is published.
    pub fn config(&self) -> AgentConfig {
        AgentConfig {
            name: self.name.clone(),
            description: self.description.clone(),
            purpose: self.purpose.clone(),
            tone: self.tone.clone(),
            voice: self.voice.clone(),
            system_prompt: self.system_prompt.clone(),
            model_name: self.model_name.clone(),
            tools: self.tools.clone(),
            settings: self.settings.clone(),
        }
    }

    /// The same agent with another configuration: a draft, an older version.
    #[must_use]
    pub fn with_config(self, config: AgentConfig) -> Self {
        let AgentConfig { name, description, purpose, tone, voice, .. } = config;
        let AgentConfig { system_prompt, model_name, tools, settings, .. } = config;
        Self {
            name,
            description,
            purpose,
            tone,
            voice,
            system_prompt,
            model_name,
            tools,
            settings,
            ..self
        }
    }
}

/// Whether an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentStatus {
    /// Answers.
    Active,
    /// Silent: 409 on chat, nothing on channels.
    Paused,
    /// As paused, and out of the way.
    Archived,
}

impl AgentStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Archived];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Archived => "archived",
        }
    }
}

/// A tool that an agent may use, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTool {
    /// Which tool.
    pub kind: ToolKind,
    /// The object it is about, where there is one: a datastore's id for `datastore`. `None` means the
    /// workspace's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Settings of the tool, validated when the agent is saved.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl AgentTool {
    /// The tool without settings.
    pub fn plain(kind: ToolKind) -> Self {
        Self { kind, id: None, settings: Map::new() }
    }
}

/// The closed set of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolKind {
    /// Answers from a datastore.
    Datastore,
    /// Notes a customer's contact details.
    LeadCapture,
    /// Calls a person.
    RequestHuman,
    /// Closes the conversation.
    MarkAsResolved,
    /// Calls a declared HTTP endpoint.
    Http,
    /// Uses the tools of a remote MCP server.
    Mcp,
}

impl ToolKind {
    /// Every tool.
    pub const ALL: [Self; 6] = [
        Self::Datastore,
        Self::LeadCapture,
        Self::RequestHuman,
        Self::MarkAsResolved,
        Self::Http,
        Self::Mcp,
    ];

    /// As printed: with hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datastore => "datastore",
            Self::LeadCapture => "lead-capture",
            Self::RequestHuman => "request-human",
            Self::MarkAsResolved => "mark-as-resolved",
            Self::Http => "http",
            Self::Mcp => "mcp",
        }
    }
}

impl fmt::Display for ToolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown tool; use datastore, lead-capture, request-human, mark-as-resolved, http or mcp")]
pub struct UnknownTool;

impl FromStr for ToolKind {
    type Err = UnknownTool;

    /// Accepts hyphens and underscores.
    fn from_str(text: &str) -> Result<Self, UnknownTool> {
        let name = text.replace('_', "-");
        Self::ALL.into_iter().find(|tool| tool.name() == name).ok_or(UnknownTool)
    }
}

/// How an agent answers. Stored as JSON; every field has a default so that old rows keep reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentSettings {
    /// What it says when the knowledge does not hold the answer; `None` means the catalogue's words in the
    /// customer's language.
    pub unknown_answer: Option<String>,
    /// Evidence below which it says that it does not know, 0 to 1; `None` means the
    /// installation's or, where that sets none, by the number of passages in its datastores.
    pub min_evidence: Option<f64>,
    /// Passages put into the prompt, 1 to 20.
    pub top_k: u32,
    /// Sampling temperature, 0 to 2; `None` means the provider's default.
    pub temperature: Option<f64>,
    /// Most tokens of one answer, 1 to 32,000.
    pub max_answer_tokens: u32,
    /// Tokens of earlier messages put into the prompt, 0 to 100,000.
    pub history_tokens: u32,
    /// Handed to the model so that it answers alike, best effort; `None` means none.
    pub seed: Option<i64>,
    /// Texts that end an answer, at most 4 of 1 to 100 characters.
    pub stop: Vec<String>,
    /// Whether the model answers with one JSON object.
    pub json_mode: bool,
    /// What becomes of an answer with numbers, codes and the like that stand in nothing it cites.
    pub unsupported: Unsupported,
    /// Models that answer when the agent's own cannot be asked, in order, at most 5.
    pub fallback_models: Vec<String>,
    /// Who makes a follow-up stand alone before it is searched for.
    pub rewrite: Rewrite,
    /// What of the customer's contact the model is told.
    pub contact_facts: Vec<ContactFact>,
}

/// What becomes of an answer with numbers, dates, prices, percentages, hours or codes that stand in no passage
/// that it cites, nor in what the customer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsupported {
    /// It goes out and says so.
    #[default]
    Flag,
    /// The model is asked once more before anything is sent; what comes then goes out as with `Flag`.
    Retry,
    /// The agent says that it does not know instead.
    Withhold,
}

/// Who makes a follow-up stand alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewrite {
    /// The model, where there is one: a call more, for follow-ups only.
    #[default]
    Model,
    /// A rule: the topic words of the question before are added.
    Rule,
}

/// Something that is known of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContactFact {
    /// Given and family name.
    Name,
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            unknown_answer: None,
            min_evidence: None,
            top_k: 5,
            temperature: None,
            max_answer_tokens: 1_024,
            history_tokens: 2_000,
            seed: None,
            stop: Vec::new(),
            json_mode: false,
            unsupported: Unsupported::Flag,
            fallback_models: Vec::new(),
            rewrite: Rewrite::Model,
            contact_facts: vec![ContactFact::Name],
        }
    }
}
