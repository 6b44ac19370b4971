use super::{MARGIN, SURE, TwoPass, TwoPassLoss};
use crate::cpu::context::{Context, CpuOp};
use crate::program::Values;

/// Writes the logarithms of the softmax of `z`.
fn log_softmax(z: &[f32], out: &mut [f32]) {
    let top = z.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
    let sum: f32 = z.iter().map(|v| (v - top).exp()).sum();
    out.iter_mut().zip(z).for_each(|(o, v)| *o = (v - top) - sum.ln());
}

impl CpuOp for TwoPassLoss {
    fn scratch(&self, _: usize, _: &Values) -> usize {
        2 * self.batch.classes
    }

    fn run(&self, cx: &Context) {
        let (b, beta) = (&self.batch, self.beta);
        let clean = b.clean();
        // SAFETY: the only use of the scratch.
        let (lp, lq) = unsafe { cx.scratch() }[..2 * b.classes].split_at_mut(b.classes);
        for slot in 0..cx.n {
            // SAFETY: this op runs alone, and does not write it.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: this op runs alone, and does not write it.
            let (y, w) =
                (unsafe { cx.read::<u32>(b.label) }[position] as usize, unsafe { cx.read::<f32>(b.weight) }[position]);
            let row =
                |logits: &'_ [f32], out: &mut [f32]| log_softmax(&logits[position * b.classes..][..b.classes], out);
            // SAFETY: this op runs alone, and does not write it.
            row(unsafe { cx.read(clean.logits) }, lp);
            // SAFETY: this op runs alone, and does not write it.
            row(unsafe { cx.read(b.logits) }, lq);
            // SAFETY: this op runs alone; these are different buffers.
            let (dz, dz_clean, loss) = unsafe {
                (
                    cx.row::<f32>(b.gradient, position, b.classes),
                    cx.row::<f32>(clean.gradient, position, b.classes),
                    cx.at::<f32>(b.loss, position),
                )
            };
            let kl: f32 = lp.iter().zip(lq.iter()).map(|(p, q)| p.exp() * (p - q)).sum();
            let one = |j: usize, k: usize| f32::from(u8::from(j == k));
            match self.loss {
                TwoPass::Trades => {
                    *loss = beta * kl - lp[y];
                    for j in 0..b.classes {
                        let (p, q) = (lp[j].exp(), lq[j].exp());
                        dz[j] = w * (beta * (q - p));
                        dz_clean[j] = w * ((p - one(j, y)) + beta * (p * ((lp[j] - lq[j]) - kl)));
                    }
                }
                TwoPass::Mart => {
                    let others = (0..b.classes).filter(|j| *j != y);
                    let other = others.reduce(|m, j| if lq[j] > lq[m] { j } else { m }).expect("two classes");
                    let (top, py) = (lq[other].exp(), lp[y].exp());
                    let (boost, unsure) = (top / (MARGIN - top), SURE - py);
                    *loss = beta * (kl * unsure) - lq[y] - (MARGIN - top).ln();
                    for j in 0..b.classes {
                        let (p, q) = (lp[j].exp(), lq[j].exp());
                        let adversarial = (q - one(j, y)) + boost * (one(j, other) - q);
                        dz[j] = w * (adversarial + beta * (unsure * (q - p)));
                        let divergence = unsure * (p * ((lp[j] - lq[j]) - kl));
                        dz_clean[j] = w * (beta * (divergence - kl * (py * (one(j, y) - p))));
                    }
                }
            }
        }
    }
}
