//! A report for a pull request.

use std::fmt::Write as _;

use super::table::shown;
use super::{CaseReport, Report};

/// Cases that are listed.
const WORST: usize = 10;

/// The metrics as a table, the slices, and the worst cases.
pub fn markdown(report: &Report) -> String {
    let dataset = &report.dataset;
    let mut text = format!(
        "## {}\n\n{} cases, {} passages, version `{}`; {} **{}**, settings `{}`; {}\n",
        cell(&dataset.name),
        report.cases.len(),
        dataset.passages,
        dataset.version,
        report.target.kind,
        cell(&report.target.name),
        report.config_hash,
        report.created_at,
    );
    if !report.is_sound() {
        let _ = write!(
            text,
            "\n> **This run says nothing about quality**: {} of {} cases failed; it ended {:?}.\n",
            report.errors,
            report.cases.len(),
            report.ended,
        );
    }
    text.push_str("\n| metric | value | 95 % interval | cases |\n|---|---:|---:|---:|\n");
    for metric in &report.metrics {
        let (name, interval) = (&metric.name, &metric.interval);
        let _ = writeln!(
            text,
            "| {name} | {} | {} – {} | {} |",
            shown(name, interval.value),
            shown(name, interval.low),
            shown(name, interval.high),
            interval.count,
        );
    }
    slices(report, &mut text);
    let mut worst: Vec<&CaseReport> = report.cases.iter().filter(|case| !case.passed()).collect();
    worst.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
    if !worst.is_empty() {
        let _ =
            write!(text, "\n### Worst cases ({} of {})\n\n", worst.len().min(WORST), worst.len());
        for case in worst.iter().take(WORST) {
            let came = case.error.as_ref().map_or_else(
                || case.outcome.map_or("nothing", crate::Outcome::name).to_owned(),
                |error| format!("failed: {}", cell(&error.message)),
            );
            let (id, input) = (cell(&case.id), cell(&case.input));
            let _ = writeln!(text, "- `{id}` {input}: expected {}, {came}", case.expect);
        }
    }
    text
}

/// The metrics that slices are compared by.
const SLICED: [&str; 5] = ["ndcg@10", "recall@5", "answered", "containment", "extract_containment"];

fn slices(report: &Report, text: &mut String) {
    if report.slices.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| slice | cases | {} |", SLICED.join(" | "));
    let _ = writeln!(text, "|---|---:|{}", "---:|".repeat(SLICED.len()));
    for slice in &report.slices {
        let values = SLICED.map(|name| {
            let found = slice.metrics.iter().find(|metric| metric.name == name);
            found.map_or_else(|| "–".to_owned(), |metric| shown(name, metric.interval.value))
        });
        let name = cell(&slice.name);
        let _ =
            writeln!(text, "| {} {name} | {} | {} |", slice.by, slice.count, values.join(" | "));
    }
}

/// A text that breaks no table and makes no markup.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '[' | ']' | '*' | '_' | '`' | '\\' => {
                cell.push('\\');
                cell.push(c);
            }
            '\n' | '\r' => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}
