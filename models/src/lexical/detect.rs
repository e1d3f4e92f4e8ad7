//! Which language a text is in, told by its stop words and letters and, where those do not decide, by
//! whatlang's trigrams. No language is claimed without evidence.

use domain::Lang;
use whatlang::Detector;

use super::{each_word, stem};

/// The language of a text: `None` when nothing in it tells, `Other` when it is evidently none of the
/// known ones. Works on chat text without accents; a text of several languages gets the one with most
/// evidence.
pub fn detect(text: &str) -> Option<Lang> {
    let evidence = Evidence::of(text);
    if evidence.letters == 0 {
        return None;
    }
    if evidence.foreign_letters * 2 > evidence.letters {
        return Some(Lang::Other);
    }
    if let Some(lang) = evidence.verdict() {
        return Some(lang);
    }
    by_trigrams(text, &evidence)
}

/// What speaks for each of es, en, pt (in the order of `Lang::KNOWN`).
#[derive(Debug, Default)]
struct Evidence {
    words: usize,
    letters: usize,
    foreign_letters: usize,
    votes: [f64; 3],
    /// Votes of words of one or two letters, which are as often parts of codes and names.
    short_votes: [f64; 3],
}

impl Evidence {
    fn of(text: &str) -> Self {
        let mut evidence = Self::default();
        for c in text.chars().filter(|c| c.is_alphabetic()) {
            evidence.letters += 1;
            evidence.foreign_letters += usize::from(!is_latin(c));
            match c {
                'ñ' | 'Ñ' => evidence.votes[0] += 1.5,
                'ã' | 'õ' | 'ç' | 'ê' | 'ô' | 'â' | 'Ã' | 'Ç' => evidence.votes[2] += 1.5,
                'ú' | 'ó' | 'í' | 'á' | 'é' => {
                    evidence.votes[0] += 0.3;
                    evidence.votes[2] += 0.2;
                }
                _ => {}
            }
        }
        if text.split_whitespace().any(|word| matches!(word, "é" | "É" | "à" | "às" | "há")) {
            evidence.votes[2] += 2.0;
        }
        let marks = text.chars().filter(|c| matches!(c, '¿' | '¡')).count();
        evidence.votes[0] += 2.0 * marks as f64;
        let mut after_o = false;
        each_word(text, |word| {
            evidence.vote(word);
            // "o que", "o estagio": the Portuguese article; Spanish "o" is the rare "or".
            evidence.votes[2] += if after_o && word == "que" { 2.0 } else { 0.0 };
            after_o = word == "o";
        });
        if evidence.words >= 3 {
            for (vote, short) in evidence.votes.iter_mut().zip(evidence.short_votes) {
                *vote += short;
            }
        }
        evidence
    }

    /// A stop word votes for its languages; one that only one language has counts double.
    fn vote(&mut self, word: &str) {
        if word.bytes().any(|b| b.is_ascii_digit()) {
            return;
        }
        self.words += 1;
        if let "o" | "e" | "os" | "ou" = word {
            self.short_votes[2] += 0.8;
            return;
        }
        let has = Lang::KNOWN.map(|lang| {
            if stem::is_stop_word(word, lang) {
                1.0
            } else if stem::is_chat_filler(word, lang) {
                0.6
            } else {
                0.0
            }
        });
        let languages = has.iter().filter(|&&weight| weight > 0.0).count();
        let share = match languages {
            1 => 2.0,
            2 => 0.7,
            _ => 0.4,
        };
        let votes = if word.len() <= 2 { &mut self.short_votes } else { &mut self.votes };
        for (vote, weight) in votes.iter_mut().zip(has) {
            *vote += weight * share;
        }
        for (vote, endings) in self.votes.iter_mut().zip(ENDINGS) {
            if word.len() > 4 && endings.iter().any(|ending| word.ends_with(ending)) {
                *vote += 0.6;
            }
        }
    }

    /// The language with clearly most votes, where there are enough votes for the length of the text.
    fn verdict(&self) -> Option<Lang> {
        let (best, second) = self.ranked();
        let (lang, votes) = best;
        let enough = votes >= 1.2 && votes >= 0.12 * self.words as f64;
        (enough && votes >= 1.3 * second.1 + 0.3).then_some(lang)
    }

    fn ranked(&self) -> ((Lang, f64), (Lang, f64)) {
        let mut ranked = [0, 1, 2].map(|i| (Lang::KNOWN[i], self.votes[i]));
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        (ranked[0], ranked[1])
    }
}

