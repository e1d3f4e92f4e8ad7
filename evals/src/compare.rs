//! Whether a change made answers worse.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::metrics::{Direction, Judged, KEPT, METRICS, abstained_keeping, aurc, auroc, find};
use crate::report::{CaseReport, Report, judged, shown};
use crate::stats::{Interval, RESAMPLES, SplitMix, ends, mean};

/// Pairs below which nothing is said.
pub const MIN_PAIRS: usize = 10;

/// Baselines have four digits: a gain of less is none.
const ROUNDING: f64 = 1e-4;

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// Losses that are none, by metric, in place of the metrics' own. A metric without one of its own, as time and cost, is
    /// held to this one then.
    pub tolerances: BTreeMap<String, f64>,
}

/// Two reports, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The verdict over all metrics: the worst of theirs.
    pub verdict: Verdict,
    /// Cases that both have.
    pub pairs: usize,
    /// Cases of the first that the second lacks.
    pub missing: usize,
    /// Whether both were asked the same.
    pub same_dataset: bool,
    /// Metric by metric.
    pub metrics: Vec<Change>,
    /// Cases that came out differently.
    pub flipped: Vec<Flip>,
}

/// What became of a metric, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better: the whole interval lies above 0.
    Improved,
    /// A loss beyond the tolerance can be ruled out.
    Same,
    /// Neither a loss beyond the tolerance nor its absence is shown.
    TooFewCases,
    /// Worse: the whole interval lies below 0, and the loss is beyond the tolerance.
    Regressed,
}

impl Verdict {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::Same => "same",
            Self::TooFewCases => "too few cases to tell",
            Self::Regressed => "REGRESSED",
        }
    }
}

/// A metric of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Of the first report, over the pairs.
    pub base: f64,
    /// Of the second.
    pub new: f64,
    /// The gain with its interval: above 0 is better, whichever way the metric points.
    pub gain: Interval,
    /// The loss that is none; `None`: never a regression.
    pub tolerance: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// A case that came out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The case.
    pub id: String,
    /// What is asked.
    pub input: String,
    /// What came before.
    pub base: String,
    /// What comes now.
    pub new: String,
    /// Whether it is right now, and was not.
    pub better: bool,
}

/// Compares two reports by the cases that both have, with 2,000 paired resamples of a fixed seed. Regressed is what lost
/// more than its tolerance with the whole 95 % interval below 0.
pub fn compare(base: &Report, new: &Report, options: &CompareOptions) -> Comparison {
    let before: BTreeMap<&str, &CaseReport> =
        base.cases.iter().map(|case| (case.id.as_str(), case)).collect();
    let pairs: Vec<(&CaseReport, &CaseReport)> =
        new.cases.iter().filter_map(|case| Some((*before.get(case.id.as_str())?, case))).collect();
    let mut metrics = Vec::new();
    for metric in METRICS {
        let tolerance = options.tolerances.get(metric.name).copied().or(metric.tolerance);
        let change = match metric.name {
            "auroc" => of_evidence(&pairs, metric.name, auroc),
            "aurc" => of_evidence(&pairs, metric.name, aurc),
            "abstained@88" => of_evidence(&pairs, metric.name, |cases, weights| {
                abstained_keeping(cases, weights, KEPT)
            }),
            _ => of_means(&pairs, metric.name),
        };
        metrics.extend(change.map(|change| judge(change, tolerance)));
    }
    let flipped = pairs.iter().filter_map(|(base, new)| flip(base, new)).collect();
    Comparison {
        verdict: overall(&metrics, pairs.len()),
        pairs: pairs.len(),
        missing: base.cases.len().saturating_sub(pairs.len()),
        same_dataset: base.dataset.version == new.dataset.version,
        metrics,
        flipped,
    }
}

