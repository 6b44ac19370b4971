use super::{Fold, NORM_EPS, NormBprop, NormFprop};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Simd};
use crate::program::Map;
use crate::program::Values;
use rayon::prelude::*;

impl CpuOp for Fold {
    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone, and does not write it.
        let (params, running) = (unsafe { cx.read::<f32>(self.params) }, unsafe { cx.read::<f32>(self.running) });
        // SAFETY: foldings run one after another, before what uses them.
        let (scale, shift) = unsafe { cx.affine_mut(self.affine) };
        for i in 0..self.norm.gamma.len {
            let s = params[self.norm.gamma.offset + i] / (running[self.norm.var.offset + i] + NORM_EPS).sqrt();
            scale[i] = s;
            shift[i] = params[self.norm.beta.offset + i] - running[self.norm.mean.offset + i] * s;
        }
    }
}

/// One example's maps, walked block by block over the interior.
#[derive(Clone, Copy)]
struct Walk {
    shape: MapShape,
}

impl Walk {
    /// Offset of the first element of a row of the map.
    #[inline(always)]
    fn row(&self, block: usize, row: usize) -> usize {
        block * self.shape.plane() + self.shape.origin() + row * self.shape.row()
    }
}

/// Mean and sum of squared deviations of each channel of one example: `out[block] = [mean; 16], [m2; 16]`.
struct Moments {
    walk: Walk,
    x: *const f32,
    out: *mut f32,
}

impl Kernel for Moments {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.walk.shape;
        let inverse = s.splat(1.0 / (shape.h * shape.w) as f32);
        for block in 0..shape.blocks() {
            // SAFETY: `x` is an example of this shape and `out` has two vectors a block.
            unsafe {
                let mut sum = s.zero();
                for row in 0..shape.h {
                    let x = self.x.add(self.walk.row(block, row));
                    for i in 0..shape.w {
                        sum = s.add(sum, s.load(x.add(i * LANES)));
                    }
                }
                let mean = s.mul(sum, inverse);
                let mut m2 = s.zero();
                for row in 0..shape.h {
                    let x = self.x.add(self.walk.row(block, row));
                    for i in 0..shape.w {
                        let d = s.sub(s.load(x.add(i * LANES)), mean);
                        m2 = s.fma(d, d, m2);
                    }
                }
                let out = self.out.add(block * 2 * LANES);
                s.store(out, mean);
                s.store(out.add(LANES), m2);
            }
        }
    }
}

/// `a = max(0, x*scale + shift)` for one example; `affine[block] = [scale; 16], [shift; 16]`.
struct Apply {
    walk: Walk,
    x: *const f32,
    affine: *const f32,
    a: *mut f32,
}

impl Kernel for Apply {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.walk.shape;
        for block in 0..shape.blocks() {
            // SAFETY: `x` and `a` are examples of this shape; `affine` has two vectors a block.
            unsafe {
                let affine = self.affine.add(block * 2 * LANES);
                let (scale, shift) = (s.load(affine), s.load(affine.add(LANES)));
                for row in 0..shape.h {
                    let at = self.walk.row(block, row);
                    for i in (at..at + shape.w * LANES).step_by(LANES) {
                        let y = s.fma(s.load(self.x.add(i)), scale, shift);
                        s.store(self.a.add(i), s.max(y, s.zero()));
                    }
                }
            }
        }
    }
}

/// Sums of one example for the backward pass, and the ReLU's mask applied to `grad`:
/// `out[block] = [sum g; 16], [sum g*xhat; 16]`; `stats[block] = [mean; 16], [rstd; 16]`.
struct GradSums {
    walk: Walk,
    x: *const f32,
    a: *const f32,
    grad: *mut f32,
    stats: *const f32,
    out: *mut f32,
}

impl Kernel for GradSums {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.walk.shape;
        for block in 0..shape.blocks() {
            // SAFETY: the maps are examples of this shape; `stats` and `out` have two vectors a block.
            unsafe {
                let stats = self.stats.add(block * 2 * LANES);
                let (mean, rstd) = (s.load(stats), s.load(stats.add(LANES)));
                let (mut sum, mut dot) = (s.zero(), s.zero());
                for row in 0..shape.h {
                    let at = self.walk.row(block, row);
                    for i in (at..at + shape.w * LANES).step_by(LANES) {
                        let g = s.mask(s.positive(s.load(self.a.add(i))), s.load(self.grad.add(i)));
                        s.store(self.grad.add(i), g);
                        let xhat = s.mul(s.sub(s.load(self.x.add(i)), mean), rstd);
                        sum = s.add(sum, g);
                        dot = s.fma(g, xhat, dot);
                    }
                }
                let out = self.out.add(block * 2 * LANES);
                s.store(out, sum);
                s.store(out.add(LANES), dot);
            }
        }
    }
}

