//! A sentence-transformers folder with a tiny model of made-up weights, the same each time: enough to be loaded and
//! run, too little to know anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 16;
const WIDE: usize = 32;
const LAYERS: usize = 2;
const POSITIONS: usize = 64;
/// The positions of the models that begin after the one of the padding.
const SHIFTED_POSITIONS: usize = POSITIONS + 2;
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789áéíóúüñãõçâêôà.,;:?!¿¡-'\"()";

/// What kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An embedder.
    Bert,
    /// An embedder whose positions begin after the padding's.
    XlmRoberta,
    /// A cross-encoder.
    BertReranker,
    /// A cross-encoder with the head of `RoBERTa`.
    XlmRobertaReranker,
}

impl Kind {
    fn is_bert(self) -> bool {
        matches!(self, Self::Bert | Self::BertReranker)
    }

    fn is_reranker(self) -> bool {
        matches!(self, Self::BertReranker | Self::XlmRobertaReranker)
    }

    /// What the encoder's weights begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Bert | Self::XlmRoberta => "",
            Self::BertReranker => "bert.",
            Self::XlmRobertaReranker => "roberta.",
        }
    }
}

/// A folder in a temporary place; gone when dropped.
#[derive(Debug)]
pub struct ModelFolder {
    folder: TempDir,
    kind: Kind,
    weights: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl ModelFolder {
    /// Writes a folder.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = Self { folder, kind, weights: weights(kind) };
        made.write("config.json", &config(kind));
        made.write("tokenizer.json", &tokenizer(kind));
        if !kind.is_reranker() {
            let module = |n: usize, path: &str, kind: &str| json!({"idx": n, "name": n.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
            let modules = [
                module(0, "", "Transformer"),
                module(1, "1_Pooling", "Pooling"),
                module(2, "2_Normalize", "Normalize"),
            ];
            made.write("modules.json", &json!(modules));
            made.write("sentence_bert_config.json", &json!({"max_seq_length": 512}));
            fs::create_dir(made.path().join("1_Pooling")).expect("a folder");
            let pooling = json!({
                "word_embedding_dimension": HIDDEN,
                "pooling_mode_cls_token": false,
                "pooling_mode_mean_tokens": true,
                "pooling_mode_max_tokens": false,
                "pooling_mode_mean_sqrt_len_tokens": false,
            });
            made.write("1_Pooling/config.json", &pooling);
        }
        made.write_weights();
        made
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Sets a key of one of its JSON files.
    ///
    /// # Panics
    /// When the file is no JSON object.
    pub fn set(&self, file: &str, key: &str, value: Value) {
        let bytes = fs::read(self.path().join(file)).expect("the file");
        let mut object: Map<String, Value> = serde_json::from_slice(&bytes).expect("an object");
        object.insert(key.to_owned(), value);
        self.write(file, &Value::Object(object));
    }

    /// Takes so many rows off the beginning of the table of positions.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn drop_positions(&mut self, rows: usize) {
        let name = format!("{}embeddings.position_embeddings.weight", self.kind.prefix());
        let (shape, numbers) = self.weights.get_mut(&name).expect("the table");
        numbers.drain(..rows * HIDDEN);
        shape[0] -= rows;
        let left = shape[0];
        self.set("config.json", "max_position_embeddings", json!(left));
        self.write_weights();
    }

    fn write(&self, file: &str, value: &Value) {
        fs::write(self.path().join(file), value.to_string()).expect("a file");
    }

    /// `safetensors`: the length of a JSON header, the header, the numbers.
    fn write_weights(&self) {
        let mut header = Map::new();
        let mut data = Vec::new();
        for (name, (shape, numbers)) in &self.weights {
            let start = data.len();
            data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            let place =
                json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
            header.insert(name.clone(), place);
        }
        let header = Value::Object(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        fs::write(self.path().join("model.safetensors"), bytes).expect("a file");
    }
}

fn config(kind: Kind) -> Value {
    let mut config = json!({
        "model_type": if kind.is_bert() { "bert" } else { "xlm-roberta" },
        "hidden_size": HIDDEN,
        "num_attention_heads": 2,
        "num_hidden_layers": LAYERS,
        "intermediate_size": WIDE,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": if kind.is_bert() { POSITIONS } else { SHIFTED_POSITIONS },
        "pad_token_id": i32::from(!kind.is_bert()),
        "position_embedding_type": "absolute",
    });
    if kind.is_reranker() {
        config["id2label"] = json!({"0": "LABEL_0"});
    }
    config
}

fn vocabulary(kind: Kind) -> Vec<String> {
    let special = if kind.is_bert() {
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    } else {
        ["<s>", "<pad>", "</s>", "[UNK]"]
    };
    let mut words: Vec<String> = special.map(str::to_owned).to_vec();
    words.extend(["hola", "mundo"].map(str::to_owned));
    words.extend(LETTERS.chars().map(String::from));
    words.extend(LETTERS.chars().map(|letter| format!("##{letter}")));
    words
}

fn tokenizer(kind: Kind) -> Value {
    let words = vocabulary(kind);
    let (first, last) = if kind.is_bert() { ("[CLS]", "[SEP]") } else { ("<s>", "</s>") };
    let id = |word: &str| words.iter().position(|known| known == word);
    let special = |word: &str, text: usize| json!({"SpecialToken": {"id": word, "type_id": text}});
    let sequence = |name: &str, text: usize| json!({"Sequence": {"id": name, "type_id": text}});
    let mut pair = vec![special(first, 0), sequence("A", 0), special(last, 0)];
    let second = usize::from(kind.is_bert());
    if !kind.is_bert() {
        pair.push(special(last, 0));
    }
    pair.extend([sequence("B", second), special(last, second)]);
    let known: Map<String, Value> =
        words.iter().cloned().zip((0..).map(|n: usize| json!(n))).collect();
    let named = |word: &str| json!({"id": word, "ids": [id(word)], "tokens": [word]});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": {"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": false, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(first, 0), sequence("A", 0), special(last, 0)],
            "pair": pair,
            "special_tokens": {first: named(first), last: named(last)},
        },
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": known},
    })
}

