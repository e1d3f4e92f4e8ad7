//! The threshold of evidence that data speak for.

use serde::Serialize;

use crate::metrics::{Judged, RiskPoint, risk_coverage, share_reaching, threshold_keeping};
use crate::report::{Report, judged};

/// What to aim for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// This share of the answerable cases is answered.
    Answered(f64),
    /// At most this share of what is answered is wrong.
    Risk(f64),
}

/// A threshold, and what it does on the cases that it was found with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    /// The evidence from which on cases are answered.
    pub threshold: f64,
    /// The one that was in force; `None` where nobody told.
    pub in_force: Option<f64>,
    /// What the new one does.
    pub after: Effect,
    /// What the one in force does.
    pub before: Option<Effect>,
    /// Answerable and unanswerable cases.
    pub cases: (usize, usize),
    /// The curve that the threshold was read from.
    pub curve: Vec<RiskPoint>,
}

/// What a threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// The share of the answerable cases that are answered.
    pub answered: f64,
    /// The share of the unanswerable cases that are not.
    pub abstained: f64,
    /// The share of the answers that are wrong, of those of which it can be told.
    pub risk: Option<f64>,
}

/// Fewest cases of a kind from which a threshold is read.
pub const MIN_CASES: usize = 20;

/// The threshold that reaches the aim on the cases of a report; `None` when fewer than [`MIN_CASES`] are answerable, or no
/// threshold keeps the risk so low.
pub fn calibrate(report: &Report, aim: Aim) -> Option<Calibration> {
    let cases: Vec<_> = report.cases.iter().collect();
    let judged = judged(&cases);
    let of = |answerable: bool| -> Vec<f64> {
        let wanted = judged.iter().filter(|case| case.answerable == answerable);
        wanted.map(|case| case.evidence).collect()
    };
    let (yes, no) = (of(true), of(false));
    if yes.len() < MIN_CASES {
        return None;
    }
    let curve = risk_coverage(&judged);
    let threshold = match aim {
        Aim::Answered(share) => threshold_keeping(&yes, share),
        // The lowest that keeps it: as much as possible is answered.
        Aim::Risk(most) => curve.iter().rev().find(|point| point.risk <= most)?.threshold,
    };
    let in_force =
        cases.iter().find_map(|case| case.details.as_ref()?.observation.as_ref()?.threshold);
    Some(Calibration {
        threshold,
        in_force,
        after: effect(&judged, threshold),
        before: in_force.map(|threshold| effect(&judged, threshold)),
        cases: (yes.len(), no.len()),
        curve,
    })
}

fn effect(cases: &[Judged], threshold: f64) -> Effect {
    let of = |answerable: bool| -> Vec<f64> {
        let wanted = cases.iter().filter(|case| case.answerable == answerable);
        wanted.map(|case| case.evidence).collect()
    };
    let known = cases.iter().filter(|case| case.evidence >= threshold && case.right.is_some());
    let (mut wrong, mut all) = (0.0, 0.0);
    for case in known {
        all += 1.0;
        wrong += f64::from(u8::from(case.right == Some(false)));
    }
    Effect {
        answered: share_reaching(&of(true), threshold),
        abstained: 1.0 - share_reaching(&of(false), threshold),
        risk: (all > 0.0).then(|| wrong / all),
    }
}
