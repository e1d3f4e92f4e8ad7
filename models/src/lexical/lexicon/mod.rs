//! Concepts with their terms in Spanish, English and Portuguese: what a question may also be put as. The built-in
//! one is a reviewed text of this repository; a workspace may have a glossary of its own in the same format.

mod parse;

use std::sync::LazyLock;

use domain::Lang;

use super::stem::with_stemmer;
use super::{content_words, each_word, term_of};

pub use parse::LexiconError;

/// The texts of the built-in lexicon.
const TEXTS: &[(&str, &str)] = &[
    ("business", include_str!("../../../lexicon/business.txt")),
    ("everyday", include_str!("../../../lexicon/everyday.txt")),
    ("world", include_str!("../../../lexicon/world.txt")),
    ("verbs", include_str!("../../../lexicon/verbs.txt")),
    ("qualities", include_str!("../../../lexicon/qualities.txt")),
];

static BUILTIN: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut builder = Builder::default();
    for (_, text) in TEXTS {
        // A test proves that every line is an entry.
        parse::entries(text).flatten().for_each(|entry| builder.add(&entry));
    }
    builder.build()
});

/// Concepts and their terms, prepared to be looked up by the words of a question: some 40 bytes a term.
#[derive(Debug, Default)]
pub struct Lexicon {
    /// Those of a concept stand together.
    terms: Box<[Term]>,
    /// Folded words of the terms, parted by spaces.
    letters: Box<str>,
    /// Stems of the words of the terms.
    stems: Box<[u32]>,
    /// Language and stem of a term's first word, and the term; sorted.
    index: Box<[(u32, u32)]>,
    concepts: usize,
}

/// A term; what it is made of stands in the lexicon's lists.
#[derive(Debug, Clone, Copy)]
struct Term {
    concept: u32,
    letters: u32,
    stems: u32,
    lang: Lang,
    length: u16,
    words: u8,
}

/// A term of a lexicon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TermRef<'a> {
    /// The language it is in.
    pub(crate) lang: Lang,
    /// The stems of its words in that language, stop words left out.
    pub(crate) stems: &'a [u32],
    /// Its folded words, parted by spaces.
    pub(crate) letters: &'a str,
}

/// Some words of a question that are a term of a concept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// How many words.
    pub(crate) words: usize,
    /// The term that they are.
    term: usize,
}

/// A question's word, folded, with its stem in the question's language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken<'a> {
    pub(crate) letters: &'a str,
    pub(crate) stem: u32,
}

impl Lexicon {
    /// The lexicon that comes with the product, read when it is first asked for.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a lexicon's lines.
    pub fn parse(text: &str) -> Result<Self, LexiconError> {
        let mut builder = Builder::default();
        for entry in parse::entries(text) {
            builder.add(&entry?);
        }
        Ok(builder.build())
    }

    /// Reads a lexicon's lines; those that are no entries are left out.
    pub fn read(text: &str) -> Self {
        let mut builder = Builder::default();
        parse::entries(text).flatten().for_each(|entry| builder.add(&entry));
        builder.build()
    }

    /// The language that most words of a text are words of: `main` unless another one has more.
    /// For texts too short to tell their language otherwise.
    pub fn language_of(&self, text: &str, main: Lang) -> Lang {
        let mut counts = Lang::KNOWN.map(|lang| (lang, 0));
        each_word(text, |word| {
            for (lang, count) in &mut counts {
                *count += usize::from(self.has(word, *lang));
            }
        });
        let of = |wanted| counts.iter().find(|(lang, _)| *lang == wanted).map_or(0, |(_, n)| *n);
        let most = counts.into_iter().rev().max_by_key(|&(lang, count)| (count, lang == main));
        most.map_or(main, |(lang, count)| if count > of(main) { lang } else { main })
    }

    /// The content words of a text in `lang`, in order, each put as the first term of the concept that it is: what says
    /// the same in other words, or in another language, reads the same. Words that are no term stay as they are.
    pub fn in_common_words(&self, text: &str, lang: Lang) -> Vec<String> {
        let words = content_words(text, lang);
        let spoken: Vec<Spoken<'_>> =
            words.iter().map(|word| Spoken { letters: word, stem: term_of(word, lang) }).collect();
        let (mut common, mut found, mut at) = (Vec::with_capacity(words.len()), Vec::new(), 0);
        while let Some(word) = words.get(at) {
            self.matches(&spoken[at..], lang, &mut found);
            let term = found.first();
            common.push(match term {
                Some(term) => self.first_of(*term).letters.to_owned(),
                None => word.clone(),
            });
            at += term.map_or(1, |term| term.words.max(1));
        }
        common
    }

