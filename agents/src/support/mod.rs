//! The support check: numbers, prices, percentages, hours, dates and codes of an answer that stand in nothing
//! that the answer may rest on. It errs towards silence: what can be read in two ways is supported by either.

mod amounts;
mod number_words;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use models::lexical;

use scan::{Fact, Reading, scan};

/// What an answer may rest on: its cited passages, what the customer said, the operator's instructions.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    facts: HashSet<Fact>,
    digits: Vec<String>,
    runs: Vec<Run>,
    folded: Vec<String>,
}

/// A stretch of letters or of digits, folded.
#[derive(Debug)]
struct Run {
    text: String,
    /// Nothing but a hyphen or the like stands between it and the one before.
    joined: bool,
}

/// Fewest digits that two writings of a telephone number must share at their end.
const PHONE_DIGITS: usize = 7;

impl Ground {
    /// Adds a text.
    pub(crate) fn add(&mut self, text: &str) {
        // As it would be read in an answer too, so that a text always supports itself.
        for found in [scan(text, Reading::Ground), scan(text, Reading::Claims)].concat() {
            for fact in found.facts {
                if let Fact::Digits(digits) = &fact {
                    self.digits.push(digits.clone());
                }
                self.facts.insert(fact);
            }
        }
        runs(text, &mut self.runs);
        self.folded.push(lexical::fold(text));
    }

    fn supports(&self, fact: &Fact) -> bool {
        if self.facts.contains(fact) {
            return true;
        }
        match fact {
            Fact::Number(number) => {
                let hour = amounts::as_hour(*number).map(Fact::Time);
                self.facts.contains(&Fact::Percent(*number))
                    || hour.is_some_and(|hour| self.facts.contains(&hour))
            }
            Fact::Time(minutes) => {
                let hour = Fact::Number(amounts::whole(u64::from(minutes / 60)));
                minutes % 60 == 0 && self.facts.contains(&hour)
            }
            Fact::Percent(_) | Fact::Date { .. } => false,
            Fact::Digits(claimed) => self.digits.iter().any(|known| same_phone(known, claimed)),
            Fact::Runs(claimed) => self.has_runs(claimed),
            Fact::Address(claimed) => self.folded.iter().any(|text| has_whole(text, claimed)),
        }
    }

    fn has_verbatim(&self, claim: &str) -> bool {
        let claim = lexical::fold(claim);
        self.folded.iter().any(|text| has_whole(text, &claim))
    }

    fn has_runs(&self, claimed: &[String]) -> bool {
        let (Some(first), true) = (claimed.first(), claimed.len() <= self.runs.len()) else {
            return false;
        };
        self.runs.windows(claimed.len()).any(|window| {
            let same = window.iter().zip(claimed).all(|(run, claimed)| &run.text == claimed);
            &window[0].text == first && same && window[1..].iter().all(|run| run.joined)
        })
    }
}

/// What of `answer` stands nowhere in `ground`: as the answer writes it, each once, in order of appearance.
pub(crate) fn unsupported(answer: &str, ground: &Ground) -> Vec<String> {
    let mut missing: Vec<(Range<usize>, &str)> = Vec::new();
    for found in scan(answer, Reading::Claims) {
        let claim = &answer[found.range.clone()];
        if !found.facts.iter().any(|fact| ground.supports(fact)) && !ground.has_verbatim(claim) {
            missing.push((found.range, claim));
        }
    }
    missing.sort_by_key(|(range, _)| range.start);
    let mut seen = BTreeSet::new();
    missing.retain(|(_, text)| seen.insert(*text));
    missing.into_iter().map(|(_, text)| text.trim().to_owned()).collect()
}

/// What of `answer` stands in none of `texts`: the numbers, prices, percentages, hours, dates and codes as the answer
/// writes them, each once, in order of appearance. For those who judge answers that no turn has checked.
pub fn unsupported_claims(answer: &str, texts: &[&str]) -> Vec<String> {
    let mut ground = Ground::default();
    for text in texts {
        ground.add(text);
    }
    unsupported(answer, &ground)
}

/// Whether two writings of a telephone number may be the same: with or without its country and trunk digits.
fn same_phone(one: &str, other: &str) -> bool {
    let shortest = one.len().min(other.len());
    shortest >= PHONE_DIGITS && (one.ends_with(other) || other.ends_with(one))
}

/// Whether `text` has `needle` with nothing that would lengthen it on either side.
fn has_whole(text: &str, needle: &str) -> bool {
    !needle.is_empty()
        && text.match_indices(needle).any(|(at, _)| {
            let before = text[..at].chars().rev();
            let after = text[at + needle.len()..].chars();
            !goes_on(before) && !goes_on(after)
        })
}

fn goes_on(mut rest: impl Iterator<Item = char>) -> bool {
    match rest.next() {
        Some('.' | ',' | ':' | '/' | '\'') => rest.next().is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric() || c == '-',
        None => false,
    }
}

/// The letters and digits of a text as alternating runs.
fn runs(text: &str, runs: &mut Vec<Run>) {
    // What one text ends with is not joined to what the next begins with.
    let mut gap = usize::MAX;
    let mut current: Option<(bool, String)> = None;
    for c in text.chars() {
        let kind = c.is_alphanumeric().then(|| c.is_numeric());
        if let Some((numeric, open)) = &mut current {
            if kind == Some(*numeric) {
                open.push(c);
                continue;
            }
            let text = lexical::fold(open);
            runs.push(Run { text, joined: gap <= 1 });
            (current, gap) = (None, 0);
        }
        match kind {
            Some(numeric) => current = Some((numeric, c.to_string())),
            None if matches!(c, '-' | '_' | '/' | '.' | ' ') => gap = gap.saturating_add(1),
            None => gap = usize::MAX,
        }
    }
    if let Some((_, open)) = current {
        runs.push(Run { text: lexical::fold(&open), joined: gap <= 1 });
    }
}
