//! Texts as metrics compare them.

use models::lexical::each_word;

/// Articles of es, en and pt, folded.
const ARTICLES: &[&str] = &[
    "el", "la", "los", "las", "un", "una", "unos", "unas", "the", "a", "an", "o", "os", "as", "um",
    "uma", "uns", "umas",
];

/// Folded words with a space around each.
pub(crate) fn folded(text: &str) -> String {
    let mut words = String::from(" ");
    each_word(text, |word| {
        words.push_str(word);
        words.push(' ');
    });
    words
}

/// Folded words without articles, with a space around each.
pub(crate) fn normalized(text: &str) -> String {
    let mut words = String::from(" ");
    each_word(text, |word| {
        if !ARTICLES.contains(&word) {
            words.push_str(word);
            words.push(' ');
        }
    });
    words
}

/// A text without its `[n]` markers.
pub(crate) fn without_markers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let (before, after) = rest.split_at(at);
        let digits = after[1..].bytes().take_while(u8::is_ascii_digit).count();
        let is_marker = digits > 0 && after.as_bytes().get(1 + digits) == Some(&b']');
        if is_marker {
            plain.push_str(before.trim_end_matches(' '));
            rest = &after[digits + 2..];
        } else {
            plain.push_str(before);
            plain.push('[');
            rest = &after[1..];
        }
    }
    plain.push_str(rest);
    plain
}

/// The numbers of the `[n]` markers in a text.
pub(crate) fn markers(text: &str) -> Vec<i64> {
    let mut markers = Vec::new();
    for piece in text.split('[').skip(1) {
        if let Some((digits, _)) = piece.split_once(']')
            && let Ok(marker) = digits.parse()
        {
            markers.push(marker);
        }
    }
    markers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_other_brackets() {
        let text = "Cuesta 10 [1][2]. Véase [nota] y [3].";
        assert_eq!(without_markers(text), "Cuesta 10. Véase [nota] y.");
        assert_eq!(markers(text), [1, 2, 3]);
        assert_eq!(folded("¡Días [1]!"), " dias 1 ");
    }
}
