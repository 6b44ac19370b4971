//! The ops of a program, run by the kernels beside this file.

use super::cpu::{self, Algo};
use super::{Conv, ConvDgrad, ConvFprop, ConvWgrad, Epilogue};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::record::Values;
use crate::ops::stem;
use crate::program::{FilterDecl, PrepareFilter};

fn algo(f: &FilterDecl) -> Algo {
    if f.exact { Algo::Direct } else { Algo::best(&f.conv) }
}

/// f32 of a prepared filter.
pub fn filter_len(f: &FilterDecl) -> usize {
    if f.stem { stem::cpu::filter_len(&f.conv) } else { cpu::filter_len(&f.conv, f.pass, algo(f)) }
}

impl CpuOp for PrepareFilter {
    fn run(&self, cx: &Context) {
        // SAFETY: each filter is prepared by one op, before any op uses it.
        let (decl, out) = unsafe { cx.filter_mut(self.filter) };
        let w = &cx.read::<f32>(self.params)[self.weights.range()];
        let scale_k = self.scale_k.map(|a| cx.affine(a).0);
        let scale_c = self.scale_c.map(|a| cx.affine(a).0);
        if decl.stem {
            stem::cpu::pack(&decl.conv, decl.pass, w, None, self.normalisation.as_ref(), out);
        } else {
            cpu::pack(cx.level, &decl.conv, decl.pass, algo(decl), w, scale_k, scale_c, out);
        }
    }
}

/// The epilogue's operands for the CPU kernels: bias, residual, y, activation.
pub(crate) type Operands<'a> = (Option<&'a [f32]>, Option<*const f32>, Option<*mut f32>, Option<cpu::Act<'a>>);

/// Resolves an epilogue's values.
pub(crate) fn operands<'a>(cx: &'a Context, e: &Epilogue) -> Operands<'a> {
    let act = e.act.as_ref().map(|act| cpu::Act {
        a: cx.map(act.a),
        affine: act.affine.map(|a| cx.affine(a)),
        bits: act.bits.map(|b| cx.bits(b)),
    });
    let bias = e.bias.map(|a| cx.affine(a).1);
    (bias, e.residual.map(|m| cx.map(m).cast_const()), e.y.map(|m| cx.map(m)), act)
}

fn scratch(conv: &Conv, f: &FilterDecl, n: usize) -> usize {
    cpu::scratch(conv, algo(f), n)
}

impl CpuOp for ConvFprop {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch(&self.conv, values.decl(self.filter), n)
    }

    fn run(&self, cx: &Context) {
        let (bias, residual, y, act) = operands(cx, &self.epilogue);
        let (algo, filter) = (algo(cx.decl(self.filter)), cx.filter(self.filter));
        // SAFETY: the only use of the scratch.
        let (conv, n, x, scratch) = (self.conv, cx.n, cx.map(self.x), unsafe { cx.scratch() });
        // SAFETY: the program's maps have the shapes it declares, the slots are this thread's own, and the engine lets
        // only residual and y be the same map.
        unsafe { cpu::fprop(cx.level, cpu::FpropArgs { conv, algo, n, x, filter, bias, residual, y, act, scratch }) }
    }
}

impl CpuOp for ConvDgrad {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch(&self.conv, values.decl(self.filter), n)
    }

    fn run(&self, cx: &Context) {
        let (algo, filter) = (algo(cx.decl(self.filter)), cx.filter(self.filter));
        let (bits, residual) =
            (self.bits.map(|b| cx.bits(b).cast_const()), self.residual.map(|m| cx.map(m).cast_const()));
        let (conv, n, dy, dx) = (self.conv, cx.n, cx.map(self.dy), cx.map(self.dx));
        // SAFETY: the only use of the scratch.
        let scratch = unsafe { cx.scratch() };
        // SAFETY: as in fprop.
        unsafe { cpu::dgrad(cx.level, cpu::DgradArgs { conv, algo, n, dy, filter, bits, residual, dx, scratch }) }
    }
}

impl CpuOp for ConvWgrad {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        cpu::wgrad_scratch(&self.conv, n)
    }

    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone.
        let (dw, scratch) = unsafe { (&mut cx.buf::<f32>(self.grads)[self.weights.range()], cx.scratch()) };
        // SAFETY: the maps hold the live slots.
        unsafe { cpu::wgrad(cx.level, &self.conv, cx.n, cx.map(self.x), cx.map(self.dy), dw, scratch) }
    }
}
