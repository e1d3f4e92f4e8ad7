//! API keys made on the panel: the same on every surface, and bounded by who made them.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::Person;
use crate::support::{TestApp, read};

async fn make(app: &TestApp, person: &Person, body: &Value) -> (String, String) {
    let made = person.post(app, "/v1/api-keys", body).await.expect(201);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[tokio::test]
async fn a_key_is_shown_once_works_on_every_surface_and_is_revoked() {
    for app in TestApp::on_each_database("panel keys").await {
        let ana = Person::register(&app, "ana").await;
        let body = json!({"name": "Sitio web", "scopes": ["read", "chat"], "expiresAt": "2099-01-01T00:00:00Z"});
        let made = ana.post(&app, "/v1/api-keys", &body).await.expect(201);
        let key = made["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with(made["prefix"].as_str().unwrap()), "{made}");
        assert_eq!(made["scopes"], json!(["read", "chat"]));
        assert_eq!(made["createdBy"], ana.id.as_str());
        let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
        let list = ana.get(&app, "/v1/api-keys").await.expect(200);
        assert_eq!(list["meta"]["itemCount"], 1);
        assert!(!list.to_string().contains(&key) && list["data"][0].get("key").is_none());
        let got = ana.get(&app, &path).await.expect(200);
        assert_eq!((&got["id"], &got["expiresAt"]), (&made["id"], &list["data"][0]["expiresAt"]));

        let agents = app.request_as(&key, Method::GET, "/api/v2/agents");
        assert_eq!(read(agents).await.expect(200)["data"].as_array().unwrap().len(), 1);
        let members = format!("/v1/workspaces/{}/members", ana.workspace);
        read(app.request_as(&key, Method::GET, &members)).await.expect(200);
        let keys = app.request_as(&key, Method::GET, "/v1/api-keys");
        read(keys).await.expect_error(403, "FORBIDDEN");

        let eva = Person::register(&app, "eva").await;
        for method in [Method::GET, Method::DELETE] {
            eva.ask(&app, method, &path, &Value::Null).await.expect_error(404, "NOT_FOUND");
        }
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        let agents = app.request_as(&key, Method::GET, "/api/v2/agents");
        read(agents).await.expect_error(401, "UNAUTHORIZED");
        ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect_error(404, "NOT_FOUND");
        assert_eq!(ana.get(&app, "/v1/api-keys").await.expect(200)["meta"]["itemCount"], 0);

        for (field, value) in [
            ("name", json!("")),
            ("scopes", json!([])),
            ("scopes", json!(["own"])),
            ("expiresAt", json!("2001-01-01T00:00:00Z")),
            ("expiresAt", json!("tomorrow")),
        ] {
            let mut bad = json!({"name": "x"});
            bad[field] = value;
            let refused = ana.post(&app, "/v1/api-keys", &bad).await;
            assert_eq!(refused.status, 400, "{field}");
            assert!(refused.text.contains(field), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn a_key_may_do_what_its_maker_may_today() {
    for app in TestApp::on_each_database("keys of members").await {
        let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
        ana.admit(&app, &eva, Role::Admin).await;
        let there = format!("/v1/workspaces/{}/switch", ana.workspace);
        let eva = Person::of(&eva.post(&app, &there, &Value::Null).await.expect(200));
        let (_, key) = make(&app, &eva, &json!({"name": "de eva"})).await;
        let made = app.request_as(&key, Method::POST, "/api/v2/api-keys");
        let made = read(made.json(&json!({"name": "de la suya"}))).await.expect(201);
        let child = made["key"].as_str().unwrap().to_owned();
        let ask = async |key: &str, method: Method, path: &str| {
            read(app.request_as(key, method, path).json(&json!({"name": "x"}))).await
        };
        for key in [&key, &child] {
            ask(key, Method::POST, "/api/v2/datastores").await.expect(201);
        }

        let member = format!("/v1/workspaces/{}/members/{}", ana.workspace, eva.id);
        let viewer = json!({"role": "viewer"});
        ana.ask(&app, Method::PATCH, &member, &viewer).await.expect(200);
        for key in [&key, &child] {
            ask(key, Method::POST, "/api/v2/datastores").await.expect_error(403, "FORBIDDEN");
            ask(key, Method::GET, "/api/v2/agents").await.expect(200);
        }
        ana.ask(&app, Method::DELETE, &member, &Value::Null).await.expect(204);
        for key in [&key, &child] {
            ask(key, Method::GET, "/api/v2/agents").await.expect_error(401, "UNAUTHORIZED");
        }
    }
}
