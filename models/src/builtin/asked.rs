//! A question and how well texts answer to it: which of its words and grams a text holds, weighed by their
//! inverse document frequency. Retrieval ranks the best passages by it, the extractive answerer sentences.

use domain::Lang;

use super::TermWeights;
use super::answer_type::{AnswerType, expected, holds};
use super::expand::spans;
use super::passage::AnalysedPassage;
use super::view::{Put, View, sieve_bit};
use crate::lexical::{Lexicon, Word, content_words};

/// What a sentence loses when the question asks for a kind of answer (a date, a price) that it lacks.
pub(super) const WRONG_KIND: f64 = 0.12;
/// How far apart the last word of a sentence and the first of the next one are.
const BETWEEN_SENTENCES: u32 = 5;

/// A question prepared to be compared with many passages.
#[derive(Debug)]
pub struct Asked {
    /// What it is for passages in each language that there are; the most common first.
    views: Vec<View>,
    /// What it asks an index for.
    vectors: Vectors,
    pub(super) kind: Option<AnswerType>,
}

/// The question as the words and grams that an index is asked for, by rising hash, with their weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// Words.
    pub words: Vec<(u32, f64)>,
    /// The weight of a passage that holds each word once, in one of its forms.
    pub words_total: f64,
    /// 4-grams.
    pub grams: Vec<(u32, f64)>,
    /// The weight of a passage that holds each gram once.
    pub grams_total: f64,
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
    /// A question in `lang`, put to passages in `passages` (languages, the most common first); the lexicons know
    /// what else its words may be called.
    pub fn new(
        question: &str,
        lang: Lang,
        passages: &[Lang],
        lexicons: &[&Lexicon],
        weights: &dyn TermWeights,
    ) -> Self {
        let words = content_words(question, lang);
        let spans = spans(&words, lang, lexicons);
        let at_home = passages.contains(&lang);
        let put = Put { question, lang, at_home, words: &words, spans: &spans };
        let view = |&passages: &Lang| View::new(passages, &put, weights);
        let views: Vec<View> = passages.iter().map(view).collect();
        let vectors = Vectors::of(&views);
        Self { views, vectors, kind: expected(question) }
    }

    /// What an index is asked for.
    pub const fn vectors(&self) -> &Vectors {
        &self.vectors
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
        let (words, grams) = view.map_or((0, 0), |view| (view.words.len(), view.grams.len()));
        Reading {
            view,
            turn: 0,
            words: vec![Seen::default(); words],
            grams: vec![SeenGram::default(); grams],
            places: vec![Vec::new(); words],
            place: 0,
        }
    }

    /// The share of the question's weight that is covered, 0 to 1: mean of words and grams.
    pub(super) fn share(&self, covered: Covered, lang: Lang) -> f64 {
        let of =
            |covered: f64, total: f64| if total > 0.0 { (covered / total).min(1.0) } else { 0.0 };
        let Some(view) = self.view(lang) else { return 0.0 };
        f64::midpoint(of(covered.words, view.words_total), of(covered.grams, view.grams_total))
    }

    fn view(&self, lang: Lang) -> Option<&View> {
        self.views.iter().find(|view| view.lang == lang).or(self.views.first())
    }
}

/// A word or gram of the question seen in a passage.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The text in turn; 0 for none.
    turn: u32,
    /// Which of its forms stand in the text in turn: a bit for each.
    forms: u32,
    /// Which of them stand in the heading.
    heading: u32,
    /// Whether it was ever seen but for a typing error.
    misspelt: bool,
}

/// Where a gram of the question was seen last.
#[derive(Debug, Clone, Copy, Default)]
struct SeenGram {
    turn: u32,
    heading: bool,
}

/// A passage being read for a question, text by text.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    view: Option<&'a View>,
    turn: u32,
    words: Vec<Seen>,
    grams: Vec<SeenGram>,
    /// Where each word of the question stands, counted in words.
    places: Vec<Vec<u32>>,
    place: u32,
}

