//! Cutting a text into folded words.

use super::fold::fold_char;

/// Calls `word` with each folded word of `text`, in order. Words are runs of letters and digits. Written
/// numbers keep together (`5.490` gives `5490`), a code gives its parts and the whole (`AN-4471` gives
/// `an`, `4471` and `an4471`), and each ideograph stands alone, since nothing separates them.
pub fn each_word(text: &str, mut word: impl FnMut(&str)) {
    let mut current = String::with_capacity(32);
    let mut previous = String::with_capacity(32);
    let mut joins = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_ideograph(c) {
            finish(&mut current, &mut previous, &mut joins, &mut word);
            let mut bytes = [0; 4];
            word(c.encode_utf8(&mut bytes));
        } else if c.is_alphanumeric() {
            fold_char(c, |part| {
                if part.is_alphanumeric() {
                    current.push(part);
                }
            });
        } else if is_mark(c) {
            // A combining mark of decomposed text: the letter before it is already there.
        } else if matches!(c, '.' | ',') && groups_thousands(&current, chars.clone()) {
            // The separator of thousands is left out and the number goes on.
        } else {
            let hyphen = c == '-' && !current.is_empty();
            finish(&mut current, &mut previous, &mut joins, &mut word);
            joins = hyphen;
        }
    }
    finish(&mut current, &mut previous, &mut joins, &mut word);
}

/// Hands over the word at hand; after a hyphen between letters and digits also the two in one.
fn finish(
    current: &mut String,
    previous: &mut String,
    joins: &mut bool,
    word: &mut impl FnMut(&str),
) {
    if current.is_empty() {
        *joins = false;
        return;
    }
    word(current);
    if *joins && is_digits(previous) != is_digits(current) {
        previous.push_str(current);
        word(previous);
    }
    *joins = false;
    std::mem::swap(current, previous);
    current.clear();
}

fn is_digits(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a number of one to three digits, or more groups, goes on with exactly three digits.
fn groups_thousands(before: &str, mut after: impl Iterator<Item = char>) -> bool {
    if before.is_empty() || !is_digits(before) {
        return false;
    }
    let three = (0..3).all(|_| after.next().is_some_and(|c| c.is_ascii_digit()));
    three && !after.next().is_some_and(char::is_alphanumeric)
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && unicode_normalization::char::is_combining_mark(c)
}

const fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn words_are_folded_runs_of_letters_and_digits() {
        assert_eq!(words("¿Cuándo llega, mañana?"), ["cuando", "llega", "manana"]);
        assert_eq!(words("cafe\u{301} solo"), ["cafe", "solo"]);
        assert_eq!(words("  \n"), Vec::<String>::new());
    }

    #[test]
    fn numbers_keep_together() {
        assert_eq!(words("cuesta 5.490 o 1,250,000"), ["cuesta", "5490", "o", "1250000"]);
        assert_eq!(
            words("mide 3,5 m a las 13:00"),
            ["mide", "3", "5", "m", "a", "las", "13", "00"]
        );
    }

    #[test]
    fn a_code_gives_its_parts_and_the_whole() {
        assert_eq!(words("AN-4471."), ["an", "4471", "an4471"]);
        assert_eq!(words("post-venta"), ["post", "venta"]);
    }

    #[test]
    fn ideographs_stand_alone() {
        assert_eq!(words("営業abc"), ["営", "業", "abc"]);
    }
}
