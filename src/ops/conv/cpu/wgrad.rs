//! wgrad: for each pair of channel blocks, rows (tap, c) by sixteen k, summed over pixels and images.
//!
//! The work is cut into *parts*, pairs of blocks times chunks of images, by the shape and n alone; each part's dW goes to
//! its own place in the scratch and the chunks are added in order. So the result does not depend on the threads.

use super::direct::fprop_taps;
use super::{Conv, tap_offset};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Level, MAX_ROWS, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Parts to aim for: enough for a few threads, few enough that adding them up costs nothing.
const PARTS: usize = 16;

/// The images of chunk `i` of `chunks`.
pub(crate) fn chunk_range(n: usize, chunks: usize, i: usize) -> Range<usize> {
    n * i / chunks..n * (i + 1) / chunks
}

fn pairs(conv: &Conv) -> usize {
    conv.k.div_ceil(LANES) * conv.c.div_ceil(LANES)
}

fn chunks(conv: &Conv, n: usize) -> usize {
    PARTS.div_ceil(pairs(conv)).min(n).max(1)
}

/// f32 of the dW of one part.
fn part_len(conv: &Conv) -> usize {
    conv.filter * conv.filter * LANES * LANES
}

/// f32 of workspace that [`wgrad`] of up to `n` examples needs.
pub fn wgrad_scratch(conv: &Conv, n: usize) -> usize {
    chunks(conv, n) * pairs(conv) * part_len(conv) + LANES
}

/// A pointer that tasks may share.
#[derive(Clone, Copy)]
struct Shared(*const f32);
// SAFETY: only read through, and the caller of `wgrad` promises it is valid for the call.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
impl Shared {
    fn get(&self) -> *const f32 {
        self.0
    }
}

/// `dw[k,r,s,c]`, overwritten; runs on rayon's current pool and gives the same bits for any number of threads.
///
/// # Safety
/// `x` is valid for reading `n` examples of [`MapShape::x`] and `dy` of [`MapShape::y`], with zero borders.
///
/// # Panics
/// If `dw` is not the KRSC filter's length or `scratch` is shorter than [`wgrad_scratch`].
pub unsafe fn wgrad(
    level: Level,
    conv: &Conv,
    n: usize,
    x: *const f32,
    dy: *const f32,
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    assert_eq!(dw.len(), conv.filter_len(), "KRSC filter of {conv:?}");
    assert!(scratch.len() >= wgrad_scratch(conv, n), "wgrad needs {} f32 of scratch", wgrad_scratch(conv, n));
    let (x_map, y_map) = (MapShape::x(conv), MapShape::y(conv));
    let (chunks, c_blocks) = (chunks(conv, n), x_map.blocks());
    let len = part_len(conv);
    let skip = scratch.as_ptr().align_offset(64).min(LANES);
    let parts = &mut scratch[skip..][..chunks * pairs(conv) * len];
    let taps = fprop_taps(conv);
    let (x, dy) = (Shared(x), Shared(dy));
    parts.par_chunks_mut(len).enumerate().with_max_len(1).for_each(|(part, out)| {
        let (chunk, pair) = (part / pairs(conv), part % pairs(conv));
        let (kb, cb) = (pair / c_blocks, pair % c_blocks);
        let images = chunk_range(n, chunks, chunk);
        out.fill(0.0);
        // SAFETY: images of the chunk and blocks of the maps, by the caller's promise.
        unsafe {
            level.run(Grad::<LANES> {
                images: images.len(),
                x: x.get().add(images.start * x_map.example() + cb * x_map.plane()),
                x_example: x_map.example(),
                x_row: conv.stride * x_map.row(),
                x_col: conv.stride * LANES,
                taps: taps.as_slice(),
                dy: dy.get().add(images.start * y_map.example() + kb * y_map.plane() + tap_offset(&y_map, 1, 1)),
                dy_example: y_map.example(),
                dy_row: y_map.row(),
                rows: conv.p(),
                cols: conv.q(),
                out: out.as_mut_ptr(),
            });
        }
    });
    reduce(dw, conv.k, conv.c, parts, chunks, |tap, c, kb| {
        ((kb * c_blocks + c / LANES) * conv.filter * conv.filter + tap) * LANES * LANES + c % LANES * LANES
    });
}

