use super::{Apgd, NEW, PROGRESS, RHO, TINY};
use crate::cpu::context::{Context, CpuOp};
use crate::ops::ball::Norm;
use crate::ops::head::{Loss, dlr};

impl CpuOp for Apgd {
    fn run(&self, cx: &Context) {
        let (b, len, s) = (&self.batch, self.image.len(), &self.state);
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let number = self.at.number(unsafe { cx.read(self.at.control) });
        let first = number == 0 || self.fixed.is_some();
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let period = unsafe { cx.read::<u32>(self.schedule) }[number as usize];
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: only this thread has the example; these are different buffers.
            let (x, x_adv, gradient, best, best_gradient, previous, progress) = unsafe {
                (
                    cx.row::<f32>(b.x, slot, len),
                    cx.row::<f32>(b.x_adv, slot, len),
                    cx.row::<f32>(self.gradient, slot, len),
                    cx.row::<f32>(s.best, position, len),
                    cx.row::<f32>(s.best_gradient, position, len),
                    cx.row::<f32>(s.previous, position, len),
                    cx.row::<f32>(s.progress, position, PROGRESS),
                )
            };
            let (improved, halve) = self.judge(self.value(cx, position), first, period, progress);
            if improved {
                best.copy_from_slice(x_adv);
                best_gradient.copy_from_slice(gradient);
            }
            if halve {
                x_adv.copy_from_slice(best);
                gradient.copy_from_slice(best_gradient);
            }
            if first {
                previous.copy_from_slice(x_adv);
            }
            let new = if first { 1.0 } else { NEW };
            let mv = Move { x, gradient, previous, eps: self.eps, step: progress[0], new };
            match self.norm {
                Norm::Linf => mv.linf(x_adv),
                Norm::L2 => mv.l2(x_adv),
            }
        }
    }
}

impl Apgd {
    /// The loss of the example's last forward pass.
    fn value(&self, cx: &Context, position: usize) -> f32 {
        let b = &self.batch;
        // SAFETY: only this thread has the example.
        let z = unsafe { cx.row::<f32>(b.logits, position, b.classes) };
        match self.loss {
            Loss::TargetedDlr => {
                // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
                let [target, label] = [b.target, b.label].map(|buf| unsafe { cx.read::<u32>(buf) }[position] as usize);
                (z[target] - z[label]) / dlr(z).0
            }
            // SAFETY: as above.
            _ => unsafe { *cx.at::<f32>(b.loss, position) },
        }
    }

    /// Whether the iterate has the highest loss so far, and whether the step was halved.
    fn judge(&self, f: f32, first: bool, period: u32, progress: &mut [f32]) -> (bool, bool) {
        if first {
            progress.copy_from_slice(&[self.fixed.unwrap_or(2.0 * self.eps), f, 0.0, f, 0.0, 1.0]);
            return (true, false);
        }
        let [step, best, last, checked, rises, halved] = progress else { unreachable!("six numbers") };
        let improved = f > *best;
        if improved {
            *best = f;
        }
        *rises += f32::from(f > *last);
        *last = f;
        if period == 0 {
            return (improved, false);
        }
        let halve = *rises <= RHO * period as f32 || (*halved == 0.0 && *checked >= *best);
        if halve {
            *step *= 0.5;
        }
        (*checked, *rises, *halved) = (*best, 0.0, f32::from(halve));
        (improved, halve)
    }
}

/// The move of one image.
struct Move<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    /// The last iterate but one; becomes the last one.
    previous: &'a mut [f32],
    eps: f32,
    step: f32,
    /// Weight of the new direction.
    new: f32,
}

impl Move<'_> {
    fn linf(self, x_adv: &mut [f32]) {
        let Move { eps, step, new, .. } = self;
        let all = x_adv.iter_mut().zip(self.x).zip(self.gradient).zip(self.previous);
        for (((adv, &x), &g), previous) in all {
            let clamp = |v: f32| v.max(x - eps).min(x + eps).clamp(0.0, 1.0);
            let (at, last) = (*adv, *previous);
            let sign = f32::from(g > 0.0) - f32::from(g < 0.0);
            let z = clamp(at + step * sign);
            *adv = clamp(at + (z - at) * new + (at - last) * (1.0 - new));
            *previous = at;
        }
    }

    fn l2(self, x_adv: &mut [f32]) {
        let Move { x, gradient, previous, eps, step, new } = self;
        let length =
            |squares: &mut dyn Iterator<Item = f32>| squares.map(|v| (v as f64).powi(2)).sum::<f64>().sqrt() as f32;
        // A difference of this length, shortened to the bound, added to x.
        let clamp = |v: f32, x: f32, length: f32| (x + (v - x) / (length + TINY) * eps.min(length)).clamp(0.0, 1.0);
        let along = length(&mut gradient.iter().copied()) + TINY;
        let raw = |i: usize, at: f32| at + step * (gradient[i] / along);
        let far = length(&mut x_adv.iter().enumerate().map(|(i, at)| raw(i, *at) - x[i]));
        let mixed = |i: usize, at: f32, last: f32| {
            let z = clamp(raw(i, at), x[i], far);
            at + (z - at) * new + (at - last) * (1.0 - new)
        };
        let all = || x_adv.iter().zip(previous.iter()).enumerate();
        let far2 = length(&mut all().map(|(i, (at, last))| mixed(i, *at, *last) - x[i]));
        for (i, (adv, last)) in x_adv.iter_mut().zip(previous.iter_mut()).enumerate() {
            let at = *adv;
            *adv = clamp(mixed(i, at, *last), x[i], far2);
            *last = at;
        }
    }
}
