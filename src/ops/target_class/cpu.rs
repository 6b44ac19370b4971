use super::TargetClass;
use crate::batch::control;
use crate::cpu::context::{Context, CpuOp};

impl CpuOp for TargetClass {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let rank = 1 + (unsafe { cx.read::<u32>(self.data.control) }[control::EPOCH] / self.restarts) as usize;
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: only this thread has the example.
            let (z, target) =
                unsafe { (cx.row::<f32>(b.logits, position, b.classes), cx.at::<u32>(b.target, position)) };
            let before = |k: usize| (0..z.len()).filter(|&j| z[j] > z[k] || (z[j] == z[k] && j < k)).count();
            let found = (0..z.len()).find(|&k| !z[k].is_nan() && before(k) == rank);
            *target = found.unwrap_or(0) as u32;
        }
    }
}
