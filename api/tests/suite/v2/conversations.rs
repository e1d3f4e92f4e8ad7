//! Conversations, their messages, their status, and what customers think.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, read};

async fn begin(app: &TestApp, visitor: &str) -> Value {
    let body = json!({"query": "hola", "visitorId": visitor});
    app.post(&app.chat_path(), &body).await.expect(200)
}

#[tokio::test]
async fn a_status_maps_one_to_one_both_ways_and_filters_by_the_same_word() {
    for app in TestApp::on_each_database("a_status_maps_one_to_one_both_ways").await {
        let mut ids = Vec::new();
        for status in ["open", "unresolved", "resolved"] {
            let id = begin(&app, status).await["conversationId"].as_str().unwrap().to_owned();
            let path = format!("/api/v2/conversations/{id}/status");
            let changed = app.put(&path, &json!({"status": status})).await.expect(200);
            assert_eq!((&changed["id"], &changed["status"]), (&json!(id), &json!(status)));
            assert_eq!(changed["closedAt"].is_string(), status == "resolved", "{changed}");
            ids.push((status, id));
        }
        for (status, id) in &ids {
            let listed =
                app.get(&format!("/api/v2/conversations?status={status}")).await.expect(200);
            let data = listed["data"].as_array().unwrap();
            assert_eq!(data.len(), 1, "{status}: {listed}");
            assert_eq!((&data[0]["id"], &data[0]["status"]), (&json!(id), &json!(status)));
            assert_eq!(
                &app.get(&format!("/api/v2/conversations/{id}")).await.expect(200),
                &data[0]
            );
        }
        // Closed and written to again: open, and the agent answers.
        let resolved = &ids[2].1;
        let body = json!({"query": "hola", "conversationId": resolved, "visitorId": "resolved"});
        let again = app.post(&app.chat_path(), &body).await.expect(200);
        assert_eq!((&again["status"], &again["handler"]), (&json!("open"), &json!("bot")));
        for word in ["pending", "closed", "", "Open"] {
            app.get(&format!("/api/v2/conversations?status={word}")).await.expect_field("status");
            let path = format!("/api/v2/conversations/{resolved}/status");
            app.put(&path, &json!({"status": word})).await.expect_field("status");
        }
        app.put(&format!("/api/v2/conversations/{resolved}/status"), &json!({}))
            .await
            .expect_field("status");
    }
}

