//! Bytes become text with structure.

use serde::{Deserialize, Serialize};

/// What extraction gives: plain text in Markdown form and what is known about its places.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Document {
    /// The title that the document gives itself.
    pub title: Option<String>,
    /// The content type that was found.
    pub mime: String,
    /// The text as Markdown: headings with `#`, lists, tables with `|`. NFC, no NUL, no bidi controls, at
    /// most 20 MiB.
    pub text: String,
    /// Where pages start in `text`, in characters; empty where the format has no pages.
    pub pages: Vec<i64>,
    /// Something a person should know: `needs_ocr`.
    pub warning: Option<String>,
}

/// Why bytes did not become text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ExtractError {
    /// UPPER_SNAKE: `NEEDS_OCR`, `ENCRYPTED`, `UNREADABLE`, `UNSUPPORTED_TYPE`, `EMPTY`, `TOO_LARGE`, `PARSER_LIMIT`.
    pub code: String,
    /// A sentence for a person, with the remedy.
    pub message: String,
    /// Whether trying again could help (a worker that could not be started).
    pub retry: bool,
}

/// The type of bytes, by content and file name together, as far as it is one that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Portable Document Format.
    Pdf,
    /// Word.
    Docx,
    /// Excel.
    Xlsx,
    /// PowerPoint.
    Pptx,
    /// Comma- or semicolon- or tab-separated values.
    Csv,
    /// Web page.
    Html,
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// JSON.
    Json,
    /// JSON, one value a line.
    Jsonl,
    /// E-mail message.
    Eml,
    /// E-book.
    Epub,
}
