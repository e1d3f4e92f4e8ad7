//! `/mcp`, through the clients of others.

use std::collections::HashMap;

use domain::Scope;
use http::{HeaderName, HeaderValue, Method};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceError, ServiceExt};
use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply as ModelReply};

use crate::clients;
use crate::support::{TestApp, read};

const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";
const QUESTION: &str = "¿Cuáles son los horarios?";

type Peer = RunningService<RoleClient, ()>;

async fn connect(app: &TestApp, key: &str) -> Peer {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", app.base));
    let authorization = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
    let headers = HashMap::from([(HeaderName::from_static("authorization"), authorization)]);
    let config = config.custom_headers(headers);
    let transport = StreamableHttpClientTransport::with_client(app.client.clone(), config);
    ().serve(transport).await.unwrap()
}

async fn call(peer: &Peer, tool: &'static str, arguments: Value) -> CallToolResult {
    let request = CallToolRequestParams::new(tool);
    let request = request.with_arguments(arguments.as_object().unwrap().clone());
    peer.call_tool(request).await.unwrap()
}

async fn tools(peer: &Peer) -> Vec<String> {
    let tools = peer.list_all_tools().await.unwrap();
    tools.into_iter().map(|tool| tool.name.into_owned()).collect()
}

/// What a tool answered, as text.
fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| Some(block.as_text()?.text.clone())).collect()
}

