//! Visitors who are connected: WebSocket and stream.

use domain::ConversationId;
use domain::conversation::Transition;
use domain::message::{Author, Message as Sent, MessageKind, MessageState};
use futures::{SinkExt, StreamExt};
use http::Method;
use serde_json::{Value, json};
use storage::messages::NewMessage;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{ORIGIN, Site, Visitor};
use crate::support::{PATIENCE, TestApp};

/// A visitor's end of a live connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Where it stands: what it comes back with.
    cursor: Value,
}

async fn dial(app: &TestApp, query: &str, origin: Option<&str>) -> Result<Socket, u16> {
    let address = format!("{}/v1/widget/ws{query}", app.base.replace("http://", "ws://"));
    let mut request = address.into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((stream, _)) => Ok(Socket { stream, cursor: Value::Null }),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

impl Socket {
    /// Connects and says who is there; the socket and what it was greeted with.
    pub async fn open(app: &TestApp, visitor: &Visitor, after: &Value) -> (Self, Value) {
        let query = format!("?siteKey={}", visitor.key);
        let mut socket = dial(app, &query, Some(ORIGIN)).await.unwrap();
        let mut auth = json!({"type": "auth", "visitorToken": visitor.token});
        if !after.is_null() {
            auth["after"] = after.clone();
        }
        socket.send(&auth).await;
        let ready = socket.next_of("ready").await;
        (socket, ready)
    }

    pub async fn send(&mut self, frame: &Value) {
        self.stream.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn say(&mut self, content: &str, id: &str) -> Value {
        let frame = json!({"type": "message", "content": content, "clientMessageId": id});
        self.send(&frame).await;
        let ack = self.next_of("ack").await;
        assert_eq!(ack["clientMessageId"], id);
        ack["message"].clone()
    }

    /// The next frame of a kind; those before it are let go.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
            assert_ne!(frame["type"], "error", "{frame}");
        }
    }

    pub async fn next(&mut self) -> Value {
        let next = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return serde_json::from_str::<Value>(text.as_str()).unwrap();
                    }
                    Some(Ok(_)) => {}
                    other => panic!("the connection ended: {other:?}"),
                }
            }
        };
        let frame = tokio::time::timeout(PATIENCE, next).await.expect("something is told");
        if let Some(cursor) = frame.get("cursor") {
            self.cursor = cursor.clone();
        }
        frame
    }

    /// The code that the server closes with.
    async fn closed(&mut self) -> u16 {
        let closed = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                    Some(Ok(_)) => {}
                    other => panic!("the connection ended without a word: {other:?}"),
                }
            }
        };
        let code = tokio::time::timeout(PATIENCE, closed).await.expect("it is closed");
        code.map_or(0, |code: CloseCode| code.into())
    }
}

fn operator_message(app: &TestApp, conversation: ConversationId, content: &str) -> NewMessage {
    NewMessage {
        message: Sent {
            id: app.ambient.new_id(),
            conversation_id: conversation,
            seq: 0,
            author: Author::Operator,
            operator: None,
            kind: MessageKind::Text,
            content: content.to_owned(),
            state: MessageState::Complete,
            outcome: None,
            model: None,
            reply_to: None,
            prompt_tokens: None,
            completion_tokens: None,
            unsupported: Vec::new(),
            answered_from: None,
            created_at: app.ambient.now(),
        },
        images: Vec::new(),
        citations: Vec::new(),
        passages: Vec::new(),
        tools: Vec::new(),
        trace: None,
        client_id: None,
    }
}

