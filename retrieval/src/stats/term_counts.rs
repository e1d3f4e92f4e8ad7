//! In how many passages terms stand: a sorted part that nearly all are in, at five bytes each, and a map of
//! what the sorted part does not say. Changes go to the map, and from time to time into a new sorted part.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by hashes: they need no second hashing.
type ByTerm = HashMap<u32, i32, BuildHasherDefault<TermHasher>>;

/// Spreads a term's 32 bits over 64, which is what the map's buckets are chosen by.
#[derive(Debug, Default)]
struct TermHasher(u64);

impl Hasher for TermHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u32(&mut self, term: u32) {
        self.0 = u64::from(term).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Counts of terms; also a change of them, with negative counts for what goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermCounts {
    /// The terms of the sorted part, by rising hash, each once.
    terms: Vec<u32>,
    /// Their counts, none of which is 0. Few terms stand in more than 255 passages: those, and negative counts,
    /// are kept as changes, so that they do not make all others wider.
    counts: Vec<u8>,
    /// What is to be added to the sorted part.
    changes: ByTerm,
    /// How many changes were there from the start of the sorted part, because they do not fit into it.
    unfit: usize,
}

/// Changes that are not worth a merge, however few the terms are.
const FEW: usize = 256;
/// A merge is due when the changes are one in so many of the terms: each then pays for that many steps of it.
const ONE_IN: usize = 8;

impl TermCounts {
    /// With room for terms that are to be put.
    pub(super) fn with_capacity(terms: usize) -> Self {
        Self {
            terms: Vec::with_capacity(terms),
            counts: Vec::with_capacity(terms),
            ..Self::default()
        }
    }

    /// Puts the count of a term that is greater than all that were put.
    pub(super) fn put(&mut self, term: u32, count: i32) {
        debug_assert!(self.terms.last().is_none_or(|&last| last < term), "terms must rise");
        match u8::try_from(count) {
            Ok(0) => {}
            Ok(count) => {
                self.terms.push(term);
                self.counts.push(count);
            }
            Err(_) => {
                self.changes.insert(term, count);
                self.unfit += 1;
            }
        }
    }

    /// Gives back the room that was not needed.
    pub(super) fn shrink_to_fit(&mut self) {
        self.terms.shrink_to_fit();
        self.counts.shrink_to_fit();
        self.changes.shrink_to_fit();
    }

    /// In how many passages a term stands.
    pub(crate) fn passages_with(&self, term: u32) -> i64 {
        let sorted = self.place(term).map_or(0, |place| i64::from(self.counts[place]));
        sorted + self.changes.get(&term).map_or(0, |&change| i64::from(change))
    }

    /// Where a term is in the sorted part. Hashes are spread evenly enough that it is near the place that the
    /// hash itself suggests: some twelve steps as with a binary search of everything, but close together.
    fn place(&self, term: u32) -> Option<usize> {
        let length = self.terms.len();
        let last = length.checked_sub(1)?;
        let suggested = (u64::from(term) * length as u64) >> 32;
        let suggested = usize::try_from(suggested).map_or(last, |place| place.min(last));
        let (mut from, mut to) = (suggested, suggested);
        // Among n terms spread by chance one is about half the root of n away from its place.
        let mut step = 1_usize << (length.ilog2() / 2);
        while from > 0 && self.terms[from] > term {
            to = from;
            from = from.saturating_sub(step);
            step *= 2;
        }
        while to < last && self.terms[to] < term {
            from = to;
            to = (to + step).min(last);
            step *= 2;
        }
        let found = self.terms[from..=to].binary_search(&term).ok()?;
        Some(from + found)
    }

    /// Counts a term `by` more often.
    pub(super) fn change(&mut self, term: u32, by: i32) {
        let change = self.changes.entry(term).or_default();
        *change = change.saturating_add(by);
    }

    /// Adds a change.
    pub(super) fn add(&mut self, change: &Self) {
        for (term, by) in change.sorted_part() {
            self.change(term, by);
        }
        for (&term, &by) in &change.changes {
            self.change(term, by);
        }
    }

    /// Merges the changes into the sorted part, if there are others than of counts that do not fit into it; terms that
    /// stand nowhere any more are forgotten.
    pub(super) fn merge(&mut self) {
        self.merge_above(0);
    }

    /// Merges the changes once there are so many that it costs each of them no more than some steps.
    pub(super) fn merge_when_due(&mut self) {
        self.merge_above(FEW.max((self.terms.len() + self.unfit) / ONE_IN));
    }

    fn merge_above(&mut self, most: usize) {
        if self.changes.len() - self.unfit <= most {
            return;
        }
        let mut merged = Self::with_capacity(self.terms.len() + self.changes.len());
        for (term, count) in self.sorted() {
            merged.put(term, count);
        }
        merged.shrink_to_fit();
        *self = merged;
    }

    /// All terms by rising hash with their counts, none of which is 0.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (u32, i32)> {
        let mut changes: Vec<(u32, i32)> =
            self.changes.iter().map(|(&term, &change)| (term, change)).collect();
        changes.sort_unstable();
        let mut changes = changes.into_iter().peekable();
        let mut sorted = self.sorted_part().peekable();
        let next = move || {
            let (term, _) = *[sorted.peek(), changes.peek()].into_iter().flatten().min()?;
            let count = sorted.next_if(|&(other, _)| other == term).map_or(0, |(_, count)| count);
            let change = changes.next_if(|&(other, _)| other == term).map_or(0, |(_, by)| by);
            Some((term, count.saturating_add(change)))
        };
        std::iter::from_fn(next).filter(|&(_, count)| count != 0)
    }

