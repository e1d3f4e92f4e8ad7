//! Cases, the passages that they are asked over, and the files that both are kept in.
//!
//! A dataset is a folder with `cases.jsonl` and, where the cases bring their own knowledge, `corpus.jsonl`; or one
//! `.jsonl` file of cases. One JSON object a line, UTF-8.

mod folder;
mod lines;
mod tables;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::EvalError;

pub use folder::{read_beir, read_folder};
pub(crate) use lines::{parse_lines, read_lines, to_lines};
pub use tables::{read_csv, read_trec};

/// Cases and, where they bring it, their knowledge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// Shown to people: the folder's or file's name.
    pub name: String,
    /// The cases, in their order.
    pub cases: Vec<Case>,
    /// The passages that they are asked over; empty when the target has its own.
    pub corpus: Vec<Passage>,
}

/// A question and what is expected of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique in the dataset.
    pub id: String,
    /// What the customer says.
    pub input: String,
    /// What was said before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Said>,
    /// The customer's language, ISO 639-1; the reply is expected in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// What should happen.
    #[serde(default)]
    pub expect: Expect,
    /// Accepted answers: short ones are looked for in the reply, long ones compared word by word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Whether `answers` are spans that a reply contains, or sentences of a person.
    #[serde(default, skip_serializing_if = "Form::is_short")]
    pub form: Form,
    /// The passages that hold the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relevant: Vec<Relevant>,
    /// Texts that the reply must not contain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_not: Vec<String>,
    /// Slices that the case belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Why it cannot be answered: `absent_topic`, `near_miss`, `adversarial`, `not_in_kb` or a word of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// An earlier message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who said it.
    pub role: Role,
    /// What was said.
    #[serde(alias = "content")]
    pub text: String,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The customer.
    User,
    /// The agent.
    Assistant,
}

/// What should happen with a case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// It is answered.
    #[default]
    Answer,
    /// The agent says that it does not know.
    Abstain,
    /// The agent asks back.
    Clarify,
    /// A person is called.
    Handoff,
}

impl Expect {
    /// As written in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Abstain => "abstain",
            Self::Clarify => "clarify",
            Self::Handoff => "handoff",
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What accepted answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A span of a passage.
    #[default]
    Short,
    /// What a person would say; no passage holds it.
    Long,
}

impl Form {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
    fn is_short(&self) -> bool {
        *self == Self::Short
    }
}

/// A passage that holds the answer: by its id, or by what it says, so that cutting documents otherwise breaks no
/// dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an id, {\"id\", \"grade\"} with a grade above 0, or {\"must_contain\"}"
)]
pub enum Relevant {
    /// The id of a passage, of its chunk, or of its document; or the document's name.
    Id(String),
    /// The same with a grade.
    Graded {
        /// The id.
        id: String,
        /// How relevant: above 0; 1 is the usual.
        grade: u32,
    },
    /// Any passage with this text, accents and case aside.
    Text {
        /// The text.
        must_contain: String,
    },
}

impl Relevant {
    /// How relevant it is; 0 is not.
    pub fn grade(&self) -> u32 {
        match self {
            Self::Graded { grade, .. } => *grade,
            Self::Id(_) | Self::Text { .. } => 1,
        }
    }

    /// Its id; `None` when it is known by its text.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) | Self::Graded { id, .. } => Some(id),
            Self::Text { .. } => None,
        }
    }
}

/// A passage of the knowledge that comes with a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Unique in the dataset.
    #[serde(alias = "_id")]
    pub id: String,
    /// What it stands under.
    #[serde(default)]
    pub title: String,
    /// Its text.
    pub text: String,
    /// ISO 639-1; told from the text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
}

/// How a folder is read that was not written by us.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Of a folder of passages and judged questions: the style of the questions, as in `queries.<style>.jsonl`;
    /// `None` means `queries.jsonl`.
    pub style: Option<String>,
    /// Of a BEIR folder: the judgements, as in `qrels/<split>.tsv`; `None` means `test`.
    pub split: Option<String>,
}

