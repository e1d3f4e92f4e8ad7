//! Runs: what is measured, failures, going on after a kill, limits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use evals::report;
use evals::target::{Estimate, SearchTarget};
use evals::{
    Case, Dataset, Ended, Failure, Observation, Outcome, RunOptions, Target, TargetInfo, run,
};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{builtin, report, report_with, tienda, value, world};

#[tokio::test]
async fn the_built_in_agent_is_measured_through_whole_turns() {
    let dataset = tienda();
    let world = world(&dataset).await;
    let report = report(&dataset, &builtin(&world)).await;
    world.close().await;
    assert_eq!((report.errors, report.ended), (0, Ended::Complete));
    for (metric, least) in [
        ("ndcg@10", 0.99),
        ("recall@5", 0.99),
        ("answered", 0.99),
        ("extract_containment", 0.79),
        ("containment", 0.79),
        ("auroc", 0.99),
        ("auroc/not_in_kb", 0.99),
        ("citations_valid", 1.0),
        ("quotes_verbatim", 1.0),
        ("sentence_support", 1.0),
        ("cites", 1.0),
        ("language", 0.8),
    ] {
        assert!(value(&report, metric) >= least, "{metric} {}", value(&report, metric));
    }
    assert!(value(&report, "unsupported").abs() < 1e-9);
    assert!(value(&report, "total_ms_p95") > 0.0 && value(&report, "first_token_ms_p50") > 0.0);
    let run = report::run_file(&report);
    let first = run.lines().next().unwrap();
    assert_eq!(first.split(' ').collect::<Vec<_>>()[..4], ["q1", "Q0", "horarios", "1"]);
    let details = report.cases[0].details.as_ref().unwrap();
    let observation = details.observation.as_ref().unwrap();
    assert!(observation.steps.iter().any(|step| step.name == "search"), "{observation:?}");
    assert!(!observation.retrieved.as_ref().unwrap()[0].text.is_empty());
}

#[tokio::test]
async fn search_alone_is_measured_the_same_and_two_workspaces_rank_alike() {
    let dataset = tienda();
    let (one, two) = (world(&dataset).await, world(&dataset).await);
    let first = report(&dataset, &SearchTarget::of(&one, 20)).await;
    let second = report(&dataset, &SearchTarget::of(&two, 20)).await;
    assert!(value(&first, "ndcg@10") > 0.99);
    assert!(first.metric("containment").is_none() && first.metric("cites").is_none());
    assert_eq!(report::run_file(&first), report::run_file(&second));
    // Sums of 32-bit floats depend on the order of the points.
    for (one, two) in first.cases.iter().zip(&second.cases) {
        let difference = one.evidence.unwrap() - two.evidence.unwrap();
        assert!(difference.abs() < 1e-5, "{}: {difference}", one.id);
    }
    one.close().await;
    two.close().await;
}

/// Answers by rule; fails on some cases, and counts.
#[derive(Debug, Default)]
struct Scripted {
    asked: AtomicUsize,
    fails: BTreeSet<String>,
    cost: i64,
    hangs: Option<String>,
}

#[async_trait]
impl Target for Scripted {
    fn info(&self) -> TargetInfo {
        let (kind, name) = ("scripted".to_owned(), "scripted".to_owned());
        TargetInfo { kind, name, config: json!({ "cost": self.cost }) }
    }

    async fn ask(&self, case: &Case) -> Result<Observation, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.as_deref() == Some(&case.id) {
            std::future::pending::<()>().await;
        }
        if self.fails.contains(&case.id) {
            return Err(Failure::new("UNAVAILABLE", "it is not there"));
        }
        Ok(Observation {
            outcome: Outcome::Answered,
            answer: format!("Respuesta {}", case.answers.first().cloned().unwrap_or_default()),
            cost: Some(self.cost),
            ..Observation::default()
        })
    }

    fn estimate(&self, _case: &Case) -> Estimate {
        Estimate { prompt_tokens: 100, completion_tokens: 10, cost: Some(self.cost) }
    }
}

fn many(count: usize) -> Dataset {
    let line = |n: usize| json!({ "id": format!("c{n:03}"), "input": "¿Qué?", "answers": [n.to_string()], "relevant": ["p"] });
    let cases = (0..count).map(|n| serde_json::from_value(line(n)).unwrap()).collect();
    Dataset { name: "many".to_owned(), cases, corpus: Vec::new() }
}

