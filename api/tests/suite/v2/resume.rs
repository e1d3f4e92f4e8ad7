//! Streams that go on when their reader leaves and are joined again, on whichever process.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use storage::streams::{self, NewStream, StreamBatch, StreamEvent};
use testkit::db::{TestDb, databases};
use testkit::model_server::{ModelServer, Reply as ModelReply};
use tokio::sync::Notify;

use super::provider::{QUESTION, app_on, read_until};
use crate::clients;
use crate::events::{self, Event};
use crate::support::{Reply, TestApp, read};

const SAID: [&str; 2] = ["Abrimos ", "de 9 a 18"];

/// An answer that is under way: its two pieces were said, the rest waits for `more`.
struct UnderWay {
    app: TestApp,
    server: ModelServer,
    more: Arc<Notify>,
    message: String,
    conversation: String,
    /// What the reader got before it left.
    seen: String,
}

impl UnderWay {
    /// Asked, read so far, and left.
    async fn begin(database: TestDb) -> Self {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        let more = Arc::new(Notify::new());
        server.enqueue(ModelReply::tokens(&SAID).hold(more.clone()).then(&[" hs. [1]"]));
        let request = ask(&app).header("idempotency-key", "pedido-1");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (message, conversation) = (header("x-message-id"), header("x-conversation-id"));
        let seen = read_until(&mut response.bytes_stream(), "de 9 a 18").await;
        Self { app, server, more, message, conversation, seen }
    }

    fn path(&self) -> String {
        format!("{}/{}/stream", self.app.chat_path(), self.message)
    }

