//! Statistics as bytes: a version, the counts, the calibration (since version 2) with the test of the
//! dense vectors (since version 3), then the terms by rising hash as gaps with their counts, all
//! as variable-length integers. A term takes about five bytes in a change and three in a large base.
//! Compression does not pay: hashes are noise.

use std::hash::BuildHasherDefault;

use super::{ByTerm, Calibration, DenseTest, Stats};

const VERSION: u8 = 3;
/// As it was without a test of the dense vectors.
const UNTESTED: u8 = 2;
/// As it was without a calibration.
const UNCALIBRATED: u8 = 1;

pub(super) fn encode(stats: &Stats) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + 5 * (stats.words.len() + stats.grams.len()));
    bytes.push(VERSION);
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

fn put_terms(bytes: &mut Vec<u8>, terms: &ByTerm) {
    let mut sorted: Vec<(u32, i64)> = terms.iter().map(|(&term, &count)| (term, count)).collect();
    sorted.sort_unstable();
    put(bytes, sorted.len() as u64);
    let mut last = 0;
    for (term, count) in sorted {
        put(bytes, u64::from(term - last));
        put_signed(bytes, count);
        last = term;
    }
}

fn take_terms(rest: &mut &[u8]) -> Option<ByTerm> {
    let length = usize::try_from(take(rest)?).ok()?;
    // A term takes two bytes or more: a length that the bytes cannot hold is not believed.
    if length > rest.len() {
        return None;
    }
    let mut terms = ByTerm::with_capacity_and_hasher(length, BuildHasherDefault::default());
    let mut last = 0_u32;
    for _ in 0..length {
        last = last.checked_add(u32::try_from(take(rest)?).ok()?)?;
        terms.insert(last, take_signed(rest)?);
    }
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

    fn terms() -> impl Strategy<Value = ByTerm> {
        proptest::collection::hash_map(any::<u32>(), -1_000_000_i64..1_000_000, 0..200)
            .prop_map(|terms| terms.into_iter().collect())
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

    #[test]
    fn statistics_from_before_calibrations_are_read() {
        let mut stats = Stats { passages: 3, ..Stats::default() };
        stats.words.insert(7, 2);
        let mut bytes = encode(&stats);
        bytes[0] = UNCALIBRATED;
        // One byte says that there is no calibration: after the version and five counts of a byte.
        bytes.remove(6);
        assert_eq!(decode(&bytes), Some(stats));
    }

    #[test]
    fn cut_bytes_are_refused() {
        let mut stats = Stats { passages: 3, ..Stats::default() };
        stats.words.insert(7, 2);
        let bytes = encode(&stats);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
    }
}
