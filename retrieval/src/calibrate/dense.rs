//! Whether dense vectors help in a datastore, found out without anybody's labels.
//!
//! Half of a sentence is put as a question, by words and by vectors: how often is its own passage the first that each
//! finds? An embedder that knows the language and the matter finds at least six in ten of those that words find, and its
//! part in the fusion is raised; one that does not drags the whole down, and keeps the low weight. On the evaluation sets
//! the ratio is .38 to .56 where the vectors do harm and .63 to .77 where they help (docs/QUALITY.md).

use std::time::Duration;

use domain::budget::{Payer, Purpose};
use domain::datastore::Chunk;
use domain::{DatastoreId, DomainError, WorkspaceId};
use models::{EmbedPurpose, Embedder, Tally, Usage, tokens};
use storage::spending::{self, Amounts, Spent};

use super::pseudo::{Wording, questions};
use super::sample;
use crate::index::Lookup;
use crate::search::{Billing, SearchMode, SearchQuery, Weights};
use crate::stats::DenseTest;
use crate::{Retrieval, RetrievalError};

/// Questions that are made.
const QUESTIONS: usize = 150;
/// Questions below which nothing is concluded.
const ENOUGH: usize = 40;
/// Questions that are embedded together.
const TOGETHER: usize = 50;
/// How long what embedding them may cost is held, should the process die meanwhile.
const HELD: Duration = Duration::from_mins(10);

impl Retrieval {
    /// Tests the embedder on passages of a datastore; `None` without one.
    pub(super) async fn test_dense(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        weights: &Weights,
        drawn: &[Chunk],
    ) -> Result<Option<DenseTest>, RetrievalError> {
        let (Some(embedder), Some(space)) = (&self.0.embedder, self.embedding_space()) else {
            return Ok(None);
        };
        let samples: Vec<_> = drawn.iter().map(sample).collect();
        let made = questions(&samples, QUESTIONS, Wording::Kept);
        if made.len() < ENOUGH {
            return Ok(Some(DenseTest::new(space, None)));
        }
        let (mut by_words, mut by_vectors) = (0_u32, 0_u32);
        for asked in made.chunks(TOGETHER) {
            let texts: Vec<String> = asked.iter().map(|(_, question)| question.clone()).collect();
            let vectors = match self.embed_test(workspace, &**embedder, &texts).await {
                Ok(vectors) => vectors,
                Err(error) => {
                    tracing::warn!(%datastore, %error, "the dense vectors could not be tested");
                    return Ok(Some(DenseTest::new(space, None)));
                }
            };
            for ((at, question), vector) in asked.iter().zip(vectors) {
                let own = drawn[*at].id;
                let query = SearchQuery {
                    datastores: vec![datastore],
                    text: question.clone(),
                    top_k: 1,
                    mode: SearchMode::Words,
                    min_score: None,
                    filter: None,
                    dense_weight: None,
                };
                let found = self.look_up(&query, weights.clone()).await?.found.words;
                by_words += u32::from(found.first().is_some_and(|(first, _)| *first == own));
                let lookup = Lookup {
                    datastores: vec![datastore],
                    metadata: Vec::new(),
                    words: None,
                    grams: None,
                    dense: Some(vector),
                    limit: 1,
                };
                let found = self.0.index.find(lookup).await?.dense;
                by_vectors += u32::from(found.first().is_some_and(|(first, _)| *first == own));
            }
        }
        let ratio = (by_words > 0).then(|| f64::from(by_vectors) / f64::from(by_words));
        tracing::info!(%datastore, %workspace, by_words, by_vectors, "the dense vectors were tested");
        Ok(Some(DenseTest::new(space, ratio)))
    }

    /// The vectors of made questions, which the workspace pays for.
    async fn embed_test(
        &self,
        workspace: WorkspaceId,
        embedder: &dyn Embedder,
        texts: &[String],
    ) -> Result<Vec<Vec<f32>>, DomainError> {
        let billing = self.0.billing.as_ref().filter(|_| embedder.is_paid());
        let Some(Billing { ambient, catalogue }) = billing else {
            return Ok(embedder.embed(texts, EmbedPurpose::Query).await?);
        };
        let asked: usize = texts.iter().map(|text| tokens::estimate(text)).sum();
        let prompt_tokens = i64::try_from(asked).unwrap_or(i64::MAX);
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let cost = catalogue.cost(&embedder.space().model, usage).unwrap_or(0);
        let expected = Amounts { answers: 0, tokens: prompt_tokens, cost };
        let who = (Purpose::Ingest, Payer::default(), None);
        let db = &self.0.db;
        let held = spending::begin(db, ambient, workspace, who, expected, HELD).await?;
        let tally = Tally::default();
        let vectors = tally.over(embedder.embed(texts, EmbedPurpose::Query)).await;
        let spent = tally.take(catalogue).map(|bill| Spent {
            model: bill.model,
            provider: "installation".to_owned(),
            calls: bill.calls,
            prompt_tokens: bill.usage.prompt_tokens,
            completion_tokens: bill.usage.completion_tokens,
            cached_tokens: bill.usage.cached_tokens,
            cost: bill.cost,
            estimated: bill.estimated,
        });
        spending::end(db, ambient, held, spent.unwrap_or_default()).await?;
        Ok(vectors?)
    }

    /// The name of the embedder's space, hashed (FNV-1a): a test of one says nothing of another.
    pub(crate) fn embedding_space(&self) -> Option<u32> {
        let name = self.0.embedder.as_ref()?.space().to_string();
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Some(name.bytes().fold(0x811c_9dc5, hash))
    }
}
