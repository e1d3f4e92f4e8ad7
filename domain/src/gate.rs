//! What must hold before a version of an agent is published, and versions that are on their way there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent_version::{AgentConfig, Publication};
use crate::{AgentId, EvalDatasetId, PublicationId, Timestamp};

/// What must hold before a version of an agent is published. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// The questions that a new version must answer.
    pub dataset: EvalDatasetId,
    /// What becomes of one that does not.
    pub mode: GateMode,
    /// The least that metrics must reach; the most, of those of which less is better.
    #[serde(default)]
    pub floors: BTreeMap<String, f64>,
    /// Losses against the published version that are none, in place of the metrics' own.
    #[serde(default)]
    pub tolerances: BTreeMap<String, f64>,
}

/// What becomes of a version that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    /// Nothing is asked.
    Off,
    /// It is published, and says so.
    Warn,
    /// It is not published.
    Refuse,
}

/// What an evaluation came to. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Cases that were asked.
    pub cases: i64,
    /// Those of them that failed.
    pub errors: i64,
    /// The published version that it was compared with; `None` when that could not be evaluated.
    pub compared_with: Option<i64>,
    /// What speaks against the version; none when it passed.
    pub findings: Vec<Finding>,
    /// What metrics came to, with what they were for the published version.
    pub metrics: Vec<Measured>,
}

impl Verdict {
    /// Whether nothing speaks against the version.
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }

    /// What speaks against it, in words.
    pub fn words(&self) -> String {
        let words: Vec<&str> = self.findings.iter().map(|finding| &*finding.message).collect();
        words.join("; ")
    }
}

/// A metric of a version and of the published one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub metric: String,
    /// Of the new version.
    pub value: f64,
    /// Of the published one.
    pub previous: Option<f64>,
}

/// Something that speaks against a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The metric; `None` when the evaluation says nothing.
    pub metric: Option<String>,
    /// What it came to.
    pub value: Option<f64>,
    /// The floor that it misses.
    pub floor: Option<f64>,
    /// What it was for the published version, when it fell too much.
    pub previous: Option<f64>,
    /// In words, with the remedy.
    pub message: String,
}

/// A configuration that is evaluated before it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentPublication {
    /// Its id.
    pub id: PublicationId,
    /// The agent.
    pub agent_id: AgentId,
    /// Where it stands.
    pub status: PublicationStatus,
    /// What is to be published; empty once it is over.
    pub config: AgentConfig,
    /// The published version that it is to follow.
    pub base_version: i64,
    /// The revision of the draft that it is, if it is one.
    pub draft_revision: Option<i64>,
    /// Whose it is, and what they say about it.
    pub publication: Publication,
    /// The gate, as it was when this was asked for.
    pub gate: Gate,
    /// How far its evaluation is.
    pub progress: PublicationProgress,
    /// What its evaluation came to.
    pub verdict: Option<Verdict>,
    /// Why nothing came of it.
    pub error: Option<String>,
    /// The version that it became.
    pub version: Option<i64>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// How far an evaluation is. Stored as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PublicationProgress {
    /// Cases that were asked, of the new version and, where its result is not known, of the published one.
    pub done: i64,
    /// All of them.
    pub all: i64,
    /// Those that failed.
    pub errors: i64,
    /// Micro-dollars (US).
    pub cost: i64,
}

/// Where a publication stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationStatus {
    /// No worker has begun it.
    Pending,
    /// It is evaluated.
    Running,
    /// It is a version.
    Published,
    /// The gate did not let it through.
    Refused,
    /// It could not be evaluated, or not be published any more.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl PublicationStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Published,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Published => "published",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will come of it.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}
