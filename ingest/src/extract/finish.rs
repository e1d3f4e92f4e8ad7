//! The last step of every extractor: clean text, sized, with page offsets in characters.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::{Document, ExtractError, Format, MAX_TEXT_BYTES};

/// A document without pages.
///
/// Errors: `EMPTY`, `TOO_LARGE`.
pub(super) fn document(
    format: Format,
    title: Option<&str>,
    text: &str,
) -> Result<Document, ExtractError> {
    let text = clean(text)?;
    finish(format, title, text, Vec::new())
}

/// A document of pages; an empty page keeps its number.
///
/// Errors: `EMPTY`, `TOO_LARGE`.
pub(super) fn paged(
    format: Format,
    title: Option<&str>,
    pages: &[String],
) -> Result<Document, ExtractError> {
    let mut text = String::new();
    let mut starts = Vec::with_capacity(pages.len());
    let mut chars = 0_usize;
    for page in pages {
        let page = clean(page)?;
        if !page.is_empty() && !text.is_empty() {
            // A sentence that runs over the page's end goes on in the same paragraph.
            let glue = if runs_on(&text, &page) { "\n" } else { "\n\n" };
            text.push_str(glue);
            chars += glue.len();
        }
        starts.push(i64::try_from(chars).unwrap_or(i64::MAX));
        chars += page.chars().count();
        text.push_str(&page);
    }
    finish(format, title, text, starts)
}

fn runs_on(before: &str, after: &str) -> bool {
    let last_line = before.rsplit('\n').next().unwrap_or_default();
    let is_prose = !last_line.starts_with(['#', '|', '-'])
        && !last_line.contains('\t')
        && last_line.chars().count() > 40;
    let ends_open = before.ends_with(|c: char| c.is_alphabetic() || matches!(c, ',' | ';'));
    is_prose && ends_open && after.starts_with(char::is_lowercase)
}

fn finish(
    format: Format,
    title: Option<&str>,
    text: String,
    pages: Vec<i64>,
) -> Result<Document, ExtractError> {
    if text.trim().is_empty() {
        return Err(ExtractError::empty());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(over_size());
    }
    Ok(Document {
        title: title.and_then(clean_title),
        mime: format.mime().to_owned(),
        text,
        pages,
        warning: None,
    })
}

fn over_size() -> ExtractError {
    ExtractError::too_large("the file holds more than 20 MiB of text")
}

fn clean_title(title: &str) -> Option<String> {
    let words: Vec<&str> = title.split_whitespace().collect();
    let title: String = clean(&words.join(" ")).ok()?.chars().take(300).collect();
    (!title.is_empty()).then_some(title)
}

/// NFC, no control characters, `\n` line ends, no spaces at line ends, at most one blank line in a row,
/// ordinary spaces instead of fixed-width ones, no soft hyphens or zero-width spaces.
///
/// Errors: `TOO_LARGE` before doing the work.
pub(super) fn clean(text: &str) -> Result<String, ExtractError> {
    if text.len() > MAX_TEXT_BYTES * 2 {
        return Err(over_size());
    }
    let text = domain::text::sanitize(text);
    let text = match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text,
        _ => text.nfc().collect(),
    };
    let text = if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text };
    let mut cleaned = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}']) {
        let line = line.trim_end();
        if line.is_empty() {
            blank_lines += 1;
            continue;
        }
        if !cleaned.is_empty() {
            cleaned.push_str(if blank_lines > 0 { "\n\n" } else { "\n" });
        }
        blank_lines = 0;
        cleaned.extend(line.chars().filter_map(plain_space));
    }
    Ok(cleaned)
}

fn plain_space(c: char) -> Option<char> {
    match c {
        '\u{A0}' | '\u{2007}' | '\u{202F}' | '\u{2000}'..='\u{200A}' | '\u{3000}' => Some(' '),
        '\u{AD}' | '\u{200B}' | '\u{2060}' | '\u{FEFF}' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_normalised() {
        let text = clean("cafe\u{301}\u{0}\u{202E}  \r\n\r\n\r\nde\u{AD}s\u{A0}l\r\nx\n").unwrap();
        assert_eq!(text, "café\n\ndes l\nx");
    }

    #[test]
    fn pages_start_where_their_text_starts_in_characters() {
        let pages = ["ñandú".to_owned(), String::new(), "Fin.".to_owned()];
        let document = paged(Format::Pdf, None, &pages).unwrap();
        assert_eq!(document.text, "ñandú\n\nFin.");
        assert_eq!(document.pages, [0, 5, 7]);
    }

    #[test]
    fn nothing_but_space_is_empty() {
        assert_eq!(document(Format::Text, None, " \n\u{200B}").unwrap_err().code, "EMPTY");
    }
}
