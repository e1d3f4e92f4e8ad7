//! What bytes are: content first, the file name where the content leaves a choice.

use super::package::{self, PackageKind};
use super::{ExtractError, Format};

/// Old Office files and encrypted new ones are compound files.
const COMPOUND_FILE: [u8; 8] = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// The format of `bytes` named `name`. A name without a known extension is fine when the content tells.
///
/// Errors: `EMPTY`, `ENCRYPTED` (an Office file with a password) or `UNSUPPORTED_TYPE`, whose message names
/// the accepted types.
pub fn detect(name: &str, bytes: &[u8]) -> Result<Format, ExtractError> {
    if bytes.is_empty() {
        return Err(ExtractError::empty());
    }
    let named = by_extension(name);
    if has_pdf_header(bytes) {
        return Ok(Format::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return by_package(bytes, &named);
    }
    if bytes.starts_with(&COMPOUND_FILE) {
        return Err(compound_file(bytes));
    }
    if let Some(kind) = infer::get(bytes).filter(|kind| !is_text_kind(kind.mime_type())) {
        let what = format!("the content is {}, which is not taken", kind.mime_type());
        return Err(ExtractError::unsupported(&what));
    }
    match named {
        Named::Known(format) if is_binary_format(format) => {
            let what = format!("`{}` does not hold what its name says", shown(name));
            Err(ExtractError::unsupported(&what))
        }
        Named::Known(format) => Ok(format),
        Named::Nothing => by_text(bytes),
        Named::Unknown(extension) => {
            Err(ExtractError::unsupported(&format!("files of type `{extension}` are not taken")))
        }
    }
}

/// The format that a `Content-Type` names, where it names one for certain; `text/plain` and
/// `application/octet-stream` leave it to [`detect`].
pub fn from_content_type(content_type: &str) -> Option<Format> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/xhtml+xml" => Some(Format::Html),
        "text/x-markdown" => Some(Format::Markdown),
        "text/tab-separated-values" => Some(Format::Csv),
        "application/jsonl" | "application/x-jsonlines" => Some(Format::Jsonl),
        "text/plain" => None,
        other => Format::ALL.into_iter().find(|format| format.mime() == other),
    }
}

enum Named {
    Known(Format),
    Unknown(String),
    Nothing,
}

fn by_extension(name: &str) -> Named {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let Some((_, extension)) = file.rsplit_once('.') else { return Named::Nothing };
    let extension = extension.trim().to_lowercase();
    let format = match extension.as_str() {
        "pdf" => Format::Pdf,
        "docx" | "docm" | "dotx" => Format::Docx,
        "xlsx" | "xlsm" | "xltx" => Format::Xlsx,
        "pptx" | "pptm" | "ppsx" | "potx" => Format::Pptx,
        "csv" | "tsv" | "tab" => Format::Csv,
        "html" | "htm" | "xhtml" => Format::Html,
        "md" | "markdown" | "mdown" => Format::Markdown,
        "txt" | "text" => Format::Text,
        "json" => Format::Json,
        "jsonl" | "ndjson" => Format::Jsonl,
        "eml" => Format::Eml,
        "epub" => Format::Epub,
        "" => return Named::Nothing,
        _ => return Named::Unknown(extension.chars().take(20).collect()),
    };
    Named::Known(format)
}

/// The header may stand anywhere in the first KiB (PDF 1.7, annex H, note 13).
fn has_pdf_header(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(1024)].windows(5).any(|window| window == b"%PDF-")
}

fn by_package(bytes: &[u8], named: &Named) -> Result<Format, ExtractError> {
    match package::kind(bytes) {
        PackageKind::Known(format) => Ok(format),
        // The list of entries is at the end, so a file that was cut has lost it: the extractor tells.
        PackageKind::Damaged => match named {
            Named::Known(format) if is_package(*format) => Ok(*format),
            _ => Err(ExtractError::unsupported("the content is a zip archive")),
        },
        PackageKind::Other => Err(ExtractError::unsupported("the content is a zip archive")),
    }
}

fn compound_file(bytes: &[u8]) -> ExtractError {
    let stream_name: Vec<u8> =
        "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    if bytes.windows(stream_name.len()).any(|window| window == stream_name) {
        return ExtractError::encrypted();
    }
    ExtractError::unsupported(
        "the content is an old Office file (.doc, .xls, .ppt); save it as .docx, .xlsx or .pptx",
    )
}

fn is_package(format: Format) -> bool {
    matches!(format, Format::Docx | Format::Xlsx | Format::Pptx | Format::Epub)
}

fn is_binary_format(format: Format) -> bool {
    format == Format::Pdf || is_package(format)
}

fn is_text_kind(mime: &str) -> bool {
    mime == "text/html" || mime == "text/plain" || mime == "text/xml"
}

/// A text without a telling name.
fn by_text(bytes: &[u8]) -> Result<Format, ExtractError> {
    let head = &bytes[..bytes.len().min(4096)];
    let text = super::encoding::decode(head_of_text(head), None)
        .map_err(|_| ExtractError::unsupported("the content is of no known type"))?;
    let start = text.trim_start().to_ascii_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        return Ok(Format::Html);
    }
    Ok(Format::Text)
}

/// Without the part of a character that the cut may have left at the end.
fn head_of_text(head: &[u8]) -> &[u8] {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => &head[..error.valid_up_to()],
        _ => head,
    }
}

fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_wins_over_the_name() {
        assert_eq!(detect("a.txt", b"%PDF-1.4\n").unwrap(), Format::Pdf);
        assert_eq!(detect("a.pdf", b"\x89PNG\r\n\x1a\n0000").unwrap_err().code, "UNSUPPORTED_TYPE");
        assert_eq!(detect("a.pdf", b"hola").unwrap_err().code, "UNSUPPORTED_TYPE");
        assert_eq!(detect("a.doc", &COMPOUND_FILE).unwrap_err().code, "UNSUPPORTED_TYPE");
        assert_eq!(detect("a.txt", b"").unwrap_err().code, "EMPTY");
    }

    #[test]
    fn the_name_chooses_among_texts() {
        assert_eq!(detect("precios.CSV", b"a;b").unwrap(), Format::Csv);
        assert_eq!(detect("carpeta/x.md", b"# a").unwrap(), Format::Markdown);
        assert_eq!(detect("page", b" <!DOCTYPE html><p>a").unwrap(), Format::Html);
        assert_eq!(detect("notes", b"hola").unwrap(), Format::Text);
        let error = detect("a.exe", b"hola").unwrap_err();
        assert!(error.message.contains("accepted types are pdf, docx"), "{error}");
    }

    #[test]
    fn content_types_name_formats() {
        assert_eq!(from_content_type("text/html; charset=utf-8"), Some(Format::Html));
        assert_eq!(from_content_type("application/pdf"), Some(Format::Pdf));
        assert_eq!(from_content_type("text/plain"), None);
        assert_eq!(from_content_type("image/png"), None);
    }
}
