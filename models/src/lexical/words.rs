//! A text cut into words once, to be looked at for many questions.

use std::num::NonZeroU32;
use std::ops::Range;

use domain::Lang;

use super::{MARK, each_gram, each_term};

/// The folded words of a text and their terms: two to three times the bytes of the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    /// Each word between two marks, one of which it shares with the next: its grams are slices.
    letters: String,
    ends: Vec<End>,
}

/// Where a word ends, and its term: `None` for a stop word, and for the one term in 2³² that is zero.
#[derive(Debug, Clone, Copy)]
struct End {
    at: u32,
    term: Option<NonZeroU32>,
}

/// A word of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    marked: &'a str,
    /// Its hash when stemmed; `None` for a stop word.
    pub(crate) term: Option<u32>,
}

impl Words {
    /// Adds the words of a text in `lang`; which ones of all they are.
    pub(crate) fn add(&mut self, text: &str, lang: Lang) -> Range<u32> {
        let first = self.len();
        each_term(text, lang, |word, term| {
            if self.letters.is_empty() {
                self.letters.push(MARK);
            }
            self.letters.push_str(word);
            let at = u32::try_from(self.letters.len()).unwrap_or(u32::MAX);
            self.letters.push(MARK);
            self.ends.push(End { at, term: term.and_then(NonZeroU32::new) });
        });
        first..self.len()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// Those of a range that [`Words::add`] returned, in order.
    pub(crate) fn of(&self, range: Range<u32>) -> impl Iterator<Item = Word<'_>> {
        let (from, to) = (range.start as usize, range.end as usize);
        let before = from.checked_sub(1).and_then(|at| self.ends.get(at));
        let mut start = before.map_or(0, |end| end.at as usize);
        self.ends.get(from..to).unwrap_or_default().iter().map(move |end| {
            let marked = &self.letters[start..=end.at as usize];
            start = end.at as usize;
            Word { marked, term: end.term.map(NonZeroU32::get) }
        })
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn shrink(&mut self) {
        self.letters.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

impl Word<'_> {
    /// Its folded letters.
    pub(crate) fn letters(&self) -> &str {
        self.marked.trim_matches(MARK)
    }

    /// Calls `each` with its 4-grams.
    pub(crate) fn grams(&self, each: impl FnMut(u32)) {
        each_gram(self.marked, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexical::analyse_passage;

    #[test]
    fn words_kept_are_the_words_analysed() {
        let texts = ["Envíos a Ñuble: AN-4471 por 5.490.", "営業 de 9 a 18 y «uno»", ""];
        let mut words = Words::default();
        let ranges = texts.map(|text| words.add(text, Lang::Es));
        for (text, range) in texts.into_iter().zip(ranges) {
            let mut terms = Vec::new();
            let mut grams = Vec::new();
            for word in words.of(range) {
                terms.extend(word.term);
                word.grams(|gram| grams.push(gram));
            }
            let analysed = analyse_passage(&[text], Lang::Es);
            assert_eq!(super::super::counted(terms), analysed.words, "{text}");
            assert_eq!(super::super::counted(grams), analysed.grams, "{text}");
        }
        let letters: Vec<&str> = words.of(0..3).map(|word| word.marked).collect();
        assert_eq!(letters, ["_envios_", "_a_", "_nuble_"]);
    }
}
