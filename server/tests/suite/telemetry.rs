//! Traces: read from the command line, and sent to a collector over real HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply};
use tokio_util::task::TaskTracker;

use crate::vocero::{Installation, http};

const FAQ: &str = "Nuestros horarios de atención son de lunes a viernes de 9 a 18 hs.";
const QUESTION: &str = "¿Cuáles son los horarios?";

/// What a collector was sent: the headers and the body of each request.
type Received = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

async fn collector() -> (String, Received) {
    let received = Received::default();
    let kept = received.clone();
    let take = move |headers: HeaderMap, body: Bytes| {
        let kept = kept.clone();
        async move {
            let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
            kept.lock().expect("a lock").push((headers, request));
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/v1/traces", post(take));
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), received)
}

fn plain(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(Any::ArrayValue(list)) => list.values.iter().map(|value| plain(Some(value))).collect(),
        _ => Value::Null,
    }
}

fn attributes(span: &Span) -> HashMap<&str, Value> {
    span.attributes.iter().map(|one| (one.key.as_str(), plain(one.value.as_ref()))).collect()
}

fn spans(received: &Received) -> Vec<Span> {
    let received = received.lock().expect("a lock");
    let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// An installation with a scripted model, which searches once and then answers.
fn installation(models: &ModelServer) -> Installation {
    let call = json!({"query": "horarios de atención"}).to_string();
    models.enqueue(
        Reply::text("")
            .tool_call("call_9", "search_knowledge", &[&call])
            .finish("tool_calls")
            .usage(100, 10),
    );
    models.enqueue(Reply::text("De 9 a 18 hs [1].").usage(200, 20));
    Installation::new()
        .with("OPENAI_BASE_URL", &models.base_url())
        .with("VOCERO_CHAT_MODEL", "gpt-test")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_sent_to_the_collector_before_the_server_has_stopped() {
    let models = ModelServer::start().await.expect("a server");
    let (endpoint, received) = collector().await;
    let installation = installation(&models)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-token=planted%20token")
        .with("OTEL_SERVICE_NAME", "tienda");
    installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
    let server = installation.serve();
    let answer = installation.json(&["ask", QUESTION]);
    models.enqueue(Reply::error(400, "planted refusal"));
    models.enqueue(Reply::error(400, "planted refusal"));
    installation.failure(&["ask", QUESTION]);
    server.stop();

    let (headers, request) = received.lock().expect("a lock")[0].clone();
    assert_eq!(headers["x-token"], "planted token");
    let resource = request.resource_spans[0].resource.clone().expect("a resource");
    let service = resource.attributes.iter().find(|one| one.key == "service.name");
    assert_eq!(plain(service.expect("a name").value.as_ref()), "tienda");

    let all = spans(&received);
    let roots: Vec<&Span> = all.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 2, "a turn is a trace");
    let answered = roots.iter().find(|root| attributes(root)["vocero.outcome"] == "answered");
    let root = answered.expect("the turn");
    assert!(root.name.starts_with("invoke_agent "), "{}", root.name);
    let told = attributes(root);
    for (name, value) in [
        ("gen_ai.operation.name", json!("invoke_agent")),
        ("gen_ai.provider.name", json!("openai")),
        ("gen_ai.conversation.id", answer["conversationId"].clone()),
        ("vocero.turn.id", answer["messageId"].clone()),
        ("gen_ai.usage.input_tokens", json!(300)),
        ("gen_ai.usage.output_tokens", json!(30)),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name}");
    }
    assert!(told["gen_ai.agent.id"].as_str().expect("an id").starts_with("agent_"));
    let mut children: Vec<&Span> =
        all.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    let names: Vec<&str> = children.iter().map(|span| span.name.as_str()).collect();
    let expected = ["retrieval", "chat gpt-test", "execute_tool search_knowledge", "chat gpt-test"];
    assert_eq!(names, expected);
    for child in &children {
        assert_eq!(child.trace_id, root.trace_id);
        let within = root.start_time_unix_nano <= child.start_time_unix_nano
            && child.start_time_unix_nano <= child.end_time_unix_nano
            && child.end_time_unix_nano <= root.end_time_unix_nano;
        assert!(within, "{} is not within its turn", child.name);
    }
    assert_eq!(attributes(children[0])["vocero.retrieval.hits"], 1);
    let first = attributes(children[1]);
    for (name, value) in [
        ("gen_ai.request.model", json!("gpt-test")),
        ("gen_ai.response.model", json!("gpt-test")),
        ("gen_ai.usage.input_tokens", json!(100)),
        ("gen_ai.usage.output_tokens", json!(10)),
        ("gen_ai.response.finish_reasons", json!(["tool_calls"])),
        ("server.address", json!("127.0.0.1")),
    ] {
        assert_eq!(first.get(name), Some(&value), "{name}");
    }
    let tool = attributes(children[2]);
    assert_eq!(tool["gen_ai.tool.name"], "search_knowledge");
    assert_eq!(tool["gen_ai.tool.call.id"], "call_9");

    let failed = roots.iter().find(|root| attributes(root).contains_key("error.type"));
    let failed = failed.expect("the turn that failed");
    assert_eq!(attributes(failed)["error.type"], "MODEL_REFUSED");
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(2), "an error");
    let texts = format!("{all:?}");
    for content in ["horarios", "De 9 a 18", "atención"] {
        assert!(!texts.contains(content), "{content} was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_sent_only_where_the_operator_wants_it() {
    let models = ModelServer::start().await.expect("a server");
    let (endpoint, received) = collector().await;
    let installation = installation(&models)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .with("VOCERO_TELEMETRY__CAPTURE_CONTENT", "true");
    // The server that a command starts for itself sends its traces too.
    installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
    installation.text(&["ask", QUESTION]);
    let all = spans(&received);
    let of = |name: &str| {
        let span = all.iter().find(|span| span.name.starts_with(name));
        attributes(span.unwrap_or_else(|| panic!("{name} in {all:?}"))).clone()
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let root = of("invoke_agent");
    assert!(text(&root["gen_ai.input.messages"]).contains(QUESTION));
    assert!(text(&root["gen_ai.output.messages"]).contains("De 9 a 18 hs [1]."));
    let tool = of("execute_tool");
    assert!(text(&tool["gen_ai.tool.call.arguments"]).contains("horarios de atención"));
    assert!(!text(&tool["gen_ai.tool.call.result"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_no_turn_and_is_told_once() {
    let models = ModelServer::start().await.expect("a server");
    // A port that was free just now, and takes no connection.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://user:planted@{}", listener.local_addr().expect("an address"));
    drop(listener);
    let installation = installation(&models)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .with("OTEL_BSP_SCHEDULE_DELAY", "1");
    installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
    let server = installation.serve();
    let key = installation.json(&["init"]);
    for _ in 0..3 {
        installation.json(&["ask", QUESTION]);
    }
    let agent = key["agentId"].as_str().expect("an id");
    let url = format!("{}/api/v2/agents/{agent}", server.url);
    let bearer = key["apiKey"].as_str().expect("a key");
    let up = http().get(url).bearer_auth(bearer).timeout(Duration::from_mins(1)).send().await;
    assert_eq!(up.expect("an answer").status(), 200);
    server.send(rustix::process::Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{status}\n{log}");
    assert_eq!(log.matches("the collector of traces takes nothing").count(), 1, "{log}");
    assert!(!log.contains("planted"), "{log}");
}

#[test]
fn settings_of_telemetry_are_checked() {
    for (name, value, word) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://localhost:4317", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "planted", "telemetry.otlp_headers"),
        ("OTEL_SERVICE_NAME", " ", "telemetry.service_name"),
        ("VOCERO_AGENTS__TRACE_RETENTION_DAYS", "99999", "agents.trace_retention_days"),
        ("VOCERO_AGENTS__TRACE_RETENTION_DAYS", "-1", "agents.trace_retention_days"),
    ] {
        let message = Installation::new().with(name, value).failure(&["config", "check"]);
        assert!(message.contains(word) && message.contains(name), "{name}={value}: {message}");
        assert!(!message.contains("planted"), "{message}");
    }
    let installation = Installation::new().with("OTEL_EXPORTER_OTLP_HEADERS", "a=planted");
    assert!(!installation.text(&["config", "print"]).contains("planted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_read_from_the_command_line_until_it_is_too_old() {
    for installation in Installation::on_each_database("a trace is read") {
        let models = ModelServer::start().await.expect("a server");
        let call = json!({"query": "horarios de atención"}).to_string();
        models.enqueue(Reply::text("").tool_call("c", "search_knowledge", &[&call]).usage(100, 10));
        models.enqueue(Reply::text("De 9 a 18 hs [1].").usage(200, 20));
        let installation = installation
            .with("OPENAI_BASE_URL", &models.base_url())
            .with("VOCERO_CHAT_MODEL", "gpt-4o-mini");
        installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
        let server = installation.serve();
        let answer = installation.json(&["ask", QUESTION]);
        let message = answer["messageId"].as_str().expect("an id");
        let trace = installation.json(&["trace", message]);
        assert_eq!(trace["messageId"], message);
        assert_eq!(trace["steps"][6]["tool"]["name"], "search_knowledge", "{trace}");
        let shown = installation.text(&["trace", message]);
        let cost = format!("${:.6}", trace["cost"].as_f64().expect("a cost") / 1e6);
        for part in [
            message,
            QUESTION,
            "gpt-4o-mini, 100 + 10 tokens",
            "search_knowledge {\"query\"",
            "300 + 30",
            &cost,
            "open",
            "FAQ",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        server.stop();

        let forgetful = installation.with("VOCERO_AGENTS__TRACE_RETENTION_DAYS", "0");
        let server = forgetful.serve();
        crate::vocero::until("the trace goes", async || {
            !forgetful.run(&["trace", message]).status.success()
        })
        .await;
        let message = forgetful.failure(&["trace", message]);
        assert!(message.contains("not found"), "{message}");
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_around_a_passage_is_told_with_it() {
    for installation in Installation::on_each_database("neighbours of a passage") {
        let models = ModelServer::start().await.expect("a server");
        models.enqueue(Reply::text("Lo cuidan dos personas [1]."));
        let installation = installation
            .with("OPENAI_BASE_URL", &models.base_url())
            .with("VOCERO_CHAT_MODEL", "gpt-4o-mini")
            .with("VOCERO_INGEST__CHUNK_TOKENS", "80")
            .with("VOCERO_INGEST__CHUNK_OVERLAP", "0");

        let colours = ["rojo", "azul", "verde", "negro", "blanco", "pardo", "gris", "violeta"];
        let animals = ["águila", "búho", "cóndor", "delfín", "erizo", "flamenco", "gacela"];
        let mut document = String::new();
        for colour in colours {
            for animal in animals {
                document.push_str(&format!("El {animal} {colour} lo cuidan dos personas. "));
            }
        }
        installation.text(&["datastore", "add", "--text", &document, "--name", "Zoológico"]);
        let answer = installation.json(&["ask", "¿Quién cuida el delfín negro?"]);
        let message = answer["messageId"].as_str().expect("an id");
        let trace = installation.json(&["trace", message]);
        let shown = installation.text(&["trace", message]);
        let hits = trace["retrieval"]["hits"].as_array().expect("hits");
        let mut told = 0;
        for hit in hits {
            assert!(shown.contains(hit["chunkId"].as_str().expect("an id")), "{shown}");
            for neighbour in hit["neighbours"].as_array().into_iter().flatten() {
                let word = |name: &str| neighbour[name].as_str().expect("a word");
                let line = format!("{}: {}", word("place"), word("chunkId"));
                assert!(shown.contains(&line), "{line} in {shown}");
                told += 1;
            }
        }
        assert!(told >= 2, "before and after: {trace}");
    }
}
