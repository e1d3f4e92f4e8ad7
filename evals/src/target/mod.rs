//! What is evaluated.

mod agent;
mod chat;
mod http;
mod search;
mod world;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dataset::Case;
use crate::observation::{Failure, Observation};

pub use agent::{AgentTarget, Ground, Knowledge};
pub use chat::ChatTarget;
pub use http::{HttpAgent, HttpAgentTarget};
pub use search::SearchTarget;
pub use world::{World, WorldOptions};

/// Something that cases are put to. An open set.
#[async_trait]
pub trait Target: Send + Sync + fmt::Debug {
    /// What it is, for reports. What changes answers belongs into `config`: it is hashed.
    fn info(&self) -> TargetInfo;

    /// Puts a case to it. A failure is a row of the run, not its end.
    async fn ask(&self, case: &Case) -> Result<Observation, Failure>;

    /// What a case will take, nearly, for `--dry-run`; asks nothing of anybody.
    fn estimate(&self, case: &Case) -> Estimate;
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// `agent`, `http-agent`, `chat` or `search`.
    pub kind: String,
    /// Shown to people.
    pub name: String,
    /// What it works with; no secrets.
    pub config: Value,
}

impl TargetInfo {
    /// The first 16 hexadecimal digits of the SHA-256 over kind and settings.
    pub fn hash(&self) -> String {
        use sha2::{Digest, Sha256};
        let text = format!("{}\n{}", self.kind, self.config);
        hex::encode(&Sha256::digest(text.as_bytes())[..8])
    }
}

/// What a case will take, nearly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Tokens of the prompts.
    pub prompt_tokens: i64,
    /// Tokens of the answers.
    pub completion_tokens: i64,
    /// Micro-dollars; `None` for a model without a price.
    pub cost: Option<i64>,
}

impl Estimate {
    /// Nothing, for targets that ask no model.
    pub const FREE: Self = Self { prompt_tokens: 0, completion_tokens: 0, cost: Some(0) };

    /// Of two cases together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            cost: self.cost.zip(other.cost).map(|(one, two)| one + two),
        }
    }
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Tokens of an answer that an estimate assumes.
pub(crate) const ANSWER_TOKENS: i64 = 150;

/// Whether a text without citations asks back: it ends with a question.
pub(crate) fn asks_back(answer: &str) -> bool {
    let text = crate::text::without_markers(answer);
    text.trim_end().trim_end_matches(['"', '»', '”', ')']).ends_with('?')
}
