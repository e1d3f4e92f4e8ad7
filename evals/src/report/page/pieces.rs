//! A case as the page shows it: texts in pieces, so that what is marked is still text to the template, which escapes it.

use serde_json::{Value, json};

use super::percent;
use crate::dataset::Relevant;
use crate::metrics::{Direction, Group, find, gains};
use crate::observation::{Cited, Found, Observation, Outcome, Step};
use crate::report::table::shown;
use crate::report::{CaseReport, Details};

/// Passages that are shown, beside those that are cited or relevant.
const PASSAGES: usize = 3;

pub(super) fn case_view(case: &CaseReport, at: usize, words: &Value) -> Value {
    let details = case.details.as_deref();
    let observation = details.and_then(|details| details.observation.as_ref());
    let empty = Observation::default();
    let seen = observation.unwrap_or(&empty);
    let retrieved = seen.retrieved.as_deref().unwrap_or_default();
    let cited = seen.citations.as_deref().unwrap_or_default();
    let got = match case.outcome {
        Some(outcome) => words["outcomes"][outcome.name()].clone(),
        None => words["error"].clone(),
    };
    let mut tags: Vec<&str> = case.lang.as_deref().into_iter().collect();
    tags.extend(case.kind.as_deref());
    tags.extend(case.tags.iter().map(String::as_str));
    let would_say = seen.extract.as_deref();
    let would_say =
        would_say.filter(|_| case.outcome != Some(Outcome::Answered) || seen.answer.is_empty());
    let evidence = seen.evidence.map(|evidence| {
        let text = words["evidence_of"].as_str().unwrap_or_default();
        let threshold =
            seen.threshold.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        text.replace("{e}", &format!("{evidence:.2}")).replace("{t}", &threshold)
    });
    json!({
        "id": case.id,
        "anchor": format!("c{at}"),
        "passed": case.passed(),
        "input": case.input,
        "tags": tags,
        "expected": words["expects"][case.expect.name()],
        "got": got,
        "history": details.map(|details| &details.history),
        "error": case.error,
        "answer": answer(case, seen, at),
        "would_say": would_say,
        "accepted": details.map(|details| &details.answers),
        "missing": details.map(|details| missing(details, retrieved)),
        "evidence": evidence,
        "passages": passages(details, retrieved, cited, at),
        "scores": scores(case),
        "steps": steps(&seen.steps),
    })
}

/// The answer with its markers and what is unsupported in it.
fn answer(case: &CaseReport, seen: &Observation, at: usize) -> Vec<Value> {
    let mut pieces = Vec::new();
    let mut rest = seen.answer.as_str();
    while !rest.is_empty() {
        let claim = case.unsupported.iter().filter(|claim| !claim.is_empty());
        let claim = claim.filter_map(|claim| Some((rest.find(claim.as_str())?, claim.len())));
        let claim = claim.min_by_key(|(from, _)| *from);
        let marker = marker(rest);
        let next = match (claim, marker) {
            (Some((from, length)), Some((other, _))) if from < other => (from, length, "claim"),
            (Some((from, length)), None) => (from, length, "claim"),
            (_, Some((from, length))) => (from, length, "marker"),
            (None, None) => (rest.len(), 0, "text"),
        };
        let (from, length, kind) = next;
        if from > 0 {
            pieces.push(json!({ "kind": "text", "text": &rest[..from] }));
        }
        if length > 0 {
            let text = &rest[from..from + length];
            let number = text.trim_matches(['[', ']']);
            pieces.push(json!({ "kind": kind, "text": text, "to": format!("c{at}m{number}") }));
        }
        rest = &rest[from + length..];
    }
    pieces
}

/// Where the next `[n]` is, and how long.
fn marker(text: &str) -> Option<(usize, usize)> {
    text.match_indices('[').find_map(|(at, _)| {
        let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let closed = text.as_bytes().get(at + 1 + digits) == Some(&b']');
        (digits > 0 && closed).then_some((at, digits + 2))
    })
}

/// What is relevant and was not found.
fn missing(details: &Details, retrieved: &[Found]) -> Vec<String> {
    let is_missing = |relevant: &&Relevant| {
        let one = std::slice::from_ref(*relevant);
        gains(retrieved, one, usize::MAX).ranked.iter().all(|gain| *gain <= 0.0)
    };
    let name = |relevant: &Relevant| match relevant {
        Relevant::Text { must_contain } => format!("«{must_contain}»"),
        Relevant::Id(id) | Relevant::Graded { id, .. } => id.clone(),
    };
    details.relevant.iter().filter(is_missing).map(name).collect()
}

fn passages(
    details: Option<&Details>,
    retrieved: &[Found],
    cited: &[Cited],
    at: usize,
) -> Vec<Value> {
    let relevant = details.map(|details| details.relevant.as_slice()).unwrap_or_default();
    let gains = gains(retrieved, relevant, usize::MAX).ranked;
    let mut shown = Vec::new();
    for (rank, found) in retrieved.iter().enumerate() {
        let is_relevant = gains.get(rank).is_some_and(|gain| *gain > 0.0);
        let citation = cited.iter().find(|one| one.id == found.id);
        if rank >= PASSAGES && !is_relevant && citation.is_none() {
            continue;
        }
        let anchor = citation.map(|one| format!("c{at}m{}", one.marker));
        let quotes = cited.iter().filter(|one| one.id == found.id);
        shown.push(json!({
            "rank": rank + 1,
            "id": found.id,
            "title": found.title,
            "score": format!("{:.3}", found.score),
            "relevant": is_relevant,
            "cited": citation.map(|one| one.marker),
            "anchor": anchor.unwrap_or_else(|| format!("c{at}p{rank}")),
            "pieces": marked(&found.text, quotes.map(|one| one.quote.as_str())),
        }));
    }
    shown
}

/// The passage with its quotes marked, where they stand in it word for word.
fn marked<'a>(text: &str, quotes: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let mut spans: Vec<(usize, usize)> = quotes
        .filter(|quote| !quote.is_empty())
        .filter_map(|quote| text.find(quote).map(|from| (from, from + quote.len())))
        .collect();
    spans.sort_unstable();
    let (mut pieces, mut at) = (Vec::new(), 0);
    for (from, to) in spans {
        if from < at {
            continue;
        }
        pieces.push(json!({ "kind": "text", "text": &text[at..from] }));
        pieces.push(json!({ "kind": "mark", "text": &text[from..to] }));
        at = to;
    }
    pieces.push(json!({ "kind": "text", "text": &text[at..] }));
    pieces
}

fn scores(case: &CaseReport) -> Vec<Value> {
    let score = |(name, value): (&String, &f64)| {
        let metric = find(name);
        let is_bad =
            metric.filter(|metric| metric.group != Group::Cost).is_some_and(|metric| match metric
                .direction
            {
                Direction::Higher => *value < 0.5,
                Direction::Lower => *value > 0.5,
            });
        json!({ "name": name, "value": shown(name, *value), "bad": is_bad })
    };
    case.scores.iter().filter(|(name, _)| !name.contains('/')).map(score).collect()
}

fn steps(steps: &[Step]) -> Vec<Value> {
    let end = |step: &Step| step.start_ms.unwrap_or(0.0) + step.ms.unwrap_or(0.0);
    let all = steps.iter().map(end).fold(1e-9, f64::max);
    let view = |step: &Step| {
        let ms = step.ms?;
        Some(json!({
            "name": step.name,
            "left": percent(step.start_ms.unwrap_or(0.0) / all),
            "width": percent(ms / all),
            "ms": format!("{ms:.1}"),
        }))
    };
    steps.iter().filter_map(view).collect()
}
