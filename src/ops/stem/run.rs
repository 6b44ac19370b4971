//! The ops of a program, run by the kernels beside this file.

use super::cpu::{self, Output};
use super::{StemDgrad, StemFprop, StemSink, StemWgrad};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::record::Values;
use crate::ops::conv::Conv;
use crate::ops::conv::run::operands;
use crate::program::Buf;

/// The images of the context's slots.
fn images(cx: &Context, conv: &Conv, buf: Buf) -> *mut f32 {
    let len = conv.input_len();
    // SAFETY: the slots of this context are this thread's own.
    unsafe { cx.rows::<f32>(buf, cx.first, cx.n, len) }.as_mut_ptr()
}

impl CpuOp for StemFprop {
    fn scratch(&self, _: usize, _: &Values) -> usize {
        cpu::scratch(&self.conv)
    }

    fn run(&self, cx: &Context) {
        let (bias, _, y, act) = operands(cx, &self.epilogue);
        // SAFETY: the only use of the scratch.
        let (n, filter, scratch) = (cx.n, cx.filter(self.filter), unsafe { cx.scratch() });
        let (stem, image, norm) = (self.conv, images(cx, &self.conv, self.image), self.normalisation.as_ref());
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { cpu::fprop(cx.level, cpu::FpropArgs { stem, n, image, norm, filter, bias, y, act, scratch }) }
    }
}

impl CpuOp for StemDgrad {
    fn run(&self, cx: &Context) {
        let output = match self.sink {
            StemSink::Gradient(buf) => Output::Grad(images(cx, &self.conv, buf)),
            StemSink::Pgd { x, x_adv, eps, alpha } => {
                let (x, x_adv) = (images(cx, &self.conv, x), images(cx, &self.conv, x_adv));
                Output::Pgd { x, x_adv, eps, alpha }
            }
        };
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { cpu::dgrad(cx.level, &self.conv, cx.n, cx.map(self.dy), cx.filter(self.filter), output) }
    }
}

impl CpuOp for StemWgrad {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        cpu::wgrad_scratch(&self.conv, n)
    }

    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone.
        let (dw, scratch) = unsafe { (&mut cx.buf::<f32>(self.grads)[self.weights.range()], cx.scratch()) };
        let (image, norm) = (images(cx, &self.conv, self.image), self.normalisation.as_ref());
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { cpu::wgrad(cx.level, &self.conv, cx.n, image, norm, cx.map(self.dy), dw, scratch) }
    }
}
