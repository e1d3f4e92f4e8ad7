//! Runs as jobs, followed, stopped, reported on, judged and compared.

use std::sync::Arc;

use domain::settings::ModelFacts;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::db::TestDb;
use testkit::model_server::{ModelServer, Recorded, Reply as ModelReply};
use tokio::sync::Notify;

use super::dataset;
use crate::events::{self, Event};
use crate::support::{PATIENCE, TestApp, read};

const RUNS: &str = "/api/v2/evals/runs";

/// Facts, one a text: what is asked about them, and what is answered.
const FACTS: [(&str, &str, &str); 12] = [
    (
        "El local de Palermo atiende de 9 a 18 hs.",
        "¿A qué hora atiende el local de Palermo?",
        "9 a 18",
    ),
    ("El envío a domicilio cuesta 5.490 pesos.", "¿Cuánto cuesta el envío a domicilio?", "5.490"),
    (
        "La garantía de los taladros dura 24 meses.",
        "¿Cuánto dura la garantía de los taladros?",
        "24 meses",
    ),
    (
        "Las devoluciones se aceptan durante 30 días.",
        "¿Durante cuántos días se aceptan devoluciones?",
        "30 días",
    ),
    (
        "La tarjeta de regalo vence a los 12 meses.",
        "¿Cuándo vence la tarjeta de regalo?",
        "12 meses",
    ),
    (
        "El estacionamiento es gratis por 2 horas.",
        "¿Por cuántas horas es gratis el estacionamiento?",
        "2 horas",
    ),
    (
        "La pintura látex blanca rinde 10 metros por litro.",
        "¿Cuánto rinde la pintura látex blanca?",
        "10 metros",
    ),
    (
        "El alquiler de la hormigonera sale 15.000 pesos por día.",
        "¿Cuánto sale el alquiler de la hormigonera?",
        "15.000",
    ),
    (
        "Los presupuestos valen por 7 días hábiles.",
        "¿Por cuántos días valen los presupuestos?",
        "7 días",
    ),
    (
        "El afilado de cuchillos demora 48 horas.",
        "¿Cuánto demora el afilado de cuchillos?",
        "48 horas",
    ),
    ("La copia de llaves cuesta 2.300 pesos.", "¿Cuánto cuesta la copia de llaves?", "2.300"),
    (
        "El club de socios descuenta el 15 % los jueves.",
        "¿Cuánto descuenta el club de socios?",
        "15 %",
    ),
];

async fn learnt(app: &TestApp) {
    for (number, (text, _, _)) in FACTS.iter().enumerate() {
        app.learn(&format!("Dato {number}"), text).await;
    }
}

fn cases() -> Value {
    let mut cases: Vec<Value> = FACTS
        .iter()
        .enumerate()
        .map(|(number, (text, question, answer))| {
            json!({
                "id": format!("q{number:02}"), "input": question, "lang": "es", "answers": [answer],
                "relevant": [{"must_contain": text}], "tags": [if number < 6 { "local" } else { "otros" }],
            })
        })
        .collect();
    cases.push(json!({
        "id": "x", "input": "¿Venden submarinos nucleares?", "expect": "abstain", "kind": "absent_topic",
    }));
    Value::Array(cases)
}

fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// A run of the first workspace's agent; its path.
async fn run(app: &TestApp, dataset: &str, options: Value) -> String {
    let body = json!({
        "datasetId": id_of(dataset), "target": {"type": "agent", "id": app.tenant.agent}, "options": options,
    });
    let run = app.post(RUNS, &body).await.expect(202);
    assert_eq!((&run["total"], &run["done"]), (&json!(13), &json!(0)), "{run}");
    format!("{RUNS}/{}", run["id"].as_str().unwrap())
}

