use std::sync::Arc;

use futures::StreamExt;
use models::{
    AnswerFormat, ChatEvent, ChatMessage, ChatModel, ChatRequest, FinishReason, Image, ModelError,
    ToolCall, ToolSpec, Usage,
};
use serde_json::{Value, json};
use testkit::model_server::Reply;
use tokio::sync::Notify;

use crate::support::{Bench, question, tokens, whole};

#[tokio::test]
async fn tokens_arrive_in_order_and_then_the_end_with_its_count() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["Abri", "mos ", "a las", " 9 ñ🙂"]).usage(12, 4));
    let mut expected = tokens(&["Abri", "mos ", "a las", " 9 ñ🙂"]);
    let usage = Some(Usage { prompt_tokens: 12, completion_tokens: 4, cached_tokens: 0 });
    expected.push(ChatEvent::Finished { reason: FinishReason::Stop, usage });
    assert_eq!(bench.ask().await.unwrap(), expected);
}

#[tokio::test]
async fn a_token_arrives_before_the_next_is_made() {
    let bench = Bench::new().await;
    let go_on = Arc::new(Notify::new());
    bench.server.enqueue(Reply::tokens(&["a"]).hold(go_on.clone()).then(&["b"]));
    let mut stream = bench.model.chat(question()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Token("a".to_owned()));
    go_on.notify_one();
    assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Token("b".to_owned()));
}

#[tokio::test]
async fn the_request_says_what_was_asked() {
    let bench = Bench::new().await;
    let call = ToolCall { id: "c1".into(), name: "datastore".into(), arguments: "{}".into() };
    let request = ChatRequest {
        messages: vec![
            ChatMessage::system("Sé breve."),
            ChatMessage::user("hola"),
            ChatMessage::tool_calls("", vec![call]),
            ChatMessage::tool("c1", "nada"),
            ChatMessage::assistant("No sé."),
            ChatMessage::user("¿y hoy?"),
        ],
        tools: Arc::from([ToolSpec {
            name: "datastore".to_owned(),
            description: "Busca.".to_owned(),
            parameters: json!({"type": "object", "properties": {}}),
        }]),
        temperature: Some(0.2),
        max_tokens: Some(300),
        ..question()
    };
    bench.model.chat(request).await.unwrap().collect::<Vec<_>>().await;

    let seen = &bench.server.requests()[0];
    assert_eq!(seen.target, "/v1/chat/completions");
    assert_eq!(seen.header("authorization"), format!("Bearer {}", crate::support::KEY));
    assert_eq!(seen.header("accept"), "text/event-stream");
    assert_eq!(seen.header("accept-encoding"), "", "a compressed stream holds tokens back");
    let mut body = seen.body.clone();
    let temperature = body["temperature"].take();
    assert!((temperature.as_f64().unwrap() - 0.2).abs() < 1e-6);
    let expected = json!({
        "model": "gpt-test",
        "messages": [
            {"role": "system", "content": "Sé breve."},
            {"role": "user", "content": "hola"},
            {"role": "assistant", "tool_calls": [
                {"type": "function", "id": "c1", "function": {"name": "datastore", "arguments": "{}"}},
            ]},
            {"role": "tool", "content": "nada", "tool_call_id": "c1"},
            {"role": "assistant", "content": "No sé."},
            {"role": "user", "content": "¿y hoy?"},
        ],
        "stream": true,
        "max_tokens": 300,
        "stream_options": {"include_usage": true},
        "temperature": null,
        "tools": [{"type": "function", "function": {
            "name": "datastore", "description": "Busca.",
            "parameters": {"type": "object", "properties": {}},
        }}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn any_cut_of_the_bytes_gives_the_same_events() {
    let bench = Bench::new().await;
    let reply = || Reply::tokens(&["ñandú ", "漢字🙂", "\n\n", "fin"]).usage(1, 2);
    bench.server.enqueue(reply());
    let expected = bench.ask().await.unwrap();
    assert_eq!(expected[..4], tokens(&["ñandú ", "漢字🙂", "\n\n", "fin"]));
    for bytes in [1, 2, 3, 7, 64, 1_000] {
        bench.server.enqueue(reply().split_every(bytes));
        bench.server.enqueue(reply().crlf().comments().split_every(bytes));
        assert_eq!(bench.ask().await.unwrap(), expected, "pieces of {bytes}");
        assert_eq!(bench.ask().await.unwrap(), expected, "CR LF, comments, pieces of {bytes}");
    }
}

#[tokio::test]
async fn tool_calls_are_put_together_from_fragments() {
    let bench = Bench::new().await;
    let reply = || {
        Reply::tokens(&["Busco."])
            .tool_call("c1", "datastore", &["{\"que", "ry\":\"", "envíos\"}"])
            .tool_call("c2", "request-human", &["{}"])
    };
    let call = |id: &str, name: &str, arguments: &str| ChatEvent::ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let mut expected = tokens(&["Busco."]);
    expected.push(call("c1", "datastore", "{\"query\":\"envíos\"}"));
    expected.push(call("c2", "request-human", "{}"));
    expected.push(ChatEvent::Finished { reason: FinishReason::ToolCalls, usage: None });
    bench.server.enqueue(reply());
    assert_eq!(bench.ask().await.unwrap(), expected);
    bench.server.enqueue(reply().finish("stop").whole());
    assert_eq!(bench.ask().await.unwrap(), expected, "not streamed, and finished with `stop`");
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["Hola", " mundo"]).usage(3, 2).whole());
    let usage = Some(Usage { prompt_tokens: 3, completion_tokens: 2, cached_tokens: 0 });
    let end = ChatEvent::Finished { reason: FinishReason::Stop, usage };
    assert_eq!(bench.ask().await.unwrap(), [ChatEvent::Token("Hola mundo".to_owned()), end]);
}

#[tokio::test]
async fn the_reason_of_the_end_is_told() {
    let bench = Bench::new().await;
    for (said, reason) in [
        ("length", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
        ("stop", FinishReason::Stop),
        ("eos", FinishReason::Stop),
    ] {
        bench.server.enqueue(Reply::tokens(&["a"]).finish(said));
        let events = bench.ask().await.unwrap();
        let end = events.last().unwrap();
        assert_eq!(*end, ChatEvent::Finished { reason, usage: None }, "{said}");
    }
}

#[tokio::test]
async fn a_stream_without_done_ends_by_its_finish_reason() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["a"]).without_done());
    assert_eq!(bench.ask().await.unwrap(), whole(&["a"]));
    bench.server.enqueue(Reply::tokens(&["a"]).without_finish());
    assert_eq!(bench.ask().await.unwrap(), whole(&["a"]), "done without a finish reason");
}

