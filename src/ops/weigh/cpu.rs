use super::Weigh;
use crate::cpu::context::{Context, CpuOp};
use crate::ops::formula::cpu::State;

impl CpuOp for Weigh {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone, and writes none of it.
        let state = unsafe { State::new(cx, b) };
        // SAFETY: this op runs alone, and does not write it.
        let raw = |slot: usize| state.value(&self.weight, unsafe { cx.position(b, slot) }) as f64;
        let sum: f64 = (0..cx.n).map(raw).sum();
        for slot in 0..cx.n {
            let w = if sum > 0.0 { raw(slot) / sum } else { 1.0 / cx.n as f64 };
            // SAFETY: this op runs alone, and does not write it.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: this op runs alone.
            *unsafe { cx.at::<f32>(b.weight, position) } = w as f32;
        }
    }
}
