//! A workspace's own model providers.

use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::support::TestApp;

const KEY: &str = "sk-planted-0123456789";
const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";
const QUESTION: &str = "¿Cuáles son los horarios?";

fn new_provider(name: &str, server: &ModelServer, models: &[&str]) -> Value {
    json!({"name": name, "baseUrl": server.base_url(), "apiKey": KEY, "models": models})
}

async fn create(app: &TestApp, body: &Value) -> String {
    let made = app.post("/api/v2/providers", body).await.expect(201);
    format!("/api/v2/providers/{}", made["id"].as_str().unwrap())
}

async fn ask(app: &TestApp) -> Value {
    app.post(&app.chat_path(), &json!({"query": QUESTION})).await.expect(200)
}

/// Knows the scripted servers' network.
fn allow_loopback(settings: &mut domain::settings::Settings) {
    settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
}

#[tokio::test]
async fn a_provider_is_made_changed_listed_and_deleted_and_never_shows_its_key() {
    for database in databases("a_provider_is_made_changed").await {
        let server = ModelServer::start().await.unwrap();
        let app = TestApp::with(database, allow_loopback).await;
        let body = new_provider("Ollama", &server, &["llama3.1", "llama3.1", "mistral"]);
        let made = app.post("/api/v2/providers", &body).await.expect(201);
        assert_eq!(made["models"], json!(["llama3.1", "mistral"]));
        assert_eq!((&made["hasApiKey"], &made["priority"]), (&json!(true), &json!(0)));
        assert_eq!(made["azureApiVersion"], Value::Null);
        app.post("/api/v2/providers", &body).await.expect_error(409, "CONFLICT");

        let path = format!("/api/v2/providers/{}", made["id"].as_str().unwrap());
        let wanted = json!({"priority": 7, "azureApiVersion": "2024-10-21"});
        let changed = app.put(&path, &wanted).await.expect(200);
        assert_eq!(changed["hasApiKey"], true, "what is absent stays");
        assert_eq!((&changed["priority"], &changed["models"]), (&json!(7), &made["models"]));
        assert_eq!(app.get(&path).await.expect(200), changed);
        let listed = app.get("/api/v2/providers").await;
        assert!(!listed.text.contains("planted"), "{}", listed.text);
        assert_eq!(listed.expect(200), json!({"data": [changed], "nextCursor": null}));

        let stranger = app.other_tenant().await;
        let request = app.request_as(&stranger.key, http::Method::GET, &path);
        crate::support::read(request).await.expect_error(404, "NOT_FOUND");

        let without = app.put(&path, &json!({"apiKey": null})).await.expect(200);
        assert_eq!(without["hasApiKey"], false);
        app.delete(&path).await.expect(204);
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        app.get(&path).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn the_workspaces_provider_answers_before_the_installations_and_for_nobody_else() {
    for database in databases("the_workspaces_provider_answers").await {
        let (general, own) =
            (ModelServer::start().await.unwrap(), ModelServer::start().await.unwrap());
        let base_url = general.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            allow_loopback(settings);
        })
        .await;
        app.learn("FAQ", FAQ).await;
        assert_eq!(ask(&app).await["model"], "gpt-test");
        let path = create(&app, &new_provider("Propio", &own, &["llama3.1"])).await;
        assert_eq!(ask(&app).await["model"], "llama3.1");
        let asked = own.requests_to(Endpoint::Chat);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(general.requests_to(Endpoint::Chat).len(), 1);
        let agent = app.get(&format!("/api/v2/agents/{}", app.tenant.agent)).await.expect(200);
        assert_eq!(agent["modelName"], "llama3.1");

        // A model that only the installation's provider has is asked for there, as a fallback too.
        let settings = json!({"settings": {"fallbackModels": ["gpt-test"]}});
        app.put(&format!("/api/v2/agents/{}", app.tenant.agent), &settings).await.expect(200);
        own.enqueue(ModelReply::error(503, "down"));
        own.enqueue(ModelReply::error(503, "down"));
        own.enqueue(ModelReply::error(503, "down"));
        assert_eq!(ask(&app).await["model"], "gpt-test");

        app.delete(&path).await.expect(204);
        assert_eq!(ask(&app).await["model"], "gpt-test");
        assert!(
            general.requests().iter().all(|request| !request.header("authorization").contains(KEY))
        );
    }
}

