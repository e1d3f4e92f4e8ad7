//! Models from folders: a small one made here, and a real one against its reference.

use std::fs;
use std::path::{Path, PathBuf};

use models::local::{FolderError, LocalEmbedder, LocalReranker};
use models::{EmbedPurpose, Embedder, Reranker};
use serde::Deserialize;
use serde_json::json;
use testkit::model_folder::{Kind, ModelFolder};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

async fn embed(folder: &Path, given: &[&str]) -> Vec<Vec<f32>> {
    let embedder = LocalEmbedder::load(folder, 2).unwrap();
    embedder.embed(&texts(given), EmbedPurpose::Passage).await.unwrap()
}

#[derive(Deserialize)]
struct Reference {
    text: String,
    vector: Vec<f32>,
}

/// The folder of all-MiniLM-L6-v2, installed once into the cache beside the build.
fn minilm() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/embedding-model.sh");
    let output = std::process::Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

#[tokio::test]
async fn a_real_model_gives_the_vectors_of_its_reference() {
    let embedder = LocalEmbedder::load(&minilm(), 2).unwrap();
    assert_eq!(embedder.space().dimension, 384);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/minilm.json");
    let references: Vec<Reference> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(references.len() >= 10);
    let all: Vec<String> = references.iter().map(|case| case.text.clone()).collect();
    let together = embedder.embed(&all, EmbedPurpose::Passage).await.unwrap();
    for (case, vector) in references.iter().zip(&together) {
        let close = cosine(&case.vector, vector);
        assert!(close > 0.9999, "{}: {close}", case.text);
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
    }
    let alone = embedder.embed(&all[1..2], EmbedPurpose::Query).await.unwrap();
    assert!(cosine(&alone[0], &together[1]) > 0.999_999, "company changes nothing");
    assert!(cosine(&together[0], &together[1]) < 0.9, "the reference tells texts apart");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for file in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "1_Pooling/config.json",
    ] {
        let folder = ModelFolder::new(Kind::Bert);
        fs::remove_file(folder.path().join(file)).unwrap();
        let error = LocalEmbedder::load(folder.path(), 1).unwrap_err();
        assert!(matches!(error, FolderError::Missing { .. }), "{file}: {error}");
        assert!(error.to_string().contains(&format!("has no {file};")), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_name() {
    for (file, key, value, told) in [
        ("config.json", "model_type", json!("mpnet"), "model_type mpnet"),
        ("config.json", "hidden_act", json!("swish"), "hidden_act swish"),
        (
            "config.json",
            "position_embedding_type",
            json!("relative_key"),
            "position_embedding_type",
        ),
        ("config.json", "num_hidden_layers", json!(3), "encoder.layer.2"),
        ("1_Pooling/config.json", "pooling_mode_mean_sqrt_len_tokens", json!(true), "pooling"),
    ] {
        let folder = ModelFolder::new(Kind::Bert);
        folder.set(file, key, value);
        let error = LocalEmbedder::load(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let folder = ModelFolder::new(Kind::Bert);
    fs::write(folder.path().join("model.safetensors"), b"cut").unwrap();
    let error = LocalEmbedder::load(folder.path(), 1).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("model.safetensors"), "{error}");
}

#[tokio::test]
async fn a_module_that_changes_vectors_is_refused_and_normalisation_is_ours() {
    let folder = ModelFolder::new(Kind::Bert);
    let with = embed(folder.path(), &["hola mundo"]).await;
    let modules = folder.path().join("modules.json");
    let mut list: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(&modules).unwrap()).unwrap();
    let normalise = list.pop().unwrap();
    assert!(normalise["type"].as_str().unwrap().ends_with("Normalize"));
    fs::write(&modules, serde_json::to_vec(&list).unwrap()).unwrap();
    let without = embed(folder.path(), &["hola mundo"]).await;
    assert!((cosine(&without[0], &without[0]) - 1.0).abs() < 1e-5, "of unit length all the same");
    assert!(cosine(&with[0], &without[0]) > 0.999_999);
    list.push(json!({"path": "2_Dense", "type": "sentence_transformers.models.Dense"}));
    fs::write(&modules, serde_json::to_vec(&list).unwrap()).unwrap();
    let error = LocalEmbedder::load(folder.path(), 1).unwrap_err().to_string();
    assert!(error.contains("models.Dense") && error.contains("2_Dense"), "{error}");
}

#[tokio::test]
async fn poolings_give_different_vectors_of_the_same_rows() {
    let mut vectors = Vec::new();
    for mode in ["cls", "mean", "max"] {
        let folder = ModelFolder::new(Kind::Bert);
        let old = if mode == "cls" { "cls_token".to_owned() } else { format!("{mode}_tokens") };
        folder.set("1_Pooling/config.json", "pooling_mode_mean_tokens", json!(false));
        folder.set("1_Pooling/config.json", &format!("pooling_mode_{old}"), json!(true));
        let by_flag = embed(folder.path(), &["hola mundo"]).await.remove(0);
        folder.set("1_Pooling/config.json", "pooling_mode", json!(mode));
        let by_name = embed(folder.path(), &["hola mundo"]).await.remove(0);
        assert!(cosine(&by_flag, &by_name) > 0.999_999, "{mode}");
        vectors.push(by_flag);
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(cosine(&vectors[a], &vectors[b]) < 0.9999, "{a} {b}");
    }
}

#[tokio::test]
async fn positions_of_xlm_r_begin_after_the_padding() {
    // The same weights, read as BERT: the tokens stand two places lower.
    let mut folder = ModelFolder::new(Kind::XlmRoberta);
    let own = embed(folder.path(), &["hola mundo"]).await.remove(0);
    folder.set("config.json", "model_type", json!("bert"));
    let lower = embed(folder.path(), &["hola mundo"]).await.remove(0);
    assert!(cosine(&own, &lower) < 0.9999);
    // Moving the table of positions by two rows makes up for it.
    folder.drop_positions(2);
    let moved = embed(folder.path(), &["hola mundo"]).await.remove(0);
    assert!(cosine(&own, &moved) > 0.999_999);
}

#[tokio::test]
async fn a_text_is_cut_where_the_folder_says_and_never_beyond_its_positions() {
    let long = "hola mundo ".repeat(200);
    let changed = format!("{}mundo mundo", "hola mundo ".repeat(100));
    for kind in [Kind::Bert, Kind::XlmRoberta] {
        let folder = ModelFolder::new(kind);
        let vectors = embed(folder.path(), &[&long, &changed, ""]).await;
        assert!(cosine(&vectors[0], &vectors[1]) > 0.999_999, "only the beginning is read");
        folder.set("sentence_bert_config.json", "max_seq_length", json!(4));
        let vectors = embed(folder.path(), &["hola mundo", "hola mundo hola hola"]).await;
        assert!(cosine(&vectors[0], &vectors[1]) > 0.999_999);
    }
}

#[tokio::test]
async fn prompts_of_the_folder_stand_before_the_text() {
    let folder = ModelFolder::new(Kind::Bert);
    let plain = embed(folder.path(), &["mundo hola"]).await.remove(0);
    let prompts = json!({"prompts": {"query": "mundo ", "document": ""}});
    fs::write(folder.path().join("config_sentence_transformers.json"), prompts.to_string())
        .unwrap();
    let embedder = LocalEmbedder::load(folder.path(), 1).unwrap();
    let text = texts(&["hola"]);
    let query = embedder.embed(&text, EmbedPurpose::Query).await.unwrap().remove(0);
    let passage = embedder.embed(&text, EmbedPurpose::Passage).await.unwrap().remove(0);
    assert!(cosine(&query, &plain) > 0.999_999);
    assert!(cosine(&passage, &plain) < 0.9999);
}

#[tokio::test]
async fn a_space_is_named_by_what_the_folder_holds_not_by_where_it_is() {
    let (one, other) = (ModelFolder::new(Kind::Bert), ModelFolder::new(Kind::Bert));
    let space =
        |folder: &ModelFolder| LocalEmbedder::load(folder.path(), 1).unwrap().space().to_string();
    assert_eq!(space(&one), space(&other));
    other.set("config.json", "layer_norm_eps", json!(1e-3));
    assert_ne!(space(&one), space(&other));
}

#[tokio::test]
async fn a_cross_encoder_scores_each_passage_by_itself() {
    for kind in [Kind::BertReranker, Kind::XlmRobertaReranker] {
        let folder = ModelFolder::new(kind);
        let reranker = LocalReranker::load(folder.path(), 2).unwrap();
        let passages: Vec<String> = ["hola", "mundo", "hola mundo hola"]
            .iter()
            .cycle()
            .take(20)
            .map(|&t| t.into())
            .collect();
        let scores = reranker.rerank("hola mundo", &passages).await.unwrap();
        assert_eq!(scores.len(), 20);
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        assert!((scores[0] - scores[1]).abs() > 1e-6, "{scores:?}");
        let alone = reranker.rerank("hola mundo", &passages[19..]).await.unwrap();
        assert!((alone[0] - scores[19]).abs() < 1e-6);
        let other = reranker.rerank("mundo", &passages[..1]).await.unwrap();
        assert!((other[0] - scores[0]).abs() > 1e-6, "the question counts");
        assert!(reranker.rerank("hola", &[]).await.unwrap().is_empty());
    }
    let folder = ModelFolder::new(Kind::BertReranker);
    folder.set("config.json", "id2label", json!({"0": "no", "1": "yes"}));
    let error = LocalReranker::load(folder.path(), 1).unwrap_err().to_string();
    assert!(error.contains("2 labels"), "{error}");
}
