//! A report for a terminal.

use std::fmt::Write as _;

use super::{MetricValue, Report};
use crate::run::Ended;

/// A value with as many digits as mean something.
pub fn shown(name: &str, value: f64) -> String {
    if name.contains("_ms") {
        format!("{value:.1}")
    } else if name.ends_with("_tokens") {
        format!("{value:.0}")
    } else if name == "cost_usd" {
        format!("{value:.5}")
    } else {
        format!("{value:.3}")
    }
}

/// The metrics with their intervals.
pub fn table(report: &Report) -> String {
    let mut text = format!(
        "{} ({}): {} cases, {} passages; {} {}\n",
        report.dataset.name,
        report.dataset.version,
        report.cases.len(),
        report.dataset.passages,
        report.target.kind,
        report.target.name,
    );
    let _ =
        writeln!(text, "  {:<28} {:>8}  {:>17} {:>6}", "metric", "value", "95 % interval", "cases");
    for MetricValue { name, interval } in &report.metrics {
        let between = format!("{} – {}", shown(name, interval.low), shown(name, interval.high));
        let value = shown(name, interval.value);
        let _ = writeln!(text, "  {name:<28} {value:>8}  {between:>17} {:>6}", interval.count);
    }
    if report.errors > 0 {
        let _ = writeln!(text, "  {} of {} cases failed", report.errors, report.cases.len());
    }
    match report.ended {
        Ended::Complete => {}
        Ended::MaxCost => text.push_str("  stopped: the limit of what it may cost was reached\n"),
        Ended::Cancelled => text.push_str("  stopped before its end\n"),
    }
    text
}
