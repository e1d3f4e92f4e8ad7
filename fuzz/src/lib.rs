//! The parsers under test, compiled from the product's own sources, and what holds of whatever they read.

#![expect(dead_code, unused_imports, reason = "each target uses a part of the sources")]

use domain::Lang;

#[path = "../../ingest/src/chunk/mod.rs"]
pub mod chunk;
#[path = "../../ingest/src/extract/mod.rs"]
pub mod extract;
#[path = "../../models/src/openai/sse.rs"]
mod sse;

use chunk::ChunkOptions;
use extract::{Document, Format, Input, MAX_TEXT_BYTES};

/// Extracts and checks what the child process promises of any document.
pub fn extract(format: Format, bytes: &[u8]) {
    let Ok(document) = extract::extract(Input { format, charset: None, bytes }) else { return };
    assert!(document.text.len() <= MAX_TEXT_BYTES, "{} bytes of text", document.text.len());
    assert!(!document.text.contains('\0'), "a NUL character is in the text");
    let chars = i64::try_from(document.text.chars().count()).unwrap_or(i64::MAX);
    assert!(document.pages.is_sorted(), "pages start in no order: {:?}", document.pages);
    assert!(document.pages.iter().all(|start| (0..=chars).contains(start)), "a page is outside");
}

/// Cuts a text and checks that passages are slices of it, in order and within their size.
pub fn cut(text: &str, max_tokens: usize, overlap: usize) {
    let document = Document { text: text.to_owned(), ..Document::default() };
    let options = ChunkOptions { max_tokens, overlap, default_lang: Some(Lang::Es) };
    let chars: Vec<char> = text.chars().collect();
    let mut last = 0;
    for passage in chunk::chunk(&document, &options) {
        let start = usize::try_from(passage.start).expect("a place in the text");
        let end = usize::try_from(passage.end).expect("a place in the text");
        let slice: String = chars[start..end].iter().collect();
        assert_eq!(slice, passage.text, "a passage is not where it says");
        assert!(!passage.text.trim().is_empty(), "a passage says nothing");
        assert!(start >= last, "passages are out of order");
        last = start;
    }
}

/// Decodes events from pieces of any size, and checks that the size makes no difference.
pub fn decode(bytes: &[u8], piece: usize) {
    let whole = events(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(piece.max(1)).collect();
    assert_eq!(events(&pieces), whole, "pieces of {piece} bytes give other events");
}

fn events(pieces: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut events = Vec::new();
    let mut decoder = sse::Decoder::default();
    let mut keep = |data: &[u8]| {
        events.push(data.to_vec());
        true
    };
    for piece in pieces {
        decoder.push(piece, &mut keep).ok()?;
    }
    decoder.end(&mut keep).ok()?;
    Some(events)
}
