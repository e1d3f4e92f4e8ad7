//! Calls that a person must allow: asked for, decided, carried out once, answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::any;
use domain::conversation::Transition;
use domain::{Ambient, ManualClock, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};
use testkit::db::{TestDb, databases};
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::events;
use crate::support::{PATIENCE, TestApp, read};

const QUESTION: &str = "Reserva una mesa para cuatro, por favor";

/// A server that takes bookings: what was sent to it.
#[derive(Clone, Default)]
struct Bookings {
    taken: Arc<Mutex<Vec<Value>>>,
    arrived: Arc<Notify>,
    /// Whether it never answers.
    hangs: bool,
}

impl Bookings {
    /// Its address.
    async fn serve(&self) -> String {
        let bookings = self.clone();
        let take = any(move |body: String| {
            let bookings = bookings.clone();
            async move {
                bookings.taken.lock().unwrap().push(serde_json::from_str(&body).unwrap());
                bookings.arrived.notify_one();
                if bookings.hangs {
                    std::future::pending::<()>().await;
                }
                json!({"code": "R-77"}).to_string()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(take);
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        base
    }
}

/// The product with an agent that books tables, when it may.
struct Place {
    app: TestApp,
    model: ModelServer,
    bookings: Bookings,
    agent: String,
}

async fn start(database: TestDb, ambient: Ambient, model: &ModelServer) -> TestApp {
    let base_url = model.base_url().parse().unwrap();
    TestApp::with_ambient(database, ambient, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
        settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await
}

impl Place {
    async fn new(database: TestDb, ambient: Ambient, hangs: bool) -> Self {
        let model = ModelServer::start().await.unwrap();
        let app = start(database, ambient, &model).await;
        let bookings = Bookings { hangs, ..Bookings::default() };
        let base = bookings.serve().await;
        let tool = json!({
            "type": "http",
            "name": "book_table",
            "description": "Books a table.",
            "method": "POST",
            "url": format!("{base}/bookings"),
            "headers": [{"name": "x-key", "value": "planted-secret", "secret": true}],
            "parameters": [{"name": "people", "type": "integer", "required": true}],
            "approval": true,
        });
        let body = json!({"name": "Reservas", "tools": [tool]});
        let made = app.post("/api/v2/agents", &body).await.expect(201);
        let agent = made["id"].as_str().unwrap().to_owned();
        Self { app, model, bookings, agent }
    }

    async fn each(test: &str) -> Vec<Self> {
        let mut places = Vec::new();
        for database in databases(test).await {
            places.push(Self::new(database, Ambient::system(), false).await);
        }
        places
    }

    /// Asks for a table; the answer that says that a person is asked, and the approval.
    async fn ask(&self) -> (Value, Value) {
        let call = ModelReply::text("").tool_call("call_1", "book_table", &["{\"people\": 4}"]);
        self.model.enqueue(call);
        let path = format!("/api/v2/agents/{}/chat", self.agent);
        let answer = self.app.post(&path, &json!({"query": QUESTION})).await.expect(200);
        let waiting = self.app.get("/api/v2/approvals?status=waiting").await.expect(200);
        assert_eq!(waiting["data"].as_array().unwrap().len(), 1, "{waiting}");
        (answer, waiting["data"][0].clone())
    }

    async fn decide(&self, approval: &Value, body: &Value) -> crate::support::Reply {
        self.app.post(&path_of(approval), body).await
    }

    /// The messages of a conversation: who wrote each, its outcome, and its text.
    async fn messages(&self, conversation: &Value) -> Vec<Value> {
        let path = format!("/api/v2/conversations/{}/messages", conversation.as_str().unwrap());
        self.app.get(&path).await.expect(200)["data"].as_array().unwrap().clone()
    }

    /// What the model was told last.
    fn told(&self) -> String {
        let requests = self.model.requests_to(Endpoint::Chat);
        let messages = requests.last().unwrap().body["messages"].as_array().unwrap();
        let last = messages.last().unwrap();
        assert_eq!((&last["role"], &last["tool_call_id"]), (&json!("tool"), &json!("call_1")));
        last["content"].as_str().unwrap().to_owned()
    }
}

fn path_of(approval: &Value) -> String {
    format!("/api/v2/approvals/{}", approval["id"].as_str().unwrap())
}

/// Waits until an approval stands so; the approval.
async fn becomes(app: &TestApp, approval: &Value, status: &str) -> Value {
    let mut wakeups = app.db.wakeups();
    let waiting = async {
        loop {
            let found = app.get(&path_of(approval)).await.expect(200);
            if found["status"] == status && (found["answerId"].is_string() || status == "failed") {
                return found;
            }
            // Another process may have been given the wake-up.
            let _ = tokio::time::timeout(Duration::from_secs(1), wakeups.recv()).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that")
}

async fn event_kinds(app: &TestApp) -> Vec<String> {
    let mut conn = app.db.read().await.unwrap();
    let all = storage::events::list(&mut conn, app.tenant.workspace, 0, 1_000).await.unwrap();
    assert!(!all.iter().any(|event| event.payload.to_string().contains("planted-secret")));
    let kinds = all.into_iter().map(|event| event.kind);
    kinds.filter(|kind| kind.starts_with("approval.")).collect()
}

#[tokio::test]
async fn an_allowed_call_is_made_once_and_the_answer_follows() {
    for place in Place::each("an_allowed_call").await {
        let (answer, approval) = place.ask().await;
        assert_eq!(answer["outcome"], "awaiting-approval", "{answer}");
        let text = answer["answer"].as_str().unwrap();
        assert!(text.contains("confirme"), "{text}");
        assert_eq!(answer["tools"][0]["status"], "waiting");
        assert!(place.bookings.taken.lock().unwrap().is_empty(), "nothing is sent before");
        assert_eq!(approval["arguments"], json!({"people": 4}));
        assert!(approval["target"].as_str().unwrap().starts_with("POST http://127.0.0.1"));
        assert!(!approval.to_string().contains("planted-secret"), "{approval}");

        place.model.enqueue(ModelReply::text("Mesa reservada, código R-77."));
        let decided = place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        assert!(decided["decidedBy"].is_string(), "{decided}");
        let done = becomes(&place.app, &approval, "done").await;
        assert_eq!(*place.bookings.taken.lock().unwrap(), [json!({"people": 4})]);
        assert!(place.told().contains("R-77"));
        let messages = place.messages(&answer["conversationId"]).await;
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert_eq!(messages[2]["id"], done["answerId"]);
        assert_eq!(messages[2]["content"], "Mesa reservada, código R-77.");
        assert_eq!(messages[2]["outcome"], "answered");
        assert_eq!(messages[2]["tools"][0]["status"], "done");
        assert_eq!(event_kinds(&place.app).await, ["approval.requested", "approval.decided"]);

        let again = place.decide(&approval, &json!({"decision": "deny"})).await;
        again.expect_error(409, "CONFLICT");
        let usage = place.app.get("/api/v2/usage").await.expect(200);
        assert_eq!(
            (&usage["total"]["answers"], &usage["total"]["calls"]),
            (&json!(1), &json!(2)),
            "{usage}"
        );
    }
}

#[tokio::test]
async fn a_stream_tells_that_the_call_waits_and_the_models_words_stand() {
    for place in Place::each("a_stream_tells").await {
        let call = ModelReply::tokens(&["Un ", "momento."]);
        place.model.enqueue(call.tool_call("call_1", "book_table", &["{\"people\": 4}"]));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let body = json!({"query": QUESTION, "streaming": true});
        let reply = read(place.app.request(Method::POST, &path).json(&body)).await;
        let events = events::parse(&reply.text);
        let of = |name: &str| -> Vec<Value> {
            let found = events.iter().filter(|event| event.name == name);
            found.map(|event| event.data.clone()).collect()
        };
        let statuses: Vec<Value> = of("tool").iter().map(|tool| tool["status"].clone()).collect();
        assert_eq!(statuses, ["running", "waiting"]);
        assert_eq!(of("done")[0]["answer"], "Un momento.");
        assert_eq!(of("done")[0]["outcome"], "awaiting-approval");
    }
}

#[tokio::test]
async fn a_call_that_could_not_be_made_is_not_asked_about() {
    for place in Place::each("not_asked_about").await {
        let call = ModelReply::text("").tool_call("call_1", "book_table", &["{\"people\": \"x\"}"]);
        place.model.enqueue(call);
        place.model.enqueue(ModelReply::text("¿Cuántos son?"));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let answer = place.app.post(&path, &json!({"query": QUESTION})).await.expect(200);
        assert_eq!(answer["answer"], "¿Cuántos son?");
        let all = place.app.get("/api/v2/approvals").await.expect(200);
        assert!(all["data"].as_array().unwrap().is_empty());
        for (path, field) in [("/api/v2/approvals?status=maybe", "status")] {
            place.app.get(path).await.expect_field(field);
        }
    }
}

#[tokio::test]
async fn a_denied_call_is_not_made_and_the_model_says_so() {
    for place in Place::each("a_denied_call").await {
        let (answer, approval) = place.ask().await;
        place.model.enqueue(ModelReply::text("No se puede esta noche."));
        let body = json!({"decision": "deny", "note": "cerramos por inventario"});
        place.decide(&approval, &body).await.expect(202);
        becomes(&place.app, &approval, "denied").await;
        assert!(place.bookings.taken.lock().unwrap().is_empty());
        let told = place.told();
        assert!(told.contains("did not allow") && told.contains("inventario"), "{told}");
        let messages = place.messages(&answer["conversationId"]).await;
        assert_eq!(messages[2]["content"], "No se puede esta noche.");
        assert_eq!(messages[2]["tools"][0]["status"], "failed");
    }
}

#[tokio::test]
async fn another_process_goes_on_with_the_turn() {
    for place in Place::each("another_process").await {
        let (answer, approval) = place.ask().await;
        let next = place
            .app
            .succeeded_by(async |db| start(db, Ambient::system(), &place.model).await)
            .await;
        place.model.enqueue(ModelReply::text("Mesa reservada."));
        next.post(&path_of(&approval), &json!({"decision": "approve"})).await.expect(202);
        becomes(&next, &approval, "done").await;
        assert_eq!(place.bookings.taken.lock().unwrap().len(), 1);
        let path = format!(
            "/api/v2/conversations/{}/messages",
            answer["conversationId"].as_str().unwrap()
        );
        let messages = next.get(&path).await.expect(200);
        assert_eq!(messages["data"][2]["content"], "Mesa reservada.");
    }
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_not_made_again() {
    for database in databases("cut_off").await {
        let place = Place::new(database, Ambient::system(), true).await;
        let (_, approval) = place.ask().await;
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        tokio::time::timeout(PATIENCE, place.bookings.arrived.notified()).await.unwrap();
        place.model.enqueue(ModelReply::text("No sé si quedó reservada."));
        let next = place
            .app
            .succeeded_by(async |db| start(db, Ambient::system(), &place.model).await)
            .await;
        becomes(&next, &approval, "done").await;
        assert_eq!(place.bookings.taken.lock().unwrap().len(), 1, "sent once");
        assert!(place.told().contains("nobody knows"), "{}", place.told());
    }
}

#[tokio::test]
async fn nothing_is_sent_or_said_once_a_person_has_the_conversation() {
    for place in Place::each("approval_takeover").await {
        let (answer, approval) = place.ask().await;
        let mut tx = place.app.db.write().await.unwrap();
        let id = answer["conversationId"].as_str().unwrap().parse().unwrap();
        let (workspace, now) = (place.app.tenant.workspace, place.app.ambient.now());
        storage::conversations::transition(&mut tx, workspace, id, Transition::RequestHuman, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        let failed = becomes(&place.app, &approval, "failed").await;
        assert!(failed["error"].as_str().unwrap().contains("a person"), "{failed}");
        assert!(place.bookings.taken.lock().unwrap().is_empty());
        assert_eq!(place.messages(&answer["conversationId"]).await.len(), 2);
        assert_eq!(place.model.requests_to(Endpoint::Chat).len(), 1);
    }
}

#[tokio::test]
async fn a_message_meanwhile_is_an_ordinary_turn() {
    for place in Place::each("approval_meanwhile").await {
        let (answer, approval) = place.ask().await;
        place.model.enqueue(ModelReply::text("Claro, dime."));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let body = json!({"query": "Y otra pregunta: ¿tienen terraza?", "conversationId": answer["conversationId"]});
        place.app.post(&path, &body).await.expect(200);
        place.model.enqueue(ModelReply::text("Mesa reservada."));
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        becomes(&place.app, &approval, "done").await;
        let messages = place.messages(&answer["conversationId"]).await;
        assert_eq!(messages.last().unwrap()["content"], "Mesa reservada.");
        assert_eq!(messages.len(), 5);
    }
}

#[tokio::test]
async fn what_nobody_decides_in_time_is_not_made() {
    for database in databases("approval_expiry").await {
        let clock =
            Arc::new(ManualClock::new(Timestamp::parse_rfc3339("2026-11-20T10:00:00Z").unwrap()));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let place = Place::new(database, ambient, false).await;
        let (_, approval) = place.ask().await;
        assert_eq!(approval["expiresAt"], "2026-11-21T10:00:00.000Z");
        clock.advance(Duration::from_hours(24));
        place
            .decide(&approval, &json!({"decision": "approve"}))
            .await
            .expect_error(409, "CONFLICT");
        place.model.enqueue(ModelReply::text("Nadie pudo confirmarlo."));
        // Any work wakes the worker, which sees what the time is.
        place.app.learn("FAQ", "Abrimos de 9 a 18.").await;
        becomes(&place.app, &approval, "expired").await;
        assert!(place.told().contains("in time"), "{}", place.told());
        assert!(place.bookings.taken.lock().unwrap().is_empty());
        assert_eq!(event_kinds(&place.app).await, ["approval.requested", "approval.decided"]);
    }
}

/// The events of a stream as text, without their ids.
async fn stream(place: &Place, body: &Value) -> (String, crate::support::Reply) {
    let path = format!("/api/v2/agents/{}/chat", place.agent);
    let reply = read(place.app.request(Method::POST, &path).json(body)).await;
    let message = reply.header("x-message-id").to_owned();
    (message, reply)
}

async fn take_over(place: &Place, conversation: &Value) {
    let mut tx = place.app.db.write().await.unwrap();
    let id = conversation.as_str().unwrap().parse().unwrap();
    let (workspace, now) = (place.app.tenant.workspace, place.app.ambient.now());
    let taken = Transition::RequestHuman;
    storage::conversations::transition(&mut tx, workspace, id, taken, now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_resumable_stream_ends_with_the_word_that_waits_and_the_answer_is_reached_later() {
    for place in Place::each("approval_resumable").await {
        let call = ModelReply::text("").tool_call("call_1", "book_table", &["{\"people\": 4}"]);
        place.model.enqueue(call);
        let body = json!({"query": QUESTION, "streaming": true, "resumable": true});
        let (message, reply) = stream(&place, &body).await;
        let told = events::parse(&reply.text);
        let done = events::check(&told);
        assert_eq!(done["outcome"], "awaiting-approval", "{done}");
        assert!(done["answer"].as_str().unwrap().contains("confirme"), "{done}");
        assert_eq!(done["messageId"], message);
        let waiting = place.app.get("/api/v2/approvals?status=waiting").await.expect(200);
        let approval = waiting["data"][0].clone();
        assert_eq!(approval["messageId"], message);

        place.model.enqueue(ModelReply::text("Mesa reservada, código R-77.").usage(70, 7));
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        let decided = becomes(&place.app, &approval, "done").await;
        let joined = format!("/api/v2/agents/{}/chat/{message}/stream", place.agent);
        let elsewhere = place.app.beside().await;
        for app in [&place.app, &elsewhere] {
            let again = read(app.request(Method::GET, &joined)).await;
            assert_eq!(events::check(&events::parse(&again.text)), done, "what was said stands");
        }
        let messages = place.messages(&done["conversationId"]).await;
        assert_eq!(messages[2]["id"], decided["answerId"]);
        assert_eq!(messages[2]["content"], "Mesa reservada, código R-77.");

        // Its trace has the call that was allowed and the model's second round.
        let answer = decided["answerId"].as_str().unwrap();
        let trace = place.app.get(&format!("/api/v2/messages/{answer}/trace")).await.expect(200);
        let steps = trace["steps"].as_array().unwrap();
        let of = |kind: &str| steps.iter().find(|step| step["kind"] == kind);
        let tool = of("tool").unwrap_or_else(|| panic!("{trace}"));
        assert!(
            tool.to_string().contains("book_table") && tool.to_string().contains("R-77"),
            "{tool}"
        );
        assert!(of("model").is_some() && !trace.to_string().contains("planted-secret"), "{trace}");
        assert_eq!(
            (&trace["tokens"]["prompt"], &trace["tokens"]["completion"]),
            (&json!(70), &json!(7)),
            "{trace}"
        );
        let first = place.app.get(&format!("/api/v2/messages/{message}/trace")).await.expect(200);
        assert_eq!(first["outcome"], "awaiting-approval", "{first}");
    }
}

#[tokio::test]
async fn a_turn_that_waited_takes_from_each_budget_once() {
    for place in Place::each("approval_budgets").await {
        let mut budgets = Vec::new();
        for (unit, limit) in [("answers", 1), ("tokens", 100_000)] {
            let body =
                json!({"scope": "workspace", "unit": unit, "period": "month", "limit": limit});
            let made = place.app.post("/api/v2/budgets", &body).await.expect(201);
            budgets.push(format!("/api/v2/budgets/{}", made["id"].as_str().unwrap()));
        }
        let used = async || {
            let all = place.app.get("/api/v2/budgets").await.expect(200);
            let all = all["data"].as_array().unwrap().clone();
            let of = |unit: &str| {
                let budget = all.iter().find(|budget| budget["unit"] == unit).unwrap();
                budget["used"].as_i64().unwrap()
            };
            [of("answers"), of("tokens")]
        };
        let call = ModelReply::text("").tool_call("call_1", "book_table", &["{\"people\": 4}"]);
        place.model.enqueue(call.usage(100, 10));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let ask = json!({"query": QUESTION});
        let answer = place.app.post(&path, &ask).await.expect(200);
        assert_eq!(answer["outcome"], "awaiting-approval", "{answer}");
        assert_eq!(
            used().await,
            [0, 110],
            "a question is answered once: not by the word that waits"
        );
        let waiting = place.app.get("/api/v2/approvals?status=waiting").await.expect(200);
        place.model.enqueue(ModelReply::text("Mesa reservada.").usage(200, 20));
        let decided = json!({"decision": "approve"});
        place.decide(&waiting["data"][0], &decided).await.expect(202);
        becomes(&place.app, &waiting["data"][0], "done").await;
        assert_eq!(used().await, [1, 330]);
        place.app.post(&path, &ask).await.expect_error(402, "USAGE_LIMIT");

        // What is used up while it waits is not there any more, and nothing is sent.
        place.app.put(&budgets[0], &json!({"limit": 2})).await.expect(200);
        let (_, approval) = place.ask().await;
        place.model.enqueue(ModelReply::text("Claro.").usage(1, 1));
        place.app.post(&path, &json!({"query": "¿Y la terraza?"})).await.expect(200);
        place.decide(&approval, &decided).await.expect(202);
        let failed = becomes(&place.app, &approval, "failed").await;
        assert!(failed["error"].as_str().unwrap().contains("budget"), "{failed}");
        assert_eq!(place.bookings.taken.lock().unwrap().len(), 1, "only the first one");
        assert_eq!(used().await[0], 2);
    }
}

#[tokio::test]
async fn a_turn_that_waits_can_be_stopped() {
    for place in Place::each("approval_stop").await {
        let (answer, approval) = place.ask().await;
        let message = answer["messageId"].as_str().unwrap();
        let stop = format!("/api/v2/agents/{}/chat/{message}/stop", place.agent);
        let theirs = place.app.other_tenant().await;
        read(place.app.request_as(&theirs.key, Method::POST, &stop))
            .await
            .expect_error(404, "NOT_FOUND");
        let of_other = stop.replace(&place.agent, &place.app.tenant.agent);
        read(place.app.request(Method::POST, &of_other)).await.expect_error(404, "NOT_FOUND");
        assert_eq!(place.app.get(&path_of(&approval)).await.expect(200)["status"], "waiting");
        let elsewhere = place.app.beside().await;
        read(elsewhere.request(Method::POST, &stop)).await.expect(202);
        let failed = becomes(&place.app, &approval, "failed").await;
        assert_eq!(failed["error"], "the turn was stopped");
        let late = place.decide(&approval, &json!({"decision": "approve"})).await;
        late.expect_error(409, "CONFLICT");
        read(place.app.request(Method::POST, &stop)).await.expect_error(404, "NOT_FOUND");
        assert!(place.bookings.taken.lock().unwrap().is_empty());
        assert_eq!(place.messages(&answer["conversationId"]).await.len(), 2);
        assert_eq!(place.model.requests_to(Endpoint::Chat).len(), 1);
    }
}

#[tokio::test]
async fn a_turn_that_goes_on_after_its_word_can_be_stopped_too() {
    for database in databases("approval_stop_going_on").await {
        let place = Place::new(database, Ambient::system(), true).await;
        let (answer, approval) = place.ask().await;
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        tokio::time::timeout(PATIENCE, place.bookings.arrived.notified()).await.unwrap();
        let message = answer["messageId"].as_str().unwrap();
        let stop = format!("/api/v2/agents/{}/chat/{message}/stop", place.agent);
        read(place.app.request(Method::POST, &stop)).await.expect(202);
        becomes(&place.app, &approval, "failed").await;
        // The conversation is free at once: the next turn does not wait for the call that hangs.
        place.model.enqueue(ModelReply::text("Claro, dime."));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let body = json!({"query": "¿Tienen terraza?", "conversationId": answer["conversationId"]});
        let next = place.app.post(&path, &body).await.expect(200);
        assert_eq!(next["answer"], "Claro, dime.");
        let messages = place.messages(&answer["conversationId"]).await;
        assert_eq!(messages.len(), 4, "nothing was said for the call that was stopped");
    }
}

#[tokio::test]
async fn nothing_is_said_when_a_person_takes_over_while_the_turn_goes_on() {
    for place in Place::each("approval_takeover_midway").await {
        let (answer, approval) = place.ask().await;
        let go = Arc::new(Notify::new());
        place.model.enqueue(ModelReply::tokens(&["Mesa "]).hold(go.clone()).then(&["reservada."]));
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        place.model.wait_for_requests(2).await;
        take_over(&place, &answer["conversationId"]).await;
        go.notify_one();
        let failed = becomes(&place.app, &approval, "failed").await;
        assert!(failed["error"].as_str().unwrap().contains("a person"), "{failed}");
        assert_eq!(place.messages(&answer["conversationId"]).await.len(), 2);
        let usage = place.app.get("/api/v2/usage").await.expect(200);
        assert_eq!(usage["total"]["calls"], 2, "both calls are paid: {usage}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_told_the_newest_word() {
    for place in Place::each("approval_repeated").await {
        let call = ModelReply::text("").tool_call("call_1", "book_table", &["{\"people\": 4}"]);
        place.model.enqueue(call);
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let ask = async || {
            let request = place.app.request(Method::POST, &path).json(&json!({"query": QUESTION}));
            read(request.header("idempotency-key", "pedido-9")).await.expect(200)
        };
        let first = ask().await;
        assert_eq!(first["outcome"], "awaiting-approval");
        assert_eq!(ask().await["messageId"], first["messageId"]);
        let waiting = place.app.get("/api/v2/approvals?status=waiting").await.expect(200);
        assert_eq!(waiting["data"].as_array().unwrap().len(), 1, "asked about once");
        place.model.enqueue(ModelReply::text("Mesa reservada."));
        place.decide(&waiting["data"][0], &json!({"decision": "approve"})).await.expect(202);
        becomes(&place.app, &waiting["data"][0], "done").await;
        assert_eq!(ask().await["answer"], "Mesa reservada.");
        assert_eq!(place.bookings.taken.lock().unwrap().len(), 1);
        assert_eq!(place.model.requests_to(Endpoint::Chat).len(), 2);
    }
}

#[tokio::test]
async fn a_turn_that_goes_on_is_stopped_from_another_process() {
    for place in Place::each("approval_stop_elsewhere").await {
        let (answer, approval) = place.ask().await;
        place.model.enqueue(ModelReply::tokens(&["Mesa ", "reser"]).usage(9, 2).then_hang());
        place.decide(&approval, &json!({"decision": "approve"})).await.expect(202);
        place.model.wait_for_requests(2).await;
        // Whoever joins now does not run the turn.
        let elsewhere = place.app.beside().await;
        let message = answer["messageId"].as_str().unwrap();
        let stop = format!("/api/v2/agents/{}/chat/{message}/stop", place.agent);
        read(elsewhere.request(Method::POST, &stop)).await.expect(202);
        place.model.wait_for_departures(1).await;
        let failed = becomes(&elsewhere, &approval, "failed").await;
        assert_eq!(failed["error"], "the turn was stopped");
        // The conversation is free, and nothing was said.
        place.model.enqueue(ModelReply::text("Claro, dime."));
        let path = format!("/api/v2/agents/{}/chat", place.agent);
        let body = json!({"query": "¿Tienen terraza?", "conversationId": answer["conversationId"]});
        assert_eq!(elsewhere.post(&path, &body).await.expect(200)["answer"], "Claro, dime.");
        assert_eq!(place.messages(&answer["conversationId"]).await.len(), 4);
    }
}
