//! The question as passages in one language have it: its words with what else they may be called there, its grams,
//! and what all of that weighs.

use domain::Lang;

use super::TermWeights;
use super::asked::Vectors;
use super::expand::Span;
use crate::lexical::{Misspelt, TermRef, each_gram_of, each_word, term_of};

/// Words of a question that are looked for in sentences; who writes more gets by with these.
const MOST_WORDS: usize = 64;
/// Forms of a word: bits of a mask, the first of which is the word itself.
const MOST_FORMS: usize = 31;

/// The share of a word's weight that a passage in its language covers with a synonym: less where the datastores hold
/// the word itself. Between .25 and .75 for words that are held, nDCG@10 moves by .02 on a shop's questions, by less
/// than .002 on others; recall@5 falls by .004 on the latter from .5 on.
const BESIDE_THE_WORD: f64 = 0.35;
const INSTEAD_OF_THE_WORD: f64 = 0.8;
/// The share that it covers with a translation where there are passages in the question's own language too: of two that
/// say the same, that one goes first.
const TRANSLATED_BESIDE_OWN: f64 = 0.8;
/// What grams of translations weigh beside grams of words that have none, such as names. With 1 nDCG@10 of Spanish
/// questions over English passages is lower by .011.
const TRANSLATED_GRAMS: f64 = 0.6;

/// A question that is put.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put<'a> {
    pub(super) question: &'a str,
    pub(super) lang: Lang,
    /// Whether there are passages in that language.
    pub(super) at_home: bool,
    /// Its content words, folded.
    pub(super) words: &'a [String],
    /// The same, cut into terms.
    pub(super) spans: &'a [Span<'a>],
}

/// The question as passages in one language have it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) lang: Lang,
    /// In the order of the question, repeated as there.
    pub(super) words: Vec<AskedWord>,
    pub(super) words_total: f64,
    /// What further words of a long question weigh: an index is asked for them, sentences are not.
    rest: Vec<(u32, f64)>,
    /// Hashes and weights, by rising hash.
    pub(super) grams: Vec<(u32, f64)>,
    pub(super) grams_total: f64,
    /// Whether there is a word that no passage holds and that may be misspelt.
    pub(super) misspelt: bool,
    /// Every form of every word, by term.
    forms: Vec<FormOf>,
    /// A set bit for the last bits of each gram's hash: what is not there need not be searched for.
    pub(super) sieve: Vec<u64>,
    /// The same for the terms of words.
    word_sieve: [u64; 4],
}

/// A word of the question.
#[derive(Debug)]
pub(super) struct AskedWord {
    pub(super) term: u32,
    pub(super) weight: f64,
    /// The share of its weight that a passage covers with the word itself.
    own: f64,
    pub(super) misspelt: Option<Misspelt>,
    others: Vec<Other>,
}

/// A word of something that a question's word may also be called.
#[derive(Debug)]
struct Other {
    term: u32,
    /// Words of one term have the same number.
    of: u16,
    /// The share of the word's weight that a passage covers with it.
    share: f64,
}

/// One form of a word of the question.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormOf {
    term: u32,
    pub(super) word: usize,
    pub(super) bit: u32,
}

impl View {
    pub(super) fn new(lang: Lang, put: &Put<'_>, weights: &dyn TermWeights) -> Self {
        let foreign = ![lang, put.lang].contains(&Lang::Other) && lang != put.lang;
        let share = if put.at_home { TRANSLATED_BESIDE_OWN } else { 1.0 };
        let translating = foreign.then_some(share);
        let mut words = Vec::with_capacity(put.words.len());
        let mut grams = Grams::new(weights);
        let mut translated = vec![false; put.words.len()];
        for span in put.spans {
            let others = held(span, lang, weights);
            let range = span.first..span.first + span.words;
            for word in &put.words[range.clone()] {
                words.push(AskedWord::new(word, lang, translating, &others, weights));
            }
            if foreign && !others.is_empty() {
                translated[range].fill(true);
                grams.add_one_of(&others);
            }
        }
        grams.add_untranslated(put, &translated);
        let rest = words.split_off(words.len().min(MOST_WORDS));
        Self::made(lang, words, rest, grams)
    }

