//! What a dataset of a workspace may hold.

use std::path::Path;

use crate::dataset::{Case, Dataset, Relevant};
use crate::error::EvalError;

/// Cases of a dataset.
pub const MOST_CASES: usize = 5_000;
/// Bytes of its cases as JSON lines.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Characters of what a customer says, as in a chat, and of other texts.
const MOST_TEXT: usize = 8_000;
/// Characters of ids, tags and kinds.
const MOST_NAME: usize = 200;
/// Entries of a list of a case.
const MOST_ENTRIES: usize = 500;

/// Checks what is said of every case, and how much it is in all. Bad input is told with `file`, the number of the case as
/// its line, field and remedy.
pub(super) fn check(dataset: &Dataset, file: &Path) -> Result<(), EvalError> {
    if dataset.cases.len() > MOST_CASES {
        let problem = format!("there are {} cases", dataset.cases.len());
        let remedy = format!("keep to {MOST_CASES}, or make two datasets");
        return Err(EvalError::input(file, problem, remedy));
    }
    if dataset.to_lines()?.len() > MOST_BYTES {
        let problem = format!("the cases are larger than {MOST_BYTES} bytes");
        return Err(EvalError::input(file, problem, "make two datasets"));
    }
    for (at, case) in dataset.cases.iter().enumerate() {
        check_case(case).map_err(|wrong| {
            EvalError::line(file, at + 1, Some(&wrong.field), wrong.problem, wrong.remedy)
        })?;
    }
    Ok(())
}

struct Wrong {
    field: String,
    problem: String,
    remedy: String,
}

fn check_case(case: &Case) -> Result<(), Wrong> {
    text("id", &case.id, MOST_NAME)?;
    text("input", &case.input, MOST_TEXT)?;
    let said: Vec<&str> = case.history.iter().map(|said| &*said.text).collect();
    list("history", &said, MOST_TEXT)?;
    text("lang", case.lang.as_deref().unwrap_or("es"), MOST_NAME)?;
    list("answers", &strings(&case.answers), MOST_TEXT)?;
    let relevant = case.relevant.iter().map(|relevant| match relevant {
        Relevant::Id(id) | Relevant::Graded { id, .. } => &**id,
        Relevant::Text { must_contain } => must_contain,
    });
    list("relevant", &relevant.collect::<Vec<_>>(), MOST_TEXT)?;
    list("must_not", &strings(&case.must_not), MOST_TEXT)?;
    list("tags", &strings(&case.tags), MOST_NAME)?;
    text("kind", case.kind.as_deref().unwrap_or("x"), MOST_NAME)
}

fn strings(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn list(field: &str, texts: &[&str], most: usize) -> Result<(), Wrong> {
    if texts.len() > MOST_ENTRIES {
        let problem = format!("has {} entries", texts.len());
        let remedy = format!("keep to {MOST_ENTRIES}");
        return Err(Wrong { field: field.to_owned(), problem, remedy });
    }
    for (at, entry) in texts.iter().enumerate() {
        text(&format!("{field}[{at}]"), entry, most)?;
    }
    Ok(())
}

fn text(field: &str, text: &str, most: usize) -> Result<(), Wrong> {
    let wrong =
        |problem: String, remedy: String| Err(Wrong { field: field.to_owned(), problem, remedy });
    if text.trim().is_empty() {
        return wrong("is empty".to_owned(), "write something, or leave it out".to_owned());
    }
    let count = text.chars().count();
    if count > most {
        return wrong(format!("has {count} characters"), format!("keep to {most}"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return wrong("has a control character".to_owned(), "remove it".to_owned());
    }
    Ok(())
}
