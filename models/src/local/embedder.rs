//! Embedding with a model of this machine.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use tokenizers::Tokenizer;

use super::FolderError;
use super::encoder::{Encoder, Tokens};
use super::folder::{Folder, Pooling, Prompts, tokens};
use super::workers::{Urgency, Workers};
use crate::embed::{Prefixes, normalise};
use crate::{EmbedPurpose, Embedder, EmbeddingSpace, ModelError, tokens as count};

/// Tokens of a batch, estimated: enough that the products run at full speed, few enough that the threads share the
/// work evenly.
const BATCH: usize = 1_024;

/// An embedding model in this process. Its space is named by a hash of its files, so that vectors of two models never
/// meet, even where one took the other's folder.
#[derive(Debug)]
pub struct LocalEmbedder {
    space: EmbeddingSpace,
    model: Arc<Model>,
    workers: Workers,
}

#[derive(Debug)]
struct Model {
    tokenizer: Tokenizer,
    encoder: Encoder,
    pooling: Pooling,
    prompts: Prompts,
    hidden: usize,
}

impl LocalEmbedder {
    /// Reads a folder: `config.json`, `tokenizer.json`, `model.safetensors`, `modules.json` and the pooling's
    /// `config.json`; where they are there, the longest text from `sentence_bert_config.json` and the prompts
    /// from `config_sentence_transformers.json`. Takes as long as reading the weights; blocks.
    pub fn load(folder: &Path, threads: usize) -> Result<Self, FolderError> {
        let mut files = Folder::open(folder);
        let base = files.base()?;
        let pooling = files.pooling()?;
        let prompts = match files.prompts()? {
            Some(prompts) => prompts,
            None => customary_prompts(folder),
        };
        let space =
            EmbeddingSpace { model: format!("local:{}", files.identity()), dimension: base.hidden };
        let model = Model {
            tokenizer: base.tokenizer,
            encoder: base.encoder,
            pooling,
            prompts,
            hidden: base.hidden,
        };
        Ok(Self { space, model: Arc::new(model), workers: Workers::start(threads)? })
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    async fn embed(
        &self,
        texts: &[String],
        purpose: EmbedPurpose,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let urgency = match purpose {
            EmbedPurpose::Query => Urgency::Waited,
            EmbedPurpose::Passage => Urgency::Background,
        };
        let batches = batches(texts).map(|batch| {
            let (batch, model) = (batch.to_vec(), self.model.clone());
            self.workers.run(urgency, move || model.embed(&batch, purpose))
        });
        let done = try_join_all(batches).await;
        let result = done.and_then(|batches| {
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in batches {
                vectors.extend(batch?);
            }
            Ok(vectors)
        });
        let labels = [
            ("model", self.space.model.clone()),
            ("outcome", if result.is_ok() { "finished" } else { "failed" }.to_owned()),
        ];
        metrics::counter!("vocero_model_embed_calls_total", &labels).increment(1);
        result
    }
}

impl Model {
    fn embed(&self, texts: &[String], purpose: EmbedPurpose) -> Result<Vec<Vec<f32>>, ModelError> {
        let prompt = match purpose {
            EmbedPurpose::Query => &self.prompts.query,
            EmbedPurpose::Passage => &self.prompts.passage,
        };
        let mut batch = Vec::with_capacity(texts.len());
        for text in texts {
            let tokens = tokens(&self.tokenizer, format!("{prompt}{text}"));
            batch.push(tokens.map_err(|error| {
                ModelError::Refused(format!("a text cannot be split into tokens: {error}"))
            })?);
        }
        let broken = |error| ModelError::Broken(format!("the local model failed: {error}"));
        let rows = self.encoder.forward(&batch).map_err(broken)?;
        let rows: Vec<f32> = rows.flatten_all().and_then(|rows| rows.to_vec1()).map_err(broken)?;
        self.pool(&rows, &batch)
    }

    fn pool(&self, rows: &[f32], batch: &[Tokens]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut vectors = Vec::with_capacity(batch.len());
        let mut rest = rows;
        for text in batch {
            let (own, after) = rest.split_at(text.ids.len() * self.hidden);
            rest = after;
            let mut vector = self.pooling.pool(own, self.hidden);
            if !normalise(&mut vector) {
                let reason = "the local model made a vector without direction; is the file of its weights whole?";
                return Err(ModelError::Broken(reason.to_owned()));
            }
            vectors.push(vector);
        }
        Ok(vectors)
    }
}

impl Pooling {
    /// One vector of the rows of a text's tokens. Its length does not matter, so the mean is a sum.
    fn pool(self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut tokens = rows.chunks_exact(width);
        let mut vector = tokens.next().map(<[f32]>::to_vec).unwrap_or_default();
        for row in tokens {
            for (own, x) in vector.iter_mut().zip(row) {
                match self {
                    Self::First => {}
                    Self::Mean => *own += x,
                    Self::Largest => *own = own.max(*x),
                }
            }
        }
        vector
    }
}

/// Texts in batches of at most so many tokens, estimated; a text that has more is alone.
fn batches(texts: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let over = |text: &String| {
            sum += count::estimate(text);
            sum > BATCH
        };
        let length = rest.iter().position(over).unwrap_or(rest.len()).max(1);
        let (batch, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(batch)
    })
}

/// The prefixes that a model's card asks for, by the name of its folder.
fn customary_prompts(folder: &Path) -> Prompts {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let prefixes = Prefixes::of(name);
    Prompts { query: prefixes.query.to_owned(), passage: prefixes.passage.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_text_once_and_in_order() {
        let long = "palabra ".repeat(3_000);
        let texts: Vec<String> = (0..500).map(|n| format!("texto número {n}")).collect();
        for texts in [vec![], vec![long.clone(); 3], texts, vec![String::new(), long, "a".into()]] {
            let cut: Vec<&[String]> = batches(&texts).collect();
            assert_eq!(cut.concat(), texts);
            assert!(cut.iter().all(|batch| !batch.is_empty()));
            let whole =
                |batch: &&[String]| batch.iter().map(|text| count::estimate(text)).sum::<usize>();
            assert!(cut.iter().all(|batch| batch.len() == 1 || whole(batch) <= BATCH));
        }
    }

    #[test]
    fn pooling_takes_the_first_the_sum_or_the_largest() {
        let rows = [1.0, -2.0, 3.0, 4.0, -5.0, 0.0];
        assert_eq!(Pooling::First.pool(&rows, 2), [1.0, -2.0]);
        assert_eq!(Pooling::Mean.pool(&rows, 2), [-1.0, 2.0]);
        assert_eq!(Pooling::Largest.pool(&rows, 2), [3.0, 4.0]);
    }
}
