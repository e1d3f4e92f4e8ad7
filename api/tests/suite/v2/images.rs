//! Images beside a message: checked, shown to the model that answers, not stored.

use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::support::TestApp;

/// One pixel.
const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const FAQ: &str = "El taladro Makita HP1640 cuesta 89.990 pesos y tiene dos años de garantía.";

async fn app_on(database: testkit::db::TestDb, server: &ModelServer, model: &str) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    let model = model.to_owned();
    let app = TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some(model);
        settings.agents.max_image_bytes = 2_000;
    })
    .await;
    app.learn("FAQ", FAQ).await;
    app
}

/// The images of the last message of a request to the model.
fn shown(request: &Value) -> Vec<&str> {
    let last = request["messages"].as_array().unwrap().last().unwrap();
    let parts = last["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(|part| part["image_url"]["url"].as_str()).collect()
}

#[tokio::test]
async fn what_a_customer_shows_is_searched_for_in_words_and_seen_by_the_model() {
    for database in databases("what_a_customer_shows").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server, "gpt-4o-mini").await;
        server.enqueue(ModelReply::text("¿Cuánto cuesta el taladro Makita HP1640?"));
        server.enqueue(ModelReply::text("Cuesta 89.990 pesos [1]."));
        let body = json!({"query": "¿Cuánto cuesta esto?", "images": [PNG]});
        let answer = app.post(&app.chat_path(), &body).await.expect(200);
        assert_eq!(answer["answer"], "Cuesta 89.990 pesos [1].");
        assert_eq!(answer["outcome"], "answered");
        let asked = server.requests_to(Endpoint::Chat);
        assert_eq!(asked.len(), 2, "one for the words, one for the answer");
        for request in &asked {
            assert_eq!(shown(&request.body), [PNG]);
        }
        let path = format!(
            "/api/v2/conversations/{}/messages",
            answer["conversationId"].as_str().unwrap()
        );
        let stored = app.get(&path).await;
        assert!(!stored.text.contains("iVBOR"), "the image itself is not kept");
        let stored = stored.expect(200);
        assert_eq!(stored["data"][0]["images"], json!([{"mediaType": "image/png", "bytes": 70}]));
        assert!(stored["data"][1].get("images").is_none());

        // What was shown before is not shown again, and the talk goes on.
        let body = json!({
            "query": "¿Y qué garantía tiene el taladro Makita?",
            "conversationId": answer["conversationId"],
        });
        app.post(&app.chat_path(), &body).await.expect(200);
        let last = server.requests_to(Endpoint::Chat).pop().unwrap();
        assert!(!last.body.to_string().contains("iVBOR"));
    }
}

#[tokio::test]
async fn the_openai_endpoint_takes_images_as_its_clients_send_them() {
    let server = ModelServer::start().await.unwrap();
    let app = app_on(testkit::db::sqlite().await, &server, "gpt-4o-mini").await;
    server.enqueue(ModelReply::text("Taladro Makita HP1640"));
    server.enqueue(ModelReply::text("Es el Makita HP1640 [1]."));
    let message = json!({"role": "user", "content": [
        {"type": "text", "text": "¿Qué taladro es?"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
    ]});
    let body = json!({"model": app.tenant.agent, "messages": [message]});
    let completion = app.post("/openai/v1/chat/completions", &body).await.expect(200);
    assert_eq!(completion["choices"][0]["message"]["content"], "Es el Makita HP1640 [1].");
    let asked = server.requests_to(Endpoint::Chat);
    assert_eq!(shown(&asked[1].body), [PNG]);
}

#[tokio::test]
async fn what_is_no_image_or_too_much_is_refused_by_name_and_nothing_is_stored() {
    let server = ModelServer::start().await.unwrap();
    let app = app_on(testkit::db::sqlite().await, &server, "gpt-4o-mini").await;
    let large = format!("data:image/png;base64,{}", "iVBORw0KGgoA".repeat(300));
    let page = "data:image/png;base64,PGh0bWw+PC9odG1sPg==";
    for (images, field) in [
        (json!([PNG, PNG, PNG, PNG, PNG]), "images"),
        (json!([PNG, "data:image/png,abc"]), "images[1]"),
        (json!(["data:image/png;base64,???"]), "images[0]"),
        (json!([page]), "images[0]"),
        (json!([large]), "images[0]"),
        (json!(["file:///etc/passwd"]), "images[0]"),
        // Nothing inside the building is fetched.
        (json!([format!("{}/models", server.base_url())]), "images[0]"),
        (json!([7]), "images[0]"),
    ] {
        let body = json!({"query": "¿Qué es?", "images": images});
        app.post(&app.chat_path(), &body).await.expect_field(field);
    }
    let conversations = app.get("/api/v2/conversations").await.expect(200);
    assert_eq!(conversations["data"], json!([]));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_model_that_does_not_see_is_not_shown_images() {
    let server = ModelServer::start().await.unwrap();
    let body = json!({"query": "¿Qué es?", "images": [PNG]});
    let app = app_on(testkit::db::sqlite().await, &server, "gpt-3.5-turbo").await;
    app.post(&app.chat_path(), &body).await.expect_field("images");
    let builtin = TestApp::start().await;
    builtin.post(&builtin.chat_path(), &body).await.expect_field("images");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_address_is_fetched_by_the_server_and_the_model_gets_the_image() {
    let server = ModelServer::start().await.unwrap();
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::start_with(|settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-4o-mini".to_owned());
        settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    app.learn("FAQ", FAQ).await;
    let site = crate::support::site("/taladro.png", "image/png", PNG).await;
    let body = json!({"query": "¿Cuánto cuesta esto?", "images": [format!("{site}/taladro.png")]});
    app.post(&app.chat_path(), &body).await.expect(200);
    let asked = server.requests_to(Endpoint::Chat);
    assert_eq!(shown(&asked.last().unwrap().body), [PNG]);
    let body = json!({"query": "¿Qué es?", "images": [format!("{site}/missing.png")]});
    app.post(&app.chat_path(), &body).await.expect_field("images[0]");
}
