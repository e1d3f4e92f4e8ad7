//! Files that `trec_eval` reads, so that anyone can check the ranking.

use std::fmt::Write as _;

use super::Report;

/// The passages as a run: `query Q0 passage rank score tag`, a space between. The scores only order: `trec_eval` breaks ties
/// by itself, and ties of ours are in its order already. Of a text that several passages hold, only the first counts here, which
/// `trec_eval` cannot know.
pub fn run_file(report: &Report) -> String {
    let mut text = String::new();
    for case in &report.cases {
        let observation = case.details.as_ref().and_then(|details| details.observation.as_ref());
        let retrieved = observation.and_then(|observation| observation.retrieved.as_deref());
        let retrieved = retrieved.unwrap_or_default();
        for (rank, found) in retrieved.iter().enumerate() {
            let score = retrieved.len() - rank;
            let _ = writeln!(
                text,
                "{} Q0 {} {} {score} vocero",
                word(&case.id),
                word(&found.id),
                rank + 1
            );
        }
    }
    text
}

/// What is relevant: `query 0 passage grade`. Relevant texts have no id and are left out.
pub fn qrels(report: &Report) -> String {
    let mut text = String::new();
    for case in &report.cases {
        let Some(details) = &case.details else { continue };
        for relevant in &details.relevant {
            if let Some(id) = relevant.id() {
                let _ = writeln!(text, "{} 0 {} {}", word(&case.id), word(id), relevant.grade());
            }
        }
    }
    text
}

/// An id without white space, which separates columns.
fn word(id: &str) -> String {
    id.split_whitespace().collect::<Vec<_>>().join("_")
}
