//! Folding: compatibility forms, accents and case are levelled, so that `Envío`, `ENVIO` and `envio` meet.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Calls `emit` with the folded characters of `c`: compatibility decomposition (NFKD), without
/// combining marks, in lower case. A handful of letters that Unicode does not decompose are spelled out.
pub(super) fn fold_char(c: char, mut emit: impl FnMut(char)) {
    if c.is_ascii() {
        emit(c.to_ascii_lowercase());
        return;
    }
    decompose_compatible(c, |part| {
        if is_combining_mark(part) {
            return;
        }
        for lower in part.to_lowercase() {
            match spelled_out(lower) {
                Some(letters) => letters.chars().for_each(&mut emit),
                None if is_combining_mark(lower) => {}
                None => emit(lower),
            }
        }
    });
}

const fn spelled_out(c: char) -> Option<&'static str> {
    match c {
        'ß' => Some("ss"),
        'æ' => Some("ae"),
        'œ' => Some("oe"),
        'ø' => Some("o"),
        'đ' | 'ð' => Some("d"),
        'ł' => Some("l"),
        'ı' => Some("i"),
        _ => None,
    }
}

/// The whole text folded: compatibility forms, accents and case levelled; everything else stays.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        fold_char(c, |part| folded.push(part));
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_case_and_compatibility_forms_are_levelled() {
        assert_eq!(fold("ENVÍO Ñandú Ação"), "envio nandu acao");
        assert_eq!(fold("ﬁn ½ Ⅳ straße ＡＢＣ"), "fin 1⁄2 iv strasse abc");
        assert_eq!(fold("e\u{301}"), fold("é"));
        assert_eq!(fold("İstanbul"), "istanbul");
    }
}
