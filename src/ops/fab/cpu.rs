use super::{ALPHA_MAX, BETA, ETA, FabBack, FabStep, ITERATES, LEAST};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::lanes::{lane_sum, pair_sum};
use crate::cpu::simd::{Kernel, Simd};
use crate::ops::ball::Norm;

/// Threads of a block of the GPU's kernels, whose order of summation this one has.
const THREADS: usize = 256;

/// Projects a point onto the hyperplane within the box.
#[derive(Clone, Copy)]
struct Projection {
    norm: Norm,
    /// The hyperplane's function at the point.
    gap: f32,
}

impl Projection {
    /// |w|, how fast an element moves with the multiplier, how far it can, and which way: 1 or -1.
    #[inline(always)]
    fn element(self, w: f32, at: f32) -> (f32, f32, f32, f32) {
        let up = (w > 0.0) != (self.gap >= 0.0);
        let rate = if self.norm == Norm::Linf { 1.0 } else { w.abs() };
        (w.abs(), rate, if up { 1.0 - at } else { at }, if up { 1.0 } else { -1.0 })
    }

    /// The multiplier.
    #[inline(always)]
    fn solve(self, w: &[f32], at: &[f32]) -> f32 {
        let mut l = 0.0f32;
        for _ in 0..ITERATES {
            let held = |w, at| {
                let (size, rate, room, _) = self.element(w, at);
                if room <= l * rate { size * room } else { 0.0 }
            };
            let free = |w, at| {
                let (size, rate, room, _) = self.element(w, at);
                if room <= l * rate { 0.0 } else { size * rate }
            };
            let missing = self.gap.abs() - pair_sum::<THREADS>(w, at, held);
            let slope = pair_sum::<THREADS>(w, at, free);
            // With nothing left to move every element goes as far as it can.
            let next = if slope > 0.0 { missing / slope } else { f32::INFINITY };
            if next <= l {
                break;
            }
            l = next;
        }
        l
    }

    /// The move of an element.
    #[inline(always)]
    fn moved(self, l: f32, w: f32, at: f32) -> f32 {
        let (size, rate, room, way) = self.element(w, at);
        let far = if room <= l * rate { room } else { l * rate };
        if size == 0.0 { 0.0 } else { way * far }
    }

    /// The norm of the move.
    #[inline(always)]
    fn length(self, l: f32, w: &[f32], at: &[f32]) -> f32 {
        length(self.norm, w.len(), |i| self.moved(l, w[i], at[i])).max(LEAST)
    }
}

#[inline(always)]
fn length(norm: Norm, len: usize, d: impl Fn(usize) -> f32) -> f32 {
    match norm {
        Norm::Linf => (0..len).fold(0.0, |most, i| d(i).abs().max(most)),
        Norm::L2 => lane_sum::<THREADS>(len, |i| d(i) * d(i)).sqrt(),
    }
}

/// The step of one example.
struct BoundaryStep<'a> {
    norm: Norm,
    /// `z_t - z_y` at `adv`.
    gap: f32,
    w: &'a [f32],
    x: &'a [f32],
    adv: &'a mut [f32],
}

impl Kernel for BoundaryStep<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let BoundaryStep { norm, gap, w, x, adv } = self;
        let way = lane_sum::<THREADS>(w.len(), |i| w[i] * (x[i] - adv[i]));
        let (of_adv, of_x) = (Projection { norm, gap }, Projection { norm, gap: gap + way });
        let (l_adv, l_x) = (of_adv.solve(w, adv), of_x.solve(w, x));
        let (a, b) = (of_adv.length(l_adv, w, adv), of_x.length(l_x, w, x));
        let share = (a / (a + b)).min(ALPHA_MAX);
        for ((adv, x), w) in adv.iter_mut().zip(x).zip(w) {
            let from_adv = *adv + ETA * of_adv.moved(l_adv, *w, *adv);
            let from_x = x + ETA * of_x.moved(l_x, *w, *x);
            *adv = (from_adv * (1.0 - share) + from_x * share).clamp(0.0, 1.0);
        }
    }
}

impl CpuOp for FabStep {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: only this thread has the slot and its position.
            let (w, x, adv, z) = unsafe {
                (
                    cx.row::<f32>(self.gradient, slot, len),
                    cx.row::<f32>(b.x, slot, len),
                    cx.row::<f32>(b.x_adv, slot, len),
                    cx.row::<f32>(b.logits, position, b.classes),
                )
            };
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let class = |buf| unsafe { cx.read::<u32>(buf) }[position] as usize;
            cx.level.run(BoundaryStep { norm: self.norm, gap: z[class(b.target)] - z[class(b.label)], w, x, adv });
        }
    }
}

impl CpuOp for FabBack {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: only this thread has the slot and its position.
            let (x, adv, crossed, keep) = unsafe {
                (
                    cx.row::<f32>(b.x, slot, len),
                    cx.row::<f32>(b.x_adv, slot, len),
                    *cx.at::<u32>(b.crossed, position) != 0,
                    cx.at::<u32>(b.keep, position),
                )
            };
            let within = length(self.norm, len, |i| adv[i] - x[i]) <= self.eps;
            *keep = u32::from(!(crossed && within));
            if crossed && !within {
                adv.iter_mut().zip(x).for_each(|(adv, x)| *adv = *x + BETA * (*adv - *x));
            }
        }
    }
}
