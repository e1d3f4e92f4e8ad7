//! Questions made from the passages themselves: the half of a sentence, in which one word in five may be of
//! another passage, as people ask in other words than those that answer.

use domain::Lang;
use models::builtin::{SentenceKind, sentences};
use models::lexical::{each_term, each_word};

/// One content word in so many is replaced.
const REPLACED: u64 = 5;
/// Questions made from one passage at most.
const ROUNDS: u64 = 4;
/// Words of a sentence that is worth halving.
const WORDS: std::ops::RangeInclusive<usize> = 8..=60;
/// Words of a question at least; halves are longer for it.
const LEAST: usize = 6;

/// A passage that questions are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) text: &'a str,
    pub(super) lang: Lang,
}

/// Whose words a question has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    /// The sentence's own.
    Kept,
    /// One in five is of another passage.
    Mixed,
}

/// Questions, each with the number of the sample that it is made from: one for each sample that has a sentence for
/// one, and more rounds of them until there are `wanted`. The same samples give the same questions.
pub(super) fn questions(
    samples: &[Sample<'_>],
    wanted: usize,
    wording: Wording,
) -> Vec<(usize, String)> {
    let pool: Vec<String> = match wording {
        Wording::Kept => Vec::new(),
        Wording::Mixed => samples.iter().flat_map(content).collect(),
    };
    let mut made = Vec::with_capacity(wanted);
    for round in 0..ROUNDS {
        for (at, sample) in samples.iter().enumerate() {
            if made.len() >= wanted {
                return made;
            }
            made.extend(question(sample, round, &pool).map(|question| (at, question)));
        }
    }
    made
}

fn content(sample: &Sample<'_>) -> Vec<String> {
    let mut words = Vec::new();
    each_term(sample.text, sample.lang, |word, term| {
        if term.is_some() {
            words.push(word.to_owned());
        }
    });
    words
}

fn question(sample: &Sample<'_>, round: u64, pool: &[String]) -> Option<String> {
    let mut dice = Dice::new(sample.text, round);
    let statements = sentences(sample.text).into_iter();
    let statements = statements.filter(|sentence| sentence.kind == SentenceKind::Statement);
    let fit: Vec<&str> = statements
        .map(|sentence| sentence.text)
        .filter(|text| WORDS.contains(&count_words(text)))
        .collect();
    let sentence = fit.get(dice.below(fit.len())?)?;
    let mut words: Vec<(String, bool)> = Vec::new();
    each_term(sentence, sample.lang, |word, term| {
        words.push((word.to_owned(), term.is_some()));
    });
    let half = (words.len() / 2).max(LEAST);
    let start = dice.below(words.len() - half + 1)?;
    let mut question = String::new();
    for (word, content) in &words[start..start + half] {
        let replaced = *content && dice.next().is_multiple_of(REPLACED);
        let other = if replaced { dice.below(pool.len()).map(|at| &pool[at]) } else { None };
        question.push_str(other.unwrap_or(word));
        question.push(' ');
    }
    Some(question)
}

/// Words of a text, stop words too.
pub(super) fn count_words(text: &str) -> usize {
    let mut words = 0;
    each_word(text, |_| words += 1);
    words
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the same seed gives the same throws, so that a datastore gets the
/// same threshold wherever it is counted.
struct Dice(u64);

impl Dice {
    fn new(text: &str, round: u64) -> Self {
        let seed = text.bytes().fold(round, |seed, byte| Self(seed ^ u64::from(byte)).next());
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; `None` where there is none.
    fn below(&mut self, bound: usize) -> Option<usize> {
        let bound = u64::try_from(bound).ok().filter(|&bound| bound > 0)?;
        usize::try_from(self.next() % bound).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "El envío a regiones cuesta 5.490 pesos y tarda entre tres y seis días hábiles. \
        ¿Y a la capital? Menos.";

    const SAMPLE: Sample<'static> = Sample { text: TEXT, lang: Lang::Es };

    #[test]
    fn a_question_is_half_a_sentence_and_the_same_each_time() {
        let other =
            Sample { text: "La carpa para dos personas resiste lluvia y viento fuerte.", ..SAMPLE };
        let made = questions(&[SAMPLE, other], 100, Wording::Mixed);
        assert_eq!(made, questions(&[SAMPLE, other], 100, Wording::Mixed));
        assert_eq!(made.len(), 8);
        let words = count_words(sentences(TEXT)[0].text);
        for (_, question) in made.iter().filter(|(at, _)| *at == 0) {
            assert_eq!(count_words(question), words / 2, "{question}");
        }
        assert_ne!(made[0], made[2]);
        assert_eq!(questions(&[SAMPLE, other], 3, Wording::Mixed), made[..3]);
        let (_, own) = &questions(&[SAMPLE], 1, Wording::Kept)[0];
        // As words are analysed: folded, and numbers without their points.
        let folded = TEXT.to_lowercase().replace('í', "i").replace('é', "e").replace('á', "a");
        let folded = folded.replace("5.490", "5490");
        assert!(folded.contains(own.trim()), "{own}");
    }

    #[test]
    fn a_passage_without_a_sentence_of_some_length_gives_none() {
        let short = Sample { text: "Menos. ¿Cuándo? Hoy.", ..SAMPLE };
        assert_eq!(questions(&[short, SAMPLE], 1, Wording::Mixed)[0].0, 1);
        assert!(
            questions(&[short], 9, Wording::Mixed).is_empty()
                && questions(&[], 9, Wording::Mixed).is_empty()
        );
    }
}
