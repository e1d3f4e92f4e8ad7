//! Metrics of knowing when not to answer, over sets of cases.

/// A case as these metrics see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// How sure the target was.
    pub evidence: f64,
    /// Whether it should be answered.
    pub answerable: bool,
    /// Whether what was said, or would have been, is right.
    pub right: Option<bool>,
}

/// Cases by falling evidence, as the estimates below want them.
pub fn sorted(mut cases: Vec<Judged>) -> Vec<Judged> {
    cases.sort_by(|a, b| b.evidence.total_cmp(&a.evidence));
    cases
}

/// Runs of equal evidence with the weights of their cases.
fn ties<'a>(
    cases: &'a [Judged],
    weights: &'a [u32],
) -> impl Iterator<Item = (&'a [Judged], &'a [u32])> {
    let mut at = 0;
    cases.chunk_by(|a, b| a.evidence.total_cmp(&b.evidence).is_eq()).map(move |tied| {
        let from = at;
        at += tied.len();
        (tied, &weights[from..at])
    })
}

fn weigh(tied: &[Judged], weights: &[u32], which: impl Fn(&Judged) -> bool) -> f64 {
    let counted = tied.iter().zip(weights).filter(|(case, _)| which(case));
    counted.map(|(_, weight)| f64::from(*weight)).sum()
}

/// The probability that an answerable case has more evidence than an unanswerable one; ties count half. The area under
/// the receiver operating characteristic, 0 to 1, higher is better, .5 is chance. Source: Hanley and McNeil 1982.
/// Cases are [`sorted`], each counted as often as its weight says. `None` when one side is empty.
pub fn auroc(cases: &[Judged], weights: &[u32]) -> Option<f64> {
    let (mut wins, mut yes_above, mut no_above) = (0.0, 0.0, 0.0);
    for (tied, weights) in ties(cases, weights) {
        let yes = weigh(tied, weights, |case| case.answerable);
        let no = weigh(tied, weights, |case| !case.answerable);
        wins += no * (yes_above + yes / 2.0);
        yes_above += yes;
        no_above += no;
    }
    (yes_above > 0.0 && no_above > 0.0).then(|| wins / (yes_above * no_above))
}

/// The share of the unanswerable cases whose evidence stays under the one that `share` of the answerable reach: the
/// abstention of a threshold chosen with the labels in hand, which no installation has. 0 to 1, higher is better. Cases are
/// [`sorted`] and weighed; `None` when one side is empty.
pub fn abstained_keeping(cases: &[Judged], weights: &[u32], share: f64) -> Option<f64> {
    let all_yes = weigh(cases, weights, |case| case.answerable);
    let all_no = weigh(cases, weights, |case| !case.answerable);
    if all_yes <= 0.0 || all_no <= 0.0 {
        return None;
    }
    let wanted = (all_yes * share).ceil();
    let (mut yes, mut no) = (0.0, 0.0);
    for (tied, weights) in ties(cases, weights) {
        yes += weigh(tied, weights, |case| case.answerable);
        no += weigh(tied, weights, |case| !case.answerable);
        if yes >= wanted {
            break;
        }
    }
    Some(1.0 - no / all_no)
}

/// The evidence that `share` of the answerable cases reach; 0 without any.
pub fn threshold_keeping(answerable: &[f64], share: f64) -> f64 {
    let mut sorted = answerable.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
    let kept = (sorted.len() as f64 * share).ceil() as usize;
    kept.checked_sub(1).and_then(|last| sorted.get(last)).copied().unwrap_or_default()
}

/// The share of `values` that is at least `threshold`; 0 of none.
pub fn share_reaching(values: &[f64], threshold: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().filter(|&&value| value >= threshold).count() as f64 / values.len() as f64
}

/// A point of a risk–coverage curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RiskPoint {
    /// The evidence from which on cases are answered.
    pub threshold: f64,
    /// The share of all cases that are answered then.
    pub coverage: f64,
    /// The share of those that are answered wrongly.
    pub risk: f64,
}

/// The risk–coverage curve, from the surest case on. Cases of equal evidence come together; those of which nobody can
/// tell whether they are right are left out. Source: El-Yaniv and Wiener 2010.
pub fn risk_coverage(cases: &[Judged]) -> Vec<RiskPoint> {
    let known: Vec<Judged> = cases.iter().filter(|case| case.right.is_some()).copied().collect();
    let ones = vec![1; known.len()];
    let all = known.len() as f64;
    let (mut points, mut answered, mut wrong) = (Vec::new(), 0.0, 0.0);
    for (tied, weights) in ties(&known, &ones) {
        answered += tied.len() as f64;
        wrong += weigh(tied, weights, |case| case.right == Some(false));
        let (coverage, risk) = (answered / all, wrong / answered);
        points.push(RiskPoint { threshold: tied[0].evidence, coverage, risk });
    }
    points
}

/// The area under the risk–coverage curve: the mean risk over all coverages, 0 to 1, lower is better. Source: Geifman
/// and El-Yaniv 2017. Cases are [`sorted`] and weighed; `None` when of none can be told whether it is right.
pub fn aurc(cases: &[Judged], weights: &[u32]) -> Option<f64> {
    let (mut answered, mut wrong, mut area) = (0.0, 0.0, 0.0);
    for (tied, weights) in ties(cases, weights) {
        let known = weigh(tied, weights, |case| case.right.is_some());
        if known > 0.0 {
            answered += known;
            wrong += weigh(tied, weights, |case| case.right == Some(false));
            area += known * wrong / answered;
        }
    }
    (answered > 0.0).then(|| area / answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cases: &[(f64, bool, Option<bool>)]) -> Vec<Judged> {
        let judged = |&(evidence, answerable, right)| Judged { evidence, answerable, right };
        sorted(cases.iter().map(judged).collect())
    }

    #[test]
    fn thresholds_keep_the_share_asked_for() {
        let evidence = [0.9, 0.8, 0.7, 0.6];
        let threshold = threshold_keeping(&evidence, 0.75);
        assert!((threshold - 0.7).abs() < 1e-9);
        assert!((share_reaching(&evidence, threshold) - 0.75).abs() < 1e-9);
        let cases = judged(&[
            (0.9, true, None),
            (0.8, true, None),
            (0.75, false, None),
            (0.7, true, None),
            (0.65, false, None),
            (0.6, true, None),
        ]);
        assert_eq!(abstained_keeping(&cases, &[1; 6], 0.75), Some(0.5));
        assert_eq!(abstained_keeping(&cases, &[1, 1, 0, 1, 0, 1], 0.75), None);
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let cases =
            judged(&[(0.9, true, None), (0.5, true, None), (0.5, false, None), (0.1, false, None)]);
        assert_eq!(auroc(&cases, &[1; 4]), Some(0.875));
        // Without the tie all pairs are in order.
        assert_eq!(auroc(&cases, &[3, 0, 1, 2]), Some(1.0));
        assert_eq!(auroc(&cases[..2], &[1; 2]), None);
    }

    #[test]
    fn risk_rises_as_less_sure_cases_are_answered() {
        let cases = judged(&[
            (0.9, true, Some(true)),
            (0.8, true, Some(true)),
            (0.7, true, None),
            (0.4, false, Some(false)),
            (0.4, true, Some(true)),
        ]);
        let points = risk_coverage(&cases);
        let shape: Vec<(f64, f64)> = points.iter().map(|p| (p.coverage, p.risk)).collect();
        assert_eq!(shape, [(0.25, 0.0), (0.5, 0.0), (1.0, 0.25)]);
        assert!((aurc(&cases, &[1; 5]).unwrap() - 0.125).abs() < 1e-9);
    }
}
