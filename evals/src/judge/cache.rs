//! Verdicts that were given already, by the hash of everything that could change them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    reply: String,
}

/// Verdicts as the judge wrote them.
#[derive(Debug)]
pub(super) struct Cache {
    known: Mutex<HashMap<String, String>>,
    file: Option<Mutex<File>>,
}

impl Cache {
    /// Reads a file, which is made when it is not there. A last line that was cut off is left out.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, EvalError> {
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

    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.known.lock().get(key).cloned()
    }

    pub(super) fn keep(&self, key: &str, reply: &str) -> Result<(), EvalError> {
        self.known.lock().insert(key.to_owned(), reply.to_owned());
        let Some(file) = &self.file else { return Ok(()) };
        let kept = Kept { key: key.to_owned(), reply: reply.to_owned() };
        let mut line = serde_json::to_string(&kept).unwrap_or_default();
        line.push('\n');
        let written = file.lock().write_all(line.as_bytes());
        written.map_err(EvalError::file(Path::new("the judge's verdicts")))
    }
}
