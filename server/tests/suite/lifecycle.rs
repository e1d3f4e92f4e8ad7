//! Start, stop and stalled clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use testkit::model_server::{ModelServer, Reply};

use crate::vocero::{Installation, PATIENCE, Server, events, http};

fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("an address");
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

async fn status(url: &str) -> Option<u16> {
    http().get(url).send().await.ok().map(|response| response.status().as_u16())
}

/// Adds a text and asks about it, with an answer that stays open until the test lets it end.
struct OpenAnswer {
    model: ModelServer,
    hold: std::sync::Arc<tokio::sync::Notify>,
}

impl OpenAnswer {
    async fn prepare() -> Self {
        let model = ModelServer::start().await.expect("the scripted model");
        let hold = std::sync::Arc::new(tokio::sync::Notify::new());
        let reply = Reply::tokens(&["De ", "9 a 18 "]).hold(hold.clone()).then(&["horas ", "[1]."]);
        model.enqueue(reply);
        Self { model, hold }
    }

    async fn begin(&self, installation: &Installation, server: &Server) -> reqwest::Response {
        let setup = installation.json(&["init"]);
        let text = |key: &str| setup[key].as_str().expect("a text").to_owned();
        let (key, datastore, agent) = (text("apiKey"), text("datastoreId"), text("agentId"));
        let url = &server.url;
        let added = http()
            .post(format!("{url}/api/v2/datastores/{datastore}/sources/text"))
            .bearer_auth(&key)
            .header("prefer", "wait=30")
            .json(&json!({ "name": "Horarios", "content": "Los horarios de atención son de 9 a 18." }))
            .send()
            .await
            .expect("an answer");
        assert_eq!(added.status(), 202);
        let mut response = http()
            .post(format!("{url}/api/v2/agent/{agent}/chat"))
            .bearer_auth(&key)
            .json(&json!({ "query": "¿Cuáles son los horarios de atención?", "streaming": true }))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
        let first = response.chunk().await.expect("the stream goes on").expect("an event");
        assert!(!first.is_empty());
        self.model.wait_for_requests(1).await;
        response
    }
}

