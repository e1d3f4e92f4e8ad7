//! Tables: questions and answers as CSV, and TREC's judgements.

use std::collections::BTreeMap;
use std::path::Path;

use super::folder::graded;
use super::{Case, Dataset, Expect, Form, Relevant, name_of};
use crate::EvalError;

/// What columns may be called, in es, en and pt.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("id", &["id"]),
    ("question", &["question", "pregunta", "pergunta", "input"]),
    ("answer", &["answer", "respuesta", "resposta", "answers"]),
    ("lang", &["lang", "language", "idioma"]),
    ("expect", &["expect", "espera"]),
    ("tags", &["tags", "etiquetas"]),
    ("must_contain", &["must_contain"]),
];

/// Reads a CSV file with a header: `question` and `answer` (also in Spanish and Portuguese), and where they are there `id`,
/// `lang`, `expect`, `tags` (with `|` between them) and `must_contain`, what a relevant passage says. Several accepted
/// answers have `|` between them; a row without an answer should be abstained on.
pub fn read_csv(path: &Path) -> Result<Dataset, EvalError> {
    let bytes = std::fs::read(path).map_err(EvalError::file(path))?;
    parse_csv(path, &name_of(path), &bytes)
}

/// As [`read_csv`], of what a file holds.
pub(super) fn parse_csv(path: &Path, name: &str, bytes: &[u8]) -> Result<Dataset, EvalError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let wrong = |error: &csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        let line = usize::try_from(line).unwrap_or(usize::MAX);
        EvalError::line(path, line, None, error.to_string(), "check the quotes of this row")
    };
    let header = reader.headers().map_err(|error| wrong(&error))?.clone();
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, name) in header.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}').to_lowercase();
        let known = COLUMNS.iter().find(|(_, names)| names.contains(&name.as_str()));
        if let Some((column, _)) = known {
            columns.insert(column, at);
        }
    }
    if !columns.contains_key("question") {
        let remedy = "name the columns question and answer in the first row";
        return Err(EvalError::line(path, 1, Some("question"), "there is no such column", remedy));
    }
    let mut cases = Vec::new();
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| wrong(&error))?;
        let cell = |column: &str| {
            let text = columns.get(column).and_then(|at| record.get(*at)).unwrap_or_default();
            (!text.is_empty()).then_some(text)
        };
        let listed = |column: &str| -> Vec<String> {
            let parts = cell(column).unwrap_or_default().split('|').map(str::trim);
            parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let answers = listed("answer");
        let expect = match cell("expect") {
            None if answers.is_empty() && columns.contains_key("answer") => Expect::Abstain,
            None => Expect::Answer,
            Some(text) => parse_expect(text).ok_or_else(|| {
                let remedy = "write answer, abstain, clarify or handoff";
                let problem = format!("{text} is not known");
                EvalError::line(path, at + 2, Some("expect"), problem, remedy)
            })?,
        };
        // What people type into tables are sentences, unless they are very short.
        let long = answers.iter().all(|answer| answer.split_whitespace().count() > 6);
        let number = at + 1;
        cases.push(Case {
            id: cell("id").map_or_else(|| format!("{name}-{number}"), str::to_owned),
            input: cell("question").unwrap_or_default().to_owned(),
            history: Vec::new(),
            lang: cell("lang").map(str::to_owned),
            expect,
            form: if long && !answers.is_empty() { Form::Long } else { Form::Short },
            answers,
            relevant: listed("must_contain")
                .into_iter()
                .map(|must_contain| Relevant::Text { must_contain })
                .collect(),
            must_not: Vec::new(),
            tags: listed("tags"),
            kind: (expect == Expect::Abstain).then(|| "unanswerable".to_owned()),
        });
    }
    Ok(Dataset { name: name.to_owned(), cases, corpus: Vec::new() })
}

fn parse_expect(text: &str) -> Option<Expect> {
    let all = [Expect::Answer, Expect::Abstain, Expect::Clarify, Expect::Handoff];
    all.into_iter().find(|expect| expect.name() == text)
}

/// Reads TREC judgements (`question 0 passage grade`, white space between) and questions (`id<TAB>text`). Questions without
/// a judgement are left out.
pub fn read_trec(qrels: &Path, queries: &Path) -> Result<Dataset, EvalError> {
    let text = std::fs::read_to_string(qrels).map_err(EvalError::file(qrels))?;
    let mut judged: BTreeMap<&str, Vec<Relevant>> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [query, _, passage, grade] = columns[..] else {
            if columns.is_empty() {
                continue;
            }
            let remedy = "write question, 0, passage and grade";
            let problem = format!("there are {} columns, not 4", columns.len());
            return Err(EvalError::line(qrels, at + 1, None, problem, remedy));
        };
        let grade: f64 = grade.parse().map_err(|_| {
            EvalError::line(qrels, at + 1, Some("grade"), "is no number", "write 0, 1, 2 …")
        })?;
        let relevant = judged.entry(query).or_default();
        if grade > 0.0 {
            relevant.push(graded(passage, grade));
        }
    }
    let text = std::fs::read_to_string(queries).map_err(EvalError::file(queries))?;
    let mut cases = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((id, input)) = line.split_once('\t') else {
            let remedy = "write the id, a tab and the question";
            return Err(EvalError::line(queries, at + 1, None, "there is no tab", remedy));
        };
        let relevant = judged.remove(id).unwrap_or_default();
        if relevant.is_empty() {
            continue;
        }
        cases.push(Case {
            id: id.to_owned(),
            input: input.trim().to_owned(),
            history: Vec::new(),
            lang: None,
            expect: Expect::Answer,
            answers: Vec::new(),
            form: Form::Short,
            relevant,
            must_not: Vec::new(),
            tags: Vec::new(),
            kind: None,
        });
    }
    Ok(Dataset { name: name_of(qrels), cases, corpus: Vec::new() })
}
