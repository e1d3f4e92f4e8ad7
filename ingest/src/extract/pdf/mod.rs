//! PDF: `pdf-extract` decodes fonts and content streams, page by page; the order of glyphs, lines and
//! paragraphs is ours. Poppler's `pdftotext`, when installed, is asked where that finds no text.

mod glyphs;
mod layout;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document as Pdf, Object};

use super::{Document, ExtractError, Format, Input, finish};
use glyphs::{Collector, Line};

/// Fewer characters a page than this on average means pictures of text.
const MIN_CHARS_PER_PAGE: usize = 20;
/// Pages that are read.
const MAX_PAGES: usize = 5000;

/// Reads the text layer. A page whose content breaks the parser is skipped when most others can be read.
///
/// Errors: `ENCRYPTED`, `NEEDS_OCR`, `UNREADABLE`, `TOO_LARGE`.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let mut pdf = Pdf::load_mem(input.bytes).map_err(|_| unreadable())?;
    if pdf.is_encrypted() {
        return Err(ExtractError::encrypted());
    }
    drop_images(&mut pdf);
    spell_out_widths(&mut pdf);
    let numbers: Vec<u32> = pdf.get_pages().into_keys().collect();
    if numbers.is_empty() {
        return Err(unreadable());
    }
    if numbers.len() > MAX_PAGES {
        let what = format!("the pdf has {} pages; at most {MAX_PAGES} are read", numbers.len());
        return Err(ExtractError::too_large(&what));
    }
    let mut pages: Vec<Vec<Line>> = Vec::with_capacity(numbers.len());
    let mut broken = 0;
    for number in numbers {
        if let Some(lines) = read_page(&pdf, number) {
            pages.push(lines);
        } else {
            broken += 1;
            pages.push(Vec::new());
        }
    }
    if broken * 2 > pages.len() {
        return Err(unreadable());
    }
    let texts = layout::write_pages(&pages);
    let title = title(&pdf);
    from_pages(title.as_deref(), &texts)
}

/// `pdf-extract` panics on what it does not know; a page is the unit of loss.
fn read_page(pdf: &Pdf, number: u32) -> Option<Vec<Line>> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut collector = Collector::default();
        let result = pdf_extract::output_doc_page(pdf, &mut collector, number);
        result.is_ok().then_some(collector.lines)
    }));
    read.ok().flatten()
}

/// Pictures are of no use here, and `pdf-extract` would read their pixels as drawing instructions.
fn drop_images(pdf: &mut Pdf) {
    for object in pdf.objects.values_mut() {
        if let Object::Stream(stream) = object {
            let subtype = stream.dict.get(b"Subtype").and_then(Object::as_name);
            if subtype.is_ok_and(|name| name == b"Image") {
                stream.set_content(Vec::new());
                stream.dict.remove(b"Filter");
                stream.dict.remove(b"DecodeParms");
            }
        }
    }
}

/// Writes ranges of equal widths (`first last width`, PDF 1.7, 9.7.4.3) as lists (`first [width …]`):
/// `pdf-extract` 0.12.1 takes the first of the range for its width, and words fall apart into letters.
fn spell_out_widths(pdf: &mut Pdf) {
    let mut spelled = Vec::new();
    for (id, object) in &pdf.objects {
        let Ok(font) = object.as_dict() else { continue };
        let Ok(widths) = font.get(b"W") else { continue };
        if !font.get(b"Subtype").and_then(Object::as_name).is_ok_and(|n| n.starts_with(b"CIDFont"))
        {
            continue;
        }
        let widths = pdf.dereference(widths).ok().and_then(|(_, widths)| widths.as_array().ok());
        if let Some(widths) = widths {
            spelled.push((*id, widths_as_lists(widths)));
        }
    }
    for (id, widths) in spelled {
        if let Ok(font) = pdf.get_object_mut(id).and_then(Object::as_dict_mut) {
            font.set("W", widths);
        }
    }
}

