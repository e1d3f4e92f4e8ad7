//! What of an agent is published: immutable, numbered versions, and the draft of the next one.

use serde::{Deserialize, Serialize};

use crate::agent::{AgentSettings, AgentTool, ToolKind};
use crate::gate::Verdict;
use crate::{AgentId, ApiKeyId, DatastoreId, Timestamp};

/// Everything of an agent that its answers depend on and that people may change. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentConfig {
    /// Shown to people; part of the prompt.
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
    /// What it may use; their secrets sealed, in the place of the agent's own tools.
    pub tools: Vec<AgentTool>,
    /// How it answers.
    pub settings: AgentSettings,
}

impl AgentConfig {
    /// The datastores that its tools name, in their order. What is no id names none.
    pub fn datastores(&self) -> Vec<DatastoreId> {
        let tools = self.tools.iter().filter(|tool| tool.kind == ToolKind::Datastore);
        tools.filter_map(|tool| tool.id.as_deref()?.parse().ok()).collect()
    }
}

/// A published version. Never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentVersion {
    /// The agent.
    pub agent_id: AgentId,
    /// From 1, without holes.
    pub number: i64,
    /// What was published.
    pub config: AgentConfig,
    /// The datastores that its tools name, as they were called then.
    pub datastores: Vec<NamedDatastore>,
    /// How it came to be published.
    pub publication: Publication,
    /// When.
    pub created_at: Timestamp,
}

/// A datastore and its name at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDatastore {
    /// The datastore.
    pub id: DatastoreId,
    /// Its name then.
    pub name: String,
}

/// How a version came to be published.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Publication {
    /// The key that published it; `None` for the server itself: birth, command line, upgrade.
    pub by: Option<ApiKeyId>,
    /// What they said about it.
    pub note: Option<String>,
    /// The version that it puts back.
    pub restored_from: Option<i64>,
    /// What its evaluation came to, where a gate had it evaluated.
    pub verdict: Option<Verdict>,
}

/// What may be published next; nobody is answered from it unless they ask for it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentDraft {
    /// The agent; it has one draft at most.
    pub agent_id: AgentId,
    /// Rises with every change of the agent's drafts, and never falls.
    pub revision: i64,
    /// The published version that it was made from.
    pub base_version: i64,
    /// What would be published.
    pub config: AgentConfig,
    /// The key that changed it last.
    pub updated_by: Option<ApiKeyId>,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which configuration of an agent a turn goes by.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Edition {
    /// The published one.
    #[default]
    Published,
    /// The draft.
    Draft,
    /// A published version, the present one or an older.
    Version(i64),
    /// One that is stored nowhere: what is evaluated. It answers also while the agent is paused.
    Given(Box<AgentConfig>),
}

/// Which configuration of its agent an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredFrom {
    /// The published version; for a draft, the one that it was made from.
    pub version: i64,
    /// The revision of the draft, when it was one.
    pub draft: Option<i64>,
}
