//! Cutting a passage into sentences, verbatim.

/// What a line of a passage is, as far as answers are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentenceKind {
    /// Says something.
    Statement,
    /// Asks something, as the lines of a list of frequent questions do; what follows answers it.
    Question,
    /// Stands above what follows.
    Heading,
}

/// A sentence of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// Verbatim, without the white space around it.
    pub text: &'a str,
    /// Where in the passage it begins, in bytes.
    pub at: usize,
    /// What it is.
    pub kind: SentenceKind,
}

/// The sentences of a passage in order. Each bullet, table row and heading is one; lines that merely wrap
/// go on. A full stop ends a sentence when a new one visibly begins after it and it belongs neither to an
/// abbreviation nor to a number.
pub fn sentences(text: &str) -> Vec<Sentence<'_>> {
    let mut sentences = Vec::new();
    let mut before = 0;
    for block in blocks(text) {
        let heading = is_heading(block);
        let mut start = 0;
        if !heading {
            for end in ends(block) {
                push(&mut sentences, before + start, &block[start..end], false);
                start = end;
            }
        }
        push(&mut sentences, before + start, &block[start..], heading);
        before += block.len();
    }
    sentences
}

fn push<'a>(sentences: &mut Vec<Sentence<'a>>, from: usize, text: &'a str, heading: bool) {
    let at = from + (text.len() - text.trim_start().len());
    let text = text.trim();
    if !text.chars().any(char::is_alphanumeric) {
        return;
    }
    let closing = ['"', '»', '”', ')', '*', '_', ' '];
    let kind = if text.trim_end_matches(closing).ends_with('?') {
        SentenceKind::Question
    } else if heading {
        SentenceKind::Heading
    } else {
        SentenceKind::Statement
    };
    sentences.push(Sentence { text, at, kind });
}

/// Pieces of a text that no sentence crosses: paragraphs, bullets, table rows, headings.
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut previous = "";
    for line in text.split_inclusive('\n') {
        let breaks = line.trim().is_empty()
            || stands_alone(line)
            || is_heading(previous)
            || previous.trim_start().starts_with('|')
            || previous.trim_end().contains('\t');
        if breaks && at > start {
            blocks.push(&text[start..at]);
            start = at;
        }
        at += line.len();
        previous = line;
    }
    blocks.push(&text[start..]);
    blocks
}

/// Whether a line begins something of its own: a bullet, a numbered item, a table row, a heading.
fn stands_alone(line: &str) -> bool {
    let line = line.trim();
    if line.contains('\t') {
        return true;
    }
    let bullet = ["- ", "* ", "• ", "– ", "· ", "+ ", "|", "#", "> ", "▪", "◦", "✓"];
    if bullet.iter().any(|mark| line.starts_with(mark)) {
        return true;
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let after = &line[digits..];
    (1..=3).contains(&digits) && [". ", ") ", ".- "].iter().any(|mark| after.starts_with(mark))
}

/// Whether a block is a heading: marked as one, or a short line in capitals.
fn is_heading(block: &str) -> bool {
    let block = block.trim();
    if block.starts_with('#') {
        return true;
    }
    let letters = block.chars().filter(|c| c.is_alphabetic()).count();
    let upper = block.chars().filter(|c| c.is_uppercase()).count();
    letters > 3 && upper == letters && block.chars().count() <= 80 && !block.ends_with('.')
}

/// Byte positions in a block where a sentence ends (excluded), the end of the block left out.
fn ends(block: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    let mut chars = block.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '.' | '!' | '?' | '…') {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some(&(next, closing)) = chars.peek() {
            if !matches!(closing, '.' | '!' | '?' | '…' | '"' | '\'' | '”' | '»' | ')' | ']' | '’')
            {
                break;
            }
            end = next + closing.len_utf8();
            chars.next();
        }
        let rest = &block[end..];
        let gap = rest.len() - rest.trim_start().len();
        if gap == 0 || !begins_sentence(rest.trim_start()) {
            continue;
        }
        if c == '.' && is_abbreviation(&block[start..at], rest.trim_start()) {
            continue;
        }
        ends.push(end + gap);
        start = end + gap;
    }
    ends
}

