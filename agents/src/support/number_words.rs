//! Numbers written in words, in Spanish, Portuguese and English.

use std::ops::Range;

/// What a word adds to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// 0 to 99.
    Small(u64),
    /// 100 to 900.
    Hundreds(u64),
    /// A hundred of what stands before it.
    Hundred,
    /// A thousand or a million of what stands before it.
    Scale(u64),
}

const UNITS: &[(&str, u64)] = &[
    ("cero", 0),
    ("zero", 0),
    ("uno", 1),
    ("una", 1),
    ("un", 1),
    ("um", 1),
    ("uma", 1),
    ("one", 1),
    ("dos", 2),
    ("dois", 2),
    ("duas", 2),
    ("two", 2),
    ("tres", 3),
    ("three", 3),
    ("cuatro", 4),
    ("quatro", 4),
    ("four", 4),
    ("cinco", 5),
    ("five", 5),
    ("seis", 6),
    ("six", 6),
    ("siete", 7),
    ("sete", 7),
    ("seven", 7),
    ("ocho", 8),
    ("oito", 8),
    ("eight", 8),
    ("nueve", 9),
    ("nove", 9),
    ("nine", 9),
    ("diez", 10),
    ("dez", 10),
    ("ten", 10),
    ("once", 11),
    ("onze", 11),
    ("eleven", 11),
    ("doce", 12),
    ("doze", 12),
    ("twelve", 12),
    ("trece", 13),
    ("treze", 13),
    ("thirteen", 13),
    ("catorce", 14),
    ("quatorze", 14),
    ("catorze", 14),
    ("fourteen", 14),
    ("quince", 15),
    ("quinze", 15),
    ("fifteen", 15),
    ("dieciseis", 16),
    ("dezesseis", 16),
    ("sixteen", 16),
    ("diecisiete", 17),
    ("dezessete", 17),
    ("seventeen", 17),
    ("dieciocho", 18),
    ("dezoito", 18),
    ("eighteen", 18),
    ("diecinueve", 19),
    ("dezenove", 19),
    ("nineteen", 19),
    ("veinte", 20),
    ("vinte", 20),
    ("twenty", 20),
    ("treinta", 30),
    ("trinta", 30),
    ("thirty", 30),
    ("cuarenta", 40),
    ("quarenta", 40),
    ("forty", 40),
    ("cincuenta", 50),
    ("cinquenta", 50),
    ("fifty", 50),
    ("sesenta", 60),
    ("sessenta", 60),
    ("sixty", 60),
];

const TENS: &[(&str, u64)] = &[
    ("setenta", 70),
    ("seventy", 70),
    ("ochenta", 80),
    ("oitenta", 80),
    ("eighty", 80),
    ("noventa", 90),
    ("ninety", 90),
];

const HUNDREDS: &[(&str, u64)] = &[
    ("doscient", 200),
    ("duzent", 200),
    ("trescient", 300),
    ("trezent", 300),
    ("cuatrocient", 400),
    ("quatrocent", 400),
    ("quinient", 500),
    ("quinhent", 500),
    ("seiscient", 600),
    ("seiscent", 600),
    ("setecient", 700),
    ("setecent", 700),
    ("ochocient", 800),
    ("novecient", 900),
];

const SCALES: &[(&str, u64)] = &[
    ("mil", 1_000),
    ("thousand", 1_000),
    ("millon", 1_000_000),
    ("millones", 1_000_000),
    ("milhao", 1_000_000),
    ("milhoes", 1_000_000),
    ("million", 1_000_000),
    ("millions", 1_000_000),
];

/// A number in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InWords {
    /// Where it stands, in the places of the words.
    pub(super) words: Range<usize>,
    /// Its value.
    pub(super) value: u64,
}

/// The numbers among folded words, each as long as it can be. `None` is anything between two words that ends a
/// number: a full stop, a digit.
pub(super) fn numbers(words: &[Option<&str>]) -> Vec<InWords> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match number_at(words, at) {
            Some(number) => {
                at = number.words.end;
                found.push(number);
            }
            None => at += 1,
        }
    }
    found
}

