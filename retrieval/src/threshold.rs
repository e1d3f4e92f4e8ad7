//! From which evidence on a question counts as covered by the knowledge, where nobody set another.
//!
//! Among more passages some passage covers more of any question by chance, so the evidence that tells the
//! covered from the absent rises with their number, and with how alike they are. The number alone gives a
//! first threshold; datastores of some size get their own, calibrated (`calibrate`).

/// The threshold among 42 passages, the smallest set it was measured on.
const AMONG_42: f64 = 0.26;
/// What it rises by where passages become e times as many.
const PER_LOG: f64 = 0.10;
/// Among a dozen passages and fewer a question shares hardly anything with them by chance.
const LEAST: f64 = 0.15;
/// Where 90 % of the chat-style questions are still answered, among 842 passages.
const MOST: f64 = 0.43;

/// Passages below which questions made from them tell nothing.
pub(crate) const CALIBRATED_FROM: i64 = 50;
/// Passages from which on the calibration decides alone; between the two it gains weight.
const CALIBRATED_ALONE: f64 = 100.0;
/// The share of the questions made from the passages that stays below the threshold. The mean over some
/// quantiles around it moves less than one.
const UNANSWERED: f64 = 0.78;
const AROUND: f64 = 0.10;
/// Passages of fewer words than this hold less of what a question says in other words than they do: the
/// threshold is lower in proportion, down to `SHORTEST` of it. Measured on a list of passages of 32 words,
/// where people's questions find .45 of what they find elsewhere.
const FULL_WORDS: f64 = 100.0;
const SHORTEST: f64 = 0.45;
/// Where passages are copies of each other, everything is found again; a calibration goes no higher.
const CALIBRATED_MOST: f64 = 0.65;

/// Where a threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdOrigin {
    /// The number of live passages.
    Size,
    /// Questions made from the passages themselves.
    Calibration,
    /// Somebody set it for the datastore.
    Set,
}

impl ThresholdOrigin {
    /// `size`, `calibration` or `set`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Calibration => "calibration",
            Self::Set => "set",
        }
    }
}

/// The evidence below which a question is not answered, among so many live passages: rises with their
/// number between .15 and .43. The same number always gives the same threshold.
pub(crate) fn by_size(passages: i64) -> f64 {
    let passages = passages.max(1) as f64;
    (AMONG_42 + PER_LOG * (passages / 42.0).ln()).clamp(LEAST, MOST)
}

/// The threshold for so many passages of `words` words on average, from the evidence that questions made from
/// them find without the passage they are made from; at least one.
pub(crate) fn calibrated(mut evidence: Vec<f64>, words: f64, passages: i64) -> f64 {
    evidence.sort_by(f64::total_cmp);
    let reached = midmean(&evidence, UNANSWERED - AROUND, UNANSWERED + AROUND);
    let length = (words / FULL_WORDS).clamp(SHORTEST, 1.0);
    let own = (reached * length).clamp(LEAST, CALIBRATED_MOST);
    let first = CALIBRATED_FROM as f64;
    let share = ((passages as f64 - first) / (CALIBRATED_ALONE - first)).clamp(0.0, 1.0);
    share * own + (1.0 - share) * by_size(passages)
}

/// The mean of the sorted values between two quantiles.
fn midmean(sorted: &[f64], from: f64, to: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
    let at = |share: f64| (last * share).round() as usize;
    let middle = &sorted[at(from)..=at(to)];
    middle.iter().sum::<f64>() / middle.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_passages_ask_for_more_evidence_within_bounds() {
        let at = [-3, 0, 1, 6, 20, 42, 110, 380, 842, i64::MAX].map(by_size);
        assert!(at.is_sorted(), "{at:?}");
        assert!((at[0] - 0.15).abs() < 1e-9 && (at[3] - 0.15).abs() < 1e-9, "{at:?}");
        assert!((at[5] - 0.26).abs() < 1e-9 && (at[9] - 0.43).abs() < 1e-9, "{at:?}");
        assert!((at[6] - 0.356).abs() < 1e-3, "{at:?}");
    }

    #[test]
    fn a_calibration_follows_the_evidence_of_questions_without_an_answer() {
        let evidence: Vec<f64> = (0..=100).map(|n| f64::from(n) / 200.0).collect();
        let own = calibrated(evidence.clone(), 120.0, 500);
        assert!((own - 0.39).abs() < 1e-9, "{own}");
        let short = calibrated(evidence.clone(), 30.0, 500);
        assert!((short - 0.39 * SHORTEST).abs() < 1e-9, "{short}");
        let copies = calibrated(vec![0.99; 50], 120.0, 500);
        assert!((copies - CALIBRATED_MOST).abs() < 1e-9, "{copies}");
        assert!((calibrated(vec![0.0], 120.0, 500) - LEAST).abs() < 1e-9);
    }

    #[test]
    fn a_calibration_gains_weight_as_a_datastore_grows() {
        let at = |passages| calibrated(vec![0.5; 50], 120.0, passages);
        assert!((at(50) - by_size(50)).abs() < 1e-9);
        assert!((at(75) - f64::midpoint(by_size(75), 0.5)).abs() < 1e-9);
        assert!((at(100) - 0.5).abs() < 1e-9 && (at(9_000) - 0.5).abs() < 1e-9);
    }
}
