//! A question and how well texts answer to it: which of its words and grams a text holds, weighed by their
//! inverse document frequency. Retrieval ranks the best passages by it, the extractive answerer sentences.

use domain::Lang;

use super::TermWeights;
use super::answer_type::{AnswerType, expected, holds};
use super::passage::AnalysedPassage;
use crate::lexical::{Misspelt, Word, analyse_question, content_words, term_of};

/// What a sentence loses when the question asks for a kind of answer (a date, a price) that it lacks.
pub(super) const WRONG_KIND: f64 = 0.12;
/// Words of a question that are looked for; who writes more gets by with these.
const MOST_WORDS: usize = 64;
/// How far apart the last word of a sentence and the first of the next one are.
const BETWEEN_SENTENCES: u32 = 5;

/// A question prepared to be compared with many passages.
#[derive(Debug)]
pub struct Asked {
    /// Its words, analysed for each language that passages are in; the most common first.
    views: Vec<View>,
    /// Hashes and weights, by rising hash.
    grams: Vec<(u32, f64)>,
    grams_total: f64,
    /// A set bit for the last bits of each gram's hash: what is not there need not be searched for.
    sieve: Vec<u64>,
    pub(super) kind: Option<AnswerType>,
}

/// The question's words as passages in one language have them.
#[derive(Debug)]
struct View {
    lang: Lang,
    /// In the order of the question, repeated as there.
    words: Vec<AskedWord>,
    total: f64,
    /// Whether there is a word that no passage holds and that may be misspelt.
    misspelt: bool,
    /// A set bit for the last bits of each word's term.
    sieve: u64,
}

#[derive(Debug)]
struct AskedWord {
    term: u32,
    weight: f64,
    misspelt: Option<Misspelt>,
}

/// How well a passage answers to a question, besides its BM25 score.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Closeness {
    /// What the best of its sentences covers of the question's weight, mean of words and grams, half of it
    /// counted with what the heading covers; less .12 when it lacks the kind of answer asked for. 0 to 1.
    pub sentence: f64,
    /// The share of the question's neighbouring words that stand near each other there too. 0 to 1.
    pub neighbours: f64,
    /// The share of the question's weight that lies in words which no passage holds and which this one has
    /// but for a typing error. 0 to 1.
    pub misspelt: f64,
}

/// What a text covers of a question.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Covered {
    words: f64,
    grams: f64,
}

impl Asked {
    /// A question in `lang`, put to passages in `passages` (languages, the most common first).
    pub fn new(question: &str, lang: Lang, passages: &[Lang], weights: &dyn TermWeights) -> Self {
        let mut words = content_words(question, lang);
        words.truncate(MOST_WORDS);
        let views = passages.iter().map(|&lang| View::new(lang, &words, weights)).collect();
        let terms = analyse_question(question, lang, &[]);
        let weigh = |&(gram, count): &(u32, u32)| (gram, weights.gram(gram) * f64::from(count));
        let grams: Vec<(u32, f64)> = terms.grams.iter().map(weigh).collect();
        let mut sieve = vec![0; SIEVE / 64];
        for &(gram, _) in &grams {
            let (at, bit) = sieve_bit(gram);
            sieve[at] |= bit;
        }
        let grams_total = grams.iter().map(|(_, weight)| weight).sum();
        Self { views, grams, grams_total, sieve, kind: expected(question) }
    }

    /// The words asked for and what each weighs, as passages in the most common language have them.
    pub fn words(&self) -> impl Iterator<Item = (u32, f64)> {
        let words = self.views.first().map_or(&[][..], |view| &view.words);
        words.iter().map(|word| (word.term, word.weight))
    }

    /// How well a passage answers to the question; `text` is the one that was analysed.
    pub fn closeness(&self, passage: &AnalysedPassage, text: &str) -> Closeness {
        let lang = passage.lang();
        let mut reading = self.read(lang);
        reading.heading(passage.heading());
        let mut best = 0.0_f64;
        for sentence in passage.sentences() {
            let (own, together) = reading.sentence(passage.words(sentence));
            let covered = f64::midpoint(self.share(own, lang), self.share(together, lang));
            // The kind of answer is asked for only where it can matter: telling costs more than covering.
            if covered > best {
                let lacks = self.kind.is_some_and(|kind| !holds(sentence.text(text), kind));
                best = best.max(covered - if lacks { WRONG_KIND } else { 0.0 });
            }
        }
        let (neighbours, misspelt) = (reading.neighbours(), reading.misspelt());
        Closeness { sentence: best.min(1.0), neighbours, misspelt }
    }