#[tokio::test]
async fn failures_are_counted_score_worst_and_make_a_run_unsound_above_two_in_a_hundred() {
    let dataset = many(100);
    let ids = |count| (0..count).map(|n| format!("c{:03}", n * 7)).collect();
    let target = Scripted { fails: ids(5), ..Scripted::default() };
    let bad = report(&dataset, &target).await;
    assert_eq!((bad.errors, bad.cases.len(), bad.is_sound()), (5, 100, false));
    assert!((value(&bad, "containment") - 0.95).abs() < 1e-9, "no failure is dropped from a mean");
    assert!((value(&bad, "answered") - 0.95).abs() < 1e-9);
    assert!(
        bad.metric("ndcg@10").is_none(),
        "it shows no passages, so no failure ranks them badly"
    );
    let junit = report::junit(&bad);
    assert!(junit.contains("errors=\"5\"") && junit.contains("type=\"UNAVAILABLE\""), "{junit}");
    assert!(report::markdown(&bad).contains("says nothing about quality"));
    let few = Scripted { fails: ids(2), ..Scripted::default() };
    assert!(report(&dataset, &few).await.is_sound());
}

#[tokio::test]
async fn a_run_that_is_broken_off_goes_on_and_ends_with_the_same_numbers() {
    let dataset = many(40);
    let whole = report(&dataset, &Scripted::default()).await;
    let folder = TempDir::new().unwrap();
    let rows = folder.path().join("rows.jsonl");
    let options = RunOptions { rows: Some(rows.clone()), concurrency: 3, ..RunOptions::default() };
    let cancel = CancellationToken::new();
    let target = Scripted::default();
    let stop = |progress: evals::Progress| {
        if progress.done == 17 {
            cancel.cancel();
        }
    };
    let first = run(&dataset, &target, &options, &stop, &cancel).await.unwrap();
    assert_eq!((first.rows.len(), first.ended), (17, Ended::Cancelled));
    // As a kill in the middle of a write leaves it.
    let mut text = std::fs::read_to_string(&rows).unwrap();
    text.push_str("{\"id\":\"c039\",\"observ");
    std::fs::write(&rows, text).unwrap();
    let rest = Scripted::default();
    let resumed = report_with(&dataset, &rest, &options).await;
    assert_eq!(rest.asked.load(Ordering::SeqCst), 23, "nothing is asked twice");
    assert_eq!(resumed.metrics, whole.metrics);
    assert_eq!(resumed.cases, whole.cases);
    let mut other = many(40);
    other.cases[0].input = "¿Otra?".to_owned();
    let cancel = CancellationToken::new();
    let error = run(&other, &rest, &options, &|_| (), &cancel).await.unwrap_err();
    assert!(error.is_input() && error.to_string().contains("another file"), "{error}");
    let dear = Scripted { cost: 5, ..Scripted::default() };
    let error = run(&dataset, &dear, &options, &|_| (), &cancel).await.unwrap_err();
    assert!(error.to_string().contains("another target"), "{error}");
}

#[tokio::test]
async fn what_failed_is_asked_again_on_demand() {
    let dataset = many(10);
    let folder = TempDir::new().unwrap();
    let rows = Some(folder.path().join("rows.jsonl"));
    let options = RunOptions { rows, ..RunOptions::default() };
    let failing = Scripted { fails: ["c003".to_owned()].into(), ..Scripted::default() };
    assert_eq!(report_with(&dataset, &failing, &options).await.errors, 1);
    let well = Scripted::default();
    assert_eq!(report_with(&dataset, &well, &options).await.errors, 1, "an error is a row");
    let options = RunOptions { retry_errors: true, ..options };
    assert_eq!(report_with(&dataset, &well, &options).await.errors, 0);
    assert_eq!(well.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn spending_stops_at_its_limit_and_is_told_before() {
    let dataset = many(30);
    let target = Scripted { cost: 1_000, ..Scripted::default() };
    let options = RunOptions { max_cost: Some(10_000), concurrency: 1, ..RunOptions::default() };
    let (cases, estimate) = evals::estimate(&dataset, &target, &options).unwrap();
    assert_eq!((cases, estimate.prompt_tokens, estimate.cost), (30, 3_000, Some(30_000)));
    assert_eq!(target.asked.load(Ordering::SeqCst), 0);
    let report = report_with(&dataset, &target, &options).await;
    assert_eq!((report.ended, report.cases.len(), report.cost), (Ended::MaxCost, 10, 10_000));
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_case_that_hangs_is_a_failure_and_cases_begin_at_even_distances() {
    let dataset = many(3);
    let target = Scripted { hangs: Some("c001".to_owned()), ..Scripted::default() };
    let options = RunOptions {
        timeout: Duration::from_millis(50),
        per_minute: Some(1_200),
        ..RunOptions::default()
    };
    let began = Instant::now();
    let report = report_with(&dataset, &target, &options).await;
    assert!(began.elapsed() >= Duration::from_millis(100), "50 ms between two of three");
    assert_eq!(report.errors, 1);
    let error = report.cases[1].error.as_ref().unwrap();
    assert_eq!(error.code, "TIMEOUT");
}
