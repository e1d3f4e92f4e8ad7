//! Usage and budgets.

use std::fmt::Write as _;
use std::time::Duration;

use domain::settings::ModelFacts;
use serde_json::{Value, json};
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::support::{PATIENCE, TestApp};

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

/// The product with an embedder that costs a dollar a million tokens.
async fn with_paid_vectors(database: testkit::db::TestDb, server: &ModelServer) -> TestApp {
    with_paid_vectors_in(database, server, 300).await
}

/// As [`with_paid_vectors`], with chunks of so many tokens.
async fn with_paid_vectors_in(
    database: testkit::db::TestDb,
    server: &ModelServer,
    chunk_tokens: usize,
) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
        settings.models.embedding_model = Some("embed-test".to_owned());
        settings.ingest.chunk_tokens = chunk_tokens;
        settings.models.catalogue = vec![ModelFacts {
            name: "embed-test".to_owned(),
            context: 8_192,
            max_output: None,
            input: Some(1_000_000),
            cached_input: None,
            output: Some(1_000_000),
            sees: false,
            tokenizer: None,
        }];
    })
    .await
}

#[tokio::test]
async fn vectors_are_paid_by_whoever_wants_them_and_refused_without_money() {
    for database in testkit::db::databases("vectors are paid").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_paid_vectors(database, &server).await;
        let spent = async |purpose: &str| {
            let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
            let all = usage["data"].as_array().unwrap().clone();
            let found = all.into_iter().find(|line| line["key"] == purpose);
            found.map_or((0, 0, 0), |line| {
                let of = |name: &str| line[name].as_i64().unwrap();
                (of("calls"), of("promptTokens"), of("cost"))
            })
        };
        app.learn("FAQ", FAQ).await;
        let (calls, tokens, cost) = spent("ingest").await;
        assert!(calls == 1 && tokens > 5 && cost == tokens, "{calls} {tokens} {cost}");
        let query = json!({"query": QUESTION});
        app.post(&app.in_datastore("/query"), &query).await.expect(200);
        let (calls, tokens, cost) = spent("search").await;
        assert!(calls == 1 && tokens > 2 && cost == tokens, "{calls} {tokens} {cost}");
        let wanted = json!({"model": "embed-test", "input": ["uno dos", "tres"]});
        app.post("/openai/v1/embeddings", &wanted).await.expect(200);
        assert_eq!(spent("embedding").await, (1, 3, 3));
        server.enqueue(ModelReply::text("De 9 a 18 hs. [1]").usage(100, 10));
        app.post(&app.chat_path(), &query).await.expect(200);
        let (calls, tokens, _) = spent("answer").await;
        assert!(
            calls == 2 && tokens > 100,
            "the question's vector belongs to the answer: {tokens}"
        );

        let budget = json!({"scope": "workspace", "unit": "tokens", "period": "month", "limit": 1});
        let id = with_budget(&app, budget).await;
        // What is below its limit is let in; the next one is not.
        app.post("/openai/v1/embeddings", &wanted).await.expect(200);
        let asked = server.requests().len();
        app.post(&app.in_datastore("/query"), &query).await.expect_error(402, "USAGE_LIMIT");
        app.post(&app.chat_path(), &query).await.expect_error(402, "USAGE_LIMIT");
        let refused = app.post("/openai/v1/embeddings", &wanted).await;
        assert_eq!(refused.status.as_u16(), 402, "{}", refused.text);
        let body = json!({"name": "Envíos", "content": "El envío demora tres días."});
        let source = app.post(&app.in_datastore("/sources/text"), &body).await.expect(202);
        let source = source["id"].as_str().unwrap();
        let failed = app.ingested(source).await;
        assert_eq!(failed["error"]["code"], "USAGE_LIMIT", "{failed}");
        assert_eq!(server.requests().len(), asked, "nobody is asked");
        app.put(&format!("/api/v2/budgets/{id}"), &json!({"limit": 1_000_000})).await.expect(200);
        let retry = app.in_datastore(&format!("/sources/{source}/retry"));
        app.post(&retry, &json!({})).await.expect(202);
        assert_eq!(app.ingested(source).await["status"], "ready");
    }
}