/// `grad = scale*(grad - mean_g - xhat*mean_gx) + residual` for one example;
/// `terms[block] = [scale; 16], [mean_g; 16], [mean_gx; 16]`.
struct GradApply {
    walk: Walk,
    x: *const f32,
    grad: *mut f32,
    residual: Option<*const f32>,
    stats: *const f32,
    terms: *const f32,
}

impl Kernel for GradApply {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.walk.shape;
        for block in 0..shape.blocks() {
            // SAFETY: the maps are examples of this shape; `stats` has two vectors a block, `terms` three.
            unsafe {
                let (stats, terms) = (self.stats.add(block * 2 * LANES), self.terms.add(block * 3 * LANES));
                let (mean, rstd) = (s.load(stats), s.load(stats.add(LANES)));
                let (scale, mean_g) = (s.load(terms), s.load(terms.add(LANES)));
                let mean_gx = s.load(terms.add(2 * LANES));
                for row in 0..shape.h {
                    let at = self.walk.row(block, row);
                    for i in (at..at + shape.w * LANES).step_by(LANES) {
                        let xhat = s.mul(s.sub(s.load(self.x.add(i)), mean), rstd);
                        let g = s.sub(s.sub(s.load(self.grad.add(i)), mean_g), s.mul(xhat, mean_gx));
                        let mut dx = s.mul(scale, g);
                        if let Some(residual) = self.residual {
                            dx = s.add(dx, s.load(residual.add(i)));
                        }
                        s.store(self.grad.add(i), dx);
                    }
                }
            }
        }
    }
}

/// Scratch in vectors: the partial sums of `n` examples, then five vectors a block.
fn split_scratch(scratch: &mut [f32], n: usize, blocks: usize) -> (&mut [f32], &mut [f32]) {
    scratch[..(2 * n + 5) * blocks * LANES].split_at_mut(2 * n * blocks * LANES)
}

/// A pointer that parallel loops may share: each iteration touches its own example.
#[derive(Clone, Copy)]
struct Examples(*mut f32, usize);

// SAFETY: see above.
unsafe impl Sync for Examples {}
// SAFETY: see above.
unsafe impl Send for Examples {}

impl Examples {
    fn of(cx: &Context, map: Map) -> Examples {
        Examples(cx.map(map), cx.shape(map).example())
    }

    fn get(&self, i: usize) -> *mut f32 {
        // SAFETY: callers stay within the live slots.
        unsafe { self.0.add(i * self.1) }
    }
}

fn scratch_len(map: Map, n: usize, values: &Values) -> usize {
    (2 * n + 5) * MapShape::from(values.map(map)).blocks() * LANES
}

impl CpuOp for NormFprop {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch_len(self.x, n, values)
    }

    fn run(&self, cx: &Context) {
        if cx.n == 0 {
            return;
        }
        let walk = Walk { shape: cx.shape(self.x) };
        let (blocks, n, norm) = (walk.shape.blocks(), cx.n, self.norm);
        // SAFETY: the only use of the scratch.
        let (partial, affine) = split_scratch(unsafe { cx.scratch() }, n, blocks);
        let (x, a) = (Examples::of(cx, self.x), Examples::of(cx, self.a));
        partial.par_chunks_mut(2 * blocks * LANES).enumerate().for_each(|(i, out)| {
            cx.level.run(Moments { walk, x: x.get(i), out: out.as_mut_ptr() });
        });
        // SAFETY: this op runs alone, and does not write it.
        let params = unsafe { cx.read::<f32>(self.params) };
        // SAFETY: this op runs alone.
        let stats = unsafe { cx.buf::<f32>(self.batch_stats) };
        let per_example = (walk.shape.h * walk.shape.w) as f64;
        let count = per_example * n as f64;
        affine.fill(0.0);
        for c in 0..norm.gamma.len {
            let (block, lane) = (c / LANES, c % LANES);
            let at = |i: usize, which: usize| partial[((i * blocks + block) * 2 + which) * LANES + lane] as f64;
            let mean = (0..n).map(|i| at(i, 0)).sum::<f64>() / n as f64;
            let m2: f64 = (0..n).map(|i| at(i, 1) + per_example * (at(i, 0) - mean).powi(2)).sum();
            let var = m2 / count;
            let scale = params[norm.gamma.offset + c] as f64 / (var + NORM_EPS as f64).sqrt();
            affine[block * 2 * LANES + lane] = scale as f32;
            affine[(block * 2 + 1) * LANES + lane] = (params[norm.beta.offset + c] as f64 - mean * scale) as f32;
            stats[norm.mean.offset + c] = mean as f32;
            // A single value per channel has no unbiased variance; its biased one, 0, stands in.
            stats[norm.var.offset + c] = (m2 / (count - 1.0).max(1.0)) as f32;
        }
        let affine = &affine[..];
        (0..n).into_par_iter().for_each(|i| {
            cx.level.run(Apply { walk, x: x.get(i), affine: affine.as_ptr(), a: a.get(i) });
        });
    }
}

