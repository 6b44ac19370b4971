use super::formula::{Code, DEEPEST, Formula};
use super::{Compact, Freeze, Select, Thaw, Weigh};
use crate::batch::Batch;
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::record::Values;
use crate::program::Buf;

/// The state that formulas are of.
struct State<'a> {
    crossed: &'a [u32],
    kappa: &'a [u32],
    confidence: &'a [f32],
    loss: &'a [f32],
    step: &'a [f32],
    label: &'a [u32],
}

impl<'a> State<'a> {
    fn new(cx: &'a Context, b: &Batch) -> Self {
        State {
            crossed: cx.read(b.crossed),
            kappa: cx.read(b.kappa),
            confidence: cx.read(b.confidence),
            loss: cx.read(b.loss),
            step: cx.read(b.step),
            label: cx.read(b.label),
        }
    }

    /// The formula's value for the example at this position.
    fn value(&self, formula: &Formula, position: usize) -> f32 {
        let (mut stack, mut depth) = ([0.0f32; DEEPEST], 0);
        let two = |f: fn(f32, f32) -> f32, stack: &mut [f32; DEEPEST], depth: &mut usize| {
            *depth -= 2;
            f(stack[*depth], stack[*depth + 1])
        };
        for code in formula.code() {
            let mut take = |f| two(f, &mut stack, &mut depth);
            let v = match code {
                Code::Number(v) => *v,
                Code::Crossed => self.crossed[position] as f32,
                Code::Kappa => self.kappa[position] as f32,
                Code::Confidence => self.confidence[position],
                Code::Loss => self.loss[position],
                Code::Step => self.step[position],
                Code::Label => self.label[position] as f32,
                Code::Position => position as f32,
                Code::Add => take(|a, b| a + b),
                Code::Sub => take(|a, b| a - b),
                Code::Mul => take(|a, b| a * b),
                Code::Div => take(|a, b| a / b),
                Code::Max => take(|a, b| if b > a { b } else { a }),
                Code::Less => take(|a, b| f32::from(a < b)),
                Code::Tanh => {
                    depth -= 1;
                    stack[depth].tanh()
                }
            };
            stack[depth] = v;
            depth += 1;
        }
        stack[0]
    }
}

impl CpuOp for Select {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        n
    }

    fn run(&self, cx: &Context) {
        let b = &self.batch;
        let state = State::new(cx, b);
        let confidence = state.confidence;
        // SAFETY: this op runs alone.
        let keep = unsafe { cx.buf::<u32>(b.keep) };
        // SAFETY: the only use of the scratch.
        let scratch = bytemuck::cast_slice_mut::<f32, u32>(unsafe { cx.scratch() });
        let mut easy = 0;
        for slot in 0..cx.n {
            let position = cx.position(b, slot);
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

impl CpuOp for Freeze {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        let (keep, x_adv) = (cx.read::<u32>(b.keep), cx.read::<f32>(b.x_adv));
        for slot in 0..cx.n {
            let position = cx.position(b, slot);
            if self.all || keep[position] == 0 {
                // SAFETY: this op runs alone.
                let to = unsafe { cx.row::<f32>(b.frozen, position, len) };
                to.copy_from_slice(&x_adv[slot * len..(slot + 1) * len]);
            }
        }
    }
}

impl CpuOp for Thaw {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone; these are two buffers.
        let (position, live) = unsafe { (cx.buf::<u32>(b.position), cx.buf::<u32>(b.live)) };
        live[0] = live[1];
        position[..live[1] as usize].iter_mut().zip(0..).for_each(|(p, slot)| *p = slot);
    }
}

impl CpuOp for Weigh {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        let state = State::new(cx, b);
        let raw = |slot: usize| state.value(&self.weight, cx.position(b, slot)) as f64;
        let sum: f64 = (0..cx.n).map(raw).sum();
        for slot in 0..cx.n {
            let w = if sum > 0.0 { raw(slot) / sum } else { 1.0 / cx.n as f64 };
            // SAFETY: this op runs alone.
            *unsafe { cx.at::<f32>(b.weight, cx.position(b, slot)) } = w as f32;
        }
    }
}
