//! A case in a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::{Case, Expect, Relevant, Said};
use crate::metrics::{Direction, Scored, find};
use crate::observation::{Failure, Observation, Outcome, Row};

/// A case and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its id.
    pub id: String,
    /// What was asked; empty in a baseline.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input: String,
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// What should have happened.
    pub expect: Expect,
    /// Why it cannot be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How it ended; `None` when the target failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why the target failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// How sure the target was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// Whether what was said, or would have been, is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
    /// Its values by metric.
    pub scores: BTreeMap<String, f64>,
    /// Numbers and codes of the answer that stand in nothing it cites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<String>,
    /// Everything else; absent in a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
}

/// What is shown of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// What was said before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Said>,
    /// Accepted answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// What holds the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relevant: Vec<Relevant>,
    /// What the target did.
    pub observation: Option<Observation>,
}

impl CaseReport {
    pub(super) fn of(case: &Case, row: &Row, scored: Scored) -> Self {
        let observation = row.observation.as_ref();
        Self {
            id: case.id.clone(),
            input: case.input.clone(),
            lang: case.lang.clone(),
            expect: case.expect,
            kind: case.kind.clone(),
            tags: case.tags.clone(),
            outcome: observation.map(|observation| observation.outcome),
            error: row.error.clone(),
            evidence: observation.and_then(|observation| observation.evidence),
            right: scored.right,
            scores: scored.values,
            unsupported: scored.unsupported,
            details: Some(Box::new(Details {
                history: case.history.clone(),
                answers: case.answers.clone(),
                relevant: case.relevant.clone(),
                observation: row.observation.clone(),
            })),
        }
    }

    /// How bad it is, for showing the worst first: a failure before a false answer or a missing one, before badly
    /// ranked passages.
    pub fn badness(&self) -> f64 {
        if self.error.is_some() {
            return 100.0;
        }
        let weighed = |name: &str| match name {
            "answered" | "false_answer" | "forbidden" | "clarified" | "handed_off" => 8.0,
            "containment" | "citations_valid" | "unsupported" | "language" => 4.0,
            "extract_containment" | "ndcg@10" | "citation_precision" | "faithfulness" => 2.0,
            "token_f1" | "sentence_support" | "citation_recall" => 1.0,
            _ => 0.0,
        };
        self.scores
            .iter()
            .filter_map(|(name, value)| {
                let loss = match find(name)?.direction {
                    Direction::Higher => 1.0 - value,
                    Direction::Lower => *value,
                };
                Some(weighed(name) * loss)
            })
            .sum()
    }

    /// Whether everything that is expected of it came.
    pub fn passed(&self) -> bool {
        let is = |name: &str, wanted: f64| {
            self.scores.get(name).is_none_or(|value| (value - wanted).abs() < 1e-9)
        };
        self.error.is_none()
            && is("answered", 1.0)
            && is("false_answer", 0.0)
            && is("clarified", 1.0)
            && is("handed_off", 1.0)
            && is("containment", 1.0)
            && is("forbidden", 0.0)
            && is("unsupported", 0.0)
            && is("citations_valid", 1.0)
    }
}
