//! Quotes: the words of a passage that a sentence of the answer rests on, verbatim.

use std::collections::HashSet;
use std::ops::Range;

use models::lexical;

/// Longest quote, in bytes; a longer sentence is cut at a word.
const MAX_QUOTE_BYTES: usize = 600;

/// Longest preview of a passage, in bytes.
const MAX_PREVIEW_BYTES: usize = 240;

/// Words shorter than this say little about where a sentence comes from, unless they are numbers.
const MIN_WORD_CHARS: usize = 3;

/// The words of `passage` that support the sentences of `answer` that cite it: those before the byte
/// positions `markers`. Support of a passage's sentence is the share of a claim's words that stand in it,
/// numbers counted threefold, since a wrong number is the costliest error. When sentences at different
/// places support different claims the quote spans them, as long as it stays short. A passage that shares
/// no word with the claims (an answer in another language) gives its beginning. The answer is where the words
/// stand in `passage`, in bytes, and the support of all claims together.
pub(crate) fn quote_for(passage: &str, answer: &str, markers: &[usize]) -> (Range<usize>, f64) {
    let sentences = sentences(passage);
    let bags: Vec<HashSet<String>> = sentences
        .iter()
        .map(|range| words(&passage[range.clone()]).into_iter().collect())
        .collect();
    let mut found: Option<Range<usize>> = None;
    let (mut best_support, mut all_support) = (0.0, 0.0);
    for &marker in markers {
        let claim = words(claim_before(answer, marker));
        let Some((index, support)) = best_sentence(&bags, &claim) else { continue };
        all_support += support;
        let range = sentences[index].clone();
        found = Some(match found {
            None => range,
            Some(so_far) => {
                let joint = so_far.start.min(range.start)..so_far.end.max(range.end);
                match joint.len() <= MAX_QUOTE_BYTES {
                    true => joint,
                    false if support > best_support => range,
                    false => so_far,
                }
            }
        });
        best_support = f64::max(best_support, support);
    }
    let quote = match found {
        Some(range) => shortened(passage, range, MAX_QUOTE_BYTES),
        None => preview(passage),
    };
    (quote, all_support)
}

/// Where the beginning of a passage is, in bytes: its first sentences up to 240 bytes.
pub(crate) fn preview(passage: &str) -> Range<usize> {
    let start = passage.len() - passage.trim_start().len();
    let whole = start..passage.trim_end().len().max(start);
    let fits = sentences(passage).into_iter().map(|range| range.end);
    match fits.take_while(|&end| end <= start + MAX_PREVIEW_BYTES).last() {
        Some(end) => start..end,
        None => shortened(passage, whole, MAX_PREVIEW_BYTES),
    }
}

fn best_sentence(bags: &[HashSet<String>], claim: &[String]) -> Option<(usize, f64)> {
    let weight = |word: &String| if word.bytes().any(|b| b.is_ascii_digit()) { 3.0 } else { 1.0 };
    let total: f64 = claim.iter().map(weight).sum();
    let mut best: Option<(usize, f64)> = None;
    for (index, bag) in bags.iter().enumerate() {
        let shared: f64 = claim.iter().filter(|word| bag.contains(*word)).map(weight).sum();
        let support = shared / total.max(1.0);
        if support > 0.0 && best.is_none_or(|(_, so_far)| support > so_far) {
            best = Some((index, support));
        }
    }
    best
}

/// The sentence that a marker at `marker` stands behind: back to the end of the one before.
fn claim_before(answer: &str, marker: usize) -> &str {
    let before = answer.get(..marker).unwrap_or(answer);
    let before = before.trim_end_matches(|c: char| {
        c.is_whitespace() || c.is_ascii_digit() || matches!(c, '[' | ']' | '.' | '!' | '?')
    });
    let start = sentences(before).last().map_or(0, |range| range.start);
    &before[start..]
}

/// Where the sentences of a text are, without the white space around them. A sentence ends with its line,
/// or with `.`, `!`, `?` or `…` before white space.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    let mut end = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        let closes = c == '\n' || (ended && c.is_whitespace());
        if closes && let Some(begun) = start.take() {
            ranges.push(begun..end);
        }
        if !c.is_whitespace() {
            start.get_or_insert(at);
            end = at + c.len_utf8();
            let quoted = ended && matches!(c, '"' | '”' | '»' | ')');
            ended = quoted || matches!(c, '.' | '!' | '?' | '…');
        }
    }
    if let Some(begun) = start {
        ranges.push(begun..end);
    }
    ranges
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    lexical::each_word(text, |word| {
        let tells =
            word.chars().count() >= MIN_WORD_CHARS || word.bytes().any(|b| b.is_ascii_digit());
        if tells && !words.iter().any(|seen| seen == word) {
            words.push(word.to_owned());
        }
    });
    words
}

fn shortened(text: &str, range: Range<usize>, max_bytes: usize) -> Range<usize> {
    if range.len() <= max_bytes {
        return range;
    }
    let end = text.floor_char_boundary(range.start + max_bytes);
    let word_end = text[range.start..end].rfind(char::is_whitespace);
    range.start..word_end.map_or(end, |at| range.start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSAGE: &str = "Atendemos de lunes a viernes de 9 a 18 horas. Los sábados abrimos de 10 a 14. \
        Los envíos cuestan 3.500 pesos.\nNo abrimos los domingos";

    fn quote(answer: &str) -> &str {
        let markers: Vec<usize> = answer.match_indices("[1]").map(|(at, _)| at).collect();
        &PASSAGE[quote_for(PASSAGE, answer, &markers).0]
    }

    #[test]
    fn the_quote_is_the_sentence_that_shares_most_with_the_claim() {
        assert_eq!(quote("El sábado de 10 a 14 [1]."), "Los sábados abrimos de 10 a 14.");
        assert_eq!(
            quote("Hay de todo. El envío vale 3.500 pesos. [1]"),
            "Los envíos cuestan 3.500 pesos."
        );
    }

    #[test]
    fn two_claims_give_one_span() {
        let found = quote("De lunes a viernes de 9 a 18 [1]. Sábados de 10 a 14 [1].");
        assert_eq!(
            found,
            "Atendemos de lunes a viernes de 9 a 18 horas. Los sábados abrimos de 10 a 14."
        );
    }

    #[test]
    fn without_a_shared_word_the_passage_begins() {
        assert!(PASSAGE.starts_with(quote("Yes [1].")));
        assert!(!quote("Yes [1].").is_empty());
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_word() {
        let long = "palabra ".repeat(200);
        let found = &long[quote_for(&long, "palabra [1]", &[8]).0];
        assert!(found.len() <= MAX_QUOTE_BYTES && found.ends_with("palabra"));
    }
}
