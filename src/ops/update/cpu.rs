use super::{RUNNING_MOMENTUM, Update};
use crate::batch::counter;
use crate::cpu::context::{Context, CpuOp};
use rayon::prelude::*;

/// Elements a thread takes at a time: the three arenas' parts fit the first-level cache.
const CHUNK: usize = 2048;

impl CpuOp for Update {
    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone, and does not write it.
        let count = unsafe { cx.read::<u64>(self.stats.counters) };
        if cx.n == 0 || count[counter::HALTED] != 0 {
            return;
        }
        // CountBatch has counted this mini-batch already.
        // SAFETY: this op runs alone, and does not write it.
        let lr = unsafe { cx.read::<f32>(self.lr) }[count[counter::BATCHES] as usize - 1];
        let (momentum, decay) = (self.momentum, self.weight_decay);
        let a = &self.arenas;
        // SAFETY: this op runs alone; the parallel parts are disjoint chunks.
        let (params, momenta, running) =
            unsafe { (cx.buf::<f32>(a.params), cx.buf::<f32>(a.momenta), cx.buf::<f32>(a.running)) };
        // SAFETY: this op runs alone, and does not write it.
        let grads = unsafe { cx.read::<f32>(a.grads) };
        let parts = params.par_chunks_mut(CHUNK).zip(momenta.par_chunks_mut(CHUNK)).zip(grads.par_chunks(CHUNK));
        let step = |w: &mut f32, v: &mut f32, g: f32| {
            *v = momentum * *v + (g + decay * *w);
            *w -= lr * *v;
        };
        match self.clean {
            None => parts.for_each(|((w, v), g)| {
                w.iter_mut().zip(v).zip(g).for_each(|((w, v), g)| step(w, v, *g));
            }),
            // SAFETY: this op runs alone, and does not write it.
            Some(clean) => {
                parts.zip(unsafe { cx.read::<f32>(clean.grads) }.par_chunks(CHUNK)).for_each(|(((w, v), g), c)| {
                    w.iter_mut().zip(v).zip(g).zip(c).for_each(|(((w, v), g), c)| step(w, v, g + c));
                })
            }
        }
        if let Some(ema) = self.ema {
            let (keep, share) = (ema.decay, 1.0 - ema.decay);
            // SAFETY: as above.
            let averages = unsafe { cx.buf::<f32>(ema.params) };
            averages.par_chunks_mut(CHUNK).zip(params.par_chunks(CHUNK)).for_each(|(e, w)| {
                e.iter_mut().zip(w).for_each(|(e, w)| *e = keep * *e + share * w);
            });
        }
        let passes = self.clean.map(|c| c.batch_stats).into_iter().chain([a.batch_stats]);
        for pass in passes {
            // SAFETY: this op runs alone, and does not write it.
            for (r, b) in running.iter_mut().zip(unsafe { cx.read::<f32>(pass) }) {
                *r = (1.0 - RUNNING_MOMENTUM) * *r + RUNNING_MOMENTUM * b;
            }
        }
    }
}
