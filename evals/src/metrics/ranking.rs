//! Metrics of a ranking, with the semantics of `trec_eval`.

use std::cmp::Ordering;

use crate::dataset::Relevant;
use crate::observation::Found;
use crate::text;

/// A ranking as metrics see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gains {
    /// The grade of each passage, best ranked first; 0 for one that is not relevant, or that only repeats what an
    /// earlier one satisfied.
    pub ranked: Vec<f64>,
    /// The grades of everything that is relevant, the highest first.
    pub ideal: Vec<f64>,
}

/// Compares a ranking with what is relevant. A relevant document or text is satisfied by the first passage of it; for
/// passages known by their ids this is what `trec_eval` counts. Only the first `depth` passages are looked at.
pub fn gains(ranking: &[Found], relevant: &[Relevant], depth: usize) -> Gains {
    let mut open: Vec<(&Relevant, Option<String>)> = relevant
        .iter()
        .map(|relevant| match relevant {
            Relevant::Text { must_contain } => (relevant, Some(text::folded(must_contain))),
            _ => (relevant, None),
        })
        .collect();
    let mut ideal: Vec<f64> = relevant.iter().map(|one| f64::from(one.grade())).collect();
    ideal.retain(|grade| *grade > 0.0);
    ideal.sort_by(|a, b| b.total_cmp(a));
    let mut ranked = Vec::with_capacity(ranking.len().min(depth));
    for found in ranking.iter().take(depth) {
        let mut gain = 0.0;
        let mut said: Option<String> = None;
        open.retain(|(one, wanted)| {
            let matches = match wanted {
                None => one.id().is_some_and(|id| is_called(found, id)),
                Some(wanted) => {
                    let said = said.get_or_insert_with(|| text::folded(&found.text));
                    !wanted.trim().is_empty() && said.contains(wanted.as_str())
                }
            };
            if matches {
                gain += f64::from(one.grade());
            }
            !matches
        });
        ranked.push(gain);
    }
    Gains { ranked, ideal }
}

/// Whether a relevant id means this passage: its own id, its document's, or its document's name.
pub(super) fn is_called(found: &Found, id: &str) -> bool {
    found.id == id || found.document.as_deref() == Some(id) || found.title == id
}

/// Puts a run into the order of `trec_eval`: by falling score, equal scores by falling id.
pub fn in_trec_order(run: &mut [(String, f64)]) {
    run.sort_by(|(id, score), (other, than)| {
        than.total_cmp(score).then_with(|| match id.cmp(other) {
            Ordering::Less => Ordering::Greater,
            Ordering::Greater => Ordering::Less,
            Ordering::Equal => Ordering::Equal,
        })
    });
}

/// Normalised discounted cumulative gain: `Σ gᵢ ÷ log₂(i + 1)` over the first `k` ranks `i`, by that of the ideal
/// order. 0 to 1, higher is better. Source: Järvelin and Kekäläinen 2002; linear gains as `trec_eval`'s
/// `ndcg_cut`. 0 when nothing is relevant.
pub fn ndcg(gains: &Gains, k: usize) -> f64 {
    let discounted = |values: &[f64]| -> f64 {
        values.iter().take(k).zip(2_u32..).map(|(gain, rank)| gain / f64::from(rank).log2()).sum()
    };
    let ideal = discounted(&gains.ideal);
    if ideal > 0.0 { discounted(&gains.ranked) / ideal } else { 0.0 }
}

/// The share of what is relevant that stands among the first `k`. 0 to 1, higher is better. Source: `trec_eval`'s
/// `recall`. 0 when nothing is relevant.
pub fn recall(gains: &Gains, k: usize) -> f64 {
    if gains.ideal.is_empty() { 0.0 } else { found(gains, k) / gains.ideal.len() as f64 }
}

/// 1 when anything relevant stands among the first `k`, else 0. Higher is better. Source: `trec_eval`'s `success`.
pub fn hit(gains: &Gains, k: usize) -> f64 {
    f64::from(u8::from(gains.ranked.iter().take(k).any(|gain| *gain > 0.0)))
}

/// `1 ÷ rank` of the first relevant passage among the first `k`, 0 without one; its mean is MRR@k. 0 to 1, higher is
/// better. Source: `trec_eval`'s `recip_rank`, cut at `k`.
pub fn reciprocal_rank(gains: &Gains, k: usize) -> f64 {
    let first = gains.ranked.iter().take(k).position(|gain| *gain > 0.0);
    first.map_or(0.0, |rank| 1.0 / (rank as f64 + 1.0))
}

/// The mean of precision@i at those ranks `i` among the first `k` that hold something relevant, 0 without one.
/// 0 to 1, higher is better. Source: RAGAS, context precision. Rewards relevant passages before others; unlike average
/// precision it does not ask how many are missing.
pub fn context_precision(gains: &Gains, k: usize) -> f64 {
    let (mut seen, mut sum) = (0.0, 0.0);
    for (gain, rank) in gains.ranked.iter().take(k).zip(1_u32..) {
        if *gain > 0.0 {
            seen += 1.0;
            sum += seen / f64::from(rank);
        }
    }
    if seen > 0.0 { sum / seen } else { 0.0 }
}

fn found(gains: &Gains, k: usize) -> f64 {
    gains.ranked.iter().take(k).filter(|gain| **gain > 0.0).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(ids: &[&str]) -> Vec<Found> {
        ids.iter().map(|id| Found { id: (*id).to_owned(), ..Found::default() }).collect()
    }

    fn relevant(ids: &[&str]) -> Vec<Relevant> {
        ids.iter().map(|id| Relevant::Id((*id).to_owned())).collect()
    }

    #[test]
    fn rankings_score_as_in_trec_eval() {
        let gains = gains(&ranking(&["x", "a", "y", "z", "w", "b"]), &relevant(&["a", "b"]), 20);
        // DCG = 1/log2(3) + 1/log2(7); ideal = 1 + 1/log2(3).
        let expected = (0.630_929_75 + 0.356_207_19) / 1.630_929_75;
        assert!((ndcg(&gains, 10) - expected).abs() < 1e-6);
        assert!((recall(&gains, 5) - 0.5).abs() < 1e-9 && (recall(&gains, 10) - 1.0).abs() < 1e-9);
        assert!((reciprocal_rank(&gains, 10) - 0.5).abs() < 1e-9);
        assert!((context_precision(&gains, 10) - f64::midpoint(0.5, 2.0 / 6.0)).abs() < 1e-9);
        assert_eq!((hit(&gains, 1), hit(&gains, 5)), (0.0, 1.0));
    }

    #[test]
    fn a_text_or_a_document_counts_once() {
        let mut found = ranking(&["1", "2", "3"]);
        found[0].text = "El envío cuesta 5.490 pesos.".to_owned();
        found[1].text = "Repetido: el ENVIO cuesta 5.490 pesos".to_owned();
        found[2].document = Some("doc".to_owned());
        let wanted = [
            Relevant::Text { must_contain: "envio cuesta 5.490".to_owned() },
            Relevant::Graded { id: "doc".to_owned(), grade: 2 },
        ];
        let gains = gains(&found, &wanted, 20);
        assert_eq!((gains.ranked, gains.ideal), (vec![1.0, 0.0, 2.0], vec![2.0, 1.0]));
    }
}
