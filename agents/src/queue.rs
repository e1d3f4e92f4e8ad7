//! One turn at a time per conversation, within this process and in the order of arrival.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use domain::ConversationId;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, oneshot};

/// Turns that may wait in one conversation; more are refused.
const MAX_WAITING: usize = 32;

/// The conversations that turns are under way in.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: Mutex<HashMap<ConversationId, VecDeque<oneshot::Sender<()>>>>,
}

/// Too many turns wait in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A place in the queue of a conversation. Dropping it leaves the queue; who was first lets the next one go.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    conversation: ConversationId,
    waiting: Option<oneshot::Receiver<()>>,
}

impl Queue {
    /// Takes a place.
    pub(crate) fn enter(self: &Arc<Self>, conversation: ConversationId) -> Result<Place, Full> {
        let mut lanes = self.lanes.lock();
        let waiting = match lanes.get_mut(&conversation) {
            None => {
                lanes.insert(conversation, VecDeque::new());
                None
            }
            Some(lane) => {
                lane.retain(|waiter| !waiter.is_closed());
                if lane.len() >= MAX_WAITING {
                    return Err(Full);
                }
                let (go, waiting) = oneshot::channel();
                lane.push_back(go);
                Some(waiting)
            }
        };
        Ok(Place { queue: self.clone(), conversation, waiting })
    }
}

impl Place {
    /// Whether it is this turn's time.
    pub(crate) fn is_first(&self) -> bool {
        self.waiting.is_none()
    }

    /// Waits until it is this turn's time.
    pub(crate) async fn first(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        // The sender is dropped unsent only together with the queue.
        let _ = waiting.await;
        self.waiting = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Both sides act under this lock, so a go that was given is seen here and handed on.
        let mut lanes = self.queue.lanes.lock();
        if let Some(waiting) = &mut self.waiting {
            waiting.close();
            if waiting.try_recv().is_err() {
                return;
            }
        }
        let Some(lane) = lanes.get_mut(&self.conversation) else { return };
        while let Some(next) = lane.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        lanes.remove(&self.conversation);
    }
}

/// Locks by key; a key costs memory only while it is in use.
#[derive(Debug)]
pub(crate) struct KeyedLocks<K>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

/// Holds the lock of a key.
#[derive(Debug)]
pub(crate) struct KeyGuard<'a, K: Hash + Eq> {
    locks: &'a KeyedLocks<K>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Hash + Eq + Clone> KeyedLocks<K> {
    /// Waits for the lock of `key`; waiters are served in order.
    pub(crate) async fn lock(&self, key: K) -> KeyGuard<'_, K> {
        let lock = self.0.lock().entry(key.clone()).or_default().clone();
        let mut guard = KeyGuard { locks: self, key, held: None };
        guard.held = Some(lock.lock_owned().await);
        guard
    }
}

impl<K: Hash + Eq> Drop for KeyGuard<'_, K> {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.locks.0.lock();
        // One reference is the map's own: nobody else holds or awaits it.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;

    use super::*;

    fn conversation(n: u128) -> ConversationId {
        ConversationId::from_uuid(uuid_of(n))
    }

    fn uuid_of(n: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(n)
    }

    #[tokio::test]
    async fn turns_of_a_conversation_are_served_in_order() {
        let queue = Arc::new(Queue::default());
        let first = queue.enter(conversation(1)).unwrap();
        let mut second = queue.enter(conversation(1)).unwrap();
        let mut third = queue.enter(conversation(1)).unwrap();
        assert!(first.is_first() && !second.is_first());
        assert!(queue.enter(conversation(2)).unwrap().is_first());
        drop(first);
        second.first().await;
        assert!(!third.is_first());
        drop(second);
        third.first().await;
        drop(third);
        assert!(queue.lanes.lock().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_or_just_called_blocks_nobody() {
        let queue = Arc::new(Queue::default());
        let first = queue.enter(conversation(1)).unwrap();
        let leaves = queue.enter(conversation(1)).unwrap();
        let called = queue.enter(conversation(1)).unwrap();
        let mut last = queue.enter(conversation(1)).unwrap();
        drop(leaves);
        drop(first);
        drop(called);
        last.first().await;
        drop(last);
        assert!(queue.lanes.lock().is_empty());
    }

    #[test]
    fn a_queue_has_a_bound() {
        let queue = Arc::new(Queue::default());
        let places: Vec<_> =
            (0..=MAX_WAITING).map(|_| queue.enter(conversation(1)).unwrap()).collect();
        assert_eq!(queue.enter(conversation(1)).unwrap_err(), Full);
        drop(places);
        assert!(queue.lanes.lock().is_empty());
    }

    #[tokio::test]
    async fn a_key_is_forgotten_when_nobody_needs_it() {
        let locks = KeyedLocks::default();
        let held = locks.lock(1).await;
        let _other = locks.lock(2).await;
        let waits = locks.lock(1);
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        drop(held);
        drop(waits.await);
        assert_eq!(locks.0.lock().len(), 1);
    }
}
