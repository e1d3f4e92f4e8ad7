//! Metrics of what is said.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use domain::Lang;
use models::builtin::{SentenceKind, sentences};
use models::lexical::{analyse_passage, detect};

use crate::text::{folded, normalized, without_markers};

/// Whether the text holds one of the answers as whole words, after folding case and accents and dropping the articles of es,
/// en and pt. 0 or 1, higher is better. Source: SQuAD's normalisation (Rajpurkar et al. 2016) with containment in
/// place of equality, for three languages.
pub fn contains_answer(text: &str, answers: &[String]) -> bool {
    let text = normalized(&without_markers(text));
    answers.iter().any(|answer| {
        let answer = normalized(answer);
        !answer.trim().is_empty() && text.contains(&answer)
    })
}

/// The harmonic mean of precision and recall of the words, as bags, against the nearest accepted answer; same
/// normalisation. 0 to 1, higher is better. Source: SQuAD's F1 (Rajpurkar et al. 2016).
pub fn best_token_f1(text: &str, answers: &[String]) -> f64 {
    let said = bag(&without_markers(text));
    let scores = answers.iter().map(|answer| f1(&said, &bag(answer)));
    scores.fold(0.0, f64::max)
}

/// Whether the text holds something that it must not, as whole words after folding. 0 or 1, lower is better.
pub fn contains_forbidden(text: &str, forbidden: &[String]) -> bool {
    let text = folded(&without_markers(text));
    forbidden.iter().any(|words| {
        let words = folded(words);
        !words.trim().is_empty() && text.contains(&words)
    })
}

/// The numbers, prices, percentages, hours, dates and codes of an answer that stand neither in the texts that it
/// cites nor in what the customer said: the check that turns make. The metric is whether there are any. 0 or 1, lower is
/// better.
pub fn unsupported(answer: &str, cited: &[&str], said: &[&str]) -> Vec<String> {
    let grounds: Vec<&str> = cited.iter().chain(said).copied().collect();
    agents::unsupported_claims(&without_markers(answer), &grounds)
}

/// The share of a sentence's words that must stand in what it cites.
const SUPPORTED: f64 = 0.7;

/// The share of the answer's sentences of which at least 70 % of the different stemmed words without stop words stand in
/// the cited texts; `None` for an answer without such words. 0 to 1, higher is better. Source: K-precision
/// (Adlakha et al. 2024), by sentence. Made for answers that keep to the words of their passages; paraphrases
/// need a judge.
pub fn sentence_support(answer: &str, cited: &[&str], lang: Lang) -> Option<f64> {
    let plain = without_markers(answer);
    let known: BTreeSet<u32> = cited
        .iter()
        .flat_map(|text| {
            // A passage may be in another language than the reply: words are compared as both would stem them.
            let own = detect(text).unwrap_or(lang);
            let terms = [analyse_passage(&[text], lang), analyse_passage(&[text], own)];
            terms.into_iter().flat_map(|terms| terms.words).map(|(word, _)| word)
        })
        .collect();
    let (mut supported, mut count) = (0, 0);
    for sentence in sentences(&plain) {
        if sentence.kind == SentenceKind::Question {
            continue;
        }
        let words = analyse_passage(&[sentence.text], lang).words;
        if words.is_empty() {
            continue;
        }
        let there = words.iter().filter(|(word, _)| known.contains(word)).count();
        count += 1;
        supported += u32::from(there as f64 >= SUPPORTED * words.len() as f64);
    }
    (count > 0).then(|| f64::from(supported) / f64::from(count))
}

/// Whether a reply is in the language that is expected; `None` where nothing in it tells. 0 or 1, higher is better.
pub fn is_in_language(reply: &str, lang: &str) -> Option<bool> {
    let expected = Lang::from_str(lang).ok()?;
    detect(&without_markers(reply)).map(|found| found == expected)
}

fn bag(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in normalized(text).split_whitespace() {
        *words.entry(word.to_owned()).or_insert(0) += 1;
    }
    words
}

fn f1(said: &BTreeMap<String, usize>, wanted: &BTreeMap<String, usize>) -> f64 {
    let size = |bag: &BTreeMap<String, usize>| bag.values().sum::<usize>() as f64;
    let shared: usize = said
        .iter()
        .map(|(word, count)| wanted.get(word).map_or(0, |other| *count.min(other)))
        .sum();
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / size(said), shared as f64 / size(wanted));
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn an_answer_is_contained_whatever_its_accents_and_articles() {
        let answers = texts(&["los días hábiles"]);
        assert!(contains_answer("Llega en 3 DIAS habiles.", &answers));
        assert!(!contains_answer("Llega en días de semana hábiles.", &answers));
        assert!(!contains_answer("Cuesta 45.000", &texts(&["5.000"])));
        assert!(!contains_answer("algo", &texts(&["el"])));
        assert!(contains_answer("O prazo é de 5 [1] dias", &texts(&["5 dias"])));
    }

    #[test]
    fn shared_words_count_against_the_nearest_answer() {
        let answers = texts(&["nada", "the opening hours are nine to six"]);
        let score = best_token_f1("Opening hours: nine to five [1]", &answers);
        // Four of five words said, four of six wanted.
        assert!((score - 2.0 * 0.8 * (4.0 / 6.0) / (0.8 + 4.0 / 6.0)).abs() < 1e-9, "{score}");
        assert!(best_token_f1("", &answers).abs() < 1e-9);
    }

    #[test]
    fn sentences_and_numbers_are_looked_for_in_what_is_cited() {
        let cited = ["El envío a regiones cuesta 5.490 pesos y demora tres días."];
        let good = "El envío a regiones cuesta 5.490 pesos. [1]";
        assert_eq!(sentence_support(good, &cited, Lang::Es), Some(1.0));
        assert!(unsupported(good, &cited, &[]).is_empty());
        let bad = "El envío cuesta 9.990 pesos. Aceptamos criptomonedas en efectivo.";
        assert_eq!(sentence_support(bad, &cited, Lang::Es), Some(0.5));
        assert_eq!(unsupported(bad, &cited, &[]).len(), 1);
        assert!(unsupported(bad, &cited, &["¿9.990 pesos?"]).is_empty());
        assert_eq!(sentence_support("", &cited, Lang::Es), None);
    }

    #[test]
    fn the_language_of_a_reply_is_told() {
        assert_eq!(is_in_language("Abrimos todos los días de la semana.", "es"), Some(true));
        assert_eq!(is_in_language("We are open every day of the week.", "es-CL"), Some(false));
        assert_eq!(is_in_language("123", "es"), None);
        assert!(contains_forbidden("Somos los MÁS baratos", &texts(&["mas baratos"])));
    }
}
