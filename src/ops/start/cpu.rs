use super::{Noise, Start};
use crate::cpu::context::{Context, CpuOp};
use crate::ops::load::control;
use crate::rng::{normal_pair, uniform};

impl CpuOp for Start {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        let epoch = cx.read::<u32>(self.data.control)[control::EPOCH];
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: only this thread has the slot.
            let (x, x_adv) = unsafe { (cx.row::<f32>(b.x, slot, len), cx.row::<f32>(b.x_adv, slot, len)) };
            let Some(draw) = self.noise else {
                x_adv.copy_from_slice(x);
                continue;
            };
            let sample = cx.read::<u32>(b.sample)[cx.position(b, slot)];
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
                }
            }
        }
    }
}