/// Has an operator take a conversation over, if they have not, and say something.
async fn operator_says(app: &TestApp, site: &Site, conversation: &Value, content: &str) {
    let workspace = site.owner.workspace.parse().unwrap();
    let id = conversation.as_str().unwrap().parse().unwrap();
    let (message, now) = (operator_message(app, id, content), app.ambient.now());
    let mut tx = app.db.write().await.unwrap();
    let take = Transition::TakeOver;
    storage::conversations::transition(&mut tx, workspace, id, take, now).await.unwrap();
    storage::messages::insert(&mut tx, workspace, &message, now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_visitor_chats_and_sees_a_person_join() {
    for app in TestApp::on_each_database("widget socket").await {
        app.learn("FAQ", "El parque abre de lunes a viernes de 9 a 18 horas.").await;
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let (mut socket, ready) = Socket::open(&app, &visitor, &Value::Null).await;
        assert_eq!(ready["visitorId"], visitor.id.as_str());
        assert_eq!((&ready["conversationId"], &ready["conversations"]), (&Value::Null, &json!([])));
        let (mut tablet, _) = Socket::open(&app, &visitor, &Value::Null).await;

        let asked = socket.say("¿Cuándo abre el parque?", "m-1").await;
        assert_eq!((&asked["seq"], &asked["clientMessageId"]), (&json!(1), &json!("m-1")));
        let mut text = String::new();
        let answer = loop {
            let frame = socket.next().await;
            match frame["type"].as_str().unwrap() {
                "token" => text.push_str(frame["text"].as_str().unwrap()),
                "message" => break frame["message"].clone(),
                "source" => assert_eq!(frame["source"]["source"], "FAQ"),
                other => assert!(["conversation", "tool"].contains(&other), "{frame}"),
            }
        };
        assert_eq!((&answer["author"], &answer["seq"]), (&json!("agent"), &json!(2)));
        assert!(answer["content"].as_str().unwrap().starts_with(&text), "{text}");
        assert_eq!(answer["citations"][0]["source"], "FAQ");
        for told in [&asked, &answer] {
            assert_eq!(
                &tablet.next_of("message").await["message"],
                told,
                "the other page has it too"
            );
        }

        let again = socket.say("¿Cuándo abre el parque?", "m-1").await;
        assert_eq!(again, asked);
        let conversation = &asked["conversationId"];
        operator_says(&app, &site, conversation, "Hola, soy Andrea").await;
        let joined = socket.next_of("conversation").await;
        assert_eq!(joined["conversation"]["handler"], "operator");
        let said = socket.next_of("message").await;
        assert_eq!(
            (&said["message"]["author"], &said["message"]["content"]),
            (&json!("operator"), &json!("Hola, soy Andrea"))
        );
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 3);
        let thanks = socket.say("Gracias", "m-2").await;
        assert_eq!((&thanks["conversationId"], &thanks["seq"]), (conversation, &json!(4)));
        socket.send(&json!({"type": "ping"})).await;
        loop {
            match socket.next().await["type"].as_str().unwrap() {
                "pong" => break,
                other => assert_ne!(other, "message", "the agent stays silent"),
            }
        }
    }
}

#[tokio::test]
async fn a_visitor_is_told_who_has_joined_before_what_they_say() {
    for app in TestApp::on_each_database("widget joining").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let id: ConversationId = said["conversationId"].as_str().unwrap().parse().unwrap();
        let (mut socket, _) = Socket::open(&app, &visitor, &Value::Null).await;
        // By the time that it is heard of the first message, all of this has happened.
        let workspace = site.owner.workspace.parse().unwrap();
        let (take, now) = (Transition::TakeOver, app.ambient.now());
        let (before, after) =
            (operator_message(&app, id, "uno"), operator_message(&app, id, "dos"));
        let mut tx = app.db.write().await.unwrap();
        storage::messages::insert(&mut tx, workspace, &before, now).await.unwrap();
        storage::conversations::transition(&mut tx, workspace, id, take, now).await.unwrap();
        storage::messages::insert(&mut tx, workspace, &after, now).await.unwrap();
        tx.commit().await.unwrap();

        let joined = socket.next().await;
        assert_eq!(joined["conversation"]["handler"], "operator", "{joined}");
        for content in ["uno", "dos"] {
            let told = socket.next().await;
            assert_eq!(told["message"]["content"], content, "{told}");
        }
        operator_says(&app, &site, &said["conversationId"], "tres").await;
        let told = socket.next().await;
        assert_eq!(told["message"]["content"], "tres", "nothing is told twice: {told}");
    }
}

