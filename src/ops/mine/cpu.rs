use super::{Compact, Select, Weigh, Weights};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::record::Values;
use crate::program::Buf;

impl CpuOp for Select {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        n
    }

    fn run(&self, cx: &Context) {
        let b = &self.batch;
        let crossed = cx.read::<u32>(b.crossed);
        let confidence = cx.read::<f32>(b.confidence);
        // SAFETY: this op runs alone.
        let keep = unsafe { cx.buf::<u32>(b.keep) };
        // SAFETY: the only use of the scratch.
        let scratch = bytemuck::cast_slice_mut::<f32, u32>(unsafe { cx.scratch() });
        let mut easy = 0;
        for slot in 0..cx.n {
            let position = cx.position(b, slot);
            keep[position] = crossed[position];
            if self.keep_easy > 0.0 && crossed[position] == 0 {
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

impl CpuOp for Compact {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone; these are different buffers.
        let (position, live, keep) =
            unsafe { (cx.buf::<u32>(b.position), cx.buf::<u32>(b.live), cx.read::<u32>(b.keep)) };
        let mut kept = 0;
        for slot in 0..cx.n {
            if keep[position[slot] as usize] == 0 {
                continue;
            }
            // Only ever to the front and in order, so nothing is overwritten before it has moved.
            if kept < slot {
                position[kept] = position[slot];
                let move_image = |buf: Buf| {
                    let len = self.image.len();
                    // SAFETY: this op runs alone.
                    unsafe { cx.buf::<f32>(buf) }.copy_within(slot * len..(slot + 1) * len, kept * len);
                };
                move_image(b.x);
                move_image(b.x_adv);
                for &bits in &self.bits {
                    let (start, len) = (cx.bits(bits), cx.bits_len(bits));
                    // SAFETY: both slots lie in the mask's memory and don't overlap; this op runs alone.
                    unsafe { start.add(slot * len).copy_to_nonoverlapping(start.add(kept * len), len) };
                }
            }
            kept += 1;
        }
        live[0] = kept as u32;
    }
}

impl CpuOp for Weigh {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        let (kappa, step) = (cx.read::<u32>(b.kappa), cx.read::<f32>(b.step));
        let half = (self.steps / 2) as f32;
        let raw = |position: usize| match self.weights {
            Weights::Uniform => 1.0,
            Weights::StepSize => step[position],
            // With one step there is no half to measure against; all weigh the same.
            Weights::Kappa if half == 0.0 => 1.0,
            Weights::Kappa => (1.0 + (-1.0 + 5.0 * (half - kappa[position] as f32) / half).tanh()) / 2.0,
        };
        let sum: f64 = (0..cx.n).map(|slot| raw(cx.position(b, slot)) as f64).sum();
        for slot in 0..cx.n {
            let position = cx.position(b, slot);
            let w = if sum > 0.0 { raw(position) as f64 / sum } else { 1.0 / cx.n as f64 };
            // SAFETY: this op runs alone.
            *unsafe { cx.at::<f32>(b.weight, position) } = w as f32;
        }
    }
}
