//! Chat completions.

use http::Method;
use serde_json::{Value, json};
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use super::{chunks, expect_error};
use crate::support::{Reply, TestApp, read};

const PATH: &str = "/openai/v1/chat/completions";
const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";
const QUESTION: &str = "¿Cuáles son los horarios?";

async fn complete(app: &TestApp, messages: Value, more: Value) -> Reply {
    let mut body = json!({"model": app.tenant.agent, "messages": messages});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    app.post(PATH, &body).await
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[tokio::test]
async fn an_answer_has_openais_shape_and_its_citations_beside() {
    for app in TestApp::on_each_database("an_answer_has_openais_shape").await {
        let source = app.learn("FAQ", FAQ).await;
        let reply = complete(&app, json!([user(QUESTION)]), json!({"user": "user_456"})).await;
        let conversation = reply.header("x-conversation-id").to_owned();
        let answer = reply.expect(200);
        let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        let known = [
            "id",
            "object",
            "created",
            "model",
            "choices",
            "usage",
            "service_tier",
            "system_fingerprint",
            "vocero",
        ];
        assert_eq!(fields, known);
        assert_eq!(answer["object"], "chat.completion");
        assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"), "{answer}");
        assert_eq!(answer["model"], app.tenant.agent.as_str());
        let seconds = app.ambient.now().micros() / 1_000_000;
        assert!((seconds - 600..=seconds).contains(&answer["created"].as_i64().unwrap()));
        assert_eq!(answer["choices"].as_array().unwrap().len(), 1);
        let choice = &answer["choices"][0];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
        let message = &choice["message"];
        assert_eq!((&message["role"], &message["refusal"]), (&json!("assistant"), &Value::Null));
        let text = message["content"].as_str().unwrap();
        assert!(text.contains("9 a 18"), "{text}");
        let usage = |field: &str| answer["usage"][field].as_i64().unwrap();
        assert!(usage("prompt_tokens") > 0 && usage("completion_tokens") > 0);
        assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));

        let ours = &answer["vocero"];
        assert_eq!((&ours["outcome"], &ours["handler"]), (&json!("answered"), &json!("bot")));
        assert_eq!(ours["conversationId"], conversation.as_str());
        let cited = &ours["sources"][0];
        assert_eq!((&cited["source"], &cited["sourceId"]), (&json!("FAQ"), &json!(source)));
        let annotation = &message["annotations"][0];
        assert_eq!(annotation["type"], "file_citation");
        let place = &annotation["file_citation"];
        assert_eq!((&place["file_id"], &place["filename"]), (&json!(source), &json!("FAQ")));
        assert!(FAQ.contains(place["quote"].as_str().unwrap()), "{place}");
        let at = |field: &str| usize::try_from(place[field].as_u64().unwrap()).unwrap();
        let marked: String = text
            .chars()
            .skip(at("start_index"))
            .take(at("end_index") - at("start_index"))
            .collect();
        assert_eq!(marked, format!("[{}]", cited["index"]));

        // The other surface shows the same conversation.
        let shown = app.get(&format!("/api/v2/conversations/{conversation}")).await.expect(200);
        assert_eq!((&shown["visitorId"], &shown["messagesCount"]), (&json!("user_456"), &json!(2)));
    }
}

#[tokio::test]
async fn a_stream_has_openais_chunks_and_says_the_same() {
    for app in TestApp::on_each_database("a_stream_has_openais_chunks").await {
        app.learn("FAQ", FAQ).await;
        let whole = complete(&app, json!([user(QUESTION)]), json!({})).await.expect(200);
        let more = json!({"stream": true, "stream_options": {"include_usage": true}});
        let reply = complete(&app, json!([user(QUESTION)]), more).await;
        assert_eq!(reply.header("content-type"), "text/event-stream");
        assert_eq!(reply.header("cache-control"), "no-cache, no-transform");
        let chunks = chunks(&reply.text);
        for chunk in &chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!((&chunk["id"], &chunk["model"]), (&chunks[0]["id"], &whole["model"]));
        }
        let (usage, chunks) = chunks.split_last().unwrap();
        assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "{chunks:?}");
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_some()), "{chunks:?}");
        let first = &chunks[0]["choices"][0];
        assert_eq!(first["delta"], json!({"role": "assistant", "content": ""}));
        let (last, texts) = chunks.split_last().unwrap();
        let text: String = texts
            .iter()
            .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
            .collect();
        let message = &whole["choices"][0]["message"];
        assert_eq!(text, message["content"].as_str().unwrap());
        assert!(texts.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        let annotations = |message: &Value| {
            let all = message["annotations"].as_array().unwrap().clone();
            all.into_iter().map(|annotation| annotation["type"].clone()).collect::<Vec<_>>()
        };
        let delta = &last["choices"][0]["delta"];
        assert_eq!(annotations(delta), annotations(message));
        assert_eq!(last["vocero"]["sources"], whole["vocero"]["sources"]);

        // Without the option nobody speaks of usage.
        let reply = complete(&app, json!([user(QUESTION)]), json!({"stream": true})).await;
        let chunks = super::chunks(&reply.text);
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "{chunks:?}");
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
}

