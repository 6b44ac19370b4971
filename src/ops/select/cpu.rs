use super::Select;
use crate::cpu::context::{Context, CpuOp};
use crate::ops::formula::cpu::State;
use crate::program::Values;

impl CpuOp for Select {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        n
    }

    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone, and writes none of it.
        let state = unsafe { State::new(cx, b) };
        let confidence = state.confidence;
        // SAFETY: this op runs alone.
        let keep = unsafe { cx.buf::<u32>(b.keep) };
        // SAFETY: the only use of the scratch.
        let scratch = bytemuck::cast_slice_mut::<f32, u32>(unsafe { cx.scratch() });
        let mut easy = 0;
        for slot in 0..cx.n {
            // SAFETY: this op runs alone, and does not write it.
            let position = unsafe { cx.position(b, slot) };
            keep[position] = u32::from(state.value(&self.keep, position) != 0.0);
            if self.keep_easy > 0.0 && keep[position] == 0 {
                scratch[easy] = position as u32;
                easy += 1;
            }
        }
        // Positions ascend with the slots, so they break ties in order of the slots.
        let easy = &mut scratch[..easy];
        easy.sort_unstable_by(|&i, &j| confidence[j as usize].total_cmp(&confidence[i as usize]).then(i.cmp(&j)));
        let share = (self.keep_easy as f64 * easy.len() as f64) as usize;
        easy[..share].iter().for_each(|&position| keep[position as usize] = 1);
    }
}
