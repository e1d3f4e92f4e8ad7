//! What visitors say and are told.

use domain::conversation::Transition;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

use super::{Site, Visitor};
use crate::support::{Reply, TestApp, read};

async fn change_state(app: &TestApp, site: &Site, conversation: &Value, transition: Transition) {
    let mut tx = app.db.write().await.unwrap();
    let workspace = site.owner.workspace.parse().unwrap();
    let id = conversation.as_str().unwrap().parse().unwrap();
    let now = app.ambient.now();
    storage::conversations::transition(&mut tx, workspace, id, transition, now).await.unwrap();
    tx.commit().await.unwrap();
}

/// The events of a stream: name and data.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(reply.header("content-type"), "text/event-stream", "{}", reply.text);
    let blocks = reply.text.split("\n\n").filter(|block| block.contains("event: "));
    let event = |block: &str| {
        let line = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{block} has no {name}"))
        };
        assert!(!line("id: ").is_empty());
        (line("event: ").to_owned(), serde_json::from_str(line("data: ")).unwrap())
    };
    blocks.map(event).collect()
}

#[tokio::test]
async fn the_texts_own_message_is_answered_with_what_the_site_knows() {
    for app in TestApp::on_each_database("widget chat").await {
        app.learn("FAQ", "El parque abre de lunes a viernes de 9 a 18 horas.").await;
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let body = json!({"visitorId": visitor.id, "content": "Hola tengo una duda"});
        let begun = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(begun["message"]["content"], "Hola tengo una duda");
        assert_eq!(
            (&begun["message"]["seq"], &begun["message"]["author"]),
            (&json!(1), &json!("customer"))
        );
        assert_eq!(begun["reply"]["author"], "agent");

        let body = json!({
            "visitorId": visitor.id,
            "conversationId": begun["conversationId"],
            "content": "¿Cuándo abre el parque?"
        });
        let answered = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(answered["conversationId"], begun["conversationId"]);
        let reply = &answered["reply"];
        assert!(reply["content"].as_str().unwrap().contains("9 a 18"), "{reply}");
        assert_eq!(reply["citations"][0]["source"], "FAQ");
        assert!(reply["citations"][0].get("chunkId").is_none(), "{reply}");

        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 4);
        assert_eq!((&list["data"][2], &list["data"][3]), (&answered["message"], reply));
        assert_eq!(list["conversation"]["id"], begun["conversationId"]);
        let id = begun["conversationId"].as_str().unwrap();
        let after = format!("/messages?after=2&limit=1&conversationId={id}");
        let after = visitor.get(&app, &after).await.expect(200);
        assert_eq!(
            (&after["data"], &after["hasMore"]),
            (&json!([answered["message"]]), &json!(true))
        );
        for (query, field) in [("after=-1", "after"), ("limit=0", "limit"), ("limit=201", "limit")]
        {
            visitor.get(&app, &format!("/messages?{query}")).await.expect_field(field);
        }
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_one_message() {
    for app in TestApp::on_each_database("widget repeats").await {
        let site = Site::new(&app).await;
        let (visitor, other) = (site.visitor(&app).await, site.visitor(&app).await);
        let body = json!({"content": "Hola", "clientMessageId": "m-1"});
        let (one, two) = tokio::join!(
            visitor.post(&app, "/messages", &body),
            visitor.post(&app, "/messages", &body)
        );
        let (one, two) = (one.expect(200), two.expect(200));
        assert_eq!(one, two);
        assert_eq!(one["message"]["clientMessageId"], "m-1");
        let named = json!({"content": "Hola", "clientMessageId": "m-1", "conversationId": one["conversationId"]});
        let again = visitor.post(&app, "/messages", &named).await.expect(200);
        assert_eq!((&again["message"], &again["reply"]), (&one["message"], &one["reply"]));
        let theirs = other.post(&app, "/messages", &body).await.expect(200);
        assert_ne!(theirs["conversationId"], one["conversationId"], "ids are each visitor's own");
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"], json!([one["message"], one["reply"]]));
        assert!(one["reply"].get("clientMessageId").is_none());
        let without = visitor.say(&app, "Hola").await;
        assert!(without["message"].get("clientMessageId").is_none(), "{without}");
    }
}

#[tokio::test]
async fn another_visitors_conversation_is_absent_and_nothing_is_made() {
    for app in TestApp::on_each_database("widget strangers").await {
        let site = Site::new(&app).await;
        let neighbour = Site::owned_by(&app, site.owner.clone()).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let id = &said["conversationId"];
        for stranger in [site.visitor(&app).await, neighbour.visitor(&app).await] {
            let absent = json!("conv_00000000000000000000000000000000");
            for id in [id, &absent, &json!("convo123")] {
                for (path, body) in [
                    ("/messages", json!({"content": "Hola", "conversationId": id})),
                    ("/rating", json!({"rating": 5, "conversationId": id})),
                    ("/end", json!({"conversationId": id})),
                ] {
                    let refused = stranger.post(&app, path, &body).await;
                    assert_eq!(refused.expect_error(404, "NOT_FOUND"), "conversation not found");
                }
                let path = format!("/messages?conversationId={}", id.as_str().unwrap());
                stranger.get(&app, &path).await.expect_error(404, "NOT_FOUND");
            }
            let claims = json!({"content": "Hola", "visitorId": visitor.id});
            stranger.post(&app, "/messages", &claims).await.expect_error(403, "FORBIDDEN");
            let list = stranger.get(&app, "/conversations").await.expect(200);
            assert_eq!(list, json!({"data": []}));
        }
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"], json!([said["message"], said["reply"]]));
    }
}

#[tokio::test]
async fn an_answer_is_streamed_and_ends_with_what_is_stored() {
    for app in TestApp::on_each_database("widget stream").await {
        app.learn("FAQ", "El parque abre de lunes a viernes de 9 a 18 horas.").await;
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let body = json!({"content": "¿Cuándo abre el parque?", "clientMessageId": "m-1"});
        let request = visitor.request(&app, Method::POST, "/messages").json(&body);
        let reply = read(request.header("accept", "text/event-stream")).await;
        let told = events(&reply);
        let (last, told) = told.split_last().unwrap();
        assert_eq!(last.0, "done");
        let text: String = told
            .iter()
            .filter(|(kind, _)| kind == "token")
            .map(|(_, data)| data["text"].as_str().unwrap())
            .collect();
        assert_eq!(last.1["reply"]["content"], text.as_str());
        let source = told.iter().find(|(kind, _)| kind == "source").unwrap();
        assert_eq!(source.1, last.1["reply"]["citations"][0]);
        let again = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!((&again["message"], &again["reply"]), (&last.1["message"], &last.1["reply"]));
    }
}

#[tokio::test]
async fn who_goes_away_in_the_middle_finds_the_answer() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    let mut wakeups = app.db.wakeups();
    let body = json!({"content": "Hola"});
    let request = visitor.request(&app, Method::POST, "/messages").json(&body);
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    let mut stream = response.bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let answered = async {
        loop {
            let list = visitor.get(&app, "/messages").await.expect(200);
            if list["data"].as_array().unwrap().len() == 2 {
                return list["data"][1].clone();
            }
            crate::support::woken(&mut wakeups).await;
        }
    };
    let reply = tokio::time::timeout(crate::support::PATIENCE, answered).await.unwrap();
    assert_eq!((&reply["author"], &reply["state"]), (&json!("agent"), &json!("complete")));
}

