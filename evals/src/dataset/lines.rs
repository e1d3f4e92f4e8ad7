//! One JSON object a line.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::EvalError;

/// The objects of a file; a wrong one is told with its line and field. Empty lines are skipped.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, EvalError> {
    parse_lines(path, &std::fs::read(path).map_err(EvalError::file(path))?)
}

/// As [`read_lines`], of what a file holds.
pub(crate) fn parse_lines<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<T>, EvalError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(EvalError::input(path, "is not UTF-8", "save it as UTF-8"));
    };
    let mut objects = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let mut reader = serde_json::Deserializer::from_str(line);
        let object = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let field = error.path().to_string();
            let field = (field != ".").then_some(field);
            let remedy = match error.inner().classify() {
                serde_json::error::Category::Data => "see docs/EVALS.md for the fields",
                _ => "write one JSON object on each line",
            };
            // The line is the file's, not the object's.
            let problem = error.inner().to_string();
            let problem = problem.split(" at line 1 column ").next().unwrap_or_default().to_owned();
            EvalError::line(path, at + 1, field.as_deref(), problem, remedy)
        })?;
        objects.push(object);
    }
    Ok(objects)
}

/// Writes a file of objects.
pub(crate) fn write_lines<T: Serialize>(path: &Path, objects: &[T]) -> Result<(), EvalError> {
    let text = to_lines(objects).map_err(EvalError::file(path))?;
    std::fs::write(path, text).map_err(EvalError::file(path))
}

/// Objects, one a line.
pub(crate) fn to_lines<T: Serialize>(objects: &[T]) -> std::io::Result<String> {
    let mut text = String::new();
    for object in objects {
        let line = serde_json::to_string(object).map_err(std::io::Error::other)?;
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}
