//! XML as a stream of few events, within limits: no document type, no entities but the five of XML and
//! character references, bounded depth. Names come without their namespace prefix.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event as RawEvent};

use super::ExtractError;

/// Elements that may stand inside of each other.
const MAX_DEPTH: usize = 256;

/// What a walk sees.
pub(super) enum Event<'a> {
    /// A start tag; an empty element gives a start and an end.
    Start {
        /// Local name.
        name: &'a str,
        /// For its attributes.
        element: Element<'a>,
    },
    /// An end tag.
    End {
        /// Local name.
        name: &'a str,
    },
    /// Character data, references resolved.
    Text(&'a str),
}

/// A start tag's attributes.
pub(super) struct Element<'a> {
    start: &'a BytesStart<'a>,
}

impl Element<'_> {
    /// An attribute by its full name, where another has the same local name (`id` and `r:id`).
    pub(super) fn prefixed_attribute(&self, name: &str) -> Option<String> {
        for attribute in self.start.attributes().with_checks(false).flatten() {
            if attribute.key.as_ref() == name {
                return Some(attribute.value.into_owned());
            }
        }
        None
    }

    /// An attribute by its local name.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        for attribute in self.start.attributes().with_checks(false).flatten() {
            if attribute.key.local_name().as_ref() == name {
                let value = quick_xml::escape::unescape(&attribute.value);
                return value.ok().map(std::borrow::Cow::into_owned);
            }
        }
        None
    }
}

/// Walks a document from start to end.
///
/// Errors: `UNREADABLE` for XML that is not well formed, has a document type or is nested too deeply;
/// whatever `visit` gives.
pub(super) fn walk<F>(text: &str, mut visit: F) -> Result<(), ExtractError>
where
    F: FnMut(Event<'_>) -> Result<(), ExtractError>,
{
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut depth = 0_usize;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            RawEvent::Start(start) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ExtractError::unreadable(
                        "the file's structure is nested too deeply; save it anew",
                    ));
                }
                visit_start(&start, &mut visit)?;
            }
            RawEvent::Empty(start) => {
                visit_start(&start, &mut visit)?;
                visit(Event::End { name: start.local_name().as_ref() })?;
            }
            RawEvent::End(end) => {
                depth = depth.saturating_sub(1);
                visit(Event::End { name: end.local_name().as_ref() })?;
            }
            RawEvent::Text(content) => visit(Event::Text(&content.xml10_content()))?,
            RawEvent::CData(content) => visit(Event::Text(&content.xml10_content()))?,
            RawEvent::GeneralRef(reference) => {
                if let Some(text) = resolve(&reference) {
                    visit(Event::Text(&text))?;
                }
            }
            RawEvent::DocType(_) => return Err(malformed()),
            RawEvent::Decl(_) | RawEvent::PI(_) | RawEvent::Comment(_) => {}
            RawEvent::Eof if depth > 0 => return Err(malformed()),
            RawEvent::Eof => return Ok(()),
        }
    }
}

fn visit_start<F>(start: &BytesStart<'_>, visit: &mut F) -> Result<(), ExtractError>
where
    F: FnMut(Event<'_>) -> Result<(), ExtractError>,
{
    visit(Event::Start { name: start.local_name().as_ref(), element: Element { start } })
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<String> {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return Some(c.to_string());
    }
    let name = reference.xml10_content();
    quick_xml::escape::resolve_xml_entity(&name).map(str::to_owned)
}

fn malformed() -> ExtractError {
    ExtractError::unreadable("the file is damaged: its inner XML is malformed; save it anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(xml: &str) -> Result<String, ExtractError> {
        let mut out = String::new();
        walk(xml, |event| {
            if let Event::Text(text) = event {
                out.push_str(text);
            }
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn references_are_resolved_and_types_refused() {
        assert_eq!(text_of("<a>x &amp; &#241;<![CDATA[<]]></a>").unwrap(), "x & ñ<");
        let bomb = "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>";
        assert_eq!(text_of(bomb).unwrap_err().code, "UNREADABLE");
        assert_eq!(text_of(&"<a>".repeat(300)).unwrap_err().code, "UNREADABLE");
        assert_eq!(text_of("<a>").unwrap_err().code, "UNREADABLE");
    }
}
