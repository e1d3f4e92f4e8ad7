//! JUnit XML, as build servers show it.

use std::fmt::Write as _;

use super::Report;
use super::table::shown;

/// One test a case, failed where what was expected did not come.
pub fn junit(report: &Report) -> String {
    let failures =
        report.cases.iter().filter(|case| case.error.is_none() && !case.passed()).count();
    let seconds: f64 =
        report.cases.iter().filter_map(|case| case.scores.get("total_ms")).sum::<f64>() / 1e3;
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escaped(&report.dataset.name);
    let _ = writeln!(
        text,
        "<testsuites><testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" time=\"{seconds:.3}\">",
        report.cases.len(),
        report.errors,
    );
    for case in &report.cases {
        let time = case.scores.get("total_ms").copied().unwrap_or_default() / 1e3;
        let id = escaped(&case.id);
        let _ = write!(text, "<testcase classname=\"{name}\" name=\"{id}\" time=\"{time:.3}\">");
        if let Some(error) = &case.error {
            let (code, message) = (escaped(&error.code), escaped(&error.message));
            let _ = write!(text, "<error type=\"{code}\" message=\"{message}\"/>");
        } else if !case.passed() {
            let outcome = case.outcome.map_or("nothing", crate::Outcome::name);
            let message = format!("expected {}, got {outcome}", case.expect);
            let scores: Vec<String> = case
                .scores
                .iter()
                .map(|(name, value)| format!("{name} {}", shown(name, *value)))
                .collect();
            let body = escaped(&format!("{}\n{}", case.input, scores.join("\n")));
            let _ = write!(text, "<failure message=\"{message}\">{body}</failure>");
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite></testsuites>\n");
    text
}

/// For attributes and text; control characters, which XML cannot hold, are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