    /// The first term of the concept that was found.
    fn first_of(&self, found: Match) -> TermRef<'_> {
        let concept = self.terms[found.term].concept;
        self.term(self.terms.partition_point(|term| term.concept < concept))
    }

    /// Whether a word is a term, or the plural of one.
    fn has(&self, word: &str, lang: Lang) -> bool {
        let key = key(lang, term_of(word, lang));
        let from = self.index.partition_point(|&(other, _)| other < key);
        let same = self.index[from..].iter().take_while(|&&(other, _)| other == key);
        same.map(|&(_, at)| self.term(at as usize)).any(|term| {
            let ending = word.strip_prefix(term.letters);
            term.lang == lang && matches!(ending, Some("" | "s" | "es"))
        })
    }

    /// How many concepts it has.
    pub const fn len(&self) -> usize {
        self.concepts
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.concepts == 0
    }

    /// Bytes that it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.terms)
            + self.letters.len()
            + size_of_val(&*self.stems)
            + size_of_val(&*self.index)
    }

    /// The longest terms that begin with the first of `spoken`, words of a question in `lang`. A word that stands
    /// there as it is goes before others of its stem, and of those go the ones that share most letters with it:
    /// `casas` is `casa` and not `caso`, though they have one stem.
    pub(crate) fn matches(&self, spoken: &[Spoken<'_>], lang: Lang, found: &mut Vec<Match>) {
        found.clear();
        let Some(first) = spoken.first() else { return };
        let key = key(lang, first.stem);
        let from = self.index.partition_point(|&(other, _)| other < key);
        let mut best = (0, 0);
        for &(_, at) in self.index[from..].iter().take_while(|&&(other, _)| other == key) {
            let at = at as usize;
            let term = self.term(at);
            let words = term.stems.len();
            let begins = words <= spoken.len()
                && term.stems.iter().zip(spoken).all(|(&stem, spoken)| stem == spoken.stem);
            if !begins || term.lang != lang {
                continue;
            }
            let likeness = (words, alike(term.letters, &spoken[..words]));
            if likeness > best {
                best = likeness;
                found.clear();
            }
            if likeness == best {
                found.push(Match { words, term: at });
            }
        }
    }

    /// The terms in `lang` of the concept that was found, without the one that was.
    pub(crate) fn others(&self, found: Match, lang: Lang) -> impl Iterator<Item = TermRef<'_>> {
        let concept = self.terms[found.term].concept;
        let same = move |&at: &usize| self.terms[at].concept == concept;
        let first = (0..found.term).rev().take_while(same).last().unwrap_or(found.term);
        (first..self.terms.len())
            .take_while(same)
            .filter(move |&at| at != found.term && self.terms[at].lang == lang)
            .map(|at| self.term(at))
    }

    fn term(&self, at: usize) -> TermRef<'_> {
        let term = self.terms[at];
        let (letters, stems) = (term.letters as usize, term.stems as usize);
        TermRef {
            lang: term.lang,
            stems: &self.stems[stems..stems + usize::from(term.words)],
            letters: &self.letters[letters..letters + usize::from(term.length)],
        }
    }
}

