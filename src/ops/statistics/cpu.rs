use super::{CountBatch, CountPass, NetPass, Part};
use crate::batch::control;
use crate::batch::counter;
use crate::cpu::context::{Context, CpuOp};
use crate::program::Values;

impl CpuOp for CountPass {
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

impl CpuOp for CountBatch {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        n
    }

    fn run(&self, cx: &Context) {
        let (b, s) = (&self.batch, &self.stats);
        // SAFETY: this op runs alone, and does not write it.
        let loaded = unsafe { cx.read::<u32>(b.live) }[1] as usize;
        // SAFETY: this op runs alone, and does not write it.
        let (label, kappa, crossed) =
            (unsafe { cx.read::<u32>(b.label) }, unsafe { cx.read::<u32>(b.kappa) }, unsafe {
                cx.read::<u32>(b.crossed)
            });
        // SAFETY: this op runs alone, and these are three buffers.
        let (count, total, control) =
            unsafe { (cx.buf::<u64>(s.counters), cx.buf::<f64>(s.loss), cx.buf::<u32>(self.data.control)) };
        // A mini-batch without examples is one beyond the end.
        if count[counter::HALTED] != 0 || self.part == Part::Whole && loaded == 0 {
            return;
        }
        // SAFETY: this op runs alone, and does not write it.
        let confidence = unsafe { cx.read::<f32>(b.confidence) };
        let classes = counter::CLASSES;
        let kappas = |position: usize| s.kappa(label[position] as usize, kappa[position] as usize);
        let confidences =
            |dropped: bool, position: usize| s.confidence(dropped, label[position] as usize, confidence[position]);
        if self.part.loaded() {
            // SAFETY: the only use of the scratch.
            let dropped = &mut bytemuck::cast_slice_mut::<f32, u32>(unsafe { cx.scratch() })[..loaded];
            dropped.fill(1);
            // SAFETY: this op runs alone, and does not write it.
            (0..cx.n).for_each(|slot| dropped[unsafe { cx.position(b, slot) }] = 0);
            for position in 0..loaded {
                count[classes + label[position] as usize] += 1;
                // Of those that stay it may change yet.
                if self.part.live() || dropped[position] == 1 {
                    count[kappas(position)] += 1;
                }
                if dropped[position] == 1 {
                    count[confidences(true, position)] += 1;
                }
            }
            count[counter::EXAMPLES] += loaded as u64;
            control[control::CURSOR] += loaded as u32;
        }
        if !self.part.live() {
            return;
        }
        let mut loss = 0.0f64;
        for slot in 0..cx.n {
            // SAFETY: this op runs alone, and does not write it.
            let position = unsafe { cx.position(b, slot) };
            let class = label[position] as usize;
            count[classes + s.classes + class] += 1;
            count[classes + 2 * s.classes + class] += (crossed[position] == 0) as u64;
            if !self.part.loaded() {
                count[kappas(position)] += 1;
            }
            count[confidences(false, position)] += 1;
            // SAFETY: this op runs alone, and does not write it.
            loss += unsafe { cx.read::<f32>(b.weight) }[position] as f64
                * unsafe { cx.read::<f32>(b.loss) }[position] as f64;
        }
        count[counter::KEPT] += cx.n as u64;
        count[counter::BATCHES] += 1;
        count[counter::SKIPPED] += (cx.n == 0) as u64;
        total[0] += loss * cx.n as f64;
        if !loss.is_finite() {
            count[counter::HALTED] = count[counter::BATCHES];
        }
    }
}
