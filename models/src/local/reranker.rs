//! Reranking with a cross-encoder of this machine.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use candle_core::Tensor;
use futures::future::try_join_all;
use tokenizers::Tokenizer;

use super::FolderError;
use super::encoder::{Encoder, Linear};
use super::folder::{Base, Folder, tokens};
use super::weights::Weights;
use super::workers::{Urgency, Workers};
use crate::rerank::logistic;
use crate::{ModelError, Reranker};

/// Pairs of a batch. Somebody waits: between two batches another question gets its turn.
const BATCH: usize = 8;

/// A cross-encoder in this process: a transformer that reads question and passage together, with a head of one
/// score.
#[derive(Debug)]
pub struct LocalReranker {
    name: String,
    model: Arc<Model>,
    workers: Workers,
}

#[derive(Debug)]
struct Model {
    tokenizer: Tokenizer,
    encoder: Encoder,
    head: Head,
}

/// What makes a score of the first token's row: two layers with a hyperbolic tangent between them.
#[derive(Debug)]
struct Head {
    dense: Linear,
    score: Linear,
}

impl LocalReranker {
    /// Reads a folder: `config.json`, `tokenizer.json` and `model.safetensors` of a model for sequence
    /// classification with one label. Takes as long as reading the weights; blocks.
    pub fn load(folder: &Path, threads: usize) -> Result<Self, FolderError> {
        let mut files = Folder::open(folder);
        let Base { tokenizer, encoder, config, rest, .. } = files.base()?;
        let labels = config.labels();
        if labels != 1 {
            let reason = format!("it has {labels} labels; a reranker has one, the score");
            return Err(files.unsupported_config(reason));
        }
        let head = Head::load(rest, &config.model_type);
        let head = head.map_err(|error| files.unreadable_weights(&error))?;
        let name = format!("local:{}", files.identity());
        let model = Arc::new(Model { tokenizer, encoder, head });
        Ok(Self { name, model, workers: Workers::start(threads)? })
    }
}

#[async_trait]
impl Reranker for LocalReranker {
    fn model(&self) -> &str {
        &self.name
    }

    async fn rerank(&self, question: &str, passages: &[String]) -> Result<Vec<f64>, ModelError> {
        let batches = passages.chunks(BATCH).map(|batch| {
            let (question, batch, model) =
                (question.to_owned(), batch.to_vec(), self.model.clone());
            self.workers.run(Urgency::Waited, move || model.score(&question, &batch))
        });
        let mut scores = Vec::with_capacity(passages.len());
        for batch in try_join_all(batches).await? {
            scores.extend(batch?);
        }
        Ok(scores)
    }
}

impl Model {
    fn score(&self, question: &str, passages: &[String]) -> Result<Vec<f64>, ModelError> {
        let mut batch = Vec::with_capacity(passages.len());
        let mut first = Vec::with_capacity(passages.len());
        let mut start = 0_u32;
        for passage in passages {
            let pair = tokens(&self.tokenizer, (question, passage.as_str()));
            let pair = pair.map_err(|error| {
                ModelError::Refused(format!("a passage cannot be split into tokens: {error}"))
            })?;
            first.push(start);
            start += u32::try_from(pair.ids.len()).unwrap_or(u32::MAX);
            batch.push(pair);
        }
        let scores = || {
            let rows = self.encoder.forward(&batch)?;
            let count = first.len();
            let first = Tensor::from_vec(first, count, rows.device())?;
            let hidden = self.head.dense.apply(&rows.index_select(&first, 0)?)?.tanh()?;
            self.head.score.apply(&hidden)?.flatten_all()?.to_vec1::<f32>()
        };
        let scores = scores();
        let scores = scores
            .map_err(|error| ModelError::Broken(format!("the local model failed: {error}")))?;
        Ok(scores.into_iter().map(|score| logistic(f64::from(score))).collect())
    }
}

impl Head {
    /// BERT's pooler belongs to the encoder, the others' first layer to the head.
    fn load(mut weights: Weights, model_type: &str) -> candle_core::Result<Self> {
        if model_type == "bert" {
            let dense = Linear::load(&mut weights, "pooler.dense")?;
            let score = Linear::load(&mut weights.into_head(), "classifier")?;
            return Ok(Self { dense, score });
        }
        let mut weights = weights.into_head();
        Ok(Self {
            dense: Linear::load(&mut weights, "classifier.dense")?,
            score: Linear::load(&mut weights, "classifier.out_proj")?,
        })
    }
}
