//! Reranking: the best candidates of a hybrid search are read once more, by a model, with the question in mind.
//!
//! The model decides the order, not the scores. The candidates' fused scores are given out anew in the order that it
//! puts them in: a score means the same whether a model has answered or not, the number shown stays the number that
//! `min_score` filters on, and rerankers of whatever scale can be exchanged. What the model itself said is a
//! component score.

use std::sync::Arc;
use std::time::Duration;

use models::Reranker;

use crate::fusion::Candidate;
use crate::passage::{embedded_text, passage_heading};
use crate::passages::Rows;

/// How to rerank.
#[derive(Debug, Clone)]
pub struct Reranking {
    /// By what.
    pub reranker: Arc<dyn Reranker>,
    /// Candidates that are reranked, at most.
    pub top: usize,
    /// How long it may take; afterwards the fused order stands.
    pub timeout: Duration,
}

impl Reranking {
    /// Puts the first candidates into the model's order; those without a row in `rows` are not live and keep their
    /// places. `false` when the model failed or took too long: then nothing has changed.
    pub(crate) async fn apply(
        &self,
        question: &str,
        candidates: &mut [Candidate],
        rows: &Rows,
    ) -> bool {
        let top = candidates.len().min(self.top);
        let head = &mut candidates[..top];
        let mut known = Vec::with_capacity(head.len());
        let mut passages = Vec::with_capacity(head.len());
        for (place, candidate) in head.iter().enumerate() {
            if let Some(kept) = rows.get(&candidate.id) {
                known.push(place);
                let live = &kept.live;
                let heading = passage_heading(&live.source_name, &live.chunk.heading);
                passages.push(embedded_text(&heading, &live.chunk.text));
            }
        }
        if passages.is_empty() {
            return true;
        }
        let Some(scores) = self.ask(question, &passages).await else { return false };
        let mut ranked: Vec<Candidate> = Vec::with_capacity(known.len());
        for (place, score) in known.iter().zip(scores) {
            let mut candidate = head[*place];
            candidate.scores.rerank = Some(score.clamp(0.0, 1.0));
            ranked.push(candidate);
        }
        // Stable: passages that the model finds alike keep the fused order.
        ranked.sort_by(|a, b| {
            b.scores.rerank.unwrap_or_default().total_cmp(&a.scores.rerank.unwrap_or_default())
        });
        for (place, mut candidate) in known.into_iter().zip(ranked) {
            candidate.score = head[place].score;
            head[place] = candidate;
        }
        true
    }

    async fn ask(&self, question: &str, passages: &[String]) -> Option<Vec<f64>> {
        let asked = self.reranker.rerank(question, passages);
        let failed = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(scores)) if scores.len() == passages.len() => {
                self.count("finished");
                return Some(scores);
            }
            Ok(Ok(scores)) => format!("{} scores for {} passages", scores.len(), passages.len()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} seconds", self.timeout.as_secs_f32()),
        };
        let model = self.reranker.model();
        tracing::warn!(model, error = failed, "not reranked; the fused order stands");
        self.count("failed");
        None
    }

    fn count(&self, outcome: &'static str) {
        let labels = [("model", self.reranker.model().to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("vocero_rerank_calls_total", &labels).increment(1);
    }
}
