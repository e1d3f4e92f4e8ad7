//! What can go wrong with an evaluation itself.

use std::path::Path;

/// Why an evaluation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file does not hold what it should: bad input, which the caller can mend.
    #[error("{0}")]
    Input(InputError),
    /// A file could not be read or written.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The database of a throw-away workspace failed.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// Search failed.
    #[error(transparent)]
    Retrieval(#[from] retrieval::RetrievalError),
    /// A model failed while a throw-away workspace was filled, or a judge was asked.
    #[error(transparent)]
    Model(#[from] models::ModelError),
    /// A run that is stored was stopped, or another worker has it.
    #[error("the run was stopped, or goes on elsewhere")]
    Superseded,
    /// The page of a report could not be made.
    #[error("the page cannot be made: {0}")]
    Page(#[from] minijinja::Error),
}

/// Where a file is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The file or folder.
    pub file: String,
    /// The line, from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// The field, as in `relevant[0].id`.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", `{field}`")?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl EvalError {
    /// A file as a whole is not what it should be.
    pub fn input(file: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Input(InputError {
            file: file.display().to_string(),
            line: None,
            field: None,
            problem: problem.into(),
            remedy: remedy.into(),
        })
    }

    /// A line of a file is not what it should be.
    pub fn line(
        file: &Path,
        line: usize,
        field: Option<&str>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Input(InputError {
            file: file.display().to_string(),
            line: Some(line),
            field: field.map(str::to_owned),
            problem: problem.into(),
            remedy: remedy.into(),
        })
    }

    pub(crate) fn file(file: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::File { file: file.display().to_string(), error }
    }

    /// Whether the caller gave something that cannot be used, as opposed to something that failed.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Input(_) => true,
            Self::File { error, .. } => error.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
