//! What a target did with a case.

use serde::{Deserialize, Serialize};

/// What a target did with a case. What a target cannot know is absent, and metrics that need it have no value then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// What was said, with `[n]` markers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// What the built-in answerer takes from the passages, whatever the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
    /// What the answer cites, in order of first use; `None` for a target without citations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<Vec<Cited>>,
    /// The passages that were found, best first; `None` for a target that shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrieved: Option<Vec<Found>>,
    /// How sure the target was that it can answer, higher is surer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// The evidence below which it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Markers of the answer that named no passage and were taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_markers: Vec<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Milliseconds to the first piece of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// Milliseconds to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<f64>,
    /// Tokens of all prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i64>,
    /// Tokens of all answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<i64>,
    /// Micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// The steps of the turn, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// How a case ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// The target said that it does not know.
    Abstained,
    /// It asked back.
    Clarified,
    /// A person was called, or has the conversation.
    HandedOff,
    /// A greeting, thanks, contact details noted: nothing that knowledge is needed for.
    Smalltalk,
    /// The provider's model declined for reasons of its own: neither an answer nor an abstention.
    Refused,
    /// Nothing was said.
    #[default]
    Silent,
}

impl Outcome {
    /// As written in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abstained => "abstained",
            Self::Clarified => "clarified",
            Self::HandedOff => "handed-off",
            Self::Smalltalk => "smalltalk",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// A passage that an answer cites.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cited {
    /// The number in `[n]`.
    pub marker: i64,
    /// The passage's id, as in `retrieved`.
    pub id: String,
    /// The words that the answer rests on.
    #[serde(default)]
    pub quote: String,
}

/// A passage that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Its id: the dataset's own where the dataset brought it, else the chunk's.
    pub id: String,
    /// The id of its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The name of its document, or its title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its text; empty when the target does not show it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The score that it was ordered by.
    pub score: f64,
}

/// A step of a turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What happened: `search`, `model gpt-4o`, `tool find`.
    pub name: String,
    /// When it began, in milliseconds since the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<f64>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
}

/// A case that was put to a target: what it did, or why it failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case.
    pub id: String,
    /// What the target did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why a target failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Failure {
    /// A short name of the kind of failure: `UNAVAILABLE`, `TIMEOUT`.
    pub code: String,
    /// What went wrong.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}
