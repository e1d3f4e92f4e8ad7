//! Whether two folded words are one and the same but for a typing error.

/// Letters below which a word has no neighbours: too many short words differ by one letter.
const SHORTEST: usize = 4;
/// Letters from which on two errors are forgiven instead of one.
const LONG: usize = 8;

/// A word prepared to be compared with many.
#[derive(Debug, Clone)]
pub struct Misspelt {
    letters: Vec<char>,
    mask: u32,
    errors: usize,
}

impl Misspelt {
    /// `None` for words that are taken as they are: short ones, and numbers and codes, of which the next one
    /// is another thing.
    pub fn new(word: &str) -> Option<Self> {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() < SHORTEST || letters.iter().any(|c| c.is_numeric()) {
            return None;
        }
        let errors = if letters.len() < LONG { 1 } else { 2 };
        Some(Self { letters, mask: mask(word), errors })
    }

    /// Whether `word` is at most one error away, two for long words: a letter left out, added, replaced, or
    /// two neighbours swapped (optimal string alignment).
    pub fn may_mean(&self, word: &str) -> bool {
        let length = if word.is_ascii() { word.len() } else { word.chars().count() };
        // Each error changes the set of letters by two at most; most words end here.
        if length.abs_diff(self.letters.len()) > self.errors
            || (mask(word) ^ self.mask).count_ones() as usize > 2 * self.errors
        {
            return false;
        }
        let letters: Vec<char> = word.chars().collect();
        distance(&self.letters, &letters) <= self.errors
    }
}

/// The letters that occur, by their code modulo 32.
fn mask(word: &str) -> u32 {
    word.chars().fold(0, |mask, c| mask | 1 << (c as u32 % 32))
}

/// Optimal string alignment: Levenshtein's distance with swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: &str, other: &str) -> bool {
        Misspelt::new(one).is_some_and(|word| word.may_mean(other))
    }

    #[test]
    fn typing_errors_are_forgiven_by_length() {
        for (typed, meant) in [
            ("garntia", "garantia"),
            ("llgeada", "llegada"),
            ("devolusion", "devolucion"),
            ("ennvio", "envio"),
            ("enbio", "envio"),
            ("devlucones", "devoluciones"),
        ] {
            assert!(near(typed, meant), "{typed} {meant}");
        }
        for (typed, other) in [
            ("enbyo", "envio"),
            ("caja", "mapa"),
            ("mapa", "mapamundi"),
            ("uva", "uvas"),
            ("an4471", "an4472"),
            ("2024", "2025"),
        ] {
            assert!(!near(typed, other), "{typed} {other}");
        }
    }
}
