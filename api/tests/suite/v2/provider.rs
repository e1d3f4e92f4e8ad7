//! Chat through a provider: tokens as they come, clients that leave, answers that are stopped.

use std::sync::Arc;

use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use testkit::db::{TestDb, databases};
use testkit::model_server::{ModelServer, Reply as ModelReply};
use tokio::sync::Notify;

use crate::events;
use crate::support::{PATIENCE, TestApp, read};

const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";
pub const QUESTION: &str = "¿Cuáles son los horarios?";

/// The product over SQLite, answering through the scripted provider.
async fn app_with(server: &ModelServer) -> TestApp {
    app_on(testkit::db::sqlite().await, server).await
}

pub async fn app_on(database: TestDb, server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await;
    app.learn("FAQ", FAQ).await;
    app
}

/// Reads a response until it holds `text`.
pub async fn read_until(
    response: &mut (impl StreamExt<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    text: &str,
) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(text) {
            let piece = response.next().await.expect("the stream goes on").unwrap();
            seen.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the text arrives");
    seen
}

#[tokio::test]
async fn tokens_reach_the_client_while_the_model_still_writes() {
    for database in databases("tokens_reach_the_client_while_the_model_still_writes").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        let more = Arc::new(Notify::new());
        let reply =
            ModelReply::tokens(&["Abrimos ", "de 9 a 18"]).hold(more.clone()).then(&[" hs. [1]"]);
        server.enqueue(reply);
        let body = json!({"query": QUESTION, "streaming": true});
        let response =
            app.request(Method::POST, &app.chat_path()).json(&body).send().await.unwrap();
        let mut stream = response.bytes_stream();
        let mut seen = read_until(&mut stream, "de 9 a 18").await;
        assert!(!seen.contains("hs."), "{seen}");
        more.notify_one();
        seen.push_str(&read_until(&mut stream, "event: done").await);
        while let Some(piece) = stream.next().await {
            seen.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        let events = events::parse(&seen);
        let done = events::check(&events);
        assert_eq!(done["answer"], "Abrimos de 9 a 18 hs. [1]");
        assert_eq!(
            (&done["model"], &done["sources"][0]["source"]),
            (&json!("gpt-test"), &json!("FAQ"))
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_model_call_and_the_rest_is_kept_as_interrupted() {
    let test = "a client that leaves ends the model call";
    let mut cases: Vec<(bool, TestDb)> = Vec::new();
    for streaming in [true, false] {
        cases.extend(databases(test).await.into_iter().map(|database| (streaming, database)));
    }
    for (streaming, database) in cases {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        let first = app.post(&app.chat_path(), &json!({"query": QUESTION})).await.expect(200);
        let conversation = first["conversationId"].as_str().unwrap().to_owned();
        server.enqueue(ModelReply::tokens(&["Abrimos de 9 ", "a 18 hs "]).then_hang());
        let body =
            json!({"query": QUESTION, "streaming": streaming, "conversationId": conversation});
        let request = app.request(Method::POST, &app.chat_path()).json(&body);
        if streaming {
            let mut stream = request.send().await.unwrap().bytes_stream();
            read_until(&mut stream, "Abrimos").await;
            drop(stream);
        } else {
            let asked = server.wait_for_requests(2);
            tokio::select! {
                () = asked => {}
                reply = request.send() => panic!("answered: {reply:?}"),
            }
        }
        server.wait_for_departures(1).await;
        let last = message_with_state(&app, &conversation, "interrupted").await;
        assert_eq!(last["role"], "assistant");
        assert!(!streaming || last["content"].as_str().unwrap().starts_with("Abrimos"), "{last}");
    }
}

/// Waits until the conversation's last message has a state.
async fn message_with_state(app: &TestApp, conversation: &str, state: &str) -> Value {
    let mut wakeups = app.db.wakeups();
    let waiting = async {
        loop {
            let path = format!("/api/v2/conversations/{conversation}/messages");
            let messages = app.get(&path).await.expect(200);
            let last = messages["data"].as_array().unwrap().last().unwrap().clone();
            if last["state"] == state {
                return last;
            }
            crate::support::woken(&mut wakeups).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the message is stored")
}

#[tokio::test]
async fn an_answer_is_stopped_by_its_id() {
    for database in databases("an_answer_is_stopped_by_its_id").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        server.enqueue(ModelReply::tokens(&["Abrimos de 9 ", "a 18 hs "]).then_hang());
        let body = json!({"query": QUESTION, "streaming": true});
        let response =
            app.request(Method::POST, &app.chat_path()).json(&body).send().await.unwrap();
        let message = response.headers()["x-message-id"].to_str().unwrap().to_owned();
        let mut stream = response.bytes_stream();
        let mut seen = read_until(&mut stream, "Abrimos").await;
        let stop = |agent: &str| format!("/api/v2/agents/{agent}/chat/{message}/stop");
        let other = app.other_tenant().await;
        let theirs = app.request_as(&other.key, Method::POST, &stop(&other.agent));
        read(theirs).await.expect_error(404, "NOT_FOUND");
        let stopped = read(app.request(Method::POST, &stop(&app.tenant.agent))).await;
        assert_eq!(stopped.status, 202, "{}", stopped.text);
        seen.push_str(&read_until(&mut stream, "event: done").await);
        while let Some(piece) = stream.next().await {
            seen.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        let done = events::check(&events::parse(&seen));
        assert_eq!((&done["state"], &done["messageId"]), (&json!("interrupted"), &json!(message)));
        server.wait_for_departures(1).await;
    }
}

#[tokio::test]
async fn a_model_that_is_down_is_503_before_the_stream_and_an_error_event_within() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with(&server).await;
    for _ in 0..8 {
        server.enqueue(ModelReply::error(401, "the key sk-secret is wrong"));
    }
    let reply = app.post(&app.chat_path(), &json!({"query": QUESTION})).await;
    let message = reply.expect_error(503, "MODEL_CREDENTIAL");
    assert!(!message.contains("sk-secret"), "{message}");
    assert_ne!(reply.header("retry-after"), "");
    let reply = app.post(&app.chat_path(), &json!({"query": QUESTION, "streaming": true})).await;
    let text = reply.text;
    assert!(text.contains("event: error\ndata: {\"code\":\"MODEL_"), "{text}");
    assert!(!text.contains("sk-secret") && !text.contains("event: done"), "{text}");
}

#[tokio::test]
async fn a_model_that_the_provider_does_not_know_is_refused_when_the_agent_is_saved() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with(&server).await;
    let path = format!("/api/v2/agents/{}", app.tenant.agent);
    app.put(&path, &json!({"modelName": "gpt-imaginary"})).await.expect_field("modelName");
    app.put(&path, &json!({"model": "gpt-imaginary"})).await.expect_error(400, "INVALID_PARAMETER");
    let changed = app.put(&path, &json!({"modelName": "gpt-test-mini"})).await.expect(200);
    assert_eq!(changed["modelName"], "gpt-test-mini");
    let cleared = app.put(&path, &json!({"modelName": null})).await.expect(200);
    assert_eq!(cleared["modelName"], "gpt-test");
}
