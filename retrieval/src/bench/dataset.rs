//! Reading a set: `corpus.jsonl`, `queries*.jsonl` with their `qrels*.tsv`, `unanswerable.jsonl`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::BenchError;

/// A passage of the corpus.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Passage {
    pub(super) id: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) text: String,
    /// ISO 639-1; told from the text when absent.
    pub(super) lang: Option<String>,
}

/// A question.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Query {
    pub(super) id: String,
    pub(super) text: String,
    #[serde(default)]
    pub(super) answers: Vec<String>,
    /// `long`: the answers are sentences of a person, which no passage holds.
    pub(super) form: Option<String>,
    /// Where the question comes from; sets that mix origins are also measured by origin.
    pub(super) origin: Option<String>,
    /// Why it cannot be answered.
    pub(super) kind: Option<String>,
}

/// The passages that are relevant to a question.
pub(super) type Qrels = BTreeMap<String, BTreeSet<String>>;

/// Questions of one style, with what is relevant to them.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// `clean`, or what stands between `queries.` and `.jsonl`.
    pub(super) name: String,
    pub(super) queries: Vec<Query>,
    pub(super) qrels: Qrels,
}

/// A set.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub(super) name: String,
    pub(super) corpus: Vec<Passage>,
    pub(super) styles: Vec<Style>,
    pub(super) unanswerable: Vec<Query>,
}

impl Dataset {
    /// Reads a folder. Every `queries.jsonl` and `queries.<style>.jsonl` becomes a style.
    pub(super) fn read(folder: &Path) -> Result<Self, BenchError> {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut styles = Vec::new();
        let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in &files {
            let file_name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(middle) =
                file_name.strip_prefix("queries").and_then(|n| n.strip_suffix("jsonl"))
            else {
                continue;
            };
            let style = middle.trim_matches('.');
            styles.push(Style {
                name: if style.is_empty() { "clean".to_owned() } else { style.to_owned() },
                queries: lines(file)?,
                qrels: qrels(&folder.join(format!("qrels{middle}tsv")))?,
            });
        }
        let unanswerable = folder.join("unanswerable.jsonl");
        Ok(Self {
            name: name.unwrap_or_default(),
            corpus: lines(&folder.join("corpus.jsonl"))?,
            styles,
            unanswerable: if unanswerable.exists() { lines(&unanswerable)? } else { Vec::new() },
        })
    }
}

impl Dataset {
    /// Puts the questions to the passages of another set, which have the same ids: those questions whose relevant
    /// passages are all there.
    pub(super) fn over(&mut self, folder: &Path) -> Result<(), BenchError> {
        self.corpus = lines(&folder.join("corpus.jsonl"))?;
        let there: BTreeSet<&str> = self.corpus.iter().map(|passage| passage.id.as_str()).collect();
        for style in &mut self.styles {
            style.qrels.retain(|_, relevant| relevant.iter().all(|id| there.contains(id.as_str())));
            style.queries.retain(|query| style.qrels.contains_key(&query.id));
        }
        let other = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        self.name = format!("{} over {}", self.name, other.unwrap_or_default());
        Ok(())
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> BenchError {
    BenchError::Dataset(format!("{}: {error}", path.display()))
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, BenchError> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            let row = serde_json::from_str(line);
            rows.push(
                row.map_err(|error| unreadable(path, &format!("line {}: {error}", number + 1)))?,
            );
        }
    }
    Ok(rows)
}

/// `query-id<TAB>corpus-id<TAB>score` under a header; above 0 is relevant.
fn qrels(path: &Path) -> Result<Qrels, BenchError> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let mut qrels = Qrels::new();
    for line in text.lines().skip(1) {
        let mut columns = line.split('\t');
        let (Some(query), Some(passage), Some(score)) =
            (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        if score.trim().parse::<f64>().is_ok_and(|score| score > 0.0) {
            qrels.entry(query.to_owned()).or_default().insert(passage.to_owned());
        }
    }
    Ok(qrels)
}
