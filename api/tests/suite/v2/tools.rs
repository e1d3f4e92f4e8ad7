//! Each tool, called by a scripted model: through the front door, streamed and whole; and each limit that tools have.

use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use domain::settings::Settings;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::db::{TestDb, databases};
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};
use tokio_util::task::TaskTracker;

use crate::events::{self, Event};
use crate::support::{Reply, TestApp, read};

const HOURS: &str = "La tienda atiende los sábados de 10 a 14 horas.";
const GUARANTEE: &str = "La garantía legal de los productos dura seis meses.";
const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

/// A service on a socket: an order's state, an answer that is too large, one that never comes, and an MCP server.
async fn service() -> String {
    let answer = async |request: Request| -> Response {
        let (head, body) = request.into_parts();
        match head.uri.path() {
            "/big" => "x".repeat(100_000).into_response(),
            "/hang" => std::future::pending().await,
            "/mcp" => mcp(&axum::body::to_bytes(body, 1 << 20).await.unwrap()).await,
            _ => json!({"order": {"state": "enviado"}}).to_string().into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

/// A server with the tools `size`, whose answer is as long as it is told, and `hang`, which never answers.
async fn mcp(message: &[u8]) -> Response {
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "crm", "version": "1"},
        }),
        "tools/list" => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"tools": [tool("size"), tool("hang")]})
        }
        "tools/call" if message["params"]["name"] == "hang" => std::future::pending().await,
        "tools/call" => {
            let bytes = message["params"]["arguments"]["bytes"].as_u64();
            let length = bytes.and_then(|bytes| usize::try_from(bytes).ok());
            match length {
                Some(length) => json!({"content": [{"type": "text", "text": "y".repeat(length)}]}),
                None => json!({"isError": true, "content": [{"type": "text", "text": "`bytes`?"}]}),
            }
        }
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    ([("content-type", "application/json")], answer).into_response()
}

/// The product, its model, and the service.
struct Place {
    app: TestApp,
    model: ModelServer,
    base: String,
}

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Streamed,
    Whole,
}

const WAYS: [Way; 2] = [Way::Streamed, Way::Whole];

/// What a client got.
struct Got {
    reply: Reply,
    /// Empty for a whole answer.
    events: Vec<Event>,
}

impl Got {
    /// The answer, after checking that it came.
    fn answer(&self, way: Way) -> Value {
        match way {
            Way::Streamed => {
                let last = self.events.last().expect("events");
                assert_eq!(last.name, "done", "{:?}", self.events);
                assert_eq!(events::tokens(&self.events).concat(), last.data["answer"]);
                last.data.clone()
            }
            Way::Whole => {
                assert_eq!(self.reply.status, 200, "{}", self.reply.text);
                self.reply.json()
            }
        }
    }

    /// The code of the error that it ended with.
    fn error(&self, way: Way) -> Value {
        match way {
            Way::Streamed => {
                let last = self.events.last().expect("events");
                assert_eq!(last.name, "error", "{:?}", self.events);
                last.data["code"].clone()
            }
            Way::Whole => self.reply.json()["error"]["code"].clone(),
        }
    }

    fn tool_events(&self) -> Vec<Value> {
        let tools = self.events.iter().filter(|event| event.name == "tool");
        tools.map(|event| event.data.clone()).collect()
    }
}

