//! A circuit breaker: a provider that keeps failing is left alone for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Ambient, Timestamp};

/// Failures in a row that open it.
const THRESHOLD: u32 = 5;
/// How long it stays open the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// How long it stays open at most: the pause doubles each time that the probe fails.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// Closed, calls pass. After `THRESHOLD` failures in a row it opens and calls are refused at once. When the pause is
/// over one call is let through as a probe; its success closes the breaker, its failure opens it for twice as long.
#[derive(Debug)]
pub(super) struct Breaker {
    ambient: Ambient,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp, pause: Duration },
    Probing { pause: Duration },
}

impl Breaker {
    pub fn new(ambient: Ambient) -> Arc<Self> {
        Arc::new(Self { ambient, state: Mutex::new(State::Closed { failures: 0 }) })
    }

    /// Leave to call, or how long none will be given.
    pub fn permit(self: &Arc<Self>) -> Result<Permit, Duration> {
        let mut state = self.lock();
        let now = self.ambient.now();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Probing { pause } => return Err(pause),
            State::Open { until, pause } => {
                let left = until.since(now);
                // A clock that was set back must not keep it open for ever.
                if !left.is_zero() && left <= pause {
                    return Err(left);
                }
                *state = State::Probing { pause };
                true
            }
        };
        Ok(Permit { breaker: self.clone(), probe, settled: false })
    }

    fn succeed(&self, probe: bool) {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => *state = State::Closed { failures: 0 },
            State::Probing { .. } if probe => *state = State::Closed { failures: 0 },
            // A call from before it opened says nothing about now.
            State::Probing { .. } | State::Open { .. } => {}
        }
    }

    fn fail(&self, probe: bool) {
        let mut state = self.lock();
        match *state {
            State::Closed { failures } if failures + 1 < THRESHOLD => {
                *state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } => self.open(&mut state, FIRST_PAUSE),
            State::Probing { pause } if probe => {
                self.open(&mut state, LONGEST_PAUSE.min(pause * 2));
            }
            State::Probing { .. } | State::Open { .. } => {}
        }
    }

    fn open(&self, state: &mut State, pause: Duration) {
        *state = State::Open { until: self.ambient.now().plus(pause), pause };
        metrics::counter!("vocero_model_breaker_opened_total").increment(1);
        tracing::warn!(
            pause_seconds = pause.as_secs(),
            "the model provider failed repeatedly; it is left alone for a while"
        );
    }

    /// A probe that ended without a verdict: the next call probes.
    fn release(&self) {
        let mut state = self.lock();
        if let State::Probing { pause } = *state {
            *state = State::Open { until: self.ambient.now(), pause };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one call. Dropped without a verdict (the caller left, the provider was only busy) it changes nothing.
#[derive(Debug)]
pub(super) struct Permit {
    breaker: Arc<Breaker>,
    probe: bool,
    settled: bool,
}

impl Permit {
    /// The provider has begun to answer. That is enough for a probe; a call that is no probe has its verdict when it ends.
    pub fn begun(&mut self) {
        if self.probe {
            self.breaker.succeed(true);
            self.probe = false;
        }
    }

    /// The provider did its part.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.breaker.succeed(self.probe);
    }

    /// The provider failed.
    pub fn failed(mut self) {
        self.settled = true;
        self.breaker.fail(self.probe);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.breaker.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ambient::{ManualClock, SeededEntropy};

    use super::*;

    fn breaker() -> (Arc<Breaker>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        (Breaker::new(ambient), clock)
    }

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.permit().unwrap().failed();
        }
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let (breaker, _) = breaker();
        fail(&breaker, 4);
        breaker.permit().unwrap().succeeded();
        fail(&breaker, 5);
        assert_eq!(breaker.permit().unwrap_err(), FIRST_PAUSE);
    }

    #[test]
    fn one_probe_decides_and_the_pause_doubles_up_to_two_minutes() {
        let (breaker, clock) = breaker();
        fail(&breaker, 5);
        for pause in [15, 30, 60, 120, 120].map(Duration::from_secs) {
            assert_eq!(breaker.permit().unwrap_err(), pause);
            clock.advance(pause);
            let probe = breaker.permit().unwrap();
            assert!(breaker.permit().is_err(), "one probe at a time");
            probe.failed();
        }
        clock.advance(LONGEST_PAUSE);
        let mut probe = breaker.permit().unwrap();
        probe.begun();
        breaker.permit().unwrap().succeeded();
        fail(&breaker, 4);
        assert!(breaker.permit().is_ok(), "closed again, with a fresh count");
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_the_way_to_the_next() {
        let (breaker, clock) = breaker();
        fail(&breaker, 5);
        clock.advance(FIRST_PAUSE);
        drop(breaker.permit().unwrap());
        breaker.permit().unwrap().succeeded();
        assert!(breaker.permit().is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        let (breaker, clock) = breaker();
        fail(&breaker, 5);
        clock.set(Timestamp::from_micros(0));
        assert!(breaker.permit().is_ok());
    }

    #[test]
    fn a_late_success_of_an_earlier_call_does_not_close_it() {
        let (breaker, _) = breaker();
        let early = breaker.permit().unwrap();
        fail(&breaker, 5);
        early.succeeded();
        assert!(breaker.permit().is_err());
    }
}
