//! Canned replies.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::threads::{begin, member};
use crate::support::{TestApp, read};

#[tokio::test]
async fn replies_are_made_found_filled_and_deleted() {
    for app in TestApp::on_each_database("canned replies").await {
        let boss = member(&app, "Andrea", Role::Admin).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let path = "/v1/canned-replies";
        let shared = json!({
            "shortcut": "Hola",
            "title": "Saludo",
            "contents": {
                "es": "¡Hola, {{contact.name}}! Soy {{agent.name}} ({{conversation.id}}).",
                "en": "Hi {{ contact.name }}, {{unknown}}",
            },
        });
        let made = boss.post(&app, path, &shared).await.expect(201);
        assert_eq!((&made["shortcut"], &made["personal"]), (&json!("hola"), &json!(false)));
        let own =
            json!({"shortcut": "chau", "title": "Adiós", "content": "¡Chau!", "personal": true});
        let own = eva.post(&app, path, &own).await.expect(201);
        assert_eq!(own["contents"], json!({"any": "¡Chau!"}));

        let shortcuts = async |person: &super::Person, query: &str| -> Vec<Value> {
            let list = person.get(&app, &format!("{path}{query}")).await.expect(200);
            list["data"].as_array().unwrap().iter().map(|r| r["shortcut"].clone()).collect()
        };
        assert_eq!(shortcuts(&eva, "").await, ["chau", "hola"]);
        assert_eq!(shortcuts(&boss, "").await, ["hola"]);
        assert_eq!(shortcuts(&eva, "?criteria=SALU").await, ["hola"]);
        let of_eva = format!("{path}/{}", own["id"].as_str().unwrap());
        boss.get(&app, &of_eva).await.expect_error(404, "NOT_FOUND");

        // Filled with the conversation's facts, which are not looked at again.
        let contact = json!({
            "query": "hola, quiero saber el horario de la tienda",
            "contact": {"firstName": "{{agent.name}}", "email": "carla@ejemplo.com"},
        });
        let answer = app.post(&app.chat_path(), &contact).await.expect(200);
        let conversation = answer["conversationId"].as_str().unwrap().to_owned();
        let of_all = format!("{path}/{}", made["id"].as_str().unwrap());
        let render = format!("{of_all}/render");
        let body = json!({"conversationId": conversation});
        let filled = eva.post(&app, &render, &body).await.expect(200);
        let expected = format!("¡Hola, {{{{agent.name}}}}! Soy eva ({conversation}).");
        assert_eq!(filled["content"], expected);
        let body = json!({"conversationId": conversation, "language": "en"});
        let filled = eva.post(&app, &render, &body).await.expect(200);
        assert_eq!(filled["content"], "Hi {{agent.name}}, {{unknown}}");
        let body = json!({"conversationId": conversation, "language": "fr"});
        eva.post(&app, &render, &body).await.expect_field("language");
        let absent = json!({"conversationId": "conv_00000000000000000000000000000000"});
        eva.post(&app, &render, &absent).await.expect_error(404, "NOT_FOUND");

        eva.ask(&app, Method::DELETE, &of_all, &Value::Null).await.expect_error(403, "FORBIDDEN");
        boss.ask(&app, Method::DELETE, &of_all, &Value::Null).await.expect(204);
        boss.get(&app, &of_all).await.expect_error(404, "NOT_FOUND");
        eva.ask(&app, Method::DELETE, &of_eva, &Value::Null).await.expect(204);
        assert!(shortcuts(&eva, "").await.is_empty() && shortcuts(&boss, "").await.is_empty());
        let told = app.get("/v1/audit?order=ASC&action=canned-reply").await.expect(200);
        let told = told["data"].as_array().unwrap().iter();
        let told: Vec<_> = told.map(|e| (&e["action"], &e["subject"], &e["actor"]["id"])).collect();
        let entry = |action: &str, reply: &Value, by: &super::Person| {
            (json!(format!("canned-reply.{action}")), reply["id"].clone(), json!(by.id))
        };
        let expected = [
            entry("created", &made, &boss),
            entry("created", &own, &eva),
            entry("deleted", &made, &boss),
            entry("deleted", &own, &eva),
        ];
        assert!(told.iter().copied().eq(expected.iter().map(|(a, s, by)| (a, s, by))), "{told:?}");
    }
}

#[tokio::test]
async fn replies_are_changed_by_one_at_a_time() {
    for app in TestApp::on_each_database("stale replies").await {
        let boss = member(&app, "jefa", Role::Admin).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let path = "/v1/canned-replies";
        let body = json!({"shortcut": "hola", "title": "Saludo", "content": "¡Hola!"});
        let made = boss.post(&app, path, &body).await;
        let tag = made.header("etag").to_owned();
        let own = format!("{path}/{}", made.expect(201)["id"].as_str().unwrap());
        let edit = async |title: &str| {
            let body = json!({"title": title});
            let request = app.request_as(&boss.token, Method::PATCH, &own).json(&body);
            read(request.header("if-match", &tag)).await
        };
        let (one, other) = tokio::join!(edit("dos"), edit("tres"));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{} {}", one.text, other.text);
        eva.ask(&app, Method::PATCH, &own, &json!({"title": "x"}))
            .await
            .expect_error(403, "FORBIDDEN");

        // One shortcut, one reply: also of those who make it at once, whoever's it is.
        let twin = json!({"shortcut": "HOLA", "title": "x", "content": "x", "personal": true});
        eva.post(&app, path, &twin).await.expect_error(409, "SHORTCUT_TAKEN");
        let new = json!({"shortcut": "nuevo", "title": "x", "content": "x", "personal": true});
        let (one, other) = tokio::join!(eva.post(&app, path, &new), boss.post(&app, path, &new));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        let rename = json!({"shortcut": "nuevo"});
        let reply = boss.ask(&app, Method::PATCH, &own, &rename).await;
        reply.expect_error(409, "SHORTCUT_TAKEN");
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_is_refused_by_name() {
    let app = TestApp::start().await;
    let boss = member(&app, "jefa", Role::Admin).await;
    let eva = member(&app, "eva", Role::Agent).await;
    let path = "/v1/canned-replies";
    let with = |change: Value| {
        let mut body = json!({"shortcut": "a", "title": "A", "content": "x"});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    for (body, field) in [
        (with(json!({"shortcut": "a b"})), "shortcut"),
        (with(json!({"shortcut": ""})), "shortcut"),
        (with(json!({"title": "x".repeat(101)})), "title"),
        (with(json!({"content": ""})), "content"),
        (with(json!({"content": null})), "content"),
        (with(json!({"contents": {"es": "x"}})), "contents"),
        (with(json!({"content": null, "contents": {}})), "contents"),
        (with(json!({"content": null, "contents": {"fr": "x"}})), "contents.fr"),
        (with(json!({"content": null, "contents": {"es": " "}})), "contents.es"),
    ] {
        boss.post(&app, path, &body).await.expect_field(field);
    }
    eva.post(&app, path, &with(json!({}))).await.expect_error(403, "FORBIDDEN");
    let conversation = begin(&app, "hola").await;
    let body = json!({"conversationId": conversation});
    let absent = format!("{path}/canned_00000000000000000000000000000000/render");
    eva.post(&app, &absent, &body).await.expect_error(404, "NOT_FOUND");
    let key = read(app.request(Method::POST, path).json(&with(json!({"shortcut": "key"})))).await;
    assert_eq!(key.expect(201)["personal"], false);
    let own = with(json!({"shortcut": "own", "personal": true}));
    read(app.request(Method::POST, path).json(&own)).await.expect_error(403, "FORBIDDEN");
}