    fn sorted_part(&self) -> impl Iterator<Item = (u32, i32)> {
        self.terms.iter().zip(&self.counts).map(|(&term, &count)| (term, i32::from(count)))
    }

    /// Bytes that they take in memory.
    pub(super) fn bytes(&self) -> usize {
        // Of eight places of a map seven are used at most; each has a term, a count and a byte of control.
        let map = self.changes.capacity() * 8 / 7 * 9;
        self.terms.capacity() * 4 + self.counts.capacity() + map
    }
}

/// The same counts, however they are held.
impl PartialEq for TermCounts {
    fn eq(&self, other: &Self) -> bool {
        self.sorted().eq(other.sorted())
    }
}

impl Eq for TermCounts {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few and close together, at the ends and anywhere: where they are not spread evenly, too, each must be found.
    fn term() -> impl Strategy<Value = u32> {
        prop_oneof![0..300_u32, u32::MAX - 300..=u32::MAX, any::<u32>()]
    }

    #[derive(Debug, Clone, Copy)]
    enum Then {
        Nothing,
        MergeWhenDue,
        Merge,
    }

    fn then() -> impl Strategy<Value = Then> {
        prop_oneof![Just(Then::Nothing), Just(Then::MergeWhenDue), Just(Then::Merge)]
    }

    fn change() -> impl Strategy<Value = BTreeMap<u32, i32>> {
        proptest::collection::btree_map(term(), -300..300, 0..600)
    }

    fn counted(change: &BTreeMap<u32, i32>) -> TermCounts {
        let mut counted = TermCounts::default();
        for (&term, &by) in change {
            counted.change(term, by);
        }
        counted
    }

    fn put(change: &BTreeMap<u32, i32>) -> TermCounts {
        let mut put = TermCounts::with_capacity(change.len());
        for (&term, &by) in change {
            put.put(term, by);
        }
        put
    }

    proptest! {
        #[test]
        fn any_changes_give_the_counts_of_a_map(
            changes in proptest::collection::vec((change(), any::<bool>(), then()), 0..8),
            others in proptest::collection::vec(term(), 0..100),
        ) {
            let mut counts = TermCounts::default();
            let mut expected: HashMap<u32, i32> = HashMap::new();
            for (change, sorted, then) in changes {
                counts.add(&if sorted { put(&change) } else { counted(&change) });
                match then {
                    Then::Nothing => {}
                    Then::MergeWhenDue => counts.merge_when_due(),
                    Then::Merge => counts.merge(),
                }
                for (term, by) in change {
                    *expected.entry(term).or_default() += by;
                }
                for term in expected.keys().chain(&others) {
                    let count = expected.get(term).copied().unwrap_or_default();
                    prop_assert_eq!(counts.passages_with(*term), i64::from(count));
                }
            }
            let mut listed: Vec<(u32, i32)> = expected.into_iter().collect();
            listed.retain(|&(_, count)| count != 0);
            listed.sort_unstable();
            prop_assert_eq!(counts.sorted().collect::<Vec<_>>(), listed);
        }
    }

    /// Terms spread evenly, each with the same count.
    fn spread(terms: u32, count: i32) -> TermCounts {
        let mut spread: Vec<u32> = (0..terms).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
        spread.sort_unstable();
        let mut counts = TermCounts::with_capacity(spread.len());
        for term in spread {
            counts.put(term, count);
        }
        counts
    }

    #[test]
    fn a_term_takes_five_bytes() {
        assert_eq!(spread(3_500, 20).bytes(), 3_500 * 5);
        let mut counts = spread(3_500, 20);
        for term in 0..1_000 {
            counts.change(term, 1);
        }
        assert!(counts.bytes() > 3_500 * 5 + 1_000 * 9);
        counts.merge();
        assert!((22_000..=22_500).contains(&counts.bytes()), "{}", counts.bytes());
    }

    #[test]
    fn terms_that_stand_nowhere_any_more_take_nothing_after_a_merge() {
        let mut counts = spread(1_000, 200);
        counts.add(&spread(1_000, -200));
        assert_eq!(counts.passages_with(0), 0);
        assert_eq!(counts.sorted().next(), None);
        counts.merge();
        assert_eq!((counts.bytes(), counts), (0, TermCounts::default()));
    }

    #[test]
    fn few_changes_of_many_terms_wait_for_others() {
        for count in [20, 2_000] {
            let mut counts = spread(80_000, count);
            let mut merges = 0;
            for round in 0..200 {
                let waiting = counts.changes.len();
                for n in 0..100 {
                    counts.change((round * 100 + n) * 2 + 1, 1);
                }
                counts.merge_when_due();
                merges += usize::from(counts.changes.len() < waiting);
                assert!(counts.changes.len() - counts.unfit <= 15_000);
            }
            assert_eq!(merges, 1, "{count}");
        }
    }

    #[test]
    fn a_count_that_outgrows_a_byte_is_changed_without_merges() {
        let mut counts = spread(1_000, 255);
        counts.add(&spread(1_000, 1));
        counts.merge_when_due();
        assert_eq!((counts.terms.len(), counts.unfit), (0, 1_000));
        for _ in 0..3 {
            counts.add(&spread(1_000, 10));
            counts.merge_when_due();
        }
        assert_eq!((counts.terms.len(), counts.passages_with(0)), (0, 286));
        counts.add(&spread(1_000, -100));
        counts.change(7, 1);
        counts.merge();
        assert_eq!((counts.terms.len(), counts.unfit), (1_001, 0));
    }
}