/// Regressed when any is; too few when nothing can be said of any that counts.
fn overall(metrics: &[Change], pairs: usize) -> Verdict {
    let counted = || metrics.iter().filter(|change| change.tolerance.is_some());
    if counted().any(|change| change.verdict == Verdict::Regressed) {
        Verdict::Regressed
    } else if pairs < MIN_PAIRS || counted().any(|change| change.verdict == Verdict::TooFewCases) {
        Verdict::TooFewCases
    } else if counted().any(|change| change.verdict == Verdict::Improved) {
        Verdict::Improved
    } else {
        Verdict::Same
    }
}

fn judge(mut change: Change, tolerance: Option<f64>) -> Change {
    change.tolerance = tolerance;
    let Interval { value, low, high, count } = change.gain;
    let allowed = tolerance.unwrap_or(0.0);
    change.verdict = if count < MIN_PAIRS {
        Verdict::TooFewCases
    } else if high < 0.0 && -value > allowed && tolerance.is_some() {
        Verdict::Regressed
    } else if low > 0.0 && value > ROUNDING {
        Verdict::Improved
    } else if low >= -allowed || tolerance.is_none() {
        Verdict::Same
    } else {
        Verdict::TooFewCases
    };
    change
}

/// Of a metric that is the mean of the cases' own values, over the cases that have it in both. A case that has it in one only,
/// as an answer that was withheld has no citations, says nothing about it.
fn of_means(pairs: &[(&CaseReport, &CaseReport)], name: &str) -> Option<Change> {
    let value = |case: &CaseReport| case.scores.get(name).copied();
    let values: Vec<(f64, f64)> =
        pairs.iter().filter_map(|(base, new)| Some((value(base)?, value(new)?))).collect();
    let sign = sign(name);
    let gains: Vec<f64> = values.iter().map(|(base, new)| sign * (new - base)).collect();
    let gain = crate::stats::mean_interval(&gains)?;
    let base: Vec<f64> = values.iter().map(|(base, _)| *base).collect();
    let new: Vec<f64> = values.iter().map(|(_, new)| *new).collect();
    Some(change(name, mean(&base)?, mean(&new)?, gain))
}

/// Of a metric of all cases' evidence together: each resample draws the same cases of both.
fn of_evidence(
    pairs: &[(&CaseReport, &CaseReport)],
    name: &str,
    estimate: impl Fn(&[Judged], &[u32]) -> Option<f64>,
) -> Option<Change> {
    let both: Vec<(&CaseReport, &CaseReport)> = pairs
        .iter()
        .filter(|(base, new)| base.evidence.is_some() && new.evidence.is_some())
        .copied()
        .collect();
    let sides = [
        both.iter().map(|(base, _)| *base).collect::<Vec<_>>(),
        both.iter().map(|(_, new)| *new).collect::<Vec<_>>(),
    ];
    // The order of each side by its own evidence, to hand the same draw to both.
    let [before, after] = sides.map(|cases| Side::of(&cases));
    let ones = vec![1; both.len()];
    let base = before.estimate(&ones, &estimate)?;
    let new = after.estimate(&ones, &estimate)?;
    let sign = sign(name);
    let mut random = SplitMix::new();
    let mut gains = Vec::with_capacity(RESAMPLES);
    let mut weights = vec![0; both.len()];
    for _ in 0..RESAMPLES {
        weights.fill(0);
        for _ in 0..both.len() {
            weights[random.below(both.len())] += 1;
        }
        let drawn = before.estimate(&weights, &estimate).zip(after.estimate(&weights, &estimate));
        gains.extend(drawn.map(|(base, new)| sign * (new - base)));
    }
    let (low, high) = ends(gains);
    let gain = Interval { value: sign * (new - base), low, high, count: both.len() };
    Some(change(name, base, new, gain))
}

/// The cases of one report by falling evidence, and where each stood.
struct Side {
    cases: Vec<Judged>,
    places: Vec<usize>,
}

