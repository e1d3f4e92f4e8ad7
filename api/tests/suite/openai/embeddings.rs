//! Embeddings.

use serde_json::{Value, json};
use testkit::model_server::{ModelServer, hash_embedding};

use super::expect_error;
use crate::support::TestApp;

const PATH: &str = "/openai/v1/embeddings";
/// Components of the scripted embedder's vectors.
const DIMENSION: usize = 64;

pub async fn app_with_embedder(server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    TestApp::start_with(|settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
        settings.models.embedding_model = Some("embed-test".to_owned());
    })
    .await
}

/// The scripted vector, made of unit length as every embedder's is.
pub fn vector_of(text: &str) -> Vec<f64> {
    let vector = hash_embedding(text, DIMENSION);
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter().map(|value| f64::from(value / length)).collect()
}

pub fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn texts_are_embedded_in_order_as_numbers_or_base64() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with_embedder(&server).await;
    let body = json!({"model": "embed-test", "input": ["uno", "dos tres"]});
    let found = app.post(PATH, &body).await.expect(200);
    assert_eq!((&found["object"], &found["model"]), (&json!("list"), &json!("embed-test")));
    for (place, text) in ["uno", "dos tres"].into_iter().enumerate() {
        let entry = &found["data"][place];
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(place)));
        assert_close(&floats(&entry["embedding"]), &vector_of(text));
    }
    let usage = found["usage"].as_object().unwrap();
    assert_eq!(usage.keys().collect::<Vec<_>>(), ["prompt_tokens", "total_tokens"]);
    assert!(usage["prompt_tokens"].as_i64().unwrap() > 0);

    let body = json!({
        "model": "embed-test", "input": "uno", "encoding_format": "base64", "dimensions": DIMENSION,
        "input_type": "query", "user": "x",
    });
    let encoded = app.post(PATH, &body).await.expect(200);
    let text = encoded["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let decoded: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())))
        .collect();
    assert_close(&decoded, &vector_of("uno"));

    let many: Vec<String> = (0..150).map(|n| format!("texto {n}")).collect();
    let found = app.post(PATH, &json!({"model": "embed-test", "input": many})).await.expect(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 150);
    assert_close(&floats(&found["data"][149]["embedding"]), &vector_of("texto 149"));
    let listed = app.get("/openai/v1/models").await.expect(200);
    assert_eq!(listed["data"][1]["id"], "embed-test");
    app.get("/openai/v1/models/embed-test").await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_embedded_is_named() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with_embedder(&server).await;
    for (more, param) in [
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": ["a", " "]}), "input[1]"),
        (json!({"input": [1, 2]}), "input"),
        (json!({"input": vec!["x"; 2_049]}), "input"),
        (json!({"dimensions": 8}), "dimensions"),
        (json!({"encoding_format": "hex"}), "encoding_format"),
        (json!({"input_type": "poem"}), "input_type"),
    ] {
        let mut body = json!({"model": "embed-test", "input": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message =
            expect_error(&app.post(PATH, &body).await, 400, "invalid_parameter", Some(param));
        assert!(message.contains(param), "{message}");
    }
    let reply = app.post(PATH, &json!({"model": "text-embedding-3-small", "input": "x"})).await;
    let message = expect_error(&reply, 404, "model_not_found", Some("model"));
    assert!(message.contains("embed-test"), "{message}");
}

#[tokio::test]
async fn without_an_embedder_the_remedy_is_told() {
    let app = TestApp::start().await;
    let reply = app.post(PATH, &json!({"model": "any", "input": "x"})).await;
    let message = expect_error(&reply, 400, "not_configured", None);
    assert!(message.contains("VOCERO_EMBEDDING_MODEL"), "{message}");
}
