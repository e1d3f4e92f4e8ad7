//! Metrics as `trec_eval` computes them, and containment of extracted answers.

use std::collections::BTreeSet;

use models::lexical::each_word;

/// nDCG@10, recall@5 and reciprocal rank of one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RankingScores {
    pub(super) ndcg10: f64,
    pub(super) recall5: f64,
    pub(super) reciprocal_rank: f64,
}

/// Of a ranking, best first, against what is relevant (binary, at least one).
pub(super) fn ranking_scores(ranking: &[String], relevant: &BTreeSet<String>) -> RankingScores {
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let mut dcg = 0.0;
    let mut found5 = 0.0;
    let mut reciprocal_rank = 0.0;
    for (rank, id) in ranking.iter().enumerate() {
        if !relevant.contains(id) {
            continue;
        }
        if reciprocal_rank == 0.0 {
            reciprocal_rank = 1.0 / (rank as f64 + 1.0);
        }
        dcg += if rank < 10 { gain(rank) } else { 0.0 };
        found5 += if rank < 5 { 1.0 } else { 0.0 };
    }
    let ideal: f64 = (0..relevant.len().min(10)).map(gain).sum();
    RankingScores { ndcg10: dcg / ideal, recall5: found5 / relevant.len() as f64, reciprocal_rank }
}

/// Articles of es, en and pt, folded.
const ARTICLES: &[&str] = &[
    "el", "la", "los", "las", "un", "una", "unos", "unas", "the", "a", "an", "o", "os", "as", "um",
    "uma", "uns", "umas",
];

/// Folded words without articles.
fn normalized(text: &str) -> String {
    let mut words = String::from(" ");
    each_word(text, |word| {
        if !ARTICLES.contains(&word) {
            words.push_str(word);
            words.push(' ');
        }
    });
    words
}

/// Whether the text holds one of the answers, after folding and dropping articles.
pub(super) fn contains_answer(text: &str, answers: &[String]) -> bool {
    let text = normalized(text);
    answers.iter().any(|answer| {
        let answer = normalized(answer);
        answer.trim() != "" && text.contains(&answer)
    })
}

/// The probability that an answerable question has more evidence than an unanswerable one; ties count half.
pub(super) fn auroc(answerable: &[f64], unanswerable: &[f64]) -> f64 {
    let mut wins = 0.0;
    for no in unanswerable {
        for yes in answerable {
            wins += match yes.total_cmp(no) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / (answerable.len() * unanswerable.len()) as f64
}

/// The evidence that `share` of the answerable questions reach.
pub(super) fn threshold_keeping(answerable: &[f64], share: f64) -> f64 {
    let mut sorted = answerable.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
    let kept = (sorted.len() as f64 * share).ceil() as usize;
    kept.checked_sub(1).and_then(|last| sorted.get(last)).copied().unwrap_or_default()
}

/// The share of `values` that is at least `threshold`.
pub(super) fn share_reaching(values: &[f64], threshold: f64) -> f64 {
    values.iter().filter(|&&value| value >= threshold).count() as f64 / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn rankings_score_as_in_trec_eval() {
        let relevant: BTreeSet<String> = ids(&["a", "b"]).into_iter().collect();
        let scores = ranking_scores(&ids(&["x", "a", "y", "z", "w", "b"]), &relevant);
        // DCG = 1/log2(3) + 1/log2(7); ideal = 1 + 1/log2(3).
        assert!((scores.ndcg10 - (0.630_929_75 + 0.356_207_19) / 1.630_929_75).abs() < 1e-6);
        assert!((scores.recall5 - 0.5).abs() < 1e-9);
        assert!((scores.reciprocal_rank - 0.5).abs() < 1e-9);
        let none = ranking_scores(&ids(&["x"]), &relevant);
        assert_eq!((none.ndcg10, none.recall5, none.reciprocal_rank), (0.0, 0.0, 0.0));
    }

    #[test]
    fn an_answer_is_contained_whatever_its_accents_and_articles() {
        let answers = ids(&["los días hábiles"]);
        assert!(contains_answer("Llega en 3 DIAS habiles.", &answers));
        assert!(!contains_answer("Llega en días de semana hábiles.", &answers));
        assert!(!contains_answer("Cuesta 45.000", &ids(&["5.000"])));
        assert!(!contains_answer("algo", &ids(&["el"])));
    }

    #[test]
    fn thresholds_keep_the_share_asked_for() {
        let evidence = [0.9, 0.8, 0.7, 0.6];
        let threshold = threshold_keeping(&evidence, 0.75);
        assert!((threshold - 0.7).abs() < 1e-9);
        assert!((share_reaching(&evidence, threshold) - 0.75).abs() < 1e-9);
        assert!((auroc(&[0.9, 0.5], &[0.5, 0.1]) - 0.875).abs() < 1e-9);
    }
}
