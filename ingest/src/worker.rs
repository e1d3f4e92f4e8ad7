//! The child process that parses: `vocero parse-worker`, bytes on stdin, a document on stdout.

use std::path::PathBuf;
use std::time::Duration;

use crate::extract::{Document, ExtractError, Format};

/// Starts parser processes, at most one a core at once.
#[derive(Debug, Clone)]
pub struct ParserPool {}

impl ParserPool {
    /// `program` is this very binary; it is run with `parse-worker` as its argument.
    pub fn new(program: PathBuf, timeout: Duration) -> Self {
        let _ = (program, timeout);
        todo!()
    }

    /// Extracts in a child process. Dropping the future kills the child.
    pub async fn extract(
        &self,
        format: Format,
        name: &str,
        bytes: bytes::Bytes,
    ) -> Result<Document, ExtractError> {
        let _ = (format, name, bytes);
        todo!()
    }
}

/// What `vocero parse-worker` does: limits itself, reads stdin, parses, writes stdout. Never returns an
/// error to the shell but through its output; the exit code is 0 when it wrote one.
pub fn main() -> std::process::ExitCode {
    todo!()
}
