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
            "settings": {
                "topK": 7, "unknownAnswer": "No lo sé.", "minEvidence": 0.4,
                "seed": 7, "stop": ["\n\n", "FIN"], "jsonMode": true,
                "fallbackModels": ["gpt-4o-mini"],
                "unsupported": "withhold"
            }
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
        assert_eq!(changed["settings"]["seed"], 7);
        assert_eq!(changed["settings"]["stop"], json!(["\n\n", "FIN"]));
        assert_eq!(changed["settings"]["jsonMode"], true);
        assert_eq!(changed["settings"]["unsupported"], "withhold");
        assert_eq!(changed["settings"]["fallbackModels"], json!(["gpt-4o-mini"]));
        let cleared = json!({"settings": {"unknownAnswer": null, "seed": null}});
        let cleared = app.put(&path, &cleared).await.expect(200);
        assert_eq!(cleared["settings"]["unknownAnswer"], Value::Null);
        assert_eq!(cleared["settings"]["minEvidence"], 0.4);
        assert_eq!(
            (&cleared["settings"]["seed"], &cleared["settings"]["jsonMode"]),
            (&Value::Null, &json!(true))
        );
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
        ("settings.seed", json!({"name": "x", "settings": {"seed": 1.5}})),
        ("settings.stop", json!({"name": "x", "settings": {"stop": ["a", "b", "c", "d", "e"]}})),
        ("settings.stop[1]", json!({"name": "x", "settings": {"stop": ["a", ""]}})),
        (
            "settings.fallbackModels",
            json!({"name": "x", "settings": {"fallbackModels": ["a", "b", "c", "d", "e", "f"]}}),
        ),
        ("settings.fallbackModels[0]", json!({"name": "x", "settings": {"fallbackModels": [""]}})),
        ("settings.jsonMode", json!({"name": "x", "settings": {"jsonMode": "yes"}})),
        ("settings.unsupported", json!({"name": "x", "settings": {"unsupported": "ignore"}})),
        ("settings", json!({"name": "x", "settings": "hot"})),
        ("voice", json!({"name": "x", "voice": "a\u{0}b"})),
    ] {
        app.post("/api/v2/agents", &body).await.expect_field(field);
    }
    let unknown = app.post("/api/v2/agents", &json!({"name": "x", "tools": ["teleport"]})).await;
    let message = unknown.expect_error(400, "INVALID_PARAMETER");
    for tool in ["datastore", "lead-capture", "request-human", "mark-as-resolved", "http", "mcp"] {
        assert!(message.contains(tool), "{message}");
    }
    let other = app.other_tenant().await;
    for id in [other.datastore.as_str(), "ds_00000000000000000000000000000000", "garbage"] {
        let body = json!({"name": "x", "tools": [{"type": "datastore", "id": id}]});
        app.post("/api/v2/agents", &body).await.expect_error(404, "NOT_FOUND");
    }
    assert_eq!(app.get("/api/v2/agents").await.expect(200)["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tools_secret_is_sealed_never_shown_and_kept_until_it_is_set_anew() {
    for app in TestApp::on_each_database("a_tools_secret").await {
        let tool = |secret: Value| {
            json!({
                "type": "http",
                "name": "find_order",
                "description": "Finds an order.",
                "url": "https://api.example.com/orders/{order}",
                "parameters": [{"name": "order"}],
                "headers": [secret, {"name": "x-plain", "value": "shown"}],
            })
        };
        let with_value = tool(json!({"name": "x-key", "value": "planted-secret", "secret": true}));
        let body = json!({"name": "Pedidos", "tools": [with_value]});
        let made = app.post("/api/v2/agents", &body).await.expect(201);
        let headers = &made["tools"][0]["headers"];
        assert_eq!(headers[0], json!({"name": "x-key", "secret": true}));
        assert_eq!(headers[1]["value"], "shown");
        let path = format!("/api/v2/agents/{}", made["id"].as_str().unwrap());
        let stored = async || {
            let id = made["id"].as_str().unwrap().parse().unwrap();
            let mut conn = app.db.read().await.unwrap();
            let found = storage::agents::get(&mut conn, app.tenant.workspace, id).await.unwrap();
            Value::Object(found.unwrap().tools[0].settings.clone())
        };
        let first = stored().await;
        assert!(!first.to_string().contains("planted-secret"), "{first}");

        // What is shown can be sent back: the secret stays. One that is not there cannot.
        let same = json!({"tools": made["tools"]});
        app.put(&path, &same).await.expect(200);
        assert_eq!(stored().await["headers"][0]["sealed"], first["headers"][0]["sealed"]);
        let forged = tool(json!({"name": "x-other", "secret": true, "sealed": "v1:0:0:0"}));
        let refused = app.put(&path, &json!({"tools": [forged]})).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], "tools[0].headers[0].value");
        // Nor does it go to another site than the one that it was given for, wherever the name leads.
        for url in [
            "http://api.example.com/orders/{order}",
            "https://api.example.com:8443/orders/{order}",
            "https://api.example.net/orders/{order}",
        ] {
            let mut moved = made["tools"][0].clone();
            moved["url"] = json!(url);
            let refused = app.put(&path, &json!({"tools": [moved]})).await.expect(400);
            let error = &refused["error"];
            assert_eq!(error["details"][0]["field"], "tools[0].headers[0].value", "{url}");
            assert!(error["message"].as_str().unwrap().contains("given again"), "{error}");
        }
        assert_eq!(stored().await["headers"][0]["sealed"], first["headers"][0]["sealed"]);
        let mut elsewhere = made["tools"][0].clone();
        elsewhere["url"] = json!("https://api.example.com/v2/orders/{order}");
        app.put(&path, &json!({"tools": [elsewhere]})).await.expect(200);
        let twice = json!({"tools": [made["tools"][0], made["tools"][0], tool(json!({"name": "a", "value": "b"}))]});
        let refused = app.put(&path, &twice).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], "tools[2].name");
    }
}