fn widths_as_lists(widths: &[Object]) -> Vec<Object> {
    let mut lists = Vec::with_capacity(widths.len());
    let mut rest = widths;
    while let [first, second, after @ ..] = rest {
        if second.as_array().is_ok() {
            lists.extend([first.clone(), second.clone()]);
            rest = after;
            continue;
        }
        let (Ok(from), Ok(to), [width, after @ ..]) = (first.as_i64(), second.as_i64(), after)
        else {
            break;
        };
        // Glyph numbers have 16 bits.
        let count = usize::try_from(to - from + 1).unwrap_or(0).min(65_536);
        lists.extend([first.clone(), Object::Array(vec![width.clone(); count])]);
        rest = after;
    }
    lists
}

fn title(pdf: &Pdf) -> Option<String> {
    let info = pdf.trailer.get(b"Info").ok()?;
    let (_, info) = pdf.dereference(info).ok()?;
    let (_, title) = pdf.dereference(info.as_dict().ok()?.get(b"Title").ok()?).ok()?;
    let bytes = title.as_str().ok()?;
    let title = match bytes {
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0xEF, 0xBB, 0xBF, ..] => {
            super::encoding::decode(bytes, None).ok()?
        }
        _ => super::encoding::decode(bytes, Some("windows-1252")).ok()?,
    };
    // Office programs leave the name of the file they were made from.
    let is_file_name = title.contains(".doc") || title.contains(".odt") || title.contains(".indd");
    (!is_file_name && !title.trim().is_empty() && title.trim() != "untitled").then_some(title)
}

fn from_pages(title: Option<&str>, texts: &[String]) -> Result<Document, ExtractError> {
    let visible = |text: &String| text.chars().filter(|c| !c.is_whitespace()).count();
    let chars: usize = texts.iter().map(visible).sum();
    if chars < MIN_CHARS_PER_PAGE * texts.len().max(1) && !is_short_but_whole(texts) {
        return Err(ExtractError::needs_ocr());
    }
    if is_glyph_soup(texts) {
        return Err(ExtractError::needs_ocr());
    }
    finish::paged(Format::Pdf, title, texts)
}

/// One page with a few words is a short document, not a scan, as long as they are words.
fn is_short_but_whole(texts: &[String]) -> bool {
    texts.len() == 1
        && texts[0].split_whitespace().filter(|word| word.chars().count() > 2).count() >= 2
}

/// Fonts without a map to characters give their glyphs' numbers, which look like text of no language:
/// private-use or unassigned characters.
fn is_glyph_soup(texts: &[String]) -> bool {
    let mut chars = 0_usize;
    let mut strange = 0_usize;
    for c in texts.iter().flat_map(|text| text.chars()).filter(|c| !c.is_whitespace()) {
        chars += 1;
        let is_private =
            matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' | '\u{FFFD}');
        strange += usize::from(is_private || c.is_control());
    }
    strange * 4 > chars
}

fn unreadable() -> ExtractError {
    ExtractError::unreadable("the pdf is damaged and cannot be read; save it anew and upload that")
}

/// What `pdftotext` wrote: pages end with a form feed, paragraphs with a blank line, lines are wrapped.
///
/// Errors: `NEEDS_OCR`, `TOO_LARGE`.
pub(crate) fn from_poppler(output: &[u8]) -> Result<Document, ExtractError> {
    let text = String::from_utf8_lossy(output);
    let mut pages: Vec<&str> = text.split('\u{c}').collect();
    if pages.last().is_some_and(|page| page.trim().is_empty()) {
        pages.pop();
    }
    let pages: Vec<Vec<Line>> = pages.into_iter().map(lines_of_text).collect();
    from_pages(None, &layout::write_pages(&pages))
}

/// Lines of plain text placed as if set in characters of equal width, so that one rule joins both.
fn lines_of_text(page: &str) -> Vec<Line> {
    const SIZE: f64 = 10.0;
    let mut lines = Vec::new();
    for (number, text) in page.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let chars = text.trim().chars().count();
        lines.push(Line {
            text: text.trim().to_owned(),
            left: 0.0,
            right: chars as f64 * SIZE / 2.0,
            baseline: number as f64 * SIZE * 1.2,
            size: SIZE,
        });
    }
    lines
}
