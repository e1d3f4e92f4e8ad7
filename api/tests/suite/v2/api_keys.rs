//! API keys.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, read};

#[tokio::test]
async fn a_key_is_shown_once_works_within_its_scopes_and_stops_when_revoked() {
    for app in TestApp::on_each_database("a_key_is_shown_once").await {
        let body =
            json!({"name": "Sitio web", "scopes": ["read"], "expiresAt": "2999-01-01T00:00:00Z"});
        let made = app.post("/api/v2/api-keys", &body).await.expect(201);
        let key = made["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with("vk_") && key.starts_with(made["prefix"].as_str().unwrap()));
        assert_eq!(made["scopes"], json!(["read"]));
        assert_eq!(made["expiresAt"], "2999-01-01T00:00:00.000Z");
        let read_agents = async || read(app.request_as(&key, Method::GET, "/api/v2/agents")).await;
        assert_eq!(read_agents().await.status, 200);
        let write =
            app.request_as(&key, Method::POST, "/api/v2/agents").json(&json!({"name": "x"}));
        let message = read(write).await.expect_error(403, "FORBIDDEN");
        assert!(message.contains("manage"), "{message}");
        let listed = app.get("/api/v2/api-keys").await.expect(200);
        assert_eq!(listed["data"][0]["id"], made["id"]);
        assert!(!listed.to_string().contains(&key), "the key is shown once");

        let path = format!("/api/v2/api-keys/{}", made["id"].as_str().unwrap());
        app.delete(&path).await.expect(204);
        read_agents().await.expect_error(401, "UNAUTHORIZED");
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        let listed = app.get("/api/v2/api-keys").await.expect(200);
        assert!(listed["data"][0]["revokedAt"].is_string());
    }
}

#[tokio::test]
async fn without_scopes_a_key_may_do_everything() {
    for app in TestApp::on_each_database("without_scopes_a_key_may_do_everything").await {
        let made = app.post("/api/v2/api-keys", &json!({"name": "CI"})).await.expect(201);
        assert_eq!(made["scopes"], json!(["read", "chat", "manage"]));
        assert_eq!((&made["expiresAt"], &made["lastUsedAt"]), (&Value::Null, &Value::Null));
        let key = made["key"].as_str().unwrap();
        let write = app.request_as(key, Method::POST, "/api/v2/agents").json(&json!({"name": "x"}));
        assert_eq!(read(write).await.status, 201);
    }
}

#[tokio::test]
async fn what_a_key_cannot_be_is_refused_by_name() {
    let app = TestApp::start().await;
    for (field, body) in [
        ("name", json!({})),
        ("name", json!({"name": ""})),
        ("scopes", json!({"name": "x", "scopes": []})),
        ("scopes[0]", json!({"name": "x", "scopes": ["everything"]})),
        ("scopes", json!({"name": "x", "scopes": "read"})),
        ("expiresAt", json!({"name": "x", "expiresAt": "tomorrow"})),
        ("expiresAt", json!({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"})),
        ("expiresAt", json!({"name": "x", "expiresAt": 7})),
    ] {
        app.post("/api/v2/api-keys", &body).await.expect_field(field);
    }
    let other = app.other_tenant().await;
    let theirs =
        read(app.request_as(&other.key, Method::GET, "/api/v2/api-keys")).await.expect(200);
    let path = format!("/api/v2/api-keys/{}", theirs["data"][0]["id"].as_str().unwrap());
    app.delete(&path).await.expect_error(404, "NOT_FOUND");
}
