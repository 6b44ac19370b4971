//! Tests of a difference between two methods that were run with the same seeds.

use super::comparison::Spread;
use serde::{Deserialize, Serialize};

/// The sign-flip test goes through 2^n choices of signs, for n up to this many pairs.
const FLIPPED: usize = 20;

/// The differences of pairs, one a seed, and how likely such a mean is where there is no difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Pairs.
    pub pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences; 0 of one pair.
    pub sd: f64,
    /// Two-sided p of the paired t-test; none of fewer than two pairs, or where all differences are the same.
    pub t_test: Option<f64>,
    /// Two-sided p of the exact sign-flip permutation test, never below 2^(1 - n) of n pairs; none of more than 20.
    pub sign_flip: Option<f64>,
}

impl Paired {
    /// Of the differences of pairs; none if there is no pair, or a difference is not finite.
    pub fn of(differences: &[f64]) -> Option<Paired> {
        if differences.iter().any(|d| !d.is_finite()) {
            return None;
        }
        let Spread { mean, sd, count: pairs, .. } = Spread::of(differences)?;
        Some(Paired { pairs, mean, sd, t_test: t_test(mean, sd, pairs), sign_flip: sign_flip(differences) })
    }
}

/// t = mean / (sd / sqrt(n)) has Student's distribution with n - 1 degrees of freedom.
fn t_test(mean: f64, sd: f64, pairs: usize) -> Option<f64> {
    // The differences are the same but for rounding.
    if pairs < 2 || sd <= 1e-12 * mean.abs() {
        return None;
    }
    let t = mean / (sd / (pairs as f64).sqrt());
    Some((1.0 - within(t.abs(), pairs - 1)).clamp(0.0, 1.0))
}

/// The probability that |T| <= t for Student's T with `freedom` degrees of freedom, at least 1: the finite series of
/// Abramowitz and Stegun, 26.7.3 and 26.7.4.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let even = freedom.is_multiple_of(2);
    // Even: 1, 1/2 cos^2, 1*3/(2*4) cos^4, ...; odd: cos, 2/3 cos^3, 2*4/(3*5) cos^5, ...
    let (mut power, mut term, mut sum) = if even { (0, 1.0, 0.0) } else { (1, cos, 0.0) };
    while power + 2 <= freedom {
        sum += term;
        term *= (power + 1) as f64 / (power + 2) as f64 * cos * cos;
        power += 2;
    }
    if even { sin * sum } else { std::f64::consts::FRAC_2_PI * (angle + sin * sum) }
}

/// The share of all choices of signs whose sum is as far from 0 as the one found.
fn sign_flip(differences: &[f64]) -> Option<f64> {
    if differences.len() > FLIPPED {
        return None;
    }
    let total: f64 = differences.iter().map(|d| d.abs()).sum();
    let found = differences.iter().sum::<f64>().abs();
    // Sums of the same numbers in another order differ by rounding.
    let least = found - 1e-12 * total;
    let choices = 1u32 << differences.len();
    let sum = |signs: u32| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum()
    };
    let extreme = (0..choices).filter(|signs| sum(*signs).abs() >= least).count();
    Some(extreme as f64 / f64::from(choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn against_known_values() {
        let p = Paired::of(&[0.01, 0.02, 0.0]).unwrap();
        assert_eq!(p.pairs, 3);
        assert!((p.mean - 0.01).abs() < 1e-15 && (p.sd - 0.01).abs() < 1e-15);
        // With 2 degrees of freedom, p = 1 - t / sqrt(2 + t^2), t = sqrt(3).
        let t = 3f64.sqrt();
        assert!((p.t_test.unwrap() - (1.0 - t / (2.0 + t * t).sqrt())).abs() < 1e-9, "{p:?}");
        // Quantiles of the t distribution from the usual tables, two-sided 5 % and 1 %.
        for (freedom, t, p) in [
            (1, 12.706205, 0.05),
            (2, 9.924843, 0.01),
            (3, 3.182446, 0.05),
            (4, 2.776445, 0.05),
            (5, 4.032143, 0.01),
            (30, 2.042272, 0.05),
        ] {
            assert!((1.0 - within(t, freedom) - p).abs() < 1e-6, "{freedom} degrees of freedom");
        }
        // Of eight choices the sums 0.03, 0.03 (the zero has no sign), -0.03, -0.03 are as far out.
        assert_eq!(p.sign_flip, Some(0.5));
        // All of one sign: the two outermost of 2^5.
        assert_eq!(Paired::of(&[0.1, 0.2, 0.3, 0.1, 0.4]).unwrap().sign_flip, Some(2.0 / 32.0));
        // No difference at all is no evidence.
        let none = Paired::of(&[0.0, 0.0]).unwrap();
        assert_eq!((none.t_test, none.sign_flip), (None, Some(1.0)));
        assert_eq!(Paired::of(&[0.1]).unwrap().t_test, None);
        assert_eq!(Paired::of(&[]), None);
        assert_eq!(Paired::of(&[0.1, f64::NAN]), None);
        assert_eq!(Paired::of(&[0.1; 21]).unwrap().sign_flip, None);
    }
}
