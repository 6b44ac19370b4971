use super::{Noise, Start};
use crate::batch::control;
use crate::cpu::context::{Context, CpuOp};
use crate::ops::ball::Norm;
use crate::rng::{normal_pair, uniform};

impl CpuOp for Start {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let epoch = unsafe { cx.read::<u32>(self.data.control) }[control::EPOCH];
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: only this thread has the slot.
            let (x, x_adv) = unsafe { (cx.row::<f32>(b.x, slot, len), cx.row::<f32>(b.x_adv, slot, len)) };
            let Some(draw) = self.noise else {
                x_adv.copy_from_slice(x);
                continue;
            };
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let sample = unsafe { cx.read::<u32>(b.sample) }[unsafe { cx.position(b, slot) }];
            if let Noise::Surface { norm, length, clean } = draw.noise {
                if clean > 0 && epoch.is_multiple_of(clean) {
                    x_adv.copy_from_slice(x);
                    continue;
                }
                let block = |i: usize| draw.rng.block(draw.stream, epoch, sample, i as u32);
                surface(x, x_adv, norm, length, block);
                continue;
            }
            for (i, (adv, x)) in x_adv.chunks_mut(4).zip(x.chunks(4)).enumerate() {
                let r = draw.rng.block(draw.stream, epoch, sample, i as u32);
                match draw.noise {
                    Noise::Uniform(eps) => {
                        for ((adv, x), r) in adv.iter_mut().zip(x).zip(r) {
                            *adv = (x + eps * (2.0 * uniform(r) - 1.0)).clamp(0.0, 1.0);
                        }
                    }
                    Noise::Normal(sigma) => {
                        let n = [normal_pair(r[0], r[1]), normal_pair(r[2], r[3])];
                        adv.iter_mut().zip(x).zip(n.as_flattened()).for_each(|((adv, x), n)| *adv = x + sigma * n);
                    }
                    Noise::Surface { .. } => unreachable!("taken above"),
                }
            }
        }
    }
}

/// `x_adv = clamp(x + eps t/(|t| + 1e-12), 0, 1)`, the random numbers four elements at a time from `block`.
fn surface(x: &[f32], x_adv: &mut [f32], norm: Norm, eps: f32, block: impl Fn(usize) -> [u32; 4]) {
    for (i, t) in x_adv.chunks_mut(4).enumerate() {
        let r = block(i);
        let four = match norm {
            Norm::Linf => r.map(|r| 2.0 * uniform(r) - 1.0),
            Norm::L2 => {
                let ([a, b], [c, d]) = (normal_pair(r[0], r[1]), normal_pair(r[2], r[3]));
                [a, b, c, d]
            }
        };
        t.copy_from_slice(&four[..t.len()]);
    }
    let length = match norm {
        Norm::Linf => x_adv.iter().fold(0.0, |most: f32, t| most.max(t.abs())),
        Norm::L2 => x_adv.iter().map(|t| (*t as f64).powi(2)).sum::<f64>().sqrt() as f32,
    };
    x_adv.iter_mut().zip(x).for_each(|(t, x)| *t = (x + eps * (*t / (length + 1e-12))).clamp(0.0, 1.0));
}
