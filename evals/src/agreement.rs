//! How far a judge agrees with people.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::dataset::read_lines;
use crate::metrics::find;
use crate::report::Report;
use crate::stats::{Interval, estimate_interval};

/// What a person says of a case.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The case.
    pub id: String,
    /// The metric that is judged: `faithfulness`.
    pub metric: String,
    /// The person's value, on the metric's own scale.
    pub value: f64,
}

/// Judge and people on one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// The metric.
    pub metric: String,
    /// Pairs of verdicts.
    pub count: usize,
    /// The share of pairs on the same side of .5.
    pub agreement: Interval,
    /// Cohen's kappa of the sides: 1 is full agreement, 0 what chance gives (Cohen 1960). `None` where one of the two
    /// always says the same.
    pub kappa: Option<f64>,
    /// The mean of the judge's values less the people's: above 0 it is more lenient.
    pub bias: f64,
}

/// Reads labels. Errors: input, with line, field and remedy.
pub fn read_labels(path: &Path) -> Result<Vec<Label>, EvalError> {
    let labels: Vec<Label> = read_lines(path)?;
    for (at, label) in labels.iter().enumerate() {
        if find(&label.metric).is_none() {
            let problem = format!("there is no metric {}", label.metric);
            let remedy = "docs/EVALS.md lists them";
            return Err(EvalError::line(path, at + 1, Some("metric"), problem, remedy));
        }
    }
    Ok(labels)
}

/// Compares a report's values with people's, metric by metric. Labels of cases or metrics that the report lacks are left out.
pub fn agreement(report: &Report, labels: &[Label]) -> Vec<Agreement> {
    let cases: BTreeMap<&str, _> =
        report.cases.iter().map(|case| (case.id.as_str(), &case.scores)).collect();
    let mut pairs: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for label in labels {
        let value = cases.get(label.id.as_str()).and_then(|scores| scores.get(&label.metric));
        if let Some(value) = value {
            pairs.entry(&label.metric).or_default().push((*value, label.value));
        }
    }
    let of = |(metric, pairs): (&str, Vec<(f64, f64)>)| {
        let sides: Vec<(bool, bool)> =
            pairs.iter().map(|(judge, person)| (*judge >= 0.5, *person >= 0.5)).collect();
        let same = |weights: &[u32]| {
            let weighed = sides.iter().zip(weights);
            let same: u32 = weighed.filter(|((a, b), _)| a == b).map(|(_, weight)| weight).sum();
            let all: u32 = weights.iter().sum();
            (all > 0).then(|| f64::from(same) / f64::from(all))
        };
        let count = pairs.len();
        let bias = pairs.iter().map(|(judge, person)| judge - person).sum::<f64>() / count as f64;
        let agreement = estimate_interval(count, same)?;
        Some(Agreement {
            metric: metric.to_owned(),
            count,
            agreement,
            kappa: kappa(&sides, agreement.value),
            bias,
        })
    };
    pairs.into_iter().filter_map(of).collect()
}

fn kappa(sides: &[(bool, bool)], observed: f64) -> Option<f64> {
    let all = sides.len() as f64;
    let judge = sides.iter().filter(|(judge, _)| *judge).count() as f64 / all;
    let person = sides.iter().filter(|(_, person)| *person).count() as f64 / all;
    let chance = judge * person + (1.0 - judge) * (1.0 - person);
    (chance < 1.0 - 1e-12).then(|| (observed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_is_what_goes_beyond_chance() {
        let sides = [(true, true), (true, true), (false, false), (true, false)];
        // Observed .75; chance .75 × .5 + .25 × .5 = .5.
        assert!((kappa(&sides, 0.75).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(kappa(&[(true, true), (true, true)], 1.0), None);
    }
}
