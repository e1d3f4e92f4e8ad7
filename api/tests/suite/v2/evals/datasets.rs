//! Evaluation datasets: what they hold, their versions, what is refused.

use http::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::dataset;
use crate::support::{Reply, TestApp, read};

const DATASETS: &str = "/api/v2/evals/datasets";

fn cases() -> Value {
    json!([
        {"id": "horario", "input": "¿A qué hora abren?", "lang": "es", "expect": "answer",
            "answers": ["9 a 18"], "form": "short", "relevant": [{"must_contain": "de 9 a 18"}],
            "tags": ["horarios"]},
        {"id": "y", "input": "¿Y el domingo?", "expect": "abstain", "form": "short",
            "history": [{"role": "user", "text": "¿Abren?"}, {"role": "assistant", "text": "Sí."}],
            "kind": "near_miss", "must_not": ["domingo de"]},
        {"id": "z", "input": "Envíos", "expect": "answer", "form": "long", "answers": ["Cinco mil."],
            "relevant": ["chunk_1", {"id": "src_1", "grade": 2}]},
    ])
}

async fn upload(app: &TestApp, method: Method, path: &str, name: &str, text: &str) -> Reply {
    let part = Part::bytes(text.as_bytes().to_vec()).file_name(name.to_owned());
    read(app.request(method, path).multipart(Form::new().part("file", part))).await
}