#[tokio::test]
async fn an_answer_without_a_word_still_ends() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens::<&str>(&[]));
    assert_eq!(bench.ask().await.unwrap(), whole(&[]));
}

#[tokio::test]
async fn calls_share_one_connection() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.ask().await.unwrap();
    }
    let peers: Vec<_> = bench.server.requests().iter().map(|request| request.peer).collect();
    assert_eq!(peers, vec![peers[0]; 3]);
}

#[tokio::test]
async fn dropping_the_stream_ends_the_call() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["a"]).then_hang());
    let mut stream = bench.model.chat(question()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    bench.server.wait_for_departures(1).await;
}

#[tokio::test]
async fn dropping_the_question_ends_the_call() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::silence());
    tokio::select! {
        _ = bench.model.chat(question()) => panic!("a silent server answered"),
        () = bench.server.wait_for_requests(1) => {}
    }
    bench.server.wait_for_departures(1).await;
}

#[tokio::test]
async fn a_refusal_that_names_an_option_is_answered_without_it_and_remembered() {
    let bench = Bench::new().await;
    bench.server.respond_with(|request| {
        let body = &request.body;
        let refuse = |param: &str| {
            let message =
                format!("Unsupported parameter: '{param}' is not supported with this model.");
            Some(Reply::json_with(400, &json!({"error": {"message": message, "param": param}})))
        };
        match body {
            _ if body["stream_options"] != Value::Null => refuse("stream_options"),
            _ if body["max_tokens"] != Value::Null => refuse("max_tokens"),
            _ if body["temperature"] != Value::Null => refuse("temperature"),
            _ => Some(Reply::tokens(&["sí"])),
        }
    });
    let request = ChatRequest { temperature: Some(0.0), max_tokens: Some(9), ..question() };
    for _ in 0..2 {
        let stream = bench.model.chat(request.clone()).await.unwrap();
        let events: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(events, whole(&["sí"]));
    }
    let seen = bench.server.requests();
    assert_eq!(seen.len(), 5, "three refusals, two answers");
    assert_eq!(seen[4].body["max_completion_tokens"], 9);
    assert_eq!(bench.pauses.taken(), [], "a misunderstanding is no reason to wait");
}