#[tokio::test]
async fn while_people_have_it_a_message_is_kept_and_nobody_answers() {
    for app in TestApp::on_each_database("widget people").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let id = &said["conversationId"];
        for transition in [Transition::RequestHuman, Transition::TakeOver] {
            change_state(&app, &site, id, transition).await;
            let body = json!({"content": "¿Hay alguien?", "conversationId": id});
            let kept = visitor.post(&app, "/messages", &body).await.expect(202);
            assert_eq!(kept["reply"], Value::Null);
            let request = visitor.request(&app, Method::POST, "/messages").json(&body);
            let told = events(&read(request.header("accept", "text/event-stream")).await);
            assert_eq!((told.len(), told[0].0.as_str()), (1, "done"));
            assert_eq!(told[0].1["conversation"]["handler"], kept["conversation"]["handler"]);
        }
        change_state(&app, &site, id, Transition::HandBack).await;
        let body = json!({"content": "Hola", "conversationId": id});
        let answered = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(answered["reply"]["author"], "agent");
    }
}

#[tokio::test]
async fn a_paused_agent_is_silent_and_what_is_said_is_kept() {
    for app in TestApp::on_each_database("widget paused").await {
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&agent, &json!({"status": "paused"})).await.expect(200);
        for body in [
            json!({"content": "Hola", "clientMessageId": "m-1"}),
            json!({"content": "Hola", "clientMessageId": "m-2", "conversationId": said["conversationId"]}),
        ] {
            let kept = visitor.post(&app, "/messages", &body).await.expect(202);
            assert_eq!(
                (&kept["reply"], &kept["conversation"]["status"]),
                (&Value::Null, &json!("open"))
            );
            assert_eq!(visitor.post(&app, "/messages", &body).await.expect(202), kept);
        }
    }
}