#[tokio::test]
async fn a_dataset_gives_back_its_cases_and_keeps_its_versions() {
    for app in TestApp::on_each_database("a dataset gives back its cases").await {
        let path = dataset(&app, cases()).await;
        let made = app.get(&path).await.expect(200);
        assert_eq!((&made["name"], &made["caseCount"]), (&json!("Tienda"), &json!(3)));
        let page = app.get(&format!("{path}/cases?limit=2")).await.expect(200);
        assert_eq!(page["data"], json!([cases()[0], cases()[1]]));
        let next = page["nextCursor"].as_str().unwrap();
        let page = app.get(&format!("{path}/cases?limit=2&cursor={next}")).await.expect(200);
        assert_eq!(page, json!({"data": [cases()[2]], "nextCursor": null}));

        let same = app.put(&path, &json!({"cases": cases(), "name": "Otra"})).await.expect(200);
        assert_eq!((&same["version"], &same["name"]), (&made["version"], &json!("Otra")));
        let fewer = json!({"cases": [cases()[2]]});
        let fewer = app.put(&path, &fewer).await.expect(200);
        assert_ne!(fewer["version"], made["version"]);
        let detail = app.get(&path).await.expect(200);
        let versions: Vec<&Value> =
            detail["versions"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
        assert_eq!(versions, [&fewer["version"], &made["version"]]);
        let version = made["version"].as_str().unwrap();
        let old = app.get(&format!("{path}/cases?version={version}")).await.expect(200);
        assert_eq!(old["data"], cases());
        app.get(&format!("{path}/cases?version=0")).await.expect_error(404, "NOT_FOUND");
        let back = app.put(&path, &json!({"cases": cases()})).await.expect(200);
        assert_eq!(back["version"], made["version"]);
        assert_eq!(app.get(&path).await.expect(200)["versions"].as_array().unwrap().len(), 2);

        let second = dataset(&app, json!([])).await;
        let listed = app.get(DATASETS).await.expect(200);
        let ids: Vec<String> =
            listed["data"].as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
        assert!(second.ends_with(ids[0].trim_matches('"')), "newest first: {ids:?}");
        assert_eq!(ids.len(), 2);
        app.delete(&path).await.expect(204);
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.get(&format!("{path}/cases")).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn files_go_in_and_out_as_the_command_line_has_them() {
    for app in TestApp::on_each_database("files go in and out").await {
        let path = dataset(&app, cases()).await;
        let file = app.get(&format!("{path}/cases?format=jsonl")).await;
        assert_eq!(file.header("content-type"), "application/x-ndjson");
        let accepting = app.request(Method::GET, &format!("{path}/cases"));
        let accepting = accepting.header("accept", "application/x-ndjson");
        assert_eq!(read(accepting).await.text, file.text);
        let files = format!("{DATASETS}/file");
        let again = upload(&app, Method::POST, &files, "t.jsonl", &file.text).await.expect(201);
        let made = app.get(&path).await.expect(200);
        assert_eq!((&again["name"], &again["version"]), (&json!("t"), &made["version"]));
        // The command line reads the same file and finds the same version.
        let read = evals::Dataset::parse("x.jsonl".as_ref(), file.text.as_bytes()).unwrap();
        assert_eq!(made["version"], read.version());

        let table =
            "pregunta,respuesta,etiquetas\n¿Hacen factura?,Sí,pagos|facturas\n¿Venden autos?,,\n";
        let replaced = upload(&app, Method::PUT, &format!("{path}/file"), "faq.csv", table).await;
        let replaced = replaced.expect(200);
        assert_eq!((&replaced["name"], &replaced["caseCount"]), (&json!("Tienda"), &json!(2)));
        let page = app.get(&format!("{path}/cases")).await.expect(200);
        assert_eq!(page["data"][0]["answers"], json!(["Sí"]));
        assert_eq!(page["data"][0]["tags"], json!(["pagos", "facturas"]));
        assert_eq!(
            (&page["data"][1]["id"], &page["data"][1]["expect"]),
            (&json!("faq-2"), &json!("abstain"))
        );
    }
}

#[tokio::test]
async fn what_a_dataset_cannot_hold_is_told_with_place_and_remedy() {
    let app = TestApp::start().await;
    let good = || json!({"id": "a", "input": "¿Qué?"});
    for (field, value, place) in [
        ("id", json!(""), "cases[1].id"),
        ("id", json!("x".repeat(201)), "cases[1].id"),
        ("input", json!("  "), "cases[1].input"),
        ("input", json!("x".repeat(8_001)), "cases[1].input"),
        ("input", json!(7), "cases[1].input"),
        ("expect", json!("win"), "cases[1].expect"),
        ("form", json!("tall"), "cases[1].form"),
        ("kind", json!("near_miss"), "cases[1].kind"),
        ("answers", json!(["a", ""]), "cases[1].answers[1]"),
        ("answers", json!("a"), "cases[1].answers"),
        ("relevant", json!([{"must": "x"}]), "cases[1].relevant[0]"),
        ("tags", json!(["\u{7}"]), "cases[1].tags[0]"),
        ("history", json!([{"role": "boss", "text": "x"}]), "cases[1].history[0].role"),
        ("answer", json!("x"), "cases[1].answer"),
    ] {
        let mut bad = good();
        bad["id"] = json!("b");
        bad[field] = value;
        let body = json!({"name": "x", "cases": [good(), bad]});
        app.post(DATASETS, &body).await.expect_field(place);
    }
    let body = json!({"name": "x", "cases": [good(), good()]});
    app.post(DATASETS, &body).await.expect_field("cases[1].id");
    app.post(DATASETS, &json!({"name": " "})).await.expect_field("name");
    let path = dataset(&app, json!([good()])).await;
    app.put(&path, &json!({"cases": [{"id": "a"}]})).await.expect_field("cases[0].input");
    app.get(&format!("{path}/cases?format=xml")).await.expect_field("format");
    app.get(&format!("{path}/cases?cursor=x")).await.expect_field("cursor");

    let file = format!("{DATASETS}/file");
    for (name, text, told) in [
        ("a.jsonl", "{\"id\": \"a\", \"input\": \"x\"}\n{\"id\": \"b\"}", ["line 2", "input"]),
        ("a.jsonl", "{\"id\": \"a\", \"input\": \"x\"}\n\nhola", ["line 3", "JSON object"]),
        ("a.jsonl", "{\"id\": \"a\", \"input\": \"x\", \"tag\": \"y\"}", ["line 1", "tag"]),
        ("a.jsonl", "{\"id\": \"a\", \"input\": \"x\", \"tags\": [\"\"]}", ["line 1", "tags[0]"]),
        ("a.jsonl", "\n", ["no cases", "one case a line"]),
        ("a.csv", "texto\nx\n", ["line 1", "question"]),
        ("a.csv", "question,expect\nx,win\n", ["line 2", "abstain"]),
    ] {
        let refused = upload(&app, Method::POST, &file, name, text).await;
        refused.expect_field("file");
        let message = refused.expect_error(400, "INVALID_PARAMETER");
        assert!(told.iter().all(|part| message.contains(part)), "{text:?}: {message}");
        assert!(
            message.contains(name) && !message.contains("uploads"),
            "no folder is told: {message}"
        );
    }
    let many: String =
        (0..5_001).map(|n| format!("{{\"id\":\"{n}\",\"input\":\"x\"}}\n")).collect();
    let refused = upload(&app, Method::POST, &file, "a.jsonl", &many).await;
    assert!(refused.expect_error(400, "INVALID_PARAMETER").contains("5001 cases"));
}