/// Endings that are common in one of the languages and rare in the others, folded.
const ENDINGS: [&[&str]; 3] = [
    &["cion", "ciones", "dad", "dades", "miento", "illa", "illo", "ando", "iendo", "uelo", "eria"],
    &["ing", "tion", "ness", "ship", "ment", "ght", "able", "ould"],
    &["cao", "coes", "dade", "dades", "mento", "agem", "inho", "inha", "ndo", "eiro", "eira"],
];

const fn is_latin(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' | '\u{2C60}'..='\u{2C7F}' | '\u{FB00}'..='\u{FB06}' | '\u{FF21}'..='\u{FF5A}')
}

/// Letters below which trigrams tell nothing.
const ENOUGH_LETTERS: usize = 24;

/// Letters from which on a text without any known stop word is in another language.
const ENOUGH_FOR_OTHER: usize = 50;

fn by_trigrams(text: &str, evidence: &Evidence) -> Option<Lang> {
    let (best, second) = evidence.ranked();
    let votes_lead = (best.1 > second.1 && best.1 >= 0.6).then_some(best.0);
    if evidence.letters < ENOUGH_LETTERS {
        return votes_lead;
    }
    let open = whatlang::detect(text);
    if let Some(found) = open.as_ref().filter(|info| info.is_reliable()) {
        let stop_share = best.1 / evidence.words.max(1) as f64;
        match known(found.lang()) {
            Some(lang) => return Some(lang),
            None if stop_share < 0.25 => return Some(Lang::Other),
            None => {}
        }
    }
    let allowed = vec![whatlang::Lang::Spa, whatlang::Lang::Eng, whatlang::Lang::Por];
    let among = Detector::with_allowlist(allowed).detect(text);
    let trigrams = among.filter(|info| info.confidence() > 0.5).and_then(|info| known(info.lang()));
    if best.1 < 0.6 && open.is_some_and(|info| known(info.lang()).is_none()) {
        return (evidence.letters >= ENOUGH_FOR_OTHER).then_some(Lang::Other);
    }
    trigrams.or(votes_lead)
}

fn known(lang: whatlang::Lang) -> Option<Lang> {
    match lang {
        whatlang::Lang::Spa => Some(Lang::Es),
        whatlang::Lang::Eng => Some(Lang::En),
        whatlang::Lang::Por => Some(Lang::Pt),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_chat_texts_are_told_apart() {
        for (text, lang) in [
            ("¿Cuáles son los horarios?", Lang::Es),
            ("cuanto sale el despacho a concepcion", Lang::Es),
            ("desde que monto es gratis el envio??", Lang::Es),
            ("xq no me llego el pedido", Lang::Es),
            ("what are your opening hours", Lang::En),
            ("do you ship to Argentina?", Lang::En),
            ("vocês entregam no Peru? quanto custa?", Lang::Pt),
            ("quais sao os horarios de voces", Lang::Pt),
            ("posso pagar com cartão?", Lang::Pt),
            ("hola", Lang::Es),
            ("olá", Lang::Pt),
        ] {
            assert_eq!(detect(text), Some(lang), "{text}");
        }
    }

    #[test]
    fn longer_texts_are_told_apart_from_other_languages() {
        for (text, lang) in [
            (
                "El envío estándar dentro de la capital cuesta 3.990 pesos y llega en dos días hábiles.",
                Lang::Es,
            ),
            (
                "Standard delivery within the capital costs 3,990 pesos and takes two working days.",
                Lang::En,
            ),
            (
                "A entrega padrão dentro da capital custa 3.990 pesos e chega em dois dias úteis.",
                Lang::Pt,
            ),
            (
                "La livraison standard dans la capitale coûte 3 990 pesos et prend deux jours ouvrables.",
                Lang::Other,
            ),
            (
                "Der Standardversand innerhalb der Hauptstadt kostet 3990 Pesos und dauert zwei Werktage.",
                Lang::Other,
            ),
            ("Стандартная доставка по столице стоит 3990 песо.", Lang::Other),
        ] {
            assert_eq!(detect(text), Some(lang), "{text}");
        }
    }

    #[test]
    fn nothing_is_claimed_without_evidence() {
        for text in ["", "  ", "12345", "AN-4471", "Nevado 3", "xyzzy"] {
            assert_eq!(detect(text), None, "{text:?}");
        }
    }
}
