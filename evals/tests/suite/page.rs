//! The page of a report, in a real browser at two widths.

use std::path::Path;
use std::process::{Command, Stdio};

use domain::Lang;
use evals::observation::Cited;
use evals::report::page;
use evals::{Report, RunOptions, run};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::world::{builtin, tienda, world};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the browser sees of a page.
fn opened(page: &str) -> Value {
    let output =
        Command::new(root().join("../scripts/test-browser.sh")).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there is no browser: {errors}");
    let ready = String::from_utf8(output.stdout).unwrap();
    let (clients, browser) = ready.trim().split_once('\n').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, page).unwrap();
    let output = Command::new("node")
        .arg(root().join("tests/clients/page.mjs"))
        .env("CLIENTS", clients)
        .env("BROWSER", browser)
        .env("PAGE", &file)
        .env("OUT", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for name in ["desktop", "phone", "desktop-cases", "phone-cases"] {
        let picture = std::fs::read(folder.path().join(format!("{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}");
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run in which one answer states what its passage does not, one question holds markup, and one case failed.
async fn troubled() -> Report {
    let mut dataset = tienda();
    "<script>alert(1)</script><img src=x onerror=alert(2)> ¿Qué?"
        .clone_into(&mut dataset.cases[1].input);
    let world = world(&dataset).await;
    let target = builtin(&world);
    let (options, cancel) = (RunOptions::default(), CancellationToken::new());
    let mut outcome = run(&dataset, &target, &options, &|_| (), &cancel).await.unwrap();
    world.close().await;
    let first = outcome.rows[0].observation.as_mut().unwrap();
    assert!(first.citations.as_ref().is_some_and(|cited: &Vec<Cited>| !cited.is_empty()));
    first.answer.push_str(" Y cuesta 99.999 pesos.");
    let last = outcome.rows.last_mut().unwrap();
    last.observation = None;
    last.error = Some(evals::Failure::new("UNAVAILABLE", "it is not there"));
    Report::of(&dataset, &outcome, "2026-11-21T00:00:00Z".to_owned())
}

#[tokio::test]
async fn a_page_is_pleasant_at_both_widths_and_loads_and_runs_nothing() {
    let report = troubled().await;
    let seen = opened(&page(&report, Lang::Es).unwrap());
    for width in ["desktop", "phone"] {
        let seen = &seen[width];
        assert_eq!(seen["overflow"], 0, "{width}: nothing is wider than the window");
        assert_eq!(seen["clipped"], 0, "{width}");
        assert_eq!((&seen["requests"], seen["problems"].as_array().unwrap().len()), (&1.into(), 0));
        assert_eq!(seen["cases"], report.cases.len());
        assert!(seen["title"].as_str().unwrap().contains("tienda"));
        let plots = seen["plots"].as_array().unwrap();
        assert_eq!(plots.len(), 3, "{plots:?}");
        assert!(plots.iter().all(|plot| plot["width"].as_f64().unwrap() > 250.0), "{plots:?}");
        assert!(seen["first"].as_str().unwrap().contains(&report.cases.last().unwrap().input));
        assert_eq!(seen["open"], true, "the worst case is open");
        assert_eq!(seen["claims"], serde_json::json!(["99.999"]));
        assert!(!seen["marks"].as_array().unwrap().is_empty(), "what is cited is marked");
        let failing = report.cases.iter().filter(|case| !case.passed()).count();
        assert_eq!(seen["failing"], failing, "{width}: only what fails is left");
        let text = seen["text"].as_str().unwrap();
        assert!(text.contains("no dice nada sobre la calidad"), "one of few failed: {text}");
        assert!(text.contains("<script>alert(1)</script>"), "markup is text");
    }
    assert_eq!(
        (&seen["phone"]["columns"], seen["desktop"]["columns"].as_u64() > Some(3)),
        (&2.into(), true)
    );
}

#[tokio::test]
async fn a_page_speaks_three_languages() {
    let report = troubled().await;
    for (lang, words) in [
        (Lang::Es, ["lang=\"es\"", "Casos, los peores primero", "dijo que no sabe"]),
        (Lang::En, ["lang=\"en\"", "Cases, worst first", "said it does not know"]),
        (Lang::Pt, ["lang=\"pt\"", "Casos, os piores primeiro", "disse que não sabe"]),
    ] {
        let html = page(&report, lang).unwrap();
        for word in words {
            assert!(html.contains(word), "{lang}: {word}");
        }
        assert!(!html.contains("<script") && !html.contains("<img"), "{lang}: markup is text");
    }
}
