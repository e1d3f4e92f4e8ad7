//! Reranking over real HTTP, and by a chat model.

use std::sync::Arc;

use models::{ChatReranker, ModelError, Reranker};
use serde_json::json;
use testkit::model_server::{Endpoint, Reply};

use crate::support::Bench;

fn passages() -> Vec<String> {
    ["Abrimos a las nueve.", "El envío es gratis.", "Cerramos los domingos."]
        .map(str::to_owned)
        .to_vec()
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_passages() {
    let bench = Bench::new().await;
    let ranking = json!({"results": [
        {"index": 2, "relevance_score": 0.9},
        {"index": 0, "relevance_score": 0.5},
        {"index": 1, "relevance_score": 0.1},
    ]});
    bench.server.enqueue_for(Endpoint::Rerank, Reply::json(&ranking));
    let reranker = bench.model.reranker("rerank-test");
    let scores = reranker.rerank("¿Qué días abren?", &passages()).await.unwrap();
    assert_eq!(scores, [0.5, 0.1, 0.9]);
    let requests = bench.server.requests_to(Endpoint::Rerank);
    let body = &requests[0].body;
    assert_eq!(body["model"], "rerank-test");
    assert_eq!(body["query"], "¿Qué días abren?");
    assert_eq!(body["documents"], json!(passages()));
    assert_eq!(body["top_n"], 3);
    assert!(requests[0].header("authorization").starts_with("Bearer "));
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again_and_one_that_refuses_is_not() {
    let bench = Bench::new().await;
    bench.server.enqueue_for(Endpoint::Rerank, Reply::error(503, "overloaded"));
    let reranker = bench.model.reranker("rerank-test");
    assert_eq!(reranker.rerank("abren", &passages()).await.unwrap().len(), 3);
    bench.server.enqueue_for(Endpoint::Rerank, Reply::error(422, "no such model"));
    let refused = reranker.rerank("abren", &passages()).await;
    assert!(matches!(refused, Err(ModelError::Refused(_))), "{refused:?}");
    bench.server.enqueue_for(Endpoint::Rerank, Reply::json(&json!({"answer": 42})));
    let broken = reranker.rerank("abren", &passages()).await;
    assert!(matches!(broken, Err(ModelError::Broken(_))), "{broken:?}");
    assert_eq!(bench.server.requests_to(Endpoint::Rerank).len(), 4);
}

#[tokio::test]
async fn a_chat_model_puts_passages_in_order() {
    let bench = Bench::new().await;
    let reranker = ChatReranker::new(Arc::new(bench.model.clone()), "gpt-test".to_owned());
    bench.server.enqueue(Reply::text("Sure: [3, 1]"));
    let scores = reranker.rerank("¿Qué días abren?", &passages()).await.unwrap();
    assert!(scores[2] > scores[0] && scores[0] > scores[1], "{scores:?}");
    let request = bench.server.requests_to(Endpoint::Chat).remove(0).body;
    let shown = request["messages"][1]["content"].as_str().unwrap();
    assert!(shown.contains("¿Qué días abren?") && shown.contains("El envío es gratis."), "{shown}");
    bench.server.enqueue(Reply::text("I cannot rank these."));
    let broken = reranker.rerank("¿Qué días abren?", &passages()).await;
    assert!(matches!(broken, Err(ModelError::Broken(_))), "{broken:?}");
}