impl Dataset {
    /// Reads a file of cases, a folder with `cases.jsonl`, a folder of passages and judged questions, or a BEIR folder.
    /// Bad input is told with file, line, field and remedy.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, EvalError> {
        let dataset = if path.is_file() {
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("csv") => read_csv(path)?,
                _ => Self { name: name_of(path), cases: read_lines(path)?, corpus: Vec::new() },
            }
        } else if path.join("cases.jsonl").exists() {
            let corpus = path.join("corpus.jsonl");
            Self {
                name: name_of(path),
                cases: read_lines(&path.join("cases.jsonl"))?,
                corpus: if corpus.exists() { read_lines(&corpus)? } else { Vec::new() },
            }
        } else if path.join("qrels").is_dir() {
            read_beir(path, options)?
        } else if path.join("queries.jsonl").exists() {
            read_folder(path, options)?
        } else {
            let remedy = "name a .jsonl file of cases, a .csv file, or a folder with cases.jsonl, or with corpus.jsonl, \
                          queries.jsonl and qrels";
            return Err(EvalError::input(path, "there is no dataset here", remedy));
        };
        dataset.check(path)?;
        Ok(dataset)
    }

    /// Reads what a file of that name holds: a table of questions and answers where the name ends in `.csv`, else a case a
    /// line. Bad input is told as [`Self::read`] tells it.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, EvalError> {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let is_table = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let dataset = if is_table {
            tables::parse_csv(file, &name, bytes)?
        } else {
            Self { name, cases: parse_lines(file, bytes)?, corpus: Vec::new() }
        };
        dataset.check(file)?;
        Ok(dataset)
    }

    /// Cases that were given otherwise than in a file. Bad input is told with the number of the case, from 1, as its line.
    pub fn of_cases(name: &str, cases: Vec<Case>) -> Result<Self, EvalError> {
        let dataset = Self { name: name.to_owned(), cases, corpus: Vec::new() };
        dataset.check_cases(Path::new("cases"))?;
        Ok(dataset)
    }

    /// Its cases, one a line, as [`Self::parse`] reads them.
    pub fn to_lines(&self) -> Result<String, EvalError> {
        to_lines(&self.cases).map_err(EvalError::file(Path::new("cases.jsonl")))
    }

    /// Writes `cases.jsonl` and, if there are passages, `corpus.jsonl` into a folder, which is made.
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        std::fs::create_dir_all(folder).map_err(EvalError::file(folder))?;
        lines::write_lines(&folder.join("cases.jsonl"), &self.cases)?;
        if !self.corpus.is_empty() {
            lines::write_lines(&folder.join("corpus.jsonl"), &self.corpus)?;
        }
        Ok(())
    }

    /// Its version: the first 16 hexadecimal digits of the SHA-256 over cases and passages as they would be written.
    /// The name does not count.
    pub fn version(&self) -> String {
        let mut hash = Sha256::new();
        for case in &self.cases {
            hash.update(serde_json::to_vec(case).unwrap_or_default());
            hash.update(b"\n");
        }
        hash.update(b"\0");
        for passage in &self.corpus {
            hash.update(serde_json::to_vec(passage).unwrap_or_default());
            hash.update(b"\n");
        }
        hex::encode(&hash.finalize()[..8])
    }

    /// Keeps of the cases that should be answered those with the tag; the others stay.
    pub fn keep_tag(&mut self, tag: &str) {
        self.cases.retain(|case| {
            case.expect != Expect::Answer || case.tags.iter().any(|known| known == tag)
        });
    }

    /// Puts the cases to the passages of another dataset with the same ids, as those of another language: those cases
    /// that should be answered are kept whose relevant passages are all there.
    pub fn over(&mut self, other: Self) {
        let there: BTreeSet<&str> =
            other.corpus.iter().map(|passage| passage.id.as_str()).collect();
        self.cases.retain(|case| {
            let mut ids = case.relevant.iter().filter_map(Relevant::id);
            case.expect != Expect::Answer
                || (!case.relevant.is_empty() && ids.all(|id| there.contains(id)))
        });
        self.name = format!("{} over {}", self.name, other.name);
        self.corpus = other.corpus;
    }

    fn check(&self, path: &Path) -> Result<(), EvalError> {
        if self.cases.is_empty() {
            let remedy = "write one case a line, at least `id` and `input`";
            return Err(EvalError::input(path, "there are no cases", remedy));
        }
        self.check_cases(path)
    }

    fn check_cases(&self, path: &Path) -> Result<(), EvalError> {
        let mut ids = BTreeSet::new();
        let corpus: BTreeSet<&str> =
            self.corpus.iter().map(|passage| passage.id.as_str()).collect();
        for (at, case) in self.cases.iter().enumerate() {
            let wrong = |field: &str, problem: String, remedy: &str| {
                Err(EvalError::line(path, at + 1, Some(field), problem, remedy))
            };
            if case.id.is_empty() {
                return wrong("id", "is empty".to_owned(), "give every case an id of its own");
            }
            if case.input.trim().is_empty() {
                let problem = format!("case {} asks nothing", case.id);
                return wrong("input", problem, "write what the customer says");
            }
            if !ids.insert(case.id.as_str()) {
                let problem = format!("{} stands there twice", case.id);
                return wrong("id", problem, "give every case an id of its own");
            }
            if case.expect == Expect::Answer && case.kind.is_some() {
                let problem = format!("case {} says why it cannot be answered", case.id);
                return wrong("kind", problem, "leave it out, or set `expect` to abstain");
            }
            let absent = case.relevant.iter().filter_map(Relevant::id);
            let absent = absent.filter(|id| !corpus.is_empty() && !corpus.contains(id));
            if let Some(id) = absent.into_iter().next() {
                let problem =
                    format!("case {} wants the passage {id}, which is not there", case.id);
                return wrong("relevant", problem, "name a passage of corpus.jsonl");
            }
        }
        if corpus.len() != self.corpus.len() {
            let remedy = "give every passage an id of its own";
            return Err(EvalError::input(path, "two passages of the corpus have one id", remedy));
        }
        Ok(())
    }
}

pub(crate) fn name_of(path: &Path) -> String {
    let stem = if path.is_file() { path.file_stem() } else { path.file_name() };
    stem.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