    /// The whole stream after an event.
    async fn join(&self, app: &TestApp, after: Option<&str>) -> Reply {
        let request = app.request_as(&self.app.tenant.key, Method::GET, &self.path());
        let request = match after {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        read(request).await
    }

    /// What was seen before leaving, without what arrived in part.
    fn before(&self) -> Vec<Event> {
        let end = self.seen.rfind("\n\n").unwrap() + 2;
        events::parse(&self.seen[..end])
    }
}

fn ask(app: &TestApp) -> reqwest::RequestBuilder {
    let body = json!({"query": QUESTION, "streaming": true, "resumable": true});
    app.request(Method::POST, &app.chat_path()).json(&body)
}

fn told(events: &[Event]) -> Vec<(String, String, Value)> {
    let told = events.iter().map(|e| (e.id.clone(), e.name.clone(), e.data.clone()));
    told.collect()
}

#[tokio::test]
async fn a_stream_goes_on_without_its_reader_and_is_joined_where_it_was_left() {
    for database in databases("resumable streams").await {
        let turn = UnderWay::begin(database).await;
        let elsewhere = turn.app.beside().await;
        let before = turn.before();
        let last = before.last().unwrap().id.clone();
        // Three readers: here from where it was left, elsewhere too, and elsewhere from the start.
        let (here, there, whole, ()) = tokio::join!(
            turn.join(&turn.app, Some(&last)),
            turn.join(&elsewhere, Some(&last)),
            turn.join(&elsewhere, None),
            async { turn.more.notify_one() },
        );
        for reply in [&here, &there, &whole] {
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(reply.header("content-type"), "text/event-stream");
            assert_eq!(reply.header("x-message-id"), turn.message);
            assert_eq!(reply.header("x-conversation-id"), turn.conversation);
        }
        let all = events::parse(&whole.text);
        let done = events::check(&all);
        assert_eq!(done["answer"], "Abrimos de 9 a 18 hs. [1]");
        assert_eq!(
            (&done["messageId"], &done["state"]),
            (&json!(turn.message), &json!("complete"))
        );
        assert_eq!(told(&before), told(&all[..before.len()]), "the same events with the same ids");
        for reply in [&here, &there] {
            assert_eq!(told(&events::parse(&reply.text)), told(&all[before.len()..]));
        }
        // It is over: who has all of it is told to stay away, who has not is told the rest.
        let end = all.last().unwrap().id.clone();
        for app in [&turn.app, &elsewhere] {
            let over = turn.join(app, Some(&end)).await;
            assert_eq!((over.status.as_u16(), over.text.as_str()), (204, ""));
            let rest = turn.join(app, Some(&last)).await;
            assert_eq!(told(&events::parse(&rest.text)), told(&all[before.len()..]));
        }
        // The same request again is the same stream.
        let request = ask(&turn.app).header("idempotency-key", "pedido-1");
        assert_eq!(told(&events::parse(&read(request).await.text)), told(&all));
        assert_eq!(turn.server.requests().len(), 1, "the model was asked once");
    }
}

#[tokio::test]
async fn a_repeated_request_joins_the_turn_that_answers_it() {
    for database in databases("repeated resumable request").await {
        let turn = UnderWay::begin(database).await;
        let plain = json!({"query": QUESTION, "streaming": true});
        let plain = turn.app.request(Method::POST, &turn.app.chat_path()).json(&plain);
        let plain = read(plain.header("idempotency-key", "pedido-1")).await;
        plain.expect_error(409, "CONFLICT");
        let elsewhere = turn.app.beside().await;
        let again = |app: &TestApp| read(ask(app).header("idempotency-key", "pedido-1"));
        let (here, there, ()) =
            tokio::join!(again(&turn.app), again(&elsewhere), async { turn.more.notify_one() });
        for reply in [here, there] {
            assert_eq!(reply.header("x-message-id"), turn.message, "{}", reply.text);
            let done = events::check(&events::parse(&reply.text));
            assert_eq!(done["answer"], "Abrimos de 9 a 18 hs. [1]");
        }
        assert_eq!(turn.server.requests().len(), 1, "the model was asked once");
    }
}

#[tokio::test]
async fn a_turn_that_nobody_reads_is_stopped() {
    for from_elsewhere in [false, true] {
        for database in databases("stop of a resumable turn").await {
            let turn = UnderWay::begin(database).await;
            let elsewhere = turn.app.beside().await;
            let app = if from_elsewhere { &elsewhere } else { &turn.app };
            let path = format!("{}/{}/stop", turn.app.chat_path(), turn.message);
            let key = &turn.app.tenant.key;
            read(app.request_as(key, Method::POST, &path)).await.expect(202);
            let done = events::check(&events::parse(&turn.join(app, None).await.text));
            assert_eq!(done["state"], "interrupted");
            assert_eq!(done["answer"], "Abrimos de 9 a 18");
            turn.server.wait_for_departures(1).await;
            read(app.request_as(key, Method::POST, &path)).await.expect_error(404, "NOT_FOUND");
        }
    }
}

/// A turn as a process that died left it: two events are stored, and nothing more will be.
async fn abandoned(app: &TestApp, conversation: &str) -> String {
    let (message, question) = (app.ambient.new_id(), app.ambient.new_id());
    let stream = NewStream {
        message,
        conversation: conversation.parse().unwrap(),
        question,
        owner: "gone",
        live_until: app.ambient.now(),
    };
    let event = |id| StreamEvent {
        id,
        kind: "token".to_owned(),
        data: json!({"text": format!("{id} ")}).to_string(),
    };
    let events = [event(1), event(2)];
    let batch = StreamBatch { message, events: &events, ended: false };
    let (workspace, now) = (app.tenant.workspace, app.ambient.now());
    let mut tx = app.db.write().await.unwrap();
    streams::insert(&mut tx, workspace, &stream).await.unwrap();
    assert!(streams::append(&mut tx, workspace, &batch, "gone", now).await.unwrap());
    tx.commit().await.unwrap();
    message.to_string()
}

#[tokio::test]
async fn a_turn_whose_process_died_ends_as_an_error_for_everyone() {
    for app in TestApp::on_each_database("lost turns").await {
        let answer = app.post(&app.chat_path(), &json!({"query": "hola"})).await.expect(200);
        let message = abandoned(&app, answer["conversationId"].as_str().unwrap()).await;
        let path = format!("{}/{message}/stream", app.chat_path());
        let (one, two) = tokio::join!(app.get(&path), app.get(&path));
        assert_eq!(one.text, two.text, "each is told the same");
        let events = events::parse(&one.text);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["token", "token", "error"]);
        assert_eq!(events[2].data["code"], "TURN_LOST");
        // Events that were told and never stored do not hide the end.
        let seen_more = app.get(&format!("{path}?lastEventId=40")).await;
        assert_eq!(told(&events::parse(&seen_more.text)), told(&events[2..]));
        let end = &events[2].id;
        assert_eq!(app.get(&format!("{path}?lastEventId={end}")).await.status, 204);
    }
}

