//! The clock and the randomness, handed in rather than reached for, so that tests decide both.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng, TryRngCore};
use uuid::{Builder, Uuid};

use crate::Timestamp;
use crate::ids::PrefixedId;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The instant now.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes fit for secrets.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock and the randomness that a piece of code may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Ambient {
    /// From a clock and a source of randomness.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// The operating system's clock and randomness.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    /// The instant now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id, ordered by time (UUID version 7).
    pub fn new_id<T: PrefixedId>(&self) -> T {
        T::from_uuid(self.new_uuid())
    }

    /// A new UUID version 7. What is made within a millisecond is in order too: the twelve bits after it say
    /// how far into it (RFC 9562, section 6.2, method 3).
    pub fn new_uuid(&self) -> Uuid {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        let micros = u64::try_from(self.now().micros()).unwrap_or(0);
        let [.., high, low] = ((micros % 1_000) * 4_096 / 1_000).to_be_bytes();
        (random[0], random[1]) = (high, low);
        Builder::from_unix_timestamp_millis(micros / 1_000, &random).into_uuid()
    }

    /// Random bytes fit for secrets.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// A random number from 0 (included) to 1 (excluded).
    pub fn random_unit(&self) -> f64 {
        let bits = u64::from_le_bytes(self.random_bytes()) >> 11;
        // 53 random bits over 2^53: every value is exact in an f64.
        bits as f64 / 9_007_199_254_740_992.0
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    // Without it no secret could be made, so stopping is right.
    fn fill(&self, bytes: &mut [u8]) {
        rand::rngs::OsRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
    }
}

/// A clock that tests move by hand.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.micros()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.store(self.now().plus(by).micros(), Ordering::SeqCst);
    }

    /// Sets the clock, also backward.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Repeatable randomness for tests.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rng.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentId;

    #[test]
    fn ids_follow_the_clock_and_the_seed() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let make = |seed| {
            Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(seed))).new_id::<AgentId>()
        };
        let first = make(1);
        assert_eq!(first, make(1));
        assert_ne!(first, make(2));
        clock.advance(Duration::from_millis(1));
        assert!(make(1) > first);
    }
}
