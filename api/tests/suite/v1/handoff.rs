//! The whole road: a visitor chats, asks for a person, one of two operators takes over, answers and hands back, and the
//! agent goes on with a fresh context; on one process and on two, and with every line cut at every step.

use std::collections::HashSet;

use domain::Role;
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Person;
use super::threads::{begin, member};
use crate::socket::Socket;
use crate::support::{PATIENCE, TestApp, read};
use crate::v2::provider::app_on;

const ORIGIN: &str = "https://funpark.cl";
const FACTS: &str = "El parque abre los domingos de 11:00 a 20:30 hrs. La entrada cuesta $12.000.";
const FIRST_QUESTION: &str = "¿Cuál es el horario del parque el domingo?";
const FIRST_ANSWER: &str = "El domingo abrimos de 11:00 a 20:30 hrs. [1]";
const WANTS_PERSON: &str = "No me sirve, páseme con una persona";
const HANDED_OFF: &str = "Ya le atiende una persona.";
const STILL_THERE: &str = "¿Sigue alguien ahí?";
const OPERATOR_SAYS: &str = "Hola, soy Andrea, te ayudo con esto.";
const LAST_QUESTION: &str = "¿Cuánto cuesta la entrada del parque?";
const LAST_ANSWER: &str = "La entrada cuesta $12.000. [1]";

/// Who is at the screens, and the site that the visitor is on.
struct Stage<'a> {
    /// The process of the visitor.
    front: &'a TestApp,
    /// The process of the operators.
    back: &'a TestApp,
    /// Whether every line is cut at every step.
    cuts: bool,
    site_key: String,
    visitor_token: String,
    workspace: String,
}

/// A visitor's line, and where they stand.
struct VisitorLine {
    socket: Socket,
    cursor: Value,
    /// Every message that was told or receipted, in order.
    told: Vec<(String, String)>,
    /// Those that came as messages: each comes once.
    frames: HashSet<String>,
}

/// An operator's line, and where they stand.
struct OperatorLine {
    person: Person,
    socket: Socket,
    last: i64,
    seen: Vec<i64>,
}

impl Stage<'_> {
    async fn visitor(&self, after: &Value) -> Socket {
        let path = format!("/v1/widget/ws?siteKey={}", self.site_key);
        let mut socket = Socket::open(self.front, &path, &[("origin", ORIGIN)]).await.unwrap();
        let mut auth = json!({"type": "auth", "visitorToken": self.visitor_token});
        if !after.is_null() {
            auth["after"] = after.clone();
        }
        socket.say(&auth).await;
        socket
    }

    async fn visitor_line(&self) -> VisitorLine {
        let mut socket = self.visitor(&Value::Null).await;
        let ready = socket.hear_until(|frame| frame["type"] == "ready").await;
        VisitorLine {
            socket,
            cursor: ready["cursor"].clone(),
            told: Vec::new(),
            frames: HashSet::new(),
        }
    }

    async fn operator(&self, token: &str, after: Option<i64>) -> Socket {
        let mut socket = Socket::open(self.back, "/v1/ws", &[]).await.unwrap();
        let auth = json!({
            "type": "auth", "token": token, "workspaceId": self.workspace, "after": after,
        });
        socket.say(&auth).await;
        socket
    }

    async fn operator_line(&self, person: &Person) -> OperatorLine {
        let mut socket = self.operator(&person.token, None).await;
        let ready = socket.hear_until(|frame| frame["type"] == "ready").await;
        let last = ready["seq"].as_i64().unwrap();
        OperatorLine { person: person.clone(), socket, last, seen: Vec::new() }
    }

    async fn call(&self, person: &Person, path: &str, body: &Value) -> (u16, Value) {
        let request = self.back.request_as(&person.token, Method::POST, path).json(body);
        let reply = read(request.header("x-workspace-id", &self.workspace)).await;
        (reply.status.as_u16(), reply.json())
    }
}

