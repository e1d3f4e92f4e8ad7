//! How alike two questions are, by the words and 4-grams of the lexical analyser, once each word stands for the
//! concept that it is: the same question in other words or in another language is one.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{GapId, Lang};
use models::lexical::{self, Lexicon, Terms};
use moka::sync::Cache;
use storage::embeddings::TextHash;

use crate::meaning::hash_of;

/// From here on two questions are taken to ask the same. Above a half, so that questions without a word in common are
/// not.
const ALIKE: f64 = 0.6;

/// Memory that analysed questions may take.
const BYTES: u64 = 8 << 20;

/// What questions are about, as far as they were compared lately.
#[derive(Debug)]
pub(crate) struct Analysed(Cache<TextHash, Arc<Terms>>);

impl Default for Analysed {
    fn default() -> Self {
        let bytes = |_: &TextHash, terms: &Arc<Terms>| {
            let pairs = terms.words.len() + terms.grams.len();
            u32::try_from(pairs * size_of::<(u32, u32)>() + 100).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(bytes).build())
    }
}

impl Analysed {
    fn of(&self, question: &str) -> Arc<Terms> {
        self.0.get_with(hash_of(question), || Arc::new(analysed(question)))
    }
}

/// The one of `known` that asks what `question` asks, the most alike one when there are several; the first of
/// those wins. Mean of the cosines of words and of 4-grams; each term weighs the logarithm of how rare it is
/// among the questions, so that "cuánto cuesta" joins nothing.
pub(crate) fn most_alike(
    before: &Analysed,
    question: &str,
    known: &[(GapId, String)],
) -> Option<GapId> {
    let asked = analysed(question);
    let others: Vec<Arc<Terms>> = known.iter().map(|(_, other)| before.of(other)).collect();
    if !others.iter().any(|other| shares(&asked.words, &other.words)) {
        return None;
    }
    let all = || others.iter().map(AsRef::as_ref).chain([&asked]);
    let words = Rarity::among(all().map(|terms| &terms.words));
    let grams = Rarity::among(all().map(|terms| &terms.grams));
    let mut best: Option<(GapId, f64)> = None;
    for ((id, _), other) in known.iter().zip(&others) {
        if !shares(&asked.words, &other.words) {
            continue;
        }
        let by_words = words.cosine(&asked.words, &other.words);
        let by_grams = grams.cosine(&asked.grams, &other.grams);
        let alike = f64::midpoint(by_words, by_grams);
        if alike >= ALIKE && best.is_none_or(|(_, so_far)| alike > so_far) {
            best = Some((*id, alike));
        }
    }
    best.map(|(id, _)| id)
}

/// Whether two bags, whose terms are in rising order, have one in common.
fn shares(one: &[(u32, u32)], other: &[(u32, u32)]) -> bool {
    one.iter().any(|(term, _)| other.binary_search_by_key(term, |(known, _)| *known).is_ok())
}

/// What a question is about. One stemmer for all, so that the language found for a short question does not tell
/// it from another.
fn analysed(question: &str) -> Terms {
    let lexicon = Lexicon::builtin();
    let lang = lexical::detect(question);
    let lang = lang.unwrap_or_else(|| lexicon.language_of(question, Lang::default()));
    let about = lexicon.in_common_words(question, lang).join(" ");
    lexical::analyse_passage(&[&about], Lang::Es)
}

/// In how many questions each term stands.
struct Rarity {
    questions: f64,
    with: HashMap<u32, f64>,
}

impl Rarity {
    fn among<'a>(questions: impl Iterator<Item = &'a Vec<(u32, u32)>>) -> Self {
        let mut rarity = Self { questions: 0.0, with: HashMap::new() };
        for terms in questions {
            rarity.questions += 1.0;
            for (term, _) in terms {
                *rarity.with.entry(*term).or_default() += 1.0;
            }
        }
        rarity
    }

    fn weight(&self, term: u32) -> f64 {
        (1.0 + self.questions / self.with.get(&term).copied().unwrap_or(1.0)).ln()
    }

    /// Cosine of two bags whose terms are in rising order; how often a term stands in a question says nothing.
    fn cosine(&self, one: &[(u32, u32)], other: &[(u32, u32)]) -> f64 {
        let length = |terms: &[(u32, u32)]| -> f64 {
            terms.iter().map(|(term, _)| self.weight(*term).powi(2)).sum()
        };
        let shared: f64 = one
            .iter()
            .filter(|(term, _)| other.binary_search_by_key(term, |(known, _)| *known).is_ok())
            .map(|(term, _)| self.weight(*term).powi(2))
            .sum();
        let lengths = (length(one) * length(other)).sqrt();
        if lengths > 0.0 { shared / lengths } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use domain::Ambient;

    use super::*;

    fn joined(question: &str, known: &[&str]) -> Option<usize> {
        let ambient = Ambient::system();
        let known: Vec<(GapId, String)> =
            known.iter().map(|text| (ambient.new_id(), (*text).to_owned())).collect();
        let found = most_alike(&Analysed::default(), question, &known)?;
        known.iter().position(|(id, _)| *id == found)
    }

    #[test]
    fn the_same_question_in_other_words_is_one_and_another_topic_is_not() {
        let known = [
            "¿Hacen envíos a la Antártida?",
            "¿Cuánto cuesta la silla roja de oficina?",
            "¿Tienen estacionamiento para clientes?",
            "¿Aceptan criptomonedas?",
        ];
        for (question, place) in [
            ("¿Envían a la Antártida?", Some(0)),
            ("hacen envios a la antartida", Some(0)),
            ("hasen envios a la antartica?", Some(0)),
            ("¿Hay estacionamiento para los clientes?", Some(2)),
            ("aceptan criptomoneda", Some(3)),
            ("¿Hay aparcamiento para clientes?", Some(2)),
            ("Is there parking for customers?", Some(2)),
            ("Tem estacionamento para clientes?", Some(2)),
            ("¿Cuánto cuesta la silla roja de oficina?", Some(1)),
            ("¿Cuánto cuesta la mesa de vidrio?", None),
            ("¿Hacen envíos a Chiloé?", None),
            ("¿Aceptan tarjetas de crédito?", None),
            ("", None),
        ] {
            assert_eq!(joined(question, &known), place, "{question}");
        }
        assert_eq!(joined("¿Envían a la Antártida?", &[]), None);
    }
}
