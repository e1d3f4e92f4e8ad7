//! What else the words of a question may be called: their synonyms in its own language, their translations for
//! passages in another.

use domain::Lang;

use crate::lexical::{Lexicon, Match, Spoken, TermRef, term_of};

/// Words of a question that are one term, or a word that is in no lexicon.
#[derive(Debug)]
pub(super) struct Span<'a> {
    /// The first of them and how many there are.
    pub(super) first: usize,
    pub(super) words: usize,
    found: Vec<(&'a Lexicon, Match)>,
}

impl<'a> Span<'a> {
    /// What it may be called in `lang`, besides itself.
    pub(super) fn others(&self, lang: Lang) -> impl Iterator<Item = TermRef<'a>> {
        self.found.iter().flat_map(move |&(lexicon, found)| lexicon.others(found, lang))
    }
}

/// Cuts the content words of a question in `lang` into terms of the lexicons, the longest first.
pub(super) fn spans<'a>(words: &[String], lang: Lang, lexicons: &[&'a Lexicon]) -> Vec<Span<'a>> {
    let spoken: Vec<Spoken<'_>> =
        words.iter().map(|word| Spoken { letters: word, stem: term_of(word, lang) }).collect();
    let mut spans = Vec::with_capacity(words.len());
    let mut found = Vec::new();
    let mut first = 0;
    while first < words.len() {
        let mut span = Span { first, words: 1, found: Vec::new() };
        for &lexicon in lexicons {
            lexicon.matches(&spoken[first..], lang, &mut found);
            for &one in &found {
                if one.words > span.words {
                    span.found.clear();
                    span.words = one.words;
                }
                if one.words == span.words {
                    span.found.push((lexicon, one));
                }
            }
        }
        first += span.words;
        spans.push(span);
    }
    spans
}