#[tokio::test]
async fn conversations_are_listed_newest_first_in_pages_and_by_agent() {
    for app in
        TestApp::on_each_database("conversations_are_listed_newest_first_in_pages_and_by_agent")
            .await
    {
        let mut begun = Vec::new();
        for number in 0..5 {
            let begun_now = begin(&app, &format!("visitor-{number}")).await;
            begun.push(begun_now["conversationId"].as_str().unwrap().to_owned());
        }
        begun.reverse();
        let of_agent = format!("/api/v2/conversations?agentId={}&limit=2", app.tenant.agent);
        let (mut seen, mut path) = (Vec::new(), of_agent.clone());
        loop {
            let page = app.get(&path).await.expect(200);
            let data = page["data"].as_array().unwrap();
            seen.extend(data.iter().map(|found| found["id"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            path = format!("{of_agent}&cursor={cursor}");
        }
        assert_eq!(seen, begun);
        let other = app.other_tenant().await;
        for agent in [other.agent.as_str(), "agent_00000000000000000000000000000000"] {
            let listed =
                app.get(&format!("/api/v2/conversations?agentId={agent}")).await.expect(200);
            assert_eq!(listed, json!({"data": [], "nextCursor": null}));
        }
        app.get("/api/v2/conversations?agentId=garbage").await.expect_field("agentId");
    }
}

#[tokio::test]
async fn messages_are_listed_oldest_first_in_pages() {
    for app in TestApp::on_each_database("messages_are_listed_oldest_first_in_pages").await {
        let id = begin(&app, "v").await["conversationId"].as_str().unwrap().to_owned();
        let body = json!({"query": "gracias", "conversationId": id, "visitorId": "v"});
        app.post(&app.chat_path(), &body).await.expect(200);
        let base = format!("/api/v2/conversations/{id}/messages?limit=3");
        let first = app.get(&base).await.expect(200);
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = app.get(&format!("{base}&cursor={cursor}")).await.expect(200);
        assert_eq!(second["nextCursor"], Value::Null);
        let both =
            first["data"].as_array().unwrap().iter().chain(second["data"].as_array().unwrap());
        let contents: Vec<(String, String)> = both
            .map(|m| {
                (m["role"].as_str().unwrap().to_owned(), m["content"].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(contents.len(), 4);
        assert_eq!(contents[0], ("user".to_owned(), "hola".to_owned()));
        assert_eq!(contents[2], ("user".to_owned(), "gracias".to_owned()));
        app.get(&format!("{base}&cursor=bWVzc2FnZTotMQ")).await.expect_field("cursor");
    }
}

#[tokio::test]
async fn an_answer_is_rated_and_the_rating_taken_back() {
    for app in TestApp::on_each_database("an_answer_is_rated_and_the_rating_taken_back").await {
        let begun = begin(&app, "v").await;
        let answer = begun["messageId"].as_str().unwrap();
        let path = format!("/api/v2/messages/{answer}/feedback");
        for body in [
            json!({"rating": "up"}),
            json!({"rating": "down", "comment": "No era lo que pedí"}),
            json!({"rating": null}),
        ] {
            let reply = app.put(&path, &body).await;
            assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""), "{body}");
        }
        app.put(&path, &json!({})).await.expect_field("rating");
        app.put(&path, &json!({"rating": "sideways"})).await.expect_field("rating");
        let long = "x".repeat(2_001);
        app.put(&path, &json!({"rating": "up", "comment": long})).await.expect_field("comment");
        let conversation = begun["conversationId"].as_str().unwrap();
        let messages =
            app.get(&format!("/api/v2/conversations/{conversation}/messages")).await.expect(200);
        let question = messages["data"][0]["id"].as_str().unwrap();
        let path = format!("/api/v2/messages/{question}/feedback");
        app.put(&path, &json!({"rating": "up"})).await.expect_error(409, "CONFLICT");
        let other = app.other_tenant().await;
        let path = format!("/api/v2/messages/{answer}/feedback");
        let theirs = app.request_as(&other.key, Method::PUT, &path).json(&json!({"rating": "up"}));
        read(theirs).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_conversation_is_rated_from_1_to_5_until_that_is_taken_back() {
    for app in TestApp::on_each_database("a_conversation_is_rated").await {
        let id = begin(&app, "ana").await["conversationId"].as_str().unwrap().to_owned();
        let path = format!("/api/v2/conversations/{id}");
        let rate = format!("{path}/rating");
        let shown = async || app.get(&path).await.expect(200)["rating"].clone();
        assert_eq!(shown().await, Value::Null);
        app.put(&rate, &json!({"rating": 2, "comment": "Tardó"})).await.expect(204);
        assert_eq!(shown().await, json!({"rating": 2, "comment": "Tardó"}));
        app.put(&rate, &json!({"rating": 5})).await.expect(204);
        let listed = app.get("/api/v2/conversations").await.expect(200);
        assert_eq!(listed["data"][0]["rating"], json!({"rating": 5, "comment": null}));
        app.put(&rate, &json!({"rating": null})).await.expect(204);
        assert_eq!(shown().await, Value::Null);
        for wrong in
            [json!({"rating": 0}), json!({"rating": 6}), json!({"rating": "up"}), json!({})]
        {
            app.put(&rate, &wrong).await.expect_field("rating");
        }
        let long = json!({"rating": 1, "comment": "x".repeat(2_001)});
        app.put(&rate, &long).await.expect_field("comment");

        let mut conn = app.db.read().await.unwrap();
        let events = storage::events::list(&mut conn, app.tenant.workspace, 0, 100).await.unwrap();
        let told: Vec<&Value> = events
            .iter()
            .filter(|event| event.kind == "feedback.received" && event.subject == id)
            .map(|event| &event.payload["rating"])
            .collect();
        assert_eq!(told, [&json!(2), &json!(5), &Value::Null]);
        drop(conn);
        let other = app.other_tenant().await;
        let foreign = app.request_as(&other.key, Method::PUT, &rate).json(&json!({"rating": 1}));
        read(foreign).await.expect_error(404, "NOT_FOUND");
        assert_eq!(shown().await, Value::Null);
    }
}
