//! The official clients, unchanged.

use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply as ModelReply};

use super::embeddings::{app_with_embedder, assert_close, vector_of};
use crate::clients;

const QUESTION: &str = "¿Cuáles son los horarios?";

#[tokio::test]
async fn the_python_client_works_unchanged() {
    works_unchanged(["python3", "openai_client.py"]).await;
}

#[tokio::test]
async fn the_javascript_client_works_unchanged() {
    works_unchanged(["node", "openai_client.mjs"]).await;
}

async fn works_unchanged(program: [&str; 2]) {
    let server = ModelServer::start().await.unwrap();
    let app = app_with_embedder(&server).await;
    app.learn("FAQ", "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.").await;
    for _ in 0..2 {
        let reply = ModelReply::tokens(&["Abrimos ", "de 9 ", "a 18 hs. [", "1]"]);
        server.enqueue(reply.usage(100, 8));
    }
    let got = clients::run(&app, program, "/openai/v1", &[("QUESTION", QUESTION)]).await;
    let agent = app.tenant.agent.as_str();
    assert_eq!((&got["models"], &got["model"]), (&json!([agent, "embed-test"]), &json!("vocero")));

    let text = "Abrimos de 9 a 18 hs. [1]";
    let (answer, stream) = (&got["answer"], &got["stream"]);
    assert_eq!((&answer["text"], &answer["role"]), (&json!(text), &json!("assistant")));
    assert_eq!((&stream["text"], &answer["finish"]), (&json!(text), &json!("stop")));
    assert_eq!(stream["finish"], "stop");
    assert!(stream.get("whole").is_none_or(|whole| whole == text), "{stream}");
    assert!(stream["chunks"].as_u64().unwrap() >= 4, "{stream}");
    for usage in [&answer["usage"], &stream["usage"]] {
        assert_eq!(usage["prompt_tokens"], 100, "{usage}");
        assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(8), &json!(108)));
    }
    let annotation = &answer["annotations"][0]["file_citation"];
    assert_eq!((&annotation["start_index"], &annotation["end_index"]), (&json!(22), &json!(25)));
    for part in [answer, stream] {
        assert_eq!(part["vocero"]["sources"][0]["source"], "FAQ", "{part}");
    }

    let floats = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    assert_close(&floats(&got["embeddings"][0]), &vector_of("abrimos"));
    assert_close(&floats(&got["embeddings"][1]), &vector_of("de 9 a 18"));
    assert_close(&floats(&got["floats"]), &vector_of("abrimos"));

    for (name, code, param) in [
        ("NotFoundError", "model_not_found", json!("model")),
        ("BadRequestError", "invalid_parameter", json!("n")),
        ("AuthenticationError", "invalid_api_key", Value::Null),
    ] {
        let error = &got["errors"][name];
        assert_eq!((&error["class"], &error["code"]), (&json!(name), &json!(code)), "{got}");
        assert_eq!(error["param"], param, "{got}");
        assert!(error["request"].as_str().is_some_and(|id| id.starts_with("req_")), "{got}");
    }
}
