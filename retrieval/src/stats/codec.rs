//! Statistics as bytes: a version, the counts, the calibration (since version 2) with the test of the
//! dense vectors (since version 3), then the terms by rising hash as gaps with their counts, all
//! as variable-length integers. A term takes about five bytes in a change and three in a large base.
//! Compression does not pay: hashes are noise.

use super::term_counts::TermCounts;
use super::{Calibration, DenseTest, Stats};

const VERSION: u8 = 3;
/// As it was without a test of the dense vectors.
const UNTESTED: u8 = 2;
/// As it was without a calibration.
const UNCALIBRATED: u8 = 1;

pub(super) fn encode(stats: &Stats) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    put_signed(&mut bytes, stats.passages);
    for count in stats.langs {
        put_signed(&mut bytes, count);
    }
    put(&mut bytes, u64::from(stats.calibration.is_some()));
    if let Some(Calibration { passages, threshold, dense }) = stats.calibration {
        put_signed(&mut bytes, passages);
        put_signed(&mut bytes, threshold);
        put(&mut bytes, u64::from(dense.is_some()));
        if let Some(DenseTest { space, ratio }) = dense {
            put(&mut bytes, u64::from(space));
            put_signed(&mut bytes, ratio);
        }
    }
    put_terms(&mut bytes, &stats.words);
    put_terms(&mut bytes, &stats.grams);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Stats> {
    let (&version, mut rest) = bytes.split_first()?;
    if !matches!(version, UNCALIBRATED | UNTESTED | VERSION) {
        return None;
    }
    let mut stats = Stats { passages: take_signed(&mut rest)?, ..Stats::default() };
    for count in &mut stats.langs {
        *count = take_signed(&mut rest)?;
    }
    if version >= UNTESTED && take(&mut rest)? > 0 {
        let (passages, threshold) = (take_signed(&mut rest)?, take_signed(&mut rest)?);
        let dense = if version == VERSION && take(&mut rest)? > 0 {
            let space = u32::try_from(take(&mut rest)?).ok()?;
            Some(DenseTest { space, ratio: take_signed(&mut rest)? })
        } else {
            None
        };
        stats.calibration = Some(Calibration { passages, threshold, dense });
    }
    stats.words = take_terms(&mut rest)?;
    stats.grams = take_terms(&mut rest)?;
    rest.is_empty().then_some(stats)
}

fn put_terms(bytes: &mut Vec<u8>, terms: &TermCounts) {
    let sorted: Vec<(u32, i32)> = terms.sorted().collect();
    bytes.reserve(5 * sorted.len());
    put(bytes, sorted.len() as u64);
    let mut last = 0;
    for (term, count) in sorted {
        put(bytes, u64::from(term - last));
        put_signed(bytes, i64::from(count));
        last = term;
    }
}

fn take_terms(rest: &mut &[u8]) -> Option<TermCounts> {
    let length = usize::try_from(take(rest)?).ok()?;
    // A term takes two bytes or more: a length that the bytes cannot hold is not believed.
    if length > rest.len() / 2 {
        return None;
    }
    let mut terms = TermCounts::with_capacity(length);
    let mut last: Option<u32> = None;
    for _ in 0..length {
        let gap = u32::try_from(take(rest)?).ok()?;
        let term = match last {
            None => gap,
            // A term is written once.
            Some(_) if gap == 0 => return None,
            Some(last) => last.checked_add(gap)?,
        };
        terms.put(term, i32::try_from(take_signed(rest)?).ok()?);
        last = Some(term);
    }
    terms.shrink_to_fit();
    Some(terms)
}

/// LEB128.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Zigzag, so that small negative counts are short too.
fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let value = take(rest)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(pairs: impl IntoIterator<Item = (u32, i32)>) -> TermCounts {
        let mut counts = TermCounts::default();
        for (term, count) in pairs {
            counts.change(term, count);
        }
        counts
    }

    /// As they are counted and as they are held after a merge.
    fn terms() -> impl Strategy<Value = TermCounts> {
        let count = prop_oneof![-3..300_i32, any::<i32>()];
        let pairs = proptest::collection::hash_map(any::<u32>(), count, 0..200);
        (pairs, any::<bool>()).prop_map(|(pairs, merged)| {
            let mut counts = counts(pairs);
            if merged {
                counts.merge();
            }
            counts
        })
    }

    proptest! {
        #[test]
        fn statistics_read_back(
            passages in any::<i64>(),
            langs in any::<[i64; 4]>(),
            words in terms(),
            grams in terms(),
            calibration in any::<Option<(i64, i64, Option<(u32, i64)>)>>(),
        ) {
            let calibration =
                calibration.map(|(passages, threshold, dense)| Calibration {
                    passages,
                    threshold,
                    dense: dense.map(|(space, ratio)| DenseTest { space, ratio }),
                });
            let stats = Stats { passages, langs, words, grams, calibration };
            prop_assert_eq!(decode(&encode(&stats)), Some(stats));
        }

        #[test]
        fn noise_is_refused_or_read_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }

    /// Three passages with two words, and their bytes: the version, five counts, no calibration, the words, no grams.
    fn two_words() -> (Stats, Vec<u8>) {
        let words = counts([(7, 2), (8, 3)]);
        let stats = Stats { passages: 3, words, ..Stats::default() };
        (stats, vec![VERSION, 6, 0, 0, 0, 0, 0, 2, 7, 4, 1, 6, 0])
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let (stats, bytes) = two_words();
        assert_eq!(encode(&stats), bytes);
        assert_eq!(decode(&bytes), Some(stats));
    }

    #[test]
    fn a_term_that_stands_twice_is_refused() {
        let (_, mut bytes) = two_words();
        bytes[10] = 0;
        assert_eq!(decode(&bytes), None);
        // The first has no gap before it: its hash is 0.
        bytes[8] = 0;
        bytes[10] = 1;
        let words = counts([(0, 2), (1, 3)]);
        assert_eq!(decode(&bytes), Some(Stats { passages: 3, words, ..Stats::default() }));
    }

    #[test]
    fn terms_and_counts_that_cannot_be_are_refused_and_a_count_of_nothing_is_nothing() {
        let (_, bytes) = two_words();
        let with = |at: usize, value: u64| {
            let mut changed = bytes[..at].to_vec();
            put(&mut changed, value);
            changed.extend(&bytes[at + 1..]);
            decode(&changed)
        };
        assert_eq!(with(7, 100), None, "more terms than bytes");
        assert_eq!(with(7, u64::MAX), None, "more terms than bytes");
        assert_eq!(with(8, 1 << 32), None, "a hash of more than 32 bits");
        assert_eq!(with(10, u64::from(u32::MAX)), None, "a hash of more than 32 bits");
        assert_eq!(with(9, 1 << 32), None, "a count of more than 31 bits");
        assert_eq!(with(9, u64::MAX), None, "a count of less than 31 bits");
        let words = counts([(8, 3)]);
        assert_eq!(with(9, 0), Some(Stats { passages: 3, words, ..Stats::default() }));
    }

    #[test]
    fn statistics_from_before_calibrations_are_read() {
        let stats = Stats { passages: 3, words: counts([(7, 2)]), ..Stats::default() };
        let mut bytes = encode(&stats);
        bytes[0] = UNCALIBRATED;
        // One byte says that there is no calibration: after the version and five counts of a byte.
        bytes.remove(6);
        assert_eq!(decode(&bytes), Some(stats));
    }

    #[test]
    fn cut_bytes_are_refused() {
        let (_, bytes) = two_words();
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
    }
}
