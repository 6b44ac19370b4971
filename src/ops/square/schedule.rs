//! How large the squares of Square Attack are, and what is in them under L2.

use crate::ops::ball::Norm;
use crate::program::Shape;

/// Share of the image that the first squares take.
const SHARE: f64 = 0.8;
/// Queries after which the share halves, however many there are: so AutoAttack runs Square, though its authors' class by itself
/// stretches them over the queries.
const HALVINGS: [u32; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];
/// Sizes of squares.
pub const LEVELS: usize = HALVINGS.len() + 1;

/// A size of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Side, in pixels.
    pub side: u32,
    /// Where its table starts in [`Schedule::tables`] (L2).
    pub table: u32,
}

/// The sides of the squares by query.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The sizes, largest first.
    pub levels: [Level; LEVELS],
    /// The first query of each size but the first.
    pub from: [u32; HALVINGS.len()],
    /// The squares of the start's grid (L2).
    pub start: Level,
    /// Row and column of the grid's first corner.
    pub corner: u32,
    /// For each size in turn the table `eta[side, side]`, of norm 1 (L2; empty under L-inf).
    pub tables: Vec<f32>,
}

impl Schedule {
    /// The schedule for images of this shape.
    pub fn new(image: Shape, norm: Norm) -> Schedule {
        let area = (image.h * image.w) as f64;
        let side = |level: usize| {
            let side = (SHARE / (1u32 << level) as f64 * area).sqrt().round_ties_even() as usize;
            match norm {
                Norm::Linf => side.max(1),
                Norm::L2 => side.max(3) | 1,
            }
            .min(image.h)
            .min(image.w)
        };
        let mut tables = Vec::new();
        let mut level = |side: usize| {
            let level = Level { side: side as u32, table: tables.len() as u32 };
            if norm == Norm::L2 {
                tables.extend(eta(side));
            }
            level
        };
        let levels = std::array::from_fn(|i| level(side(i)));
        let side = (image.h / 5).clamp(1, image.w);
        let start = level(side);
        Schedule {
            levels,
            from: HALVINGS.map(|after| after + 1),
            start,
            corner: (image.h.saturating_sub(5 * side) / 2) as u32,
            tables,
        }
    }

    /// The size of the squares of a query, counted from 0 behind the start.
    pub fn level(&self, query: u32) -> Level {
        self.levels[self.from.iter().filter(|from| query >= **from).count()]
    }
}

/// Two pyramids of opposite signs, one above the other, together of norm 1.
fn eta(side: usize) -> Vec<f32> {
    let (top, bottom) = (pyramid(side / 2, side), pyramid(side - side / 2, side));
    let all: Vec<f64> = top.into_iter().chain(bottom.into_iter().map(|v| -v)).collect();
    let norm = all.iter().map(|v| v * v).sum::<f64>().sqrt();
    all.iter().map(|v| (v / norm) as f32).collect()
}

/// Rectangles around the middle of `[rows, cols]`, the k-th k pixels beyond it on every side and 1/(k+1)^2 high, one upon the
/// other; of norm 1.
fn pyramid(rows: usize, cols: usize) -> Vec<f64> {
    let (y, x) = (rows / 2, cols / 2);
    let height = |i: usize, j: usize| -> f64 {
        (i.abs_diff(y).max(j.abs_diff(x))..=y.max(x)).map(|k| 1.0 / ((k + 1) * (k + 1)) as f64).sum()
    };
    let all: Vec<f64> = (0..rows).flat_map(|i| (0..cols).map(move |j| height(i, j))).collect();
    let norm = all.iter().map(|v| v * v).sum::<f64>().sqrt();
    all.iter().map(|v| v / norm).collect()
}
