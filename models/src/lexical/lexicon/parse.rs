//! Reading a lexicon's lines. See `models/lexicon/README.md` for the format.

use domain::Lang;

use super::super::{each_word, stem};

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LexiconError {
    /// From 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// Characters of a term at most.
pub(super) const LONGEST_TERM: usize = 80;
/// Words of a term at most, stop words left out.
pub(super) const MOST_WORDS: usize = 6;
/// Terms of an entry at most.
pub(super) const MOST_TERMS: usize = 40;

/// A concept and its terms, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    pub(super) terms: Vec<ParsedTerm>,
}

/// A term, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParsedTerm {
    pub(super) lang: Lang,
    /// Its words without stop words; all of them where there is none else.
    pub(super) words: Vec<String>,
}

/// The entries of a text, in order. Lines that are empty or begin with `#` are left out.
pub(super) fn entries(text: &str) -> impl Iterator<Item = Result<Entry, LexiconError>> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with('#') {
            return None;
        }
        let line = at + 1;
        let failed = |problem| LexiconError { line, problem };
        Some(terms(line_text).map(|terms| Entry { line, terms }).map_err(failed))
    })
}

fn terms(line: &str) -> Result<Vec<ParsedTerm>, String> {
    let mut terms: Vec<ParsedTerm> = Vec::new();
    let mut langs: Vec<Lang> = Vec::new();
    for part in line.split('|') {
        let Some((code, list)) = part.split_once(':') else {
            let part = part.trim();
            return Err(format!("`{part}` names no language; write it as `es: {part}`"));
        };
        let lang = language(code.trim())?;
        if langs.contains(&lang) {
            return Err(format!("`{lang}` stands there twice; put its terms together"));
        }
        langs.push(lang);
        for written in list.split(',') {
            let term = term(written, lang)?;
            if terms.contains(&term) {
                let written = written.trim();
                return Err(format!("`{written}` stands there twice; leave one out"));
            }
            terms.push(term);
        }
    }
    match terms.len() {
        0 | 1 => Err("one term alone says nothing; add a synonym or a translation".to_owned()),
        count if count > MOST_TERMS => {
            Err(format!("{count} terms are too many; split them into entries of {MOST_TERMS}"))
        }
        _ => Ok(terms),
    }
}

fn language(code: &str) -> Result<Lang, String> {
    match code {
        "es" => Ok(Lang::Es),
        "en" => Ok(Lang::En),
        "pt" => Ok(Lang::Pt),
        _ => Err(format!("`{code}` is no language of a lexicon; use es, en or pt")),
    }
}

fn term(written: &str, lang: Lang) -> Result<ParsedTerm, String> {
    let written = without_regions(written.trim());
    if written.chars().count() > LONGEST_TERM {
        return Err(format!("a term has more than {LONGEST_TERM} characters; shorten it"));
    }
    let mut words = Vec::new();
    let mut stopped = Vec::new();
    each_word(written, |word| {
        let stop = stem::is_stop_word(word, lang);
        if stop { &mut stopped } else { &mut words }.push(word.to_owned());
    });
    if words.is_empty() {
        words = stopped;
    }
    match words.len() {
        0 => Err("a term is empty; write words between the commas".to_owned()),
        count if count > MOST_WORDS => {
            Err(format!("`{written}` has more than {MOST_WORDS} words; shorten it"))
        }
        _ => Ok(ParsedTerm { lang, words }),
    }
}

/// A term without the countries that it is marked as used in: `polera (CL BO)`.
fn without_regions(written: &str) -> &str {
    let Some((term, regions)) = written.strip_suffix(')').and_then(|open| open.rsplit_once('('))
    else {
        return written;
    };
    let country = |code: &str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    let all = !regions.trim().is_empty() && regions.split_whitespace().all(country);
    if all { term.trim_end() } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let failed = entries(text).find_map(Result::err);
        failed.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_entry_has_folded_terms_by_language_without_regions_and_stop_words() {
        let text = "# calls\n\nes: Móvil (ES), teléfono de casa | en: cell phone\n";
        let entries: Vec<Entry> = entries(text).collect::<Result<_, _>>().unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(entry.line, 3);
        let terms = entry.terms.iter().map(|term| (term.lang, term.words.join(" ")));
        let expected = [(Lang::Es, "movil"), (Lang::Es, "telefono casa"), (Lang::En, "cell phone")];
        assert_eq!(terms.collect::<Vec<_>>(), expected.map(|(lang, term)| (lang, term.to_owned())));
    }

    #[test]
    fn what_is_no_entry_is_named_with_its_line_and_remedy() {
        assert_eq!(
            problem("es: a, b\ncelular"),
            "line 2: `celular` names no language; write it as `es: celular`"
        );
        assert_eq!(
            problem("fr: portable"),
            "line 1: `fr` is no language of a lexicon; use es, en or pt"
        );
        assert!(problem("es: uno").contains("add a synonym"), "{}", problem("es: uno"));
        assert!(problem("es: uno, ,dos").contains("a term is empty"));
        assert!(problem("es: Móvil, movil (ES)").contains("leave one out"));
        assert!(problem("es: a1, b2 | es: c3").contains("put its terms together"));
        assert!(problem(&format!("es: {}, b", "a".repeat(81))).contains("80 characters"));
        assert!(problem("es: a1 b2 c3 d4 e5 f6 g7, x").contains("6 words"));
        let many: Vec<String> = (0..41).map(|n| format!("n{n}")).collect();
        assert!(problem(&format!("es: {}", many.join(", "))).contains("entries of 40"));
    }
}
