//! Text becomes passages.

use domain::Lang;

use crate::extract::Document;

/// A passage of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Verbatim from the document's text.
    pub text: String,
    /// Headings above it, outermost first, joined by ` › `.
    pub heading: String,
    /// The page it starts on, from 1.
    pub page: Option<i64>,
    /// Start in the document's text, in characters.
    pub start: i64,
    /// End (excluded), in characters.
    pub end: i64,
    /// Size in tokens.
    pub tokens: i64,
    /// The language it is in.
    pub lang: Lang,
}

/// How to cut.
#[derive(Debug, Clone, Copy)]
pub struct ChunkOptions {
    /// Largest passage, in tokens.
    pub max_tokens: usize,
    /// Tokens that neighbours share.
    pub overlap: usize,
    /// The language where a passage is too short to tell.
    pub default_lang: Option<Lang>,
}

/// Cuts a document along its structure; tables stay whole where they fit.
pub fn chunk(document: &Document, options: &ChunkOptions) -> Vec<Passage> {
    let _ = (document, options);
    todo!()
}