#[tokio::test]
async fn what_is_left_of_an_old_stream_is_its_answer() {
    for database in databases("swept streams").await {
        let turn = UnderWay::begin(database).await;
        turn.more.notify_one();
        let all = events::parse(&turn.join(&turn.app, None).await.text);
        let elsewhere = turn.app.beside().await;
        let ended = events::parse(&turn.join(&elsewhere, None).await.text);
        assert_eq!(told(&ended), told(&all), "it is stored");
        let later = turn.app.ambient.now().plus(std::time::Duration::from_secs(1));
        let mut tx = turn.app.db.write().await.unwrap();
        assert_eq!(streams::sweep(&mut tx, later, 10).await.unwrap(), 1);
        tx.commit().await.unwrap();

        let left = events::parse(&turn.join(&elsewhere, None).await.text);
        let names: Vec<&str> = left.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["source", "token", "done"]);
        let (end, last) = (all.last().unwrap(), left.last().unwrap());
        assert_eq!(left[1].data["text"], end.data["answer"], "the same text");
        assert_eq!((&last.id, &last.data), (&end.id, &end.data), "the end is the end");
        let rest = events::parse(&turn.join(&elsewhere, Some("1")).await.text);
        assert_eq!(told(&rest), told(std::slice::from_ref(end)));
        assert_eq!(turn.join(&elsewhere, Some(&end.id)).await.status, 204);
    }
}

#[tokio::test]
async fn only_what_can_be_joined_is() {
    for database in databases("joining refused").await {
        let turn = UnderWay::begin(database).await;
        let app = &turn.app;
        let other = app.other_tenant().await;
        let theirs = format!("/api/v2/agents/{}/chat/{}/stream", other.agent, turn.message);
        let second = app.post("/api/v2/agents", &json!({"name": "Otra"})).await.expect(201);
        let second = second["id"].as_str().unwrap();
        let of_second = format!("/api/v2/agent/{second}/chat/{}/stream", turn.message);
        let plain = app.post(&app.chat_path(), &json!({"query": "hola"})).await.expect(200);
        let plain = format!("{}/{}/stream", app.chat_path(), plain["messageId"].as_str().unwrap());
        for (key, path) in [
            (&other.key, &turn.path()),
            (&other.key, &theirs),
            (&app.tenant.key, &of_second),
            (&app.tenant.key, &plain),
        ] {
            let reply = read(app.request_as(key, Method::GET, path)).await;
            reply.expect_error(404, "NOT_FOUND");
        }
        turn.join(app, Some("first")).await.expect_field("Last-Event-ID");
        let query = app.get(&format!("{}?lastEventId=-3", turn.path())).await;
        query.expect_field("lastEventId");
        let body = json!({"query": QUESTION, "resumable": true, "streaming": false});
        app.post(&app.chat_path(), &body).await.expect_field("resumable");
        turn.more.notify_one();
        let plural = turn.path().replacen("/agent/", "/agents/", 1);
        events::check(&events::parse(&app.get(&plural).await.text));
    }
}

#[tokio::test]
async fn a_client_library_of_others_reconnects_by_the_last_event() {
    let server = ModelServer::start().await.unwrap();
    let app = app_on(testkit::db::sqlite().await, &server).await;
    server.enqueue(ModelReply::tokens(&["Abrimos ", "de 9 ", "a 18", " hs. [1]"]));
    let program = ["node", "event_source.mjs"];
    let got = clients::run(&app, program, "/api/v2", &[("QUESTION", QUESTION)]).await;
    let texts = got["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap());
    assert_eq!(texts.collect::<String>(), "Abrimos de 9 a 18 hs. [1]", "{got}");
    assert_eq!(got["done"]["answer"], "Abrimos de 9 a 18 hs. [1]");
    // Cut off after the first token; again after the end, when it is told to stay away.
    let ids = got["ids"].as_array().unwrap();
    let (first, last) = (&got["cutAfter"], ids.last().unwrap());
    assert_eq!(got["connections"], json!([null, first, last]), "{got}");
    let expected: Vec<String> = (1..=ids.len()).map(|id| id.to_string()).collect();
    assert_eq!(got["ids"], json!(expected), "no event twice, none missing");
    assert_eq!((&got["status"], &got["closed"]), (&json!(204), &json!(true)), "{got}");
    assert_eq!(server.requests().len(), 1);
}
