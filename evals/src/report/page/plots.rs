//! Plots, as SVG that needs nothing else. Only numbers and our own words get into them.

use std::fmt::Write as _;

use crate::metrics::{Judged, RiskPoint};
use crate::stats::quantile;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 190.0;
/// Where the axes are.
const LEFT: f64 = 30.0;
const RIGHT: f64 = 310.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 160.0;
/// Bars of a distribution.
const BINS: usize = 24;

fn open(label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        minijinja::HtmlEscape(label)
    )
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = write!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" style=\"{style}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = minijinja::HtmlEscape(words);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

const AXIS: &str = "stroke:var(--line)";
const DASHED: &str = "stroke:var(--warm);stroke-width:1.5;stroke-dasharray:4 3";

fn across(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

/// The risk–coverage curve with the threshold in force.
pub(super) fn risk_coverage(
    points: &[RiskPoint],
    threshold: Option<f64>,
    [label, coverage, risk]: [&str; 3],
) -> String {
    let highest = points.iter().map(|point| point.risk).fold(0.0, f64::max);
    let top = if highest > 0.5 { 1.0 } else { (highest * 10.0).ceil().max(1.0) / 10.0 };
    let up = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let mut svg = open(label);
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        line(&mut svg, (LEFT, up(part * top)), (RIGHT, up(part * top)), AXIS);
        text(&mut svg, (LEFT - 4.0, up(part * top) + 3.0), "end", &format!("{:.2}", part * top));
        text(&mut svg, (across(part), BOTTOM + 14.0), "middle", &format!("{part}"));
    }
    let mut path = String::new();
    for (at, point) in points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.1}", across(point.coverage), up(point.risk));
    }
    let _ =
        write!(svg, "<path d=\"{path}\" style=\"fill:none;stroke:var(--main);stroke-width:2\"/>");
    let in_force = threshold
        .and_then(|threshold| points.iter().rev().find(|point| point.threshold >= threshold));
    if let Some(point) = in_force {
        let (x, y) = (across(point.coverage), up(point.risk));
        let _ =
            write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" style=\"fill:var(--warm)\"/>");
    }
    text(&mut svg, (RIGHT, HEIGHT - 2.0), "end", &format!("{coverage} →"));
    text(&mut svg, (LEFT, HEIGHT - 2.0), "start", &format!("↑ {risk}"));
    svg.push_str("</svg>");
    svg
}

/// The evidence of answerable cases upwards, of unanswerable ones downwards.
pub(super) fn evidence(
    cases: &[Judged],
    threshold: Option<f64>,
    [label, answerable, unanswerable]: [&str; 3],
) -> String {
    let most = cases.iter().map(|case| case.evidence).fold(1.0, f64::max);
    let values = |wanted: bool| -> Vec<f64> {
        let wanted = cases.iter().filter(|case| case.answerable == wanted);
        wanted.map(|case| case.evidence / most).collect()
    };
    let (yes, no) = (shares(&values(true), 1.0), shares(&values(false), 1.0));
    let highest = yes.iter().chain(&no).copied().fold(0.01, f64::max);
    let middle = f64::midpoint(TOP, BOTTOM);
    let mut svg = open(label);
    for (shares, sign, colour) in [(&yes, -1.0, "--good"), (&no, 1.0, "--bad")] {
        for (at, share) in shares.iter().enumerate() {
            let height = share / highest * (middle - TOP);
            let y = if sign < 0.0 { middle - height } else { middle };
            bar(&mut svg, at, y, height, colour);
        }
    }
    line(&mut svg, (LEFT, middle), (RIGHT, middle), AXIS);
    if let Some(threshold) = threshold {
        let x = across(threshold / most);
        line(&mut svg, (x, TOP), (x, BOTTOM), DASHED);
        text(&mut svg, (x, BOTTOM + 14.0), "middle", &format!("{threshold:.2}"));
    }
    text(&mut svg, (LEFT, BOTTOM + 14.0), "start", "0");
    text(&mut svg, (RIGHT, BOTTOM + 14.0), "end", &format!("{most:.0}"));
    text(&mut svg, (LEFT, HEIGHT - 2.0), "start", &format!("↑ {answerable}   ↓ {unanswerable}"));
    svg.push_str("</svg>");
    svg
}

/// Milliseconds to the end of each case; the slowest hundredth is in the last bar.
pub(super) fn latency(values: &[f64], label: &str) -> String {
    let most = quantile(values, 0.99).unwrap_or(1.0).max(0.001);
    let shares = shares(values, most);
    let highest = shares.iter().copied().fold(0.01, f64::max);
    let mut svg = open(label);
    for (at, share) in shares.iter().enumerate() {
        // The words of the two lines stand above.
        let height = share / highest * (BOTTOM - TOP - 26.0);
        bar(&mut svg, at, BOTTOM - height, height, "--main");
    }
    line(&mut svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), AXIS);
    for (share, name, y) in [(0.5, "p50", TOP + 8.0), (0.95, "p95", TOP + 20.0)] {
        let value = quantile(values, share).unwrap_or_default();
        let x = across(value / most);
        line(&mut svg, (x, TOP), (x, BOTTOM), DASHED);
        let (anchor, x) = if value / most > 0.6 { ("end", x - 4.0) } else { ("start", x + 4.0) };
        text(&mut svg, (x, y), anchor, &format!("{name} {value:.1} ms"));
    }
    text(&mut svg, (LEFT, BOTTOM + 14.0), "start", "0");
    text(&mut svg, (RIGHT, BOTTOM + 14.0), "end", &format!("{most:.1} ms"));
    svg.push_str("</svg>");
    svg
}

fn bar(svg: &mut String, at: usize, y: f64, height: f64, colour: &str) {
    let width = (RIGHT - LEFT) / BINS as f64;
    let x = LEFT + at as f64 * width;
    let width = width - 1.0;
    let _ = write!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1.5\" style=\"fill:var({colour});opacity:.85\"/>"
    );
}

/// The shares of the values by bin, from 0 to `most`; what is above is in the last.
fn shares(values: &[f64], most: f64) -> Vec<f64> {
    let mut counts = vec![0.0; BINS];
    for value in values {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let bin = (value / most * BINS as f64).clamp(0.0, (BINS - 1) as f64) as usize;
        counts[bin] += 1.0 / values.len() as f64;
    }
    counts
}
