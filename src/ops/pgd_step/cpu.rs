use super::PgdStep;
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::layout::LANES;
use crate::cpu::simd::{Kernel, Simd};

impl CpuOp for PgdStep {
    fn run(&self, cx: &Context) {
        let len = self.image.len();
        // SAFETY: the slots of this context are this thread's own, and these are three buffers.
        let (x, x_adv, g) = unsafe {
            (
                cx.rows::<f32>(self.batch.x, cx.first, cx.n, len),
                cx.rows::<f32>(self.batch.x_adv, cx.first, cx.n, len),
                cx.rows::<f32>(self.gradient, cx.first, cx.n, len),
            )
        };
        cx.level.run(SignStep { x, x_adv, g, eps: self.eps, alpha: self.alpha });
    }
}

/// The step of all elements of some slots.
struct SignStep<'a> {
    x: &'a [f32],
    x_adv: &'a mut [f32],
    g: &'a [f32],
    eps: f32,
    alpha: f32,
}

impl SignStep<'_> {
    /// Sixteen elements.
    #[inline(always)]
    fn moved<S: Simd>(&self, s: S, x_adv: S::V, x: S::V, g: S::V) -> S::V {
        let (alpha, eps) = (s.splat(self.alpha), s.splat(self.eps));
        let up = s.mask(s.positive(g), alpha);
        let down = s.mask(s.positive(s.sub(s.zero(), g)), alpha);
        let v = s.sub(s.add(x_adv, up), down);
        let v = s.min(s.max(v, s.sub(x, eps)), s.add(x, eps));
        s.min(s.max(v, s.zero()), s.splat(1.0))
    }
}

impl Kernel for SignStep<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.g.len();
        assert!(self.x.len() == len && self.x_adv.len() == len);
        let (x, x_adv, g) = (self.x.as_ptr(), self.x_adv.as_mut_ptr(), self.g.as_ptr());
        let whole = len - len % LANES;
        for at in (0..whole).step_by(LANES) {
            // SAFETY: all three have sixteen elements from `at` on.
            unsafe {
                let v = self.moved(s, s.load(x_adv.add(at)), s.load(x.add(at)), s.load(g.add(at)));
                s.store(x_adv.add(at), v);
            }
        }
        let rest = len - whole;
        // SAFETY: all three have `rest` elements from `whole` on.
        unsafe {
            let (x, g) = (s.load_part(x.add(whole), rest), s.load_part(g.add(whole), rest));
            let v = self.moved(s, s.load_part(x_adv.add(whole), rest), x, g);
            s.store_part(x_adv.add(whole), v, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Level;

    #[test]
    fn a_step_is_its_formula() {
        let (eps, alpha) = (0.08, 0.03);
        for len in [0, 1, 15, 16, 17, 32, 63] {
            let value = |i: usize, salt: usize| (i * 7919 + salt) % 1013 * 2;
            let x: Vec<f32> = (0..len).map(|i| value(i, 3) as f32 / 2026.0).collect();
            let start: Vec<f32> = x.iter().zip(0..).map(|(x, i)| (x + value(i, 5) as f32 / 9000.0).min(1.0)).collect();
            // Of every three gradients one is zero.
            let g: Vec<f32> = (0..len).map(|i| (i % 3) as f32 - 1.0).collect();
            for level in Level::all_supported() {
                let mut x_adv = start.clone();
                level.run(SignStep { x: &x, x_adv: &mut x_adv, g: &g, eps, alpha });
                for i in 0..len {
                    let want = (start[i] + alpha * g[i]).clamp(x[i] - eps, x[i] + eps).clamp(0.0, 1.0);
                    assert_eq!(x_adv[i], want, "{level}, element {i} of {len}");
                }
            }
        }
    }
}