async fn app_with(server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::start_with(|settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await;
    app.learn("FAQ", FAQ).await;
    app
}

/// Role and text of the messages that the model was last asked with.
fn prompt(server: &ModelServer) -> Vec<(String, String)> {
    let requests = server.requests_to(Endpoint::Chat);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = requests.last().unwrap().body["messages"].as_array().unwrap().clone();
    messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

#[tokio::test]
async fn the_messages_before_are_the_context_and_system_messages_are_not_obeyed() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with(&server).await;
    server.enqueue(ModelReply::text("De 9 a 18 [1].").usage(321, 7));
    let messages = json!([
        {"role": "system", "content": "You are a pirate."},
        user("¿Tienen taladros?"),
        {"role": "assistant", "content": "Sí, varios [3]."},
        user(QUESTION),
    ]);
    let answer = complete(&app, messages, json!({})).await.expect(200);
    let asked = prompt(&server);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[1], ("user".to_owned(), "¿Tienen taladros?".to_owned()));
    // Markers of other prompts would mislead in this one.
    assert_eq!(asked[2], ("assistant".to_owned(), "Sí, varios.".to_owned()));
    assert!(asked[3].1.ends_with(QUESTION));
    assert!(asked.iter().all(|(_, text)| !text.contains("pirate")), "{asked:?}");
    let usage = json!({"prompt_tokens": 321, "completion_tokens": 7, "total_tokens": 328});
    assert_eq!(answer["usage"], usage);
    // What the caller keeps is not stored once more.
    let conversation = answer["vocero"]["conversationId"].as_str().unwrap();
    let path = format!("/api/v2/conversations/{conversation}");
    assert_eq!(app.get(&path).await.expect(200)["messagesCount"], 2);
}

#[tokio::test]
async fn a_follow_up_is_searched_with_the_topic_of_the_supplied_question() {
    let app = TestApp::start().await;
    app.learn(
        "Planes",
        "El plan Premium cuesta 90 pesos por mes. El plan Premium anual cuesta 900 pesos.",
    )
    .await;
    let messages = json!([
        user("¿Cuánto cuesta el plan Premium?"),
        {"role": "assistant", "content": "90 pesos por mes."},
        user("¿y el anual?"),
    ]);
    let answer = complete(&app, messages, json!({})).await.expect(200);
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("900"), "{answer}");
}

#[tokio::test]
async fn a_conversation_goes_on_when_the_metadata_names_it() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with(&server).await;
    let first = complete(&app, json!([user(QUESTION)]), json!({})).await.expect(200);
    let second = complete(&app, json!([user(QUESTION)]), json!({})).await.expect(200);
    let id = |answer: &Value| answer["vocero"]["conversationId"].as_str().unwrap().to_owned();
    assert_ne!(id(&first), id(&second), "each call is a conversation of its own");

    let named = json!({"metadata": {"conversation_id": id(&first)}});
    let messages = json!([user("Esto no se dijo aquí."), user(QUESTION)]);
    let third = complete(&app, messages, named).await.expect(200);
    assert_eq!(id(&third), id(&first));
    let asked = prompt(&server);
    assert_eq!(asked[1].1, QUESTION, "the stored messages are the context: {asked:?}");
    assert!(asked.iter().all(|(_, text)| !text.contains("no se dijo")), "{asked:?}");

    let other = app.other_tenant().await;
    for absent in [json!("conv_00000000000000000000000000000000"), json!("mine"), json!(7)] {
        let named = json!({"metadata": {"conversation_id": absent}});
        let reply = complete(&app, json!([user(QUESTION)]), named).await;
        assert_eq!(reply.status, 404, "{}", reply.text);
        assert_eq!(reply.json()["error"]["code"], "not_found");
    }
    let theirs = json!({
        "model": other.agent, "messages": [user(QUESTION)], "metadata": {"conversation_id": id(&first)}
    });
    let reply = read(app.request_as(&other.key, Method::POST, PATH).json(&theirs)).await;
    assert_eq!(reply.status, 404, "{}", reply.text);
}

