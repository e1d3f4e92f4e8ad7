//! Bytes of an unnamed encoding become characters.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use super::ExtractError;

/// How much of a text the detector looks at.
const SAMPLE_BYTES: usize = 256 * 1024;

/// Decodes text: a byte order mark decides, then the charset the sender named, then UTF-16 by the
/// pattern of its zero bytes, then UTF-8 if it is valid, then the statistics of `chardetng`.
///
/// Errors: `UNREADABLE` when the bytes are not text.
pub fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, ExtractError> {
    if let Some((encoding, mark_len)) = Encoding::for_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes[mark_len..]);
        return checked(text.into_owned());
    }
    if let Some(encoding) = charset.and_then(|label| Encoding::for_label(label.as_bytes())) {
        let (text, malformed) = encoding.decode_without_bom_handling(bytes);
        if !malformed {
            return checked(text.into_owned());
        }
    }
    // Before UTF-8, which allows zeros.
    if let Some(encoding) = utf16_by_zeros(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(bytes);
        return checked(text.into_owned());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return checked(text.to_owned());
    }
    if is_binary(bytes) {
        return Err(not_text());
    }
    let (text, _) = guess(bytes).decode_without_bom_handling(bytes);
    checked(text.into_owned())
}

/// The most likely legacy encoding.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    detector.feed(sample, sample.len() == bytes.len());
    detector.guess(None, Utf8Detection::Allow)
}

/// Texts in European languages put a zero into every other byte of UTF-16.
fn utf16_by_zeros(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(4096) / 2 * 2];
    if sample.len() < 8 {
        return None;
    }
    let pairs = sample.len() / 2;
    let zeros_at = |first: usize| sample.iter().skip(first).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros_at(0), zeros_at(1));
    if odd * 10 > pairs * 7 && even * 20 < pairs {
        return Some(UTF_16LE);
    }
    if even * 10 > pairs * 7 && odd * 20 < pairs {
        return Some(UTF_16BE);
    }
    None
}

/// Legacy encodings have no use for control bytes; compressed or compiled bytes are full of them.
fn is_binary(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let controls = sample.iter().filter(|b| **b < 0x20 && !b"\t\n\r\x0c\x1b".contains(b)).count();
    controls * 100 > sample.len()
}

/// Refuses what decoded without error but is no text: more than one character in twenty is a control or
/// a replacement character.
fn checked(text: String) -> Result<String, ExtractError> {
    let mut chars = 0_usize;
    let mut strange = 0_usize;
    for c in text.chars() {
        chars += 1;
        let is_strange =
            c == '\u{FFFD}' || (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}'));
        strange += usize::from(is_strange);
    }
    if strange * 20 > chars {
        return Err(not_text());
    }
    Ok(text)
}

fn not_text() -> ExtractError {
    ExtractError::unreadable("the file is not text in any known encoding; save it as UTF-8 text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_labels_and_statistics_choose_the_encoding() {
        assert_eq!(decode("\u{FEFF}año".as_bytes(), None).unwrap(), "año");
        assert_eq!(decode(b"\xFF\xFEa\x00\xF1\x00", None).unwrap(), "añ");
        assert_eq!(decode(b"a\xF1o", Some("iso-8859-1")).unwrap(), "año");
        let latin =
            b"La l\xEDnea sin gluten se elabora los mi\xE9rcoles; hay que pedirla ma\xF1ana.";
        assert!(decode(latin, None).unwrap().contains("línea sin gluten se elabora los miércoles"));
        let wide: Vec<u8> = "texto sin marca".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode(&wide, None).unwrap(), "texto sin marca");
        assert_eq!(decode("sí".as_bytes(), Some("no-such-charset")).unwrap(), "sí");
    }

    #[test]
    fn binary_is_refused() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(4096).collect();
        assert_eq!(decode(&bytes, None).unwrap_err().code, "UNREADABLE");
        assert_eq!(decode(&[0; 64], None).unwrap_err().code, "UNREADABLE");
    }
}
