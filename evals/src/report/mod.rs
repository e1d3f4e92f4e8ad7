//! What a run says: one versioned JSON from which everything else is made.

mod cases;
mod junit;
mod markdown;
mod page;
mod table;
mod trec;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::dataset::Dataset;
use crate::metrics::{
    Group, Judged, KEPT, METRICS, RiskPoint, abstained_keeping, aurc, auroc, find, risk_coverage,
    score, score_failure, sorted,
};
use crate::run::{Ended, RunOutcome};
use crate::stats::{Interval, estimate_interval, mean_interval, quantile_interval};
use crate::target::TargetInfo;

pub use cases::{CaseReport, Details};
pub use junit::junit;
pub use markdown::markdown;
pub use page::page;
pub use table::{shown, table};
pub use trec::{qrels, run_file};

/// The shape of reports.
pub const VERSION: u32 = 1;
/// The share of failed calls above which a run says nothing about quality.
pub const MAX_ERRORS: f64 = 0.02;

/// What a run says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The shape of this object.
    pub version: u32,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// What was asked.
    pub dataset: DatasetInfo,
    /// Who was asked.
    pub target: TargetInfo,
    /// The hash of the target's settings.
    pub config_hash: String,
    /// How the run ended.
    pub ended: Ended,
    /// Cases that the target failed on.
    pub errors: usize,
    /// Calls of a judge that failed.
    #[serde(default)]
    pub judge_errors: usize,
    /// Micro-dollars of all cases.
    pub cost: i64,
    /// Every metric that has a value.
    pub metrics: Vec<MetricValue>,
    /// The same of parts of the cases.
    pub slices: Vec<Slice>,
    /// The risk–coverage curve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risk_coverage: Vec<RiskPoint>,
    /// Every case that was asked, in the order of the dataset.
    pub cases: Vec<CaseReport>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// Its name.
    pub name: String,
    /// The hash of its content.
    pub version: String,
    /// Its cases.
    pub cases: usize,
    /// Its passages.
    pub passages: usize,
}

/// A metric of some cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// Its name.
    pub name: String,
    /// Its mean and interval.
    #[serde(flatten)]
    pub interval: Interval,
}

/// The metrics of some of the cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// What the cases have in common: `lang` or `tag`.
    pub by: String,
    /// Its value.
    pub name: String,
    /// How many.
    pub count: usize,
    /// Their metrics.
    pub metrics: Vec<MetricValue>,
}

impl Report {
    /// Scores what a run came to. `created_at` is told by the caller, who has the clock.
    pub fn of(dataset: &Dataset, outcome: &RunOutcome, created_at: String) -> Self {
        let by_id: BTreeMap<&str, &crate::Case> =
            dataset.cases.iter().map(|case| (case.id.as_str(), case)).collect();
        let mut cases = Vec::with_capacity(outcome.rows.len());
        for row in &outcome.rows {
            let Some(case) = by_id.get(row.id.as_str()) else { continue };
            let scored = match &row.observation {
                Some(observation) => score(case, observation),
                None => score_failure(case),
            };
            cases.push(CaseReport::of(case, row, scored));
        }
        leave_out_rankings(&mut cases);
        let mut report = Self {
            version: VERSION,
            created_at,
            dataset: DatasetInfo {
                name: dataset.name.clone(),
                version: dataset.version(),
                cases: dataset.cases.len(),
                passages: dataset.corpus.len(),
            },
            config_hash: outcome.target.hash(),
            target: outcome.target.clone(),
            ended: outcome.ended,
            errors: outcome.rows.iter().filter(|row| row.error.is_some()).count(),
            judge_errors: 0,
            cost: outcome
                .rows
                .iter()
                .filter_map(|row| row.observation.as_ref()?.cost)
                .fold(0, i64::saturating_add),
            metrics: Vec::new(),
            slices: Vec::new(),
            risk_coverage: Vec::new(),
            cases,
        };
        report.summarise();
        report
    }

    /// Makes the metrics anew from what the cases scored.
    pub fn summarise(&mut self) {
        let all: Vec<&CaseReport> = self.cases.iter().collect();
        self.metrics = metrics_of(&all);
        self.risk_coverage = risk_coverage(&judged(&all));
        let mut parts: BTreeMap<(&str, &str), Vec<&CaseReport>> = BTreeMap::new();
        for case in &all {
            if let Some(lang) = &case.lang {
                parts.entry(("lang", lang)).or_default().push(case);
            }
            for tag in &case.tags {
                parts.entry(("tag", tag)).or_default().push(case);
            }
        }
        // One that holds every case says the same again.
        parts.retain(|_, cases| cases.len() < all.len());
        self.slices = parts
            .into_iter()
            .map(|((by, name), cases)| Slice {
                by: by.to_owned(),
                name: name.to_owned(),
                count: cases.len(),
                metrics: metrics_of(&cases),
            })
            .collect();
    }

    /// A metric of all cases.
    pub fn metric(&self, name: &str) -> Option<&Interval> {
        self.metrics.iter().find(|metric| metric.name == name).map(|metric| &metric.interval)
    }

    /// The share of the cases that the target, or the judge, failed on.
    pub fn error_share(&self) -> f64 {
        self.errors.max(self.judge_errors) as f64 / self.cases.len().max(1) as f64
    }

