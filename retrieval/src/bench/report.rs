//! What a measurement says.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A set, measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The folder's name.
    pub dataset: String,
    /// Passages indexed.
    pub passages: usize,
    /// Passages written and indexed a second, from rows to durable points.
    pub ingested_per_second: f64,
    /// What was found out about the dense vectors; `None` without an embedder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense: Option<Dense>,
    /// Milliseconds of a search, the median and the 99th percentile.
    pub search_ms_p50: f64,
    /// The 99th percentile.
    pub search_ms_p99: f64,
    /// One row for each style of questions and, where a set mixes origins, each origin.
    pub rows: Vec<Row>,
}

/// The self-test of an embedder on a set's passages.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Dense {
    /// Passages that vectors found first for each that words found first.
    pub ratio: Option<f64>,
    /// Their part in the fusion for it, 0 to 1.
    pub weight: f64,
}

/// One style or origin of questions.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `clean`, `noisy`, `clean/human`…
    pub questions: String,
    /// How many.
    pub count: usize,
    /// nDCG@10, mean.
    pub ndcg10: f64,
    /// Recall@5, mean.
    pub recall5: f64,
    /// Mean reciprocal rank over the ten best.
    pub mrr10: f64,
    /// Share of questions with short answers whose two extracted sentences hold an answer; `None` without
    /// such questions.
    pub containment: Option<f64>,
    /// The threshold that the product sets itself, by the number of passages.
    pub threshold: f64,
    /// The share of the questions with at least that evidence.
    pub answered: f64,
    /// The evidence that 88 % of the questions reach.
    pub threshold88: f64,
    /// Unanswerable questions by kind: how many, the shares below both thresholds, the area under the
    /// receiver operating characteristic.
    pub unanswerable: BTreeMap<String, Abstention>,
}

/// Abstention on one kind of unanswerable questions.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abstention {
    /// How many questions.
    pub count: usize,
    /// The share with less evidence than the product's own threshold.
    pub abstained: f64,
    /// The share with less evidence than 88 % of the answerable ones have.
    pub abstained88: f64,
    /// The probability that an answerable question has more evidence.
    pub auroc: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} passages, {:.0} a second; search p50 {:.2} ms, p99 {:.2} ms",
            self.dataset,
            self.passages,
            self.ingested_per_second,
            self.search_ms_p50,
            self.search_ms_p99
        )?;
        writeln!(
            f,
            "  {:<16} {:>5}  {:>7} {:>8} {:>6} {:>9}  {:>9} {:>8} {:>6}  unanswerable: share abstained at the threshold, \
             where 88 % are answered (AUROC)",
            "questions",
            "count",
            "nDCG@10",
            "recall@5",
            "MRR@10",
            "contained",
            "threshold",
            "answered",
            "at 88%"
        )?;
        for row in &self.rows {
            let contained =
                row.containment.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
            write!(
                f,
                "  {:<16} {:>5}  {:>7.4} {:>8.4} {:>6.4} {:>9}  {:>9.3} {:>8.3} {:>6.3} ",
                row.questions,
                row.count,
                row.ndcg10,
                row.recall5,
                row.mrr10,
                contained,
                row.threshold,
                row.answered,
                row.threshold88
            )?;
            for (kind, abstention) in &row.unanswerable {
                let Abstention { abstained, abstained88, auroc, .. } = abstention;
                write!(f, " {kind} {abstained:.3} {abstained88:.3} ({auroc:.3})")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
