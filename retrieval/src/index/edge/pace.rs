//! How long look-ups take, and whether the index is being written to: what decides which thread they run on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Look-ups that take no longer run on the thread that asks: handing one over to another thread and back takes about as
/// long, and whoever else waits for this thread hardly notices.
const SHORT: Duration = Duration::from_micros(500);
/// How long nothing must have been written before a dense vector is looked up: while points come, a search may have to
/// wait for the engine's locks.
const QUIET: Duration = Duration::from_millis(500);
/// The part of the newest look-up in the mean, one in so many.
const NEWEST: u64 = 8;
/// While the writer is at work.
const WRITING: u64 = u64::MAX;

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words and grams.
    Sparse,
    /// A dense vector.
    Dense,
}

/// The pace of look-ups.
#[derive(Debug)]
pub(super) struct Pace {
    opened: Instant,
    /// When something was written last, in microseconds since it was opened.
    written: AtomicU64,
    /// Moving means, in nanoseconds.
    sparse: AtomicU64,
    dense: AtomicU64,
}

impl Pace {
    /// Of an index that was just opened. What is not known to be short is looked up elsewhere.
    pub(super) fn new() -> Self {
        let unknown = || AtomicU64::new(nanoseconds(SHORT) * 2);
        Self {
            opened: Instant::now(),
            written: AtomicU64::new(0),
            sparse: unknown(),
            dense: unknown(),
        }
    }

    /// The writer begins.
    pub(super) fn writes(&self) {
        self.written.store(WRITING, Ordering::Relaxed);
    }

    /// The writer is done.
    pub(super) fn has_written(&self) {
        let now = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(WRITING);
        self.written.store(now, Ordering::Relaxed);
    }

    /// Whether a look-up is expected to be short. Words and grams are read beside what is written.
    pub(super) fn is_short(&self, kind: Kind) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        let is_quiet = kind == Kind::Sparse
            || written != WRITING
                && self.opened.elapsed() >= Duration::from_micros(written).saturating_add(QUIET);
        is_quiet && self.mean(kind).load(Ordering::Relaxed) <= nanoseconds(SHORT)
    }

    /// Runs a look-up and takes its time.
    pub(super) fn timed<T>(&self, kind: Kind, find: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let found = find();
        let took = nanoseconds(started.elapsed());
        let mean = self.mean(kind);
        // One that another thread counts at the same time may be lost.
        let before = mean.load(Ordering::Relaxed);
        mean.store((before * (NEWEST - 1)).saturating_add(took) / NEWEST, Ordering::Relaxed);
        found
    }

    const fn mean(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Sparse => &self.sparse,
            Kind::Dense => &self.dense,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    // Some five hundred years would not fit; a look-up of a second is as long as any.
    u64::try_from(time.min(Duration::from_secs(1)).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an index that was opened a while ago.
    fn settled() -> Pace {
        let opened = Instant::now().checked_sub(QUIET * 4).unwrap();
        Pace { opened, ..Pace::new() }
    }

    fn took(pace: &Pace, kind: Kind, time: Duration) {
        pace.mean(kind).store(nanoseconds(time), Ordering::Relaxed);
    }

    #[test]
    fn what_is_not_known_to_be_short_is_not() {
        let pace = settled();
        assert!(!pace.is_short(Kind::Sparse) && !pace.is_short(Kind::Dense));
        took(&pace, Kind::Sparse, SHORT);
        assert!(pace.is_short(Kind::Sparse) && !pace.is_short(Kind::Dense));
        took(&pace, Kind::Sparse, SHORT + Duration::from_micros(1));
        assert!(!pace.is_short(Kind::Sparse));
    }

    #[test]
    fn look_ups_that_become_short_are_found_out() {
        let pace = settled();
        let before = pace.dense.load(Ordering::Relaxed);
        assert_eq!(pace.timed(Kind::Dense, || 7), 7);
        assert_ne!(pace.dense.load(Ordering::Relaxed), before);
        assert_eq!(pace.sparse.load(Ordering::Relaxed), before);
    }

    #[test]
    fn while_something_is_written_and_right_after_nothing_is_short() {
        let pace = settled();
        took(&pace, Kind::Dense, Duration::ZERO);
        assert!(pace.is_short(Kind::Dense));
        pace.writes();
        assert!(!pace.is_short(Kind::Dense));
        pace.has_written();
        assert!(!pace.is_short(Kind::Dense));
        pace.written.store(0, Ordering::Relaxed);
        assert!(pace.is_short(Kind::Dense));
        pace.writes();
        took(&pace, Kind::Sparse, Duration::ZERO);
        assert!(pace.is_short(Kind::Sparse), "these need not wait");
        let fresh = Pace::new();
        took(&fresh, Kind::Dense, Duration::ZERO);
        assert!(!fresh.is_short(Kind::Dense));
    }
}
