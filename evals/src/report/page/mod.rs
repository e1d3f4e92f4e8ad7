//! One page that holds everything and loads nothing.

mod pieces;
mod plots;

use std::sync::LazyLock;

use domain::Lang;
use minijinja::{Environment, context};
use serde_json::{Value, json};

use self::pieces::case_view;
use super::table::shown;
use super::{CaseReport, MetricValue, Report, judged};
use crate::EvalError;
use crate::metrics::{Group, find};

/// Cases that are shown with everything, at most; the worst.
const MOST: usize = 300;
/// The metrics of the summary, in this order, where they have a value.
const CARDS: [&str; 12] = [
    "answered",
    "containment",
    "extract_containment",
    "false_answer",
    "ndcg@10",
    "recall@5",
    "citation_precision",
    "citations_valid",
    "unsupported",
    "faithfulness",
    "auroc",
    "total_ms_p95",
];
/// The metrics that parts are compared by, the first three that have a value.
const PARTS: [&str; 4] = ["ndcg@10", "answered", "containment", "extract_containment"];

static WORDS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("words.json")).expect("the catalogue is part of the program")
});

/// The report as one HTML page in `lang`: summary with intervals, plots, parts, every metric, and the cases, worst
/// first. It holds no script and loads nothing.
pub fn page(report: &Report, lang: Lang) -> Result<String, EvalError> {
    let words = match lang {
        Lang::En => &WORDS["en"],
        Lang::Pt => &WORDS["pt"],
        Lang::Es | Lang::Other => &WORDS["es"],
    };
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html"))?;
    let template = environment.get_template("page.html")?;
    let mut cases: Vec<&CaseReport> = report.cases.iter().collect();
    cases.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
    let all = cases.len();
    cases.truncate(MOST);
    let word = |name: &str| words[name].as_str().unwrap_or_default();
    let shown_of = (all > cases.len()).then(|| {
        let count = cases.len().to_string();
        word("shown_of").replace("{n}", &count).replace("{all}", &all.to_string())
    });
    let unsound = (!report.is_sound()).then(|| {
        let failed = report.errors.to_string();
        word("unsound").replace("{n}", &failed).replace("{all}", &all.to_string())
    });
    let part_metrics = part_metrics(report);
    let views: Vec<Value> =
        cases.iter().enumerate().map(|(at, case)| case_view(case, at, words)).collect();
    Ok(template.render(context! {
        w => words,
        style => include_str!("style.css"),
        report => json!({
            "dataset": report.dataset,
            "target": report.target,
            "config_hash": report.config_hash,
            "created_at": report.created_at,
            "count": all,
        }),
        unsound => unsound,
        cards => cards(report, words),
        plots => plots_of(report, words),
        part_metrics => part_metrics.iter().map(|name| label(name, words)).collect::<Vec<_>>(),
        parts => parts(report, &part_metrics, words),
        groups => groups(report, words),
        failed => cases.iter().filter(|case| !case.passed()).count(),
        shown_of => shown_of,
        cases => views,
    })?)
}

/// A metric's name in the language of the page, with its quantile or kind.
fn label(name: &str, words: &Value) -> String {
    let own = find(name).and_then(|metric| words["metrics"][metric.name].as_str());
    let Some(own) = own else { return name.to_owned() };
    if let Some((_, kind)) = name.split_once('/') {
        return format!("{own} · {kind}");
    }
    let quantile = ["p50", "p95"].into_iter().find(|quantile| name.ends_with(quantile));
    quantile.map_or_else(|| own.to_owned(), |quantile| format!("{own} · {quantile}"))
}

fn metric_view(metric: &MetricValue, words: &Value) -> Value {
    let (name, interval) = (&metric.name, &metric.interval);
    json!({
        "name": label(name, words),
        "key": name,
        "value": shown(name, interval.value),
        "low": shown(name, interval.low),
        "high": shown(name, interval.high),
        "count": interval.count,
    })
}

fn percent(share: f64) -> String {
    format!("{:.1}", share.clamp(0.0, 1.0) * 100.0)
}

fn cards(report: &Report, words: &Value) -> Vec<Value> {
    let mut cards = Vec::new();
    for wanted in CARDS {
        let Some(metric) = report.metrics.iter().find(|metric| metric.name == wanted) else {
            continue;
        };
        let interval = &metric.interval;
        // Milliseconds have no natural end.
        let most = if wanted.contains("_ms") { interval.high.max(1e-9) * 1.2 } else { 1.0 };
        let mut card = metric_view(metric, words);
        card["left"] = percent(interval.low / most).into();
        card["width"] = percent((interval.high - interval.low) / most).into();
        card["at"] = percent(interval.value / most).into();
        cards.push(card);
    }
    cards
}

fn groups(report: &Report, words: &Value) -> Vec<Value> {
    let order = [
        (Group::Retrieval, "retrieval"),
        (Group::Abstention, "abstention"),
        (Group::Answer, "answer"),
        (Group::Citations, "citations"),
        (Group::Judge, "judge"),
        (Group::Cost, "cost"),
    ];
    let mut groups = Vec::new();
    for (group, name) in order {
        let is_of = |metric: &&MetricValue| find(&metric.name).is_some_and(|m| m.group == group);
        let metrics: Vec<Value> =
            report.metrics.iter().filter(is_of).map(|metric| metric_view(metric, words)).collect();
        if !metrics.is_empty() {
            groups.push(json!({ "name": words["groups"][name], "metrics": metrics }));
        }
    }
    groups
}

fn part_metrics(report: &Report) -> Vec<&'static str> {
    PARTS.into_iter().filter(|name| report.metric(name).is_some()).take(3).collect()
}

fn parts(report: &Report, metrics: &[&str], words: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    for slice in &report.slices {
        let mut bars = Vec::new();
        for (wanted, colour) in metrics.iter().zip(["a", "b", "c"]) {
            let found = slice.metrics.iter().find(|metric| metric.name == *wanted);
            bars.extend(found.map(|metric| {
                let mut bar = metric_view(metric, words);
                bar["width"] = percent(metric.interval.value).into();
                bar["colour"] = colour.into();
                bar
            }));
        }
        if !bars.is_empty() {
            parts.push(json!({ "name": slice.name, "count": slice.count, "bars": bars }));
        }
    }
    parts
}

fn plots_of(report: &Report, words: &Value) -> Vec<Value> {
    let word = |name: &str| words[name].as_str().unwrap_or_default();
    let cases: Vec<&CaseReport> = report.cases.iter().collect();
    let judged = judged(&cases);
    let threshold =
        report.cases.iter().find_map(|case| case.details.as_ref()?.observation.as_ref()?.threshold);
    let mut plots = Vec::new();
    let mut add = |name: &str, svg: String| {
        let about = word(&format!("{name}_about"));
        plots.push(json!({ "title": word(name), "about": about, "svg": svg }));
    };
    if report.risk_coverage.len() > 1 {
        let labels = [word("risk_coverage"), word("coverage"), word("risk")];
        add("risk_coverage", plots::risk_coverage(&report.risk_coverage, threshold, labels));
    }
    if !judged.is_empty() {
        let labels = [word("evidence"), word("answerable"), word("unanswerable")];
        add("evidence", plots::evidence(&judged, threshold, labels));
    }
    let times: Vec<f64> =
        report.cases.iter().filter_map(|case| case.scores.get("total_ms").copied()).collect();
    if !times.is_empty() {
        add("latency", plots::latency(&times, word("latency")));
    }
    plots
}