impl Place {
    async fn new(database: TestDb, change: impl FnOnce(&mut Settings)) -> Self {
        let model = ModelServer::start().await.unwrap();
        let base_url = model.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
            change(settings);
        })
        .await;
        app.learn("Horarios", HOURS).await;
        app.learn("Garantía", GUARANTEE).await;
        Self { app, model, base: service().await }
    }

    /// An agent with a tool beside its knowledge.
    async fn agent(&self, tool: &Value) -> String {
        let tools = if *tool == json!("datastore") {
            json!(["datastore"])
        } else {
            json!(["datastore", tool])
        };
        let body = json!({"name": "Sol", "tools": tools, "settings": {"topK": 1}});
        let made = self.app.post("/api/v2/agents", &body).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, agent: &str, said: &str, way: Way) -> Got {
        let path = format!("/api/v2/agents/{agent}/chat");
        let body = json!({"query": said, "streaming": way == Way::Streamed});
        let reply = read(self.app.request(Method::POST, &path).json(&body)).await;
        let events = match way {
            Way::Streamed => events::parse(&reply.text),
            Way::Whole => Vec::new(),
        };
        Got { reply, events }
    }

    /// The model calls a tool, and answers once it was told what came of it.
    fn script(&self, name: &str, arguments: &Value) {
        self.model.enqueue(calls(name, arguments));
        self.model.enqueue(ModelReply::text(ANSWER));
    }

    /// The messages of the last request to the model.
    fn told(&self) -> Value {
        let requests = self.model.requests_to(Endpoint::Chat);
        requests.last().unwrap().body["messages"].as_array().unwrap().last().unwrap().clone()
    }

    /// What the model was allowed to call, request by request, since `from`.
    fn choices(&self, from: usize) -> Vec<Value> {
        let requests = self.model.requests_to(Endpoint::Chat);
        requests[from..].iter().map(|request| request.body["tool_choice"].clone()).collect()
    }

    fn asked(&self) -> usize {
        self.model.requests_to(Endpoint::Chat).len()
    }

    /// The answer as it is stored.
    async fn stored(&self, answer: &Value) -> Value {
        let conversation = answer["conversationId"].as_str().unwrap();
        let path = format!("/api/v2/conversations/{conversation}/messages");
        let messages = self.app.get(&path).await.expect(200);
        let messages = messages["data"].as_array().unwrap().clone();
        messages.into_iter().find(|stored| stored["id"] == answer["messageId"]).expect("stored")
    }

    async fn tool_limit(&self, answer: &Value) -> Value {
        let path = format!("/api/v2/messages/{}/trace", answer["messageId"].as_str().unwrap());
        self.app.get(&path).await.expect(200)["toolLimit"].clone()
    }
}

fn calls(name: &str, arguments: &Value) -> ModelReply {
    ModelReply::text("").tool_call("call_1", name, &[&arguments.to_string()])
}

const ANSWER: &str = "Los sábados de 10 a 14 [1].";
const HANDOFF: &str = "Te paso con Marta.";
const LEFT: &str =
    "avísenme cuando llegue la mochila roja que pedí, mi correo: ana@ejemplo.com, gracias de nuevo";

