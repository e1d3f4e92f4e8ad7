//! Folders of passages and judged questions, and BEIR's.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::lines::read_lines;
use super::{Case, Dataset, Expect, Form, ReadOptions, Relevant, Said, name_of};
use crate::EvalError;

/// A question as those folders have it.
#[derive(Debug, Deserialize)]
struct Query {
    #[serde(alias = "_id")]
    id: String,
    text: String,
    #[serde(default)]
    answers: Vec<String>,
    lang: Option<String>,
    #[serde(default)]
    form: Form,
    #[serde(default)]
    history: Vec<Said>,
    #[serde(default)]
    tags: Vec<String>,
    origin: Option<String>,
    kind: Option<String>,
    expect: Option<Expect>,
    #[serde(default)]
    must_not: Vec<String>,
}

type Qrels = BTreeMap<String, Vec<Relevant>>;

/// Reads `corpus.jsonl`, `queries.jsonl` (or `queries.<style>.jsonl`) with its `qrels.tsv`, and `unanswerable.jsonl`.
/// Where questions have an origin, `origin:<origin>` becomes a tag.
pub fn read_folder(folder: &Path, options: &ReadOptions) -> Result<Dataset, EvalError> {
    let style = options.style.as_deref().filter(|style| *style != "clean");
    let (queries, qrels) = match style {
        None => (folder.join("queries.jsonl"), folder.join("qrels.tsv")),
        Some(style) => (
            folder.join(format!("queries.{style}.jsonl")),
            folder.join(format!("qrels.{style}.tsv")),
        ),
    };
    let mut qrels = read_qrels(&qrels)?;
    let mut cases = cases_of(&queries, &mut qrels)?;
    let unanswerable = folder.join("unanswerable.jsonl");
    if unanswerable.exists() {
        let queries: Vec<Query> = read_lines(&unanswerable)?;
        for query in queries {
            let expect = query.expect.unwrap_or(Expect::Abstain);
            let kind = (expect == Expect::Abstain)
                .then(|| query.kind.clone().unwrap_or_else(|| "unanswerable".to_owned()));
            // What annotators wrote as an answer says that there is none.
            cases.push(Case { expect, kind, answers: Vec::new(), ..case_of(query, Vec::new()) });
        }
    }
    let mut name = name_of(folder);
    if let Some(style) = style {
        name = format!("{name}.{style}");
    }
    Ok(Dataset { name, cases, corpus: read_lines(&folder.join("corpus.jsonl"))? })
}

/// Reads a BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`. Only judged questions become cases.
pub fn read_beir(folder: &Path, options: &ReadOptions) -> Result<Dataset, EvalError> {
    let split = options.split.as_deref().unwrap_or("test");
    let mut qrels = read_qrels(&folder.join("qrels").join(format!("{split}.tsv")))?;
    let mut cases = cases_of(&folder.join("queries.jsonl"), &mut qrels)?;
    cases.retain(|case| !case.relevant.is_empty());
    Ok(Dataset { name: name_of(folder), cases, corpus: read_lines(&folder.join("corpus.jsonl"))? })
}

fn cases_of(file: &Path, qrels: &mut Qrels) -> Result<Vec<Case>, EvalError> {
    let queries: Vec<Query> = read_lines(file)?;
    let mut cases = Vec::with_capacity(queries.len());
    for query in queries {
        let relevant = qrels.remove(&query.id).unwrap_or_default();
        cases.push(case_of(query, relevant));
    }
    Ok(cases)
}

fn case_of(query: Query, relevant: Vec<Relevant>) -> Case {
    let mut tags = query.tags;
    tags.extend(query.origin.map(|origin| format!("origin:{origin}")));
    Case {
        id: query.id,
        input: query.text,
        history: query.history,
        lang: query.lang,
        expect: query.expect.unwrap_or_default(),
        answers: query.answers,
        form: query.form,
        relevant,
        must_not: query.must_not,
        tags,
        kind: None,
    }
}

/// `query-id<TAB>corpus-id<TAB>score` under a header; above 0 is relevant, and the score is the grade.
fn read_qrels(path: &Path) -> Result<Qrels, EvalError> {
    let text = std::fs::read_to_string(path).map_err(EvalError::file(path))?;
    let mut qrels = Qrels::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |field: &str, problem: &str| {
            let remedy = "write query-id, corpus-id and score with tabs between them";
            EvalError::line(path, at + 1, Some(field), problem, remedy)
        };
        let mut columns = line.split('\t');
        let (Some(query), Some(passage)) = (columns.next(), columns.next()) else {
            return Err(wrong("corpus-id", "is missing"));
        };
        let score = columns.next().ok_or_else(|| wrong("score", "is missing"))?;
        let score: f64 = score.trim().parse().map_err(|_| wrong("score", "is no number"))?;
        if score > 0.0 {
            qrels.entry(query.to_owned()).or_default().push(graded(passage, score));
        }
    }
    Ok(qrels)
}

/// A judgement; grades are whole.
pub(super) fn graded(id: &str, score: f64) -> Relevant {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let grade = score.round().clamp(1.0, 1_000.0) as u32;
    let id = id.to_owned();
    if grade == 1 { Relevant::Id(id) } else { Relevant::Graded { id, grade } }
}