#[tokio::test]
async fn after_a_cut_nothing_is_lost_and_nothing_doubled() {
    for app in TestApp::on_each_database("widget cuts").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let mut told: Vec<Value> = Vec::new();
        let (mut socket, _) = Socket::open(&app, &visitor, &Value::Null).await;
        let mut cursor = socket.cursor.clone();

        // Cut before the acknowledgement: what was sent is sent again.
        let first = json!({"type": "message", "content": "Hola", "clientMessageId": "m-1"});
        socket.send(&first).await;
        drop(socket);
        let (mut socket, _) = Socket::open(&app, &visitor, &cursor).await;
        let asked = socket.say("Hola", "m-1").await;
        let conversation = asked["conversationId"].clone();
        // Cut before the answer: it is written all the same, and told to who comes back.
        drop(socket);
        let (mut socket, _) = Socket::open(&app, &visitor, &cursor).await;
        while told.len() < 2 {
            told.push(socket.next_of("message").await["message"].clone());
            cursor = socket.cursor.clone();
        }
        assert_eq!(told[0], asked);
        // Cut while a person writes, twice.
        drop(socket);
        operator_says(&app, &site, &conversation, "uno").await;
        operator_says(&app, &site, &conversation, "dos").await;
        let (mut socket, _) = Socket::open(&app, &visitor, &cursor).await;
        told.push(socket.next_of("message").await["message"].clone());
        cursor = socket.cursor.clone();
        drop(socket);
        let (mut socket, ready) = Socket::open(&app, &visitor, &cursor).await;
        assert_eq!(ready["conversations"][0]["handler"], "operator");
        assert_eq!(ready["conversationId"], conversation);
        told.push(socket.next_of("message").await["message"].clone());
        operator_says(&app, &site, &conversation, "tres").await;
        told.push(socket.next_of("message").await["message"].clone());
        cursor = socket.cursor.clone();
        // Another conversation began meanwhile, on another page.
        drop(socket);
        let elsewhere = visitor.say(&app, "Hola").await;
        let (mut socket, _) = Socket::open(&app, &visitor, &cursor).await;
        for side in ["message", "reply"] {
            assert_eq!(socket.next_of("message").await["message"], elsewhere[side]);
        }
        let path = format!("/messages?conversationId={}", conversation.as_str().unwrap());
        let stored = visitor.get(&app, &path).await.expect(200);
        assert_eq!(stored["data"], json!(told));

        // Who knows a number only names the conversation with it.
        let auth = json!({
            "type": "auth", "visitorToken": visitor.token, "after": 3, "conversationId": conversation,
        });
        let mut socket =
            dial(&app, &format!("?siteKey={}", visitor.key), Some(ORIGIN)).await.unwrap();
        socket.send(&auth).await;
        for expected in &told[3..] {
            assert_eq!(&socket.next_of("message").await["message"], expected);
        }
        socket.send(&json!({"type": "ping"})).await;
        assert_eq!(socket.next().await["type"], "pong");
    }
}

