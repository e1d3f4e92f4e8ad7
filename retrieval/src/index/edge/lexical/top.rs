//! The best of many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use domain::ChunkId;

/// A passage found; the greater, the better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Best {
    score: f32,
    id: ChunkId,
}

impl Eq for Best {}

impl Ord for Best {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of those that are equally good the one with the smaller id is the better, so that the order says nothing of
        // how segments came about.
        self.score.total_cmp(&other.score).then_with(|| other.id.cmp(&self.id))
    }
}

impl PartialOrd for Best {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The best passages seen, a number of them at most.
#[derive(Debug)]
pub(super) struct Top {
    limit: usize,
    heap: BinaryHeap<Reverse<Best>>,
}

impl Top {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::with_capacity(limit + 1) }
    }

    /// The least score that can still be among the best.
    pub(super) fn least(&self) -> f32 {
        if self.heap.len() < self.limit {
            return f32::MIN_POSITIVE;
        }
        self.heap.peek().map_or(f32::INFINITY, |Reverse(worst)| worst.score)
    }

    pub(super) fn offer(&mut self, id: ChunkId, score: f32) {
        self.heap.push(Reverse(Best { score, id }));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    pub(super) fn into_sorted(self) -> Vec<(ChunkId, f32)> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse(best)| (best.id, best.score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn the_best_come_first_and_equals_by_their_ids(
            scores in proptest::collection::vec(1_u8..20, 0..200),
            limit in 1_usize..50,
        ) {
            let mut top = Top::new(limit);
            let mut all: Vec<(ChunkId, f32)> = Vec::new();
            for (at, score) in scores.into_iter().enumerate() {
                let id = ChunkId::from_uuid(Uuid::from_u128((at as u128).wrapping_mul(0x9e37_79b9) % 251));
                let score = f32::from(score);
                if score >= top.least() {
                    top.offer(id, score);
                }
                all.push((id, score));
            }
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            all.truncate(limit);
            prop_assert_eq!(top.into_sorted(), all);
        }
    }
}
