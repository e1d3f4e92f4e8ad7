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

/// Bytes that are held at most. A workspace of 20 passages takes about 60 kB.
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
        // Statistics grow in place; the cache learns of it when they have grown by a quarter.
        if held.is_none_or(|held| bytes > held.bytes + held.bytes / 4) {
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
        if let Some((revision, bytes)) = &stored.base
            && *revision > held.0
        {
            *held = (*revision, decode(bytes).ok_or_else(unreadable)?);
        }
        for (revision, bytes) in &stored.deltas {
            if *revision > held.0 {
                let change = decode(bytes).ok_or_else(unreadable)?;
                held.1.add(&change);
                held.0 = *revision;
            }
        }
        Ok(())
    }
}
