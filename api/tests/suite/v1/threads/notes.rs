//! Notes, and that nothing but members ever sees them.

use domain::Role;
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};

use super::{begin, member};
use crate::support::{TestApp, read};

#[tokio::test]
async fn a_note_is_written_with_the_body_of_the_text() {
    for app in TestApp::on_each_database("notes").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let viewer = member(&app, "mira", Role::Viewer).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/notes");
        let body =
            json!({"content": "Cliente VIP, manejar con cariño", "visibleToCustomer": false});
        let made = ana.post(&app, &path, &body).await.expect(201);
        assert_eq!(made["content"], body["content"]);
        assert_eq!(made["visibleToCustomer"], false);
        assert_eq!(made["author"], json!({"id": ana.id, "name": "ana"}));
        let own = format!("{path}/{}", made["id"].as_str().unwrap());
        assert_eq!(viewer.get(&app, &own).await.expect(200), made);
        let list = viewer.get(&app, &format!("{path}?criteria=VIP")).await.expect(200);
        assert_eq!(list["data"], json!([made]));

        let shown = json!({"content": "x", "visibleToCustomer": true});
        ana.post(&app, &path, &shown).await.expect_field("visibleToCustomer");
        ana.ask(&app, Method::PATCH, &own, &shown).await.expect_field("visibleToCustomer");
        ana.post(&app, &path, &json!({"content": ""})).await.expect_field("content");
        viewer.post(&app, &path, &body).await.expect_error(403, "FORBIDDEN");
        let stranger = super::Person::register(&app, "extraña").await;
        stranger.get(&app, &own).await.expect_error(404, "NOT_FOUND");
        stranger.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        let elsewhere = begin(&app, "hola").await;
        let elsewhere = own.replace(&conversation, &elsewhere);
        ana.get(&app, &elsewhere).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn of_two_who_change_a_note_one_wins_and_the_other_is_told() {
    for app in TestApp::on_each_database("stale notes").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let boss = member(&app, "jefa", Role::Admin).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/notes");
        let made = ana.post(&app, &path, &json!({"content": "uno"})).await;
        let tag = made.header("etag").to_owned();
        let own = format!("{path}/{}", made.expect(201)["id"].as_str().unwrap());
        let edit = async |content: &str| {
            let body = json!({"content": content});
            let request = app.request_as(&ana.token, Method::PATCH, &own).json(&body);
            read(request.header("if-match", &tag)).await
        };
        let (one, other) = tokio::join!(edit("dos"), edit("tres"));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{} {}", one.text, other.text);
        let (winner, loser) = if one.status == 200 { (one, other) } else { (other, one) };
        loser.expect_error(412, "STALE");
        assert_eq!(ana.get(&app, &own).await.expect(200), winner.json());

        for other in [&eva, &boss] {
            let change = json!({"content": "ajena"});
            let reply = other.ask(&app, Method::PATCH, &own, &change).await;
            reply.expect_error(403, "FORBIDDEN");
        }
        eva.ask(&app, Method::DELETE, &own, &Value::Null).await.expect_error(403, "FORBIDDEN");
        let stale = app.request_as(&boss.token, Method::DELETE, &own).header("if-match", &tag);
        read(stale).await.expect_error(412, "STALE");
        boss.ask(&app, Method::DELETE, &own, &Value::Null).await.expect(204);
        ana.get(&app, &own).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn members_who_are_called_find_it_and_others_do_not() {
    for app in TestApp::on_each_database("mentions").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Viewer).await;
        let leo = member(&app, "leo", Role::Agent).await;
        let stranger = super::Person::register(&app, "extraña").await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/notes");
        let body = json!({"content": format!("@[{}] mira esto", eva.id), "mentions": [leo.id]});
        let first = ana.post(&app, &path, &body).await.expect(201);
        let second = json!({"content": "y esto", "mentions": [eva.id]});
        let second = ana.post(&app, &path, &second).await.expect(201);
        let mut called = vec![json!(eva.id), json!(leo.id)];
        called.sort_by_key(ToString::to_string);
        assert_eq!(first["mentions"], json!(called));
        let refused = json!({"content": format!("@[{}]", stranger.id)});
        ana.post(&app, &path, &refused).await.expect_field("content");
        let refused = json!({"content": "x", "mentions": [stranger.id]});
        ana.post(&app, &path, &refused).await.expect_field("mentions");

        let found = async |person: &super::Person, query: &str| -> Vec<(Value, bool)> {
            let list = person.get(&app, &format!("/v1/mentions{query}")).await.expect(200);
            let entries = list["data"].as_array().unwrap();
            assert_eq!(list["meta"]["itemCount"], entries.len());
            entries
                .iter()
                .map(|entry| (entry["note"]["id"].clone(), entry["read"].as_bool().unwrap()))
                .collect()
        };
        let ids = (first["id"].clone(), second["id"].clone());
        assert_eq!(found(&eva, "").await, [(ids.1.clone(), false), (ids.0.clone(), false)]);
        assert!(found(&ana, "").await.is_empty());
        let read = format!("/v1/mentions/{}/read", ids.1.as_str().unwrap());
        eva.post(&app, &read, &Value::Null).await.expect(204);
        leo.post(&app, &read, &Value::Null).await.expect_error(404, "NOT_FOUND");
        assert_eq!(found(&eva, "").await, [(ids.0.clone(), false), (ids.1.clone(), true)]);
        assert_eq!(found(&eva, "?unread=true").await, [(ids.0.clone(), false)]);
        eva.get(&app, "/v1/mentions?unread=x").await.expect_field("unread");

        // A change of the text takes along whom it named, and calls the others no second time.
        let own = format!("{path}/{}", ids.0.as_str().unwrap());
        let change = json!({"content": "ya está"});
        let changed = ana.ask(&app, Method::PATCH, &own, &change).await.expect(200);
        assert_eq!(changed["mentions"], json!([leo.id]));
        assert_eq!(found(&eva, "").await, [(ids.1.clone(), true)]);
        eva.post(&app, "/v1/mentions/read", &Value::Null).await.expect(204);
        leo.post(&app, "/v1/mentions/read", &Value::Null).await.expect(204);
        assert_eq!(found(&leo, "").await, [(ids.0.clone(), true)]);
        let mut conn = app.db.read().await.unwrap();
        let told = storage::events::list(&mut conn, app.tenant.workspace, 0, 999).await.unwrap();
        let told: Vec<Value> = told
            .iter()
            .filter(|event| event.kind == "note.mentioned")
            .map(|event| event.payload["userId"].clone())
            .collect();
        assert_eq!(told.len(), 3);
        assert!(told.contains(&json!(eva.id)) && told.contains(&json!(leo.id)));
    }
}

