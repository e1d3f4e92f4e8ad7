//! Reading a model's folder: which files there are, what they say, and what of it this version can run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationParams, TruncationStrategy};

use super::encoder::{Encoder, Shape, Tokens};
use super::weights::Weights;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const MODULES: &str = "modules.json";
const LENGTHS: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";

/// Why a folder is not a model that can be run. Names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file that must be there is not.
    #[error(
        "the model folder {} has no {file}; give the folder of a sentence-transformers model",
        folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: String,
    },
    /// A file is there and cannot be read, or makes no sense.
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model of a kind that cannot be run.
    #[error("cannot run the model of {}: {reason}", file.display())]
    Unsupported {
        /// The file that says so.
        file: PathBuf,
        /// What is asked for, and what there is.
        reason: String,
    },
    /// The threads cannot be started.
    #[error("cannot start the model's threads: {0}")]
    Threads(String),
}

/// A folder being read.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    path: &'a Path,
    digest: Sha256,
}

/// What every folder has: a tokenizer and an encoder.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) tokenizer: Tokenizer,
    pub(super) encoder: Encoder,
    pub(super) hidden: usize,
    pub(super) config: Config,
    /// What the encoder has left over: the weights of a head.
    pub(super) rest: Weights,
}

/// `config.json`, as transformers writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: String,
    hidden_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    max_position_embeddings: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    id2label: Option<HashMap<String, String>>,
}

impl Config {
    /// Labels of a head; transformers leaves them out where there are its customary two.
    pub(super) fn labels(&self) -> usize {
        self.id2label.as_ref().map_or(2, HashMap::len)
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The first token's.
    First,
    /// The mean of all.
    Mean,
    /// The largest of each component.
    Largest,
}

/// What stands before a text by what it is embedded for.
#[derive(Debug, Clone, Default)]
pub(super) struct Prompts {
    pub(super) query: String,
    pub(super) passage: String,
}

#[derive(Debug, Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct LengthConfig {
    max_seq_length: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct PromptConfig {
    #[serde(default)]
    prompts: HashMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl<'a> Folder<'a> {
    pub(super) fn open(path: &'a Path) -> Self {
        Self { path, digest: Sha256::new() }
    }

    /// Reads tokenizer, configuration and weights.
    pub(super) fn base(&mut self) -> Result<Base, FolderError> {
        let config: Config = self.parse(CONFIG)?;
        let shape = self.shape(&config)?;
        let limit = config.max_position_embeddings - shape.first_position as usize;
        let tokenizer = self.tokenizer(limit)?;
        let bytes = self.read(WEIGHTS)?;
        let mut rest = Weights::read(&bytes).map_err(|error| self.unreadable(WEIGHTS, &error))?;
        drop(bytes);
        let encoder =
            Encoder::load(&mut rest, shape).map_err(|error| self.unreadable(WEIGHTS, &error))?;
        let words = tokenizer.get_vocab_size(true);
        if encoder.vocabulary() < words {
            let has = encoder.vocabulary();
            let reason = format!("it has {words} words, the weights know {has}");
            return Err(FolderError::Unreadable { file: self.path.join(TOKENIZER), reason });
        }
        Ok(Base { tokenizer, encoder, hidden: shape.hidden, config, rest })
    }

    /// How `modules.json` wants the tokens' vectors pooled. Whether it wants the result normalised does not
    /// matter: vectors are compared by their angle, and all of ours have unit length.
    pub(super) fn pooling(&mut self) -> Result<Pooling, FolderError> {
        let modules: Vec<Module> = self.parse(MODULES)?;
        let mut pooling = None;
        for module in &modules {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" if module.path.is_empty() => {}
                "Normalize" => {}
                "Pooling" => pooling = Some(self.pooling_of(&module.path)?),
                _ => {
                    let reason = format!(
                        "a module of type {} in `{}`; this version runs Transformer, Pooling and Normalize",
                        module.kind, module.path
                    );
                    return Err(self.unsupported(MODULES, reason));
                }
            }
        }
        pooling.ok_or_else(|| self.unsupported(MODULES, "it names no Pooling".to_owned()))
    }

    fn pooling_of(&mut self, path: &str) -> Result<Pooling, FolderError> {
        let file = format!("{path}/{CONFIG}");
        // Older folders have a flag for each kind, newer ones the name of one.
        let config: HashMap<String, Value> = self.parse(&file)?;
        let named = config.get("pooling_mode").and_then(Value::as_str);
        let is_on = |(key, value): (&String, &Value)| {
            let kind = key.strip_prefix("pooling_mode_")?;
            (*value == Value::Bool(true)).then(|| kind.to_owned())
        };
        let flags: Vec<String> = config.iter().filter_map(is_on).collect();
        match (named, flags.as_slice()) {
            (Some("cls"), _) => Ok(Pooling::First),
            (Some("mean"), _) => Ok(Pooling::Mean),
            (Some("max"), _) => Ok(Pooling::Largest),
            (None, [kind]) if kind == "cls_token" => Ok(Pooling::First),
            (None, [kind]) if kind == "mean_tokens" => Ok(Pooling::Mean),
            (None, [kind]) if kind == "max_tokens" => Ok(Pooling::Largest),
            _ => {
                let reason = "its pooling is none of cls, mean or max, which this version has";
                Err(self.unsupported(&file, reason.to_owned()))
            }
        }
    }

    /// What the model was trained to see before a text, where its folder says so.
    pub(super) fn prompts(&mut self) -> Result<Option<Prompts>, FolderError> {
        let Some(config) = self.parse_optional::<PromptConfig>(PROMPTS)? else { return Ok(None) };
        let prompt = |names: &[&str]| {
            let default = config.default_prompt_name.as_deref();
            let mut named = names.iter().copied().chain(default);
            named.find_map(|name| config.prompts.get(name)).cloned().unwrap_or_default()
        };
        let prompts =
            Prompts { query: prompt(&["query"]), passage: prompt(&["passage", "document"]) };
        Ok((!prompts.query.is_empty() || !prompts.passage.is_empty()).then_some(prompts))
    }

    /// What tells this model from every other, wherever its folder is: a hash of all that was read.
    pub(super) fn identity(self) -> String {
        hex::encode(&self.digest.finalize()[..8])
    }

    fn shape(&self, config: &Config) -> Result<Shape, FolderError> {
        let unsupported = |reason: String| Err(self.unsupported(CONFIG, reason));
        let first_position = match config.model_type.as_str() {
            "bert" => 0,
            // Their positions begin after the one that stands for padding.
            "roberta" | "xlm-roberta" | "camembert" => config.pad_token_id.unwrap_or(1) + 1,
            other => {
                return unsupported(format!(
                    "model_type {other}; this version runs bert, roberta, xlm-roberta and camembert"
                ));
            }
        };
        if config.hidden_act != "gelu" {
            return unsupported(format!("hidden_act {}; this version has gelu", config.hidden_act));
        }
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return unsupported("its position_embedding_type is not absolute".to_owned());
        }
        let heads = config.num_attention_heads;
        if heads == 0 || !config.hidden_size.is_multiple_of(heads) {
            return unsupported("hidden_size is no multiple of num_attention_heads".to_owned());
        }
        if config.max_position_embeddings <= first_position as usize {
            return unsupported("max_position_embeddings leaves no room for a text".to_owned());
        }
        Ok(Shape {
            hidden: config.hidden_size,
            heads,
            layers: config.num_hidden_layers,
            epsilon: config.layer_norm_eps,
            first_position,
        })
    }