#[tokio::test]
async fn the_widgets_own_agent_answers() {
    let app = TestApp::start().await;
    let site = Site::of_tenant(&app).await;
    let made = app.post("/api/v2/agents", &json!({"name": "Ventas"})).await.expect(201);
    site.change_widget(&app, &json!({"agentId": made["id"]})).await;
    let visitor = site.visitor(&app).await;
    let said = visitor.say(&app, "Hola").await;
    let of = async |said: &Value| {
        let id = said["conversationId"].as_str().unwrap();
        let found = app.get(&format!("/api/v2/conversations/{id}")).await.expect(200);
        found["agentId"].clone()
    };
    assert_eq!(of(&said).await, made["id"]);
    site.change_widget(&app, &json!({"agentId": null})).await;
    let body = json!({"content": "Hola", "conversationId": said["conversationId"]});
    let on = visitor.post(&app, "/messages", &body).await.expect(200);
    assert_eq!(of(&on).await, made["id"], "a conversation keeps who answers in it");
    let next = visitor.say(&app, "Hola").await;
    assert_eq!(of(&next).await, app.tenant.agent.as_str());
}

#[tokio::test]
async fn a_visitor_sends_twenty_messages_a_minute() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let (visitor, other) = (site.visitor(&app).await, site.visitor(&app).await);
    let body = json!({"content": "Hola"});
    let sending = (0..40).map(|_| visitor.post(&app, "/messages", &body));
    let all = futures::future::join_all(sending).await;
    let (taken, mut refused): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|reply| reply.status.is_success());
    assert!((20..30).contains(&taken.len()), "{}", taken.len());
    let refused = refused.remove(0);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 3, "{refused:?}");
    assert!(refused.header("access-control-expose-headers").contains("retry-after"));
    let told = refused.expect_error(429, "RATE_LIMITED");
    assert!(told.starts_with("Estás escribiendo muy rápido."), "{told}");
    other.say(&app, "Hola").await;
    visitor.get(&app, "/messages").await.expect(200);
}

