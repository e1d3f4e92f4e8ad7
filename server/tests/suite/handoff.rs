//! A visitor of one process and the operators of another, on one PostgreSQL database: real processes, real sockets. What is cut
//! off on the way is the business of the suite of `api`.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::vocero::{Installation, PATIENCE, Server, http};

const ORIGIN: &str = "https://funpark.cl";
const PASSWORD: &str = "tres tristes tigres";
const FACTS: &str = "El parque abre los domingos de 11:00 a 20:30 hrs. La entrada cuesta $12.000.";
const ANSWER: &str = "El domingo abrimos de 11:00 a 20:30 hrs. [1]";
const HANDED_OFF: &str = "Ya le atiende una persona.";
const OPERATOR_SAYS: &str = "Hola, soy Andrea, te ayudo con esto.";
const LAST_ANSWER: &str = "La entrada cuesta $12.000. [1]";

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(server: &Server, path: &str) -> Self {
        let address = format!("{}{path}", server.url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        request.headers_mut().insert("origin", ORIGIN.parse().expect("an origin"));
        Self(connect_async(request).await.expect("a connection").0)
    }

    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("the server hears");
    }

    /// The first frame from here on that is what is looked for.
    async fn hear(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let hearing = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let frame: Value = serde_json::from_str(&text).expect("JSON");
                        if is_it(&frame) {
                            return frame;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("{what} was not told, but {other:?}"),
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.unwrap_or_else(|_| panic!("{what} was not told"))
    }

    async fn hear_text(&mut self, text: &str) {
        let is_it =
            |frame: &Value| frame["type"] == "message" && frame["message"]["content"] == text;
        self.hear(text, is_it).await;
    }

    async fn hear_event(&mut self, kind: &str, about: impl Fn(&Value) -> bool) -> Value {
        self.hear(kind, |frame| frame["kind"] == kind && about(frame)).await
    }
}

async fn post(server: &Server, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = http().post(format!("{}{path}", server.url)).bearer_auth(token).json(body);
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

async fn made(server: &Server, token: &str, path: &str, body: &Value) -> Value {
    let (status, made) = post(server, token, path, body).await;
    assert!((200..300).contains(&status), "{path}: {status} {made}");
    made
}

/// A workspace with two who work in it and a site, whose agent knows the facts and may call a person: their tokens, and the
/// site's key.
async fn set_up(server: &Server) -> ([String; 2], String) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let ana = json!({"name": "Ana", "email": "ana@ejemplo.com", "password": PASSWORD});
    let ana = made(server, "", "/v1/auth/register", &ana).await;
    let (owner, workspace) = (text(&ana["token"]), text(&ana["workspace"]["id"]));
    let invite = json!({"email": "eva@ejemplo.com", "role": "agent"});
    let path = format!("/v1/workspaces/{workspace}/members/invite");
    let invited = made(server, &owner, &path, &invite).await;
    let link = text(&invited["link"]);
    let path = format!("/v1/invitations/{}/accept", link.rsplit('/').next().expect("a token"));
    let eva = made(server, "", &path, &json!({"name": "Eva", "password": PASSWORD})).await;

    let key = text(&made(server, &owner, "/v1/api-keys", &json!({"name": "web"})).await["key"]);
    let first = async |path: &str| {
        let request = http().get(format!("{}/api/v2/{path}", server.url)).bearer_auth(&key);
        let list: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        text(&list["data"][0]["id"])
    };
    let (agent, datastore) = (first("agents").await, first("datastores").await);
    let tools = json!(["datastore", {"type": "request-human", "message": HANDED_OFF}]);
    let change = http().put(format!("{}/api/v2/agents/{agent}", server.url)).bearer_auth(&key);
    let changed = change.json(&json!({"tools": tools})).send().await.expect("an answer");
    assert_eq!(changed.status(), 200);
    let path = format!("{}/api/v2/datastores/{datastore}/sources/text", server.url);
    let facts = http().post(path).bearer_auth(&key).header("prefer", "wait=30");
    let facts = facts.json(&json!({"name": "Parque", "content": FACTS})).send().await;
    let facts: Value = facts.expect("an answer").json().await.expect("JSON");
    assert_eq!(facts["status"], "ready", "{facts}");
    let project = json!({"name": "Funpark.cl", "domain": ORIGIN});
    let project = made(server, &owner, "/v1/projects", &project).await;
    ([owner, text(&eva["token"])], text(&project["siteKey"]))
}

