//! The judge's path, against the scripted server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Ambient;
use evals::agreement::{agreement, read_labels};
use evals::judge::{JudgeOptions, Judging, KeptVerdicts, judge};
use evals::{Case, Dataset, Ended, Observation, Outcome, Report, Row, RunOutcome, TargetInfo};
use models::openai::{OpenAi, OpenAiOptions, TimerPause};
use models::{Catalogue, ChatModel};
use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Recorded, Reply};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

fn model(server: &ModelServer) -> Arc<dyn ChatModel> {
    let options = OpenAiOptions {
        base_url: server.base_url().parse().unwrap(),
        key: None,
        azure_api_version: None,
        chat_model: Some("gpt-4o".to_owned()),
        allowed_models: Vec::new(),
        connect_timeout: PATIENCE,
        first_token_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_attempts: 1,
        pause: Arc::new(TimerPause),
        judge: None,
    };
    Arc::new(OpenAi::new(&options, &Ambient::system()).unwrap())
}

fn options(server: &ModelServer, cache: Option<&Path>) -> JudgeOptions {
    JudgeOptions {
        model: model(server),
        name: "gpt-4o".to_owned(),
        catalogue: Catalogue::default(),
        max_cost: None,
        verdicts: Arc::new(KeptVerdicts::open(cache).unwrap()),
        concurrency: 1,
    }
}

/// Three questions with their answers, one in each language, as a run leaves them.
fn answered() -> Report {
    let cases = [
        ("es", "¿A qué hora abren?", "Abrimos a las 9. [1]", "a las 9"),
        ("en", "When do you open?", "We open at 9. [1]", "at 9"),
        ("pt", "A que horas abrem?", "Abrimos às 9. [1]", "às 9"),
    ];
    let case = |(lang, input, _, answer): &(&str, &str, &str, &str)| -> Case {
        serde_json::from_value(
            json!({ "id": lang, "input": input, "lang": lang, "answers": [answer], "relevant": ["p"] }),
        )
        .unwrap()
    };
    let row = |(lang, _, answer, _): &(&str, &str, &str, &str)| {
        let observation: Observation = serde_json::from_value(json!({
            "outcome": "answered", "answer": answer,
            "citations": [{ "marker": 1, "id": "p", "quote": "9" }],
            "retrieved": [{ "id": "p", "title": "Horario", "text": "Horario: 9 a 18.", "score": 1.0 }],
        }))
        .unwrap();
        Row { id: (*lang).to_owned(), observation: Some(observation), error: None }
    };
    let dataset = Dataset {
        name: "three".to_owned(),
        cases: cases.iter().map(case).collect(),
        corpus: Vec::new(),
    };
    let target = TargetInfo { kind: "agent".to_owned(), name: "a".to_owned(), config: Value::Null };
    let outcome =
        RunOutcome { target, rows: cases.iter().map(row).collect(), ended: Ended::Complete };
    Report::of(&dataset, &outcome, "2026-11-21T00:00:00Z".to_owned())
}

fn said(request: &Recorded) -> (String, String) {
    let text = |at: usize| request.body["messages"][at]["content"].as_str().unwrap().to_owned();
    (text(0), text(1))
}

/// What is asked for, by the form of the JSON at the end.
fn kind(request: &Recorded) -> &'static str {
    let (_, user) = said(request);
    let form = user.rsplit("JSON: ").next().unwrap().to_owned();
    ["supported\": true, \"correct", "stated", "sentences", "grade"]
        .into_iter()
        .find(|word| form.contains(word))
        .map(|word| if word.starts_with("supported") { "claims" } else { word })
        .unwrap()
}

fn perfect(request: &Recorded) -> Value {
    match kind(request) {
        "claims" => json!({ "claims": [{ "claim": "9", "supported": true, "correct": true }] }),
        "stated" => json!({ "claims": [{ "claim": "9", "stated": true }] }),
        "sentences" => {
            let citation = json!({ "marker": 1, "alone": true, "needed": true });
            json!({ "sentences": [{ "n": 1, "supported": true, "citations": [citation] }] })
        }
        _ => json!({ "grade": "perfect" }),
    }
}

async fn judged(report: &mut Report, options: &JudgeOptions) -> Judging {
    judge(report, options, &|_| (), &CancellationToken::new()).await.unwrap()
}

fn value(report: &Report, metric: &str) -> f64 {
    report.metric(metric).unwrap_or_else(|| panic!("{metric}")).value
}