#[tokio::test]
async fn a_servers_secret_goes_to_that_server_only() {
    for app in TestApp::on_each_database("a_servers_secret").await {
        let tool = |url: &str, secret: Value| {
            json!({
                "type": "mcp",
                "name": "crm",
                "url": url,
                "allow": ["find_customer"],
                "headers": [secret],
            })
        };
        let with_value = tool(
            "https://mcp.example.com/mcp",
            json!({"name": "x-key", "value": "planted-secret", "secret": true}),
        );
        let body = json!({"name": "CRM", "tools": [with_value]});
        let made = app.post("/api/v2/agents", &body).await.expect(201);
        assert_eq!(made["tools"][0]["type"], "mcp");
        assert!(!made.to_string().contains("planted-secret"), "{made}");
        let path = format!("/api/v2/agents/{}", made["id"].as_str().unwrap());
        let kept = json!({"name": "x-key", "secret": true});
        for (url, status) in [
            ("https://mcp.example.com/other", 200),
            ("https://mcp.example.com:8443/mcp", 400),
            ("https://elsewhere.example.net/mcp", 400),
            ("http://mcp.example.com/mcp", 400),
        ] {
            let body = json!({"tools": [tool(url, kept.clone())]});
            let reply = app.put(&path, &body).await.expect(status);
            if status == 400 {
                assert_eq!(reply["error"]["details"][0]["field"], "tools[0].headers[0].value");
                let message = reply["error"]["message"].as_str().unwrap();
                assert!(message.contains("given again") && message.contains("`url`"), "{message}");
            }
        }
        // Given again it goes there; and what it was for is refused in turn.
        let moved = tool(
            "https://elsewhere.example.net/mcp",
            json!({"name": "x-key", "value": "planted-secret", "secret": true}),
        );
        app.put(&path, &json!({"tools": [moved]})).await.expect(200);
        let back = tool("https://mcp.example.com/mcp", kept.clone());
        app.put(&path, &json!({"tools": [back]})).await.expect(400);
        app.put(&path, &body).await.expect(200);
        let http =
            json!({"type": "http", "name": "crm", "description": "x", "url": "https://a.example/"});
        let twice = json!({"tools": [made["tools"][0], http]});
        let refused = app.put(&path, &twice).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], "tools[1].name");
    }
}
