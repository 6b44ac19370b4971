use super::{HeadDgrad, HeadFprop, HeadWgrad, Loss, dlr, top};
use crate::batch::Batch;
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Simd};
use crate::program::Values;
use rayon::prelude::*;

/// `pooled[c] = mean of a[.., c]`, zero-padded to whole blocks.
struct Pool {
    shape: MapShape,
    a: *const f32,
    pooled: *mut f32,
}

impl Kernel for Pool {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inverse = s.splat(1.0 / (self.shape.h * self.shape.w) as f32);
        for block in 0..self.shape.blocks() {
            let mut sum = s.zero();
            for row in 0..self.shape.h {
                let at = block * self.shape.plane() + self.shape.origin() + row * self.shape.row();
                for i in 0..self.shape.w {
                    // SAFETY: the interior of an example of this shape.
                    sum = s.add(sum, unsafe { s.load(self.a.add(at + i * LANES)) });
                }
            }
            // SAFETY: `pooled` has a vector a block.
            unsafe { s.store(self.pooled.add(block * LANES), s.mul(sum, inverse)) };
        }
    }
}

/// `z[k] = bias[k] + sum over c of weight[k, c] * pooled[c]`.
struct Logits<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    pooled: &'a [f32],
    z: &'a mut [f32],
}

impl Kernel for Logits<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.weight.len() / self.bias.len();
        for (k, z) in self.z.iter_mut().enumerate() {
            let row = &self.weight[k * channels..(k + 1) * channels];
            let mut sum = s.zero();
            for (c, w) in row.chunks(LANES).enumerate() {
                // SAFETY: `pooled` is padded to whole vectors; of the row, only what is there is read.
                unsafe {
                    let p = s.load(self.pooled.as_ptr().add(c * LANES));
                    let w = if w.len() == LANES { s.load(w.as_ptr()) } else { s.load_part(w.as_ptr(), w.len()) };
                    sum = s.fma(w, p, sum);
                }
            }
            *z = self.bias[k] + s.sum(sum);
        }
    }
}

impl CpuOp for HeadFprop {
    fn scratch(&self, _: usize, values: &Values) -> usize {
        MapShape::from(values.map(self.a)).blocks() * LANES
    }

    fn run(&self, cx: &Context) {
        let (b, shape) = (&self.batch, cx.shape(self.a));
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let params = unsafe { cx.read::<f32>(self.params) };
        let (weight, bias) = (&params[self.linear.weight.range()], &params[self.linear.bias.range()]);
        // SAFETY: the only use of the scratch.
        let pooled = unsafe { cx.scratch() };
        for (i, slot) in (cx.first..cx.first + cx.n).enumerate() {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: slot `i` of this range.
            let a = unsafe { cx.map(self.a).add(i * shape.example()) };
            cx.level.run(Pool { shape, a, pooled: pooled.as_mut_ptr() });
            // SAFETY: slots and positions are distinct, so only this thread has these rows.
            let (z, p) = unsafe {
                cx.row::<f32>(b.pooled, slot, shape.c).copy_from_slice(&pooled[..shape.c]);
                (cx.row::<f32>(b.logits, position, b.classes), cx.row::<f32>(b.probs, position, b.classes))
            };
            cx.level.run(Logits { weight, bias, pooled, z });
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let label = unsafe { cx.read::<u32>(b.label) }[position] as usize;
            let top = top(z);
            let sum: f32 = z.iter().map(|v| (v - z[top]).exp()).sum();
            let mut moved = 0.0;
            for (p, v) in p.iter_mut().zip(z.iter()) {
                let new = (v - z[top]).exp() / sum;
                moved += (new - *p).abs();
                *p = new;
            }
            let crossed = top != label;
            // SAFETY: as above.
            unsafe {
                *cx.at::<u32>(b.crossed, position) = crossed as u32;
                *cx.at::<f32>(b.confidence, position) = p[label];
                *cx.at::<f32>(b.loss, position) = sum.ln() - (z[label] - z[top]);
                if self.measures.kappa {
                    *cx.at::<u32>(b.kappa, position) += !crossed as u32;
                }
                if self.measures.step {
                    let step = cx.at::<f32>(b.step, position);
                    *step = step.max(moved);
                }
            }
        }
    }
}

