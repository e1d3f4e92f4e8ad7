//! Web pages: the main content as Markdown.

mod markdown;
mod prune;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use scraper::{Html, Selector};

use super::{Document, ExtractError, Format, Input, encoding, finish};

/// How much of the head is searched for the page's own charset (HTML Standard, 13.2.3.2).
const CHARSET_SCAN_BYTES: usize = 1024;

/// The main content when it can be told from the frame around it, else the whole body.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let html = decode(input)?;
    let (title, text) = read(&html);
    finish::document(Format::Html, title.as_deref(), &text)
}

/// Title and Markdown of a page.
pub(super) fn read(html: &str) -> (Option<String>, String) {
    let pruned = prune::prune(html);
    let tree = Html::parse_document(&pruned);
    let whole = markdown::write(&tree);
    let text = match main_content(&pruned) {
        Some(main) if is_most_of(&main, &whole) => with_first_heading(main, &whole),
        _ => whole,
    };
    (title(&tree), text)
}

/// The whole body as Markdown, for parts of mails and books, where nothing is frame.
pub(super) fn read_whole(html: &str) -> (Option<String>, String) {
    let tree = Html::parse_document(&prune::prune(html));
    (title(&tree), markdown::write(&tree))
}

/// What `dom_smoothie`, a port of Mozilla's Readability, takes for the article.
fn main_content(html: &str) -> Option<String> {
    let config = dom_smoothie::Config {
        disable_json_ld: true,
        max_elements_to_parse: 100_000,
        ..Default::default()
    };
    let mut readability = dom_smoothie::Readability::new(html, None, Some(config)).ok()?;
    let article = readability.parse().ok()?;
    let tree = Html::parse_document(&article.content);
    let text = markdown::write(&tree);
    (!text.trim().is_empty()).then_some(text)
}

/// Readability is made for articles; on shop, help and contact pages it can pick one box of many. It is
/// believed only when it keeps most of what is left after navigation, footers and scripts are gone.
fn is_most_of(main: &str, whole: &str) -> bool {
    letters(main) * 10 >= letters(whole) * 6
}

/// Readability takes the page's own heading for a repetition of its title and drops it.
fn with_first_heading(main: String, whole: &str) -> String {
    let heading = whole.lines().find(|line| line.starts_with("# "));
    match heading {
        Some(heading) if !main.contains(heading) => format!("{heading}\n\n{main}"),
        _ => main,
    }
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

fn title(tree: &Html) -> Option<String> {
    for selector in ["title", "h1"] {
        let selector = Selector::parse(selector).ok()?;
        let text: Option<String> =
            tree.select(&selector).next().map(|found| found.text().collect());
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            return Some(text);
        }
    }
    None
}

/// A byte order mark, then the sender's charset, then the page's own, then statistics.
fn decode(input: Input<'_>) -> Result<String, ExtractError> {
    let own = charset_in_meta(input.bytes);
    let own = own.as_deref().and_then(|label| Encoding::for_label(label.as_bytes()));
    // A page whose ASCII bytes could be read to find the label is not UTF-16, whatever it says.
    let own = own.map(|found| if found == UTF_16BE || found == UTF_16LE { UTF_8 } else { found });
    encoding::decode(input.bytes, input.charset.or(own.map(Encoding::name)))
}

/// `<meta charset=…>` or `<meta http-equiv=… content="…charset=…">`.
fn charset_in_meta(bytes: &[u8]) -> Option<String> {
    let head = bytes[..bytes.len().min(CHARSET_SCAN_BYTES * 4)].to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head).into_owned();
    for meta in head.split("<meta").skip(1) {
        let meta = meta.split('>').next().unwrap_or_default();
        let Some((_, rest)) = meta.split_once("charset") else { continue };
        let Some(value) = rest.trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let label: String = value
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c))
            .collect();
        if !label.is_empty() {
            return Some(label);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_read_from_both_forms_of_meta() {
        assert_eq!(charset_in_meta(b"<META charset='ISO-8859-1'>").unwrap(), "iso-8859-1");
        let long = b"<meta http-equiv=Content-Type content=\"text/html; charset=windows-1252\">";
        assert_eq!(charset_in_meta(long).unwrap(), "windows-1252");
        assert_eq!(charset_in_meta(b"<p>charset=x</p>"), None);
    }

    #[test]
    fn structure_survives_and_frame_does_not() {
        let page = "<html><head><title>Horarios</title><script>var x='<p>no</p>'</script></head><body>\
            <nav><a href=/>Inicio</a></nav><h1>Horarios</h1><p>Lunes a <b>viernes</b>, 9 a 18.\
            <ul><li>Uno<li>Dos</ul><table><tr><th>Día</th><th>Hora</th></tr><tr><td>Lunes<td>9</tr></table>\
            <footer>Pie</footer></body></html>";
        let (title, text) = read(page);
        assert_eq!(title.as_deref(), Some("Horarios"));
        assert_eq!(
            text.trim(),
            "# Horarios\n\nLunes a viernes, 9 a 18.\n\n- Uno\n- Dos\n\nDía\tHora\nLunes\t9"
        );
    }
}