#[tokio::test]
async fn each_case_is_judged_once_in_its_own_language_and_never_again() {
    let server = ModelServer::start().await.unwrap();
    server
        .respond_with(|request| Some(Reply::text(&perfect(request).to_string()).usage(1_000, 100)));
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("verdicts.jsonl");
    let mut report = answered();
    let judging = judged(&mut report, &options(&server, Some(&cache))).await;
    assert_eq!((judging.cases, judging.calls, judging.cached, judging.errors), (3, 12, 0, 0));
    // 12 × (1,000 × $2.50 + 100 × $10.00 a million).
    assert_eq!(judging.cost, 12 * 3_500);
    for metric in ["faithfulness", "claim_recall", "alce_recall", "alce_precision", "crag"] {
        assert!((value(&report, metric) - 1.0).abs() < 1e-9, "{metric}");
    }
    assert!(value(&report, "noise_sensitivity").abs() < 1e-9);
    let requests = server.requests();
    for (lang, word) in
        [("es", "Eres un juez"), ("en", "You are a strict judge"), ("pt", "Você é um juiz")]
    {
        let own = requests.iter().filter(|request| said(request).0.starts_with(word));
        assert_eq!(own.count(), 4, "{lang}");
    }
    assert!(requests.iter().all(|request| request.body["temperature"] == 0.0));
    assert!(said(&requests[0]).1.contains("[1] Horario\nHorario: 9 a 18."), "{requests:?}");

    let mut again = answered();
    let judging = judged(&mut again, &options(&server, Some(&cache))).await;
    assert_eq!((judging.calls, judging.cached, judging.cost), (0, 12, 0));
    assert_eq!(again.metrics, report.metrics);
    // Another answer is another question.
    let mut other = answered();
    let details = other.cases[0].details.as_mut().unwrap();
    details.observation.as_mut().unwrap().answer.push_str(" Los domingos no.");
    assert_eq!(judged(&mut other, &options(&server, Some(&cache))).await.calls, 4);
}

#[tokio::test]
async fn where_a_fault_is_found_the_middle_of_three_verdicts_counts() {
    let server = ModelServer::start().await.unwrap();
    server.respond_with(|request| {
        let vote = request.body["seed"].as_i64().unwrap();
        let (system, _) = said(request);
        let mut verdict = perfect(request);
        // In Spanish the first verdict alone finds a fault, in English two of three do.
        if kind(request) == "grade" {
            let faulty = matches!((&system[..3], vote), ("Ere", 0) | ("You", 0 | 2));
            if faulty {
                verdict = json!({ "grade": "incorrect" });
            }
        }
        Some(Reply::text(&verdict.to_string()))
    });
    let mut report = answered();
    let judging = judged(&mut report, &options(&server, None)).await;
    assert_eq!(judging.calls, 12 + 2 + 2, "two more for each fault");
    let crag: Vec<f64> = report.cases.iter().map(|case| case.scores["crag"]).collect();
    assert_eq!(crag, [1.0, -1.0, 1.0]);
}

#[tokio::test]
async fn a_judge_that_declines_or_raves_is_an_error_and_no_bad_answer() {
    let server = ModelServer::start().await.unwrap();
    server.respond_with(|request| {
        let (system, _) = said(request);
        Some(match &system[..3] {
            "Ere" => Reply::text("No puedo ayudarte con eso."),
            "You" => Reply::text("Sure! It is fine."),
            _ => Reply::text(&perfect(request).to_string()),
        })
    });
    let mut report = answered();
    let judging = judged(&mut report, &options(&server, None)).await;
    assert_eq!((judging.errors, judging.refusals), (2, 1));
    assert_eq!(report.metric("crag").unwrap().count, 1);
    assert!(!report.is_sound(), "two of three have no verdict");
}

#[tokio::test]
async fn judging_stops_at_its_limit_and_what_was_withheld_is_missing_without_a_call() {
    let server = ModelServer::start().await.unwrap();
    server
        .respond_with(|request| Some(Reply::text(&perfect(request).to_string()).usage(1_000, 100)));
    let mut report = answered();
    report.cases[2].outcome = Some(Outcome::Abstained);
    let limited = JudgeOptions { max_cost: Some(3_500), ..options(&server, None) };
    let judging = judged(&mut report, &limited).await;
    assert_eq!((judging.cases, judging.calls, judging.left), (2, 4, 1));
    assert!(!report.is_sound());
    assert!(report.cases[2].scores["crag"].abs() < 1e-9);
    assert!(!report.cases[2].scores.contains_key("faithfulness"));
}

#[tokio::test]
async fn a_judge_is_held_against_people() {
    let mut report = answered();
    for (case, value) in report.cases.iter_mut().zip([1.0, 0.0, 1.0]) {
        case.scores.insert("faithfulness".to_owned(), value);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.jsonl");
    let lines = [("es", 1.0), ("en", 0.0), ("pt", 0.0), ("absent", 1.0)];
    let line =
        |(id, value)| json!({ "id": id, "metric": "faithfulness", "value": value }).to_string();
    std::fs::write(&path, lines.map(line).join("\n")).unwrap();
    let found = agreement(&report, &read_labels(&path).unwrap());
    assert_eq!((found.len(), found[0].count), (1, 3));
    assert!((found[0].agreement.value - 2.0 / 3.0).abs() < 1e-9);
    assert!((found[0].bias - 1.0 / 3.0).abs() < 1e-9);
    // Observed 2/3; chance 2/3 × 1/3 + 1/3 × 2/3 = 4/9.
    assert!((found[0].kappa.unwrap() - 0.4).abs() < 1e-9);
    std::fs::write(&path, r#"{"id":"es","metric":"faith","value":1}"#).unwrap();
    let error = read_labels(&path).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("`metric`"), "{error}");
}