async fn visitor(server: &Server, site_key: &str) -> Socket {
    let open = http().post(format!("{}/v1/widget/init", server.url)).json(&json!({}));
    let open = open.header("x-site-key", site_key).header("origin", ORIGIN).send().await;
    let opened: Value = open.expect("an answer").json().await.expect("JSON");
    let mut socket = Socket::open(server, &format!("/v1/widget/ws?siteKey={site_key}")).await;
    socket.say(&json!({"type": "auth", "visitorToken": opened["visitorToken"]})).await;
    socket.hear("ready", |frame| frame["type"] == "ready").await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_of_one_process_is_handed_to_operators_of_another_and_back() {
    let Some(front) = Installation::on_postgres("handed over between processes") else { return };
    let model = ModelServer::start().await.expect("the scripted model");
    let with_model = |installation: Installation| {
        installation
            .with("OPENAI_BASE_URL", &model.base_url())
            .with("VOCERO_CHAT_MODEL", "scripted")
            .with("VOCERO_VAULT_KEY", &"5".repeat(64))
    };
    let (back, front) = (with_model(front.beside()).with("VOCERO_ROLES", "api"), with_model(front));
    let (front, back) = (front.serve(), back.serve());
    let (tokens, site_key) = set_up(&front).await;
    let mut screens = Vec::new();
    for token in &tokens {
        let mut screen = Socket::open(&back, "/v1/ws").await;
        screen.say(&json!({"type": "auth", "token": token})).await;
        screen.hear("ready", |frame| frame["type"] == "ready").await;
        screens.push(screen);
    }
    let mut visitor = visitor(&front, &site_key).await;
    let says = |content: &str| json!({"type": "message", "content": content});

    model.enqueue(Reply::text(ANSWER));
    visitor.say(&says("¿Cuál es el horario del parque el domingo?")).await;
    visitor.hear_text(ANSWER).await;
    visitor.say(&says("No me sirve, páseme con una persona")).await;
    visitor.hear_text(HANDED_OFF).await;
    let mut conversation = Value::Null;
    for screen in &mut screens {
        conversation = screen.hear_event("handoff.requested", |_| true).await["subject"].clone();
    }
    let of =
        |rest: &str| format!("/v1/conversations/{}{rest}", conversation.as_str().expect("an id"));

    let (take, nothing) = (of("/take-over"), json!({}));
    let (one, other) = tokio::join!(
        post(&back, &tokens[0], &take, &nothing),
        post(&back, &tokens[1], &take, &nothing)
    );
    let winner = if one.0 == 200 { &tokens[0] } else { &tokens[1] };
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    for screen in &mut screens {
        let is_taken = |frame: &Value| frame["payload"]["handler"] == "operator";
        screen.hear_event("conversation.updated", is_taken).await;
    }

    let asked = model.requests().len();
    visitor.say(&says("¿Sigue alguien ahí?")).await;
    let by = |author: &'static str| move |frame: &Value| frame["payload"]["author"] == author;
    for screen in &mut screens {
        screen.hear_event("message.created", by("customer")).await;
    }
    made(&back, winner, &of("/messages"), &json!({"content": OPERATOR_SAYS, "type": "text"})).await;
    visitor.hear_text(OPERATOR_SAYS).await;
    assert_eq!(model.requests().len(), asked, "the agent is silent while a person has it");

    made(&back, winner, &of("/hand-back"), &nothing).await;
    model.enqueue(Reply::text(LAST_ANSWER));
    visitor.say(&says("¿Cuánto cuesta la entrada del parque?")).await;
    visitor.hear_text(LAST_ANSWER).await;
    let last = model.requests().last().expect("a request").body.to_string();
    assert!(last.contains("entrada") && !last.contains(OPERATOR_SAYS), "{last}");
    front.stop();
    back.stop();
}
