//! What a core can do at most: a loop of nothing but multiply-adds, measured.

use super::simd::{Kernel, Level, Simd};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Twelve registers of independent chains, where a vector is one register: nothing but arithmetic.
struct Chains(usize);

impl Kernel for Chains {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut acc = [s.splat(1.0); 6];
        for _ in 0..self.0 {
            for v in &mut acc {
                *v = s.fma(*v, a, b);
            }
            // A second round hides the loop and, where a vector is one register, gives twelve chains no fewer.
            for v in &mut acc {
                *v = s.fma(*v, a, b);
            }
        }
        let mut sum = s.zero();
        for v in acc {
            sum = s.add(sum, v);
        }
        s.sum(sum)
    }
}

/// Rounds of the chains in a call, some milliseconds.
const ROUNDS: usize = 1 << 18;
/// Operations of a round: twelve vectors of sixteen, a multiplication and an addition each.
const OPERATIONS: usize = 2 * 12 * 16;

/// The best GFLOP/s of this thread's core within `budget`.
pub fn peak_gflops(level: Level, budget: Duration) -> f64 {
    let (start, mut best) = (Instant::now(), 0.0f64);
    while start.elapsed() < budget {
        let t = Instant::now();
        black_box(level.run(Chains(black_box(ROUNDS))));
        best = best.max((ROUNDS * OPERATIONS) as f64 / t.elapsed().as_secs_f64() / 1e9);
    }
    best
}
