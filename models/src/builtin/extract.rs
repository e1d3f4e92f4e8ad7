//! The extractive answerer: two sentences that cover the question, verbatim.

use std::cmp::Ordering;

use super::answer_type::holds;
use super::asked::WRONG_KIND;
use super::sentences::SentenceKind;
use super::{AnalysedPassage, Asked, Extract, Passage};

/// Passages that are looked at, best first.
const PASSAGES: usize = 3;
/// Sentences of an answer.
const SENTENCES: usize = 2;
/// What a sentence inherits of the one before it: answers often follow what names their subject.
const FROM_PREVIOUS: f64 = 0.15;
/// What a sentence inherits of the question or heading that it stands under.
const FROM_ABOVE: f64 = 0.5;
/// What a sentence loses for what its passage's score lacks of the best one's, as a share of that.
const FROM_PASSAGE: f64 = 1.0;
/// The share of the best sentence's score that one of another passage must reach to be said as well.
const BESIDE_BEST: f64 = 0.2;
/// What a sentence loses for each passage ranked above its own.
const PER_RANK: f64 = 0.05;

/// At most two sentences of the first three passages that answer what was asked, best first; empty when no
/// sentence shares anything with it.
///
/// A sentence scores the share of the question's weight (inverse document frequency, mean of words and
/// 4-grams) that it covers, plus a part of what stands before it and above it (a line within the passage, or the
/// passage's heading, whichever covers more), minus penalties for a missing kind of answer, for a lower rank
/// and for a passage found less well than the best; constants measured on development sets. A second sentence
/// comes from the best one's passage or is itself a fair match: one word in common is no answer.
pub fn extract(asked: &Asked, passages: &[Passage<'_>]) -> Vec<Extract> {
    let passages = &passages[..passages.len().min(PASSAGES)];
    let best = passages.iter().map(|passage| passage.score).fold(0.0, f64::max);
    let mut found: Vec<Extract> = Vec::new();
    for (rank, passage) in passages.iter().enumerate() {
        let behind = if best > 0.0 { 1.0 - passage.score / best } else { 0.0 };
        let penalty = PER_RANK * rank as f64 + FROM_PASSAGE * behind;
        score_passage(rank, passage, asked, penalty, &mut found);
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
    behind: f64,
    found: &mut Vec<Extract>,
) {
    let mut previous = 0.0;
    let mut reading = asked.read(passage.lang);
    // A section's sentences seldom repeat what its heading says they are about.
    let analysed = AnalysedPassage::new(passage.heading, passage.text, passage.lang);
    let heading = reading.heading(analysed.heading());
    let heading = asked.share(heading, passage.lang);
    let mut above = heading;
    for sentence in analysed.sentences() {
        let (own, _) = reading.sentence(analysed.words(sentence));
        let own = asked.share(own, passage.lang);
        let text = sentence.text(passage.text);
        if sentence.kind != SentenceKind::Statement {
            above = heading.max(own);
            previous = 0.0;
            continue;
        }
        let inherited = FROM_PREVIOUS * previous + FROM_ABOVE * above;
        previous = own;
        if own + inherited <= 0.0 {
            continue;
        }
        let lacks = asked.kind.is_some_and(|kind| !holds(text, kind));
        let penalty = if lacks { WRONG_KIND } else { 0.0 } + behind;
        let score = own + inherited - penalty;
        found.push(Extract { passage: rank, sentence: text.to_owned(), score });
    }
}

#[cfg(test)]
mod tests {
    use domain::Lang;

    use super::*;
    use crate::builtin::TermWeights;

    /// Every term weighs the same.
    struct Even;

    impl TermWeights for Even {
        fn word(&self, _: u32) -> f64 {
            1.0
        }

        fn gram(&self, _: u32) -> f64 {
            1.0
        }

        fn has_word(&self, _: u32) -> bool {
            true
        }
    }

    fn said(question: &str, passages: &[(&str, &str)]) -> Vec<String> {
        let passage =
            |&(heading, text): &(_, _)| Passage { text, heading, lang: Lang::Es, score: 1.0 };
        let passages: Vec<Passage<'_>> = passages.iter().map(passage).collect();
        let asked = Asked::new(question, Lang::Es, &[Lang::Es], &[], &Even);
        let extracts = extract(&asked, &passages);
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