fn weights(kind: Kind) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut made = Made { weights: BTreeMap::new(), state: 1, prefix: kind.prefix().to_owned() };
    let positions = if kind.is_bert() { POSITIONS } else { SHIFTED_POSITIONS };
    made.table("embeddings.word_embeddings", vocabulary(kind).len());
    made.table("embeddings.position_embeddings", positions);
    made.table("embeddings.token_type_embeddings", if kind.is_bert() { 2 } else { 1 });
    made.norm("embeddings.LayerNorm");
    for layer in 0..LAYERS {
        let name = format!("encoder.layer.{layer}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            made.linear(&format!("{name}.attention.{part}"), HIDDEN, HIDDEN);
        }
        made.norm(&format!("{name}.attention.output.LayerNorm"));
        made.linear(&format!("{name}.intermediate.dense"), WIDE, HIDDEN);
        made.linear(&format!("{name}.output.dense"), HIDDEN, WIDE);
        made.norm(&format!("{name}.output.LayerNorm"));
    }
    match kind {
        Kind::Bert | Kind::XlmRoberta => {}
        Kind::BertReranker => {
            made.linear("pooler.dense", HIDDEN, HIDDEN);
            made.prefix.clear();
            made.linear("classifier", 1, HIDDEN);
        }
        Kind::XlmRobertaReranker => {
            made.prefix.clear();
            made.linear("classifier.dense", HIDDEN, HIDDEN);
            made.linear("classifier.out_proj", 1, HIDDEN);
        }
    }
    made.weights
}

struct Made {
    weights: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    state: u32,
    prefix: String,
}

impl Made {
    fn table(&mut self, name: &str, rows: usize) {
        self.put(&format!("{name}.weight"), vec![rows, HIDDEN], 0.0);
    }

    fn linear(&mut self, name: &str, rows: usize, columns: usize) {
        self.put(&format!("{name}.weight"), vec![rows, columns], 0.0);
        self.put(&format!("{name}.bias"), vec![rows], 0.0);
    }

    fn norm(&mut self, name: &str) {
        self.put(&format!("{name}.weight"), vec![HIDDEN], 1.0);
        self.put(&format!("{name}.bias"), vec![HIDDEN], 0.0);
    }

    fn put(&mut self, name: &str, shape: Vec<usize>, around: f32) {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| around + self.number()).collect();
        self.weights.insert(format!("{}{name}", self.prefix), (shape, numbers));
    }

    /// From -0.5 to 0.5 (a linear congruential generator, Numerical Recipes).
    fn number(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 16) as f32 / 65_536.0 - 0.5
    }
}
