//! What an attached file is: its content and its name must agree, and what they say must be on the list.

use domain::{DomainError, ErrorKind};

/// The types that are taken, for people.
pub const ACCEPTED: &str = "png, jpg, gif, webp, pdf, docx, xlsx, pptx, doc, xls, ppt, odt, ods, odp, txt, md, csv, json, \
    mp3, m4a, aac, ogg, opus, wav, amr, mp4";

/// A family of types that a name may stand for: an extension says which family, the content which of its types.
struct Family {
    extensions: &'static [&'static str],
    /// What the content may turn out to be, and what it is then handed out as.
    contents: &'static [(&'static str, &'static str)],
}

const IMAGES: Family = Family {
    extensions: &["png", "jpg", "jpeg", "gif", "webp"],
    contents: &[
        ("image/png", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/gif", "image/gif"),
        ("image/webp", "image/webp"),
    ],
};

const PDF: Family =
    Family { extensions: &["pdf"], contents: &[("application/pdf", "application/pdf")] };

/// Recorders disagree about the container of a voice message, so any of these names may hold any of these contents.
const AUDIO: Family = Family {
    extensions: &["mp3", "m4a", "aac", "ogg", "oga", "opus", "wav", "amr"],
    contents: &[
        ("audio/mpeg", "audio/mpeg"),
        ("audio/m4a", "audio/mp4"),
        ("audio/aac", "audio/aac"),
        ("audio/ogg", "audio/ogg"),
        ("audio/opus", "audio/ogg"),
        ("audio/x-wav", "audio/wav"),
        ("audio/amr", "audio/amr"),
        ("video/mp4", "audio/mp4"),
    ],
};

const VIDEO: Family = Family {
    extensions: &["mp4", "m4v"],
    contents: &[("video/mp4", "video/mp4"), ("video/x-m4v", "video/mp4")],
};

/// Families whose content tells them apart.
const BINARY: [Family; 4] = [IMAGES, PDF, VIDEO, AUDIO];

/// Packages of office programs, of both standards: the extension, and what it is handed out as.
const PACKAGES: [(&str, &str); 6] = [
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
];

/// Compound files of older Office programs.
const COMPOUND: [(&str, &str); 3] = [
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("ppt", "application/vnd.ms-powerpoint"),
];

const TEXTS: [(&str, &str); 5] = [
    ("txt", "text/plain"),
    ("text", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("json", "application/json"),
];

const ZIP: &[u8] = b"PK\x03\x04";
const COMPOUND_FILE: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
/// What a text must not begin with: browsers and viewers would take it for a page or a drawing.
const MARKUP: [&str; 6] = ["<!doctype", "<html", "<svg", "<script", "<?xml", "<body"];

/// The media type that a file is handed out as: 400 when it is empty, 415 when name or content is not on the list, or
/// they disagree.
pub(super) fn judge(name: &str, content: &[u8]) -> Result<&'static str, DomainError> {
    if content.is_empty() {
        return Err(DomainError::invalid("file", "`file` is empty; send a file with content"));
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.trim().to_lowercase());
    let extension = extension.unwrap_or_default();
    let found = infer::get(content).map(|kind| kind.mime_type()).unwrap_or_default();
    for family in &BINARY {
        // A name that says nothing, as of a picture that was pasted, leaves it to the content.
        if extension.is_empty() || family.extensions.contains(&extension.as_str()) {
            let known = family.contents.iter().find(|(content, _)| *content == found);
            if let Some((_, media_type)) = known {
                return Ok(media_type);
            }
        }
    }
    let named = |list: &[(&str, &'static str)]| {
        list.iter().find(|(known, _)| *known == extension).map(|(_, media_type)| *media_type)
    };
    if let Some(media_type) = named(&PACKAGES) {
        return if is_package(content, media_type) { Ok(media_type) } else { Err(disagree(name)) };
    }
    if let Some(media_type) = named(&COMPOUND) {
        let holds = content.starts_with(COMPOUND_FILE);
        return if holds { Ok(media_type) } else { Err(disagree(name)) };
    }
    if let Some(media_type) = named(&TEXTS) {
        return if is_plain_text(content) { Ok(media_type) } else { Err(disagree(name)) };
    }
    if BINARY.iter().any(|family| family.extensions.contains(&extension.as_str())) {
        return Err(disagree(name));
    }
    let what = match extension.as_str() {
        "" => "a file without an extension is not taken".to_owned(),
        other => {
            let shown: String = other.chars().take(20).collect();
            format!("files of type `{shown}` are not taken")
        }
    };
    Err(refused(&what))
}

/// Packages name their type in their first entries, uncompressed or as a path.
fn is_package(content: &[u8], media_type: &str) -> bool {
    if !content.starts_with(ZIP) {
        return false;
    }
    let holds =
        |marker: &str| content.windows(marker.len()).any(|window| window == marker.as_bytes());
    match media_type {
        office if office.contains("wordprocessingml") => holds("word/"),
        office if office.contains("spreadsheetml") => holds("xl/"),
        office if office.contains("presentationml") => holds("ppt/"),
        document => content.len() > 38 && content[38..].starts_with(document.as_bytes()),
    }
}

/// UTF-8 or an older encoding without NUL, no known binary type, and no markup that is run by who opens it.
fn is_plain_text(content: &[u8]) -> bool {
    if content.contains(&0)
        || infer::get(content).is_some_and(|kind| kind.mime_type() != "text/plain")
    {
        return false;
    }
    let head = String::from_utf8_lossy(&content[..content.len().min(1024)]);
    let head = head.trim_start_matches(['\u{FEFF}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    !MARKUP.iter().any(|markup| head.starts_with(markup)) && !head.starts_with("#!")
}

fn disagree(name: &str) -> DomainError {
    let shown: String = name.chars().take(100).collect();
    refused(&format!("`{shown}` does not hold what its name says"))
}

fn refused(what: &str) -> DomainError {
    let message = format!("`file`: {what}; accepted types are {ACCEPTED}");
    DomainError::new(ErrorKind::UnsupportedType, "UNSUPPORTED_MEDIA_TYPE", message).at("file")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    fn refused_code(name: &str, content: &[u8]) -> &'static str {
        judge(name, content).unwrap_err().code
    }

    #[test]
    fn content_says_which_image_and_the_name_which_family() {
        assert_eq!(judge("foto.png", PNG).unwrap(), "image/png");
        assert_eq!(judge("foto.JPG", PNG).unwrap(), "image/png");
        assert_eq!(judge("pegada", PNG).unwrap(), "image/png");
        assert_eq!(judge("a.pdf", b"%PDF-1.7\n").unwrap(), "application/pdf");
        assert_eq!(refused_code("a.pdf", PNG), "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(refused_code("a.png", b"%PDF-1.7\n"), "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(refused_code("a.exe", PNG), "UNSUPPORTED_MEDIA_TYPE");
    }

    #[test]
    fn pages_drawings_scripts_and_programs_are_refused_under_any_name() {
        let page: &[u8] = b" <!DOCTYPE html><script>alert(1)</script>";
        let drawing: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
        let program: &[u8] = b"MZ\x90\0\x03\0\0\0";
        for content in [page, drawing, program, b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01\0"] {
            for name in ["a.html", "a.svg", "a.js", "a.exe", "a.txt", "a.png", "a", "a.docx"] {
                assert_eq!(refused_code(name, content), "UNSUPPORTED_MEDIA_TYPE", "{name}");
            }
        }
        assert!(refused_code("a.txt", b"") == "INVALID_PARAMETER");
    }

    #[test]
    fn texts_and_office_files_go_by_name_when_the_content_fits() {
        assert_eq!(judge("notas.txt", "señal <b>".as_bytes()).unwrap(), "text/plain");
        assert_eq!(judge("lista.csv", b"a;b\n1;2\n").unwrap(), "text/csv");
        assert_eq!(
            judge("viejo.doc", &[COMPOUND_FILE, &[0; 512]].concat()).unwrap(),
            "application/msword"
        );
        let docx = [ZIP, b"................word/document.xml"].concat();
        assert!(judge("nuevo.docx", &docx).unwrap().ends_with("wordprocessingml.document"));
        assert_eq!(refused_code("nuevo.xlsx", &docx), "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(refused_code("nuevo.zip", &docx), "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(refused_code("notas.txt", b"a\0b"), "UNSUPPORTED_MEDIA_TYPE");
    }
}