/// A tool, a call of it that is carried out, and one that fails.
struct Case {
    tool: Value,
    /// How clients know it: type and name.
    shown: [&'static str; 2],
    /// What the model calls it.
    called: &'static str,
    arguments: Value,
    said: &'static str,
    /// What the model is told; `None` when the turn is over then.
    told: Option<&'static str>,
    /// What the answer is.
    answer: &'static str,
    outcome: &'static str,
    /// Handler and status of the conversation afterwards.
    after: [&'static str; 2],
    /// How far it comes.
    status: &'static str,
    /// Arguments that cannot be, and what the model is told of them.
    wrong: Option<(Value, &'static str)>,
}

impl Case {
    fn of(kind: &'static str, called: &'static str, arguments: Value) -> Self {
        Self {
            tool: json!(kind),
            shown: [kind, kind],
            called,
            arguments,
            said: QUESTION,
            told: None,
            answer: ANSWER,
            outcome: "answered",
            after: ["bot", "open"],
            status: "done",
            wrong: None,
        }
    }
}

fn order_tool(base: &str) -> Value {
    json!({
        "type": "http",
        "name": "find_order",
        "description": "Finds an order.",
        "url": format!("{base}/orders/{{order}}"),
        "parameters": [{"name": "order", "required": true}],
        "result": {"path": "$.order.state"},
    })
}

fn mcp_tool(base: &str) -> Value {
    json!({"type": "mcp", "name": "crm", "url": format!("{base}/mcp"), "allow": ["size", "hang"]})
}

fn with(tool: Value, more: &Value) -> Value {
    let mut tool = tool;
    tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tool
}

/// Every kind of tool.
fn cases(base: &str) -> Vec<Case> {
    let order = json!({"order": "7"});
    vec![
        Case {
            told: Some("seis meses"),
            answer: "Los sábados de 10 a 14 [1].",
            wrong: Some((json!({"query": ""}), "`query` must be")),
            ..Case::of("datastore", "search_knowledge", json!({"query": "garantía de productos"}))
        },
        Case {
            said: LEFT,
            told: Some("\"stillMissing\":[]"),
            answer: "Anotado.",
            outcome: "lead-captured",
            wrong: Some((json!({"email": "otra@inventado.com"}), "error")),
            ..Case::of("lead-capture", "capture_lead", json!({"email": "ana@ejemplo.com"}))
        },
        Case {
            tool: json!({"type": "request-human", "message": HANDOFF}),
            answer: HANDOFF,
            outcome: "handed-off",
            after: ["queue", "unresolved"],
            ..Case::of("request-human", "request_human", json!({"reason": "queja"}))
        },
        Case {
            told: Some("is closed"),
            after: ["bot", "resolved"],
            ..Case::of("mark-as-resolved", "mark_as_resolved", json!({}))
        },
        Case {
            tool: order_tool(base),
            shown: ["http", "find_order"],
            told: Some("enviado"),
            wrong: Some((json!({}), "`order` is missing")),
            ..Case::of("http", "find_order", order.clone())
        },
        Case {
            tool: with(
                order_tool(base),
                &json!({"approval": true, "approvalMessage": "Consulto."}),
            ),
            shown: ["http", "find_order"],
            answer: "Consulto.",
            outcome: "awaiting-approval",
            status: "waiting",
            wrong: Some((json!({"order": 7}), "must be of the type")),
            ..Case::of("http", "find_order", order)
        },
        Case {
            tool: mcp_tool(base),
            shown: ["mcp", "crm_size"],
            told: Some("yyyy"),
            wrong: Some((json!({}), "`bytes`?")),
            ..Case::of("mcp", "crm_size", json!({"bytes": 4}))
        },
        Case {
            tool: with(mcp_tool(base), &json!({"approval": true, "approvalMessage": "Consulto."})),
            shown: ["mcp", "crm_size"],
            answer: "Consulto.",
            outcome: "awaiting-approval",
            status: "waiting",
            ..Case::of("mcp", "crm_size", json!({"bytes": 4}))
        },
    ]
}

#[tokio::test]
async fn every_tool_is_called_streamed_and_whole() {
    for database in databases("every tool").await {
        let place = Place::new(database, |_| {}).await;
        for case in cases(&place.base) {
            let agent = place.agent(&case.tool).await;
            for way in WAYS {
                carried_out(&place, &agent, &case, way).await;
                if case.wrong.is_some() {
                    fails(&place, &agent, &case, way).await;
                }
            }
        }
        let leads = place.app.get("/api/v2/leads").await.expect(200);
        assert_eq!(leads["data"].as_array().unwrap().len(), 2, "one each way: {leads}");
    }
}

/// A call that is carried out: told, streamed, answered, stored.
async fn carried_out(place: &Place, agent: &str, case: &Case, way: Way) {
    let name = format!("{:?} {way:?}", case.tool);
    let before = place.asked();
    place.model.enqueue(calls(case.called, &case.arguments));
    if case.told.is_some() {
        place.model.enqueue(ModelReply::text(case.answer));
    }
    let got = place.ask(agent, case.said, way).await;
    let answer = got.answer(way);
    assert_eq!(answer["answer"], case.answer, "{name}: {answer}");
    assert_eq!(answer["outcome"], case.outcome, "{name}: {answer}");
    let after = [&answer["handler"], &answer["status"]];
    assert_eq!(after, case.after, "{name}: {answer}");
    let used = &answer["tools"][0];
    let shown = [&used["type"], &used["name"], &used["status"]];
    assert_eq!(shown, [case.shown[0], case.shown[1], case.status], "{name}: {answer}");
    assert_eq!(used["arguments"], case.arguments, "{name}");
    assert_eq!(answer["tools"].as_array().unwrap().len(), 1, "{name}");
    if way == Way::Streamed {
        check_events(&got, case, case.status);
    }
    let stored = place.stored(&answer).await;
    assert_eq!((&stored["content"], &stored["tools"]), (&answer["answer"], &answer["tools"]));
    assert_eq!((&stored["outcome"], &stored["sources"]), (&answer["outcome"], &answer["sources"]));
    let requests = place.model.requests_to(Endpoint::Chat);
    let offered = requests[before].body["tools"].to_string();
    assert!(offered.contains(&format!("\"{}\"", case.called)), "{name}: {offered}");
    match case.told {
        None => assert_eq!(requests.len(), before + 1, "{name}: the turn is over"),
        Some(told) => {
            assert_eq!(requests.len(), before + 2, "{name}");
            let last = place.told();
            assert_eq!((&last["role"], &last["tool_call_id"]), (&json!("tool"), &json!("call_1")));
            assert!(last["content"].as_str().unwrap().contains(told), "{name}: {last}");
        }
    }
}

/// A call that fails: the model is told so, and so is everybody else.
async fn fails(place: &Place, agent: &str, case: &Case, way: Way) {
    let Some((arguments, why)) = &case.wrong else { return };
    place.script(case.called, arguments);
    let got = place.ask(agent, QUESTION, way).await;
    let answer = got.answer(way);
    let name = format!("{:?} {way:?}: {answer}", case.tool);
    assert_eq!((&answer["answer"], &answer["outcome"]), (&json!(ANSWER), &json!("answered")));
    assert_eq!((&answer["handler"], &answer["status"]), (&json!("bot"), &json!("open")), "{name}");
    assert_eq!(answer["tools"][0]["status"], "failed", "{name}");
    if way == Way::Streamed {
        check_events(&got, case, "failed");
    }
    assert_eq!(place.stored(&answer).await["tools"], answer["tools"], "{name}");
    let last = place.told();
    let told: Value = serde_json::from_str(last["content"].as_str().unwrap()).unwrap();
    let reason = told["error"].as_str().unwrap_or_else(|| panic!("{name}: {last}"));
    assert!(reason.contains(why) || *why == "error", "{name}: {last}");
}

/// The tool is told as running before anything else, then as it ended.
fn check_events(got: &Got, case: &Case, status: &str) {
    let of = |status: &str| json!({"name": case.shown[1], "type": case.shown[0], "status": status});
    assert_eq!(got.tool_events(), [of("running"), of(status)]);
    let place = |name: &str| got.events.iter().position(|event| event.name == name);
    assert!(place("tool") < place("token"), "{:?}", got.events);
}

#[tokio::test]
async fn after_eight_rounds_a_model_must_answer_and_one_that_does_not_has_failed() {
    for database in databases("eight rounds").await {
        let place = Place::new(database, |_| {}).await;
        let agent = place.agent(&order_tool(&place.base)).await;
        let call = || calls("find_order", &json!({"order": "7"}));
        for way in WAYS {
            let before = place.asked();
            (0..8).for_each(|_| place.model.enqueue(call()));
            place.model.enqueue(ModelReply::text(ANSWER));
            let answer = place.ask(&agent, QUESTION, way).await.answer(way);
            assert_eq!(answer["answer"], ANSWER);
            assert_eq!(answer["tools"].as_array().unwrap().len(), 8, "{answer}");
            let choices = place.choices(before);
            assert_eq!(choices.len(), 9);
            assert!(choices[..8].iter().all(|choice| *choice != json!("none")), "{choices:?}");
            assert_eq!(choices[8], "none");
            assert_eq!(place.tool_limit(&answer).await, "rounds");

            (0..9).for_each(|_| place.model.enqueue(call()));
            let got = place.ask(&agent, QUESTION, way).await;
            assert_eq!(got.error(way), "MODEL_UNAVAILABLE", "{}", got.reply.text);
        }
        // Of one round eight calls are carried out.
        let many = (0..9).fold(ModelReply::text(""), |reply, at| {
            reply.tool_call(&format!("call_{at}"), "find_order", &["{\"order\": \"7\"}"])
        });
        for way in WAYS {
            place.model.enqueue(many.clone());
            place.model.enqueue(ModelReply::text(ANSWER));
            let answer = place.ask(&agent, QUESTION, way).await.answer(way);
            let statuses: Vec<&Value> =
                answer["tools"].as_array().unwrap().iter().map(|tool| &tool["status"]).collect();
            assert_eq!(statuses[..8], ["done"; 8].map(Value::from).each_ref());
            assert_eq!(statuses[8..], [&json!("failed")], "{answer}");
        }
    }
}

#[tokio::test]
async fn a_turn_that_has_spent_its_tokens_calls_no_more_tools() {
    for database in databases("a turn's tokens").await {
        let place = Place::new(database, |settings| settings.agents.turn_tokens = 500).await;
        let agent = place.agent(&order_tool(&place.base)).await;
        for way in WAYS {
            let before = place.asked();
            let call = calls("find_order", &json!({"order": "7"}));
            place.model.enqueue(call.clone().usage(200, 20));
            place.model.enqueue(call.usage(260, 20));
            place.model.enqueue(ModelReply::text(ANSWER).usage(300, 5));
            let answer = place.ask(&agent, QUESTION, way).await.answer(way);
            assert_eq!(place.choices(before)[1..], [Value::Null, json!("none")]);
            assert_eq!(place.tool_limit(&answer).await, "tokens");
            assert_eq!(answer["tools"].as_array().unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn the_time_for_tools_ends_a_call_under_way_and_there_is_no_other() {
    for database in databases("the time for tools").await {
        let limit = Duration::from_secs(1);
        let place = Place::new(database, |settings| settings.agents.tool_timeout = limit).await;
        let hangs = json!({"url": format!("{}/hang", place.base), "parameters": [], "timeout": 60});
        for (tool, called) in [
            (with(order_tool(&place.base), &hangs), "find_order"),
            (with(mcp_tool(&place.base), &json!({"timeout": 60})), "crm_hang"),
        ] {
            let agent = place.agent(&tool).await;
            for way in WAYS {
                let before = place.asked();
                place.script(called, &json!({}));
                let answer = place.ask(&agent, QUESTION, way).await.answer(way);
                assert_eq!(answer["tools"][0]["status"], "failed", "{answer}");
                let told = place.told();
                assert!(told["content"].as_str().unwrap().contains("time for tools"), "{told}");
                assert_eq!(place.choices(before)[1], "none");
                assert_eq!(place.tool_limit(&answer).await, "time");
            }
        }
    }
}

#[tokio::test]
async fn a_tool_that_is_too_slow_or_says_too_much_has_failed_alone() {
    for database in databases("limits of one tool").await {
        let place = Place::new(database, |_| {}).await;
        let tool = |path: &str, more: &Value| {
            let own = json!({"url": format!("{}{path}", place.base), "parameters": []});
            with(with(order_tool(&place.base), &own), more)
        };
        for (tool, called, arguments, why) in [
            (tool("/hang", &json!({"timeout": 1})), "find_order", json!({}), "within 1 seconds"),
            (
                tool("/big", &json!({"result": {"maxBytes": 99_999}})),
                "find_order",
                json!({}),
                "larger",
            ),
            (
                with(mcp_tool(&place.base), &json!({"timeout": 1})),
                "crm_hang",
                json!({}),
                "within 1 seconds",
            ),
            (mcp_tool(&place.base), "crm_size", json!({"bytes": 3_000_000}), "larger"),
        ] {
            let agent = place.agent(&tool).await;
            for way in WAYS {
                let before = place.asked();
                place.script(called, &arguments);
                let answer = place.ask(&agent, QUESTION, way).await.answer(way);
                assert_eq!(answer["answer"], ANSWER, "{answer}");
                assert_eq!(answer["tools"][0]["status"], "failed", "{called} {answer}");
                let told = place.told();
                assert!(told["content"].as_str().unwrap().contains(why), "{why}: {told}");
                assert_eq!(place.choices(before)[1], Value::Null, "the turn has time left");
            }
        }
        // One that fits is told whole.
        let agent = place.agent(&tool("/big", &json!({"result": {"maxBytes": 100_000}}))).await;
        place.script("find_order", &json!({}));
        let answer = place.ask(&agent, QUESTION, Way::Whole).await.answer(Way::Whole);
        assert_eq!(answer["tools"][0]["status"], "done", "{answer}");
        assert!(place.told()["content"].as_str().unwrap().starts_with("xxxx"));
    }
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_ended_whatever_it_waits_for() {
    for database in databases("a turn's time").await {
        let limit = Duration::from_millis(400);
        let place = Place::new(database, |settings| settings.agents.turn_timeout = limit).await;
        let hangs = json!({"url": format!("{}/hang", place.base), "parameters": [], "timeout": 60});
        let agent = place.agent(&with(order_tool(&place.base), &hangs)).await;
        for way in WAYS {
            for reply in [ModelReply::silence(), calls("find_order", &json!({}))] {
                place.model.enqueue(reply);
                let got = place.ask(&agent, QUESTION, way).await;
                assert_eq!(got.error(way), "TURN_TIMEOUT", "{}", got.reply.text);
            }
        }
    }
}