fn number_at(words: &[Option<&str>], start: usize) -> Option<InWords> {
    let (mut total, mut group) = (0_u64, 0_u64);
    let mut last: Option<Part> = None;
    let mut end = start;
    let mut at = start;
    while let Some(&Some(word)) = words.get(at) {
        let Some(part) = part(word) else {
            // One `y` or `and` may stand within a number.
            let links = last.is_some() && at == end && matches!(word, "y" | "e" | "and");
            if !links {
                break;
            }
            at += 1;
            continue;
        };
        if !follows(last, part, group) {
            break;
        }
        match part {
            Part::Small(value) | Part::Hundreds(value) => group += value,
            Part::Hundred => group = group.max(1) * 100,
            Part::Scale(scale) => {
                total = total.saturating_add(group.max(1).saturating_mul(scale));
                group = 0;
            }
        }
        last = Some(part);
        at += 1;
        end = at;
    }
    last.map(|_| InWords { words: start..end, value: total.saturating_add(group) })
}

/// Whether a part goes on with the number before it rather than beginning another one.
fn follows(last: Option<Part>, next: Part, group: u64) -> bool {
    match (last, next) {
        (None | Some(Part::Scale(_)), _)
        | (Some(Part::Hundreds(_) | Part::Hundred), Part::Small(_))
        | (Some(_), Part::Scale(_)) => true,
        (Some(Part::Small(tens)), Part::Small(unit)) => {
            tens >= 20 && tens % 10 == 0 && (1..10).contains(&unit)
        }
        (Some(Part::Small(unit)), Part::Hundred) => unit < 10 && group < 10,
        (Some(_), Part::Hundreds(_) | Part::Hundred) => false,
    }
}

fn part(word: &str) -> Option<Part> {
    let listed =
        |list: &[(&str, u64)]| list.iter().find(|(name, _)| *name == word).map(|(_, n)| *n);
    if let Some(value) = listed(UNITS).or_else(|| listed(TENS)).or_else(|| twenties(word)) {
        return Some(Part::Small(value));
    }
    if let Some(value) = listed(SCALES) {
        return Some(Part::Scale(value));
    }
    if matches!(word, "cien" | "ciento" | "cem" | "cento") {
        return Some(Part::Hundreds(100));
    }
    if matches!(word, "hundred" | "hundreds") {
        return Some(Part::Hundred);
    }
    let ended = ["os", "as"].iter().find_map(|ending| word.strip_suffix(ending))?;
    HUNDREDS.iter().find(|(stem, _)| *stem == ended).map(|(_, value)| Part::Hundreds(*value))
}

/// `veintiuno` to `veintinueve`.
fn twenties(word: &str) -> Option<u64> {
    let unit = word.strip_prefix("veinti")?;
    let value = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, value)| *value)?;
    (1..10).contains(&value).then_some(20 + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<u64> {
        let words: Vec<Option<&str>> = text.split(' ').map(Some).collect();
        numbers(&words).iter().map(|number| number.value).collect()
    }

    #[test]
    fn numbers_are_read_in_three_languages() {
        for (text, value) in [
            ("treinta y cinco", 35),
            ("veinticuatro", 24),
            ("trinta e dois", 32),
            ("forty two", 42),
            ("ciento veinte", 120),
            ("mil doscientos", 1_200),
            ("tres mil quinientos", 3_500),
            ("tres mil e quinhentos", 3_500),
            ("two thousand five hundred", 2_500),
            ("three hundred and sixty five", 365),
            ("dos millones", 2_000_000),
            ("novecientas", 900),
        ] {
            assert_eq!(values(text), [value], "{text}");
        }
        assert_eq!(values("de nueve a dieciocho"), [9, 18]);
        assert_eq!(values("dos y tres"), [2, 3]);
        assert_eq!(values("nada de esto y aquello"), Vec::<u64>::new());
    }
}
