//! Means with bootstrap intervals, reproducible on any machine.

use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2_000;
/// The seed of every bootstrap: the same data gives the same interval.
const SEED: u64 = 0x0056_4f43_4552_4f04;

/// A mean and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean, or what is estimated.
    pub value: f64,
    /// The lower end: the 2.5th percentile of the resamples.
    pub low: f64,
    /// The upper end: the 97.5th percentile.
    pub high: f64,
    /// Cases that it is of.
    pub count: usize,
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, quick and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new() -> Self {
        Self(SEED)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; its bias is below 2⁻³² for any number of cases.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// The mean of the values and its percentile bootstrap interval (Efron 1979); `None` of none.
pub fn mean_interval(values: &[f64]) -> Option<Interval> {
    let count = values.len();
    let value = mean(values)?;
    if values.iter().all(|other| other.total_cmp(&values[0]).is_eq()) {
        return Some(Interval { value, low: value, high: value, count });
    }
    let mut random = SplitMix::new();
    let resample = |_| {
        let sum: f64 = (0..count).map(|_| values[random.below(count)]).sum();
        sum / count as f64
    };
    let (low, high) = ends((0..RESAMPLES).map(resample).collect());
    Some(Interval { value, low, high, count })
}

/// What `estimate` says of `count` cases, each counted as often as its weight says, and its percentile bootstrap
/// interval; `None` where it says nothing of them. Resamples of which it says nothing are left out.
pub fn estimate_interval(
    count: usize,
    estimate: impl Fn(&[u32]) -> Option<f64>,
) -> Option<Interval> {
    let mut weights = vec![1; count];
    let value = estimate(&weights)?;
    let mut random = SplitMix::new();
    let mut estimates = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        weights.fill(0);
        for _ in 0..count {
            weights[random.below(count)] += 1;
        }
        estimates.extend(estimate(&weights));
    }
    let (low, high) = ends(estimates);
    Some(Interval { value, low, high, count })
}

/// A quantile by the nearest rank and its 95 % interval: the values whose ranks lie 1.96 standard deviations of the binomial
/// around it (Conover 1999). `None` of none.
pub fn quantile_interval(values: &[f64], share: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let spread = 1.96 * (share * (1.0 - share) / count.max(1) as f64).sqrt();
    Some(Interval {
        value: at(&sorted, share)?,
        low: at(&sorted, (share - spread).max(0.0))?,
        high: at(&sorted, (share + spread).min(1.0))?,
        count,
    })
}

/// The mean; `None` of none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The value that this share of the others is not above, by the nearest rank; `None` of none.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    at(&sorted, share)
}

fn at(sorted: &[f64], share: f64) -> Option<f64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The 2.5th and the 97.5th percentile.
pub(crate) fn ends(mut estimates: Vec<f64>) -> (f64, f64) {
    estimates.sort_by(f64::total_cmp);
    (at(&estimates, 0.025).unwrap_or(f64::NAN), at(&estimates, 0.975).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_the_same_each_time_and_about_as_wide_as_it_should_be() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(u8::from(n % 4 != 0))).collect();
        let interval = mean_interval(&values).unwrap();
        assert_eq!(Some(interval), mean_interval(&values));
        // ± 1.96 × √(.75 × .25 ÷ 400)
        assert!((interval.value - 0.75).abs() < 1e-12);
        assert!((interval.low - 0.7076).abs() < 0.006, "{interval:?}");
        assert!((interval.high - 0.7924).abs() < 0.006, "{interval:?}");
        let flat = mean_interval(&[0.5; 7]).unwrap();
        assert_eq!((flat.low, flat.high, flat.count), (0.5, 0.5, 7));
        assert_eq!(mean_interval(&[]), None);
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(10.0));
        assert_eq!(quantile(&values, 0.95), Some(19.0));
        assert_eq!(quantile(&[3.0], 0.95), Some(3.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
