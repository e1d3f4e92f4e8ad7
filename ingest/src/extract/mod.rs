//! Bytes become text with structure.
//!
//! One file per format. Extractors are plain functions from bytes to a [`Document`]; those whose parser is
//! not trusted with a stranger's bytes are only ever called inside the child process of [`crate::worker`].

use serde::{Deserialize, Serialize};

mod csv;
mod detect;
mod docx;
mod eml;
mod encoding;
mod epub;
mod finish;
mod html;
mod json;
mod package;
mod pdf;
mod pptx;
mod rows;
mod text;
mod xlsx;
mod xml;

pub use detect::{detect, from_content_type};
pub use encoding::decode as decode_text;
pub(crate) use pdf::from_poppler as pdf_from_poppler;

/// Largest text that is taken from one source, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 20 * 1024 * 1024;

/// What extraction gives: plain text in Markdown form and what is known about its places.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Document {
    /// The title that the document gives itself.
    pub title: Option<String>,
    /// The content type that was found.
    pub mime: String,
    /// The text as Markdown: headings with `#`, lists with `-`; tables as lines of
    /// cells apart by tabs. NFC, no NUL, no bidi controls, at
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
    /// `UPPER_SNAKE`: `NEEDS_OCR`, `ENCRYPTED`, `UNREADABLE`, `UNSUPPORTED_TYPE`, `EMPTY`, `TOO_LARGE`,
    /// `PARSER_LIMIT`, `PARSER_UNAVAILABLE`.
    pub code: String,
    /// A sentence for a person, with the remedy.
    pub message: String,
    /// Whether trying again could help (a worker that could not be started).
    pub retry: bool,
}

impl ExtractError {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry: false }
    }

    /// The bytes are damaged or are not what they claim to be.
    pub(crate) fn unreadable(message: impl Into<String>) -> Self {
        Self::new("UNREADABLE", message)
    }

    /// There are pages, but they are pictures.
    pub(crate) fn needs_ocr() -> Self {
        Self::new(
            "NEEDS_OCR",
            "the pdf has no text layer, only pictures of text; run it through OCR and upload the result",
        )
    }

    /// A password is needed.
    pub(crate) fn encrypted() -> Self {
        Self::new(
            "ENCRYPTED",
            "the file is protected by a password; remove the protection and upload it again",
        )
    }

    /// Nothing to read in it.
    pub(crate) fn empty() -> Self {
        Self::new("EMPTY", "the file has no text in it; upload one that has")
    }

    /// More than a limit allows. `what` names the limit.
    pub(crate) fn too_large(what: &str) -> Self {
        Self::new("TOO_LARGE", format!("{what}; split the file and upload the parts"))
    }

    /// A type that is not taken.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new("UNSUPPORTED_TYPE", format!("{what}; accepted types are {ACCEPTED}"))
    }

    /// The parser was stopped by one of its limits, or died.
    pub(crate) fn parser_limit(what: &str) -> Self {
        Self::new(
            "PARSER_LIMIT",
            format!(
                "{what}; the file may be damaged: save it anew with another program and upload that"
            ),
        )
    }

    /// The parser could not be started.
    pub(crate) fn unavailable(what: &str) -> Self {
        Self { retry: true, ..Self::new("PARSER_UNAVAILABLE", format!("{what}; try again")) }
    }
}

/// The types that are taken, for messages.
pub const ACCEPTED: &str = "pdf, docx, xlsx, pptx, csv, html, md, txt, json, jsonl, eml and epub";

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
    /// `PowerPoint`.
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

impl Format {
    /// Every format.
    pub const ALL: [Self; 12] = [
        Self::Pdf,
        Self::Docx,
        Self::Xlsx,
        Self::Pptx,
        Self::Csv,
        Self::Html,
        Self::Markdown,
        Self::Text,
        Self::Json,
        Self::Jsonl,
        Self::Eml,
        Self::Epub,
    ];

    /// The registered media type.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Pptx => {
                "application/vnd.openxmlformats-officedocument.presentationml.presentation"
            }
            Self::Csv => "text/csv",
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Jsonl => "application/x-ndjson",
            Self::Eml => "message/rfc822",
            Self::Epub => "application/epub+zip",
        }
    }
}

/// Bytes and what is known about them.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What they are.
    pub format: Format,
    /// The charset that the sender named, for text formats.
    pub charset: Option<&'a str>,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Whether bytes of this format and length may be parsed in the server's own process: the parser is
/// memory-safe, cannot recurse deeply and takes time linear in the input. Everything else goes to a child.
pub fn in_process(format: Format, bytes: usize) -> bool {
    match format {
        Format::Text | Format::Markdown => true,
        Format::Csv | Format::Json | Format::Jsonl => bytes <= 256 * 1024,
        _ => false,
    }
}

/// Extracts in this very process. Callers other than the child process ask [`in_process`] first.
///
/// Errors: see [`ExtractError::code`]. May panic on hostile bytes of the formats that belong in the child.
pub fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    if input.bytes.is_empty() {
        return Err(ExtractError::empty());
    }
    match input.format {
        Format::Pdf => pdf::extract(input),
        Format::Docx => docx::extract(input),
        Format::Xlsx => xlsx::extract(input),
        Format::Pptx => pptx::extract(input),
        Format::Csv => csv::extract(input),
        Format::Html => html::extract(input),
        Format::Markdown | Format::Text => text::extract(input),
        Format::Json => json::extract(input),
        Format::Jsonl => json::extract_lines(input),
        Format::Eml => eml::extract(input),
        Format::Epub => epub::extract(input),
    }
}
