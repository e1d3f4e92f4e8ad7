//! The live connection of members.

use domain::Role;
use http::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use super::Person;
use super::widget::{ORIGIN, Site};
use crate::socket::Socket;
use crate::support::TestApp;

async fn listen(app: &TestApp, person: &Person, workspace: &str, after: Option<i64>) -> Socket {
    let mut socket = Socket::open(app, "/v1/ws", &[]).await.unwrap();
    let auth = json!({
        "type": "auth", "token": person.token, "workspaceId": workspace, "after": after,
    });
    socket.say(&auth).await;
    socket
}

/// Two members of a workspace, its default agent and a key of it.
struct Shop {
    ana: Person,
    eva: Person,
    key: String,
    chat: String,
}

impl Shop {
    async fn open(app: &TestApp) -> Self {
        let ana = Person::register(app, "ana").await;
        let eva = Person::register(app, "eva").await;
        ana.admit(app, &eva, Role::Agent).await;
        let agents = ana.get(app, "/api/v2/agents").await;
        assert_eq!(agents.status, 401, "people do not call the programs' surface");
        let workspace = ana.workspace.parse().unwrap();
        let key = app.key_of(workspace).await;
        let agents = crate::support::read(app.request_as(&key, Method::GET, "/api/v2/agents"));
        let agents = agents.await.expect(200);
        let agent = agents["data"][0]["id"].as_str().unwrap();
        Self { chat: format!("/api/v2/agents/{agent}/chat"), ana, eva, key }
    }

    /// A customer says something; the conversation.
    async fn customer_says(&self, app: &TestApp, text: &str, conversation: Option<&str>) -> String {
        let body = json!({"query": text, "conversationId": conversation});
        let request = app.request_as(&self.key, Method::POST, &self.chat).json(&body);
        let said = crate::support::read(request).await.expect(200);
        said["conversationId"].as_str().unwrap().to_owned()
    }
}

fn is_event(kind: &str) -> impl Fn(&Value) -> bool {
    move |frame| frame["type"] == "event" && frame["kind"] == kind
}

/// On PostgreSQL another process, on SQLite the same.
async fn another(app: &TestApp) -> Option<TestApp> {
    if app.db.is_postgres() { Some(app.beside().await) } else { None }
}

#[tokio::test]
async fn events_come_once_and_in_order_from_every_process_and_after_a_cut() {
    for app in TestApp::on_each_database("live events").await {
        let beside = another(&app).await;
        let there = beside.as_ref().unwrap_or(&app);
        let shop = Shop::open(&app).await;
        let mut here = listen(&app, &shop.ana, &shop.ana.workspace, None).await;
        let ready = here.hear().await;
        assert_eq!(
            (ready["type"].as_str(), &ready["workspaceId"]),
            (Some("ready"), &json!(shop.ana.workspace))
        );
        let start = ready["seq"].as_i64().unwrap();

        // Said at the other process, heard here.
        let conversation = shop.customer_says(there, "hola", None).await;
        let mut seen = Vec::new();
        loop {
            let frame = here.hear().await;
            if frame["type"] == "event" {
                seen.push(frame["seq"].as_i64().unwrap());
                let is_answer = frame["payload"]["conversationId"] == json!(conversation)
                    && frame["kind"] == "message.created"
                    && seen.len() > 2;
                if is_answer {
                    break;
                }
            }
        }
        let expected: Vec<i64> = (start + 1..=start + i64::try_from(seen.len()).unwrap()).collect();
        assert_eq!(seen, expected);

        // The line is cut; what is said meanwhile is told by the next connection, at whichever process.
        drop(here);
        shop.customer_says(&app, "hola otra vez", Some(&conversation)).await;
        let last = *seen.last().unwrap();
        let mut again = listen(there, &shop.ana, &shop.ana.workspace, Some(last)).await;
        let ready = again.hear().await;
        assert_eq!(ready["seq"], last);
        let next = again.hear_until(|frame| frame["type"] == "event").await;
        assert_eq!(next["seq"], last + 1);
        assert_eq!(next["id"].as_str().unwrap().split('_').next(), Some("evt"));

        // Numbers that were never given.
        let mut stray = listen(&app, &shop.eva, &shop.ana.workspace, Some(1_000_000)).await;
        stray.hear_until(|frame| frame["type"] == "reset").await;
    }
}

#[tokio::test]
async fn members_see_who_is_there_who_types_and_who_looks() {
    for app in TestApp::on_each_database("presence").await {
        let beside = another(&app).await;
        let there = beside.as_ref().unwrap_or(&app);
        let shop = Shop::open(&app).await;
        let conversation = shop.customer_says(&app, "hola", None).await;
        let mut ana = listen(&app, &shop.ana, &shop.ana.workspace, None).await;
        assert_eq!(ana.hear().await["present"], json!([shop.ana.id]));
        let mut eva = listen(there, &shop.eva, &shop.ana.workspace, None).await;
        eva.hear().await;
        let is_eva = |state: &'static str| {
            let id = shop.eva.id.clone();
            move |frame: &Value| {
                frame["type"] == "presence" && frame["userId"] == *id && frame["state"] == state
            }
        };
        ana.hear_until(is_eva("online")).await;

        eva.say(&json!({"type": "typing", "conversationId": conversation})).await;
        let told = ana.hear_until(|frame| frame["type"] == "typing").await;
        let expected = json!({
            "type": "typing", "conversationId": conversation, "userId": shop.eva.id, "typing": true,
        });
        assert_eq!(told, expected);
        eva.say(&json!({"type": "viewing", "conversationId": conversation})).await;
        let told = ana.hear_until(|frame| frame["type"] == "viewing").await;
        assert_eq!((&told["viewing"], &told["userId"]), (&json!(true), &json!(shop.eva.id)));
        eva.say(&json!({"type": "viewing", "conversationId": null})).await;
        let told = ana.hear_until(|frame| frame["type"] == "viewing").await;
        assert_eq!(told["viewing"], false);

        // Another workspace's conversation is absent.
        let other = app.other_tenant().await;
        let body = json!({"query": "hola"});
        let path = format!("/api/v2/agents/{}/chat", other.agent);
        let foreign = app.request_as(&other.key, Method::POST, &path).json(&body);
        let foreign = crate::support::read(foreign).await.expect(200);
        eva.say(&json!({"type": "typing", "conversationId": foreign["conversationId"]})).await;
        let refused = eva.hear_until(|frame| frame["type"] == "error").await;
        assert_eq!(refused["code"], "NOT_FOUND");

        drop(eva);
        ana.hear_until(is_eva("offline")).await;
    }
}

