//! Trying again: when, how often and after how long.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use domain::{Ambient, Timestamp};
use http::HeaderMap;

use super::breaker::Permit;
use super::provider::Provider;
use crate::ModelError;

/// The first wait between two tries; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between two tries. A provider that asks for more is not waited for: a customer is.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Waits between two tries; tests put one in that does not.
#[async_trait]
pub trait Pause: Send + Sync + fmt::Debug {
    /// Waits for `time`.
    async fn wait(&self, time: Duration);
}

/// Waits by the runtime's timer.
#[derive(Debug, Clone, Copy)]
pub struct TimerPause;

#[async_trait]
impl Pause for TimerPause {
    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// How one try failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: ModelError,
    /// Whether another try may help.
    pub again: bool,
}

impl Failure {
    pub fn lasting(error: ModelError) -> Self {
        Self { error, again: false }
    }

    pub fn passing(error: ModelError) -> Self {
        Self { error, again: true }
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    provider: &'a Provider,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(provider: &'a Provider) -> Self {
        Self { provider, made: 0 }
    }

    /// Begins the next try, unless the breaker is open.
    pub fn begin(&mut self) -> Result<Permit, ModelError> {
        let permit = self.provider.breaker.permit();
        let permit = permit.map_err(|retry_after| ModelError::BreakerOpen { retry_after })?;
        self.made += 1;
        Ok(permit)
    }

    /// The try under way was a misunderstanding about the request and counts for nothing.
    pub fn uncount(&mut self) {
        self.made -= 1;
    }

    /// The number of the try under way, from 1.
    pub fn number(&self) -> u32 {
        self.made
    }

    /// The try under way failed: tells the breaker and waits for the next one, or gives the error to end with.
    pub async fn failed(&self, permit: Permit, failure: Failure) -> Result<(), ModelError> {
        let Failure { error, again } = failure;
        let mut asked = None;
        match &error {
            ModelError::Unavailable(_) | ModelError::Broken(_) => permit.failed(),
            // It answers, and says what it wants.
            ModelError::Refused(_) | ModelError::Credential(_) => permit.succeeded(),
            ModelError::RateLimited { retry_after } => {
                asked = *retry_after;
                drop(permit);
            }
            ModelError::BreakerOpen { .. } => drop(permit),
        }
        let wait =
            asked.unwrap_or_else(|| back_off(self.made, self.provider.ambient.random_unit()));
        if !again || self.made >= self.provider.max_attempts || wait > LONGEST_WAIT {
            return Err(error);
        }
        metrics::counter!("vocero_model_retries_total").increment(1);
        tracing::info!(
            attempt = self.made,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            %error,
            "a call to the model provider failed; trying again"
        );
        self.provider.pause.wait(wait).await;
        Ok(())
    }
}

/// The wait after try number `made`: exponential, with the upper half left to chance so that clients that failed together do
/// not come back together.
fn back_off(made: u32, random_unit: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << made.saturating_sub(1).min(10));
    LONGEST_WAIT.min(doubled).mul_f64(0.5 + random_unit / 2.0)
}

/// What a provider says about when to come back: `retry-after-ms` (Azure), or `Retry-After` in seconds or as an
/// HTTP date.
pub(super) fn retry_after(headers: &HeaderMap, ambient: &Ambient) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<u64>().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = Timestamp::from_micros(i64::try_from(date.as_micros()).ok()?);
    Some(date.since(ambient.now()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::ambient::{ManualClock, SeededEntropy};

    use super::*;

    fn told(name: &'static str, value: &'static str) -> Option<Duration> {
        let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let ambient =
            Ambient::new(Arc::new(ManualClock::new(now)), Arc::new(SeededEntropy::new(1)));
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            http::HeaderValue::from_static(value),
        )]);
        retry_after(&headers, &ambient)
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        assert_eq!(told("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(told("retry-after", " 0.25 "), Some(Duration::from_millis(250)));
        assert_eq!(told("retry-after-ms", "150"), Some(Duration::from_millis(150)));
        let date = told("retry-after", "Thu, 01 Jan 2026 00:00:09 GMT");
        assert_eq!(date, Some(Duration::from_secs(9)));
        let past = told("retry-after", "Wed, 31 Dec 2025 00:00:00 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "NaN", "inf"] {
            assert_eq!(told("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn waits_double_within_bounds() {
        assert_eq!(back_off(1, 0.0), Duration::from_millis(250));
        assert_eq!(back_off(2, 0.0), Duration::from_millis(500));
        assert!(back_off(1, 0.999_999) <= FIRST_WAIT);
        assert!(back_off(u32::MAX, 0.999_999) <= LONGEST_WAIT);
    }
}
