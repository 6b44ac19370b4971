use super::{Code, DEEPEST, Formula};
use crate::batch::Batch;
use crate::cpu::context::Context;

/// The state that formulas are of.
pub(in crate::ops) struct State<'a> {
    crossed: &'a [u32],
    kappa: &'a [u32],
    pub(in crate::ops) confidence: &'a [f32],
    loss: &'a [f32],
    step: &'a [f32],
    label: &'a [u32],
}

impl<'a> State<'a> {
    /// Of all examples.
    ///
    /// # Safety
    /// Nothing writes it as long as it is held.
    pub(in crate::ops) unsafe fn new(cx: &'a Context, b: &Batch) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            State {
                crossed: cx.read(b.crossed),
                kappa: cx.read(b.kappa),
                confidence: cx.read(b.confidence),
                loss: cx.read(b.loss),
                step: cx.read(b.step),
                label: cx.read(b.label),
            }
        }
    }

    /// The formula's value for the example at this position.
    pub(in crate::ops) fn value(&self, formula: &Formula, position: usize) -> f32 {
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