async fn follow(app: &TestApp, run: &str) -> Vec<Event> {
    let reply = app.get(&format!("{run}/events")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    events::parse(&reply.text)
}

/// Waits for the end of a run by its events; the run.
async fn ended(app: &TestApp, run: &str) -> Value {
    let last = follow(app, run).await.pop().unwrap();
    assert_eq!((&*last.name, &*last.id), ("done", "end"), "{last:?}");
    assert_eq!(app.get(run).await.expect(200), last.data);
    last.data
}

async fn report(app: &TestApp, run: &str) -> Value {
    app.get(&format!("{run}/report")).await.expect(200)
}

fn metric(report: &Value, name: &str) -> f64 {
    let metrics = report["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|metric| metric["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {metrics:?}"))["value"].as_f64().unwrap()
}

#[tokio::test]
async fn an_agent_is_run_followed_and_reported_on_and_leaves_no_conversation() {
    for app in TestApp::on_each_database("an agent is run").await {
        learnt(&app).await;
        let set = dataset(&app, cases()).await;
        let path = run(&app, &set, json!({})).await;
        let told = follow(&app, &path).await;
        let (last, before) = told.split_last().unwrap();
        assert_eq!(last.name, "done");
        assert!(before.iter().all(|event| event.name == "progress"), "{told:?}");
        let done: Vec<i64> =
            told.iter().map(|event| event.data["done"].as_i64().unwrap()).collect();
        assert!(done.is_sorted() && done.last() == Some(&13), "{done:?}");
        let ended = &last.data;
        assert_eq!(
            (&ended["status"], &ended["percent"], &ended["complete"]),
            (&json!("done"), &json!(100), &json!(true))
        );
        assert_eq!(
            (&ended["errors"], &ended["cost"], &ended["etaSeconds"]),
            (&json!(0), &json!(0), &Value::Null)
        );
        assert!(ended["startedAt"].is_string() && ended["finishedAt"].is_string());
        assert_eq!(
            ended["options"],
            json!({
                "concurrency": 4, "perMinute": null, "timeoutSeconds": 180, "maxCost": null, "depth": 20, "judge": null,
            })
        );
        // Connecting again tells the end at once; a browser that saw it is told to stop.
        assert_eq!(follow(&app, &path).await.len(), 1);
        let seen =
            app.request(Method::GET, &format!("{path}/events")).header("last-event-id", "end");
        assert_eq!(read(seen).await.status, StatusCode::NO_CONTENT);

        let report = report(&app, &path).await;
        assert_eq!((&report["version"], &report["dataset"]["name"]), (&json!(1), &json!("Tienda")));
        assert_eq!(report["dataset"]["version"], app.get(&set).await.expect(200)["version"]);
        for (name, least) in
            [("answered", 1.0), ("containment", 0.9), ("ndcg@10", 0.9), ("citations_valid", 1.0)]
        {
            assert!(metric(&report, name) >= least - 1e-9, "{name} {}", metric(&report, name));
        }
        assert!(metric(&report, "false_answer").abs() < 1e-9);
        assert_eq!(report["cases"].as_array().unwrap().len(), 13);
        assert!(
            app.get("/api/v2/conversations").await.expect(200)["data"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert!(app.get("/api/v2/gaps").await.expect(200)["data"].as_array().unwrap().is_empty());

        let listed =
            app.get(&format!("{RUNS}?datasetId={}&status=done", id_of(&set))).await.expect(200);
        assert_eq!(listed, json!({"data": [ended], "nextCursor": null}));
        assert_eq!(app.get(&format!("{RUNS}?status=failed")).await.expect(200)["data"], json!([]));
        app.delete(&path).await.expect(204);
        app.get(&format!("{path}/report")).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_report_comes_in_every_form_that_the_command_line_writes() {
    let app = TestApp::start().await;
    learnt(&app).await;
    let set = dataset(&app, cases()).await;
    let path = run(&app, &set, json!({})).await;
    ended(&app, &path).await;
    for (format, media_type, accept, words) in [
        ("json", "application/json", "application/json", "\"configHash\""),
        ("html", "text/html", "text/html,application/xhtml+xml", "<!doctype html>"),
        ("markdown", "text/markdown", "text/markdown", "| metric | value |"),
        (
            "junit",
            "application/xml",
            "application/xml;q=0.9",
            "<testcase classname=\"Tienda\" name=\"q00\"",
        ),
        ("trec", "text/plain", "text/plain", "q00 Q0 chunk_"),
    ] {
        let named = app.get(&format!("{path}/report?format={format}")).await;
        assert_eq!(named.status, StatusCode::OK, "{format}: {}", named.text);
        assert_eq!(named.header("content-type"), format!("{media_type}; charset=utf-8"));
        assert!(
            named.text.contains(words),
            "{format}: {}",
            &named.text[..named.text.len().min(400)]
        );
        let accepted = app.request(Method::GET, &format!("{path}/report")).header("accept", accept);
        assert_eq!(read(accepted).await.text, named.text, "{accept}");
    }
    let page = app.get(&format!("{path}/report?format=html&lang=en")).await;
    assert!(page.header("content-security-policy").contains("style-src 'unsafe-inline'"));
    assert!(page.text.contains("<html lang=\"en\">"));
    let anything = app.request(Method::GET, &format!("{path}/report")).header("accept", "*/*");
    assert!(read(anything).await.text.starts_with('{'));
    // Everything is made from the JSON, by the same code as on the command line.
    let json = app.get(&format!("{path}/report")).await.text;
    let read: evals::Report = serde_json::from_str(&json).unwrap();
    let markdown = app.get(&format!("{path}/report?format=markdown")).await.text;
    assert_eq!(evals::report::markdown(&read), markdown);
    for (query, field) in [("format=pdf", "format"), ("lang=fr", "lang")] {
        app.get(&format!("{path}/report?{query}")).await.expect_field(field);
    }
}

#[tokio::test]
async fn a_worse_agent_is_caught_by_name_and_the_same_one_is_not() {
    for app in TestApp::on_each_database("a worse agent is caught").await {
        learnt(&app).await;
        let set = dataset(&app, cases()).await;
        let base = run(&app, &set, json!({})).await;
        ended(&app, &base).await;
        let same = run(&app, &set, json!({"concurrency": 1})).await;
        ended(&app, &same).await;
        let compare = async |run: &str, more: &str| {
            app.get(&format!("{run}/compare?base={}{more}", id_of(&base))).await
        };
        let twice = compare(&same, "").await.expect(200);
        assert_eq!(
            (&twice["pairs"], &twice["missing"], &twice["sound"]),
            (&json!(13), &json!(0), &json!(true))
        );
        assert_eq!((&twice["sameDataset"], &twice["flipped"]), (&json!(true), &json!([])));
        assert_ne!(twice["verdict"], "regressed", "{twice}");

        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        let secret = json!({"name": "authorization", "value": "Bearer abc123", "secret": true});
        let tool = json!({
            "type": "http", "name": "stock", "description": "Existencias", "url": "https://api.example.com/stock",
            "method": "GET", "headers": [secret],
        });
        let worse = json!({"settings": {"minEvidence": 1.0}, "tools": ["datastore", tool]});
        app.put(&agent, &worse).await.expect(200);
        let worse = run(&app, &set, json!({})).await;
        ended(&app, &worse).await;
        let config = report(&app, &worse).await["target"]["config"].to_string();
        assert!(config.contains("stock") && !config.contains("sealed"), "{config}");
        let compared = compare(&worse, "").await.expect(200);
        assert_eq!(compared["verdict"], "regressed", "{compared}");
        let changes = compared["metrics"].as_array().unwrap();
        let answered = changes.iter().find(|change| change["name"] == "answered").unwrap();
        assert_eq!((&answered["verdict"], &answered["base"]), (&json!("regressed"), &json!(1.0)));
        assert!(
            answered["high"].as_f64().unwrap() < 0.0 && answered["gain"].as_f64().unwrap() < -0.5
        );
        let flipped = compared["flipped"].as_array().unwrap();
        assert!(
            flipped.len() >= 10 && flipped.iter().all(|flip| flip["better"] == false),
            "{flipped:?}"
        );
        // The numbers are those of the comparison of the two files.
        let read = async |run: &str| -> evals::Report {
            serde_json::from_str(&app.get(&format!("{run}/report")).await.text).unwrap()
        };
        let (before, after) = (read(&base).await, read(&worse).await);
        let files =
            evals::compare::compare(&before, &after, &evals::compare::CompareOptions::default());
        for (change, own) in changes.iter().zip(&files.metrics) {
            assert_eq!(change["name"], own.name);
            assert!((change["gain"].as_f64().unwrap() - own.gain.value).abs() < 1e-12);
            assert!((change["low"].as_f64().unwrap() - own.gain.low).abs() < 1e-12);
        }
        let forgiven = compare(&worse, "&tolerances=answered=1,containment=1").await.expect(200);
        let answered = forgiven["metrics"].as_array().unwrap().clone();
        let answered = answered.iter().find(|change| change["name"] == "answered").unwrap();
        assert_eq!((&answered["tolerance"], &answered["verdict"]), (&json!(1.0), &json!("same")));
        for bad in ["answered", "answered=x", "win=1", "answered=-1"] {
            compare(&worse, &format!("&tolerances={bad}")).await.expect_field("tolerances");
        }
        app.get(&format!("{worse}/compare?base=x")).await.expect_field("base");
        app.get(&format!("{worse}/compare")).await.expect_field("base");
        let nobody = format!("evalrun_{}", "0".repeat(32));
        app.get(&format!("{worse}/compare?base={nobody}")).await.expect_error(404, "NOT_FOUND");
        let other = dataset(&app, json!([{"id": "other", "input": "¿Hola?"}])).await;
        let body = json!({"datasetId": id_of(&other), "target": {"type": "datastore", "id": app.tenant.datastore}});
        let alien = app.post(RUNS, &body).await.expect(202);
        let alien = format!("{RUNS}/{}", alien["id"].as_str().unwrap());
        ended(&app, &alien).await;
        compare(&alien, "").await.expect_field("base");
    }
}

#[tokio::test]
async fn a_datastore_is_searched_in_the_version_that_the_dataset_had() {
    for app in TestApp::on_each_database("a datastore is searched").await {
        learnt(&app).await;
        let set = dataset(&app, cases()).await;
        let before = app.get(&set).await.expect(200)["version"].clone();
        let body = json!({
            "datasetId": id_of(&set), "target": {"type": "datastore", "id": app.tenant.datastore}, "options": {"depth": 5},
        });
        let run = app.post(RUNS, &body).await.expect(202);
        app.put(&set, &json!({"cases": [{"id": "other", "input": "¿Hola?"}]})).await.expect(200);
        let path = format!("{RUNS}/{}", run["id"].as_str().unwrap());
        assert_eq!(ended(&app, &path).await["version"], before);
        let report = report(&app, &path).await;
        assert_eq!(
            (&report["target"]["kind"], &report["dataset"]["version"]),
            (&json!("search"), &before)
        );
        assert!(metric(&report, "ndcg@10") > 0.9);
        let first = &report["cases"][0]["details"]["observation"]["retrieved"];
        assert!(first.as_array().unwrap().len() <= 5);
        app.delete(&set).await.expect(204);
        app.get(&path).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_told_by_name() {
    let app = TestApp::start().await;
    let set = dataset(&app, json!([{"id": "a", "input": "hola"}])).await;
    let good =
        || json!({"datasetId": id_of(&set), "target": {"type": "agent", "id": app.tenant.agent}});
    let ghost = |prefix: &str| format!("{prefix}_{}", "0".repeat(32));
    for (field, value) in [
        ("datasetId", json!("x")),
        ("target.type", json!({"type": "moon", "id": "x"})),
        ("target.id", json!({"type": "agent", "id": "x"})),
        ("target.id", json!({"type": "datastore", "id": app.tenant.agent})),
        ("target.id", json!({"type": "agent", "id": ghost("agent")})),
        ("target.id", json!({"type": "datastore", "id": ghost("ds")})),
        ("options.concurrency", json!({"concurrency": 0})),
        ("options.concurrency", json!({"concurrency": 17})),
        ("options.perMinute", json!({"perMinute": 0})),
        ("options.timeoutSeconds", json!({"timeoutSeconds": 601})),
        ("options.maxCost", json!({"maxCost": -1})),
        ("options.depth", json!({"depth": 101})),
        ("options.judge", json!({"judge": ""})),
        ("options.judge", json!({"judge": "gpt-test"})),
        ("options.judge", json!({"judge": "builtin-extractive"})),
        ("options.speed", json!({"speed": 9})),
    ] {
        let mut body = good();
        body[field.split('.').next().unwrap()] = value;
        app.post(RUNS, &body).await.expect_field(field);
    }
    let judged = json!({
        "datasetId": id_of(&set), "target": {"type": "datastore", "id": app.tenant.datastore}, "options": {"judge": "x"},
    });
    app.post(RUNS, &judged).await.expect_field("options.judge");
    let mut absent = good();
    absent["datasetId"] = json!(ghost("evalset"));
    app.post(RUNS, &absent).await.expect_error(404, "NOT_FOUND");
    let empty = dataset(&app, json!([])).await;
    let mut nothing = good();
    nothing["datasetId"] = json!(id_of(&empty));
    app.post(RUNS, &nothing).await.expect_error(409, "EMPTY_DATASET");
    for (query, field) in
        [("status=gone", "status"), ("datasetId=x", "datasetId"), ("limit=0", "limit")]
    {
        app.get(&format!("{RUNS}?{query}")).await.expect_field(field);
    }
}

async fn with_model(database: TestDb, server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
        settings.models.max_attempts = 1;
        settings.models.catalogue = vec![ModelFacts {
            name: "gpt-test".to_owned(),
            context: 32_000,
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

fn text_of(request: &Recorded) -> String {
    request.body["messages"].to_string()
}

fn is_judge(request: &Recorded) -> bool {
    text_of(request).contains("Eres un juez")
}

/// A judge that finds nothing wrong.
fn verdict(request: &Recorded) -> ModelReply {
    let user = request.body["messages"][1]["content"].as_str().unwrap();
    let form = user.rsplit("JSON: ").next().unwrap();
    let said = if form.contains("supported\": true, \"correct") {
        json!({"claims": [{"claim": "9", "supported": true, "correct": true}]})
    } else if form.contains("stated") {
        json!({"claims": [{"claim": "9", "stated": true}]})
    } else if form.contains("sentences") {
        let citation = json!({"marker": 1, "alone": true, "needed": true});
        json!({"sentences": [{"n": 1, "supported": true, "citations": [citation]}]})
    } else {
        json!({"grade": "perfect"})
    };
    ModelReply::text(&said.to_string()).usage(1_000, 10)
}

#[tokio::test]
async fn a_cancelled_run_keeps_what_was_asked_and_asks_nothing_more() {
    for database in testkit::db::databases("a cancelled run").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        learnt(&app).await;
        let held = Arc::new(Notify::new());
        let until = held.clone();
        server.respond_with(move |request| {
            let reply = ModelReply::text("Es así. [1]").usage(10, 5);
            // The fourth question is never answered.
            Some(if text_of(request).contains("cuántos días se aceptan") {
                reply.hold(until.clone())
            } else {
                reply
            })
        });
        let set = dataset(&app, cases()).await;
        let path = run(&app, &set, json!({"concurrency": 1})).await;
        app.get(&format!("{path}/report")).await.expect_error(409, "NO_REPORT");
        let mut wakeups = app.db.wakeups();
        while app.get(&path).await.expect(200)["done"] != 3 {
            crate::support::woken(&mut wakeups).await;
        }
        let running = app.get(&path).await.expect(200);
        assert_eq!((&running["status"], &running["percent"]), (&json!("running"), &json!(23)));
        assert!(running["etaSeconds"].is_i64() && running["cost"].as_i64() > Some(0), "{running}");
        let following = follow(&app, &path);
        let cancelling =
            async { app.post(&format!("{path}/cancel"), &json!({})).await.expect(200) };
        let (told, cancelled) = tokio::join!(following, cancelling);
        assert_eq!(
            (&cancelled["status"], &cancelled["complete"]),
            (&json!("cancelled"), &json!(false))
        );
        assert_eq!(
            (&*told.last().unwrap().name, &told.last().unwrap().data["status"]),
            ("done", &json!("cancelled"))
        );
        app.post(&format!("{path}/cancel"), &json!({})).await.expect_error(409, "CONFLICT");
        let report = report(&app, &path).await;
        assert_eq!(
            (&report["ended"], report["cases"].as_array().unwrap().len()),
            (&json!("cancelled"), 3)
        );
        // What was under way is ended and forgotten, too.
        let forgotten = async {
            while app.get("/api/v2/conversations").await.expect(200)["data"] != json!([]) {}
        };
        tokio::time::timeout(PATIENCE, forgotten).await.expect("no conversation is left");
        held.notify_waiters();
    }
}

#[tokio::test]
async fn failures_are_rows_that_count_and_make_a_run_unsound() {
    for database in testkit::db::databases("failures are rows").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        learnt(&app).await;
        server.respond_with(|request| {
            let text = text_of(request);
            Some(if text.contains("copia de llaves?") || text.contains("afilado de cuchillos?") {
                ModelReply::error(400, "it does not want to")
            } else {
                ModelReply::text("Es así. [1]").usage(10, 5)
            })
        });
        let set = dataset(&app, cases()).await;
        let path = run(&app, &set, json!({})).await;
        let ended = ended(&app, &path).await;
        assert_eq!(
            (&ended["status"], &ended["done"], &ended["errors"]),
            (&json!("done"), &json!(13), &json!(2))
        );
        let told = report(&app, &path).await;
        assert_eq!((&told["errors"], told["cases"].as_array().unwrap().len()), (&json!(2), 13));
        let failed =
            told["cases"].as_array().unwrap().iter().find(|case| case["id"] == "q10").unwrap();
        assert_eq!(failed["error"]["code"], "MODEL_REFUSED");
        assert!(metric(&told, "answered") < 0.9, "a failure scores as the worst");
        let compared = app.get(&format!("{path}/compare?base={}", id_of(&path))).await.expect(200);
        assert_eq!(compared["sound"], false);

        // What a run may cost is heeded between cases.
        let dear = run(&app, &set, json!({"concurrency": 1, "maxCost": 1})).await;
        let ended = self::ended(&app, &dear).await;
        assert_eq!(
            (&ended["done"], &ended["complete"], &ended["percent"]),
            (&json!(1), &json!(false), &json!(7))
        );
        assert_eq!(report(&app, &dear).await["ended"], "max-cost");
        // Without money every case is a failure of its own.
        let budget = json!({"scope": "agent", "unit": "tokens", "period": "month", "limit": 1});
        app.post("/api/v2/budgets", &budget).await.expect(201);
        let poor = run(&app, &set, json!({})).await;
        assert_eq!(self::ended(&app, &poor).await["status"], "done");
        let told = report(&app, &poor).await;
        let codes: Vec<&Value> =
            told["cases"].as_array().unwrap().iter().map(|case| &case["error"]["code"]).collect();
        assert!(codes.iter().filter(|code| **code == "USAGE_LIMIT").count() >= 11, "{codes:?}");
    }
}

#[tokio::test]
async fn a_judge_is_paid_once_and_counted_in_the_ledger() {
    for database in testkit::db::databases("a judge is paid once").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        learnt(&app).await;
        server.respond_with(|request| {
            Some(if is_judge(request) {
                verdict(request)
            } else {
                ModelReply::text("Es así. [1]").usage(100, 5)
            })
        });
        let set = dataset(&app, cases()).await;
        let path = run(&app, &set, json!({"judge": "gpt-test"})).await;
        let ended = ended(&app, &path).await;
        assert_eq!((&ended["toJudge"], &ended["judged"]), (&json!(12), &json!(12)));
        assert_eq!(
            (&ended["percent"], &ended["complete"], &ended["status"]),
            (&json!(100), &json!(true), &json!("done"))
        );
        let told = report(&app, &path).await;
        assert!((metric(&told, "faithfulness") - 1.0).abs() < 1e-9);
        assert_eq!(told["cost"], ended["cost"]);
        let spent = async || {
            let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
            let line = usage["data"]
                .as_array()
                .unwrap()
                .iter()
                .find(|line| line["key"] == "eval")
                .cloned();
            line.map_or((0, 0), |line| {
                (line["calls"].as_i64().unwrap(), line["cost"].as_i64().unwrap())
            })
        };
        let calls = server.requests().iter().filter(|request| is_judge(request)).count();
        let (counted, cost) = spent().await;
        assert_eq!((usize::try_from(counted).unwrap(), cost), (calls, 1_010 * counted));
        assert!(calls >= 36, "three or four questions about each answer: {calls}");

        // The same answers of another run are not judged again.
        let again = run(&app, &set, json!({"judge": "gpt-test"})).await;
        assert_eq!(self::ended(&app, &again).await["judged"], 12);
        assert_eq!(spent().await, (counted, cost));
        assert!((metric(&report(&app, &again).await, "faithfulness") - 1.0).abs() < 1e-9);
    }
}

#[tokio::test]
async fn a_run_goes_on_in_the_next_process_and_asks_nothing_twice() {
    for database in testkit::db::databases("a run goes on").await {
        let server = Arc::new(ModelServer::start().await.unwrap());
        let app = with_model(database, &server).await;
        learnt(&app).await;
        let whole = {
            server.respond_with(|_| Some(ModelReply::text("Es así. [1]").usage(10, 5)));
            let set = dataset(&app, cases()).await;
            let path = run(&app, &set, json!({})).await;
            ended(&app, &path).await;
            report(&app, &path).await
        };
        let held = Arc::new(Notify::new());
        let until = held.clone();
        server.respond_with(move |request| {
            let reply = ModelReply::text("Es así. [1]").usage(10, 5);
            Some(if text_of(request).contains("rinde la pintura látex blanca?") {
                reply.hold(until.clone())
            } else {
                reply
            })
        });
        let set = dataset(&app, cases()).await;
        let path = run(&app, &set, json!({"concurrency": 1})).await;
        let mut wakeups = app.db.wakeups();
        while app.get(&path).await.expect(200)["done"] != 6 {
            crate::support::woken(&mut wakeups).await;
        }
        let asked = server.requests().len();
        server.respond_with(|_| Some(ModelReply::text("Es así. [1]").usage(10, 5)));
        let next = app.beside().await;
        drop(app);
        // What wakes the other's worker: it hears of what was given back only when it looks.
        ended(&next, &run(&next, &set, json!({"maxCost": 0})).await).await;
        let ended = ended(&next, &path).await;
        assert_eq!((&ended["done"], &ended["complete"]), (&json!(13), &json!(true)));
        let asked_since = server.requests().len() - asked;
        assert!(asked_since <= 8, "what was answered is not asked again: {asked_since}");
        let resumed = report(&next, &path).await;
        let names =
            ["answered", "containment", "cites", "citations_valid", "prompt_tokens", "cost_usd"];
        for name in names {
            assert!((metric(&resumed, name) - metric(&whole, name)).abs() < 1e-9, "{name}");
        }
        held.notify_waiters();
    }
}