    /// Whether the run says anything about quality: it ended by itself, and hardly anything failed.
    pub fn is_sound(&self) -> bool {
        self.ended == Ended::Complete && self.error_share() <= MAX_ERRORS
    }

    /// Reads a report or a baseline. Errors: input, with what is wrong and what to do.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = std::fs::read_to_string(path).map_err(EvalError::file(path))?;
        let remedy = "name a report that `vocero eval run` wrote";
        let report: Self = serde_json::from_str(&text)
            .map_err(|error| EvalError::input(path, error.to_string(), remedy))?;
        if report.version != VERSION {
            let problem = format!("the report has version {}, not {VERSION}", report.version);
            return Err(EvalError::input(path, problem, "make it again with this program"));
        }
        Ok(report)
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        std::fs::write(path, self.to_json()?).map_err(EvalError::file(path))
    }

    /// As it is written: one line.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let mut text = serde_json::to_string(self).map_err(|error| {
            EvalError::file(Path::new("report.json"))(std::io::Error::other(error))
        })?;
        text.push('\n');
        Ok(text)
    }

    /// What a comparison needs and nothing more: without what was said, with the scores that can be a regression alone, to
    /// four digits.
    #[must_use]
    pub fn as_baseline(&self) -> Self {
        let mut baseline = self.clone();
        let counts = |name: &str| find(name).is_some_and(|metric| metric.tolerance.is_some());
        for case in &mut baseline.cases {
            case.details = None;
            case.input.clear();
            case.tags.clear();
            case.unsupported.clear();
            case.scores.retain(|name, _| counts(name) && !name.contains('/'));
            for value in case.scores.values_mut() {
                *value = (*value * 1e4).round() / 1e4;
            }
        }
        baseline.metrics.retain(|metric| counts(&metric.name));
        baseline.slices.clear();
        baseline.risk_coverage.clear();
        baseline
    }
}

/// A target that shows no passages has no ranking that a failure could be the worst of.
fn leave_out_rankings(cases: &mut [CaseReport]) {
    let is_ranking = |name: &str| find(name).is_some_and(|metric| metric.group == Group::Retrieval);
    let shows_one =
        |case: &CaseReport| case.error.is_none() && case.scores.keys().any(|name| is_ranking(name));
    if !cases.iter().any(shows_one) && cases.iter().any(|case| case.error.is_none()) {
        for case in cases {
            case.scores.retain(|name, _| !is_ranking(name));
        }
    }
}

/// What the metrics of evidence see, by falling evidence. A case that failed has none.
pub(crate) fn judged(cases: &[&CaseReport]) -> Vec<Judged> {
    use crate::dataset::Expect;
    let judged = cases.iter().filter_map(|case| {
        let answerable = match case.expect {
            Expect::Answer => true,
            Expect::Abstain => false,
            Expect::Clarify | Expect::Handoff => return None,
        };
        Some(Judged { evidence: case.evidence?, answerable, right: case.right })
    });
    sorted(judged.collect())
}

fn metrics_of(cases: &[&CaseReport]) -> Vec<MetricValue> {
    let mut columns: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for case in cases {
        for (name, value) in &case.scores {
            columns.entry(name).or_default().push(*value);
        }
    }
    let mut metrics: Vec<MetricValue> = Vec::new();
    let mut add = |name: String, interval: Option<Interval>| {
        metrics.extend(interval.map(|interval| MetricValue { name, interval }));
    };
    for (name, values) in &columns {
        if name.ends_with("_ms") {
            add(format!("{name}_p50"), quantile_interval(values, 0.5));
            add(format!("{name}_p95"), quantile_interval(values, 0.95));
        } else {
            add((*name).to_owned(), mean_interval(values));
        }
    }
    let evidence = judged(cases);
    add("aurc".to_owned(), estimate_interval(evidence.len(), |weights| aurc(&evidence, weights)));
    for (kind, evidence) in by_kind(cases) {
        let name = |metric: &str| match &kind {
            None => metric.to_owned(),
            Some(kind) => format!("{metric}/{kind}"),
        };
        let count = evidence.len();
        add(name("auroc"), estimate_interval(count, |weights| auroc(&evidence, weights)));
        let abstained = |weights: &[u32]| abstained_keeping(&evidence, weights, KEPT);
        add(name("abstained@88"), estimate_interval(count, abstained));
    }
    let place = |name: &str| {
        let found = find(name).map(|metric| metric.name);
        METRICS.iter().position(|metric| Some(metric.name) == found).unwrap_or(usize::MAX)
    };
    metrics.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
    metrics
}

/// All cases, and, where there are several kinds of unanswerable ones, the answerable with each.
fn by_kind(cases: &[&CaseReport]) -> Vec<(Option<String>, Vec<Judged>)> {
    let mut kinds: Vec<&str> = cases.iter().filter_map(|case| case.kind.as_deref()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut parts = vec![(None, judged(cases))];
    for kind in kinds {
        let is_of = |case: &&&CaseReport| case.kind.is_none() || case.kind.as_deref() == Some(kind);
        let of_kind: Vec<&CaseReport> = cases.iter().filter(is_of).copied().collect();
        parts.push((Some(kind.to_owned()), judged(&of_kind)));
    }
    parts
}
