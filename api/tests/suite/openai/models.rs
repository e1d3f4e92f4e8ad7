//! Agents as models.

use http::Method;
use serde_json::{Value, json};

use super::expect_error;
use crate::support::{TestApp, read};

const PATH: &str = "/openai/v1/models";

#[tokio::test]
async fn agents_that_answer_are_listed_and_shown() {
    for app in TestApp::on_each_database("agents_that_answer_are_listed_and_shown").await {
        let made = app.post("/api/v2/agents", &json!({"name": "Ventas"})).await.expect(201);
        let id = |agent: &Value| agent["id"].as_str().unwrap().to_owned();
        let list = app.get(PATH).await.expect(200);
        assert_eq!(list["object"], "list");
        let ids: Vec<String> = list["data"].as_array().unwrap().iter().map(id).collect();
        assert_eq!(ids, [id(&made), app.tenant.agent.clone()]);
        for name in [&id(&made), "A-002"] {
            let shown = app.get(&format!("{PATH}/{name}")).await.expect(200);
            assert_eq!(shown, list["data"][0]);
            assert_eq!((&shown["object"], &shown["owned_by"]), (&json!("model"), &json!("vocero")));
            assert_eq!(
                (&shown["vocero"]["name"], &shown["vocero"]["code"]),
                (&json!("Ventas"), &json!("A-002"))
            );
            assert!(shown["created"].as_i64().unwrap() > 1_500_000_000, "{shown}");
        }
        app.put(&format!("/api/v2/agents/{}", id(&made)), &json!({"status": "archived"}))
            .await
            .expect(200);
        let list = app.get(PATH).await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1);

        let other = app.other_tenant().await;
        for foreign in [&*app.tenant.agent, "A-002", "nothing"] {
            let path = format!("{PATH}/{foreign}");
            let reply = read(app.request_as(&other.key, Method::GET, &path)).await;
            expect_error(&reply, 404, "model_not_found", Some("model"));
        }
    }
}
