//! Talking to an agent, with the built-in answerer.

use http::Method;
use serde_json::{Value, json};

use crate::events;
use crate::support::{Reply, TestApp, read};

const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";

async fn chat(app: &TestApp, body: &Value) -> Reply {
    app.post(&app.chat_path(), body).await
}

#[tokio::test]
async fn a_question_is_answered_with_its_source() {
    for app in TestApp::on_each_database("a_question_is_answered_with_its_source").await {
        let source = app.learn("FAQ", FAQ).await;
        let body = json!({
            "query": "¿Cuáles son los horarios?",
            "visitorId": "user_456",
            "streaming": false,
            "contact": {"email": "Cliente@Ejemplo.com", "firstName": "Juan", "phoneNumber": "+5491123456789"}
        });
        let reply = chat(&app, &body).await;
        let (conversation, message) =
            (reply.header("x-conversation-id").to_owned(), reply.header("x-message-id").to_owned());
        let answer = reply.expect(200);
        assert!(answer["answer"].as_str().unwrap().contains("9 a 18"), "{answer}");
        assert_eq!(answer["conversationId"], conversation.as_str());
        assert_eq!(answer["messageId"], message.as_str());
        assert_eq!((&answer["outcome"], &answer["handler"]), (&json!("answered"), &json!("bot")));
        assert_eq!((&answer["status"], &answer["state"]), (&json!("open"), &json!("complete")));
        assert_eq!(answer["model"], "builtin-extractive");
        let cited = &answer["sources"][0];
        assert_eq!((&cited["source"], &cited["sourceId"]), (&json!("FAQ"), &json!(source)));
        assert_eq!(cited["datasourceId"], app.tenant.datastore.as_str());
        let marker = format!("[{}]", cited["index"]);
        assert!(answer["answer"].as_str().unwrap().contains(&marker), "{answer}");
        assert!(FAQ.contains(cited["quote"].as_str().unwrap()), "{cited}");
        let path = format!("/api/v2/chunks/{}", cited["chunkId"].as_str().unwrap());
        assert_eq!(app.get(&path).await.expect(200)["content"], FAQ);

        // The plural path goes on with the same conversation; each surface shows the same sources.
        let plural = format!("/api/v2/agents/{}/chat", app.tenant.agent);
        let next = json!({"query": "¿Y los horarios?", "conversationId": conversation, "visitorId": "user_456"});
        assert_eq!(
            app.post(&plural, &next).await.expect(200)["conversationId"],
            conversation.as_str()
        );
        let path = format!("/api/v2/conversations/{conversation}");
        let shown = app.get(&path).await.expect(200);
        assert_eq!(shown["messagesCount"], 4);
        assert_eq!(shown["contact"]["email"], "cliente@ejemplo.com");
        assert_eq!(shown["contact"]["phoneNumber"], "+5491123456789");
        assert_eq!(shown["visitorId"], "user_456");
        let messages = app.get(&format!("{path}/messages")).await.expect(200);
        let messages = messages["data"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
        assert_eq!(messages[1]["id"], message.as_str());
        assert_eq!(messages[1]["sources"], answer["sources"]);
        assert_eq!(messages[1]["content"], answer["answer"]);
        assert_eq!(messages[0]["sources"], json!([]));
    }
}

#[tokio::test]
async fn an_answer_is_streamed_as_sources_tokens_and_the_same_body() {
    for app in
        TestApp::on_each_database("an_answer_is_streamed_as_sources_tokens_and_the_same_body").await
    {
        app.learn("FAQ", FAQ).await;
        let body = json!({"query": "¿Cuáles son los horarios?", "streaming": true});
        let reply = chat(&app, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.header("content-type"), "text/event-stream");
        assert_eq!(reply.header("cache-control"), "no-cache, no-transform");
        assert_eq!(reply.header("x-accel-buffering"), "no");
        assert_eq!(reply.header("content-encoding"), "");
        let events = events::parse(&reply.text);
        let done = events::check(&events);
        assert_eq!(done["messageId"], reply.header("x-message-id"));
        let source = events.iter().find(|event| event.name == "source").expect("a source");
        for field in ["index", "source", "score", "datasourceId", "chunkId", "quote"] {
            assert!(!source.data[field].is_null(), "{field} is missing in {}", source.data);
        }
        assert_eq!(source.data["source"], "FAQ");
        let whole = chat(&app, &json!({"query": "¿Cuáles son los horarios?"})).await.expect(200);
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&done), fields(&whole));
        for field in ["answer", "sources", "outcome", "handler", "model", "status"] {
            assert_eq!(done[field], whole[field], "{field}");
        }
    }
}

