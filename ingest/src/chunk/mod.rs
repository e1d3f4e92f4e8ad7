//! Text becomes passages.

mod pieces;
mod sections;

use domain::Lang;
use models::lexical;

use crate::extract::Document;

/// A passage of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Verbatim from the document's text.
    pub text: String,
    /// Headings above it, outermost first, joined by ` › `; for a later part of a table also the names of its
    /// columns.
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

/// Cuts a document along its structure: a passage never crosses a heading; tables stay whole where they
/// fit and are cut between rows where they do not; paragraphs and sentences stay whole likewise.
///
/// The same document and options always give the same passages.
pub fn chunk(document: &Document, options: &ChunkOptions) -> Vec<Passage> {
    let text = document.text.as_str();
    let mut places = Places { text, byte: 0, chars: 0, pages: &document.pages };
    let mut passages = Vec::new();
    let default_lang = options.default_lang.or_else(|| lexical::detect(head(text)));
    for section in sections::split(text) {
        for piece in pieces::cut(text, &section, options) {
            let slice = &text[piece.range.clone()];
            let (start, page) = places.of(piece.range.start);
            let lang = lexical::detect(slice).or(default_lang).unwrap_or_default();
            passages.push(Passage {
                text: slice.to_owned(),
                heading: piece.heading,
                page,
                start,
                end: start + to_i64(slice.chars().count()),
                tokens: to_i64(piece.tokens),
                lang,
            });
        }
    }
    passages
}

/// Enough of a text to tell its language.
fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(4096)]
}

/// Byte offsets become characters and pages. Asked in nearly rising order, so that the text is counted
/// about once.
struct Places<'a> {
    text: &'a str,
    byte: usize,
    chars: i64,
    pages: &'a [i64],
}

impl Places<'_> {
    /// The place of a byte offset: in characters, and the page that it is on.
    fn of(&mut self, byte: usize) -> (i64, Option<i64>) {
        if byte >= self.byte {
            self.chars += to_i64(self.text[self.byte..byte].chars().count());
        } else {
            self.chars -= to_i64(self.text[byte..self.byte].chars().count());
        }
        self.byte = byte;
        let page = self.pages.partition_point(|start| *start <= self.chars);
        (self.chars, (page > 0).then(|| to_i64(page)))
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