impl VisitorLine {
    /// Says something and waits until the server has it; with cuts the line breaks before anything is heard, and the
    /// same message is said again.
    async fn say(&mut self, stage: &Stage<'_>, content: &str, id: &str) {
        let frame = json!({"type": "message", "content": content, "clientMessageId": id});
        self.socket.say(&frame).await;
        if stage.cuts {
            self.cut(stage).await;
            self.socket.say(&frame).await;
        }
        loop {
            let heard = self.socket.hear().await;
            self.note(&heard);
            if heard["type"] == "ack" && heard["clientMessageId"] == id {
                // A receipt: what it is for may have been told already.
                self.keep(&heard["message"]);
                return;
            }
        }
    }

    /// Waits until a message with that text was told.
    async fn hears(&mut self, stage: &Stage<'_>, content: &str) {
        if stage.cuts {
            self.cut(stage).await;
        }
        while !self.told.iter().any(|(_, text)| text == content) {
            let heard = tokio::time::timeout(PATIENCE / 2, self.socket.hear()).await;
            let told = &self.told;
            let heard = heard.unwrap_or_else(|_| panic!("`{content}` was not told, but {told:?}"));
            self.note(&heard);
        }
    }

    async fn cut(&mut self, stage: &Stage<'_>) {
        self.socket = stage.visitor(&self.cursor).await;
    }

    fn note(&mut self, frame: &Value) {
        if frame["type"] == "message" {
            let id = frame["message"]["id"].to_string();
            assert!(self.frames.insert(id), "told twice: {frame}");
            self.cursor = frame["cursor"].clone();
            self.keep(&frame["message"]);
        }
    }

    fn keep(&mut self, message: &Value) {
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        let told = (text("id"), text("content"));
        if !self.told.contains(&told) {
            self.told.push(told);
        }
    }
}

impl OperatorLine {
    /// Waits for an event about the conversation.
    async fn sees(&mut self, stage: &Stage<'_>, wanted: impl Fn(&Value) -> bool) -> Value {
        if stage.cuts {
            self.socket = stage.operator(&self.person.token, Some(self.last)).await;
        }
        loop {
            let heard = self.socket.hear().await;
            assert_ne!(heard["type"], "reset", "nothing is lost");
            if heard["type"] == "event" {
                self.last = heard["seq"].as_i64().unwrap();
                self.seen.push(self.last);
                if wanted(&heard) {
                    return heard;
                }
            }
        }
    }
}

fn of_kind(kind: &str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == kind
}

fn message_by(author: &str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == "message.created" && event["payload"]["author"] == author
}