#[tokio::test]
async fn whoever_may_not_listen_is_shut_out() {
    for app in TestApp::on_each_database("live credentials").await {
        let shop = Shop::open(&app).await;
        let (ana, workspace) = (&shop.ana, shop.ana.workspace.clone());
        let stranger = Person::register(&app, "stranger").await;
        assert_eq!(listen(&app, &stranger, &workspace, None).await.closed().await, 4403);
        let forged = Person { token: "a.b.c".to_owned(), ..ana.clone() };
        assert_eq!(listen(&app, &forged, &workspace, None).await.closed().await, 4401);
        let refresh = Person { token: ana.refresh.clone(), ..ana.clone() };
        assert_eq!(listen(&app, &refresh, &workspace, None).await.closed().await, 4401);
        let mut impolite = Socket::open(&app, "/v1/ws", &[]).await.unwrap();
        impolite.say(&json!({"type": "ping"})).await;
        assert_eq!(impolite.closed().await, 4401);
        let mut garbled = Socket::open(&app, "/v1/ws", &[]).await.unwrap();
        garbled.say(&json!({"type": "sing"})).await;
        assert_eq!(garbled.closed().await, 1008);

        // A program listens by its key; it is nobody who could type.
        let bearer = format!("Bearer {}", shop.key);
        let mut program =
            Socket::open(&app, "/v1/ws", &[("authorization", &bearer)]).await.unwrap();
        assert_eq!(program.hear().await["type"], "ready");
        let conversation = shop.customer_says(&app, "hola", None).await;
        program.hear_until(is_event("conversation.created")).await;
        let typing = json!({"type": "typing", "conversationId": conversation});
        program.say(&typing).await;
        let refused = program.hear_until(|frame| frame["type"] == "error").await;
        assert_eq!(refused["code"], "FORBIDDEN");

        // A viewer listens, and does not type.
        let viewer = Person::register(&app, "viewer").await;
        ana.admit(&app, &viewer, Role::Viewer).await;
        let mut viewing = listen(&app, &viewer, &workspace, None).await;
        viewing.hear().await;
        viewing.say(&typing).await;
        let refused = viewing.hear_until(|frame| frame["type"] == "error").await;
        assert_eq!(refused["code"], "FORBIDDEN");

        // Who signs out, and who is removed, hears nothing more.
        let mut leaving = listen(&app, &shop.eva, &workspace, None).await;
        assert_eq!(leaving.hear().await["type"], "ready");
        shop.eva.post(&app, "/v1/auth/logout", &Value::Null).await.expect(204);
        let path = format!("/v1/workspaces/{workspace}/members/{}", viewer.id);
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        shop.customer_says(&app, "¿hay alguien?", Some(&conversation)).await;
        assert_eq!(leaving.closed().await, 4401);
        assert_eq!(viewing.closed().await, 4403);

        let plain = ana.get(&app, "/v1/ws").await;
        plain.expect_field("Upgrade");
        let upgrade = Socket::open(&app, "/v1/none", &[]).await;
        assert!(matches!(upgrade, Err(tungstenite::Error::Http(_))));
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let app = TestApp::start().await;
    let ana = Person::register(&app, "ana").await;
    let mut socket = listen(&app, &ana, &ana.workspace, None).await;
    assert_eq!(socket.hear().await["type"], "ready");
    app.stopping.cancel();
    assert_eq!(socket.closed().await, 1001);
}

#[tokio::test]
async fn when_every_place_is_taken_a_further_connection_is_told_to_come_back() {
    let app = TestApp::start_with(|settings| settings.server.max_connections = 1).await;
    let shop = Shop::open(&app).await;
    let site = Site::owned_by(&app, shop.ana.clone()).await;
    let mut first = listen(&app, &shop.ana, &shop.ana.workspace, None).await;
    first.hear_until(|frame| frame["type"] == "ready").await;
    let widget = format!("/v1/widget/ws?siteKey={}", site.key);
    for path in ["/v1/ws", widget.as_str()] {
        let refused = Socket::open(&app, path, &[("origin", ORIGIN)]).await;
        let Err(tungstenite::Error::Http(response)) = refused else {
            panic!("{path} lets one more in");
        };
        // The server is full; the client has done nothing wrong.
        assert_eq!(response.status().as_u16(), 503, "{path}");
        assert!(response.headers().contains_key("retry-after"), "{path}");
    }
    // Who was there before is there still.
    let said = shop.customer_says(&app, "hola", None).await;
    let event = first.hear_until(is_event("conversation.created")).await;
    assert_eq!(event["subject"], said.as_str());
}