impl Reading<'_> {
    /// What the heading covers. To be read first.
    pub(super) fn heading<'w>(&mut self, words: impl Iterator<Item = Word<'w>>) -> Covered {
        let (covered, _) = self.sentence(words);
        for seen in &mut self.words {
            seen.heading = if seen.turn == self.turn { seen.forms } else { 0 };
        }
        for seen in &mut self.grams {
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
        for form in view.forms_of(term) {
            self.see_form(form.word, form.bit);
        }
        if !view.misspelt {
            return;
        }
        let letters = word.letters();
        for (at, asked) in view.words.iter().enumerate() {
            if asked.misspelt.as_ref().is_some_and(|asked| asked.may_mean(letters)) {
                self.see_form(at, 1);
                self.words[at].misspelt = true;
            }
        }
    }

    fn see_form(&mut self, at: usize, bit: u32) {
        let seen = &mut self.words[at];
        if seen.turn != self.turn {
            (seen.turn, seen.forms) = (self.turn, 0);
        }
        seen.forms |= bit;
        if self.places[at].last() != Some(&self.place) {
            self.places[at].push(self.place);
        }
    }

    fn see_gram(&mut self, gram: u32) {
        let Some(view) = self.view else { return };
        let (at, bit) = sieve_bit(gram);
        if view.sieve[at] & bit == 0 {
            return;
        }
        if let Ok(at) = view.grams.binary_search_by_key(&gram, |&(gram, _)| gram) {
            self.grams[at].turn = self.turn;
        }
    }

    fn sum(&self, with_heading: bool) -> Covered {
        let Some(view) = self.view else { return Covered::default() };
        let counts = |seen: &SeenGram| seen.turn == self.turn || (with_heading && seen.heading);
        let words = view.words.iter().zip(&self.words).map(|(word, seen)| {
            let own = if seen.turn == self.turn { seen.forms } else { 0 };
            word.covered(own | if with_heading { seen.heading } else { 0 })
        });
        let grams = view.grams.iter().zip(&self.grams).filter(|(_, seen)| counts(seen));
        Covered { words: words.sum(), grams: grams.map(|((_, weight), _)| weight).sum() }
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
        let Some(view) = self.view.filter(|view| view.misspelt && view.words_total > 0.0) else {
            return 0.0;
        };
        let found = view.words.iter().zip(&self.words).filter(|(_, seen)| seen.misspelt);
        found.map(|(word, _)| word.weight).sum::<f64>() / view.words_total
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
    use crate::lexical::term_of;

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
            let of = |word, lang| term_of(word, lang) == term;
            self.0.iter().any(|word| of(word, Lang::Es) || of(word, Lang::En))
        }
    }

    fn closeness(asked: &Asked, heading: &str, text: &str) -> Closeness {
        asked.closeness(&AnalysedPassage::new(heading, text, Lang::Es), text)
    }

    fn asked(question: &str) -> Asked {
        let known = Known(&["garantia", "mochilas", "envio"]);
        Asked::new(question, Lang::Es, &[Lang::Es], &[], &known)
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
        let nowhere = Asked::new("garantía", Lang::Es, &[], &[], &Known(&[]));
        assert!(closeness(&nowhere, "", "La garantía.").sentence <= 0.5);
    }

    const LEXICON: &str = "es: celular, fono móvil, teléfono | en: mobile phone, handset\n\
        es: arreglar, reparar | en: fix, repair\nes: mochila | en: backpack";

    fn close(question: &str, lang: Lang, known: &'static [&'static str], text: &str) -> Closeness {
        let lexicon = Lexicon::parse(LEXICON).unwrap();
        let asked = Asked::new(question, lang, &[Lang::Es], &[&lexicon], &Known(known));
        closeness(&asked, "", text)
    }

    #[test]
    fn a_synonym_covers_part_of_a_word_and_more_where_nobody_says_the_word() {
        let text = "Puede reparar todo.";
        let beside = close("arreglar", Lang::Es, &["arreglar", "reparar"], text).sentence;
        let instead = close("arreglar", Lang::Es, &["reparar"], text).sentence;
        let unknown = close("arreglar", Lang::Es, &["arreglar"], text).sentence;
        assert!(
            unknown < beside && beside < instead && instead < 0.5,
            "{unknown} {beside} {instead}"
        );
        let itself = close("reparar", Lang::Es, &["arreglar", "reparar"], text).sentence;
        assert!((itself - 1.0).abs() < 1e-9, "{itself}");
    }

    #[test]
    fn synonyms_do_not_add_up_and_half_of_one_is_half() {
        let known = &["celular", "fono", "movil", "telefono"];
        let of = |text| close("celular", Lang::Es, known, text).sentence;
        let (one, both) = (of("El fono móvil."), of("El fono móvil, teléfono."));
        assert!((one - both).abs() < 1e-9, "{one} {both}");
        let half = of("El fono.");
        assert!(half > 0.0 && half < one, "{half} {one}");
    }

    #[test]
    fn a_translation_is_the_word_for_passages_in_another_language() {
        let known = &["mochila", "arreglar", "reparar"];
        let of = |text| close("repair my backpack", Lang::En, known, text);
        let both = of("Reparar la mochila.");
        // What the translation is not: the 4-grams of the other translation.
        assert!(both.sentence > 0.7, "{both:?}");
        assert!((both.neighbours - 1.0).abs() < 1e-9 && both.misspelt.abs() < 1e-9, "{both:?}");
        let one = of("Una mochila.");
        assert!(one.sentence > 0.2 && one.sentence < both.sentence, "{one:?}");
        assert!(of("El envío.").sentence < 0.1);
    }

    #[test]
    fn an_index_is_asked_for_every_form_and_a_passage_needs_one() {
        let lexicon = Lexicon::parse(LEXICON).unwrap();
        let known = Known(&["reparar", "fix", "repair"]);
        let asked = Asked::new("fix", Lang::En, &[Lang::Es, Lang::En], &[&lexicon], &known);
        let vectors = asked.vectors();
        let terms = [("reparar", Lang::Es), ("fix", Lang::En), ("repair", Lang::En)];
        for (word, lang) in terms {
            let term = term_of(word, lang);
            assert!(vectors.words.iter().any(|&(asked, weight)| asked == term && weight > 0.0));
        }
        assert_eq!(vectors.words.len(), 3, "{vectors:?}");
        assert!((vectors.words_total - 1.0).abs() < 1e-9, "{vectors:?}");
        assert!(vectors.words.is_sorted() && vectors.grams.is_sorted());
    }

    #[test]
    fn a_long_question_is_asked_in_full() {
        let words: Vec<String> = (0..100).map(|n| format!("palabra{n}")).collect();
        let asked = Asked::new(&words.join(" "), Lang::Es, &[Lang::Es], &[], &Known(&[]));
        assert_eq!(asked.vectors().words.len(), 100);
        assert!((asked.vectors().words_total - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_shortest_way_may_lead_back() {
        assert_eq!(shortest(&[3, 10], &[1, 14]), Some(3));
        assert_eq!(shortest(&[3, 10], &[12]), Some(2));
        assert_eq!(shortest(&[], &[12]), None);
    }
}