fn with_model(installation: Installation, model: &ModelServer) -> Installation {
    installation.with("OPENAI_BASE_URL", &model.base_url()).with("VOCERO_CHAT_MODEL", "scripted")
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_stream_end_says_so_on_readyz_and_exits_with_0() {
    for installation in Installation::on_each_database("sigterm lets a stream end") {
        let answer = OpenAnswer::prepare().await;
        let metrics = free_address();
        let installation =
            with_model(installation, &answer.model).with("VOCERO_SERVER__METRICS_LISTEN", &metrics);
        let server = installation.serve();
        assert_eq!(status(&format!("{}/readyz", server.url)).await, Some(200));
        assert_eq!(status(&format!("http://{metrics}/readyz")).await, Some(200));
        let response = answer.begin(&installation, &server).await;

        server.send(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while status(&format!("http://{metrics}/readyz")).await != Some(503) {
            assert!(Instant::now() < deadline, "readyz never says 503");
        }
        assert_eq!(status(&format!("http://{metrics}/healthz")).await, Some(200));
        let address = server.url.strip_prefix("http://").expect("an address");
        assert!(TcpStream::connect(address).is_err(), "nothing new is accepted");

        answer.hold.notify_one();
        let rest = response.text().await.expect("the stream ends in order");
        let (name, done) = events(&rest).pop().expect("events");
        assert_eq!(name, "done", "{rest}");
        assert_eq!(done["answer"], "De 9 a 18 horas [1].");
        let (exit, log) = server.wait();
        assert_eq!(exit.code(), Some(0), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlasts_the_grace_is_ended_and_stored_as_interrupted() {
    for installation in Installation::on_each_database("a stream that outlasts the grace") {
        let answer = OpenAnswer::prepare().await;
        let installation =
            with_model(installation, &answer.model).with("VOCERO_SERVER__SHUTDOWN_GRACE", "0.3");
        let server = installation.serve();
        let response = answer.begin(&installation, &server).await;

        server.send(Signal::INT);
        let (exit, log) = server.wait();
        assert_eq!(exit.code(), Some(0), "{log}");
        drop(response);

        let again = installation.serve();
        let key = installation.json(&["init"])["apiKey"].as_str().expect("a key").to_owned();
        let get = async |path: String| -> serde_json::Value {
            let request = http().get(format!("{}/api/v2/{path}", again.url)).bearer_auth(&key);
            request.send().await.expect("an answer").json().await.expect("JSON")
        };
        let conversations = get("conversations".to_owned()).await;
        let id = conversations["data"][0]["id"].as_str().expect("a conversation").to_owned();
        let messages = get(format!("conversations/{id}/messages")).await;
        let last = messages["data"].as_array().and_then(|data| data.last()).expect("messages");
        assert_eq!((&last["role"], &last["state"]), (&json!("assistant"), &json!("interrupted")));
        assert!(last["content"].as_str().expect("a text").starts_with("De 9 a 18"), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let answer = OpenAnswer::prepare().await;
    let metrics = free_address();
    let installation = with_model(Installation::new(), &answer.model)
        .with("VOCERO_SERVER__SHUTDOWN_GRACE", "600")
        .with("VOCERO_SERVER__METRICS_LISTEN", &metrics);
    let server = installation.serve();
    let response = answer.begin(&installation, &server).await;

    server.send(Signal::TERM);
    while status(&format!("http://{metrics}/readyz")).await != Some(503) {}
    server.send(Signal::TERM);
    let (exit, log) = server.wait();
    assert_eq!(exit.code(), Some(128 + 15), "{log}");
    drop(response);
}

#[test]
fn a_stalled_request_head_is_cut_while_others_are_answered() {
    let installation = Installation::new().with("VOCERO_SERVER__HEADER_TIMEOUT", "0.5");
    let server = installation.serve();
    let mut silent = connect(&server);
    let mut stalled = connect(&server);
    stalled.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ").expect("room");

    let mut prompt = connect(&server);
    prompt
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("room");
    let mut answer = String::new();
    prompt.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    for stream in [&mut silent, &mut stalled] {
        let mut rest = Vec::new();
        // Cut with or without a 408; either way the connection is over.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    server.stop();
}

#[test]
fn a_body_that_never_comes_does_not_hold_up_the_stop() {
    let installation = Installation::new().with("VOCERO_SERVER__HEADER_TIMEOUT", "0.5");
    let server = installation.serve();
    let key = installation.json(&["init"])["apiKey"].as_str().expect("a key").to_owned();
    let mut stalled = connect(&server);
    let head = format!(
        "POST /api/v2/agents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stalled.write_all(head.as_bytes()).expect("room");
    let mut answer = String::new();
    let _ = stalled.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let installation = Installation::new().with("VOCERO_SERVER__MAX_CONNECTIONS", "1");
    let server = installation.serve();
    let mut first = connect(&server);
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    first.write_all(request).expect("room");
    let mut byte = [0; 1];
    first.read_exact(&mut byte).expect("an answer");

    let mut second = connect(&server);
    second.write_all(request).expect("room");
    second.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
    assert!(second.read(&mut byte).is_err(), "the second waits");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    second.read_exact(&mut byte).expect("its turn");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_on_their_own_port_only() {
    let metrics = free_address();
    let installation = Installation::new().with("VOCERO_SERVER__METRICS_LISTEN", &metrics);
    let server = installation.serve();
    assert_eq!(status(&format!("{}/healthz", server.url)).await, Some(200));
    let text = http().get(format!("http://{metrics}/metrics")).send().await.expect("an answer");
    let text = text.text().await.expect("a text");
    assert!(text.contains("vocero_http_requests_total"), "{text}");
    assert_eq!(status(&format!("{}/metrics", server.url)).await, Some(404));
    assert_eq!(status(&format!("http://{metrics}/api/v2/agents")).await, Some(404));
    server.stop();
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