    /// Begins to read a passage in `lang`.
    pub(super) fn read(&self, lang: Lang) -> Reading<'_> {
        let view = self.view(lang);
        let words = view.map_or(0, |view| view.words.len());
        Reading {
            asked: self,
            view,
            turn: 0,
            words: vec![Seen::default(); words],
            grams: vec![Seen::default(); self.grams.len()],
            places: vec![Vec::new(); words],
            place: 0,
        }
    }

    /// The share of the question's weight that is covered, 0 to 1: mean of words and grams.
    pub(super) fn share(&self, covered: Covered, lang: Lang) -> f64 {
        let of = |covered: f64, total: f64| if total > 0.0 { covered / total } else { 0.0 };
        let total = self.view(lang).map_or(0.0, |view| view.total);
        f64::midpoint(of(covered.words, total), of(covered.grams, self.grams_total))
    }

    fn view(&self, lang: Lang) -> Option<&View> {
        self.views.iter().find(|view| view.lang == lang).or(self.views.first())
    }
}

impl View {
    fn new(lang: Lang, asked: &[String], weights: &dyn TermWeights) -> Self {
        let word = |word: &String| {
            let term = term_of(word, lang);
            let misspelt = if weights.has_word(term) { None } else { Misspelt::new(word) };
            AskedWord { term, weight: weights.word(term), misspelt }
        };
        let words: Vec<AskedWord> = asked.iter().map(word).collect();
        Self {
            lang,
            sieve: words.iter().fold(0, |bits, word| bits | term_bit(word.term)),
            total: words.iter().map(|word| word.weight).sum(),
            misspelt: words.iter().any(|word| word.misspelt.is_some()),
            words,
        }
    }

    /// Whether a passage's word may be one of the question's.
    const fn may_have(&self, term: u32) -> bool {
        self.misspelt || self.sieve & term_bit(term) != 0
    }
}

const fn term_bit(term: u32) -> u64 {
    1 << (term % 64)
}

/// Bits of the sieve. A question of a hundred grams fills one in twenty.
const SIEVE: usize = 2048;

fn sieve_bit(gram: u32) -> (usize, u64) {
    let at = gram as usize % SIEVE;
    (at / 64, 1 << (at % 64))
}

/// Where a word or gram of the question was seen last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The text in turn; 0 for none.
    turn: u32,
    heading: bool,
}

/// A passage being read for a question, text by text.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    asked: &'a Asked,
    view: Option<&'a View>,
    turn: u32,
    words: Vec<Seen>,
    grams: Vec<Seen>,
    /// Where each word of the question stands, counted in words.
    places: Vec<Vec<u32>>,
    place: u32,
}

impl Reading<'_> {
    /// What the heading covers. To be read first.
    pub(super) fn heading<'w>(&mut self, words: impl Iterator<Item = Word<'w>>) -> Covered {
        let (covered, _) = self.sentence(words);
        for seen in self.words.iter_mut().chain(&mut self.grams) {
            seen.heading = seen.turn == self.turn;
        }
        covered
    }

    /// What a sentence covers, alone and together with the heading.
    pub(super) fn sentence<'w>(
        &mut self,
        words: impl Iterator<Item = Word<'w>>,
    ) -> (Covered, Covered) {
        self.turn += 1;
        for word in words {
            self.place += 1;
            self.see_word(word);
            word.grams(|gram| self.see_gram(gram));
        }
        self.place += BETWEEN_SENTENCES;
        (self.sum(false), self.sum(true))
    }

    fn see_word(&mut self, word: Word<'_>) {
        let (Some(view), Some(term)) = (self.view, word.term) else { return };
        if !view.may_have(term) {
            return;
        }
        let letters = word.letters();
        for (at, asked) in view.words.iter().enumerate() {
            let same = asked.term == term
                || (view.misspelt
                    && asked.misspelt.as_ref().is_some_and(|asked| asked.may_mean(letters)));
            if same {
                self.words[at].turn = self.turn;
                self.places[at].push(self.place);
            }
        }
    }

    fn see_gram(&mut self, gram: u32) {
        let (at, bit) = sieve_bit(gram);
        if self.asked.sieve[at] & bit == 0 {
            return;
        }
        if let Ok(at) = self.asked.grams.binary_search_by_key(&gram, |&(gram, _)| gram) {
            self.grams[at].turn = self.turn;
        }
    }

    fn sum(&self, with_heading: bool) -> Covered {
        let counts = |seen: &Seen| seen.turn == self.turn || (with_heading && seen.heading);
        let words = self.view.map_or(&[][..], |view| &view.words);
        let words = words.iter().zip(&self.words).filter(|(_, seen)| counts(seen));
        let grams = self.asked.grams.iter().zip(&self.grams).filter(|(_, seen)| counts(seen));
        Covered {
            words: words.map(|(word, _)| word.weight).sum(),
            grams: grams.map(|((_, weight), _)| weight).sum(),
        }
    }

    /// Of the pairs of neighbouring words of the question, weighed by the lighter one, the share that stands
    /// near each other in what was read: in full up to two words apart, falling with the root of the
    /// distance.
    fn neighbours(&self) -> f64 {
        let words = self.view.map_or(&[][..], |view| &view.words);
        let (mut near, mut all) = (0.0, 0.0);
        for at in 1..words.len() {
            let (one, other) = (&words[at - 1], &words[at]);
            if one.term == other.term {
                continue;
            }
            let weight = one.weight.min(other.weight);
            all += weight;
            if let Some(distance) = shortest(&self.places[at - 1], &self.places[at]) {
                near += weight / f64::from(distance.saturating_sub(1).max(1)).sqrt();
            }
        }
        if all > 0.0 { near / all } else { 0.0 }
    }

    fn misspelt(&self) -> f64 {
        let Some(view) = self.view.filter(|view| view.misspelt && view.total > 0.0) else {
            return 0.0;
        };
        let found = view.words.iter().zip(&self.places);
        let found = found.filter(|(word, places)| word.misspelt.is_some() && !places.is_empty());
        found.map(|(word, _)| word.weight).sum::<f64>() / view.total
    }
}

