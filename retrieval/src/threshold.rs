//! From which evidence on a question counts as covered by the knowledge.
//!
//! Among more passages some passage covers more of any question by chance, so the evidence that tells the
//! covered from the absent rises with their number. The evidence that 88 % of the answerable questions reach
//! is .28 among 42 passages and about .6 among 500 to 850; chat-style questions among 842 reach .47. The
//! threshold follows the logarithm of the number and stays below what chat-style questions need.

/// The threshold among 42 passages, the smallest set it was measured on.
const AMONG_42: f64 = 0.26;
/// What it rises by where passages become e times as many.
const PER_LOG: f64 = 0.10;
/// Among a dozen passages and fewer a question shares hardly anything with them by chance.
const LEAST: f64 = 0.15;
/// Where 88 % of the chat-style questions are still answered, among 842 passages.
const MOST: f64 = 0.43;

/// The evidence below which a question is not answered, among so many live passages: rises with their
/// number between .15 and .43. The same number always gives the same threshold.
pub(crate) fn by_size(passages: i64) -> f64 {
    let passages = passages.max(1) as f64;
    (AMONG_42 + PER_LOG * (passages / 42.0).ln()).clamp(LEAST, MOST)
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
}
