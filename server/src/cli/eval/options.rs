//! Arguments that several commands take.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use domain::Lang;
use evals::{Dataset, ReadOptions};

/// Which dataset, and which part of it.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    /// A .jsonl file of cases, a CSV table, or a folder: cases.jsonl, BEIR, or passages and judged questions
    #[arg(value_name = "DATASET")]
    pub path: PathBuf,
    /// The style of the questions, as in queries.STYLE.jsonl
    #[arg(long)]
    pub style: Option<String>,
    /// The judgements of a BEIR folder, as in qrels/SPLIT.tsv [default: test]
    #[arg(long)]
    pub split: Option<String>,
    /// Of the cases that should be answered, only those with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Take the passages of this dataset instead, such as those of another language with the same ids
    #[arg(long, value_name = "DATASET")]
    pub passages: Option<PathBuf>,
}

impl DatasetArgs {
    /// Reads it.
    pub fn read(&self) -> anyhow::Result<Dataset> {
        let options = ReadOptions { style: self.style.clone(), split: self.split.clone() };
        let mut dataset = Dataset::read(&self.path, &options)?;
        if let Some(tag) = &self.tag {
            dataset.keep_tag(tag);
        }
        if let Some(passages) = &self.passages {
            dataset.over(Dataset::read(passages, &ReadOptions::default())?);
        }
        Ok(dataset)
    }
}

/// Makes a folder.
pub fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use anyhow::Context;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a text.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A language that people read.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Language {
    /// Spanish
    Es,
    /// English
    En,
    /// Portuguese
    Pt,
}

impl Language {
    /// As the rest of the program calls it.
    pub const fn lang(self) -> Lang {
        match self {
            Self::Es => Lang::Es,
            Self::En => Lang::En,
            Self::Pt => Lang::Pt,
        }
    }
}
