//! How long a failed job waits.

use std::time::Duration;

use domain::Ambient;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_hours(1);

/// The wait after the given failed attempt (from 1): 5 s × 2ⁿ, at most an hour, of which the second half is
/// chance, so that jobs that failed together do not return together.
pub fn delay(ambient: &Ambient, attempt: i64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 16)).unwrap_or(0);
    let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    whole.mul_f64(0.5 + ambient.random_unit() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::{SeededEntropy, SystemClock};

    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour_and_is_never_under_half() {
        let ambient = Ambient::new(Arc::new(SystemClock), Arc::new(SeededEntropy::new(7)));
        for (attempt, seconds) in [(1, 5), (2, 10), (3, 20), (7, 320), (12, 3600), (i64::MAX, 3600)]
        {
            let whole = Duration::from_secs(seconds);
            for _ in 0..100 {
                let wait = delay(&ambient, attempt);
                assert!(wait >= whole / 2 && wait <= whole, "attempt {attempt}: {wait:?}");
            }
        }
        let waits: Vec<_> = (0..10).map(|_| delay(&ambient, 3)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter: {waits:?}");
    }
}
