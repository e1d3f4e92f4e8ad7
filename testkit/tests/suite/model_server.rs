use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use testkit::model_server::{Endpoint, ModelServer, Reply};

/// A client as any program has one.
#[expect(clippy::disallowed_methods, reason = "it speaks to the scripted server only")]
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn post(server: &ModelServer, path: &str, body: &Value) -> reqwest::Response {
    let url = format!("{}{path}", server.base_url());
    client().post(url).header("authorization", "Bearer key").json(body).send().await.unwrap()
}

#[tokio::test]
async fn an_unscripted_chat_quotes_the_first_passage_and_streams_it() {
    let server = ModelServer::start().await.unwrap();
    let question = json!({"model": "gpt-test", "stream": true, "messages": [
        {"role": "user", "content": "[1] Abrimos a las 9.\n[2] No.\n\n¿Cuándo abren?"},
    ]});
    let stream = post(&server, "/chat/completions", &question).await.text().await.unwrap();
    let frames: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    let text: String = frames
        .iter()
        .filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Abrimos a las 9. [1]");
    assert!(stream.ends_with("data: [DONE]\n\n"));

    let seen = &server.requests()[0];
    assert_eq!((seen.endpoint, seen.model()), (Endpoint::Chat, "gpt-test"));
    assert_eq!(seen.header("authorization"), "Bearer key");
    assert_eq!(server.departures(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_before_and_during_the_reply() {
    let server = ModelServer::start().await.unwrap();
    server.enqueue(Reply::silence());
    let body = json!({"stream": true});
    {
        let mut asking = std::pin::pin!(post(&server, "/chat/completions", &body));
        tokio::select! {
            _ = &mut asking => panic!("a silent reply arrived"),
            () = server.wait_for_requests(1) => {}
        }
    }
    server.wait_for_departures(1).await;

    server.enqueue(Reply::tokens(&["a"]).then_hang());
    let mut stream = post(&server, "/chat/completions", &body).await.bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    server.wait_for_departures(2).await;
}

#[tokio::test]
async fn a_cut_is_an_error_of_the_body() {
    let server = ModelServer::start().await.unwrap();
    server.enqueue(Reply::tokens(&["a", "b"]).then_cut());
    let stream = post(&server, "/chat/completions", &json!({"stream": true})).await.bytes_stream();
    let pieces: Vec<_> = stream.collect().await;
    assert!(pieces.last().unwrap().is_err());
    assert_eq!(server.departures(), 0);
}

#[tokio::test]
async fn embeddings_and_models_are_answered() {
    let server = ModelServer::start().await.unwrap();
    server.behave(|behaviour| behaviour.embeddings.dimension = 8);
    let asked = json!({"model": "embed-test", "input": ["hola", "adiós"]});
    let answer: Value = post(&server, "/embeddings", &asked).await.json().await.unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 8);

    let url = format!("{}/models", server.base_url());
    let list: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"][0]["id"], "gpt-test");
    server.behave(|behaviour| behaviour.models = None);
    assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_pace_is_kept_by_a_schedule() {
    let server = ModelServer::start().await.unwrap();
    server.enqueue(Reply::tokens(&["a", "b", "c"]).pace(Duration::from_millis(5)));
    let begun = std::time::Instant::now();
    post(&server, "/chat/completions", &json!({"stream": true})).await.bytes().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(15), "three waits of 5 ms");
}