    fn made(lang: Lang, words: Vec<AskedWord>, rest: Vec<AskedWord>, grams: Grams<'_>) -> Self {
        let (grams, grams_total) = grams.finish();
        let mut sieve = vec![0; SIEVE / 64];
        for &(gram, _) in &grams {
            let (at, bit) = sieve_bit(gram);
            sieve[at] |= bit;
        }
        let forms = forms(&words);
        let mut word_sieve = [0; 4];
        for form in &forms {
            let (at, bit) = term_bit(form.term);
            word_sieve[at] |= bit;
        }
        Self {
            lang,
            words_total: words.iter().map(|word| word.weight).sum(),
            misspelt: words.iter().any(|word| word.misspelt.is_some()),
            words,
            rest: rest.into_iter().map(|word| (word.term, word.weight)).collect(),
            grams,
            grams_total,
            forms,
            sieve,
            word_sieve,
        }
    }

    /// The words of the question that a passage's word is a form of.
    pub(super) fn forms_of(&self, term: u32) -> impl Iterator<Item = FormOf> {
        let (at, bit) = term_bit(term);
        let forms = if self.word_sieve[at] & bit == 0 {
            &[][..]
        } else {
            &self.forms[self.forms.partition_point(|form| form.term < term)..]
        };
        forms.iter().take_while(move |form| form.term == term).copied()
    }
}

fn forms(words: &[AskedWord]) -> Vec<FormOf> {
    let mut forms = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        forms.push(FormOf { term: word.term, word: at, bit: 1 });
        for (number, other) in word.others.iter().enumerate() {
            forms.push(FormOf { term: other.term, word: at, bit: 2 << number });
        }
    }
    forms.sort_by_key(|form| form.term);
    forms
}

/// What a span may be called in `lang`, of which the datastores hold every word.
fn held<'a>(span: &Span<'a>, lang: Lang, weights: &dyn TermWeights) -> Vec<TermRef<'a>> {
    let mut held: Vec<TermRef<'a>> = Vec::new();
    for other in span.others(lang) {
        if !held.iter().any(|known| known.stems == other.stems)
            && other.stems.iter().all(|&stem| weights.has_word(stem))
        {
            held.push(other);
        }
    }
    held
}

impl AskedWord {
    /// A word of the question, and what else it may be called; the datastores hold every word of that. When the word
    /// is foreign to the passages it says which share of it a translation covers.
    fn new(
        word: &str,
        lang: Lang,
        foreign: Option<f64>,
        others: &[TermRef<'_>],
        weights: &dyn TermWeights,
    ) -> Self {
        let term = term_of(word, lang);
        let alone = weights.word(term);
        if others.is_empty() {
            let known = weights.has_word(term);
            let misspelt = if known { None } else { Misspelt::new(word) };
            return Self { term, weight: alone, own: 1.0, misspelt, others: Vec::new() };
        }
        let heaviest = others.iter().map(|other| weigh(other, weights)).fold(0.0, f64::max);
        let itself = others.iter().any(|other| *other.stems == [term]);
        // What is written like a word of another language is another word, unless a lexicon says otherwise.
        let (weight, own, factor) = match (foreign, weights.has_word(term)) {
            (Some(share), _) => (heaviest, if itself { share } else { 0.0 }, share),
            (None, true) => (alone, 1.0, BESIDE_THE_WORD),
            (None, false) => (heaviest, 1.0, INSTEAD_OF_THE_WORD),
        };
        let mut asked = Self { term, weight, own, misspelt: None, others: Vec::new() };
        for (of, other) in (0..).zip(others).filter(|(_, other)| *other.stems != [term]) {
            if asked.others.len() + other.stems.len() > MOST_FORMS {
                break;
            }
            // Half of a term is half of what it covers; what is common covers less than what is rare.
            let lighter =
                if weight > 0.0 { (weigh(other, weights) / weight).min(1.0) } else { 1.0 };
            let share = factor * lighter / other.stems.len() as f64;
            asked.others.extend(other.stems.iter().map(|&term| Other { term, of, share }));
        }
        asked
    }

    /// The weight that is covered by forms of it: that of the one that covers most.
    pub(super) fn covered(&self, forms: u32) -> f64 {
        if forms == 0 {
            return 0.0;
        }
        let mut best = if forms & 1 == 0 { 0.0 } else { self.own };
        let (mut of, mut sum) = (0, 0.0);
        for (number, other) in self.others.iter().enumerate() {
            if other.of != of {
                (of, sum) = (other.of, 0.0);
            }
            if forms & (2 << number) != 0 {
                sum += other.share;
                best = f64::max(best, sum);
            }
        }
        self.weight * best
    }
}

/// The mean weight of a term's words.
fn weigh(term: &TermRef<'_>, weights: &dyn TermWeights) -> f64 {
    let sum: f64 = term.stems.iter().map(|&stem| weights.word(stem)).sum();
    sum / term.stems.len().max(1) as f64
}

impl Vectors {
    /// What views of the same question ask for together: each word in all of its forms, of each the heaviest, as
    /// though no passage were in two languages.
    pub(super) fn of(views: &[View]) -> Self {
        let mut vectors = Self::default();
        let Some(one) = views.first() else { return vectors };
        // Every view has the same words in the same order.
        let mut words: Vec<(u32, f64)> = Vec::with_capacity(2 * one.forms.len() + one.rest.len());
        for at in 0..one.words.len() {
            let first = words.len();
            let mut weight = 0.0_f64;
            for word in views.iter().filter_map(|view| view.words.get(at)) {
                weight = weight.max(word.weight);
                word.ask(|term, weight| heaviest(&mut words, first, term, weight));
            }
            vectors.words_total += weight;
        }
        for at in 0..one.rest.len() {
            let first = words.len();
            let mut most = 0.0_f64;
            for &(term, weight) in views.iter().filter_map(|view| view.rest.get(at)) {
                most = most.max(weight);
                heaviest(&mut words, first, term, weight);
            }
            vectors.words_total += most;
        }
        vectors.words = summed(words);
        vectors.grams = views.iter().flat_map(|view| &view.grams).copied().collect();
        vectors.grams.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        vectors.grams.dedup_by_key(|(gram, _)| *gram);
        vectors.grams_total = views.iter().map(|view| view.grams_total).fold(0.0, f64::max);
        vectors
    }
}

/// Adds a term to those from `first` on, or raises its weight.
fn heaviest(terms: &mut Vec<(u32, f64)>, first: usize, term: u32, weight: f64) {
    match terms[first..].iter_mut().find(|(known, _)| *known == term) {
        Some((_, known)) => *known = known.max(weight),
        None => terms.push((term, weight)),
    }
}

impl AskedWord {
    /// Calls `each` with every form and what an index is asked for it.
    fn ask(&self, mut each: impl FnMut(u32, f64)) {
        if self.own > 0.0 {
            each(self.term, self.weight * self.own);
        }
        for other in &self.others {
            each(other.term, self.weight * other.share);
        }
    }
}

/// Terms by rising hash, each once with all its weight.
fn summed(mut terms: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    terms.sort_unstable_by_key(|&(term, _)| term);
    terms.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    terms
}

/// The grams of a question under way.
struct Grams<'a> {
    weights: &'a dyn TermWeights,
    asked: Vec<(u32, f64)>,
    total: f64,
}

