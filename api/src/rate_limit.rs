//! Limits: requests of a key, wrong credentials of an address, messages of a visitor.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use domain::{DomainError, ErrorKind};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::error::ApiError;

type Limiter<K> =
    RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Addresses remembered before those that have recovered are forgotten.
const REMEMBERED_ADDRESSES: usize = 10_000;

/// The limits of an installation: `n` requests a minute for each key, and as many wrong credentials a
/// minute from each address. A token bucket of `n` that fills up evenly.
pub(crate) struct RateLimits(Option<Active>);

struct Active {
    per_minute: NonZeroU32,
    callers: Limiter<Uuid>,
    addresses: Limiter<IpAddr>,
}

/// Where a key stands, for the `RateLimit-…` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    /// Seconds until the whole limit is there again.
    reset: u64,
}

impl RateLimits {
    /// 0 turns the limits off.
    pub fn per_minute(requests: u32) -> Self {
        Self(NonZeroU32::new(requests).map(|per_minute| {
            let quota = Quota::per_minute(per_minute);
            Active {
                per_minute,
                callers: RateLimiter::keyed(quota).with_middleware(),
                addresses: RateLimiter::keyed(quota).with_middleware(),
            }
        }))
    }

    /// Counts a request of a key or a person, by their id. The error goes with the standing, whose headers a 429 carries too.
    pub fn count_request(&self, caller: Uuid) -> (Option<Standing>, Result<(), ApiError>) {
        let Some(active) = &self.0 else { return (None, Ok(())) };
        match active.callers.check_key(&caller) {
            Ok(snapshot) => (Some(active.standing(snapshot.remaining_burst_capacity())), Ok(())),
            Err(refused) => {
                let wait = refused.wait_time_from(active.callers.clock().now());
                (Some(active.standing(0)), Err(limited(wait)))
            }
        }
    }

    /// Counts a wrong credential from an address, or a call that needs none: an error when there were too many.
    pub fn count_stranger(&self, address: IpAddr) -> Result<(), ApiError> {
        let Some(active) = &self.0 else { return Ok(()) };
        if active.addresses.len() > REMEMBERED_ADDRESSES {
            active.addresses.retain_recent();
        }
        let outcome = active.addresses.check_key(&address);
        outcome
            .map(drop)
            .map_err(|refused| limited(refused.wait_time_from(active.addresses.clock().now())))
    }
}

/// How many messages a visitor may send a minute: a token bucket that fills up evenly.
pub(crate) struct MessageLimit(Option<Limiter<Uuid>>);

impl MessageLimit {
    /// `None` turns it off.
    pub fn per_minute(messages: Option<NonZeroU32>) -> Self {
        Self(
            messages
                .map(|messages| RateLimiter::keyed(Quota::per_minute(messages)).with_middleware()),
        )
    }

    /// Counts a message of a visitor: an error when there were too many.
    pub fn count(&self, visitor: Uuid) -> Result<(), ApiError> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.len() > REMEMBERED_ADDRESSES {
            limiter.retain_recent();
        }
        let outcome = limiter.check_key(&visitor);
        outcome.map(drop).map_err(|refused| limited(refused.wait_time_from(limiter.clock().now())))
    }
}

impl Active {
    fn standing(&self, remaining: u32) -> Standing {
        let limit = self.per_minute.get();
        let used = u64::from(limit.saturating_sub(remaining));
        Standing { limit, remaining, reset: (used * 60).div_ceil(u64::from(limit)) }
    }
}

impl Standing {
    /// Puts the standing into a response's headers.
    pub fn write(self, headers: &mut HeaderMap) {
        let values = [
            ("ratelimit-limit", u64::from(self.limit)),
            ("ratelimit-remaining", u64::from(self.remaining)),
            ("ratelimit-reset", self.reset),
        ];
        for (name, value) in values {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

fn limited(wait: Duration) -> ApiError {
    let message = "too many requests; wait as long as Retry-After says";
    let error = DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message);
    DomainError { retry_after: Some(wait), ..error }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_limit_and_then_is_told_when_to_come_back() {
        let limits = RateLimits::per_minute(2);
        let key = Uuid::from_u128(1);
        let (standing, outcome) = limits.count_request(key);
        assert!(outcome.is_ok());
        assert_eq!(standing, Some(Standing { limit: 2, remaining: 1, reset: 30 }));
        assert!(limits.count_request(key).1.is_ok());
        let (standing, outcome) = limits.count_request(key);
        assert_eq!(standing.map(|standing| standing.remaining), Some(0));
        let wait = outcome.unwrap_err().domain().retry_after.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(30), "{wait:?}");
        let other = Uuid::from_u128(2);
        assert!(limits.count_request(other).1.is_ok());
    }

    #[test]
    fn zero_turns_limits_off() {
        let limits = RateLimits::per_minute(0);
        let key = Uuid::from_u128(1);
        assert!((0..1_000).all(|_| limits.count_request(key).1.is_ok()));
    }
}