impl CpuOp for NormBprop {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch_len(self.x, n, values)
    }

    fn run(&self, cx: &Context) {
        if cx.n == 0 {
            return;
        }
        let walk = Walk { shape: cx.shape(self.x) };
        let (blocks, n, norm) = (walk.shape.blocks(), cx.n, self.norm);
        let count = (walk.shape.h * walk.shape.w * n) as f64;
        // SAFETY: the only use of the scratch.
        let (partial, rest) = split_scratch(unsafe { cx.scratch() }, n, blocks);
        let (stats, terms) = rest.split_at_mut(2 * blocks * LANES);
        stats.fill(0.0);
        terms.fill(0.0);
        // SAFETY: this op runs alone, and does not write it.
        let batch = unsafe { cx.read::<f32>(self.batch_stats) };
        for c in 0..norm.gamma.len {
            let (block, lane) = (c / LANES, c % LANES);
            let biased = batch[norm.var.offset + c] as f64 * (count - 1.0).max(1.0) / count;
            stats[block * 2 * LANES + lane] = batch[norm.mean.offset + c];
            stats[(block * 2 + 1) * LANES + lane] = (1.0 / (biased + NORM_EPS as f64).sqrt()) as f32;
        }
        let (x, a, grad) = (Examples::of(cx, self.x), Examples::of(cx, self.a), Examples::of(cx, self.grad));
        let residual = self.residual.map(|r| Examples::of(cx, r));
        let stats = &stats[..];
        partial.par_chunks_mut(2 * blocks * LANES).enumerate().for_each(|(i, out)| {
            let (x, a, grad) = (x.get(i), a.get(i), grad.get(i));
            cx.level.run(GradSums { walk, x, a, grad, stats: stats.as_ptr(), out: out.as_mut_ptr() });
        });
        // SAFETY: this op runs alone, and does not write it.
        let params = unsafe { cx.read::<f32>(self.params) };
        // SAFETY: this op runs alone.
        let grads = unsafe { cx.buf::<f32>(self.grads) };
        for c in 0..norm.gamma.len {
            let (block, lane) = (c / LANES, c % LANES);
            let sum = |which: usize| -> f64 {
                (0..n).map(|i| partial[((i * blocks + block) * 2 + which) * LANES + lane] as f64).sum()
            };
            let (dbeta, dgamma) = (sum(0), sum(1));
            grads[norm.beta.offset + c] = dbeta as f32;
            grads[norm.gamma.offset + c] = dgamma as f32;
            let at = block * 3 * LANES + lane;
            terms[at] = params[norm.gamma.offset + c] * stats[(block * 2 + 1) * LANES + lane];
            terms[at + LANES] = (dbeta / count) as f32;
            terms[at + 2 * LANES] = (dgamma / count) as f32;
        }
        let terms = &terms[..];
        (0..n).into_par_iter().for_each(|i| {
            let (x, grad) = (x.get(i), grad.get(i));
            let residual = residual.map(|r| r.get(i).cast_const());
            cx.level.run(GradApply { walk, x, grad, residual, stats: stats.as_ptr(), terms: terms.as_ptr() });
        });
    }
}