/// The shortest way from a place of one word to a place of the next; one more when it leads back.
fn shortest(one: &[u32], next: &[u32]) -> Option<u32> {
    let ways = one.iter().filter_map(|&from| {
        let after = next.partition_point(|&place| place <= from);
        let forth = next.get(after).map(|&place| place - from);
        let back = after.checked_sub(1).map(|before| from - next[before] + 1);
        forth.into_iter().chain(back).min()
    });
    ways.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every term weighs the same; only these words are known.
    struct Known(&'static [&'static str]);

    impl TermWeights for Known {
        fn word(&self, _: u32) -> f64 {
            1.0
        }

        fn gram(&self, _: u32) -> f64 {
            1.0
        }

        fn has_word(&self, term: u32) -> bool {
            self.0.iter().any(|word| term_of(word, Lang::Es) == term)
        }
    }

    fn closeness(asked: &Asked, heading: &str, text: &str) -> Closeness {
        asked.closeness(&AnalysedPassage::new(heading, text, Lang::Es), text)
    }

    fn asked(question: &str) -> Asked {
        Asked::new(question, Lang::Es, &[Lang::Es], &Known(&["garantia", "mochilas", "envio"]))
    }

    #[test]
    fn a_sentence_that_holds_everything_is_closer_than_two_that_share_it() {
        let question = asked("garantía mochilas");
        let one = closeness(&question, "", "La garantía de mochilas dura. Llame hoy.");
        let two = closeness(&question, "", "La garantía dura. Hay mochilas.");
        assert!((one.sentence - 1.0).abs() < 1e-9, "{one:?}");
        assert!(two.sentence < 0.7, "{two:?}");
        assert!((one.neighbours - 1.0).abs() < 1e-9, "{one:?}");
        assert!(two.neighbours > 0.0 && two.neighbours < 0.5, "{two:?}");
    }

    #[test]
    fn the_heading_counts_for_half() {
        let question = asked("garantía mochilas");
        let under = closeness(&question, "Garantía", "Las mochilas, seis meses.");
        let alone = closeness(&question, "", "Las mochilas, seis meses.");
        assert!(under.sentence > alone.sentence + 0.2, "{under:?} {alone:?}");
        assert!(under.sentence < 0.8, "{under:?}");
    }

    #[test]
    fn a_word_that_nobody_wrote_is_read_as_the_one_that_was_meant() {
        let typed = closeness(&asked("garntia mochilas"), "", "La garantía de mochilas.");
        assert!((typed.misspelt - 0.5).abs() < 1e-9, "{typed:?}");
        assert!((typed.neighbours - 1.0).abs() < 1e-9, "{typed:?}");
        let known = closeness(&asked("garantia mochila"), "", "La garantia de mochilas.");
        assert!(known.misspelt.abs() < 1e-9, "{known:?}");
    }

    #[test]
    fn the_kind_of_answer_asked_for_matters() {
        let question = asked("¿Cuánto cuesta el envío?");
        let price = closeness(&question, "", "El envío cuesta 5.490 pesos.");
        let none = closeness(&question, "", "El envío cuesta poco.");
        assert!((price.sentence - none.sentence - WRONG_KIND).abs() < 1e-9, "{price:?} {none:?}");
    }

    #[test]
    fn nothing_asked_is_close_to_nothing() {
        assert_eq!(closeness(&asked(""), "Envíos", "Dos días."), Closeness::default());
        let nowhere = Asked::new("garantía", Lang::Es, &[], &Known(&[]));
        assert!(closeness(&nowhere, "", "La garantía.").sentence <= 0.5);
    }

    #[test]
    fn the_shortest_way_may_lead_back() {
        assert_eq!(shortest(&[3, 10], &[1, 14]), Some(3));
        assert_eq!(shortest(&[3, 10], &[12]), Some(2));
        assert_eq!(shortest(&[], &[12]), None);
    }
}
