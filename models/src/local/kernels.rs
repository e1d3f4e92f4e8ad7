//! What stands between the matrix products, on rows of floats, in one pass each and in the widest vector
//! instructions that the machine has: candle's own operations make a new tensor for each step and compute the
//! error function one number at a time, which together would take longer than the products.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the caller is compiled for the instructions chosen there"
)]

use pulp::{Arch, Simd, WithSimd};

/// Numbers that a sum or a maximum is gathered in at once; the compiler does not split them up by itself.
const LANES: usize = 16;

/// Adds `bias` to each row.
pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    Arch::new().dispatch(AddBias { rows, bias });
}

/// Adds `bias` to each row and applies GELU, the kind with the error function.
pub(super) fn add_bias_gelu(rows: &mut [f32], bias: &[f32]) {
    Arch::new().dispatch(AddBiasGelu { rows, bias });
}

/// Makes each row of `width` numbers sum to one by their exponentials.
pub(super) fn softmax(rows: &mut [f32], width: usize) {
    Arch::new().dispatch(Softmax { rows, width });
}

/// The scale and shift of a layer normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// Normalises each row.
    pub(super) fn apply(&self, rows: &mut [f32]) {
        Arch::new().dispatch(Normalise { rows, norm: self });
    }

    /// Adds `bias` and `residual` to the rows and normalises each.
    pub(super) fn apply_after(&self, rows: &mut [f32], bias: &[f32], residual: &[f32]) {
        Arch::new().dispatch(AddAndNormalise { rows, bias, residual, norm: self });
    }
}

struct AddBias<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x += bias;
            }
        }
    }
}

struct AddBiasGelu<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for AddBiasGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x = gelu(*x + bias);
            }
        }
    }
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.width) {
            let most = fold(row, f32::NEG_INFINITY, |most, x| if x > most { x } else { most });
            for x in row.iter_mut() {
                *x = exp(*x - most);
            }
            let whole = 1.0 / fold(row, 0.0, |sum, x| sum + x);
            for x in row.iter_mut() {
                *x *= whole;
            }
        }
    }
}

struct Normalise<'a> {
    rows: &'a mut [f32],
    norm: &'a Norm,
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.norm.scale.len()) {
            normalise(row, self.norm);
        }
    }
}

struct AddAndNormalise<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    residual: &'a [f32],
    norm: &'a Norm,
}

impl WithSimd for AddAndNormalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.bias.len();
        let residuals = self.residual.chunks_exact(width);
        for (row, residual) in self.rows.chunks_exact_mut(width).zip(residuals) {
            for ((x, bias), residual) in row.iter_mut().zip(self.bias).zip(residual) {
                *x += bias + residual;
            }
            normalise(row, self.norm);
        }
    }
}

#[inline(always)]
fn normalise(row: &mut [f32], norm: &Norm) {
    let width = row.len() as f32;
    let mean = fold(row, 0.0, |sum, x| sum + x) / width;
    for x in row.iter_mut() {
        *x -= mean;
    }
    let variance = fold_squares(row) / width;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    for ((x, own), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
        *x = *x * scale * own + shift;
    }
}

#[inline(always)]
fn fold(row: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = join(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, *x);
    }
    lanes.iter().fold(start, |all, lane| join(all, *lane))
}

#[inline(always)]
fn fold_squares(row: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x * x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x * x;
    }
    lanes.iter().sum()
}

/// `x` times the normal distribution's share below it.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut sum = 1.061_405_4;
    for factor in [-1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = sum * t + factor;
    }
    let below = 1.0 - sum * t * exp(-(size * size));
    below.copysign(x)
}

/// The exponential of a number that is at most 88, to 2 units in the last place, without a branch (Moshier's
/// Cephes, `expf`). What is under -87 counts as that.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 · 2^23: a sum with it has the number rounded to an integer in its lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    // ln 2 in two parts, the first exact in few bits, so that the products with small integers are exact.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + factor;
    }
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    (sum * rest * rest + rest + 1.0) * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_the_last_digits() {
        for n in -87_000..=88_000 {
            let x = f64::from(n) / 1_000.0;
            #[expect(clippy::cast_possible_truncation, reason = "the input of the function")]
            let (x, expected) = (x as f32, f64::from(x as f32).exp());
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(-1e9) >= 0.0);
    }

    #[test]
    fn the_error_function_has_its_known_values() {
        // From tables of the function.
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
            (-1.0, -0.842_700_8),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 5e-7, "{x}: {}", erf(x));
        }
        let mut rows = [0.5, -3.5, 0.5, -3.5];
        add_bias_gelu(&mut rows, &[0.5, 0.5]);
        for (x, expected) in rows.iter().zip([0.841_344_8, -0.004_049_9, 0.841_344_8, -0.004_049_9])
        {
            assert!((x - expected).abs() < 1e-6, "{rows:?}");
        }
    }

    #[test]
    fn rows_are_normalised_each_by_itself_whatever_their_length() {
        for width in [1, 5, 16, 37, 384] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let row: Vec<f32> = (0..width).map(|n| (n as f32 * 1.7).sin() * 3.0).collect();
            let mut rows = [row.clone(), row.clone()].concat();
            softmax(&mut rows, width);
            let whole: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            for (x, given) in rows.iter().zip(row.iter().chain(&row)) {
                assert!((f64::from(*x) - f64::from(*given).exp() / whole).abs() < 1e-6);
            }
            let norm = Norm { scale: vec![2.0; width], shift: vec![1.0; width], epsilon: 1e-5 };
            let mut rows = [row.clone(), row.clone()].concat();
            norm.apply_after(&mut rows, &vec![0.25; width], &[row.clone(), row.clone()].concat());
            let mean = row.iter().map(|x| f64::from(*x) * 2.0 + 0.25).sum::<f64>() / width as f64;
            let spread =
                row.iter().map(|x| (f64::from(*x) * 2.0 + 0.25 - mean).powi(2)).sum::<f64>();
            let scale = (spread / width as f64 + 1e-5).sqrt();
            for (x, given) in rows.iter().zip(row.iter().chain(&row)) {
                let expected = (f64::from(*given) * 2.0 + 0.25 - mean) / scale * 2.0 + 1.0;
                assert!((f64::from(*x) - expected).abs() < 1e-4, "{x} {expected}");
            }
        }
    }
}
