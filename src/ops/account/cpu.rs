use super::{Account, NetPass, Tally, counter};
use crate::cpu::context::{Context, CpuOp};
use crate::ops::load::control;

impl CpuOp for Tally {
    fn run(&self, cx: &Context) {
        let index = match self.pass {
            NetPass::Fprop => counter::FPROP,
            NetPass::Dgrad => counter::DGRAD,
            NetPass::Wgrad => counter::WGRAD,
        };
        let step = self.step.filter(|s| *s < self.stats.steps()).map(|s| self.stats.step(s));
        for index in [Some(index), step].into_iter().flatten() {
            // SAFETY: tallies run on one thread.
            *unsafe { cx.at::<u64>(self.stats.counters, index) } += cx.n as u64;
        }
    }
}

impl CpuOp for Account {
    fn run(&self, cx: &Context) {
        let (b, s) = (&self.batch, &self.stats);
        let loaded = cx.read::<u32>(b.live)[1] as usize;
        if loaded == 0 {
            return;
        }
        let (label, kappa, crossed) = (cx.read::<u32>(b.label), cx.read::<u32>(b.kappa), cx.read::<u32>(b.crossed));
        // SAFETY: this op runs alone, and these are three buffers.
        let (count, total, control) =
            unsafe { (cx.buf::<u64>(s.counters), cx.buf::<f64>(s.loss), cx.buf::<u32>(self.data.control)) };
        let classes = counter::CLASSES;
        for position in 0..loaded {
            count[classes + label[position] as usize] += 1;
            count[classes + 3 * s.classes + (kappa[position] as usize).min(s.kappas - 1)] += 1;
        }
        let mut loss = 0.0f64;
        for slot in 0..cx.n {
            let position = cx.position(b, slot);
            let class = label[position] as usize;
            count[classes + s.classes + class] += 1;
            count[classes + 2 * s.classes + class] += (crossed[position] == 0) as u64;
            loss += cx.read::<f32>(b.weight)[position] as f64 * cx.read::<f32>(b.loss)[position] as f64;
        }
        count[counter::EXAMPLES] += loaded as u64;
        count[counter::KEPT] += cx.n as u64;
        count[counter::BATCHES] += 1;
        count[counter::SKIPPED] += (cx.n == 0) as u64;
        total[0] += loss * cx.n as f64;
        if !loss.is_finite() {
            count[counter::HALTED] = count[counter::BATCHES];
        }
        control[control::CURSOR] += loaded as u32;
    }
}