/// Opens the site on the first workspace, whose agent knows the facts and may call a person.
async fn open_site(app: &TestApp) -> (Value, String) {
    let agent = format!("/api/v2/agents/{}", app.tenant.agent);
    let tools = json!(["datastore", {"type": "request-human", "message": HANDED_OFF}]);
    app.put(&agent, &json!({"tools": tools})).await.expect(200);
    app.learn("Parque", FACTS).await;
    let body = json!({"name": "Funpark.cl", "domain": ORIGIN});
    let project = app.post("/v1/projects", &body).await.expect(201);
    let key = project["siteKey"].as_str().unwrap().to_owned();
    let open = app.client.post(format!("{}/v1/widget/init", app.base));
    let open = open.header("x-site-key", &key).header("origin", ORIGIN);
    (read(open.json(&json!({}))).await.expect(200), key)
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn play(app: &TestApp, back: &TestApp, server: &ModelServer, scene: &str, cuts: bool) {
    let (visit, site_key) = open_site(app).await;
    let workspace = app.tenant.workspace;
    let ana = Person::register(app, &format!("ana-{scene}")).await;
    let eva = Person::register(app, &format!("eva-{scene}")).await;
    for person in [&ana, &eva] {
        let member = Person { workspace: workspace.to_string(), ..person.clone() };
        member.admit(app, person, Role::Agent).await;
    }
    let stage = Stage {
        front: app,
        back,
        cuts,
        site_key,
        visitor_token: visit["visitorToken"].as_str().unwrap().to_owned(),
        workspace: workspace.to_string(),
    };
    let mut visitor = stage.visitor_line().await;
    let mut screens = [stage.operator_line(&ana).await, stage.operator_line(&eva).await];
    let asked_before = server.requests().len();

    // The agent answers from what it knows.
    server.enqueue(ModelReply::text(FIRST_ANSWER));
    visitor.say(&stage, FIRST_QUESTION, "m1").await;
    visitor.hears(&stage, FIRST_ANSWER).await;

    // The visitor asks for a person, which takes no model to understand; two operators see it.
    visitor.say(&stage, WANTS_PERSON, "m2").await;
    visitor.hears(&stage, HANDED_OFF).await;
    let mut conversation = String::new();
    for screen in &mut screens {
        let event = screen.sees(&stage, of_kind("handoff.requested")).await;
        event["subject"].as_str().unwrap().clone_into(&mut conversation);
    }
    let of = |rest: &str| format!("/v1/conversations/{conversation}{rest}");

    // Both reach for it: one has it, the other is told who.
    let take = of("/take-over");
    let nothing = json!({});
    let (first, second) =
        tokio::join!(stage.call(&ana, &take, &nothing), stage.call(&eva, &take, &nothing));
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
    let (winner, loser) = if first.0 == 200 { (&ana, &second.1) } else { (&eva, &first.1) };
    assert!(loser["error"]["message"].is_string(), "{loser}");
    for screen in &mut screens {
        let is_taken = |event: &Value| {
            event["kind"] == "conversation.updated" && event["payload"]["handler"] == "operator"
        };
        screen.sees(&stage, is_taken).await;
    }

    // The agent stays silent while a person has it.
    let asked = server.requests().len();
    visitor.say(&stage, STILL_THERE, "m3").await;
    for screen in &mut screens {
        screen.sees(&stage, message_by("customer")).await;
    }
    let say = json!({"content": OPERATOR_SAYS, "type": "text", "clientMessageId": "o1"});
    for _ in 0..if cuts { 2 } else { 1 } {
        let (status, said) = stage.call(winner, &of("/messages"), &say).await;
        assert!([200, 201].contains(&status), "{said}");
    }
    visitor.hears(&stage, OPERATOR_SAYS).await;
    for screen in &mut screens {
        screen.sees(&stage, message_by("operator")).await;
    }
    assert_eq!(server.requests().len(), asked, "no model was asked while a person had it");

    // Handed back, the agent goes on, and what was said before does not reach the model.
    let (status, back) = stage.call(winner, &of("/hand-back"), &json!({})).await;
    assert_eq!(status, 200, "{back}");
    server.enqueue(ModelReply::text(LAST_ANSWER));
    visitor.say(&stage, LAST_QUESTION, "m4").await;
    visitor.hears(&stage, LAST_ANSWER).await;
    let requests = server.requests();
    let last = requests.last().unwrap().body.to_string();
    assert!(last.contains(LAST_QUESTION), "{last}");
    for old in [FIRST_QUESTION, WANTS_PERSON, STILL_THERE, OPERATOR_SAYS] {
        assert!(!last.contains(old), "{old} in {last}");
    }
    assert_eq!(requests.len(), asked_before + 2, "one call for each answer out of the knowledge");

    // Nothing was lost, nothing doubled, for anybody.
    let texts: Vec<&str> = visitor.told.iter().map(|(_, text)| text.as_str()).collect();
    let expected = [
        FIRST_QUESTION,
        FIRST_ANSWER,
        WANTS_PERSON,
        HANDED_OFF,
        STILL_THERE,
        OPERATOR_SAYS,
        LAST_QUESTION,
        LAST_ANSWER,
    ];
    assert_eq!(texts, expected);
    for screen in &mut screens {
        let first = screen.seen[0];
        let run: Vec<i64> = (first..).take(screen.seen.len()).collect();
        assert_eq!(screen.seen, run);
    }
    let path = format!("/api/v2/conversations/{conversation}/messages?limit=100");
    let stored = app.get(&path).await.expect(200);
    let stored: Vec<&str> = stored["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].as_str().or(message["text"].as_str()).unwrap_or_default())
        .collect();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn a_visitor_is_handed_to_a_person_and_back() {
    for database in databases("handed to a person").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        play(&app, &app, &server, "one", false).await;
        if app.db.is_postgres() {
            let beside = app.beside().await;
            play(&app, &beside, &server, "two", false).await;
        }
    }
}

#[tokio::test]
async fn lines_that_are_cut_at_every_step_lose_and_double_nothing() {
    for database in databases("cut lines").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        if app.db.is_postgres() {
            let beside = app.beside().await;
            play(&app, &beside, &server, "two", true).await;
        } else {
            play(&app, &app, &server, "one", true).await;
        }
    }
}

/// Asks for something, and is cut off when everybody else is told that it is done, before the answer is heard.
async fn ask_and_be_cut(
    app: &TestApp,
    person: &Person,
    (conversation, act): (&str, &str),
    screen: &mut Socket,
    handler: &str,
) {
    let address = app.base.strip_prefix("http://").unwrap();
    let mut line = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/conversations/{conversation}/{act} HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        person.token
    );
    line.write_all(request.as_bytes()).await.unwrap();
    let is_done = |event: &Value| {
        event["kind"] == "conversation.updated"
            && event["subject"] == conversation
            && event["payload"]["handler"] == handler
    };
    screen.hear_until(is_done).await;
}

