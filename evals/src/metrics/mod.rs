//! Metrics without a model. Each is deterministic, and says what it is, its range, which way is better and where its
//! definition comes from.

mod abstention;
mod answers;
mod citations;
mod ranking;
mod scores;

pub use abstention::{
    Judged, RiskPoint, abstained_keeping, aurc, auroc, risk_coverage, share_reaching, sorted,
    threshold_keeping,
};
pub use answers::{
    best_token_f1, contains_answer, contains_forbidden, is_in_language, sentence_support,
    unsupported,
};
pub use citations::{citation_precision, citation_recall, quotes_verbatim, valid_citations};
pub use ranking::{
    Gains, context_precision, gains, hit, in_trec_order, ndcg, recall, reciprocal_rank,
};
pub use scores::{Scored, score, score_failure};

/// The evidence that this share of the answerable cases reaches, for `abstained@88`.
pub const KEPT: f64 = 0.88;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What a metric is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Search.
    Retrieval,
    /// What is said.
    Answer,
    /// What the answer rests on.
    Citations,
    /// Knowing when not to answer.
    Abstention,
    /// Time, tokens, money.
    Cost,
    /// A model's judgement.
    Judge,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name in reports and floors. One name with a kind after a slash is a slice of it: `false_answer/absent_topic`.
    pub name: &'static str,
    /// What it is about.
    pub group: Group,
    /// Which way is better.
    pub direction: Direction,
    /// The loss that a comparison takes as none; `None`: compared, but never a regression.
    pub tolerance: Option<f64>,
    /// What it is, in one line.
    pub about: &'static str,
}

const fn metric(
    name: &'static str,
    group: Group,
    direction: Direction,
    tolerance: Option<f64>,
    about: &'static str,
) -> Metric {
    Metric { name, group, direction, tolerance, about }
}

use Direction::{Higher, Lower};
use Group::{Abstention, Answer, Citations, Cost, Judge, Retrieval};

/// A loss of so much in nDCG, recall and the like is none.
const RANKED: Option<f64> = Some(0.01);
/// The same of shares of answers.
const RATES: Option<f64> = Some(0.02);

/// Every metric, in the order of reports.
pub const METRICS: &[Metric] = &[
    metric("ndcg@10", Retrieval, Higher, RANKED, "ranking of the ten best passages"),
    metric("recall@1", Retrieval, Higher, RANKED, "relevant passages among the first"),
    metric("recall@5", Retrieval, Higher, RANKED, "relevant passages among the first 5"),
    metric("recall@10", Retrieval, Higher, RANKED, "relevant passages among the first 10"),
    metric("recall@20", Retrieval, Higher, RANKED, "relevant passages among the first 20"),
    metric("mrr@10", Retrieval, Higher, RANKED, "1 ÷ the rank of the first relevant passage"),
    metric("hit@1", Retrieval, Higher, RANKED, "cases whose first passage is relevant"),
    metric("hit@5", Retrieval, Higher, RANKED, "cases with a relevant passage among 5"),
    metric("hit@10", Retrieval, Higher, RANKED, "cases with a relevant passage among 10"),
    metric("context_precision", Retrieval, Higher, RANKED, "precision at the relevant ranks"),
    metric("answered", Abstention, Higher, RATES, "answerable cases that are answered"),
    metric("false_answer", Abstention, Lower, RATES, "unanswerable cases that are answered"),
    metric(
        "abstained@88",
        Abstention,
        Higher,
        RATES,
        "unanswerable cases under the evidence that 88 % of the answerable reach",
    ),
    metric(
        "auroc",
        Abstention,
        Higher,
        RATES,
        "how well evidence tells answerable from unanswerable",
    ),
    metric("aurc", Abstention, Lower, RATES, "mean risk over all coverages"),
    metric("clarified", Abstention, Higher, RATES, "underspecified cases that are asked back"),
    metric("handed_off", Abstention, Higher, RATES, "cases for a person that reach one"),
    metric(
        "refused",
        Abstention,
        Lower,
        RATES,
        "cases that the model declined for reasons of its own",
    ),
    metric("containment", Answer, Higher, RATES, "answers that contain an accepted one"),
    metric(
        "extract_containment",
        Answer,
        Higher,
        RATES,
        "the built-in answerer's sentences contain an accepted answer, whatever the evidence",
    ),
    metric("token_f1", Answer, Higher, RATES, "words shared with the nearest accepted answer"),
    metric(
        "unsupported",
        Answer,
        Lower,
        RATES,
        "answers with numbers or codes that stand in nothing they cite",
    ),
    metric(
        "sentence_support",
        Answer,
        Higher,
        RATES,
        "sentences whose words stand in what they cite",
    ),
    metric("forbidden", Answer, Lower, RATES, "answers with what they must not say"),
    metric("language", Answer, Higher, RATES, "answers in the customer's language"),
    metric("cites", Citations, Higher, RATES, "answers that cite something"),
    metric(
        "citations_valid",
        Citations,
        Higher,
        RATES,
        "citations of passages that are there and were found",
    ),
    metric("citation_precision", Citations, Higher, RATES, "cited passages that are relevant"),
    metric("citation_recall", Citations, Higher, RATES, "relevant passages that are cited"),
    metric(
        "quotes_verbatim",
        Citations,
        Higher,
        RATES,
        "quotes that stand in their passage word for word",
    ),
    metric("faithfulness", Judge, Higher, RATES, "claims of the answer that its passages support"),
    metric(
        "claim_recall",
        Judge,
        Higher,
        RATES,
        "claims of the accepted answer that the answer makes",
    ),
    metric("alce_recall", Judge, Higher, RATES, "sentences that what they cite supports"),
    metric("alce_precision", Judge, Higher, RATES, "citations that their sentence needs"),
    metric(
        "noise_sensitivity",
        Judge,
        Lower,
        RATES,
        "claims that are wrong although passages support them",
    ),
    metric("crag", Judge, Higher, RATES, "right 1, nearly .5, none 0, wrong −1"),
    metric("first_token_ms", Cost, Lower, None, "milliseconds to the first text"),
    metric("total_ms", Cost, Lower, None, "milliseconds to the end"),
    metric("prompt_tokens", Cost, Lower, None, "tokens of prompts"),
    metric("completion_tokens", Cost, Lower, None, "tokens of answers"),
    metric("cost_usd", Cost, Lower, None, "dollars a case"),
];

/// The metric of that name; of a name with a kind or a quantile after it, the one that it is a slice of.
pub fn find(name: &str) -> Option<&'static Metric> {
    let base = name.split('/').next().unwrap_or(name);
    let base = base.strip_suffix("_p50").or(base.strip_suffix("_p95")).unwrap_or(base);
    METRICS.iter().find(|metric| metric.name == base)
}