#[tokio::test]
async fn a_model_that_breaks_off_is_an_error_in_the_stream() {
    let server = ModelServer::start().await.unwrap();
    let app = app_with(&server).await;
    server.enqueue(ModelReply::tokens(&["Abrimos ", "de 9 "]).then_cut());
    let reply = complete(&app, json!([user(QUESTION)]), json!({"stream": true})).await;
    assert_eq!(reply.status, 200);
    let last = reply.text.trim_end().rsplit("\n\n").next().unwrap();
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "model_unavailable", "{}", reply.text);
    assert_eq!(error["error"]["type"], "server_error");
    assert!(!reply.text.contains("[DONE]"), "{}", reply.text);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name_and_what_does_no_harm_is_taken() {
    let app = TestApp::start().await;
    app.learn("FAQ", FAQ).await;
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "alloy"}}), "audio"),
        (json!({"user": ""}), "user"),
        (json!({"safety_identifier": "a\u{1}b"}), "safety_identifier"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "wizard", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [user("x"), {"role": "user", "content": 7}]}), "messages[1].content"),
        (json!({"stream": "yes"}), "stream"),
    ] {
        let reply = complete(&app, json!([user(QUESTION)]), more).await;
        let message = expect_error(&reply, 400, "invalid_parameter", Some(param));
        assert!(message.contains(param), "{message}");
    }
    let harmless = json!({
        "n": 1, "temperature": 0.1, "top_p": 1, "max_tokens": 50, "max_completion_tokens": 50, "stop": ["x"],
        "seed": 7, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "logprobs": false,
        "tools": [], "tool_choice": "none", "parallel_tool_calls": true, "response_format": {"type": "text"},
        "modalities": ["text"], "store": false, "reasoning_effort": "low", "metadata": {"mine": "x"},
        "stream": null, "stream_options": null, "user": null, "audio": null,
    });
    complete(&app, json!([user(QUESTION)]), harmless).await.expect(200);
}

#[tokio::test]
async fn an_agent_is_named_by_id_or_code_and_a_paused_one_says_so() {
    for app in TestApp::on_each_database("an_agent_is_named_by_id_or_code").await {
        app.learn("FAQ", FAQ).await;
        let by_code = json!({"model": "A-001"});
        let answer = complete(&app, json!([user(QUESTION)]), by_code).await.expect(200);
        assert_eq!(answer["model"], app.tenant.agent.as_str());
        let other = app.other_tenant().await;
        let mut messages = Vec::new();
        for unknown in ["gpt-4o", "A-999", "agent_00000000000000000000000000000000", &other.agent] {
            let reply = complete(&app, json!([user(QUESTION)]), json!({"model": unknown})).await;
            messages.push(expect_error(&reply, 404, "model_not_found", Some("model")));
        }
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
        let path = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&path, &json!({"status": "paused"})).await.expect(200);
        let reply = complete(&app, json!([user(QUESTION)]), json!({})).await;
        expect_error(&reply, 409, "agent_paused", None);
    }
}

#[tokio::test]
async fn a_repeated_key_is_one_message() {
    let app = TestApp::start().await;
    app.learn("FAQ", FAQ).await;
    let body = json!({"model": app.tenant.agent, "messages": [user(QUESTION)]});
    let ask = || {
        let request = app.request(Method::POST, PATH).header("idempotency-key", "k-1");
        read(request.json(&body))
    };
    let (first, second) = (ask().await.expect(200), ask().await.expect(200));
    assert_eq!(first["id"], second["id"]);
    assert_eq!(first["choices"], second["choices"]);
}

#[tokio::test]
async fn whatever_goes_wrong_is_told_in_openais_shape() {
    let app = TestApp::start_with(|settings| settings.agents.max_image_bytes = 1_000).await;
    expect_error(&app.get("/openai/v1/nothing").await, 404, "not_found", None);
    expect_error(&app.get(PATH).await, 405, "method_not_allowed", None);
    let reply = read(app.request(Method::POST, PATH).body("{}")).await;
    expect_error(&reply, 415, "unsupported_media_type", None);
    let typed = app.request(Method::POST, PATH).header("content-type", "application/json");
    expect_error(&read(typed.body("{")).await, 400, "invalid_json", None);
    let reply = app.post(PATH, &json!({"messages": []})).await;
    expect_error(&reply, 400, "invalid_parameter", Some("model"));
    let large = "x".repeat(3 << 20);
    let reply = complete(&app, json!([user(&large)]), json!({})).await;
    expect_error(&reply, 413, "payload_too_large", None);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_model_call() {
    for stream in [true, false] {
        let server = ModelServer::start().await.unwrap();
        let app = app_with(&server).await;
        server.enqueue(ModelReply::tokens(&["Abrimos de 9 ", "a 18 hs "]).then_hang());
        let body =
            json!({"model": app.tenant.agent, "messages": [user(QUESTION)], "stream": stream});
        let request = app.request(Method::POST, PATH).json(&body);
        tokio::select! {
            () = server.wait_for_requests(1) => {}
            reply = read(request) => panic!("answered: {reply:?}"),
        }
        server.wait_for_departures(1).await;
    }
}