#[tokio::test]
async fn a_socket_is_for_pages_of_the_site_and_visitors_whose_token_holds() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let foreign = Site::of(&app, "eva").await.visitor(&app).await;
    let visitor = site.visitor(&app).await;
    let query = format!("?siteKey={}", site.key);
    let refused = async |query: &str, origin| dial(&app, query, origin).await.err();
    assert_eq!(refused("", Some(ORIGIN)).await, Some(401));
    assert_eq!(refused("?siteKey=site_x", Some(ORIGIN)).await, Some(401));
    assert_eq!(refused(&query, Some("https://other.cl")).await, Some(403));
    assert_eq!(refused(&query, Some("null")).await, Some(403));
    for token in ["", "garbage", &foreign.token, &site.owner.token] {
        let mut socket = dial(&app, &query, Some(ORIGIN)).await.unwrap();
        socket.send(&json!({"type": "auth", "visitorToken": token})).await;
        assert_eq!(socket.closed().await, 4401, "{token}");
    }
    for first in [json!({"type": "ping"}), json!({"type": "message", "content": "Hola"})] {
        let mut socket = dial(&app, &query, Some(ORIGIN)).await.unwrap();
        socket.send(&first).await;
        assert_eq!(socket.closed().await, 4401);
    }
    let mut socket = dial(&app, &query, Some(ORIGIN)).await.unwrap();
    socket.send(&json!({"type": "auth", "visitorToken": visitor.token, "after": "x"})).await;
    assert_eq!(socket.closed().await, 1008);
    let with_token = format!("{query}&visitorToken={}", visitor.token);
    let mut socket = dial(&app, &with_token, None).await.unwrap();
    socket.next_of("ready").await;
    let large = json!({"type": "message", "content": "x".repeat(70_000)}).to_string();
    // The server may have hung up before all of it is written.
    let _ = socket.stream.send(Message::text(large)).await;
    let ended = async {
        loop {
            match socket.stream.next().await {
                Some(Ok(Message::Text(text))) => panic!("a frame has 64 KiB at most: {text}"),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the connection ends");
}

#[tokio::test]
async fn what_a_socket_says_is_judged_as_any_call_is() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let (visitor, other) = (site.visitor(&app).await, site.visitor(&app).await);
    let theirs = other.say(&app, "Hola").await;
    let (mut socket, _) = Socket::open(&app, &visitor, &Value::Null).await;
    for (frame, code) in [
        (json!({"type": "message", "content": " ", "clientMessageId": "m"}), "INVALID_PARAMETER"),
        (
            json!({"type": "message", "content": "Hola", "conversationId": theirs["conversationId"]}),
            "NOT_FOUND",
        ),
        (json!({"type": "typing", "conversationId": theirs["conversationId"]}), "NOT_FOUND"),
        (json!({"type": "auth", "visitorToken": other.token}), "INVALID_PARAMETER"),
    ] {
        socket.send(&frame).await;
        let refused = socket.next().await;
        assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!(code)));
        assert_eq!(refused.get("clientMessageId"), frame.get("clientMessageId"));
    }
    socket.send(&json!({"type": "shout"})).await;
    assert_eq!(socket.closed().await, 1008);
    let list = visitor.get(&app, "/conversations").await.expect(200);
    assert_eq!(list, json!({"data": []}));
}

#[tokio::test]
async fn a_visitor_has_five_connections_at_once() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Socket::open(&app, &visitor, &Value::Null).await);
    }
    let query = format!("?siteKey={}&visitorToken={}", visitor.key, visitor.token);
    let mut sixth = dial(&app, &query, Some(ORIGIN)).await.unwrap();
    assert_eq!(sixth.closed().await, 1013);
    visitor.get(&app, "/stream").await.expect_error(429, "RATE_LIMITED");
    let other = site.visitor(&app).await;
    Socket::open(&app, &other, &Value::Null).await;
}