const SECRET: &str = "palabrasecretísima";

#[tokio::test]
async fn a_note_reaches_no_model_no_customer_and_no_stream() {
    for database in databases("secret notes").await {
        let server = ModelServer::start().await.unwrap();
        let base_url = server.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
        })
        .await;
        app.learn("FAQ", "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.").await;
        let ana = member(&app, "ana", Role::Agent).await;
        let ask = async |conversation: Option<&str>| -> String {
            server.enqueue(ModelReply::text("De 9 a 18 hs. [1]"));
            let body = json!({
                "query": "¿Cuáles son los horarios?",
                "conversationId": conversation,
                "streaming": true,
            });
            let body = if conversation.is_some() {
                body
            } else {
                json!({"query": "¿Cuáles son los horarios?", "streaming": true})
            };
            app.post(&app.chat_path(), &body).await.text
        };
        let first = ask(None).await;
        let at = first.find("conv_").expect("the conversation is told");
        let conversation = first[at..at + 37].to_owned();
        let path = format!("/v1/conversations/{conversation}/notes");
        let note = json!({"content": format!("{SECRET} del cliente"), "mentions": [ana.id]});
        ana.post(&app, &path, &note).await.expect(201);
        let second = ask(Some(&conversation)).await;
        assert!(second.contains("event: done"), "{second}");
        assert!(!second.contains(SECRET));

        let requests = server.requests();
        assert!(requests.len() >= 2);
        for request in requests {
            assert!(!format!("{request:?}").contains(SECRET), "a prompt holds the note");
        }
        let v2 = format!("/api/v2/conversations/{conversation}");
        let messages = app.get(&format!("{v2}/messages")).await.expect(200);
        let answer = messages["data"][3]["id"].as_str().unwrap().to_owned();
        for shown in [
            app.get("/api/v2/conversations").await,
            app.get(&v2).await,
            app.get(&format!("{v2}/messages")).await,
            app.get(&format!("/api/v2/messages/{answer}/trace")).await,
            ana.get(&app, &format!("/v1/conversations/{conversation}/messages")).await,
        ] {
            assert_eq!(shown.status, 200, "{}", shown.text);
            assert!(!shown.text.contains(SECRET), "{}", shown.text);
        }
        let mut conn = app.db.read().await.unwrap();
        let told = storage::events::list(&mut conn, app.tenant.workspace, 0, 999).await.unwrap();
        assert!(told.iter().any(|event| event.kind == "note.mentioned"));
        assert!(told.iter().all(|event| !event.payload.to_string().contains(SECRET)));
    }
}