impl Side {
    fn of(cases: &[&CaseReport]) -> Self {
        let mut own: Vec<(usize, Judged)> = Vec::new();
        for (place, case) in cases.iter().enumerate() {
            own.extend(judged(&[case]).into_iter().map(|judged| (place, judged)));
        }
        own.sort_by(|a, b| b.1.evidence.total_cmp(&a.1.evidence));
        let (places, cases) = own.into_iter().unzip();
        Self { cases, places }
    }

    fn estimate(
        &self,
        weights: &[u32],
        estimate: &impl Fn(&[Judged], &[u32]) -> Option<f64>,
    ) -> Option<f64> {
        let own: Vec<u32> = self.places.iter().map(|place| weights[*place]).collect();
        estimate(&self.cases, &own)
    }
}

fn sign(name: &str) -> f64 {
    match find(name).map(|metric| metric.direction) {
        Some(Direction::Lower) => -1.0,
        _ => 1.0,
    }
}

fn change(name: &str, base: f64, new: f64, gain: Interval) -> Change {
    let name = name.to_owned();
    Change { name, base, new, gain, tolerance: None, verdict: Verdict::Same }
}

fn flip(base: &CaseReport, new: &CaseReport) -> Option<Flip> {
    let names = ["answered", "false_answer", "clarified", "handed_off", "containment", "hit@10"];
    let differs = |name: &&&str| match (base.scores.get(**name), new.scores.get(**name)) {
        (Some(before), Some(now)) => (before - now).abs() > 1e-9,
        _ => false,
    };
    let name = *names.iter().find(differs)?;
    let (before, now) = (base.scores[name], new.scores[name]);
    let shown = |case: &CaseReport, value: f64| {
        let outcome = match (&case.error, case.outcome) {
            (Some(error), _) => format!("failed ({})", error.code),
            (None, Some(outcome)) => outcome.name().to_owned(),
            (None, None) => "nothing".to_owned(),
        };
        format!("{outcome}, {name} {value:.0}")
    };
    Some(Flip {
        id: new.id.clone(),
        input: new.input.clone(),
        base: shown(base, before),
        new: shown(new, now),
        better: sign(name) * (now - before) > 0.0,
    })
}

/// For a terminal.
pub fn comparison_table(comparison: &Comparison) -> String {
    let mut text = format!("{} cases in both", comparison.pairs);
    if comparison.missing > 0 {
        let _ = write!(text, ", {} of the first are missing in the second", comparison.missing);
    }
    if !comparison.same_dataset {
        text.push_str("; the datasets differ");
    }
    let _ = writeln!(
        text,
        "\n  {:<22} {:>8} {:>8} {:>8}  {:>19}  verdict",
        "metric", "base", "new", "gain", "95 % interval"
    );
    for change in &comparison.metrics {
        let name = &change.name;
        let between =
            format!("{} – {}", signed(name, change.gain.low), signed(name, change.gain.high));
        let _ = writeln!(
            text,
            "  {name:<22} {:>8} {:>8} {:>8}  {between:>19}  {}",
            shown(name, change.base),
            shown(name, change.new),
            signed(name, change.gain.value),
            if change.tolerance.is_some() { change.verdict.words() } else { "" },
        );
    }
    if !comparison.flipped.is_empty() {
        let better = comparison.flipped.iter().filter(|flip| flip.better).count();
        let worse = comparison.flipped.len() - better;
        let _ = writeln!(text, "flipped: {better} for the better, {worse} for the worse");
        for flip in &comparison.flipped {
            let sign = if flip.better { '+' } else { '-' };
            let _ = writeln!(text, "  {sign} {}: {} → {}", flip.id, flip.base, flip.new);
        }
    }
    let _ = writeln!(text, "{}", comparison.verdict.words());
    text
}

fn signed(name: &str, value: f64) -> String {
    let text = shown(name, value);
    if value > 0.0 { format!("+{text}") } else { text }
}