#[tokio::test]
async fn the_inspectors_client_library_works_unchanged() {
    let app = TestApp::start().await;
    let source = app.learn("FAQ", FAQ).await;
    let variables = [("QUESTION", QUESTION)];
    let got = clients::run(&app, ["node", "mcp_client.mjs"], "/mcp", &variables).await;
    assert_eq!(got["server"]["name"], "vocero");
    assert!(got["instructions"].is_string());
    let names: Vec<&str> =
        got["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["search_datastore", "ask_agent", "list_agents", "list_datastores"]);
    for tool in got["tools"].as_array().unwrap() {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        let asks = tool["name"] == "ask_agent";
        assert_eq!(tool["annotations"]["readOnlyHint"], !asks, "{tool}");
    }

    let found = &got["search"]["structuredContent"];
    assert_eq!(
        (&found["results"][0]["source"], &found["results"][0]["sourceId"]),
        (&json!("FAQ"), &json!(source))
    );
    assert_eq!(found["results"][0]["text"], FAQ);
    assert!(found["evidence"].as_f64().unwrap() > 0.0);
    let shown = got["search"]["content"][0]["text"].as_str().unwrap();
    assert!(shown.starts_with("[1] FAQ\n") && shown.contains("9 a 18"), "{shown}");

    let answer = &got["ask"]["structuredContent"];
    assert_eq!((&answer["outcome"], &answer["handler"]), (&json!("answered"), &json!("bot")));
    assert_eq!(answer["sources"][0]["source"], "FAQ");
    let shown = got["ask"]["content"][0]["text"].as_str().unwrap();
    assert!(shown.contains("9 a 18") && shown.contains("[1] FAQ"), "{shown}");
    assert_eq!(got["again"]["structuredContent"]["conversationId"], answer["conversationId"]);
    let conversation = answer["conversationId"].as_str().unwrap();
    let kept = app.get(&format!("/api/v2/conversations/{conversation}")).await.expect(200);
    assert_eq!(kept["messagesCount"], 4);

    let agents = &got["agents"]["structuredContent"]["agents"];
    assert_eq!(agents[0]["id"], app.tenant.agent.as_str());
    let datastores = &got["datastores"]["structuredContent"]["datastores"];
    assert_eq!(datastores[0]["id"], app.tenant.datastore.as_str());
    assert_eq!(got["wrong"]["isError"], true);
    let told = got["wrong"]["content"][0]["text"].as_str().unwrap();
    assert!(told.contains("INVALID_PARAMETER") && told.contains("query"), "{told}");
    assert_eq!(got["unknown"], -32602);
}

#[tokio::test]
async fn a_key_sees_and_calls_the_tools_of_its_scopes_only() {
    for app in TestApp::on_each_database("a_key_sees_and_calls_the_tools_of_its_scopes_only").await
    {
        app.learn("FAQ", FAQ).await;
        let reader = connect(&app, &app.key(&[Scope::Read], None).await).await;
        assert_eq!(tools(&reader).await, ["search_datastore", "list_agents", "list_datastores"]);
        let refused = call(&reader, "ask_agent", json!({"question": QUESTION})).await;
        assert_eq!(refused.is_error, Some(true));
        assert!(
            text(&refused).contains("FORBIDDEN") && text(&refused).contains("chat"),
            "{refused:?}"
        );

        let chatter = connect(&app, &app.key(&[Scope::Chat], None).await).await;
        assert_eq!(tools(&chatter).await, ["ask_agent"]);
        let answer = call(&chatter, "ask_agent", json!({"question": QUESTION})).await;
        assert!(text(&answer).contains("9 a 18"), "{answer:?}");
        let refused = call(&chatter, "search_datastore", json!({"query": QUESTION})).await;
        assert_eq!(refused.is_error, Some(true));
    }
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_absent() {
    for app in TestApp::on_each_database("mcp: what_belongs_to_another_tenant_is_absent").await {
        app.learn("FAQ", FAQ).await;
        let ours = connect(&app, &app.tenant.key).await;
        let answer = call(&ours, "ask_agent", json!({"question": QUESTION})).await;
        let answer = answer.structured_content.unwrap();
        let other = app.other_tenant().await;
        let theirs = connect(&app, &other.key).await;
        for (tool, arguments) in [
            ("search_datastore", json!({"query": QUESTION, "datastoreId": app.tenant.datastore})),
            ("search_datastore", json!({"query": QUESTION, "datastoreId": "x"})),
            ("ask_agent", json!({"question": QUESTION, "agentId": app.tenant.agent})),
            (
                "ask_agent",
                json!({"question": QUESTION, "conversationId": answer["conversationId"]}),
            ),
        ] {
            let refused = call(&theirs, tool, arguments).await;
            assert_eq!(refused.is_error, Some(true), "{tool}");
            assert!(text(&refused).starts_with("NOT_FOUND: "), "{refused:?}");
        }
        let found = call(&theirs, "search_datastore", json!({"query": QUESTION})).await;
        assert_eq!(found.structured_content.unwrap()["results"], json!([]));
        let agents = call(&theirs, "list_agents", json!({})).await.structured_content.unwrap();
        assert_eq!(agents["agents"].as_array().unwrap().len(), 1);
        assert_eq!(agents["agents"][0]["id"], other.agent.as_str());
    }
}

#[tokio::test]
async fn arguments_are_checked_and_the_model_is_told() {
    let app = TestApp::start().await;
    app.learn("FAQ", FAQ).await;
    let peer = connect(&app, &app.tenant.key).await;
    for (tool, arguments, word) in [
        ("search_datastore", json!({}), "query"),
        ("search_datastore", json!({"query": 7}), "query"),
        ("search_datastore", json!({"query": "x", "topK": 0}), "topK"),
        ("ask_agent", json!({"question": " "}), "question"),
    ] {
        let refused = call(&peer, tool, arguments).await;
        assert_eq!(refused.is_error, Some(true), "{tool}");
        let told = text(&refused);
        assert!(told.starts_with("INVALID_PARAMETER: ") && told.contains(word), "{told}");
    }
    let unknown = peer.call_tool(CallToolRequestParams::new("rm")).await.unwrap_err();
    assert!(matches!(unknown, ServiceError::McpError(_)), "{unknown:?}");
}

#[tokio::test]
async fn no_request_is_answered_without_a_key_that_holds_nor_to_a_foreign_page() {
    let app = TestApp::start_with(|settings| {
        settings.server.cors_origins = vec!["https://shop.example.com".to_owned()];
    })
    .await;
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
        },
    });
    let ask = |key: Option<&str>, origin: Option<&str>| {
        let mut request = app.client.post(format!("{}/mcp", app.base)).json(&body);
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        read(request)
    };
    let key = Some(&*app.tenant.key);
    for wrong in [None, Some("garbage"), Some("")] {
        ask(wrong, None).await.expect_error(401, "UNAUTHORIZED");
    }
    assert_eq!(ask(key, None).await.expect(200)["result"]["serverInfo"]["name"], "vocero");
    assert_eq!(ask(key, Some("https://shop.example.com")).await.status, 200);
    for foreign in
        ["https://evil.example", "http://shop.example.com", "https://shop.example.com:8443", "null"]
    {
        assert_eq!(ask(key, Some(foreign)).await.status, 403, "{foreign}");
    }
    // Stateless: there is no stream to open and no session to end.
    for method in [Method::GET, Method::DELETE] {
        let request = app.request(method, "/mcp").header("accept", "text/event-stream");
        assert_eq!(read(request).await.status, 405);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_model_call() {
    let server = ModelServer::start().await.unwrap();
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::start_with(|settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await;
    app.learn("FAQ", FAQ).await;
    server.enqueue(ModelReply::tokens(&["Abrimos de 9 "]).then_hang());
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "ask_agent", "arguments": {"question": QUESTION}},
    });
    let request = app.request(Method::POST, "/mcp").json(&body);
    let request = request.header("accept", "application/json, text/event-stream");
    tokio::select! {
        () = server.wait_for_requests(1) => {}
        reply = read(request) => panic!("answered: {reply:?}"),
    }
    server.wait_for_departures(1).await;
}