#[tokio::test]
async fn the_body_flag_wins_over_accept() {
    let app = TestApp::start().await;
    app.learn("FAQ", FAQ).await;
    for (accept, flag, streams) in [
        ("text/event-stream", None, true),
        ("text/event-stream", Some(false), false),
        ("application/json", Some(true), true),
        ("*/*", None, false),
    ] {
        let mut body = json!({"query": "¿Cuáles son los horarios?"});
        if let Some(flag) = flag {
            body["streaming"] = json!(flag);
        }
        let request =
            app.request(Method::POST, &app.chat_path()).header("accept", accept).json(&body);
        let reply = read(request).await;
        let kind = if streams { "text/event-stream" } else { "application/json" };
        assert_eq!(reply.header("content-type"), kind, "{accept} {flag:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_content_type_is_taken() {
    let app = TestApp::start().await;
    let body = r#"{"query": "hola"}"#;
    let send = async |content_type: Option<&str>, body: &'static str| {
        let mut request = app.request(Method::POST, &app.chat_path()).body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        read(request).await
    };
    send(None, body).await.expect(200);
    send(Some("text/plain;charset=UTF-8"), body).await.expect(200);
    send(Some("application/json"), body).await.expect(200);
    send(Some("application/xml"), body).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    send(None, "").await.expect_error(400, "INVALID_JSON");
    send(None, "hola").await.expect_error(400, "INVALID_JSON");
}

#[tokio::test]
async fn an_off_topic_question_is_declined_without_sources_and_noted_as_a_gap() {
    for app in TestApp::on_each_database(
        "an_off_topic_question_is_declined_without_sources_and_noted_as_a_gap",
    )
    .await
    {
        app.learn("FAQ", FAQ).await;
        let words = json!({"settings": {"unknownAnswer": "No lo sé, consulte a una persona."}});
        app.put(&format!("/api/v2/agents/{}", app.tenant.agent), &words).await.expect(200);
        let question = "¿Quién ganó el mundial de ajedrez de 1972?";
        let reply = chat(&app, &json!({"query": question, "streaming": true})).await;
        let events = events::parse(&reply.text);
        let done = events::check(&events);
        assert_eq!(done["answer"], "No lo sé, consulte a una persona.");
        assert_eq!((&done["outcome"], &done["sources"]), (&json!("abstained"), &json!([])));
        assert!(events.iter().all(|event| event.name != "source"), "{events:?}");
        let gaps = app.get("/api/v2/gaps").await.expect(200);
        let gap = &gaps["data"][0];
        assert_eq!(gap["question"], question);
        assert_eq!(
            (&gap["conversationId"], &gap["agentId"]),
            (&done["conversationId"], &json!(app.tenant.agent))
        );
        assert_eq!(gaps["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_a_message_cannot_be_is_refused_by_name() {
    for app in TestApp::on_each_database("what_a_message_cannot_be_is_refused_by_name").await {
        for (field, body) in [
            ("query", json!({})),
            ("query", json!({"query": ""})),
            ("query", json!({"query": " \n"})),
            ("query", json!({"query": "a".repeat(8_001)})),
            ("query", json!({"query": null})),
            ("query", json!({"query": "a\u{0}"})),
            ("streaming", json!({"query": "a", "streaming": "yes"})),
            ("visitorId", json!({"query": "a", "visitorId": ""})),
            ("visitorId", json!({"query": "a", "visitorId": "x".repeat(201)})),
            ("visitorId", json!({"query": "a", "visitorId": 7})),
            ("contact", json!({"query": "a", "contact": "juan"})),
            ("contact.email", json!({"query": "a", "contact": {"email": "juan"}})),
            ("contact.phoneNumber", json!({"query": "a", "contact": {"phoneNumber": "123"}})),
            ("contact.firstName", json!({"query": "a", "contact": {"firstName": "x".repeat(201)}})),
            ("conversationId", json!({"query": "a", "conversationId": 7})),
        ] {
            chat(&app, &body).await.expect_field(field);
        }
        let long_key =
            app.request(Method::POST, &app.chat_path()).header("idempotency-key", "x".repeat(201));
        read(long_key.json(&json!({"query": "a"}))).await.expect_field("Idempotency-Key");
        let listed = app.get("/api/v2/conversations").await.expect(200);
        assert_eq!(listed["data"], json!([]), "nothing half-done stays visible");
        // The longest question that is taken, in characters rather than bytes.
        chat(&app, &json!({"query": "ñ".repeat(8_000)})).await.expect(200);
    }
}

#[tokio::test]
async fn a_conversation_that_is_not_there_or_not_yours_is_absent_in_the_same_words() {
    for app in TestApp::on_each_database(
        "a_conversation_that_is_not_there_or_not_yours_is_absent_in_the_same_words",
    )
    .await
    {
        let other = app.other_tenant().await;
        let path = format!("/api/v2/agent/{}/chat", other.agent);
        let theirs =
            app.request_as(&other.key, Method::POST, &path).json(&json!({"query": "hola"}));
        let theirs = read(theirs).await.expect(200)["conversationId"].as_str().unwrap().to_owned();
        let second = app.post("/api/v2/agents", &json!({"name": "Segundo"})).await.expect(201);
        let path = format!("/api/v2/agent/{}/chat", second["id"].as_str().unwrap());
        let of_second = app.post(&path, &json!({"query": "hola"})).await.expect(200);
        let of_second = of_second["conversationId"].as_str().unwrap();
        let mut messages = Vec::new();
        for id in
            [theirs.as_str(), of_second, "conv_00000000000000000000000000000000", "conv_abc123", ""]
        {
            for streaming in [false, true] {
                let body = json!({"query": "a", "conversationId": id, "streaming": streaming});
                let reply = chat(&app, &body).await;
                messages.push(reply.expect_error(404, "NOT_FOUND"));
            }
        }
        messages.dedup();
        assert_eq!(messages, ["conversation not found"]);
    }
}

#[tokio::test]
async fn a_paused_agent_answers_409() {
    for app in TestApp::on_each_database("a_paused_agent_answers_409").await {
        for status in ["paused", "archived"] {
            app.put(&format!("/api/v2/agents/{}", app.tenant.agent), &json!({"status": status}))
                .await
                .expect(200);
            chat(&app, &json!({"query": "hola"})).await.expect_error(409, "AGENT_PAUSED");
            chat(&app, &json!({"query": "hola", "streaming": true}))
                .await
                .expect_error(409, "AGENT_PAUSED");
        }
    }
}

#[tokio::test]
async fn a_repeated_message_is_one_message() {
    for app in TestApp::on_each_database("a_repeated_message_is_one_message").await {
        app.learn("FAQ", FAQ).await;
        let send = async || {
            let request =
                app.request(Method::POST, &app.chat_path()).header("idempotency-key", "pedido-1");
            read(request.json(&json!({"query": "¿Cuáles son los horarios?"}))).await.expect(200)
        };
        let first = send().await;
        assert_eq!(send().await, first);
        let path = format!("/api/v2/conversations/{}", first["conversationId"].as_str().unwrap());
        assert_eq!(app.get(&path).await.expect(200)["messagesCount"], 2);
        assert_eq!(
            app.get("/api/v2/conversations").await.expect(200)["data"].as_array().unwrap().len(),
            1
        );
    }
}

#[tokio::test]
async fn while_a_person_has_the_conversation_the_agent_is_silent() {
    for app in
        TestApp::on_each_database("while_a_person_has_the_conversation_the_agent_is_silent").await
    {
        app.learn("FAQ", FAQ).await;
        let asked =
            chat(&app, &json!({"query": "Quiero hablar con una persona"})).await.expect(200);
        assert_eq!(
            (&asked["handler"], &asked["status"]),
            (&json!("queue"), &json!("unresolved")),
            "{asked}"
        );
        assert_eq!(asked["outcome"], "handed-off");
        let body = json!({"query": "Quiero hablar con una persona", "streaming": true});
        let events = events::parse(&chat(&app, &body).await.text);
        assert_eq!(events[0].name, "tool", "{events:?}");
        assert_eq!(
            events[0].data,
            json!({"name": "request-human", "type": "request-human", "status": "done"})
        );
        assert_eq!(events::check(&events)["outcome"], "handed-off");
        let id = &asked["conversationId"];
        let body = json!({"query": "¿Cuáles son los horarios?", "conversationId": id});
        let silent = chat(&app, &body).await.expect(200);
        assert_eq!((&silent["answer"], &silent["sources"]), (&json!(""), &json!([])));
        assert_eq!((&silent["handler"], &silent["outcome"]), (&json!("queue"), &Value::Null));
        let body = json!({"query": "¿Hola?", "conversationId": id, "streaming": true});
        let events = events::parse(&chat(&app, &body).await.text);
        assert_eq!(events::check(&events)["handler"], "queue");
        assert_eq!(events.len(), 1, "{events:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_being_written_cannot_be_stopped() {
    let app = TestApp::start().await;
    let stop = async |agent: &str, message: &str| {
        app.post(&format!("/api/v2/agent/{agent}/chat/{message}/stop"), &json!({})).await
    };
    let absent = "msg_00000000000000000000000000000000";
    stop(&app.tenant.agent, absent).await.expect_error(404, "NOT_FOUND");
    stop(&app.tenant.agent, "garbage").await.expect_error(404, "NOT_FOUND");
    stop("agent_00000000000000000000000000000000", absent).await.expect_error(404, "NOT_FOUND");
}
