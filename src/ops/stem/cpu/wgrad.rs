//! wgrad of the stem: chunks of images, each summed into a filter of its own, then added in order.

use super::super::Normalisation;
use super::{Padded, check, filter_len, scratch};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Level, Simd};
use crate::ops::conv::cpu::{Grad, chunk_range, reduce};
use crate::program::Conv;
use rayon::prelude::*;

/// Parts the images are cut into for wgrad.
const PARTS: usize = 16;

fn chunks(n: usize) -> usize {
    PARTS.min(n).max(1)
}

/// f32 of workspace that [`wgrad`] of up to `n` examples needs.
pub fn wgrad_scratch(stem: &Conv, n: usize) -> usize {
    chunks(n) * (filter_len(stem) + scratch(stem))
}

/// Pointers that tasks may share.
#[derive(Clone, Copy)]
struct Shared(*const f32, *const f32);
// SAFETY: only read through, and the caller of `wgrad` promises they are valid for the call.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
impl Shared {
    fn get(&self) -> (*const f32, *const f32) {
        (self.0, self.1)
    }
}

/// `dw[k,r,s,c]`, overwritten; runs on rayon's current pool and gives the same bits for any number of threads.
///
/// # Safety
/// `image` is valid for reading `n` images and `dy` `n` examples of the stem's output map.
pub unsafe fn wgrad(
    level: Level,
    stem: &Conv,
    n: usize,
    image: *const f32,
    norm: Option<&Normalisation>,
    dy: *const f32,
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    check(stem, norm);
    assert_eq!(dw.len(), stem.filter_len(), "KRSC filter of {stem:?}");
    let (chunks, len) = (chunks(n), filter_len(stem));
    let (parts, images) = scratch[..wgrad_scratch(stem, n)].split_at_mut(chunks * len);
    let shared = Shared(image, dy);
    let tasks = parts.par_chunks_mut(len).zip(images.par_chunks_mut(self::scratch(stem)));
    tasks.enumerate().with_max_len(1).for_each(|(chunk, (out, padded))| {
        let images = chunk_range(n, chunks, chunk);
        let (image, dy) = shared.get();
        out.fill(0.0);
        padded.fill(0.0);
        // SAFETY: the images of the chunk, by the caller's promise.
        unsafe {
            let image = image.add(images.start * stem.input_len());
            let dy = dy.add(images.start * MapShape::y(stem).example());
            level.run(FilterGradient { stem: *stem, n: images.len(), image, norm, dy, out, scratch: padded });
        }
    });
    reduce(dw, stem.k, stem.c, parts, chunks, |tap, c, kb| ((kb * stem.c + c) * 9 + tap) * LANES);
}

struct FilterGradient<'a> {
    stem: Conv,
    n: usize,
    image: *const f32,
    norm: Option<&'a Normalisation>,
    dy: *const f32,
    out: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for FilterGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (padded, map) = (Padded::new(&self.stem), MapShape::y(&self.stem));
        let taps = padded.taps(&self.stem);
        let rows = 9 * self.stem.c;
        for n in 0..self.n {
            // SAFETY: `n` images can be read by the promise of `wgrad`'s caller.
            let image =
                unsafe { std::slice::from_raw_parts(self.image.add(n * self.stem.input_len()), self.stem.input_len()) };
            padded.fill(&self.stem, image, self.norm, self.scratch);
            for kb in 0..map.blocks() {
                // SAFETY: as above, for dy; `out` has `rows` vectors for every block.
                let grad = unsafe {
                    Grad::<1> {
                        images: 1,
                        x: self.scratch.as_ptr(),
                        x_example: 0,
                        x_row: padded.row,
                        x_col: 1,
                        taps: &taps[..rows],
                        dy: self.dy.add(n * map.example() + kb * map.plane() + map.origin()),
                        dy_example: 0,
                        dy_row: map.row(),
                        rows: self.stem.h,
                        cols: self.stem.w,
                        out: self.out.as_mut_ptr().add(kb * rows * LANES),
                    }
                };
                grad.run(s);
            }
        }
    }
}