impl<'a> Grams<'a> {
    fn new(weights: &'a dyn TermWeights) -> Self {
        Self { weights, asked: Vec::new(), total: 0.0 }
    }

    fn add(&mut self, word: &str) {
        each_gram_of(word, |gram| {
            let weight = self.weights.gram(gram);
            self.total += weight;
            self.asked.push((gram, weight));
        });
    }

    /// Translations, of which one is wanted.
    fn add_one_of(&mut self, terms: &[TermRef<'_>]) {
        let first = self.asked.len();
        let mut most = 0.0_f64;
        for term in terms {
            let mut sum = 0.0;
            for word in term.letters.split(' ') {
                each_gram_of(word, |gram| {
                    let weight = TRANSLATED_GRAMS * self.weights.gram(gram);
                    sum += weight;
                    heaviest(&mut self.asked, first, gram, weight);
                });
            }
            most = most.max(sum);
        }
        self.total += most;
    }

    /// The words of a question that have no translation. Where others have one, the short words between them are
    /// left out: they tell phrases apart in their own language and nothing in another.
    fn add_untranslated(&mut self, put: &Put<'_>, translated: &[bool]) {
        let any = translated.contains(&true);
        let mut content = put.words.iter().zip(translated).peekable();
        each_word(put.question, |word| {
            let skipped = match content.next_if(|(content, _)| *content == word) {
                Some((_, translated)) => *translated,
                None => any,
            };
            if !skipped {
                self.add(word);
            }
        });
    }

    fn finish(self) -> (Vec<(u32, f64)>, f64) {
        (summed(self.asked), self.total)
    }
}

const fn term_bit(term: u32) -> (usize, u64) {
    ((term >> 6) as usize % 4, 1 << (term % 64))
}

/// Bits of the sieve. A question of a hundred grams fills one in twenty.
const SIEVE: usize = 2048;

pub(super) fn sieve_bit(gram: u32) -> (usize, u64) {
    let at = gram as usize % SIEVE;
    (at / 64, 1 << (at % 64))
}