#[tokio::test]
async fn people_see_a_visitor_type_and_a_visitor_sees_people_type() {
    for app in TestApp::on_each_database("widget typing").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let conversation = &said["conversationId"];
        let (mut socket, _) = Socket::open(&app, &visitor, &Value::Null).await;

        let address = format!("{}/v1/ws", app.base.replace("http://", "ws://"));
        let (mut person, _) = connect_async(address.into_client_request().unwrap()).await.unwrap();
        let auth = json!({"type": "auth", "token": site.owner.token});
        person.send(Message::text(auth.to_string())).await.unwrap();
        let mut person = Socket { stream: person, cursor: Value::Null };
        person.next_of("ready").await;

        socket.send(&json!({"type": "typing"})).await;
        let seen = person.next_of("typing").await;
        assert_eq!(
            (&seen["conversationId"], &seen["visitorId"]),
            (conversation, &json!(visitor.id))
        );
        let stopped = json!({"conversationId": conversation, "typing": false});
        visitor.post(&app, "/typing", &stopped).await.expect(204);
        assert_eq!(person.next_of("typing").await["typing"], false);
        socket.send(&json!({"type": "read", "seq": 2})).await;
        assert_eq!(person.next_of("read").await["seq"], 2);

        person.send(&json!({"type": "typing", "conversationId": conversation})).await;
        let seen = socket.next_of("typing").await;
        let told = json!({"type": "typing", "conversationId": conversation, "typing": true, "author": "operator"});
        assert_eq!(seen, told, "who types is the business's own affair");
    }
}

#[tokio::test]
async fn a_stream_tells_the_same_and_is_taken_up_where_it_broke_off() {
    for app in TestApp::on_each_database("widget events").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let query =
            format!("/v1/widget/stream?siteKey={}&visitorToken={}", visitor.key, visitor.token);
        let open = async |last: Option<&str>| {
            let request = app.client.request(Method::GET, format!("{}{query}", app.base));
            let request = request.header("origin", ORIGIN);
            let request = match last {
                Some(last) => request.header("last-event-id", last),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            response.bytes_stream()
        };
        let mut stream = Box::pin(open(None).await);
        let (_, ready, _) = event(&mut stream).await;
        assert_eq!(ready["conversations"][0]["id"], said["conversationId"]);
        operator_says(&app, &site, &said["conversationId"], "uno").await;
        let (mut kinds, mut id) = (Vec::new(), String::new());
        while kinds.len() < 2 {
            let (kind, data, last) = event(&mut stream).await;
            if kind == "message" {
                assert_eq!(data["message"]["content"], "uno");
            }
            kinds.push(kind);
            id = last;
        }
        assert_eq!(kinds, ["conversation", "message"]);
        drop(stream);
        operator_says(&app, &site, &said["conversationId"], "dos").await;
        let mut stream = Box::pin(open(Some(&id)).await);
        assert_eq!(event(&mut stream).await.0, "ready");
        let (kind, data, _) = event(&mut stream).await;
        assert_eq!((kind.as_str(), &data["message"]["content"]), ("message", &json!("dos")));
        for bad in ["x", "-1"] {
            visitor.get(&app, &format!("/stream?after={bad}")).await.expect_field("after");
        }
        visitor.get(&app, "/stream?after=1").await.expect_field("conversationId");
    }
}

/// The next event of a stream: name, data and id.
async fn event<S>(stream: &mut S) -> (String, Value, String)
where
    S: futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin,
{
    let next = async {
        let mut text = String::new();
        loop {
            let piece = stream.next().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
            if text.ends_with("\n\n") && text.contains("event: ") {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(PATIENCE, next).await.expect("something is told");
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    let line =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    (line("event: "), serde_json::from_str(&line("data: ")).unwrap(), line("id: "))
}

#[tokio::test]
async fn two_processes_tell_the_same() {
    let Some(database) = testkit::db::postgres("widget processes").await else { return };
    let app = TestApp::with(database, |_| {}).await;
    let beside = app.beside().await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    let (mut socket, _) = Socket::open(&beside, &visitor, &Value::Null).await;
    let said = visitor.say(&app, "Hola").await;
    for side in ["message", "reply"] {
        assert_eq!(socket.next_of("message").await["message"], said[side]);
    }
    operator_says(&app, &site, &said["conversationId"], "Hola, soy Andrea").await;
    assert_eq!(socket.next_of("conversation").await["conversation"]["handler"], "operator");
    assert_eq!(socket.next_of("message").await["message"]["author"], "operator");
}