/// How many letters from the beginning on a term shares with what was said, word by word; one more for each word
/// that is the very same.
fn alike(letters: &str, spoken: &[Spoken<'_>]) -> usize {
    let pairs = letters.split(' ').zip(spoken);
    let shared = pairs.map(|(word, spoken)| {
        let same = word.bytes().zip(spoken.letters.bytes()).take_while(|(a, b)| a == b).count();
        same + usize::from(word == spoken.letters)
    });
    shared.sum()
}

/// Where a term is looked up: by its language and the stem of its first word.
const fn key(lang: Lang, stem: u32) -> u32 {
    stem ^ (lang as u32 + 1).wrapping_mul(0x9e37_79b9)
}

/// A lexicon under way.
#[derive(Debug, Default)]
struct Builder {
    terms: Vec<Term>,
    letters: String,
    stems: Vec<u32>,
    index: Vec<(u32, u32)>,
    concepts: u32,
}

impl Builder {
    fn add(&mut self, entry: &parse::Entry) {
        for parsed in &entry.terms {
            let letters = self.letters.len();
            let stems = self.stems.len();
            self.letters.push_str(&parsed.words.join(" "));
            with_stemmer(parsed.lang, |stemmer| {
                self.stems.extend(parsed.words.iter().map(|word| stemmer.stem(word)));
            });
            self.index.push((key(parsed.lang, self.stems[stems]), position(self.terms.len())));
            self.terms.push(Term {
                concept: self.concepts,
                letters: position(letters),
                stems: position(stems),
                lang: parsed.lang,
                length: u16::try_from(self.letters.len() - letters).unwrap_or(u16::MAX),
                words: u8::try_from(parsed.words.len()).unwrap_or(u8::MAX),
            });
        }
        self.concepts += 1;
    }

    fn build(mut self) -> Lexicon {
        self.index.sort_unstable();
        Lexicon {
            terms: self.terms.into_boxed_slice(),
            letters: self.letters.into_boxed_str(),
            stems: self.stems.into_boxed_slice(),
            index: self.index.into_boxed_slice(),
            concepts: self.concepts as usize,
        }
    }
}

/// Lexicons are far smaller than 4 GB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::parse::{Entry, entries};
    use super::*;
    use crate::lexical::content_words;

    /// Concepts that one term may stand in.
    const MOST_CONCEPTS: usize = 8;

    fn all() -> Vec<(String, Entry)> {
        let read = |&(file, text): &(&str, &str)| {
            let read = move |entry: Result<Entry, LexiconError>| {
                let entry = entry.unwrap_or_else(|error| panic!("{file}.txt, {error}"));
                (format!("{file}.txt, line {}", entry.line), entry)
            };
            entries(text).map(read).collect::<Vec<_>>()
        };
        TEXTS.iter().flat_map(read).collect()
    }

    /// Terms of an entry, folded, by language.
    fn terms(entry: &Entry) -> HashSet<(Lang, String)> {
        entry.terms.iter().map(|term| (term.lang, term.words.join(" "))).collect()
    }

    #[test]
    fn every_line_of_the_lexicon_is_an_entry_and_there_are_enough() {
        let all = all();
        assert_eq!(Lexicon::builtin().len(), all.len());
        assert!(all.len() >= 2_000, "{}", all.len());
        for (place, entry) in &all {
            let several = entry.terms.iter().any(|term| term.lang != entry.terms[0].lang);
            assert!(several || entry.terms.len() > 1, "{place}");
        }
    }

    #[test]
    fn no_concept_of_the_lexicon_is_contained_in_another() {
        let all = all();
        let mut of: HashMap<(Lang, String), Vec<usize>> = HashMap::new();
        for (at, (_, entry)) in all.iter().enumerate() {
            for term in terms(entry) {
                of.entry(term).or_default().push(at);
            }
        }
        for (at, (place, entry)) in all.iter().enumerate() {
            let terms = terms(entry);
            let first = terms.iter().next().unwrap();
            for &other in of[first].iter().filter(|&&other| other != at) {
                let (elsewhere, other) = &all[other];
                let contained = terms.iter().all(|term| self::terms(other).contains(term));
                assert!(!contained, "{place} says nothing that {elsewhere} does not say");
            }
        }
        for (term, concepts) in of {
            assert!(concepts.len() <= MOST_CONCEPTS, "{term:?} has {} meanings", concepts.len());
        }
    }

    #[test]
    fn the_lexicon_takes_less_than_two_megabytes() {
        assert!(Lexicon::builtin().bytes() < 2 << 20, "{}", Lexicon::builtin().bytes());
    }

    /// What the beginning of a question may also be called in another language.
    fn called(lexicon: &Lexicon, question: &str, lang: Lang, in_lang: Lang) -> Vec<String> {
        let words = content_words(question, lang);
        let spoken: Vec<Spoken<'_>> =
            words.iter().map(|word| Spoken { letters: word, stem: term_of(word, lang) }).collect();
        let mut found = Vec::new();
        lexicon.matches(&spoken, lang, &mut found);
        let others = found.iter().flat_map(|&found| lexicon.others(found, in_lang));
        others.map(|term| term.letters.to_owned()).collect()
    }

    #[test]
    fn the_longest_term_goes_first_and_the_likeliest_of_a_stem() {
        let lexicon = Lexicon::parse(
            "es: casa, hogar | en: house\nes: caso | en: case\nes: tienda | en: shop\n\
             es: tienda de campaña, carpa | en: tent",
        )
        .unwrap();
        assert_eq!(lexicon.len(), 4);
        assert_eq!(called(&lexicon, "tienda de campaña", Lang::Es, Lang::En), ["tent"]);
        assert_eq!(called(&lexicon, "tiendas grandes", Lang::Es, Lang::En), ["shop"]);
        assert_eq!(called(&lexicon, "CASAS", Lang::Es, Lang::En), ["house"]);
        assert_eq!(called(&lexicon, "casos", Lang::Es, Lang::En), ["case"]);
        assert_eq!(called(&lexicon, "casa", Lang::Es, Lang::Es), ["hogar"]);
        assert_eq!(called(&lexicon, "tents", Lang::En, Lang::Es), ["tienda campana", "carpa"]);
        assert_eq!(called(&lexicon, "tents", Lang::Pt, Lang::Es), Vec::<String>::new());
        assert!(called(&Lexicon::default(), "casa", Lang::Es, Lang::En).is_empty());
    }

    #[test]
    fn a_short_text_is_in_the_language_that_has_its_words() {
        let lexicon =
            Lexicon::parse("es: recibir, reciben, animal | en: animal\npt: oi, animal").unwrap();
        assert_eq!(lexicon.language_of("¿Reciben?", Lang::En), Lang::Es);
        assert_eq!(lexicon.language_of("animales", Lang::En), Lang::Es);
        assert_eq!(lexicon.language_of("animal", Lang::En), Lang::En);
        assert_eq!(lexicon.language_of("animal", Lang::Pt), Lang::Pt);
        assert_eq!(lexicon.language_of("AN-4471", Lang::Other), Lang::Other);
    }

    #[test]
    fn a_word_of_several_concepts_is_all_of_them() {
        let lexicon = Lexicon::parse("es: banco | en: bank\nes: banco | en: bench, pew").unwrap();
        assert_eq!(called(&lexicon, "bancos", Lang::Es, Lang::En), ["bank", "bench", "pew"]);
        assert_eq!(called(&lexicon, "bench", Lang::En, Lang::En), ["pew"]);
    }
}
