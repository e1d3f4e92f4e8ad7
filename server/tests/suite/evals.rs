//! `vocero eval`, from the outside: what it writes, its exit codes, and a kill in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply};

use crate::vocero::{Installation, PATIENCE, Server, http, rounded, until};

fn set(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evals/data").join(name);
    folder.display().to_string()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn report(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("report.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

fn value(report: &Value, metric: &str) -> f64 {
    let metrics = report["metrics"].as_array().expect("metrics");
    let found = metrics.iter().find(|found| found["name"] == metric);
    found.unwrap_or_else(|| panic!("{metric} in {metrics:?}"))["value"].as_f64().expect("a number")
}

#[test]
fn a_set_of_the_repository_is_evaluated_and_worse_settings_are_caught() {
    let installation = Installation::new();
    let set = set("tienda-es");
    installation.text(&[
        "eval",
        "run",
        &set,
        "--builtin",
        "--out",
        "base",
        "--floor",
        "ndcg@10=0.8",
    ]);
    let base = installation.folder().join("base");
    for name in ["report.html", "report.md", "junit.xml", "run.trec", "qrels.trec", "rows.jsonl"] {
        assert!(base.join(name).exists(), "{name}");
    }
    let first = report(&base);
    assert!(value(&first, "ndcg@10") > 0.83 && value(&first, "citations_valid") > 0.999);

    let again = installation.run(&[
        "eval",
        "run",
        &set,
        "--builtin",
        "--out",
        "again",
        "--compare",
        "base/report.json",
    ]);
    assert_eq!(code(&again), 0, "{again:?}");
    let second = report(&installation.folder().join("again"));
    assert_eq!(first["configHash"], second["configHash"]);
    for metric in ["ndcg@10", "answered", "containment", "auroc"] {
        assert!((value(&first, metric) - value(&second, metric)).abs() < 1e-9, "{metric}");
    }

    // An agent that answers everything.
    let worse = ["eval", "run", &set, "--builtin", "--min-evidence", "0", "--out", "worse"];
    assert_eq!(code(&installation.run(&worse)), 0);
    let compared =
        installation.run(&["eval", "compare", "base/report.json", "worse/report.json", "--json"]);
    assert_eq!(code(&compared), 1);
    let compared: Value = serde_json::from_slice(&compared.stdout).expect("JSON");
    let regressed = compared["metrics"].as_array().expect("metrics").iter();
    let regressed: Vec<&str> = regressed
        .filter(|metric| metric["verdict"] == "regressed")
        .filter_map(|metric| metric["name"].as_str())
        .collect();
    assert_eq!(regressed, ["false_answer"]);

    let missed =
        ["eval", "run", &set, "--target", "search", "--out", "x", "--floor", "ndcg@10=0.999"];
    let missed = installation.run(&missed);
    assert_eq!(code(&missed), 1);
    assert!(String::from_utf8_lossy(&missed.stdout).contains("FLOOR MISSED: ndcg@10"));
}

#[test]
fn bad_input_is_told_with_exit_code_two() {
    let installation = Installation::new();
    fs::write(installation.folder().join("bad.jsonl"), "{\"id\":\"a\",\"inptu\":\"x\"}\n")
        .expect("a file");
    for (arguments, word) in [
        (&["eval", "run", "bad.jsonl"][..], "line 1"),
        (&["eval", "run", "absent"], "no dataset"),
        (&["eval", "compare", "absent.json", "absent.json"], "absent.json"),
        (&["eval", "run", &set("tienda-es"), "--target", "chat"], "OPENAI_BASE_URL"),
        (&["eval", "run", &set("tienda-es"), "--target", "http"], "VOCERO_URL"),
        (&["eval", "run", &set("tienda-es"), "--floor", "ndgc=1"], "no metric ndgc"),
        (&["eval", "import", "--from", "trec", "x", "y"], "--queries"),
    ] {
        let output = installation.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 2, "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn a_dataset_is_begun_and_imported_and_a_report_is_shown_in_every_form() {
    let installation = Installation::new();
    for lang in ["es", "en", "pt"] {
        let file = format!("{lang}.jsonl");
        installation.text(&["eval", "new", &file, "--lang", lang]);
        let again = installation.run(&["eval", "new", &file]);
        assert_eq!(code(&again), 2, "nothing is overwritten");
    }
    let imported =
        installation.json(&["eval", "import", "--from", "folder", &set("tienda-es"), "mine"]);
    assert_eq!((&imported["cases"], &imported["passages"]), (&json!(99), &json!(42)));
    let plan = installation.json(&["eval", "run", "mine", "--builtin", "--dry-run"]);
    assert_eq!((&plan["cases"], &plan["costUsd"]), (&json!(99), &json!(0.0)));
    let ran = installation.json(&["eval", "run", "mine", "--target", "search"]);
    assert_eq!(
        (&ran["cases"], &ran["errors"], &ran["ended"]),
        (&json!(99), &json!(0), &json!("complete"))
    );
    for (form, word) in [
        ("text", "ndcg@10"),
        ("markdown", "| ndcg@10 |"),
        ("html", "<!doctype html>"),
        ("junit", "<testsuite "),
        ("trec", "tienda-es-000 Q0 env-costo 1 "),
        ("qrels", "tienda-es-000 0 env-costo 1"),
        ("baseline", "\"scores\""),
    ] {
        let shown = installation.text(&["eval", "report", "eval/mine/report.json", "--form", form]);
        assert!(shown.contains(word), "{form}: {}", &shown[..shown.len().min(300)]);
    }
}

#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_numbers() {
    let installation = Installation::new();
    let set = set("tienda-es");
    let arguments = ["eval", "run", &set, "--builtin", "--concurrency", "1", "--out", "killed"];
    let rows = installation.folder().join("killed/rows.jsonl");
    let mut child = installation
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let deadline = Instant::now() + PATIENCE;
    let lines = || fs::read_to_string(&rows).map_or(0, |text| text.lines().count());
    while lines() < 20 {
        assert!(Instant::now() < deadline, "rows are written as they come");
        std::thread::yield_now();
    }
    child.kill().expect("it runs");
    child.wait().expect("its end");
    let written = lines();
    assert!((20..100).contains(&written), "{written} lines of 100");
    assert!(!installation.folder().join("killed/report.json").exists());
    let killed = installation.json(&arguments);
    assert_eq!(killed["cases"], 99);
    let whole = installation.json(&["eval", "run", &set, "--builtin", "--out", "whole"]);
    let without_times = |report: &Value| -> Vec<Value> {
        let metrics = report["metrics"].as_array().expect("metrics").iter();
        let timeless =
            |metric: &&Value| !metric["name"].as_str().unwrap_or_default().contains("_ms");
        metrics.filter(timeless).cloned().collect()
    };
    assert_eq!(without_times(&killed), without_times(&whole));
}

#[tokio::test]
async fn a_target_that_fails_too_often_ends_with_exit_code_three() {
    let model = ModelServer::start().await.expect("the model server");
    model.respond_with(|request| {
        let body = request.body.to_string();
        // Five of a hundred questions.
        ["numero 7 ", "numero 27 ", "numero 47 ", "numero 67 ", "numero 87 "]
            .iter()
            .any(|word| body.contains(word))
            .then(|| Reply::error(400, "it does not want to"))
    });
    let installation = Installation::new()
        .with("OPENAI_BASE_URL", &model.base_url())
        .with("VOCERO_CHAT_MODEL", "gpt-test");
    let line = |n: u32| {
        json!({ "id": format!("c{n}"), "input": format!("numero {n} ?"), "lang": "es", "answers": ["x"] }).to_string()
    };
    let lines: Vec<String> = (0..100).map(line).collect();
    fs::write(installation.folder().join("hundred.jsonl"), lines.join("\n")).expect("a file");
    let arguments = ["eval", "run", "hundred.jsonl", "--target", "chat", "--json"];
    let output = tokio::task::spawn_blocking(move || {
        let output = installation.run(&arguments);
        (installation, output)
    });
    let waited = tokio::time::timeout(PATIENCE + Duration::from_mins(1), output).await;
    let (_installation, output) = waited.expect("it ends").expect("it runs");
    assert_eq!(code(&output), 3, "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["cases"], &told["errors"]), (&json!(100), &json!(5)));
}

/// The suite of the repository: its sets reach their floors and are no worse than before.
#[test]
fn the_suite_of_the_repository_holds() {
    let installation = Installation::new();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("evals/suite.toml").display().to_string();
    let baselines = root.join("evals/baselines").display().to_string();
    let arguments =
        ["eval", "suite", &file, "--baselines", &baselines, "--out", "out", "--only", "tienda-es"];
    let output = installation.run(&arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 0, "{said}");
    assert!(said.contains("5 of 5 floors reached"), "{said}");
    assert!(!said.contains("no baseline"), "{said}");
}

#[tokio::test]
async fn a_threshold_is_found_and_set_for_an_agent() {
    let installation = Installation::new();
    let found = installation.json(&["eval", "calibrate", &set("tienda-es"), "--answered", "0.8"]);
    let calibration = &found["calibration"];
    let after = &calibration["after"];
    assert!((after["answered"].as_f64().expect("a share") - 0.8).abs() < 0.02, "{calibration}");
    let before = calibration["before"]["abstained"].as_f64().expect("a share");
    assert!(after["abstained"].as_f64().expect("a share") > before, "{calibration}");
    let curve = calibration["curve"].as_array().expect("points");
    assert!(
        curve.len() > 20 && installation.folder().join("eval/calibration/report.html").exists()
    );

    let init = installation.json(&["init"]);
    let agent = init["agentId"].as_str().expect("an id");
    let file = installation.folder().join("faq.md");
    fs::write(&file, "# Horarios\n\nAbrimos de lunes a viernes de 9 a 18 horas.\n")
        .expect("a file");
    installation.text(&["datastore", "add", "faq.md"]);
    let line = |n: u32| {
        json!({ "id": format!("c{n}"), "input": format!("¿Abren el lunes {n}?"), "lang": "es", "answers": ["9 a 18"] }).to_string()
    };
    let lines: Vec<String> = (0..24).map(line).collect();
    fs::write(installation.folder().join("mine.jsonl"), lines.join("\n")).expect("a file");
    let refused = installation.run(&["eval", "calibrate", "mine.jsonl", "--apply"]);
    assert_eq!(code(&refused), 2, "--apply needs an agent");
    let applied =
        installation.json(&["eval", "calibrate", "mine.jsonl", "--agent", agent, "--apply"]);
    let threshold = applied["calibration"]["threshold"].as_f64().expect("a threshold");
    let server = installation.serve();
    let datastore = init["datastoreId"].as_str().expect("an id");
    let url = format!("{}/api/v2/datastores/{datastore}/health", server.url);
    let key = init["apiKey"].as_str().expect("a key");
    let shown = http().get(&url).bearer_auth(key).send().await.expect("an answer");
    let shown: Value = shown.json().await.expect("JSON");
    assert_eq!(shown["threshold"].as_f64(), Some(threshold), "{shown}");
    assert_eq!(shown["thresholdFrom"], "set");

    // The same agent, over HTTP.
    let over_http = Installation::new().with("VOCERO_URL", &server.url).with("VOCERO_API_KEY", key);
    fs::write(over_http.folder().join("mine.jsonl"), lines.join("\n")).expect("a file");
    let ran = over_http.json(&["eval", "run", "mine.jsonl", "--target", "http", "--agent", agent]);
    assert_eq!((&ran["cases"], &ran["errors"]), (&json!(24), &json!(0)));
    let report = report(&over_http.folder().join("eval/mine"));
    assert!(value(&report, "containment") > 0.85, "{report}");
    assert!(value(&report, "citations_valid") > 0.999 && value(&report, "quotes_verbatim") > 0.999);
    let seen = &report["cases"][0]["details"]["observation"];
    assert!(seen["evidence"].is_f64() && seen["retrieved"][0]["text"].is_string(), "{seen}");
    // An agent of a folder that a server works on is asked over HTTP only.
    let busy = installation.run(&["eval", "run", "mine.jsonl", "--agent", agent]);
    assert_eq!(code(&busy), 2);
    assert!(String::from_utf8_lossy(&busy.stderr).contains("--target http"), "{busy:?}");
    server.stop();
}

#[tokio::test]
async fn a_judge_of_the_provider_judges_within_its_limit() {
    let model = ModelServer::start().await.expect("the model server");
    model.respond_with(|request| {
        let user = request.body["messages"][1]["content"].as_str().unwrap_or_default();
        let verdict = if user.contains("\"grade\"") {
            json!({ "grade": "acceptable" })
        } else if user.contains("\"sentences\"") {
            json!({ "sentences": [{ "n": 1, "supported": true, "citations": [] }] })
        } else {
            json!({ "claims": [{ "claim": "x", "supported": true, "correct": null, "stated": true }] })
        };
        Some(Reply::text(&verdict.to_string()).usage(1_000, 100))
    });
    let installation = Installation::new()
        .with("OPENAI_BASE_URL", &model.base_url())
        .with("VOCERO_CHAT_MODEL", "gpt-4o");
    let set = set("tienda-es");
    let installation = tokio::task::spawn_blocking(move || {
        let base = ["eval", "run", &set, "--builtin", "--judge", "gpt-4o"];
        let plan = installation.json(&[&base[..], &["--dry-run"]].concat());
        assert!(plan["costUsd"].as_f64().expect("dollars") > 0.1, "{plan}");
        let limited =
            installation.run(&[&base[..], &["--max-cost", "0.05", "--concurrency", "1"]].concat());
        assert_eq!(code(&limited), 3, "what was not judged says nothing");
        assert!(String::from_utf8_lossy(&limited.stdout).contains(" left, $0.0"), "{limited:?}");
        let report_file = installation.folder().join("eval/tienda-es/report.json");
        assert!(!report_file.exists(), "it goes on where it stopped");
        let whole = installation.run(&base);
        assert_eq!(code(&whole), 0, "{whole:?}");
        let again = installation.run(&base);
        assert!(String::from_utf8_lossy(&again.stdout).contains(" 0 calls"), "{again:?}");
        let report = report(&installation.folder().join("eval/tienda-es"));
        assert!((value(&report, "faithfulness") - 1.0).abs() < 1e-9);
        let crag = value(&report, "crag");
        assert!((0.4..0.5).contains(&crag), "acceptable, or missing: {crag}");
        let label = json!({ "id": "tienda-es-000", "metric": "crag", "value": 1 }).to_string();
        fs::write(installation.folder().join("labels.jsonl"), label).expect("a file");
        let agreement = installation.json(&[
            "eval",
            "judge-agreement",
            "eval/tienda-es/report.json",
            "labels.jsonl",
        ]);
        assert_eq!((&agreement[0]["metric"], &agreement[0]["count"]), (&json!("crag"), &json!(1)));
        installation
    });
    let waited = tokio::time::timeout(PATIENCE * 3, installation).await;
    drop(waited.expect("it ends").expect("it holds"));
}

#[tokio::test]
async fn the_part_of_the_vectors_is_set_for_the_datastores_of_an_agent() {
    let model = ModelServer::start().await.expect("the model server");
    let installation = Installation::new()
        .with("OPENAI_BASE_URL", &model.base_url())
        .with("VOCERO_EMBEDDING_MODEL", "embed-test");
    let work = tokio::task::spawn_blocking(move || {
        let init = installation.json(&["init"]);
        let agent = init["agentId"].as_str().expect("an id").to_owned();
        let things = ["carpas", "mesas", "sillas", "parlantes", "luces", "tarimas"];
        let mut lines = Vec::new();
        for (n, thing) in things.iter().cycle().take(24).enumerate() {
            let city = ["Temuco", "Valdivia", "Osorno", "Castro"][n / things.len()];
            let fact = format!("El arriendo de {thing} en {city} cuesta {} pesos.", 1_000 + n);
            fs::write(installation.folder().join(format!("f{n}.md")), &fact).expect("a file");
            installation.text(&["datastore", "add", &format!("f{n}.md")]);
            lines.push(
                json!({
                    "id": format!("c{n}"), "input": format!("¿Cuánto cuesta arrendar {thing} en {city}?"), "lang": "es",
                    "relevant": [{ "must_contain": format!("{} pesos", 1_000 + n) }],
                })
                .to_string(),
            );
        }
        fs::write(installation.folder().join("mine.jsonl"), lines.join("\n")).expect("a file");
        let found =
            installation.json(&["eval", "calibrate", "mine.jsonl", "--agent", &agent, "--apply"]);
        let weighed = found["denseWeights"].as_array().expect("weights");
        assert_eq!(weighed.len(), 6, "{found}");
        let best = |weighed: &Value| weighed["ndcg10"].as_f64().expect("a share");
        let most = weighed.iter().map(best).fold(0.0, f64::max);
        assert!(most > 0.5, "{found}");
        let weight =
            weighed.iter().find(|one| best(one) >= most).expect("one")["denseWeight"].clone();
        let datastore = init["datastoreId"].as_str().expect("an id").to_owned();
        let key = init["apiKey"].as_str().expect("a key").to_owned();
        (installation, datastore, key, weight, found["calibration"]["threshold"].clone())
    });
    let waited = tokio::time::timeout(PATIENCE * 3, work).await;
    let (installation, datastore, key, weight, threshold) =
        waited.expect("it ends").expect("it holds");
    let server = installation.serve();
    let url = format!("{}/api/v2/datastores/{datastore}/health", server.url);
    let health = http().get(&url).bearer_auth(key).send().await.expect("an answer");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health["tuning"], json!({ "threshold": threshold, "denseWeight": weight }));
    assert_eq!((&health["dense"]["weight"], &health["thresholdFrom"]), (&weight, &json!("set")));
    server.stop();
}

/// Facts that a killed server is asked about: name, text, question.
fn facts() -> Vec<(String, String, String)> {
    let things = [
        "martillo",
        "taladro",
        "serrucho",
        "pincel",
        "destornillador",
        "alicate",
        "nivel",
        "cincel",
    ];
    let facts = things.iter().enumerate().map(|(number, thing)| {
        let price = 1_000 + 37 * number;
        let text = format!("El {thing} de la casa cuesta {price} pesos y tiene garantía.");
        (format!("Ficha {thing}"), text, format!("¿Cuánto cuesta el {thing}?"))
    });
    facts.collect()
}

struct Caller {
    key: String,
    agent: String,
    datastore: String,
}

impl Caller {
    fn of(installation: &Installation) -> Self {
        let setup = installation.json(&["init"]);
        let text = |key: &str| setup[key].as_str().expect("a text").to_owned();
        Self { key: text("apiKey"), agent: text("agentId"), datastore: text("datastoreId") }
    }

    async fn post(&self, server: &Server, path: &str, body: &Value) -> Value {
        let request = http().post(format!("{}/api/v2{path}", server.url)).bearer_auth(&self.key);
        let response = request.json(body).send().await.expect("an answer");
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.expect("JSON")
    }

    async fn get(&self, server: &Server, path: &str) -> Value {
        let request = http().get(format!("{}/api/v2{path}", server.url)).bearer_auth(&self.key);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    async fn begin(&self, server: &Server, dataset: &Value, options: Value) -> String {
        let target = json!({ "type": "agent", "id": self.agent });
        let body = json!({ "datasetId": dataset["id"], "target": target, "options": options });
        let run = self.post(server, "/evals/runs", &body).await;
        format!("/evals/runs/{}", run["id"].as_str().expect("an id"))
    }

    /// The report of a run, once it is over.
    async fn ended(&self, server: &Server, run: &str) -> Value {
        until("the run ends", async || self.get(server, run).await["status"] == "done").await;
        self.get(server, &format!("{run}/report")).await
    }
}

fn without_times(report: &Value) -> Vec<Value> {
    let metrics = report["metrics"].as_array().expect("metrics").iter();
    let timeless = |metric: &&Value| !metric["name"].as_str().unwrap_or_default().contains("_ms");
    metrics.filter(timeless).map(rounded).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_server_that_was_killed_ends_with_the_numbers_of_the_command_line() {
    for installation in Installation::on_each_database("a run of a server that was killed") {
        let caller = Caller::of(&installation);
        let server = installation.serve();
        let mut lines = Vec::new();
        for (name, text, question) in facts() {
            let body = json!({ "name": name, "content": text });
            let path = format!("/datastores/{}/sources/text", caller.datastore);
            let source = caller.post(&server, &path, &body).await;
            let path = format!(
                "/datastores/{}/sources/{}",
                caller.datastore,
                source["id"].as_str().expect("an id")
            );
            until("it is learnt", async || caller.get(&server, &path).await["status"] == "ready")
                .await;
            // Each question in several forms, so that the run takes a while.
            for (form, end) in
                ["", " Gracias.", " Es para hoy.", " ¿Con garantía?"].iter().enumerate()
            {
                let case = json!({
                    "id": format!("{name} {form}"), "input": format!("{question}{end}"), "lang": "es",
                    "relevant": [{ "must_contain": text }], "answers": ["pesos"],
                });
                lines.push(case);
            }
        }
        lines.push(
            json!({ "id": "x", "input": "¿Venden helicópteros usados?", "expect": "abstain" }),
        );
        let dataset = json!({ "name": "killed", "cases": lines });
        let dataset = caller.post(&server, "/evals/datasets", &dataset).await;
        let whole = caller.begin(&server, &dataset, json!({})).await;
        let whole = caller.ended(&server, &whole).await;
        assert!(value(&whole, "ndcg@10") > 0.8, "{:?}", whole["metrics"]);

        let slow = json!({ "concurrency": 1, "perMinute": 1_200 });
        let run = caller.begin(&server, &dataset, slow).await;
        let done = async |server: &Server| {
            caller.get(server, &run).await["done"].as_i64().unwrap_or_default()
        };
        until("some are asked", async || done(&server).await >= 5).await;
        server.kill();
        let server = installation.serve();
        let left = caller.get(&server, &run).await;
        assert_eq!((&left["status"], &left["total"]), (&json!("running"), &json!(33)), "{left}");
        let killed = caller.ended(&server, &run).await;
        assert_eq!(without_times(&killed), without_times(&whole), "{}", installation.database);
        assert_eq!((&killed["errors"], &killed["dataset"]), (&json!(0), &whole["dataset"]));

        let path = format!(
            "{}/api/v2/evals/datasets/{}/cases?format=jsonl",
            server.url,
            dataset["id"].as_str().expect("an id")
        );
        let file = http().get(path).bearer_auth(&caller.key).send().await.expect("an answer");
        let file = file.text().await.expect("a file");
        fs::write(installation.folder().join("killed.jsonl"), file).expect("a file");
        server.stop();
        let own = installation.json(&["eval", "run", "killed.jsonl", "--agent", &caller.agent]);
        assert_eq!(without_times(&own), without_times(&whole), "{}", installation.database);
        assert_eq!(
            (&own["configHash"], &own["dataset"]),
            (&whole["configHash"], &whole["dataset"])
        );
    }
}