/// Adds the chunks' partial sums in order into the KRSC `dw`; `at(tap, c, kb)` is where a chunk keeps the sixteen k of
/// block `kb`.
pub(crate) fn reduce(
    dw: &mut [f32],
    k: usize,
    c: usize,
    parts: &[f32],
    chunks: usize,
    at: impl Fn(usize, usize, usize) -> usize + Sync,
) {
    let taps = dw.len() / (k * c);
    let len = parts.len() / chunks;
    dw.par_chunks_mut(LANES * taps * c).enumerate().for_each(|(kb, dw)| {
        let ks = dw.len() / (taps * c);
        for tap in 0..taps {
            for cc in 0..c {
                let at = at(tap, cc, kb);
                let mut sum = [0.0f32; LANES];
                for part in parts.chunks_exact(len) {
                    for (sum, v) in sum.iter_mut().zip(&part[at..at + LANES]) {
                        *sum += v;
                    }
                }
                for kk in 0..ks {
                    dw[(kk * taps + tap) * c + cc] = sum[kk];
                }
            }
        }
    });
}

/// `out[(t*CI + c)*16 + o] += sum over images, i, j of  x[i*x_row + j*x_col + taps[t] + c] * dy[i*dy_row + j*16 + o]`.
pub(crate) struct Grad<'a, const CI: usize> {
    pub images: usize,
    pub x: *const f32,
    pub x_example: usize,
    pub x_row: usize,
    pub x_col: usize,
    pub taps: &'a [usize],
    /// dy's first pixel inside the border.
    pub dy: *const f32,
    pub dy_example: usize,
    pub dy_row: usize,
    pub rows: usize,
    pub cols: usize,
    pub out: *mut f32,
}

/// Pixels summed before the accumulators change: x, dy and out of so many stay in L1.
const PIXELS: usize = 112;

impl<const CI: usize> Kernel for Grad<'_, CI> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = (PIXELS / self.cols).clamp(1, self.rows);
        let images = (PIXELS / (self.rows * self.cols)).max(1);
        let all = self.taps.len() * CI;
        // Accumulators in even groups: 16 rows of 6 would leave a slow group of 4.
        let groups = all.div_ceil(S::ROWS);
        let mut image = 0;
        while image < self.images {
            let some = images.min(self.images - image);
            let mut row = 0;
            while row < self.rows {
                let height = rows.min(self.rows - row);
                for group in 0..groups {
                    let range = chunk_range(all, groups, group);
                    // SAFETY: images, pixels and rows lie inside the operands by the promise of whoever made `self`.
                    unsafe { self.dispatch(s, range, image, some, row, height) };
                }
                row += height;
            }
            image += some;
        }
    }
}

impl<const CI: usize> Grad<'_, CI> {
    #[inline(always)]
    unsafe fn dispatch<S: Simd>(
        &self,
        s: S,
        range: Range<usize>,
        image: usize,
        images: usize,
        row: usize,
        rows: usize,
    ) {
        macro_rules! dispatch {
            ($($n:literal)*) => {
                // SAFETY: the caller's promise.
                unsafe {
                    match range.len() {
                        // Arms beyond the level's tile fold away.
                        $($n if $n <= S::ROWS => self.tile::<S, $n>(s, range.start, image, images, row, rows),)*
                        _ => {}
                    }
                }
            };
        }
        const { assert!(MAX_ROWS == 12) };
        dispatch!(12 6 1 2 3 4 5 7 8 9 10 11);
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const NR: usize>(
        &self,
        s: S,
        first: usize,
        image: usize,
        images: usize,
        row: usize,
        rows: usize,
    ) {
        let mut acc = [s.zero(); NR];
        let mut offset = [0; NR];
        // SAFETY: the caller's promise.
        unsafe {
            for i in 0..NR {
                acc[i] = s.load(self.out.add((first + i) * LANES));
                offset[i] = self.taps[(first + i) / CI] + (first + i) % CI;
            }
            for n in image..image + images {
                for r in row..row + rows {
                    let x = self.x.add(n * self.x_example + r * self.x_row);
                    let mut dy = self.dy.add(n * self.dy_example + r * self.dy_row);
                    let mut p = [x; NR];
                    for i in 0..NR {
                        p[i] = x.add(offset[i]);
                    }
                    let mut at = 0;
                    for _ in 0..self.cols {
                        let d = s.load(dy);
                        for i in 0..NR {
                            acc[i] = s.fma(s.splat(*p[i].add(at)), d, acc[i]);
                        }
                        dy = dy.add(LANES);
                        at += self.x_col;
                    }
                }
            }
            for i in 0..NR {
                s.store(self.out.add((first + i) * LANES), acc[i]);
            }
        }
    }
}