#[tokio::test]
async fn a_value_that_is_refused_under_both_names_is_an_error() {
    let bench = Bench::new().await;
    bench.server.respond_with(|_| {
        let message = "max_tokens and max_completion_tokens may not exceed 4096";
        Some(Reply::json_with(400, &json!({"error": {"message": message}})))
    });
    let request = ChatRequest { max_tokens: Some(9_999), ..question() };
    let Err(error) = bench.model.chat(request).await else {
        panic!("a refused request was answered");
    };
    assert!(error.to_string().contains("may not exceed 4096"), "{error}");
    assert_eq!(bench.server.requests().len(), 2);
}

#[tokio::test]
async fn seed_stop_form_and_images_are_said_as_providers_want_them() {
    let bench = Bench::new().await;
    let images =
        vec![Image::new("https://ejemplo.com/a.png"), Image::new("data:image/png;base64,iVBORw0=")];
    let request = ChatRequest {
        messages: vec![ChatMessage::user_showing("¿Qué es?", images)],
        seed: Some(-7),
        stop: vec!["\n\n".to_owned(), "FIN".to_owned()],
        format: Some(AnswerFormat::JsonObject),
        ..question()
    };
    bench.model.chat(request.clone()).await.unwrap().collect::<Vec<_>>().await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = AnswerFormat::JsonSchema { name: "reply".to_owned(), schema: schema.clone() };
    let request = ChatRequest { format: Some(format), ..request };
    bench.model.chat(request).await.unwrap().collect::<Vec<_>>().await;

    let seen = bench.server.requests();
    let expected = json!({
        "model": "gpt-test",
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "¿Qué es?"},
            {"type": "image_url", "image_url": {"url": "https://ejemplo.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
        ]}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "seed": -7,
        "stop": ["\n\n", "FIN"],
        "response_format": {"type": "json_object"},
    });
    assert_eq!(seen[0].body, expected);
    let format = json!({"type": "json_schema", "json_schema": {
        "name": "reply", "schema": schema, "strict": true,
    }});
    assert_eq!(seen[1].body["response_format"], format);
}

#[tokio::test]
async fn a_seed_that_is_refused_is_left_out_and_a_form_that_is_refused_is_told() {
    let bench = Bench::new().await;
    let request =
        ChatRequest { seed: Some(7), format: Some(AnswerFormat::JsonObject), ..question() };
    bench.server.enqueue(Reply::error(400, "Unsupported parameter: 'seed'"));
    bench.model.chat(request.clone()).await.unwrap().collect::<Vec<_>>().await;
    bench.server.enqueue(Reply::error(400, "Invalid parameter: 'response_format'"));
    let refused = bench.model.chat(request).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, ModelError::Refused(_)), "{refused}");
    let seeds: Vec<bool> =
        bench.server.requests().iter().map(|seen| seen.body.get("seed").is_some()).collect();
    assert_eq!(seeds, [true, false, false], "a refusal is provoked once");
}

#[tokio::test]
async fn tokens_that_the_provider_had_kept_are_told_apart() {
    let bench = Bench::new().await;
    let frame = r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":64}}}"#;
    bench.server.enqueue(Reply::tokens(&["Hola"]).frame(frame));
    let events = bench.ask().await.unwrap();
    let usage = Usage { prompt_tokens: 100, completion_tokens: 5, cached_tokens: 64 };
    let end = ChatEvent::Finished { reason: FinishReason::Stop, usage: Some(usage) };
    assert_eq!(events.last(), Some(&end));
    let two = usage.plus(usage);
    assert_eq!((two.prompt_tokens, two.completion_tokens, two.cached_tokens), (200, 10, 128));
}

#[test]
fn an_image_is_not_printed() {
    let image = Image::new("data:image/png;base64,planted");
    assert_eq!(format!("{image:?}"), "Image(data, 29 bytes)");
}
