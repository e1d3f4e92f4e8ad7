//! Embeddings over HTTP.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_openai::types::embeddings::{CreateEmbeddingRequest, EmbeddingInput, EncodingFormat};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tracing::{Instrument, field};

use super::attempts::{Attempts, Failure};
use super::provider::{CallFailure, Provider};
use crate::embed::{Prefixes, normalise};
use crate::tally::Pending;
use crate::{EmbedPurpose, Embedder, EmbeddingSpace, ModelError, Usage, tokens};

/// Most texts of one request. OpenAI takes 2,048; servers of one's own take less and answer sooner.
const MAX_TEXTS: usize = 128;
/// Most tokens of one request, estimated. OpenAI takes 300,000 in all.
const MAX_TOKENS: usize = 32_000;
/// Largest answer, in bytes: 128 vectors of 4,096 numbers, written out.
const MAX_BODY: usize = 32 << 20;

/// An embedding model of a provider. Texts go out in batches of at most 128 texts and 32,000 tokens, one after the
/// other.
pub struct OpenAiEmbedder {
    provider: Arc<Provider>,
    space: EmbeddingSpace,
    patience: Duration,
    prefixes: Prefixes,
    /// Base64 is a fifth of the bytes and read without parsing numbers; a server that refuses the word is not asked again.
    base64: AtomicBool,
}

impl fmt::Debug for OpenAiEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenAiEmbedder({})", self.space)
    }
}

impl OpenAiEmbedder {
    /// Asks for one vector to learn the dimension. One answer may take `patience`.
    pub(super) async fn probe(
        provider: Arc<Provider>,
        model: &str,
        patience: Duration,
    ) -> Result<Self, ModelError> {
        let mut embedder = Self::of_dimension(provider, model, 0, patience);
        let probe = embedder.embed(&["hola".to_owned()], EmbedPurpose::Query).await?;
        embedder.space.dimension = probe.first().map_or(0, Vec::len);
        if embedder.space.dimension == 0 {
            return Err(ModelError::Broken(format!("{model} answered an empty vector")));
        }
        Ok(embedder)
    }

    /// With a dimension that was learnt earlier.
    pub(super) fn of_dimension(
        provider: Arc<Provider>,
        model: &str,
        dimension: usize,
        patience: Duration,
    ) -> Self {
        let space = EmbeddingSpace { model: model.to_owned(), dimension };
        let prefixes = Prefixes::of(model);
        Self { provider, space, patience, prefixes, base64: AtomicBool::new(true) }
    }

