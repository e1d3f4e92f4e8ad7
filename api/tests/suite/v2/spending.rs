//! Usage and budgets.

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn a_budget_is_made_changed_listed_and_deleted() {
    for app in TestApp::on_each_database("a_budget_is_made_changed").await {
        let agent = app.tenant.agent.clone();
        let body = json!({
            "scope": "agent", "subject": agent, "unit": "cost", "period": "month", "limit": 5_000_000
        });
        let made = app.post("/api/v2/budgets", &body).await.expect(201);
        for field in ["scope", "subject", "unit", "period", "limit"] {
            assert_eq!(made[field], body[field], "{field}");
        }
        assert_eq!(made["used"], 0);
        assert!(made["resetsAt"].as_str().unwrap().ends_with("-01T00:00:00.000Z"), "{made}");
        app.post("/api/v2/budgets", &body).await.expect_error(409, "CONFLICT");
        let each = json!({"scope": "visitor", "unit": "answers", "period": "day", "limit": 9});
        let each = app.post("/api/v2/budgets", &each).await.expect(201);
        assert_eq!((&each["subject"], &each["used"]), (&Value::Null, &Value::Null));

        let path = format!("/api/v2/budgets/{}", made["id"].as_str().unwrap());
        let changed = app.put(&path, &json!({"limit": 7})).await.expect(200);
        assert_eq!(changed["limit"], 7);
        assert_eq!(app.put(&path, &json!({})).await.expect(200), changed, "what is absent stays");
        let all = app.get("/api/v2/budgets").await.expect(200);
        assert_eq!(all, json!({"data": [changed, each], "nextCursor": null}));
        app.delete(&path).await.expect(204);
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        app.put(&path, &json!({"limit": 7})).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn what_a_budget_cannot_be_is_refused_by_name() {
    let app = TestApp::start().await;
    let good = json!({"scope": "agent", "unit": "answers", "period": "day", "limit": 1});
    for (field, value) in [
        ("scope", json!("galaxy")),
        ("unit", json!("words")),
        ("period", json!("week")),
        ("limit", json!(0)),
        ("limit", json!(-1)),
        ("limit", json!(1.5)),
        ("limit", json!(1_000_000_000_001_i64)),
        ("subject", json!(7)),
    ] {
        let mut body = good.clone();
        body[field] = value;
        app.post("/api/v2/budgets", &body).await.expect_field(field);
    }
    for (scope, subject) in [("workspace", "x"), ("visitor", ""), ("visitor", "a\tb")] {
        let body = json!({
            "scope": scope, "subject": subject, "unit": "answers", "period": "day", "limit": 1
        });
        app.post("/api/v2/budgets", &body).await.expect_field("subject");
    }
    let other = app.other_tenant().await;
    for (scope, subject) in [
        ("agent", other.agent.as_str()),
        ("agent", "garbage"),
        ("apiKey", "key_00000000000000000000000000000000"),
    ] {
        let body = json!({
            "scope": scope, "subject": subject, "unit": "answers", "period": "day", "limit": 1
        });
        app.post("/api/v2/budgets", &body).await.expect_error(404, "NOT_FOUND");
    }
    assert!(app.get("/api/v2/budgets").await.expect(200)["data"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn times_and_groups_of_usage_are_checked() {
    let app = TestApp::start().await;
    let usage = app.get("/api/v2/usage?from=2026-11-01&to=2026-11-30").await.expect(200);
    assert_eq!(usage["from"], "2026-11-01T00:00:00.000Z");
    assert_eq!(usage["to"], "2026-12-01T00:00:00.000Z", "a day is counted to its end");
    assert_eq!((&usage["data"], &usage["total"]["answers"]), (&json!([]), &json!(0)));
    app.get("/api/v2/usage?from=2026-11-01T10:00:00Z&to=2026-11-01").await.expect(200);
    for (field, query) in [
        ("from", "from=yesterday"),
        ("from", "from=2026-13-01"),
        ("to", "to="),
        ("to", "to=2026-11"),
        ("from", "from=2026-11-02&to=2026-11-01"),
        ("groupBy", "groupBy=colour"),
        ("groupBy", "groupBy="),
    ] {
        app.get(&format!("/api/v2/usage?{query}")).await.expect_field(field);
    }
}

const FAQ: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";
const QUESTION: &str = "¿Cuáles son los horarios?";

async fn with_budget(app: &TestApp, body: Value) -> String {
    let made = app.post("/api/v2/budgets", &body).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_twenty_questions_at_once_a_budget_of_five_answers_five() {
    for app in TestApp::on_each_database("of_twenty_questions_at_once").await {
        app.learn("FAQ", FAQ).await;
        let id = with_budget(
            &app,
            json!({"scope": "workspace", "unit": "answers", "period": "day", "limit": 5}),
        )
        .await;
        let path = app.chat_path();
        let body = json!({"query": QUESTION});
        let asking = (0..20).map(|_| app.post(&path, &body));
        let replies = futures::future::join_all(asking).await;
        let (answered, refused): (Vec<_>, Vec<_>) =
            replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!((answered.len(), refused.len()), (5, 15));
        for reply in refused {
            let message = reply.expect_error(402, "USAGE_LIMIT");
            assert!(message.contains(&id) && message.contains("5 answers"), "{message}");
        }
        let listed = app.get("/api/v2/budgets").await.expect(200);
        assert_eq!(listed["data"][0]["used"], 5);
        let usage = app.get("/api/v2/usage?groupBy=agent").await.expect(200);
        assert_eq!(usage["total"]["answers"], 5);
        assert_eq!(usage["data"][0]["key"], app.tenant.agent.as_str());
        let keys = app.get("/api/v2/api-keys").await.expect(200);
        let by_key = app.get("/api/v2/usage?groupBy=apiKey").await.expect(200);
        assert_eq!(by_key["data"][0]["key"], keys["data"][0]["id"]);
        let conversations = app.get("/api/v2/conversations").await.expect(200);
        let stored = conversations["data"].as_array().unwrap().len();
        assert_eq!(stored, 5, "a refused question leaves nothing");
        let mut conn = app.db.read().await.unwrap();
        let events =
            storage::events::list(&mut conn, app.tenant.workspace, 0, 1_000).await.unwrap();
        let told = events.iter().filter(|event| event.kind == "budget.reached");
        let told: Vec<i64> = told.map(|event| event.payload["percent"].as_i64().unwrap()).collect();
        assert_eq!(told, [50, 80, 100]);
        drop(conn);
        // A higher limit holds at once.
        app.put(&format!("/api/v2/budgets/{id}"), &json!({"limit": 6})).await.expect(200);
        app.post(&path, &body).await.expect(200);
        app.post(&path, &body).await.expect_error(402, "USAGE_LIMIT");
    }
}

#[tokio::test]
async fn a_visitor_whose_budget_is_used_up_is_told_when_to_come_back() {
    for app in TestApp::on_each_database("a_visitor_whose_budget_is_used_up").await {
        app.learn("FAQ", FAQ).await;
        let visitors = json!({"scope": "visitor", "unit": "answers", "period": "day", "limit": 1});
        with_budget(&app, visitors).await;
        let path = app.chat_path();
        let ask = async |visitor: &str, key: &str| {
            let request = app.request(http::Method::POST, &path).header("idempotency-key", key);
            let body = json!({"query": QUESTION, "visitorId": visitor});
            crate::support::read(request.json(&body)).await
        };
        let first = ask("ana", "a").await.expect(200);
        assert_eq!(ask("ana", "a").await.expect(200), first, "a repetition is the same answer");
        let refused = ask("ana", "b").await;
        refused.expect_error(429, "RATE_LIMITED");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
        ask("beto", "c").await.expect(200);
        app.post(&path, &json!({"query": QUESTION})).await.expect(200);
        // The conversation knows its visitor, whoever goes on with it.
        let on = json!({"query": QUESTION, "conversationId": first["conversationId"]});
        app.post(&path, &on).await.expect_error(429, "RATE_LIMITED");
    }
}