/// What everybody was told of a conversation, and who is written down to have done what.
async fn traces(app: &TestApp, person: &Person, conversation: &str) -> (Vec<String>, Vec<Value>) {
    let mut conn = app.db.read().await.unwrap();
    let told = storage::events::list(&mut conn, app.tenant.workspace, 0, 1_000).await.unwrap();
    drop(conn);
    let told = told.into_iter().filter(|event| event.subject == conversation);
    let path = format!("/v1/conversations/{conversation}/timeline?take=100");
    let timeline = person.get(app, &path).await.expect(200);
    let entries = timeline["data"].as_array().unwrap().iter();
    let entries = entries.filter(|entry| entry["type"] == "event");
    let kinds = entries.map(|entry| entry["event"]["kind"].clone()).collect();
    (told.map(|event| event.kind).collect(), kinds)
}

#[tokio::test]
async fn an_operator_whose_answer_was_lost_asks_again_and_nothing_happens_twice() {
    for app in TestApp::on_each_database("lost answers of operators").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let (cut, whole) = (begin(&app, "hola").await, begin(&app, "hola").await);
        let mut screen = Socket::open(&app, "/v1/ws", &[]).await.unwrap();
        screen.say(&json!({"type": "auth", "token": eva.token})).await;
        screen.hear_until(|frame| frame["type"] == "ready").await;
        for (act, handler) in [("take-over", "operator"), ("hand-back", "bot")] {
            ask_and_be_cut(&app, &ana, (&cut, act), &mut screen, handler).await;
            for _ in 0..2 {
                let path = format!("/v1/conversations/{cut}/{act}");
                let again = ana.post(&app, &path, &Value::Null).await.expect(200);
                assert_eq!(again["handler"], handler, "{again}");
                let mine = again["assignee"]["id"] == ana.id.as_str();
                assert_eq!(mine, handler == "operator", "{again}");
            }
            let path = format!("/v1/conversations/{whole}/{act}");
            ana.post(&app, &path, &Value::Null).await.expect(200);
        }
        assert_eq!(traces(&app, &ana, &cut).await, traces(&app, &ana, &whole).await);
    }
}
