//! The statistics that readers hold.

use std::sync::Arc;

use domain::{DatastoreId, WorkspaceId};
use moka::sync::Cache;
use parking_lot::RwLock;
use storage::Conn;
use storage::stats::StoredStats;

use super::{Stats, decode};
use crate::RetrievalError;

/// Statistics held in memory, least recently used ones dropped above a bound.
#[derive(Debug, Clone)]
pub(crate) struct StatsCache(Cache<DatastoreId, Held>);

/// What is held of a datastore, and its size when it was put there.
#[derive(Debug, Clone)]
struct Held {
    current: Arc<Current>,
    bytes: u32,
}

/// A datastore's statistics at some revision, which rises.
#[derive(Debug, Default)]
pub(crate) struct Current(RwLock<(i64, Stats)>);

/// Bytes that are held at most. A workspace of 20 passages has some 3,500 terms and takes about 18 kB: those of
/// 1,000 such workspaces are held.
const BOUND: u64 = 24 << 20;

impl StatsCache {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder().max_capacity(BOUND).weigher(|_, held: &Held| held.bytes);
        Self(cache.build())
    }

    /// What is held of a datastore.
    pub(crate) fn held(&self, datastore: DatastoreId) -> Option<Arc<Current>> {
        self.0.get(&datastore).map(|held| held.current)
    }

    /// Statistics of a datastore, at least as new as `revision`.
    pub(crate) async fn current(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        revision: i64,
    ) -> Result<Arc<Current>, RetrievalError> {
        let held = self.0.get(&datastore);
        let current = held.as_ref().map(|held| Arc::clone(&held.current)).unwrap_or_default();
        let seen = current.revision();
        if seen < revision {
            let stored = storage::stats::load(conn, workspace, datastore, seen).await?;
            current.catch_up(&stored)?;
        }
        let bytes = u32::try_from(current.0.read().1.bytes()).unwrap_or(u32::MAX);
        // Statistics change in place; the cache learns of it when their size has changed by a quarter.
        if held.is_none_or(|held| bytes.abs_diff(held.bytes) > held.bytes / 4) {
            self.0.insert(datastore, Held { current: Arc::clone(&current), bytes });
        }
        Ok(current)
    }

    /// Forgets a datastore's statistics.
    pub(crate) fn forget(&self, datastore: DatastoreId) {
        self.0.invalidate(&datastore);
    }
}

impl Current {
    pub(crate) fn revision(&self) -> i64 {
        self.0.read().0
    }

    /// Reads the statistics.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Stats) -> T) -> T {
        work(&self.0.read().1)
    }

    /// Applies what is newer than what is held. Two readers may bring the same changes: each is applied once.
    pub(crate) fn catch_up(&self, stored: &StoredStats) -> Result<(), RetrievalError> {
        let unreadable =
            || RetrievalError::Index("stored statistics cannot be read; reindex".to_owned());
        let mut held = self.0.write();
        // What is read for the first time is as small as can be at once; later changes wait for others.
        let mut anew = held.0 == 0;
        if let Some((revision, bytes)) = &stored.base
            && *revision > held.0
        {
            *held = (*revision, decode(bytes).ok_or_else(unreadable)?);
            anew = true;
        }
        for (revision, bytes) in &stored.deltas {
            if *revision > held.0 {
                let change = decode(bytes).ok_or_else(unreadable)?;
                held.1.add(&change);
                held.0 = *revision;
            }
        }
        if anew {
            held.1.merge();
        } else {
            held.1.merge_when_due();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::encode;

    /// A passage of 600 grams, 200 of which the next one has, too.
    fn passage(n: u32) -> Stats {
        let mut stats = Stats { passages: 1, ..Stats::default() };
        for gram in n * 400..n * 400 + 600 {
            stats.grams.change(gram.wrapping_mul(0x9e37_79b9), 1);
        }
        stats
    }

    /// What is stored after so many passages came, one after another.
    fn stored(passages: u32) -> StoredStats {
        let delta = |n| (i64::from(n), encode(&passage(n)));
        StoredStats { base: None, deltas: (1..=passages).map(delta).collect() }
    }

    #[test]
    fn changes_are_applied_once_however_they_are_brought() {
        let mut expected = Stats::default();
        let one_by_one = Current::default();
        for n in 1..=20 {
            expected.add(&passage(n));
            // Those before are brought once more.
            one_by_one.catch_up(&stored(n)).unwrap();
            assert_eq!(one_by_one.with(Stats::clone), expected);
        }
        let at_once = Current::default();
        at_once.catch_up(&stored(20)).unwrap();
        assert_eq!((at_once.revision(), at_once.with(Stats::clone)), (20, expected));
    }

    #[test]
    fn what_is_read_for_the_first_time_takes_five_bytes_a_term() {
        let by_changes = Current::default();
        by_changes.catch_up(&stored(20)).unwrap();
        let base = Some((20, by_changes.with(encode)));
        let by_base = Current::default();
        by_base.catch_up(&StoredStats { base, deltas: stored(21).deltas }).unwrap();
        for (current, terms) in [(by_changes, 8_200), (by_base, 8_600)] {
            let bytes = current.with(Stats::bytes);
            assert!((5 * terms..5 * terms + 1_000).contains(&bytes), "{bytes}");
        }
    }
}