    fn tokenizer(&mut self, limit: usize) -> Result<Tokenizer, FolderError> {
        let bytes = self.read(TOKENIZER)?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| self.unreadable(TOKENIZER, &*error))?;
        let lengths = self.parse_optional::<LengthConfig>(LENGTHS)?;
        let wanted = lengths.and_then(|lengths| lengths.max_seq_length);
        tokenizer.with_padding(None);
        let truncation = TruncationParams {
            max_length: wanted.unwrap_or(limit).min(limit),
            strategy: TruncationStrategy::LongestFirst,
            ..TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| self.unreadable(TOKENIZER, &*error))?;
        Ok(tokenizer)
    }

    fn parse<T: DeserializeOwned>(&mut self, file: &str) -> Result<T, FolderError> {
        let bytes = self.read(file)?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(file, &error))
    }

    fn parse_optional<T: DeserializeOwned>(
        &mut self,
        file: &str,
    ) -> Result<Option<T>, FolderError> {
        match self.parse(file) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(FolderError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, file: &str) -> Result<Vec<u8>, FolderError> {
        match std::fs::read(self.path.join(file)) {
            Ok(bytes) => {
                self.digest.update(&bytes);
                Ok(bytes)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(FolderError::Missing { folder: self.path.to_owned(), file: file.to_owned() })
            }
            Err(error) => Err(self.unreadable(file, &error)),
        }
    }

    pub(super) fn unreadable_weights(&self, error: &Error) -> FolderError {
        self.unreadable(WEIGHTS, error)
    }

    pub(super) fn unsupported_config(&self, reason: String) -> FolderError {
        self.unsupported(CONFIG, reason)
    }

    fn unreadable(&self, file: &str, error: &dyn std::fmt::Display) -> FolderError {
        FolderError::Unreadable { file: self.path.join(file), reason: error.to_string() }
    }

    fn unsupported(&self, file: &str, reason: String) -> FolderError {
        FolderError::Unsupported { file: self.path.join(file), reason }
    }
}

/// A text, or a pair of texts, as the model sees it.
pub(super) fn tokens<'s>(
    tokenizer: &Tokenizer,
    input: impl Into<tokenizers::EncodeInput<'s>>,
) -> Result<Tokens, String> {
    let encoding = tokenizer.encode_fast(input, true).map_err(|error| error.to_string())?;
    Ok(Tokens { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec() })
}
