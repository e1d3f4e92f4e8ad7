//! E-books: the chapters of the spine in order, each a page.

use std::collections::HashMap;

use super::package::{self, Package};
use super::xml::Event;
use super::{Document, ExtractError, Format, Input, encoding, finish, html, xml};

/// Reads the container, the package document and the chapters it lists (EPUB 3.3, 4 and 5).
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let mut package = Package::open(input.bytes)?;
    if package.names().any(|name| name == "meta-inf/rights.xml") {
        return Err(ExtractError::encrypted());
    }
    let opf = root_file(&mut package)?;
    let text = package.read_text(&opf)?.ok_or_else(unreadable)?;
    let book = read_opf(&text)?;
    let folder = opf.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut chapters = Vec::new();
    for item in &book.spine {
        let Some(target) = book.manifest.get(item) else { continue };
        let target = percent_decoded(target.split('#').next().unwrap_or_default());
        let Some(bytes) = package.read(&package::resolve(folder, &target))? else { continue };
        let page = encoding::decode(&bytes, None)?;
        chapters.push(html::read_whole(&page).1);
    }
    finish::paged(Format::Epub, book.title.as_deref(), &chapters)
}

fn root_file(package: &mut Package<'_>) -> Result<String, ExtractError> {
    let container = package.read_text("META-INF/container.xml")?.ok_or_else(unreadable)?;
    let mut root = None;
    xml::walk(&container, |event| {
        if let Event::Start { name: "rootfile", element } = event
            && root.is_none()
        {
            root = element.attribute("full-path");
        }
        Ok(())
    })?;
    root.ok_or_else(unreadable)
}

#[derive(Default)]
struct Book {
    title: Option<String>,
    /// Item id → file, relative to the package document.
    manifest: HashMap<String, String>,
    /// Item ids in reading order.
    spine: Vec<String>,
}

fn read_opf(text: &str) -> Result<Book, ExtractError> {
    let mut book = Book::default();
    let mut in_title = false;
    xml::walk(text, |event| {
        match event {
            Event::Start { name: "title", .. } if book.title.is_none() => {
                in_title = true;
                book.title = Some(String::new());
            }
            Event::End { name: "title" } => in_title = false,
            Event::Text(text) if in_title => {
                if let Some(title) = &mut book.title {
                    title.push_str(text);
                }
            }
            Event::Start { name: "item", element } => {
                let (id, file) = (element.attribute("id"), element.attribute("href"));
                book.manifest.extend(id.zip(file));
            }
            Event::Start { name: "itemref", element } => {
                book.spine.extend(element.attribute("idref"));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(book)
}

/// Names in the package document are addresses: `cap%C3%ADtulo%201.xhtml`.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let code = text.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[index], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 3;
            }
            (byte, _) => {
                out.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn unreadable() -> ExtractError {
    ExtractError::unreadable("the e-book is damaged: its list of chapters cannot be read")
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn names_are_decoded() {
        assert_eq!(percent_decoded("cap%C3%ADtulo%201.xhtml"), "capítulo 1.xhtml");
        assert_eq!(percent_decoded("100%"), "100%");
    }
}
