//! Agents.

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn an_agent_is_made_changed_and_deleted() {
    for app in TestApp::on_each_database("an_agent_is_made_changed_and_deleted").await {
        let sample = json!({
            "name": "Agente de Soporte",
            "systemPrompt": "Sos un agente de soporte...",
            "modelName": "gpt-4o",
            "tools": ["datastore", "request-human"]
        });
        let made = app.post("/api/v2/agents", &sample).await.expect(201);
        assert_eq!(made["name"], "Agente de Soporte");
        assert_eq!(made["modelName"], "gpt-4o");
        assert_eq!(made["tools"], json!(["datastore", "request-human"]));
        assert_eq!(made["status"], "active");
        assert_eq!(made["code"], "A-002", "the workspace was born with A-001");
        let path = format!("/api/v2/agents/{}", made["id"].as_str().unwrap());
        assert_eq!(app.get(&path).await.expect(200), made);

        let wanted = json!({
            "instructions": ["Uno.", "Dos."],
            "model": null,
            "description": "Responde consultas",
            "status": "paused",
            "tools": ["lead_capture", {"type": "datastore", "id": app.tenant.datastore}],
            "settings": {"topK": 7, "unknownAnswer": "No lo sé.", "minEvidence": 0.4}
        });
        let changed = app.put(&path, &wanted).await.expect(200);
        assert_eq!(changed["name"], "Agente de Soporte", "what is absent stays");
        assert_eq!(changed["systemPrompt"], "Uno.\nDos.");
        assert_eq!(changed["modelName"], "builtin-extractive");
        assert_eq!(changed["status"], "paused");
        let datastore = json!({"type": "datastore", "id": app.tenant.datastore});
        assert_eq!(changed["tools"], json!(["lead-capture", datastore]));
        assert_eq!(changed["settings"]["topK"], 7);
        assert_eq!(changed["settings"]["unknownAnswer"], "No lo sé.");
        let cleared = json!({"settings": {"unknownAnswer": null}});
        let cleared = app.put(&path, &cleared).await.expect(200);
        assert_eq!(cleared["settings"]["unknownAnswer"], Value::Null);
        assert_eq!(cleared["settings"]["minEvidence"], 0.4);
        assert_eq!(app.get(&path).await.expect(200), cleared);

        // What is printed reads back as the same.
        assert_eq!(app.put(&path, &cleared).await.expect(200)["tools"], cleared["tools"]);

        app.delete(&path).await.expect(204);
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        app.put(&path, &json!({})).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn agents_are_listed_in_pages_newest_first() {
    for app in TestApp::on_each_database("agents_are_listed_in_pages_newest_first").await {
        let mut made = vec![app.tenant.agent.clone()];
        for number in 0..4 {
            let agent =
                app.post("/api/v2/agents", &json!({"name": format!("Agente {number}")})).await;
            made.push(agent.expect(201)["id"].as_str().unwrap().to_owned());
        }
        made.reverse();
        let mut seen = Vec::new();
        let mut path = "/api/v2/agents?limit=2".to_owned();
        for pages in 1.. {
            let page = app.get(&path).await.expect(200);
            let data = page["data"].as_array().unwrap();
            seen.extend(data.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["nextCursor"].as_str() else {
                assert_eq!((pages, &page["nextCursor"]), (3, &Value::Null));
                break;
            };
            path = format!("/api/v2/agents?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, made);
        for limit in ["0", "101", "x", "-1", "", "1e9"] {
            app.get(&format!("/api/v2/agents?limit={limit}")).await.expect_field("limit");
        }
        for cursor in ["", "!!", "YWJj", "%00", "%FF"] {
            app.get(&format!("/api/v2/agents?cursor={cursor}")).await.expect_field("cursor");
        }
        app.get("/api/v2/agents?limit=1&limit=2").await.expect_field("limit");
        app.get("/api/v2/agents?unknown=1").await.expect(200);
    }
}

#[tokio::test]
async fn what_an_agent_cannot_be_is_refused_by_name() {
    let app = TestApp::start().await;
    let long = "a".repeat(33_000);
    for (field, body) in [
        ("name", json!({})),
        ("name", json!({"name": ""})),
        ("name", json!({"name": null})),
        ("name", json!({"name": "x".repeat(101)})),
        ("name", json!({"name": ["x"]})),
        ("systemPrompt", json!({"name": "x", "systemPrompt": long})),
        ("systemPrompt", json!({"name": "x", "systemPrompt": 7})),
        ("instructions", json!({"name": "x", "instructions": ["a"], "systemPrompt": "b"})),
        ("model", json!({"name": "x", "model": "a", "modelName": "b"})),
        ("modelName", json!({"name": "x", "modelName": ""})),
        ("tools", json!({"name": "x", "tools": "datastore"})),
        ("tools[1]", json!({"name": "x", "tools": ["datastore", "teleport"]})),
        ("tools[0]", json!({"name": "x", "tools": [7]})),
        ("tools[0].type", json!({"name": "x", "tools": [{"id": "y"}]})),
        ("tools[0].type", json!({"name": "x", "tools": [{"type": "nothing"}]})),
        ("tools[0].id", json!({"name": "x", "tools": [{"type": "datastore", "id": 7}]})),
        ("status", json!({"name": "x", "status": "asleep"})),
        ("settings.topK", json!({"name": "x", "settings": {"topK": 0}})),
        ("settings.topK", json!({"name": "x", "settings": {"topK": 1.5}})),
        ("settings.topK", json!({"name": "x", "settings": {"topK": 9_999_999_999_i64}})),
        ("settings.minEvidence", json!({"name": "x", "settings": {"minEvidence": 1.1}})),
        ("settings.temperature", json!({"name": "x", "settings": {"temperature": -1}})),
        ("settings", json!({"name": "x", "settings": "hot"})),
        ("voice", json!({"name": "x", "voice": "a\u{0}b"})),
    ] {
        app.post("/api/v2/agents", &body).await.expect_field(field);
    }
    let unknown = app.post("/api/v2/agents", &json!({"name": "x", "tools": ["teleport"]})).await;
    let message = unknown.expect_error(400, "INVALID_PARAMETER");
    for tool in ["datastore", "lead-capture", "request-human", "mark-as-resolved", "http"] {
        assert!(message.contains(tool), "{message}");
    }
    let other = app.other_tenant().await;
    for id in [other.datastore.as_str(), "ds_00000000000000000000000000000000", "garbage"] {
        let body = json!({"name": "x", "tools": [{"type": "datastore", "id": id}]});
        app.post("/api/v2/agents", &body).await.expect_error(404, "NOT_FOUND");
    }
    assert_eq!(app.get("/api/v2/agents").await.expect(200)["data"].as_array().unwrap().len(), 1);
}
