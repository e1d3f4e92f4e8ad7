//! The timeline, who took part, what was read, and the conversation as a file.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::{begin, member};
use crate::support::{TestApp, read};

#[tokio::test]
async fn everything_that_happened_stands_in_one_order() {
    for app in TestApp::on_each_database("timeline").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}");
        let note = json!({"content": "VIP"});
        ana.post(&app, &format!("{path}/notes"), &note).await.expect(201);
        ana.post(&app, &format!("{path}/messages"), &json!({"content": "Aquí estoy"}))
            .await
            .expect(201);
        let assign = json!({"assignedToUserId": eva.id});
        ana.post(&app, &format!("{path}/assign"), &assign).await.expect(200);
        let list = ana.get(&app, &format!("{path}/messages")).await.expect(200);
        let answer = list["data"][1]["id"].as_str().unwrap();
        let rating = json!({"rating": "up", "comment": "bien"});
        app.put(&format!("/api/v2/messages/{answer}/feedback"), &rating).await.expect(204);
        let rating = json!({"rating": 5});
        app.put(&format!("/api/v2/conversations/{conversation}/rating"), &rating).await.expect(204);

        let timeline = format!("{path}/timeline");
        let list = ana.get(&app, &format!("{timeline}?take=100")).await.expect(200);
        let entries = list["data"].as_array().unwrap();
        let kinds: Vec<&str> = entries.iter().map(|e| e["type"].as_str().unwrap()).collect();
        let expected =
            ["message", "message", "note", "message", "event", "event", "feedback", "rating"];
        assert_eq!(kinds, expected, "{list}");
        assert_eq!(list["meta"]["itemCount"], 8);
        for entry in entries {
            let kind = entry["type"].as_str().unwrap();
            assert!(entry[kind].is_object(), "{entry}");
            assert_eq!(entry.as_object().unwrap().len(), 3, "{entry}");
        }
        assert_eq!(entries[2]["note"]["content"], "VIP");
        assert_eq!(entries[3]["message"]["author"]["name"], "ana");
        let taken = &entries[4]["event"];
        assert_eq!((&taken["kind"], &taken["byName"]), (&json!("taken-over"), &json!("ana")));
        let assigned = &entries[5]["event"];
        assert_eq!(assigned["kind"], "assigned");
        assert_eq!(assigned["details"]["assigneeId"], eva.id.as_str());
        assert_eq!(entries[6]["feedback"]["rating"], "up");
        assert_eq!(entries[7]["rating"]["rating"], 5);

        let backwards = ana.get(&app, &format!("{timeline}?take=100&order=DESC")).await.expect(200);
        let mut turned = backwards["data"].as_array().unwrap().clone();
        turned.reverse();
        assert_eq!(&turned, entries);
        let mut paged = Vec::new();
        for page in 1..=3 {
            let part = ana.get(&app, &format!("{timeline}?take=3&page={page}")).await.expect(200);
            paged.extend(part["data"].as_array().unwrap().clone());
        }
        assert_eq!(&paged, entries);
        ana.get(&app, &format!("{timeline}?order=up")).await.expect_field("order");

        let found = ana.get(&app, &format!("{path}/participants")).await.expect(200);
        let found = found["data"].as_array().unwrap();
        let kinds: Vec<&str> = found.iter().map(|p| p["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["customer", "agent", "operator", "operator"]);
        let of = |person: &super::Person| {
            found.iter().find(|p| p["id"] == person.id.as_str()).unwrap().clone()
        };
        assert_eq!((&of(&ana)["messages"], &of(&ana)["assigned"]), (&json!(1), &json!(true)));
        assert_eq!((&of(&eva)["messages"], &of(&eva)["assigned"]), (&json!(0), &json!(true)));
        let stranger = super::Person::register(&app, "extraña").await;
        stranger.get(&app, &timeline).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn each_member_has_read_what_they_have_read() {
    for app in TestApp::on_each_database("read state").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let mira = member(&app, "mira", Role::Viewer).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/read");
        let state = async |person: &super::Person| {
            let state = person.get(&app, &path).await.expect(200);
            (state["seq"].as_i64().unwrap(), state["unread"].as_i64().unwrap())
        };
        assert_eq!(state(&ana).await, (0, 1));
        let marked = mira.post(&app, &path, &json!({"seq": 99})).await.expect(200);
        assert_eq!((&marked["seq"], &marked["unread"]), (&json!(2), &json!(0)));
        assert_eq!(state(&ana).await, (0, 1), "what colleagues read is theirs");
        mira.post(&app, &path, &json!({"seq": 1})).await.expect(200);
        assert_eq!(state(&mira).await, (2, 0), "nothing is unread again");
        let messages = format!("/v1/conversations/{conversation}/messages");
        ana.post(&app, &messages, &json!({"content": "Aquí estoy"})).await.expect(201);
        assert_eq!(state(&ana).await, (3, 0), "who answers has read");
        let again = json!({"query": "¿y?", "conversationId": conversation});
        app.post(&app.chat_path(), &again).await.expect(200);
        assert_eq!(state(&ana).await, (3, 1));
        assert_eq!(state(&mira).await, (2, 1));
        ana.post(&app, &path, &json!({})).await.expect(200);
        assert_eq!(state(&ana).await, (4, 0));
        ana.post(&app, &path, &json!({"seq": 0})).await.expect_field("seq");
        let absent = path.replace(&conversation, "conv_00000000000000000000000000000000");
        ana.post(&app, &absent, &json!({})).await.expect_error(404, "NOT_FOUND");
        let key = read(app.request(Method::POST, &path).json(&json!({}))).await;
        key.expect_error(403, "FORBIDDEN");
        let mut conn = app.db.read().await.unwrap();
        let told = storage::events::list(&mut conn, app.tenant.workspace, 0, 999).await.unwrap();
        let told: Vec<Value> = told
            .iter()
            .filter(|event| event.kind == "conversation.read")
            .map(|event| json!([event.payload["userId"], event.payload["seq"]]))
            .collect();
        assert_eq!(told, [json!([mira.id, 2]), json!([ana.id, 3]), json!([ana.id, 4])]);
    }
}

#[tokio::test]
async fn a_conversation_is_saved_in_three_forms_with_notes_only_when_asked() {
    for app in TestApp::on_each_database("exports").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let conversation = begin(&app, "<script>alert('hola')</script> & \"más\"").await;
        let path = format!("/v1/conversations/{conversation}");
        ana.post(&app, &format!("{path}/notes"), &json!({"content": "nota <b>VIP"}))
            .await
            .expect(201);
        let said = json!({"content": "Una\nrespuesta"});
        ana.post(&app, &format!("{path}/messages"), &said).await.expect(201);
        let export = async |query: &str| {
            let reply = ana.get(&app, &format!("{path}/export{query}")).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert!(reply.header("content-disposition").starts_with("attachment;"));
            assert_eq!(reply.header("content-security-policy"), "sandbox; default-src 'none'");
            reply
        };
        let json = export("").await.json();
        assert_eq!(json["messages"].as_array().unwrap().len(), 3);
        assert_eq!(json["messages"][2]["author"]["name"], "ana");
        assert!(json.get("notes").is_none(), "{json}");
        let json = export("?format=json&notes=true").await.json();
        assert_eq!(json["notes"][0]["content"], "nota <b>VIP");

        let text = export("?format=txt").await;
        assert!(text.header("content-type").starts_with("text/plain"));
        assert!(text.text.contains("Operador · ana:\n  Una\n  respuesta\n"), "{}", text.text);
        assert!(!text.text.contains("VIP"));
        let english = export("?format=txt&notes=true&lang=en").await.text;
        assert!(english.contains("Internal note · ana:\n  nota <b>VIP"), "{english}");

        let page = export("?format=html&notes=true").await;
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(!page.text.contains("<script") && !page.text.contains("<b>"), "{}", page.text);
        assert!(page.text.contains("&lt;script&gt;alert(&#39;hola&#39;)"), "{}", page.text);
        assert!(page.text.contains("nota &lt;b&gt;VIP"));
        assert!(!page.text.contains("http://") && !page.text.contains("https://"));

        for (query, field) in [("format=pdf", "format"), ("notes=x", "notes"), ("lang=fr", "lang")]
        {
            ana.get(&app, &format!("{path}/export?{query}")).await.expect_field(field);
        }
        let key = app.get(&format!("{path}/export?notes=true")).await;
        key.expect_error(403, "FORBIDDEN");
        assert_eq!(app.get(&format!("{path}/export?format=txt")).await.status, 200);
        let stranger = super::Person::register(&app, "extraña").await;
        stranger.get(&app, &format!("{path}/export")).await.expect_error(404, "NOT_FOUND");
    }
}
