//! The child process that parses: `vocero parse-worker`, bytes on stdin, a document on stdout.
//!
//! Parsers of PDF and office files meet bytes that strangers made. They run in a process of their own that
//! gives up its rights before it reads the first byte; when it dies, one source fails and nothing else.

mod child;
mod pool;

pub use child::main;
pub use pool::ParserPool;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::extract::Format;

/// The argument that makes the binary a parser.
pub const ARGUMENT: &str = "parse-worker";

/// The first line of the child's input, in JSON; the bytes to parse follow it.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: Format,
    charset: Option<String>,
    /// Set: become this program instead of parsing, with the limits in force.
    pdftotext: Option<PathBuf>,
}
