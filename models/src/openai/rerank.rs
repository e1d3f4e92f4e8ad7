//! Reranking over HTTP, in the form that Cohere, Jina, Voyage, vLLM, Infinity and others share: `POST …/rerank` with
//! `model`, `query` and `documents`, answered by the place and the score of each document.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempts, Failure};
use super::provider::{CallFailure, Provider};
use crate::rerank::logistic;
use crate::tally::Pending;
use crate::{ModelError, Reranker, Usage, tokens};

/// Largest answer, in bytes; servers that send the documents back are bounded by it.
const MAX_BODY: usize = 4 << 20;

/// A reranking model of a provider.
pub struct HttpReranker {
    provider: Arc<Provider>,
    model: String,
}

impl fmt::Debug for HttpReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpReranker({})", self.model)
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [String],
    top_n: usize,
    return_documents: bool,
}

/// `results` is Cohere's and Jina's word, `data` Voyage's.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "data")]
    results: Vec<Item>,
    /// Jina's and Voyage's; Cohere counts searches instead.
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    total_tokens: Option<i64>,
}

impl Answer {
    fn used(&self) -> Option<Usage> {
        let prompt_tokens = self.usage.as_ref()?.total_tokens?;
        Some(Usage { prompt_tokens, ..Usage::default() })
    }
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    #[serde(alias = "score")]
    relevance_score: f64,
}

impl HttpReranker {
    pub(super) fn new(provider: Arc<Provider>, model: &str) -> Self {
        Self { provider, model: model.to_owned() }
    }

    async fn attempt(&self, body: Bytes) -> Result<Answer, CallFailure> {
        let url = self.provider.address("rerank", &self.model);
        let mut response = self.provider.post(url, "application/json", body).await?;
        let read = self.provider.read_body(&mut response, MAX_BODY).await;
        let body = read.map_err(|error| CallFailure::from(Failure::passing(error)))?;
        serde_json::from_slice(&body).map_err(|error| {
            let reason = self.provider.clean(&format!("malformed ranking: {error}"));
            CallFailure::from(Failure::lasting(ModelError::Broken(reason)))
        })
    }
}

#[async_trait]
impl Reranker for HttpReranker {
    fn model(&self) -> &str {
        &self.model
    }

    fn is_paid(&self) -> bool {
        true
    }

    async fn rerank(&self, question: &str, passages: &[String]) -> Result<Vec<f64>, ModelError> {
        let request = Request {
            model: &self.model,
            query: question,
            documents: passages,
            top_n: passages.len(),
            return_documents: false,
        };
        let body = serde_json::to_vec(&request).map(Bytes::from).map_err(|error| {
            ModelError::Refused(format!("the request cannot be written: {error}"))
        })?;
        let mut attempts = Attempts::new(&self.provider);
        let asked: usize = passages.iter().map(|passage| tokens::estimate(passage)).sum();
        loop {
            let permit = attempts.begin()?;
            let call = Pending::new(&self.model, asked + tokens::estimate(question));
            let attempted = self.attempt(body.clone()).await;
            match &attempted {
                Ok(answer) => call.finished(answer.used()),
                Err(_) => call.failed(),
            }
            match attempted {
                Ok(answer) => {
                    permit.succeeded();
                    return scores(&answer, passages.len());
                }
                Err(failed) => attempts.failed(permit, failed.failure).await?,
            }
        }
    }
}

/// The scores in the order of the documents. A document that is left out has none; scores beyond 0 and 1 are
/// those of a model without a last step, which is made up for.
fn scores(answer: &Answer, count: usize) -> Result<Vec<f64>, ModelError> {
    let mut scores = vec![0.0; count];
    let bounded = answer.results.iter().all(|item| (0.0..=1.0).contains(&item.relevance_score));
    for item in &answer.results {
        let score = item.relevance_score;
        let Some(place) = scores.get_mut(item.index).filter(|_| score.is_finite()) else {
            let reason = format!("a ranking of {count} passages names number {}", item.index);
            return Err(ModelError::Broken(reason));
        };
        *place = if bounded { score } else { logistic(score) };
    }
    if answer.results.is_empty() && count > 0 {
        return Err(ModelError::Broken("a ranking of no passages".to_owned()));
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, count: usize) -> Result<Vec<f64>, ModelError> {
        scores(&serde_json::from_str(body).unwrap(), count)
    }

    #[test]
    fn both_words_for_the_results_and_for_the_score_are_read() {
        let cohere = r#"{"id":"x","results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}],"meta":{}}"#;
        assert_eq!(read(cohere, 2).unwrap(), [0.1, 0.9]);
        let voyage = r#"{"object":"list","data":[{"index":0,"score":0.5}]}"#;
        assert_eq!(read(voyage, 2).unwrap(), [0.5, 0.0]);
    }

    #[test]
    fn scores_without_bounds_are_brought_within_and_keep_their_order() {
        let scores = read(
            r#"{"results":[{"index":0,"relevance_score":-3.5},{"index":1,"relevance_score":0.5}]}"#,
            2,
        )
        .unwrap();
        assert!(scores[0] > 0.0 && scores[0] < scores[1] && scores[1] < 1.0, "{scores:?}");
    }

    #[test]
    fn a_ranking_of_other_passages_or_of_none_is_broken() {
        for body in [r#"{"results":[{"index":2,"relevance_score":0.5}]}"#, r#"{"results":[]}"#] {
            assert!(matches!(read(body, 2), Err(ModelError::Broken(_))), "{body}");
        }
    }
}
