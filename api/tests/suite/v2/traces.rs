//! Traces: how an answer came about, for who may read conversations, without secrets.

use domain::Scope;
use domain::settings::ModelFacts;
use http::Method;
use serde_json::{Value, json};
use storage::messages;
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::support::{TestApp, read};

const SECRET: &str = "Bearer planted-secret-1";

/// A service that answers with the credential that it was sent.
async fn echo() -> String {
    let answer = async |headers: http::HeaderMap| {
        let sent = headers["authorization"].to_str().unwrap().to_owned();
        json!({"you": "sent", "header": sent, "token": sent.replace("Bearer ", "")}).to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tokio_util::task::TaskTracker::new()
        .spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn priced() -> ModelFacts {
    ModelFacts {
        name: "gpt-test".to_owned(),
        context: 128_000,
        max_output: None,
        input: Some(1_000_000),
        cached_input: None,
        output: Some(2_000_000),
        sees: false,
        tokenizer: None,
    }
}

fn steps(trace: &Value) -> Vec<&str> {
    let steps = trace["steps"].as_array().unwrap();
    steps.iter().map(|step| step["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_trace_tells_every_step_and_no_secret() {
    for database in databases("a trace tells every step").await {
        let server = ModelServer::start().await.unwrap();
        let base_url = server.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            settings.models.catalogue = vec![priced()];
            settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
        })
        .await;
        app.learn("FAQ", "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.").await;
        let base = echo().await;
        let tools = json!(["datastore", {
            "type": "http",
            "name": "look_up",
            "description": "Looks something up.",
            "url": format!("{base}/x"),
            "headers": [{"name": "authorization", "value": SECRET, "secret": true}],
            "parameters": [{"name": "what"}],
        }]);
        let agent = app.post("/api/v2/agents", &json!({"name": "Ana", "tools": tools})).await;
        let agent = agent.expect(201)["id"].as_str().unwrap().to_owned();
        let call = json!({"what": "planted-secret-1"}).to_string();
        server.enqueue(
            ModelReply::text("")
                .tool_call("call_1", "look_up", &[&call])
                .finish("tool_calls")
                .usage(100, 10),
        );
        server.enqueue(ModelReply::text("De 9 a 18 hs [1].").usage(200, 20));
        let body = json!({"query": "¿Cuáles son los horarios?"});
        let answer = app.post(&format!("/api/v2/agent/{agent}/chat"), &body).await.expect(200);
        let message = answer["messageId"].as_str().unwrap();
        let path = format!("/api/v2/messages/{message}/trace");
        let trace = app.get(&path).await.expect(200);

        let expected =
            ["accept", "wait", "context", "search", "prompt", "model", "tool", "model", "store"];
        assert_eq!(steps(&trace), expected, "{trace:#}");
        assert_eq!(
            (&trace["messageId"], &trace["conversationId"], &trace["agentId"]),
            (&answer["messageId"], &answer["conversationId"], &json!(agent))
        );
        assert_eq!(
            (&trace["question"]["asked"], &trace["outcome"]),
            (&body["query"], &json!("answered"))
        );
        assert_eq!(trace["cost"], 100 + 200 + 2 * 30);
        assert_eq!(
            (&trace["tokens"]["prompt"], &trace["tokens"]["completion"]),
            (&json!(300), &json!(30))
        );
        assert!(trace["tokens"]["promptSize"].as_i64().unwrap() > 50);
        let hit = &trace["retrieval"]["hits"][0];
        assert_eq!((&hit["cited"], &hit["source"]), (&json!(true), &json!("FAQ")));
        let (model, tool) = (&trace["steps"][5]["model"], &trace["steps"][6]["tool"]);
        assert_eq!(
            (&model["name"], &model["promptTokens"], &model["finishReason"], &model["cost"]),
            (&json!("gpt-test"), &json!(100), &json!("tool_calls"), &json!(120))
        );
        assert_eq!((&tool["name"], &tool["callId"]), (&json!("look_up"), &json!("call_1")));
        assert_eq!(tool["arguments"], json!({"what": "[secret]"}));
        let expected =
            json!({"you": "sent", "header": "[secret]", "token": "[secret]"}).to_string();
        assert_eq!(tool["result"], expected);
        for ms in ["firstTokenMs", "totalMs"] {
            assert!(trace[ms].as_f64().unwrap() > 0.0, "{trace:#}");
        }

        let told = server.requests_to(Endpoint::Chat).last().unwrap().body.clone();
        let told = told["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
        assert!(!told.contains("planted-secret"), "what the model knows it can say: {told}");
        let listed = format!(
            "/api/v2/conversations/{}/messages",
            answer["conversationId"].as_str().unwrap()
        );
        for path in [path.as_str(), listed.as_str()] {
            let text = app.get(path).await.text;
            assert!(!text.contains("planted-secret"), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn a_trace_is_for_its_workspace_and_an_old_one_opens() {
    for app in TestApp::on_each_database("a trace is for its workspace").await {
        app.learn("FAQ", "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.").await;
        let body = json!({"query": "¿Cuáles son los horarios?"});
        let answer = app.post(&app.chat_path(), &body).await.expect(200);
        let path = |id: &Value| format!("/api/v2/messages/{}/trace", id.as_str().unwrap());
        let of_answer = path(&answer["messageId"]);
        let trace = app.get(&of_answer).await.expect(200);
        assert_eq!(trace["model"], "builtin-extractive");
        assert_eq!((&trace["cost"], &trace["tokens"]["prompt"]), (&json!(0), &Value::Null));
        assert!(steps(&trace).contains(&"extract"));

        let reader = app.key(&[Scope::Read], None).await;
        read(app.request_as(&reader, Method::GET, &of_answer)).await.expect(200);
        let talker = app.key(&[Scope::Chat], None).await;
        read(app.request_as(&talker, Method::GET, &of_answer)).await.expect_error(403, "FORBIDDEN");
        let other = app.other_tenant().await;
        read(app.request_as(&other.key, Method::GET, &of_answer))
            .await
            .expect_error(404, "NOT_FOUND");
        app.get(&path(&json!("msg_1"))).await.expect_error(404, "NOT_FOUND");
        let question = &trace["questionId"];
        app.get(&path(question)).await.expect_error(404, "NOT_FOUND");

        // As the version before wrote it.
        let mut tx = app.db.write().await.unwrap();
        let old = store_old(&app, &mut tx, answer["conversationId"].as_str().unwrap()).await;
        tx.commit().await.unwrap();
        let trace = app.get(&path(&json!(old))).await.expect(200);
        assert_eq!(steps(&trace), ["context", "search", "model", "tool"]);
        assert_eq!((&trace["cost"], &trace["totalMs"]), (&Value::Null, &json!(30.0)));
        assert_eq!(
            trace["steps"][0],
            json!({"kind": "context", "startMs": null, "ms": 0.5, "model": null, "tool": null})
        );
        let mut tx = app.db.write().await.unwrap();
        let later = app.ambient.now().plus(std::time::Duration::from_secs(1));
        assert_eq!(messages::delete_traces(&mut tx, later, 100).await.unwrap(), 2);
        tx.commit().await.unwrap();
        app.get(&of_answer).await.expect_error(404, "NOT_FOUND");
    }
}

async fn store_old(app: &TestApp, tx: &mut storage::Tx, conversation: &str) -> String {
    use domain::message::{Author, Message, MessageKind, MessageState};
    let now = app.ambient.now();
    let message = Message {
        id: app.ambient.new_id(),
        conversation_id: conversation.parse().unwrap(),
        seq: 0,
        author: Author::Agent,
        operator: None,
        kind: MessageKind::Text,
        content: "De 9 a 18.".to_owned(),
        state: MessageState::Complete,
        outcome: None,
        model: Some("gpt-4o".to_owned()),
        reply_to: None,
        prompt_tokens: None,
        completion_tokens: None,
        unsupported: Vec::new(),
        answered_from: None,
        created_at: now,
    };
    let id = message.id.to_string();
    let trace = json!({
        "question": "¿Abren hoy?", "model": "gpt-4o", "promptTokens": 10, "completionTokens": 2,
        "hits": [{"chunkId": "chunk_1", "sourceId": "src_1", "score": 0.5, "words": 0.5, "grams": 0.5, "dense": null}],
        "tools": [{"name": "find", "arguments": "{}", "status": "done", "result": "x", "ms": 1.5}],
        "ms": {"context": 0.5, "retrieve": 2.0, "model": 10.0, "total": 30.0},
    });
    let new = messages::NewMessage {
        message,
        citations: Vec::new(),
        passages: Vec::new(),
        tools: Vec::new(),
        images: Vec::new(),
        trace: Some(trace),
        client_id: None,
    };
    messages::insert(tx, app.tenant.workspace, &new, now).await.unwrap();
    id
}