/// Calls and tokens of the ledger, for a purpose or for all.
async fn in_ledger(app: &TestApp, purpose: Option<&str>) -> (usize, i64) {
    let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
    let lines = usage["data"].as_array().unwrap().iter();
    let lines = lines.filter(|line| purpose.is_none_or(|purpose| line["key"] == purpose));
    let of = |line: &Value, name: &str| line[name].as_i64().unwrap();
    let counted = lines.map(|line| (of(line, "calls"), of(line, "promptTokens")));
    let (calls, tokens) = counted.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    (usize::try_from(calls).unwrap(), tokens)
}

/// Waits until the ledger says so.
async fn until_ledger(app: &TestApp, purpose: &str, enough: impl Fn(usize, i64) -> bool) {
    let mut wakeups = app.db.wakeups();
    let waiting = async {
        loop {
            let (calls, tokens) = in_ledger(app, Some(purpose)).await;
            if enough(calls, tokens) {
                return;
            }
            // Nobody wakes for a line of the ledger.
            let _ = tokio::time::timeout(Duration::from_millis(200), wakeups.recv()).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is written down");
}

#[tokio::test]
async fn a_search_is_paid_once_for_a_request_that_is_repeated() {
    for database in testkit::db::databases("repeated paid search").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_paid_vectors(database, &server).await;
        app.learn("FAQ", FAQ).await;
        server.enqueue(ModelReply::text("De 9 a 18 hs. [1]").usage(100, 10));
        let ask = async || {
            let request = app.request(http::Method::POST, &app.chat_path());
            let request =
                request.header("idempotency-key", "once").json(&json!({"query": QUESTION}));
            crate::support::read(request).await.expect(200)
        };
        let first = ask().await;
        let asked = server.requests().len();
        assert_eq!(ask().await["messageId"], first["messageId"]);
        assert_eq!(server.requests().len(), asked, "what is told again costs nothing");
        assert_eq!(in_ledger(&app, None).await.0, asked, "each call is in the ledger");
    }
}

#[tokio::test]
async fn the_test_of_a_datastores_vectors_is_paid() {
    for database in testkit::db::databases("paid self-test").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_paid_vectors_in(database, &server, 40).await;
        let animals = ["gato", "perro", "lobo", "zorro", "ciervo", "oso", "topo", "búho", "pato"];
        let trades =
            ["cocina", "pinta", "navega", "cose", "canta", "talla", "siembra", "teje", "poda"];
        let mut text = String::new();
        for animal in animals {
            for trade in trades {
                let _ = write!(
                    text,
                    "En la casa del {animal} que {trade} hay una mesa de roble número {} con sillas de mimbre \
                    y una lámpara que nunca se apaga. ",
                    text.len()
                );
            }
        }
        app.learn("Cuentos", &text).await;
        let path = app.in_datastore("/health");
        let mut wakeups = app.db.wakeups();
        let tested = async {
            loop {
                let health = app.get(&path).await.expect(200);
                if health["dense"]["ratio"].is_number() {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), wakeups.recv()).await;
            }
        };
        tokio::time::timeout(PATIENCE, tested).await.expect("the vectors are tested");
        let requests = server.requests_to(Endpoint::Embeddings);
        let halves = requests.iter().filter(|sent| {
            let texts = sent.body["input"].as_array().unwrap();
            texts.iter().all(|text| !text.as_str().unwrap().contains("Cuentos"))
        });
        assert!(halves.count() >= 1, "questions were embedded");
        let (calls, tokens) = in_ledger(&app, Some("ingest")).await;
        assert_eq!(calls, requests.len(), "each call is in the ledger");
        assert!(tokens > 0);
    }
}

#[tokio::test]
async fn a_call_that_is_cut_while_a_source_is_embedded_is_paid() {
    for database in testkit::db::databases("cut embedding").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_paid_vectors(database, &server).await;
        server.enqueue_for(Endpoint::Embeddings, ModelReply::silence());
        let content = "El reglamento describe cada procedimiento con mucha calma. ".repeat(1_500);
        let body = json!({"name": "Reglamento", "content": content});
        let source = app.post(&app.in_datastore("/sources/text"), &body).await.expect(202);
        server.wait_for_requests(1).await;
        let path = format!("/sources/{}/cancel", source["id"].as_str().unwrap());
        app.post(&app.in_datastore(&path), &json!({})).await.expect(202);
        server.wait_for_departures(1).await;
        until_ledger(&app, "ingest", |calls, tokens| calls == 1 && tokens > 0).await;
        assert_eq!(server.requests_to(Endpoint::Embeddings).len(), 1);
    }
}