/// The gradient of an example's loss with respect to its logits, times its weight if `weighted`.
fn logit_gradient(cx: &Context, b: &Batch, position: usize, loss: Loss, weighted: bool, dz: &mut [f32]) {
    // Rows, not the whole buffers: another thread may be at its own examples' forward pass.
    // SAFETY: only the thread that has the example touches its rows.
    let (probs, z) =
        unsafe { (cx.row::<f32>(b.probs, position, b.classes), cx.row::<f32>(b.logits, position, b.classes)) };
    // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
    let label = unsafe { cx.read::<u32>(b.label) }[position] as usize;
    // SAFETY: as above.
    let row = |buf| unsafe { cx.row::<f32>(buf, position, b.classes) };
    match loss {
        Loss::CrossEntropy => dz.copy_from_slice(probs),
        Loss::Divergence => {
            let target = row(b.clean().probs);
            dz.iter_mut().zip(probs).zip(target).for_each(|((d, p), t)| *d = *p - *t);
        }
        Loss::TwoPass => dz.copy_from_slice(row(b.gradient)),
        Loss::Margin => {
            let mut other = usize::from(label == 0);
            for k in 0..b.classes {
                if k != label && z[k] > z[other] {
                    other = k;
                }
            }
            dz.fill(0.0);
            dz[other] = 1.0;
        }
        Loss::Difference => {
            dz.fill(0.0);
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            dz[unsafe { cx.read::<u32>(b.target) }[position] as usize] = 1.0;
        }
        Loss::TargetedDlr => {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let target = unsafe { cx.read::<u32>(b.target) }[position] as usize;
            let (scale, [first, _, third, fourth]) = dlr(z);
            let inverse = 1.0 / scale;
            let bend = (z[target] - z[label]) * inverse * inverse;
            dz.fill(0.0);
            dz[target] = inverse;
            dz[label] -= inverse;
            dz[first] -= bend;
            dz[third] += 0.5 * bend;
            dz[fourth] += 0.5 * bend;
        }
    }
    if matches!(loss, Loss::CrossEntropy | Loss::Margin | Loss::Difference) {
        dz[label] -= 1.0;
    }
    if weighted {
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let weight = unsafe { cx.read::<f32>(b.weight) }[position];
        dz.iter_mut().for_each(|d| *d *= weight);
    }
}

/// `dy[.., c] = value[c]` where the bit is set, for one example.
struct Spread {
    shape: MapShape,
    value: *const f32,
    bits: Option<*const u16>,
    dy: *mut f32,
}

impl Kernel for Spread {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.shape;
        for block in 0..shape.blocks() {
            // SAFETY: `value` has a vector a block; `dy` and `bits` are an example of this shape.
            unsafe {
                let value = s.load(self.value.add(block * LANES));
                for row in 0..shape.h {
                    let dy = self.dy.add(block * shape.plane() + shape.origin() + row * shape.row());
                    for i in 0..shape.w {
                        let masked = match self.bits {
                            Some(bits) => s.mask(*bits.add((block * shape.h + row) * shape.w + i), value),
                            None => value,
                        };
                        s.store(dy.add(i * LANES), masked);
                    }
                }
            }
        }
    }
}

impl CpuOp for HeadDgrad {
    fn scratch(&self, _: usize, values: &Values) -> usize {
        MapShape::from(values.map(self.dy)).blocks() * LANES + self.batch.classes
    }

    fn run(&self, cx: &Context) {
        let (b, shape) = (&self.batch, cx.shape(self.dy));
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let weight = &unsafe { cx.read::<f32>(self.params) }[self.linear.weight.range()];
        // SAFETY: the only use of the scratch.
        let (value, dz) = unsafe { cx.scratch() }.split_at_mut(shape.blocks() * LANES);
        let dz = &mut dz[..b.classes];
        for (i, slot) in (cx.first..cx.first + cx.n).enumerate() {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            logit_gradient(cx, b, unsafe { cx.position(b, slot) }, self.loss, self.weighted, dz);
            value.fill(0.0);
            for (dz, row) in dz.iter().zip(weight.chunks(shape.c)) {
                value.iter_mut().zip(row).for_each(|(v, w)| *v += dz * w);
            }
            let inverse = 1.0 / (shape.h * shape.w) as f32;
            for (c, v) in value[..shape.c].iter_mut().enumerate() {
                *v *= self.affine.map_or(inverse, |affine| cx.affine(affine).0[c] * inverse);
            }
            // SAFETY: slot `i` of this range.
            let (bits, dy) = unsafe {
                let bits = self.bits.map(|bits| cx.bits(bits).add(i * shape.bits()).cast_const());
                (bits, cx.map(self.dy).add(i * shape.example()))
            };
            cx.level.run(Spread { shape, value: value.as_ptr(), bits, dy });
        }
    }
}

impl CpuOp for HeadWgrad {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        n * self.batch.classes
    }

    fn run(&self, cx: &Context) {
        let (b, classes) = (&self.batch, self.batch.classes);
        // SAFETY: the only use of the scratch.
        let dz = &mut unsafe { cx.scratch() }[..cx.n * classes];
        dz.par_chunks_mut(classes).enumerate().for_each(|(slot, dz)| {
            let loss = if self.given { Loss::TwoPass } else { Loss::CrossEntropy };
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            logit_gradient(cx, b, unsafe { cx.position(b, slot) }, loss, !self.given, dz);
        });
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let (dz, pooled) = (&dz[..], unsafe { cx.read::<f32>(b.pooled) });
        // SAFETY: this op runs alone, and the layer's weights and bias don't overlap.
        let (dw, db) = unsafe {
            let grads = cx.buf::<f32>(self.grads).as_mut_ptr();
            let at = |s: crate::program::Span| std::slice::from_raw_parts_mut(grads.add(s.offset), s.len);
            (at(self.linear.weight), at(self.linear.bias))
        };
        // A class a task: each sum runs over the slots in order, whatever the threads.
        dw.par_chunks_mut(self.channels).zip(db.par_iter_mut()).enumerate().for_each(|(k, (dw, db))| {
            dw.fill(0.0);
            *db = 0.0;
            for slot in 0..cx.n {
                let d = dz[slot * classes + k];
                *db += d;
                let row = &pooled[slot * self.channels..(slot + 1) * self.channels];
                dw.iter_mut().zip(row).for_each(|(w, p)| *w += d * p);
            }
        });
    }
}
