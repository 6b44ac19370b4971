//! The programs' launches and what must come of them, on data of a seed.

pub mod control;
pub mod elementwise;
pub mod matrix;
pub mod parallel;

use crate::host::Random;

/// |a - b| <= tolerance for all; equal infinities and two NaNs agree.
fn assert_close(what: &str, got: &[f32], want: impl IntoIterator<Item = (f64, f64)>) {
    for (i, (&g, (w, tolerance))) in got.iter().zip(want).enumerate() {
        let g = f64::from(g);
        assert!(g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance, "{what}[{i}]: {g:e}, not {w:e}");
    }
}

/// One unit in the last place of an f32 in [1, 2).
const EPS: f64 = 1.0 / (1u64 << 23) as f64;

/// Words of every magnitude, with the edge values in front.
fn edgy(random: &mut Random, n: usize) -> Vec<i32> {
    let edges = [0, 1, -1, i32::MAX, i32::MIN, 7, 32, 31];
    let mut word = || (random.word() as u32 >> (random.word() % 32)) as i32;
    (0..n).map(|i| edges.get(i).copied().unwrap_or_else(&mut word)).collect()
}
