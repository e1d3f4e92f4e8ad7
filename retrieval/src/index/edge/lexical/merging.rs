//! Which segments to merge: a query looks at each of them, and merging rewrites them.

/// A segment, by its passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Those that were ever in it.
    pub(super) passages: u32,
    /// Of these those that are gone.
    pub(super) gone: u32,
}

/// Segments of about one size that are merged together at least while passages keep coming, the smaller ones with them.
const TOGETHER: usize = 6;
/// Passages up to which segments count as small; then each size is four times the one before.
const SMALL: u32 = 16;
/// In a quiet moment the largest one joins when the others have this part of its passages.
const WORTH_WHEN_QUIET: u64 = 4;
/// In a quiet moment a segment is written anew when this part of it is gone.
const GONE: u64 = 4;

/// The segments to merge now, by their places; empty for none.
pub(super) fn due(segments: &[Size], is_quiet: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|&at| segments[at].passages);
    if is_quiet {
        return due_when_quiet(segments, order);
    }
    let size = |at: &usize| of_size(segments[*at].passages);
    let mut together = 0;
    let mut smaller = 0;
    for alike in order.chunk_by(|a, b| size(a) == size(b)) {
        smaller += alike.len();
        if alike.len() >= TOGETHER {
            together = smaller;
        }
    }
    order.truncate(together);
    order
}

/// Which size a segment is of.
fn of_size(passages: u32) -> u32 {
    let small = passages.div_ceil(SMALL).max(1);
    small.next_power_of_two().ilog2().div_ceil(2)
}

fn due_when_quiet(segments: &[Size], order: Vec<usize>) -> Vec<usize> {
    let passages = |at: usize| u64::from(segments[at].passages);
    let is_hollow = |at: usize| u64::from(segments[at].gone) * GONE > passages(at);
    let Some((&largest, others)) = order.split_last() else { return Vec::new() };
    let rest: u64 = others.iter().map(|&at| passages(at)).sum();
    let joins = !others.is_empty() && rest * WORTH_WHEN_QUIET >= passages(largest);
    if joins || is_hollow(largest) {
        return order;
    }
    match others {
        [one] if !is_hollow(*one) => Vec::new(),
        others => others.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(passages: &[u32]) -> Vec<Size> {
        passages.iter().map(|&passages| Size { passages, gone: 0 }).collect()
    }

    #[test]
    fn segments_of_one_size_are_merged_and_smaller_ones_with_them() {
        assert!(due(&sizes(&[100; 5]), false).is_empty());
        assert_eq!(due(&sizes(&[100; 6]), false).len(), 6);
        assert_eq!(due(&sizes(&[100, 100, 9_000, 200, 250, 150, 256]), false).len(), 6);
        assert_eq!(due(&sizes(&[9_000, 9_000, 9_000, 5, 9_000, 9_000, 9_000]), false).len(), 7);
    }

    #[test]
    fn sizes_are_four_times_the_one_before() {
        let sizes = [0, 1, 16, 17, 64, 65, 256, 257, 1_024, u32::MAX].map(of_size);
        assert_eq!(sizes, [0, 0, 0, 1, 1, 2, 2, 3, 3, 14]);
    }

    #[test]
    fn in_quiet_moments_all_become_one_or_the_small_ones_do() {
        assert!(due(&[], true).is_empty());
        assert!(due(&sizes(&[5_000]), true).is_empty());
        assert_eq!(due(&sizes(&[5_000, 1_500]), true).len(), 2);
        assert!(due(&sizes(&[50_000, 1_500]), true).is_empty());
        let mut small = due(&sizes(&[70, 50_000, 1_500]), true);
        small.sort_unstable();
        assert_eq!(small, [0, 2]);
        assert_eq!(due(&[Size { passages: 100, gone: 26 }], true), [0]);
        assert_eq!(due(&[Size { passages: 100, gone: 25 }], true), [0; 0]);
        assert_eq!(
            due(&[Size { passages: 10, gone: 9 }, Size { passages: 900, gone: 0 }], true),
            [0]
        );
    }

    proptest! {
        /// However many come, there are few segments, and each passage is rewritten a few times only.
        #[test]
        fn segments_stay_few_and_passages_are_rewritten_seldom(batch in 1_u32..300, commits in 1_usize..600) {
            let mut segments: Vec<Size> = Vec::new();
            let (mut written, mut most) = (0_u64, 0);
            for _ in 0..commits {
                segments.push(Size { passages: batch, gone: 0 });
                let merged = due(&segments, false);
                if !merged.is_empty() {
                    let sum: u32 = merged.iter().map(|&at| segments[at].passages).sum();
                    written += u64::from(sum);
                    let keep = |at: &usize| !merged.contains(at);
                    segments = (0..segments.len()).filter(keep).map(|at| segments[at]).collect();
                    segments.push(Size { passages: sum, gone: 0 });
                }
                most = most.max(segments.len());
            }
            let passages = u64::from(batch) * commits as u64;
            prop_assert!(most <= 18, "{most} segments");
            prop_assert!(written <= passages * 4, "{} times", written / passages);
            for _ in 0..2 {
                let merged = due(&segments, true);
                let sum: u32 = merged.iter().map(|&at| segments[at].passages).sum();
                segments = (0..segments.len()).filter(|at| !merged.contains(at)).map(|at| segments[at]).collect();
                if sum > 0 {
                    segments.push(Size { passages: sum, gone: 0 });
                }
            }
            prop_assert!(segments.len() <= 2);
        }
    }
}
