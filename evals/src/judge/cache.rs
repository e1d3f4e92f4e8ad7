//! Verdicts that were given already, by the hash of everything that could change them.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    reply: String,
}

/// Where verdicts are kept, as the judge wrote them, under the hash of everything that could change them. An open set.
#[async_trait]
pub trait Verdicts: Send + Sync + fmt::Debug {
    /// A verdict that is known.
    async fn get(&self, key: &str) -> Result<Option<String>, EvalError>;

    /// Keeps one.
    async fn keep(&self, key: &str, reply: &str) -> Result<(), EvalError>;
}

/// Verdicts in memory and, where there is one, in a file.
#[derive(Debug)]
pub struct KeptVerdicts {
    known: Mutex<HashMap<String, String>>,
    file: Option<Mutex<File>>,
}

impl KeptVerdicts {
    /// Reads a file, which is made when it is not there; `None` keeps them in memory alone. A last line that was cut off
    /// is left out.
    pub fn open(path: Option<&Path>) -> Result<Self, EvalError> {
        let Some(path) = path else {
            return Ok(Self { known: Mutex::default(), file: None });
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(EvalError::file(path)(error)),
        };
        let kept = text.lines().filter_map(|line| serde_json::from_str::<Kept>(line).ok());
        let known = kept.map(|kept| (kept.key, kept.reply)).collect();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(EvalError::file(path))?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(EvalError::file(path))?;
        }
        Ok(Self { known: Mutex::new(known), file: Some(Mutex::new(file)) })
    }
}

#[async_trait]
impl Verdicts for KeptVerdicts {
    async fn get(&self, key: &str) -> Result<Option<String>, EvalError> {
        Ok(self.known.lock().get(key).cloned())
    }

    async fn keep(&self, key: &str, reply: &str) -> Result<(), EvalError> {
        self.known.lock().insert(key.to_owned(), reply.to_owned());
        let Some(file) = &self.file else { return Ok(()) };
        let kept = Kept { key: key.to_owned(), reply: reply.to_owned() };
        let mut line = serde_json::to_string(&kept).unwrap_or_default();
        line.push('\n');
        let written = file.lock().write_all(line.as_bytes());
        written.map_err(EvalError::file(Path::new("the judge's verdicts")))
    }
}