#[tokio::test]
async fn what_is_left_offline_waits_for_people_with_who_left_it() {
    for app in TestApp::on_each_database("widget offline").await {
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let body = json!({
            "visitorId": visitor.id,
            "name": "Andrea",
            "email": "andrea@ejemplo.com",
            "message": "Quiero cotizar un cumpleaños"
        });
        let left = visitor.post(&app, "/offline", &body).await.expect(201);
        assert_eq!(left["message"]["content"], "Quiero cotizar un cumpleaños");
        let state = (&left["conversation"]["status"], &left["conversation"]["handler"]);
        assert_eq!(state, (&json!("pending"), &json!("queue")));
        let leads = app.get("/api/v2/leads").await.expect(200);
        let lead = &leads["data"][0];
        assert_eq!(lead["conversationId"], left["conversationId"]);
        assert_eq!(lead["fields"], json!({"name": "Andrea", "email": "andrea@ejemplo.com"}));
        assert!(lead["contactId"].is_string(), "{lead}");
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"], json!([left["message"]]));

        let body = json!({
            "email": "andrea@ejemplo.com",
            "phone": "+56 9 8765 4321",
            "message": "Hola",
            "clientMessageId": "o-1",
        });
        let one = visitor.post(&app, "/offline", &body).await.expect(201);
        assert_eq!(visitor.post(&app, "/offline", &body).await.expect(201), one);
        let leads = app.get("/api/v2/leads").await.expect(200);
        assert_eq!(leads["data"].as_array().unwrap().len(), 2);
        let fields = json!({"email": "andrea@ejemplo.com", "phone": "+56987654321"});
        assert_eq!(leads["data"][0]["fields"], fields);
        for (body, field) in [
            (json!({"email": "a@b.cl"}), "message"),
            (json!({"email": "a@b.cl", "message": ""}), "message"),
            (json!({"name": "Andrea", "message": "Hola"}), "email"),
            (json!({"email": "andrea", "message": "Hola"}), "email"),
            (json!({"phone": "12", "message": "Hola"}), "phone"),
            (json!({"email": "a@b.cl", "message": "Hola", "name": "x".repeat(201)}), "name"),
        ] {
            visitor.post(&app, "/offline", &body).await.expect_field(field);
        }
        let claims = json!({"visitorId": "abc123", "email": "a@b.cl", "message": "Hola"});
        visitor.post(&app, "/offline", &claims).await.expect_error(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn the_form_of_a_widget_asks_for_what_it_requires() {
    for app in TestApp::on_each_database("widget form").await {
        let site = Site::new(&app).await;
        let form =
            |when: &str, fields: Value| json!({"leadForm": {"when": when, "fields": fields}});
        let (email, phone) = (json!({"name": "email", "required": true}), json!({"name": "phone"}));
        let company = json!({"name": "company", "required": true});
        let nobody = form("offline", json!([company]));
        site.owner
            .patch(&app, &site.path("/widget"), &nobody)
            .await
            .expect_field("leadForm.fields");

        let before = form("before-chat", json!([email, company]));
        site.owner.patch(&app, &site.path("/widget"), &before).await.expect(200);
        let visitor = site.visitor(&app).await;
        let says = |contact: Value| json!({"content": "Hola", "contact": contact});
        let hello = json!({"content": "Hola"});
        visitor.post(&app, "/messages", &hello).await.expect_field("contact.email");
        let only = says(json!({"email": "andrea@ejemplo.com"}));
        visitor.post(&app, "/messages", &only).await.expect_field("contact.company");
        let wrong = says(json!({"email": "andrea", "company": "Sol"}));
        visitor.post(&app, "/messages", &wrong).await.expect_field("contact.email");
        let all = says(json!({"email": "andrea@ejemplo.com", "company": "Sol"}));
        let said = visitor.post(&app, "/messages", &all).await.expect(200);
        let path = format!("/v1/conversations/{}", said["conversationId"].as_str().unwrap());
        let shown = site.owner.get(&app, &path).await.expect(200);
        assert_eq!(shown["contact"]["email"], "andrea@ejemplo.com");
        let timeline = site.owner.get(&app, &format!("{path}/timeline")).await.expect(200);
        assert!(timeline.to_string().contains("\"company\":\"Sol\""), "{timeline}");
        // Once is enough, in another conversation, too.
        visitor.post(&app, "/messages", &hello).await.expect(200);

        let offline = form("offline", json!([email, phone]));
        site.owner.patch(&app, &site.path("/widget"), &offline).await.expect(200);
        let left = json!({"phone": "+56987654321", "message": "Hola"});
        visitor.post(&app, "/offline", &left).await.expect_field("email");
        let never = form("never", json!([email]));
        site.owner.patch(&app, &site.path("/widget"), &never).await.expect(200);
        let left = json!({"email": "andrea@ejemplo.com", "message": "Hola"});
        visitor.post(&app, "/offline", &left).await.expect_error(403, "FORBIDDEN");
    }
}

async fn rate(app: &TestApp, visitor: &Visitor, body: Value) -> Reply {
    visitor.post(app, "/rating", &body).await
}

#[tokio::test]
async fn a_conversation_is_rated_ended_and_taken_up_again() {
    for app in TestApp::on_each_database("widget endings").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let said = visitor.say(&app, "Hola").await;
        let id = &said["conversationId"];
        let body = json!({"conversationId": id, "rating": 4, "comment": " Muy bien "});
        rate(&app, &visitor, body).await.expect(204);
        let workspace = site.owner.workspace.parse().unwrap();
        let stored = async || {
            let mut conn = app.db.read().await.unwrap();
            let ids = [id.as_str().unwrap().parse().unwrap()];
            storage::conversations::ratings(&mut conn, workspace, &ids).await.unwrap()
        };
        let rating = stored().await.remove(0).1;
        assert_eq!((rating.rating, rating.comment.as_deref()), (4, Some("Muy bien")));
        for (bad, field) in [
            (json!({"conversationId": id, "rating": 0}), "rating"),
            (json!({"conversationId": id, "rating": 6}), "rating"),
            (json!({"conversationId": id, "rating": 5, "comment": "x".repeat(1_001)}), "comment"),
            (json!({"rating": 5}), "conversationId"),
        ] {
            rate(&app, &visitor, bad).await.expect_field(field);
        }
        rate(&app, &visitor, json!({"conversationId": id, "rating": null})).await.expect(204);
        assert_eq!(stored().await, []);

        let named = json!({"conversationId": id});
        let ended = visitor.post(&app, "/end", &named).await.expect(200);
        assert_eq!(ended["status"], "closed");
        visitor.post(&app, "/end", &named).await.expect(200);
        let body = json!({"content": "Hola", "conversationId": id});
        let again = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(
            (&again["conversation"]["status"], &again["message"]["seq"]),
            (&json!("open"), &json!(3))
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_named() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    for (body, field) in [
        (json!({}), "content"),
        (json!({"content": " "}), "content"),
        (json!({"content": "x".repeat(8_001)}), "content"),
        (json!({"content": "Hola", "clientMessageId": ""}), "clientMessageId"),
        (json!({"content": "Hola", "clientMessageId": "/x"}), "clientMessageId"),
        (json!({"content": "Hola", "clientMessageId": "x".repeat(101)}), "clientMessageId"),
        (json!({"content": "Hola", "conversationId": 7}), "conversationId"),
    ] {
        visitor.post(&app, "/messages", &body).await.expect_field(field);
    }
    assert_eq!(visitor.get(&app, "/conversations").await.expect(200), json!({"data": []}));
}
