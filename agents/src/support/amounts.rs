//! Numbers as they are written in Spanish, English and Portuguese.

/// A number in millionths, so that equal numbers are equal however they are written.
pub(super) type Amount = i128;

const MILLIONTHS: Amount = 1_000_000;

/// Most digits before the decimal separator; longer ones are codes.
const MAX_DIGITS: usize = 18;

/// A whole number.
pub(super) fn whole(number: u64) -> Amount {
    Amount::from(number) * MILLIONTHS
}

/// The minutes since midnight that a number from 0 to 24 means as an hour.
pub(super) fn as_hour(amount: Amount) -> Option<u16> {
    let hour = u16::try_from(amount / MILLIONTHS).ok()?;
    (amount % MILLIONTHS == 0 && hour <= 24).then(|| hour * 60)
}

/// Every number that digits with separators can mean: `1.234` is 1234 to some and 1.234 to others, `1.234,5` is
/// one number only. Empty for what is no number: `1.2.3`.
pub(super) fn readings(text: &str) -> Vec<Amount> {
    let plain: String =
        text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).collect();
    let separators: Vec<(usize, char)> =
        plain.char_indices().filter(|(_, c)| !c.is_ascii_digit()).collect();
    let Some(&(last, decimal)) = separators.last() else {
        return amount(&plain, "").into_iter().collect();
    };
    let (head, tail) = (&plain[..last], &plain[last + 1..]);
    let mixed = separators.iter().any(|&(_, c)| c != decimal);
    let as_decimal = || amount(&head.replace(['.', ','], ""), tail);
    let as_whole = || grouped(&plain).then(|| amount(&plain.replace(['.', ','], ""), "")).flatten();
    let once = separators.iter().filter(|&&(_, c)| c == decimal).count() == 1;
    match (mixed, once) {
        (true, true) if grouped(head) => as_decimal().into_iter().collect(),
        (false, true) => as_whole().into_iter().chain(as_decimal()).collect(),
        (false, false) => as_whole().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// `amount` times a thousand or a million.
pub(super) fn times(amount: Amount, factor: u32) -> Amount {
    amount.saturating_mul(Amount::from(factor))
}

/// Whether the digits stand in groups of three, the first of one to three that does not begin with 0.
fn grouped(text: &str) -> bool {
    let mut groups = text.split(['.', ',']);
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len())
        && !first.starts_with('0')
        && groups.all(|group| group.len() == 3)
}

fn amount(digits: &str, decimals: &str) -> Option<Amount> {
    let digits = digits.trim_start_matches('0');
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let whole: Amount = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let decimals: String = decimals.chars().chain(std::iter::repeat('0')).take(6).collect();
    Some(whole * MILLIONTHS + decimals.parse::<Amount>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_three_languages_mean_the_same() {
        let expected = [whole(1_234) + 500_000];
        for text in ["1.234,50", "1,234.50", "1234.5", "1234,500000", "1'234.50", "1 234,5"] {
            assert_eq!(readings(text), expected, "{text}");
        }
        assert_eq!(readings("3.500"), [whole(3_500), whole(3) + 500_000]);
        assert_eq!(readings("0,500"), [500_000]);
        assert_eq!(readings("1.234.567"), [whole(1_234_567)]);
        assert_eq!(readings("007"), [whole(7)]);
        assert_eq!(readings("1.2.3"), Vec::<Amount>::new());
        assert_eq!(readings("12345678901234567890"), Vec::<Amount>::new());
    }

    #[test]
    fn hours_are_whole_numbers_to_24() {
        assert_eq!(as_hour(whole(18)), Some(1_080));
        assert_eq!((as_hour(whole(25)), as_hour(500_000), as_hour(-whole(1))), (None, None, None));
    }
}
