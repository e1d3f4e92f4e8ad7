//! How a passage is put into words for the index, the statistics and the embedder. One place, so that what
//! was counted when a passage came is what is taken off when it goes, and a stored vector is found again.

use sha2::{Digest, Sha256};
use storage::embeddings::TextHash;

/// The heading that a passage is indexed, counted and embedded with: the name of its source, then the
/// chunk's own heading path, joined by ` › `.
pub fn passage_heading(source_name: &str, heading_path: &str) -> String {
    match (source_name.is_empty(), heading_path.is_empty()) {
        (_, true) => source_name.to_owned(),
        (true, false) => heading_path.to_owned(),
        (false, false) => format!("{source_name} › {heading_path}"),
    }
}

/// The text that a passage is embedded as: its heading (see [`passage_heading`]), a line break, its text.
pub fn embedded_text(heading: &str, text: &str) -> String {
    if heading.is_empty() { text.to_owned() } else { format!("{heading}\n{text}") }
}

/// Under what an embedded text's vector is stored: its SHA-256.
pub fn text_hash(embedded_text: &str) -> TextHash {
    Sha256::digest(embedded_text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_names_the_source_first_and_leaves_out_what_is_empty() {
        assert_eq!(passage_heading("Manual", "Envíos › Plazos"), "Manual › Envíos › Plazos");
        assert_eq!(passage_heading("Manual", ""), "Manual");
        assert_eq!(passage_heading("", "Envíos"), "Envíos");
        assert_eq!(embedded_text("Manual", "Dos días."), "Manual\nDos días.");
        assert_eq!(embedded_text("", "Dos días."), "Dos días.");
    }
}
