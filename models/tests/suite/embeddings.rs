use models::{EmbedPurpose, Embedder, ModelError};
use serde_json::{Value, json};
use testkit::model_server::{Endpoint, Reply, hash_embedding};

use crate::support::Bench;

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("texto número {number}")).collect()
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / norm).collect()
}

fn assert_near(one: &[f32], other: &[f32]) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        assert!((a - b).abs() < 1e-5, "{one:?} is not {other:?}");
    }
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_texts_and_of_unit_length() {
    for (reversed, base64) in [(false, true), (true, true), (true, false)] {
        let bench = Bench::new().await;
        bench.server.behave(|behaviour| {
            behaviour.embeddings.reversed = reversed;
            behaviour.embeddings.base64 = base64;
            behaviour.embeddings.dimension = 32;
        });
        let embedder = bench.model.embedder("embed-test").await.unwrap();
        assert_eq!(embedder.space().to_string(), "embed-test/32");
        let texts = texts(300);
        let vectors = embedder.embed(&texts, EmbedPurpose::Passage).await.unwrap();
        assert_eq!(vectors.len(), texts.len());
        for (text, vector) in texts.iter().zip(&vectors) {
            assert_near(vector, &unit(&hash_embedding(text, 32)));
        }
        let sizes: Vec<usize> = bench
            .server
            .requests_to(Endpoint::Embeddings)
            .iter()
            .map(|request| request.body["input"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [1, 128, 128, 44], "the probe, then batches");
    }
}

#[tokio::test]
async fn no_texts_ask_nothing() {
    let bench = Bench::new().await;
    let embedder = bench.model.embedder("embed-test").await.unwrap();
    assert_eq!(embedder.embed(&[], EmbedPurpose::Query).await.unwrap(), Vec::<Vec<f32>>::new());
    assert_eq!(bench.server.requests().len(), 1);
}

#[tokio::test]
async fn a_blank_text_is_not_sent_as_empty() {
    let bench = Bench::new().await;
    let embedder = bench.model.embedder("embed-test").await.unwrap();
    embedder.embed(&["  ".to_owned()], EmbedPurpose::Query).await.unwrap();
    assert_eq!(bench.server.requests()[1].body["input"], json!(["."]));
}

#[tokio::test]
async fn another_dimension_than_the_first_is_an_error_that_says_so() {
    let bench = Bench::new().await;
    let embedder = bench.model.embedder("embed-test").await.unwrap();
    bench.server.behave(|behaviour| behaviour.embeddings.dimension = 10);
    let error = embedder.embed(&texts(1), EmbedPurpose::Query).await.unwrap_err();
    assert!(matches!(error, ModelError::Broken(_)));
    assert!(error.to_string().contains("10 dimensions instead of 64"), "{error}");
}

#[tokio::test]
async fn answers_that_do_not_fit_the_question_are_refused() {
    let bench = Bench::new().await;
    let embedder = bench.model.embedder("embed-test").await.unwrap();
    let vector = vec![1.0; 64];
    let item = |index: usize| json!({"index": index, "embedding": vector.clone()});
    let zero = json!({"index": 1, "embedding": vec![0.0; 64]});
    for data in [
        json!([item(0)]),
        json!([item(0), item(0)]),
        json!([item(0), item(2)]),
        json!([item(0), zero]),
        json!([item(0), {"index": 1, "embedding": "AAA"}]),
        Value::Null,
    ] {
        bench.server.respond_with({
            let data = data.clone();
            move |_| Some(Reply::json(&json!({"data": data})))
        });
        let refused = embedder.embed(&texts(2), EmbedPurpose::Passage).await;
        assert!(matches!(refused, Err(ModelError::Broken(_))), "{data}: {refused:?}");
        // The breaker must not be what refuses the next.
        bench.server.respond_with(|_| None);
        bench.clock.advance(std::time::Duration::from_mins(3));
        embedder.embed(&texts(2), EmbedPurpose::Passage).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_refuses_base64_is_asked_for_numbers_from_then_on() {
    let bench = Bench::new().await;
    bench.server.respond_with(|request| {
        let named = request.body["encoding_format"] != Value::Null;
        named.then(|| Reply::error(400, "encoding_format is not supported"))
    });
    let embedder = bench.model.embedder("embed-test").await.unwrap();
    embedder.embed(&texts(2), EmbedPurpose::Passage).await.unwrap();
    assert_eq!(bench.server.requests().len(), 3, "one refusal, then two answers");
}

#[tokio::test]
async fn a_busy_embedder_is_asked_again() {
    let bench = Bench::new().await;
    bench.server.enqueue_for(Endpoint::Embeddings, Reply::error(429, "slow down"));
    bench.model.embedder("embed-test").await.unwrap();
    assert_eq!(bench.pauses.taken().len(), 1);
}

#[tokio::test]
async fn an_unknown_embedding_model_is_refused_when_it_is_set_up() {
    let bench = Bench::new().await;
    bench.server.enqueue_for(Endpoint::Embeddings, Reply::error(404, "no such model"));
    let refused = bench.model.embedder("nope").await;
    assert!(matches!(refused, Err(ModelError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_model_that_wants_to_know_the_purpose_is_told() {
    let bench = Bench::new().await;
    let embedder = bench.model.embedder("intfloat/multilingual-e5-small").await.unwrap();
    embedder.embed(&["hola".to_owned()], EmbedPurpose::Passage).await.unwrap();
    embedder.embed(&["hola".to_owned()], EmbedPurpose::Query).await.unwrap();
    let requests = bench.server.requests();
    let inputs: Vec<&Value> = requests[1..].iter().map(|request| &request.body["input"]).collect();
    assert_eq!(inputs, [&json!(["passage: hola"]), &json!(["query: hola"])]);
}
