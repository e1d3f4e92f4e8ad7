//! Each route × {no credential, garbage, expired, revoked, another tenant, each scope}. The routes come
//! from the router's own table: a new one is here by itself.

use std::collections::HashMap;
use std::time::Duration;

use domain::Scope;
use http::{Method, StatusCode};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Reply, Tenant, TestApp, read};

/// Ids of the first workspace that paths are filled with.
struct Ids(HashMap<&'static str, String>);

impl Ids {
    async fn of(app: &TestApp) -> Self {
        let source = app.learn("FAQ", "Abrimos de 9 a 18.").await;
        let chunks = app.get(&app.in_datastore("/chunks")).await.expect(200);
        let answer =
            app.post(&app.chat_path(), &json!({"query": "¿A qué hora abren?"})).await.expect(200);
        let keys = app.get("/api/v2/api-keys").await.expect(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self(HashMap::from([
            ("{agentId}", app.tenant.agent.clone()),
            ("{datastoreId}", app.tenant.datastore.clone()),
            ("{sourceId}", source),
            ("{chunkId}", text(&chunks["data"][0]["id"])),
            ("{conversationId}", text(&answer["conversationId"])),
            ("{messageId}", text(&answer["messageId"])),
            ("{keyId}", text(&keys["data"][0]["id"])),
        ]))
    }

    /// The path with its parameters filled in.
    fn fill(&self, path: &str) -> String {
        let mut filled = path.to_owned();
        for (parameter, id) in &self.0 {
            filled = filled.replace(parameter, id);
        }
        assert!(!filled.contains('{'), "{path} has a parameter that this test does not know");
        filled
    }
}

/// A body that the route would accept.
fn request_to(
    app: &TestApp,
    key: Option<&str>,
    method: &Method,
    path: &str,
) -> reqwest::RequestBuilder {
    let request = app.client.request(method.clone(), format!("{}{path}", app.base));
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let body = match (method.as_str(), last) {
        ("GET" | "DELETE", _) | ("POST", "stop" | "retry" | "cancel" | "sync") => return request,
        ("POST", "file") => {
            let part = Part::bytes(b"hola".to_vec()).file_name("a.txt");
            return request.multipart(Form::new().part("file", part));
        }
        (_, "chat" | "query") => json!({"query": "hola"}),
        (_, "url") => json!({"url": "https://ejemplo.com/"}),
        (_, "text") => json!({"name": "x", "content": "x"}),
        (_, "status") => json!({"status": "open"}),
        (_, "feedback") => json!({"rating": "up"}),
        _ => json!({"name": "x"}),
    };
    request.json(&body)
}

async fn ask(app: &TestApp, key: Option<&str>, method: &Method, path: &str) -> Reply {
    read(request_to(app, key, method, path)).await
}

#[tokio::test]
async fn no_route_answers_without_a_key_that_holds() {
    for app in TestApp::on_each_database("no_route_answers_without_a_key_that_holds").await {
        let ids = Ids::of(&app).await;
        let past = app.ambient.now().minus(Duration::from_secs(1));
        let expired = app.key(&Scope::ALL, Some(past)).await;
        let made = app.post("/api/v2/api-keys", &json!({"name": "x"})).await.expect(201);
        app.delete(&format!("/api/v2/api-keys/{}", made["id"].as_str().unwrap())).await.expect(204);
        let revoked = made["key"].as_str().unwrap().to_owned();
        let unknown = format!("vk_{}", "a".repeat(64));
        let routes = api::routes_v2();
        assert!(routes.len() >= 35, "{}", routes.len());
        let mut bodies = Vec::new();
        for route in &routes {
            let path = ids.fill(&route.path);
            for key in
                [None, Some("garbage"), Some(""), Some(&*unknown), Some(&*expired), Some(&*revoked)]
            {
                let reply = ask(&app, key, &route.method, &path).await;
                let message = reply.expect_error(401, "UNAUTHORIZED");
                bodies.push(message);
            }
            for header in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", &app.tenant.key] {
                let request =
                    app.client.request(route.method.clone(), format!("{}{path}", app.base));
                read(request.header("authorization", header))
                    .await
                    .expect_error(401, "UNAUTHORIZED");
            }
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "a refusal tells why: {bodies:?}");
    }
}

#[tokio::test]
async fn each_route_needs_its_scope_and_no_other() {
    for app in TestApp::on_each_database("each_route_needs_its_scope_and_no_other").await {
        let ids = Ids::of(&app).await;
        let mut keys = HashMap::new();
        for scope in Scope::ALL {
            keys.insert(scope.name(), app.key(&[scope], None).await);
        }
        // What deletes comes last, so that the others find what they name.
        let mut routes = api::routes_v2();
        routes.sort_by_key(|route| (route.method == Method::DELETE, route.path.len()));
        for route in routes {
            let path = ids.fill(&route.path);
            let needed = route.action.needs().1;
            for scope in [Scope::Read, Scope::Chat] {
                let reply = ask(&app, Some(&keys[scope.name()]), &route.method, &path).await;
                let name = format!("{} {path} with {scope}: {}", route.method, reply.text);
                if scope == needed {
                    assert!(
                        !matches!(reply.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED),
                        "{name}"
                    );
                    assert!(!reply.status.is_server_error(), "{name}");
                } else {
                    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}");
                    reply.expect_error(403, "FORBIDDEN");
                }
            }
            if needed == Scope::Manage && route.method != Method::DELETE {
                let reply = ask(&app, Some(&keys["manage"]), &route.method, &path).await;
                let name = format!("{} {path}: {}", route.method, reply.text);
                assert_ne!(reply.status, StatusCode::FORBIDDEN, "{name}");
                assert!(!reply.status.is_server_error(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_absent() {
    for app in TestApp::on_each_database("what_belongs_to_another_tenant_is_absent").await {
        let ids = Ids::of(&app).await;
        let other: Tenant = app.other_tenant().await;
        for route in api::routes_v2() {
            let path = ids.fill(&route.path);
            if path == route.path {
                continue;
            }
            let reply = ask(&app, Some(&other.key), &route.method, &path).await;
            let foreign = reply.expect_error(404, "NOT_FOUND");
            // Absent and malformed ids answer in the same words.
            for id in ["00000000000000000000000000000000", "x"] {
                let absent = absent_path(&route.path, id);
                let reply = ask(&app, Some(&other.key), &route.method, &absent).await;
                assert_eq!(
                    reply.expect_error(404, "NOT_FOUND"),
                    foreign,
                    "{} {absent}",
                    route.method
                );
            }
        }
        let agents =
            read(app.request_as(&other.key, Method::GET, "/api/v2/agents")).await.expect(200);
        assert_eq!(agents["data"].as_array().unwrap().len(), 1);
        assert_eq!(agents["data"][0]["id"], other.agent.as_str());
        app.get(&app.in_datastore("")).await.expect(200);
        app.get(&format!("/api/v2/chunks/{}", ids.0["{chunkId}"])).await.expect(200);
    }
}

fn absent_path(path: &str, id: &str) -> String {
    let prefixes = [
        ("{agentId}", "agent_"),
        ("{datastoreId}", "ds_"),
        ("{sourceId}", "src_"),
        ("{chunkId}", "chunk_"),
        ("{conversationId}", "conv_"),
        ("{messageId}", "msg_"),
        ("{keyId}", "key_"),
    ];
    prefixes.into_iter().fold(path.to_owned(), |path, (parameter, prefix)| {
        path.replace(parameter, &format!("{prefix}{id}"))
    })
}