#[tokio::test]
async fn without_a_provider_of_the_installation_a_workspaces_own_is_enough() {
    let server = ModelServer::start().await.unwrap();
    let app = TestApp::start_with(allow_loopback).await;
    app.learn("FAQ", FAQ).await;
    assert_eq!(ask(&app).await["model"], "builtin-extractive");
    let path = create(&app, &new_provider("Propio", &server, &["llama3.1", "mistral"])).await;
    assert_eq!(ask(&app).await["model"], "llama3.1");
    let agent = format!("/api/v2/agents/{}", app.tenant.agent);
    app.put(&agent, &json!({"modelName": "mistral"})).await.expect(200);
    assert_eq!(ask(&app).await["model"], "mistral");
    app.put(&agent, &json!({"modelName": "gpt-9"})).await.expect_field("modelName");
    app.put(&agent, &json!({"modelName": "builtin-extractive"})).await.expect(200);
    assert_eq!(ask(&app).await["model"], "builtin-extractive");

    let usage = app.get("/api/v2/usage?groupBy=model").await.expect(200);
    assert!(usage.to_string().contains("llama3.1"), "{usage}");
    let listed = app.get(&format!("{path}/models")).await.expect(200);
    assert!(listed["models"].is_array(), "{listed}");
    server.enqueue_for(Endpoint::Models, ModelReply::error(401, &format!("bad key {KEY}")));
    let refused = app.get(&format!("{path}/models")).await;
    assert!(!refused.text.contains(KEY), "{}", refused.text);
    refused.expect_error(503, "PROVIDER_REFUSED");
}

#[tokio::test]
async fn a_key_follows_its_address_to_no_other_site() {
    let (first, second) =
        (ModelServer::start().await.unwrap(), ModelServer::start().await.unwrap());
    let app = TestApp::start_with(allow_loopback).await;
    let path = create(&app, &new_provider("Propio", &first, &["llama3.1"])).await;
    let elsewhere = json!({"baseUrl": second.base_url()});
    app.put(&path, &elsewhere).await.expect_field("apiKey");
    let same_site = json!({"baseUrl": format!("{}/", first.base_url())});
    assert_eq!(app.put(&path, &same_site).await.expect(200)["hasApiKey"], true);
    let with_key = json!({"baseUrl": second.base_url(), "apiKey": "sk-other"});
    app.put(&path, &with_key).await.expect(200);
    app.get(&format!("{path}/models")).await.expect(200);
    assert_eq!(second.requests()[0].header("authorization"), "Bearer sk-other");
    assert!(first.requests().is_empty());
}

#[tokio::test]
async fn what_a_provider_cannot_be_is_refused_by_name() {
    let server = ModelServer::start().await.unwrap();
    let app = TestApp::start().await;
    let mut good = new_provider("Propio", &server, &["llama3.1"]);
    good["baseUrl"] = json!("https://models.example.com/v1");
    for (field, value) in [
        ("name", json!(" ")),
        ("baseUrl", json!("models.example.com")),
        ("baseUrl", json!("ftp://models.example.com")),
        ("baseUrl", json!("https://user:pass@models.example.com")),
        // Nothing inside the building: each spelling of it.
        ("baseUrl", json!(server.base_url())),
        ("baseUrl", json!("http://localhost/v1")),
        ("baseUrl", json!("http://169.254.169.254/v1")),
        ("baseUrl", json!("http://[::ffff:10.0.0.1]/v1")),
        ("apiKey", json!("")),
        ("apiKey", json!("con espacio y ñ")),
        ("azureApiVersion", json!("2024?x=1")),
        ("models", json!([])),
        ("priority", json!(-1)),
        ("priority", json!(1_001)),
    ] {
        let mut body = good.clone();
        body[field] = value;
        app.post("/api/v2/providers", &body).await.expect_field(field);
    }
    for (models, field) in
        [(json!(["a", " "]), "models[1]"), (json!(["builtin-extractive"]), "models[0]")]
    {
        let mut body = good.clone();
        body["models"] = models;
        app.post("/api/v2/providers", &body).await.expect_field(field);
    }
}
