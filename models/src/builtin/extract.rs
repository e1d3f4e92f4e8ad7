//! The extractive answerer: two sentences that cover the question, verbatim.

use std::cmp::Ordering;

use domain::Lang;

use super::answer_type::{AnswerType, expected, holds};
use super::sentences::{Sentence, SentenceKind, sentences};
use super::{Extract, Passage, TermWeights};
use crate::lexical::{Terms, analyse_passage, analyse_question};

/// Passages that are looked at, best first.
const PASSAGES: usize = 3;
/// Sentences of an answer.
const SENTENCES: usize = 2;
/// What a sentence inherits of the one before it: answers often follow what names their subject.
const FROM_PREVIOUS: f64 = 0.15;
/// What a sentence inherits of the question or heading that it stands under.
const FROM_ABOVE: f64 = 0.5;
/// The share of the best sentence's score that one of another passage must reach to be said as well.
const BESIDE_BEST: f64 = 0.2;
/// What a sentence loses when the question asks for a kind of answer (a date, a price) that it lacks.
const WRONG_KIND: f64 = 0.12;
/// What a sentence loses for each passage ranked above its own.
const PER_RANK: f64 = 0.05;

/// At most two sentences of the first three passages that answer `question`, best first; empty when no
/// sentence shares anything with it.
///
/// A sentence scores the share of the question's weight (inverse document frequency, mean of words and
/// 4-grams) that it covers, plus a part of what stands before it and above it (a line within the passage, or the
/// passage's heading, whichever covers more), minus penalties for a missing
/// kind of answer and a lower rank; constants measured on development sets. A second sentence comes from
/// the best one's passage or is itself a fair match: one word in common is no answer.
pub fn extract(
    question: &str,
    lang: Lang,
    passages: &[Passage<'_>],
    weights: &dyn TermWeights,
) -> Vec<Extract> {
    let passages = &passages[..passages.len().min(PASSAGES)];
    let mut langs: Vec<Lang> = Vec::new();
    for passage in passages {
        if !langs.contains(&passage.lang) {
            langs.push(passage.lang);
        }
    }
    let asked = Asked::new(&analyse_question(question, lang, &langs), weights);
    let kind = expected(question);
    let mut found: Vec<Extract> = Vec::new();
    for (rank, passage) in passages.iter().enumerate() {
        score_passage(rank, passage, &asked, kind, &mut found);
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(Ordering::Equal));
    if let Some(best) = found.first().cloned() {
        let fair = BESIDE_BEST * best.score;
        found.retain(|other| other.passage == best.passage || other.score >= fair);
    }
    found.truncate(SENTENCES);
    found
}

fn score_passage(
    rank: usize,
    passage: &Passage<'_>,
    asked: &Asked,
    kind: Option<AnswerType>,
    found: &mut Vec<Extract>,
) {
    let mut previous = 0.0;
    // A section's sentences seldom repeat what its heading says they are about.
    let heading = asked.coverage(&analyse_passage(&[passage.heading], passage.lang));
    let mut above = heading;
    for Sentence { text, kind: sentence_kind } in sentences(passage.text) {
        let own = asked.coverage(&analyse_passage(&[text], passage.lang));
        if sentence_kind != SentenceKind::Statement {
            above = heading.max(own);
            previous = 0.0;
            continue;
        }
        let inherited = FROM_PREVIOUS * previous + FROM_ABOVE * above;
        previous = own;
        if own + inherited <= 0.0 {
            continue;
        }
        let lacks = kind.is_some_and(|kind| !holds(text, kind));
        let penalty = if lacks { WRONG_KIND } else { 0.0 } + PER_RANK * rank as f64;
        found.push(Extract {
            passage: rank,
            sentence: text.to_owned(),
            score: own + inherited - penalty,
        });
    }
}

/// The question's terms and what each weighs.
struct Asked {
    words: Vec<(u32, f64)>,
    grams: Vec<(u32, f64)>,
    words_total: f64,
    grams_total: f64,
}

impl Asked {
    fn new(question: &Terms, weights: &dyn TermWeights) -> Self {
        let weigh = |terms: &[(u32, u32)], weight: &dyn Fn(u32) -> f64| -> (Vec<(u32, f64)>, f64) {
            let weighed: Vec<(u32, f64)> = terms
                .iter()
                .map(|&(term, count)| (term, weight(term) * f64::from(count)))
                .collect();
            let total = weighed.iter().map(|(_, weight)| weight).sum();
            (weighed, total)
        };
        let (words, words_total) = weigh(&question.words, &|term| weights.word(term));
        let (grams, grams_total) = weigh(&question.grams, &|term| weights.gram(term));
        Self { words, grams, words_total, grams_total }
    }

    /// The share of the question's weight that a text covers, 0 to 1: mean of words and grams.
    fn coverage(&self, text: &Terms) -> f64 {
        let words = covered(&self.words, &text.words, self.words_total);
        let grams = covered(&self.grams, &text.grams, self.grams_total);
        f64::midpoint(words, grams)
    }
}

fn covered(asked: &[(u32, f64)], terms: &[(u32, u32)], total: f64) -> f64 {
    if total <= 0.0 {
        return 0.0;
    }
    let has = |term: u32| terms.binary_search_by_key(&term, |&(term, _)| term).is_ok();
    asked.iter().filter(|(term, _)| has(*term)).map(|(_, weight)| weight).sum::<f64>() / total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every term weighs the same.
    struct Even;

    impl TermWeights for Even {
        fn word(&self, _: u32) -> f64 {
            1.0
        }

        fn gram(&self, _: u32) -> f64 {
            1.0
        }
    }

    fn said(question: &str, passages: &[(&str, &str)]) -> Vec<String> {
        let passage = |&(heading, text): &(_, _)| Passage { text, heading, lang: Lang::Es };
        let passages: Vec<Passage<'_>> = passages.iter().map(passage).collect();
        let extracts = extract(question, Lang::Es, &passages, &Even);
        extracts.into_iter().map(|extract| extract.sentence).collect()
    }

    #[test]
    fn a_sentence_answers_by_the_heading_it_stands_under() {
        let passages = [
            ("Preguntas › Horarios", "Atendemos de lunes a viernes de 9 a 18."),
            ("Preguntas › Envíos", "Los paquetes tardan entre 3 y 6 días."),
        ];
        assert_eq!(said("¿Cuáles son los horarios?", &passages), [passages[0].1]);
        assert_eq!(said("como son los envios", &passages)[0], passages[1].1);
        let neither = [("", passages[0].1), ("", "Ven hoy.")];
        assert_eq!(said("¿Cuáles son los horarios?", &neither), Vec::<String>::new());
    }

    #[test]
    fn a_line_within_the_passage_can_say_more_than_its_heading() {
        let text = "## Cambios\nTreinta días.\n## Garantía\nSeis meses.";
        let found = said("¿Qué garantía tienen?", &[("Políticas", text)]);
        assert_eq!(found, ["Seis meses."]);
    }

    #[test]
    fn a_second_sentence_of_another_passage_must_match_fairly() {
        let hours = ("Horarios", "Los horarios de la tienda son de 9 a 18.");
        let shipping = ("Envíos", "Los paquetes tardan 3 días.");
        assert_eq!(said("¿Cuáles son los horarios de la tienda?", &[hours, shipping]), [hours.1]);
        let mall = ("Mall", "La tienda del mall tiene otros horarios.");
        assert_eq!(said("¿Cuáles son los horarios de la tienda?", &[hours, mall]).len(), 2);
    }
}
