//! Visitors whom people have blocked.

use http::Method;
use serde_json::{Value, json};

use super::{Site, Visitor};
use crate::support::{TestApp, read};

/// What a visitor writes with, and how.
fn writings(conversation: &Value) -> [(&'static str, Value); 3] {
    [
        ("/messages", json!({"content": "¿Hay alguien?", "conversationId": conversation})),
        ("/messages", json!({"content": "¿Hay alguien?"})),
        ("/offline", json!({"email": "andrea@ejemplo.com", "message": "Llámenme"})),
    ]
}

async fn is_refused(app: &TestApp, visitor: &Visitor, conversation: &Value) {
    for (path, body) in writings(conversation) {
        for (language, words) in [("es", "No podemos"), ("en", "we cannot"), ("pt", "Não podemos")]
        {
            let request = visitor.request(app, Method::POST, path).json(&body);
            let refused = read(request.header("accept-language", language)).await;
            let told = refused.expect_error(403, "BLOCKED");
            assert!(told.starts_with(words), "{path}: {told}");
        }
    }
}

#[tokio::test]
async fn who_is_blocked_reads_but_writes_nothing_on_any_route() {
    for app in TestApp::on_each_database("blocked visitors").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let conversation = &said["conversationId"];
        let of_visitor = |act: &str| format!("/v1/visitors/{}/{act}", visitor.id);
        site.owner.post(&app, &of_visitor("block"), &Value::Null).await.expect(204);
        is_refused(&app, &visitor, conversation).await;
        let read_back = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(read_back["data"], json!([said["message"], said["reply"]]), "nothing was kept");
        let list = visitor.get(&app, "/conversations").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
        let all = site.owner.get(&app, "/v1/conversations").await.expect(200);
        assert_eq!(all["meta"]["itemCount"], 1, "{all}");
        let other = site.visitor(&app).await;
        other.say(&app, "Hola").await;
        site.owner.post(&app, &of_visitor("unblock"), &Value::Null).await.expect(204);
        visitor.say(&app, "Gracias").await;
    }
}

#[tokio::test]
async fn a_blocked_end_user_is_refused_on_whatever_page_they_come_back_by() {
    for app in TestApp::on_each_database("blocked end-users of sites").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let form =
            json!({"email": "andrea@ejemplo.com", "message": "Quiero cotizar un cumpleaños"});
        let left = visitor.post(&app, "/offline", &form).await.expect(201);
        let found = site.owner.get(&app, "/v1/end-users?search=andrea@ejemplo.com").await;
        let id = found.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();
        let of_end_user = |act: &str| format!("/v1/end-users/{id}/{act}");
        site.owner.post(&app, &of_end_user("block"), &Value::Null).await.expect(200);
        is_refused(&app, &visitor, &left["conversationId"]).await;
        // The address is known; who has it goes by no other visitor's name either.
        let again = site.visitor(&app).await;
        again.post(&app, "/offline", &form).await.expect_error(403, "BLOCKED");
        site.owner.post(&app, &of_end_user("unblock"), &Value::Null).await.expect(200);
        again.post(&app, "/offline", &form).await.expect(201);
        visitor.say(&app, "Hola").await;
    }
}

#[tokio::test]
async fn a_live_connection_tells_who_is_blocked_that_they_are() {
    for app in TestApp::on_each_database("blocked live visitors").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let path = format!("/v1/widget/ws?siteKey={}", site.key);
        let mut socket =
            crate::socket::Socket::open(&app, &path, &[("origin", super::ORIGIN)]).await.unwrap();
        socket.say(&json!({"type": "auth", "visitorToken": visitor.token})).await;
        socket.hear_until(|frame| frame["type"] == "ready").await;
        let block = format!("/v1/visitors/{}/block", visitor.id);
        site.owner.post(&app, &block, &Value::Null).await.expect(204);
        let frame = json!({"type": "message", "content": "Hola", "clientMessageId": "m-1"});
        socket.say(&frame).await;
        let told = socket.hear_until(|frame| frame["type"] == "error").await;
        assert_eq!((&told["code"], &told["clientMessageId"]), (&json!("BLOCKED"), &json!("m-1")));
        let list = visitor.get(&app, "/conversations").await.expect(200);
        assert_eq!(list["data"], json!([]));
    }
}