fn begins_sentence(rest: &str) -> bool {
    let opening = ['"', '“', '«', '(', '[', '\'', '‘', '*', '_', '-', '–', '—', '`'];
    let first = rest.trim_start_matches(opening).chars().next();
    first.is_some_and(|c| !c.is_lowercase() && (c.is_alphanumeric() || matches!(c, '¿' | '¡')))
}

/// Whether the full stop between `before` and `rest` belongs to an abbreviation: a single capital, parts
/// such as `p.m`, a title before a name, or the likes of `pág` before a number.
fn is_abbreviation(before: &str, rest: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '«')).next();
    let word = word.unwrap_or_default();
    let mut letters = word.chars();
    if let (Some(first), None) = (letters.next(), letters.next()) {
        return first.is_uppercase();
    }
    if word.contains('.') {
        return word.split('.').all(|part| part.chars().count() <= 2 && !part.is_empty());
    }
    let word = word.to_lowercase();
    BEFORE_NAMES.contains(&word.as_str())
        || (rest.starts_with(|c: char| c.is_ascii_digit())
            && BEFORE_NUMBERS.contains(&word.as_str()))
}

/// Abbreviations that a name follows.
const BEFORE_NAMES: &[&str] = &[
    "sr", "sra", "srta", "sres", "dr", "dra", "drs", "prof", "profa", "ing", "lic", "arq", "abg",
    "ud", "uds", "vd", "av", "avda", "pje", "ee", "ej", "vs", "sta", "sto", "st", "mr", "mrs",
    "ms", "rev", "gen", "gral", "sgt", "capt", "gov", "sen", "rep", "hon", "exmo", "exma", "ilmo",
    "eng", "hnos", "cf",
];

/// Abbreviations that a number follows.
const BEFORE_NUMBERS: &[&str] = &[
    "no", "nº", "n°", "nro", "núm", "num", "art", "arts", "inc", "cap", "pág", "pag", "págs", "p",
    "pp", "vol", "ed", "fig", "tel", "fono", "cel", "ext", "aprox", "approx", "máx", "mín", "max",
    "min", "of", "dpto", "depto", "ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep",
    "sept", "oct", "nov", "dic", "jan", "apr", "aug", "dec", "fev", "mai", "set", "out", "dez",
    "ca", "col", "sec",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn a_stop_ends_a_sentence_only_where_one_begins() {
        assert_eq!(
            texts(
                "Cuesta 5.490 pesos. Lo trae el Sr. Pérez a las 9 p.m. Mañana no. ¿Sirve? Sí, claro."
            ),
            [
                "Cuesta 5.490 pesos.",
                "Lo trae el Sr. Pérez a las 9 p.m. Mañana no.",
                "¿Sirve?",
                "Sí, claro."
            ]
        );
        assert_eq!(
            texts("Written by J. R. Smith et al. in 1990. It sold well."),
            ["Written by J. R. Smith et al. in 1990.", "It sold well."]
        );
        assert_eq!(
            texts("Vale hasta el n.º 5. 12 meses de garantía."),
            ["Vale hasta el n.º 5.", "12 meses de garantía."]
        );
    }

    #[test]
    fn bullets_rows_and_headings_stand_alone_and_wrapped_lines_go_on() {
        let text = "# Horarios\nAbrimos de lunes\na viernes.\n- Sábado: 10 a 14\n- Domingo: cerrado\n\n| Día | Hora |\n| lunes | 9 |\nOtra cosa.";
        assert_eq!(
            texts(text),
            [
                "# Horarios",
                "Abrimos de lunes\na viernes.",
                "- Sábado: 10 a 14",
                "- Domingo: cerrado",
                "| Día | Hora |",
                "| lunes | 9 |",
                "Otra cosa."
            ]
        );
        let kinds: Vec<SentenceKind> =
            sentences("# Horarios\n¿Cuándo abren?\nA las 9.").iter().map(|s| s.kind).collect();
        assert_eq!(kinds, [SentenceKind::Heading, SentenceKind::Question, SentenceKind::Statement]);
    }

    #[test]
    fn every_sentence_is_verbatim() {
        let text = "Uno. «Dos.» (Tres!) \u{a0} Cuatro…  Cinco";
        for sentence in sentences(text) {
            assert!(text[sentence.at..].starts_with(sentence.text), "{sentence:?}");
        }
        assert_eq!(texts(" \n . \n"), Vec::<&str>::new());
    }
}