    async fn embed_batch(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, ModelError> {
        let count = texts.len();
        let asked: usize = texts.iter().map(|text| tokens::estimate(text)).sum();
        let url = self.provider.address("embeddings", &self.space.model);
        let mut request = CreateEmbeddingRequest {
            model: self.space.model.clone(),
            input: EmbeddingInput::StringArray(texts),
            encoding_format: Some(EncodingFormat::Base64),
            user: None,
            dimensions: None,
        };
        let mut attempts = Attempts::new(&self.provider);
        loop {
            if !self.base64.load(Ordering::Relaxed) {
                request.encoding_format = None;
            }
            let body = serde_json::to_vec(&request).map(Bytes::from).map_err(|error| {
                ModelError::Refused(format!("the request cannot be written: {error}"))
            })?;
            let permit = attempts.begin()?;
            let call = Pending::new(&self.space.model, asked);
            let attempted = self.attempt(url.clone(), body).await;
            match &attempted {
                Ok(answer) => call.finished(answer.used()),
                Err(_) => call.failed(),
            }
            let failed = match attempted {
                Ok(answer) => {
                    permit.succeeded();
                    return self.vectors(answer, count);
                }
                Err(failed) => failed,
            };
            let refused = matches!(failed.failure.error, ModelError::Refused(_));
            if refused && request.encoding_format.is_some() && failed.said.names("encoding_format")
            {
                permit.succeeded();
                attempts.uncount();
                self.base64.store(false, Ordering::Relaxed);
            } else {
                attempts.failed(permit, failed.failure).await?;
            }
        }
    }

    async fn attempt(&self, url: url::Url, body: Bytes) -> Result<Answer, CallFailure> {
        let asking = async {
            let mut response = self.provider.post(url, "application/json", body).await?;
            let read = self.provider.read_body(&mut response, MAX_BODY).await;
            let body = read.map_err(|error| CallFailure::from(Failure::passing(error)))?;
            serde_json::from_slice(&body).map_err(|error| {
                let reason = self.provider.clean(&format!("malformed embeddings: {error}"));
                CallFailure::from(Failure::passing(ModelError::Broken(reason)))
            })
        };
        let in_time = tokio::time::timeout(self.patience, asking).await;
        in_time.unwrap_or_else(|_| {
            let seconds = self.patience.as_secs_f32();
            let reason = format!("no embeddings within {seconds} seconds");
            Err(Failure::lasting(ModelError::Unavailable(reason)).into())
        })
    }

    /// The vectors of an answer in the order of the texts, checked and of unit length.
    fn vectors(&self, answer: Answer, count: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let model = &self.space.model;
        let broken = |what: String| ModelError::Broken(format!("{model} answered {what}"));
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
        if answer.data.len() != count {
            return Err(broken(format!("{} vectors for {count} texts", answer.data.len())));
        }
        for (position, item) in answer.data.into_iter().enumerate() {
            let place = item.index.unwrap_or(position);
            match vectors.get_mut(place) {
                Some(slot @ None) => *slot = Some(item.embedding.0),
                _ => return Err(broken(format!("a second vector or none of text {place}"))),
            }
        }
        let mut result = Vec::with_capacity(count);
        for mut vector in vectors.into_iter().flatten() {
            let expected = self.space.dimension;
            if expected != 0 && vector.len() != expected {
                return Err(broken(format!(
                    "a vector of {} dimensions instead of {expected}; the model behind this name has changed: \
                     reindex, or set VOCERO_EMBEDDING_MODEL to the one the index was made with",
                    vector.len()
                )));
            }
            if !normalise(&mut vector) {
                return Err(broken("a vector without direction".to_owned()));
            }
            result.push(vector);
        }
        Ok(result)
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn is_paid(&self) -> bool {
        true
    }

    async fn embed(
        &self,
        texts: &[String],
        purpose: EmbedPurpose,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let span = tracing::info_span!(
            "llm.embed",
            model = %self.space.model,
            texts = texts.len(),
            batches = field::Empty,
        );
        let work = async {
            let mut vectors = Vec::with_capacity(texts.len());
            let mut batches = 0;
            let mut rest = texts;
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(batch_length(rest));
                rest = after;
                let input = batch.iter().map(|text| self.prefixes.apply(text, purpose)).collect();
                vectors.extend(self.embed_batch(input).await?);
                batches += 1;
            }
            tracing::Span::current().record("batches", batches);
            Ok(vectors)
        };
        let result = work.instrument(span).await;
        let labels = [
            ("model", self.space.model.clone()),
            ("outcome", if result.is_ok() { "finished" } else { "failed" }.to_owned()),
        ];
        metrics::counter!("vocero_model_embed_calls_total", &labels).increment(1);
        result
    }
}

/// How many of the texts go into one request: at least one.
fn batch_length(texts: &[String]) -> usize {
    let mut sum = 0;
    let mut length = 0;
    for text in texts.iter().take(MAX_TEXTS) {
        sum += tokens::estimate(text);
        if length > 0 && sum > MAX_TOKENS {
            break;
        }
        length += 1;
    }
    length
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    prompt_tokens: Option<i64>,
    total_tokens: Option<i64>,
}

impl Answer {
    fn used(&self) -> Option<Usage> {
        let counted = self.usage.as_ref()?;
        let prompt_tokens = counted.prompt_tokens.or(counted.total_tokens)?;
        Some(Usage { prompt_tokens, ..Usage::default() })
    }
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Components,
}

/// A vector, written as numbers or as base64 of little-endian 32-bit floats, whichever the server chose.
struct Components(Vec<f32>);

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Components;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Components, A::Error> {
                let mut vector = Vec::with_capacity(numbers.size_hint().unwrap_or(1_536));
                while let Some(number) = numbers.next_element()? {
                    vector.push(number);
                }
                Ok(Components(vector))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Components, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("base64 of a length that is no multiple of 4 bytes"));
                }
                Ok(Components(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_texts_and_tokens() {
        let short = vec!["hola".to_owned(); 300];
        assert_eq!(batch_length(&short), MAX_TEXTS);
        let long = vec!["palabra ".repeat(20_000); 4];
        assert_eq!(batch_length(&long), 1, "two are over the limit, one goes alone");
    }
}
